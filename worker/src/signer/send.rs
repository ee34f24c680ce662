//! What to do about a node's answer to a broadcast: one closed table, pure.
//!
//! Invariants: no answer to a broadcast is evidence about a job, so none of them fails one. Silence means the same
//! bytes again. A nonce that is too low means that the chain knows more than we do, and the confirming side looks there.

use shared::ids::BlockNumber;

use crate::chain::{ChainError, SendOutcome};

/// Heads in a row at which a transaction is refused as neither fees nor gas nor time could mend, before a cancel frees its nonce.
pub const REFUSALS_BEFORE_CANCEL: u32 = 5;

/// Heads in a row at which a transaction was refused for good, whatever it paid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Refusals {
    count: u32,
    last: Option<BlockNumber>,
}

impl Refusals {
    /// With what a node answered at `head`. A round that is cut short asks again at the same head in no time, and where endpoints
    /// differ the head goes back and forth: neither gives a fault the time to pass. Silence says nothing.
    pub fn and(self, answer: &Result<SendOutcome, ChainError>, head: BlockNumber) -> Self {
        match answer {
            Err(_) => self,
            Ok(_) if !is_refusal(answer) => Self::default(),
            Ok(_) if self.last.is_some_and(|last| head <= last) => self,
            Ok(_) => Self { count: self.count + 1, last: Some(head) },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendAction {
    /// The pool or the chain has this nonce: nothing to send until confirmation says more.
    Known,
    /// Only higher fees can help.
    Bump,
    /// Only a higher gas limit can help.
    RaiseGas,
    /// A condition of the whole lane; the same bytes again when it is over.
    CloseGate(SendGate),
    /// No node takes these bytes at any fee: free the nonce by a journaled self-transfer.
    Cancel,
    /// The same bytes again, later.
    Retry,
}

/// Conditions of the lane that a broadcast can tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendGate {
    /// The signer's balance does not cover its transactions.
    GasMoneyLow,
}

/// Whether a node says that it would not take these bytes at any fee.
pub const fn is_refusal(answer: &Result<SendOutcome, ChainError>) -> bool {
    matches!(answer, Ok(SendOutcome::TooLarge | SendOutcome::Refused(_)))
}

/// The table. `refusals`: this answer's among them.
pub fn action(answer: &Result<SendOutcome, ChainError>, refusals: Refusals) -> SendAction {
    match answer {
        Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown | SendOutcome::NonceTooLow) => SendAction::Known,
        Ok(SendOutcome::ReplacementUnderpriced | SendOutcome::FeeTooLow) => SendAction::Bump,
        Ok(SendOutcome::GasTooLow) => SendAction::RaiseGas,
        Ok(SendOutcome::InsufficientFunds) => SendAction::CloseGate(SendGate::GasMoneyLow),
        Ok(SendOutcome::PoolFull) => SendAction::Retry,
        // It may be a passing fault of the one node that answers: a cancel is irrevocable, so it is not the first answer.
        Ok(SendOutcome::TooLarge | SendOutcome::Refused(_)) if refusals.count < REFUSALS_BEFORE_CANCEL => {
            SendAction::Retry
        }
        Ok(SendOutcome::TooLarge | SendOutcome::Refused(_)) => SendAction::Cancel,
        Err(
            ChainError::Timeout { .. }
            | ChainError::Unreachable { .. }
            | ChainError::RateLimited { .. }
            | ChainError::Node { .. }
            | ChainError::Garbage { .. }
            | ChainError::WrongChain { .. }
            | ChainError::UnknownBlock { .. },
        ) => SendAction::Retry,
    }
}

/// The answer's name in metrics.
pub const fn name(answer: &Result<SendOutcome, ChainError>) -> &'static str {
    match answer {
        Ok(SendOutcome::Accepted) => "accepted",
        Ok(SendOutcome::AlreadyKnown) => "already_known",
        Ok(SendOutcome::NonceTooLow) => "nonce_too_low",
        Ok(SendOutcome::ReplacementUnderpriced) => "replacement_underpriced",
        Ok(SendOutcome::FeeTooLow) => "fee_too_low",
        Ok(SendOutcome::InsufficientFunds) => "insufficient_funds",
        Ok(SendOutcome::GasTooLow) => "gas_too_low",
        Ok(SendOutcome::TooLarge) => "too_large",
        Ok(SendOutcome::PoolFull) => "pool_full",
        Ok(SendOutcome::Refused(_)) => "refused",
        Err(_) => "no_answer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(answer: &Result<SendOutcome, ChainError>) -> SendAction {
        action(answer, Refusals::default().and(answer, BlockNumber::new(1)))
    }

