//! Defects on purpose, one at a time, each in a product that is otherwise as it is. A check that does not find one of them
//! looks at too little.

use shared::tx::Inclusion;
use worker::chain::{ChainError, ReceiptView};

use super::check::{Checked, Finding};
use super::ghosts::Promise;
use super::world::State;
use crate::chain::{Answer, Question};
use crate::patch::{CANCEL_JOURNALED, NO_DEDUPE, NO_FENCE, Patch, REFUND_JOURNALED};

/// A defect that no text of a script is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twist {
    /// Signed bytes go out while the journal does not have them yet.
    SendsBeforeItPersists,
    /// A transaction without a receipt counts as one that failed.
    NullReceiptIsProof,
    /// A journal without an answer counts as one that wrote nothing.
    SilenceIsRefusal,
    /// The lease is trusted from when its answer came.
    TrustsFromAfterTheCall,
    /// What is in the newest block is final.
    NothingIsDeep,
    /// The contract does not look whether it paid already.
    ContractPaysAgain,
}

/// One defect, and what must find it.
#[derive(Debug, Clone)]
pub struct Mutant {
    pub name: &'static str,
    /// The configuration that finds it.
    pub(super) setting: &'static str,
    pub(super) patches: &'static [Patch],
    pub(super) twist: Option<Twist>,
    /// The promises of which it breaks one.
    pub breaks: &'static [Promise],
}

impl Mutant {
    /// Whether a promise that it breaks was found broken.
    pub fn is_found_by(&self, checked: &Checked) -> bool {
        let is_mine = |finding: &Finding| self.breaks.iter().any(|promise| promise.text() == finding.promise);
        checked.findings.iter().any(is_mine)
    }
}

/// A defect in a script, or in what all scripts have in front.
const fn patched(
    name: &'static str,
    setting: &'static str,
    patches: &'static [Patch],
    breaks: &'static [Promise],
) -> Mutant {
    Mutant { name, setting, patches, twist: None, breaks }
}

const fn twisted(
    name: &'static str,
    setting: &'static str,
    twist: Twist,
    breaks: &'static [Promise],
) -> Mutant {
    Mutant { name, setting, patches: &[], twist: Some(twist), breaks }
}

/// All of them.
pub fn mutants() -> Vec<Mutant> {
    use Promise::{Deep, Fenced, Journaled, Lease, LetGo, OneIntent, OneJob, OnePayment, Truthful};
    vec![
        patched("no fence", "zombie", &[NO_FENCE], &[Fenced]),
        patched("no fence for jobs", "zombie", &[NO_FENCE_FOR_JOBS], &[Fenced]),
        twisted("send before persist", "zombie", Twist::SendsBeforeItPersists, &[Journaled]),
        twisted("confirmation by null receipt", "merchant", Twist::NullReceiptIsProof, &[LetGo]),
        twisted("nothing is deep", "merchant", Twist::NothingIsDeep, &[Deep, LetGo]),
        twisted("lease trusted from after the call", "election", Twist::TrustsFromAfterTheCall, &[Lease]),
        patched("lease shorter than it is trusted", "contest", &[SHORT_LEASE], &[Lease]),
        patched("lease taken from its holder", "contest", &[STOLEN_LEASE], &[Lease]),
        patched("lease of another given up", "contest", &[FOREIGN_LEASE], &[Lease]),
        Mutant {
            twist: Some(Twist::SilenceIsRefusal),
            ..patched("nonce reused after a timeout", "timeout", NO_NONCE_CHECK, &[OneIntent])
        },
        patched("no dedupe", "merchant", &[NO_DEDUPE], &[OneJob]),
        patched("journal signs what was cancelled", "merchant", &[NO_OFFENDERS], &[Truthful]),
        patched("cancel of what is journaled", "merchant", &[CANCEL_JOURNALED], &[Truthful]),
        patched("refund cancels what is journaled", "merchant", &[REFUND_JOURNALED], &[Truthful]),
        twisted("no dedupe on the chain, and a rollback", "restore", Twist::ContractPaysAgain, &[OnePayment]),
    ]
}

const NO_FENCE_FOR_JOBS: Patch = Patch {
    script: None,
    from: "if LEADER_STAGES[job.stage] and not is_fenced_in(fence) then return 4 end",
    to: "",
};
const SHORT_LEASE: Patch = Patch {
    script: Some("lease_acquire"),
    from: "redis.call('SET', k, value, 'PX', ARGV[2])",
    to: "redis.call('SET', k, value, 'PX', ARGV[2] / 2)",
};
const STOLEN_LEASE: Patch =
    Patch { script: Some("lease_acquire"), from: "if holder then", to: "if false then" };
const FOREIGN_LEASE: Patch = Patch {
    script: Some("lease_release"),
    from: "if redis.call('GET', key('lease')) ~= ARGV[1] then return 0 end",
    to: "",
};
const NO_NONCE_CHECK: &[Patch] = &[
    Patch { script: Some("journal"), from: "if held then", to: "if false then" },
    Patch {
        script: Some("journal"),
        from: "if not fills_a_hole and next ~= nonce then",
        to: "if false then",
    },
];
const NO_OFFENDERS: Patch = Patch {
    script: Some("journal"),
    from: "if named[id] or job.stage ~= 'ready' or job.epoch ~= ARGV[i + 1] or job.refund_requested == '1' then",
    to: "if false then",
};

/// See [`Twist::NullReceiptIsProof`].
pub(super) fn null_receipt(
    state: &State,
    question: &Question,
    honest: Result<Answer, ChainError>,
) -> Result<Answer, ChainError> {
    match (question, honest) {
        (Question::NonceAt { .. }, Ok(Answer::NonceAt(answers))) => {
            let next = shared::ids::Nonce::new(state.db.next_nonce(state.now()));
            Ok(Answer::NonceAt(answers.map(|nonce| (*nonce).max(next))))
        }
        (Question::Receipt(hash), Ok(Answer::Receipt(None))) => {
            let head = state.ledger.chain.head();
            let inclusion = Inclusion { hash: *hash, block: head.number };
            let failed = ReceiptView {
                inclusion,
                block_hash: head.hash,
                to: None,
                succeeded: false,
                gas_used: 0,
                effective_gas_price: 0,
                events: Vec::new(),
            };
            Ok(Answer::Receipt(Some(failed)))
        }
        (_, honest) => honest,
    }
}
