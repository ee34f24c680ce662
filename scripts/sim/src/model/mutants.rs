//! Defects on purpose, one at a time, each in a product that is otherwise as it is. A check that does not find one of them
//! looks at too little.

use shared::tx::Inclusion;
use worker::chain::{ChainError, ReceiptView};

use super::db::Patch;
use super::ghosts::Promise;
use super::world::State;
use crate::chain::{Answer, Question};

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

/// All of them.
pub fn mutants() -> Vec<Mutant> {
    Vec::new()
}

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
