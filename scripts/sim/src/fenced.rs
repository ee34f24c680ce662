//! Which scripts are given the value of a lease and write nothing for who does not hold it, as their headers say: a script
//! that is added is watched without being named anywhere.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a header calls the lease's value, behind the number of the argument.
const LEASE: &str = " = lease value";

/// Is given it as well, but writes nothing at any time.
const READS: &str = "read_ready";

/// The argument, from 0, by script.
static FENCED: LazyLock<BTreeMap<&'static str, usize>> = LazyLock::new(|| {
    let fenced = shared::store::sources().into_iter().filter_map(|(name, source)| {
        let (before, _) = source.split_once(LEASE)?;
        let before = (name != READS).then_some(before)?;
        let number: usize = before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        Some((name, number.checked_sub(1)?))
    });
    fenced.collect()
});

/// Which argument of a script, from 0, is the lease's value. In scripts that workers call as well, it may be empty.
pub(crate) fn fence_at(script: &str) -> Option<usize> {
    FENCED.get(script).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_for_the_signer_is_given_its_lease_and_what_anybody_may_ask_is_not() {
        let of_the_signer = [
            "close_nonce",
            "final_set",
            "finish",
            "include",
            "journal",
            "journal_attempt",
            "registered",
            "reopen",
            "signer_set",
            "sync_payments",
            "sync_progress",
            "sync_set",
            "undo",
        ];
        for script in of_the_signer {
            assert_eq!(fence_at(script), Some(0), "{script}");
        }
        assert_eq!([fence_at("leave"), fence_at("settle")], [Some(1); 2]);
        for script in ["accept_payments", "cancel", "claim", "lease_acquire", "read_ready", "refund"] {
            assert_eq!(fence_at(script), None, "{script}");
        }
    }
}
