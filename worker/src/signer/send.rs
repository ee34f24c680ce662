//! What to do about a node's answer to a broadcast: one closed table, pure.
//!
//! Invariants: no answer to a broadcast is evidence about a job, so none of them fails one. Silence means the same
//! bytes again. A nonce that is too low means that the chain knows more than we do, and the confirming side looks there.

use crate::chain::{ChainError, SendOutcome};

/// Refusals in a row that neither fees nor gas nor time can mend, before the nonce is freed by a cancel.
pub const REFUSALS_BEFORE_CANCEL: u32 = 5;

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

/// The table. `refusals`: how often in a row this transaction was refused like that before, whatever it paid.
pub fn action(answer: &Result<SendOutcome, ChainError>, refusals: u32) -> SendAction {
    match answer {
        Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown | SendOutcome::NonceTooLow) => SendAction::Known,
        Ok(SendOutcome::ReplacementUnderpriced | SendOutcome::FeeTooLow) => SendAction::Bump,
        Ok(SendOutcome::GasTooLow) => SendAction::RaiseGas,
        Ok(SendOutcome::InsufficientFunds) => SendAction::CloseGate(SendGate::GasMoneyLow),
        Ok(SendOutcome::PoolFull) => SendAction::Retry,
        // It may be a passing fault of the one node that answers: a cancel is irrevocable, so it is not the first answer.
        Ok(SendOutcome::TooLarge | SendOutcome::Refused(_)) if refusals + 1 < REFUSALS_BEFORE_CANCEL => {
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
            assert_eq!(action(&Err(error.clone()), 1_000), SendAction::Retry, "{error}");
        }
    }

    #[test]
    fn a_nonce_too_low_is_looked_up_and_never_a_failure() {
        assert_eq!(action(&Ok(SendOutcome::NonceTooLow), 0), SendAction::Known);
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
            assert_eq!(action(&Ok(outcome.clone()), 0), expected, "{outcome:?}");
        }
    }

    #[test]
    fn a_refusal_for_good_cancels_only_when_it_persists() {
        for refusal in [SendOutcome::Refused("invalid sender".into()), SendOutcome::TooLarge] {
            let refused = Ok(refusal);
            assert!(is_refusal(&refused));
            let actions: Vec<_> =
                (0..REFUSALS_BEFORE_CANCEL).map(|refusals| action(&refused, refusals)).collect();
            let (last, before) = actions.split_last().unwrap();
            assert!(before.iter().all(|action| *action == SendAction::Retry));
            assert_eq!(*last, SendAction::Cancel);
        }
    }
}
