//! Handing signed bytes to every endpoint at once, and which of their answers counts.
//!
//! Invariants: every endpoint is asked; any answer outranks any silence; an endpoint that does not answer holds up
//! an accepted transaction for a moment only.

use std::time::Duration;

use alloy::primitives::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::{ChainError, SendOutcome};

/// How long the others have to take the bytes once one endpoint has them.
const GRACE: Duration = Duration::from_millis(300);

/// The best answer of all endpoints; `None` when there is none.
pub(super) async fn to_all(endpoints: &[Endpoint], raw: &Bytes) -> Option<Result<SendOutcome, ChainError>> {
    let mut pending: FuturesUnordered<_> = endpoints.iter().map(|endpoint| endpoint.send(raw)).collect();
    let mut answers = Vec::with_capacity(endpoints.len());
    let mut until = None;
    loop {
        let next = match until {
            None => pending.next().await,
            Some(until) => tokio::time::timeout_at(until, pending.next()).await.ok().flatten(),
        };
        let Some(answer) = next else { break };
        if matches!(answer, Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown)) {
            until.get_or_insert_with(|| Instant::now() + GRACE);
        }
        answers.push(answer);
    }
    best_answer(answers)
}

/// The answer that counts: acceptance, then what tells most, then whatever was said; silence only when all are silent.
fn best_answer(answers: Vec<Result<SendOutcome, ChainError>>) -> Option<Result<SendOutcome, ChainError>> {
    answers.into_iter().min_by_key(|answer| match answer {
        Ok(SendOutcome::Accepted) => 0,
        Ok(SendOutcome::AlreadyKnown) => 1,
        Ok(SendOutcome::NonceTooLow) => 2,
        Ok(SendOutcome::ReplacementUnderpriced) => 3,
        Ok(SendOutcome::FeeTooLow) => 4,
        // Before the refusals that end in a cancel: waiting may still mend it.
        Ok(SendOutcome::PoolFull) => 5,
        Ok(SendOutcome::InsufficientFunds) => 6,
        Ok(SendOutcome::GasTooLow) => 7,
        Ok(SendOutcome::TooLarge) => 8,
        Ok(SendOutcome::Refused(_)) => 9,
        // May have been accepted: says more than a connection that never was.
        Err(ChainError::Timeout { .. }) => 10,
        Err(_) => 11,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout() -> Result<SendOutcome, ChainError> {
        Err(ChainError::Timeout { endpoint: "a".into(), method: "eth_sendRawTransaction" })
    }

    #[test]
    fn one_acceptance_is_acceptance() {
        let answers = vec![timeout(), Ok(SendOutcome::NonceTooLow), Ok(SendOutcome::Accepted)];
        assert_eq!(best_answer(answers), Some(Ok(SendOutcome::Accepted)));
    }

    #[test]
    fn any_answer_outranks_silence() {
        assert_eq!(
            best_answer(vec![timeout(), Ok(SendOutcome::FeeTooLow)]),
            Some(Ok(SendOutcome::FeeTooLow))
        );
        assert_eq!(best_answer(vec![timeout(), timeout()]), Some(timeout()));
        assert_eq!(best_answer(Vec::new()), None);
    }
}