    #[test]
    fn silence_and_faults_of_a_node_mean_the_same_bytes_again() {
        let (endpoint, method) = ("node".to_owned(), "eth_sendRawTransaction");
        let errors = [
            ChainError::Timeout { endpoint: endpoint.clone(), method },
            ChainError::Unreachable { endpoint: endpoint.clone(), method, detail: String::new() },
            ChainError::RateLimited { endpoint: endpoint.clone(), method },
            ChainError::Node { endpoint: endpoint.clone(), method, detail: String::new() },
            ChainError::Garbage { endpoint, method, detail: String::new() },
        ];
        for error in errors {
            assert_eq!(first(&Err(error.clone())), SendAction::Retry, "{error}");
        }
    }

    #[test]
    fn a_nonce_too_low_is_looked_up_and_never_a_failure() {
        assert_eq!(first(&Ok(SendOutcome::NonceTooLow)), SendAction::Known);
    }

    #[test]
    fn each_refusal_has_its_one_remedy() {
        let table = [
            (SendOutcome::Accepted, SendAction::Known),
            (SendOutcome::AlreadyKnown, SendAction::Known),
            (SendOutcome::ReplacementUnderpriced, SendAction::Bump),
            (SendOutcome::FeeTooLow, SendAction::Bump),
            (SendOutcome::GasTooLow, SendAction::RaiseGas),
            (SendOutcome::InsufficientFunds, SendAction::CloseGate(SendGate::GasMoneyLow)),
            (SendOutcome::PoolFull, SendAction::Retry),
        ];
        for (outcome, expected) in table {
            assert_eq!(first(&Ok(outcome.clone())), expected, "{outcome:?}");
        }
    }

    /// What the same answer asks for at each of these heads.
    fn at(heads: impl IntoIterator<Item = u64>, answer: &Result<SendOutcome, ChainError>) -> Vec<SendAction> {
        let mut refusals = Refusals::default();
        let answers = heads.into_iter().map(|head| {
            refusals = refusals.and(answer, BlockNumber::new(head));
            action(answer, refusals)
        });
        answers.collect()
    }

    #[test]
    fn a_refusal_for_good_cancels_only_when_it_persists() {
        for refusal in [SendOutcome::Refused("invalid sender".into()), SendOutcome::TooLarge] {
            let actions = at(1..=u64::from(REFUSALS_BEFORE_CANCEL), &Ok(refusal));
            let (last, before) = actions.split_last().unwrap();
            assert!(before.iter().all(|action| *action == SendAction::Retry));
            assert_eq!(*last, SendAction::Cancel);
        }
    }

    #[test]
    fn refusals_count_once_per_head_that_is_new() {
        let refusal = Ok(SendOutcome::Refused("invalid sender".into()));
        assert_eq!(at([7; 100], &refusal), [SendAction::Retry; 100]);
        assert_eq!(at([7, 6, 7, 6, 7, 6, 7, 6], &refusal), [SendAction::Retry; 8]);
        assert_eq!(
            at([1, 2, 2, 3, 3, 4, 4, 5, 5], &refusal)[6..],
            [SendAction::Retry, SendAction::Cancel, SendAction::Cancel]
        );
    }

    #[test]
    fn any_other_answer_ends_the_row_and_silence_does_not() {
        let head = BlockNumber::new;
        let refused = Ok(SendOutcome::TooLarge);
        let four = (1..5).fold(Refusals::default(), |refusals, at| refusals.and(&refused, head(at)));
        assert_eq!(action(&refused, four.and(&refused, head(5))), SendAction::Cancel);
        let silent = Err(ChainError::Timeout { endpoint: "node".into(), method: "eth_sendRawTransaction" });
        assert_eq!(action(&refused, four.and(&silent, head(5)).and(&refused, head(6))), SendAction::Cancel);
        let full = Ok(SendOutcome::PoolFull);
        assert_eq!(action(&refused, four.and(&full, head(5)).and(&refused, head(6))), SendAction::Retry);
    }
}
