//! Scripts that are broken on purpose: what travels is what production sends, and what runs is something else.

use std::collections::HashMap;

/// A change of one script, or of what all have in front.
#[derive(Debug, Clone, Copy)]
pub struct Patch {
    /// The script; `None`: all of them.
    pub script: Option<&'static str>,
    pub from: &'static str,
    pub to: &'static str,
}

/// Mutants that the seeds and the model share.
pub(crate) const NO_FENCE: Patch = Patch {
    script: None,
    from: "if holder == fence then return true end",
    to: "if true then return true end",
};
pub(crate) const NO_DEDUPE: Patch =
    Patch { script: Some("accept_payments"), from: "if payment.fingerprint then", to: "if false then" };
pub(crate) const CANCEL_JOURNALED: Patch = Patch {
    script: Some("cancel"),
    from: "if before == 'submitted' or before == 'confirming' then return { 3, before } end",
    to: "",
};
pub(crate) const REFUND_JOURNALED: Patch = Patch {
    script: Some("refund"),
    from: "elseif stage == 'submitted' or stage == 'confirming' then",
    to: "elseif false then",
};

/// Scripts, and what stands in their place.
#[derive(Debug, Clone, Default)]
pub struct Patches {
    /// By its whole text.
    codes: HashMap<Vec<u8>, Vec<u8>>,
    /// By its hash.
    hashes: HashMap<Vec<u8>, Vec<u8>>,
}

impl Patches {
    /// # Panics
    /// Where a patch finds nothing to change: the mutant is outdated.
    pub fn new(patches: &[Patch]) -> Self {
        let (mut all, mut hits) = (Self::default(), vec![0; patches.len()]);
        for (name, source) in shared::store::sources() {
            let mut code = source.to_owned();
            for (patch, hits) in patches.iter().zip(&mut hits) {
                if patch.script.is_none_or(|script| script == name) && code.contains(patch.from) {
                    *hits += 1;
                    code = code.replace(patch.from, patch.to);
                }
            }
            if code != source {
                let hash = |code: &str| redis::Script::new(code).get_hash().as_bytes().to_vec();
                all.hashes.insert(hash(source), hash(&code));
                all.codes.insert(source.as_bytes().to_vec(), code.into_bytes());
            }
        }
        for (patch, hits) in patches.iter().zip(hits) {
            assert!(hits > 0, "the mutant is outdated, there is no `{}`", patch.from);
        }
        all
    }

    /// What runs in place of `command`, where that is something else.
    pub(crate) fn applied(&self, command: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
        if self.codes.is_empty() {
            return None;
        }
        let (at, known) = match command.first()?.as_slice() {
            b"EVALSHA" => (1, &self.hashes),
            b"SCRIPT" => (2, &self.codes),
            _ => return None,
        };
        let other = known.get(command.get(at)?)?;
        let mut command = command.to_vec();
        command[at].clone_from(other);
        Some(command)
    }
}
