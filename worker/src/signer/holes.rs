//! Nonces below ours that the account waits for and nothing is open at, pure.
//!
//! Takeover finds them and fills them. In office one can appear as well: another's transaction was there, or one of ours that
//! Redis forgot, and a reorganisation lost it. Then the leader takes over again, because only there more than one count is
//! weighed.

use std::collections::BTreeSet;

use shared::ids::{BlockNumber, Nonce};

/// For this many blocks, an account nonce at which nothing is open may be that of an endpoint that is behind.
const PATIENCE: u64 = 16;
/// The same where the journal has seen that nonce consumed: it is more likely to be right, and was not if this goes on.
const MORE_PATIENCE: u64 = 64;

#[derive(Debug, Clone, Default, Hash)]
pub(super) struct Holes {
    /// Unaccounted for as takeover found. Nothing new is signed until each is closed by a filler.
    pub(super) to_fill: BTreeSet<Nonce>,
    /// Open, but their record cannot be read: no filler may take their place.
    unreadable: BTreeSet<Nonce>,
    /// Below it the journal has seen every nonce consumed: an endpoint that says less is most likely behind.
    closed_below: u64,
    /// Since which block the account has been waiting for a nonce that nobody holds.
    since: Option<BlockNumber>,
}

impl Holes {
    /// As takeover leaves them.
    pub(super) fn found(to_fill: Vec<Nonce>, unreadable: Vec<Nonce>, closed_below: Nonce) -> Self {
        Self {
            to_fill: to_fill.into_iter().collect(),
            unreadable: unreadable.into_iter().collect(),
            closed_below: closed_below.get(),
            since: None,
        }
    }

    /// The journal has closed this nonce, so all below it are consumed.
    pub(super) fn closed(&mut self, nonce: Nonce) {
        self.closed_below = self.closed_below.max(nonce.next().get());
    }

    /// What the head `head` says: the account waits for the nonce `latest`. `is_open`: whether we hold it, or have not given it
    /// out yet. Returns the block since which nobody has held it, where that was long enough ago.
    pub(super) fn watch(&mut self, latest: Nonce, is_open: bool, head: BlockNumber) -> Option<BlockNumber> {
        let patience = if latest.get() < self.closed_below { MORE_PATIENCE } else { PATIENCE };
        let is_hole = !is_open && !self.to_fill.contains(&latest) && !self.unreadable.contains(&latest);
        self.since = is_hole.then(|| self.since.unwrap_or(head));
        self.since.filter(|since| head.get() >= since.get().saturating_add(patience))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce(number: u64) -> Nonce {
        Nonce::new(number)
    }

    /// The first block of `heads` that asks for a takeover; the account waits for `latest(block)` and nothing is open there.
    fn proven(holes: &mut Holes, latest: impl Fn(u64) -> u64) -> Option<u64> {
        (100..200).find(|head| holes.watch(nonce(latest(*head)), false, BlockNumber::new(*head)).is_some())
    }

    #[test]
    fn a_nonce_that_nobody_holds_is_a_hole_after_sixteen_blocks() {
        assert_eq!(proven(&mut Holes::default(), |_| 4), Some(116));
    }

    #[test]
    fn what_is_open_to_be_filled_or_unreadable_is_no_hole() {
        let mut holes = Holes::found(vec![nonce(4)], vec![nonce(5)], nonce(4));
        assert_eq!(proven(&mut holes, |head| 4 + head % 2), None);
        for head in 100..200 {
            assert_eq!(holes.watch(nonce(6), true, BlockNumber::new(head)), None);
        }
    }

    #[test]
    fn an_endpoint_behind_what_the_journal_closed_is_given_more_time_and_hides_no_hole() {
        let mut holes = Holes::found(Vec::new(), Vec::new(), nonce(2));
        holes.closed(nonce(3));
        assert_eq!(proven(&mut holes.clone(), |_| 3), Some(164));
        assert_eq!(proven(&mut holes, |head| 3 + head % 2), Some(117));
    }

    #[test]
    fn the_patience_begins_again_once_the_account_has_moved_on() {
        let mut holes = Holes::default();
        for head in 100..110 {
            assert_eq!(holes.watch(nonce(4), false, BlockNumber::new(head)), None);
        }
        assert_eq!(holes.watch(nonce(5), true, BlockNumber::new(110)), None);
        assert_eq!(holes.watch(nonce(6), false, BlockNumber::new(111)), None);
        assert_eq!(holes.watch(nonce(6), false, BlockNumber::new(126)), None);
        assert!(holes.watch(nonce(6), false, BlockNumber::new(127)).is_some());
    }
}
