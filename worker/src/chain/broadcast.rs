//! Handing signed bytes to every endpoint at once, and which of their answers counts.
//!
//! Invariants: every endpoint on our chain is handed them; any answer outranks any silence; an endpoint that does not
//! answer holds up an accepted transaction for a moment only, and one that is known to fail holds up nothing that any other
//! has answered.

use std::time::Duration;

use alloy::primitives::Bytes;
use tokio::time::Instant;

use super::health::Rank;
use super::pool::Pool;
use super::stragglers::Running;
use super::{ChainError, SendOutcome};

/// How long the others have to take the bytes once one endpoint has them.
const GRACE: Duration = Duration::from_millis(300);

/// The best answer of all endpoints; `None` when there is none.
pub(super) async fn to_all(pool: &Pool, raw: &Bytes) -> Option<Result<SendOutcome, ChainError>> {
    let mut running = Running::new();
    for endpoint in pool.order() {
        let (sender, raw) = (endpoint.clone(), raw.clone());
        running.start(&endpoint, async move { sender.send(&raw).await });
    }
    let mut answers = Vec::new();
    let mut until = None;
    while let Some((_, answer)) = running.next_until(until).await {
        if matches!(answer, Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown)) {
            until.get_or_insert_with(|| Instant::now() + GRACE);
        }
        answers.push(answer);
        let all_below = |rank| running.unanswered().iter().all(|endpoint| endpoint.rank() > Some(rank));
        // Whoever is only slow may still take what another refuses.
        let is_answered = answers.iter().any(Result::is_ok);
        if (until.is_some() && all_below(Rank::Good)) || (is_answered && all_below(Rank::Behind)) {
            break;
        }
    }
    pool.leave(running);
    best_answer(answers)
}

/// The answer that counts: acceptance, then what tells most, then whatever was said; silence only when all are silent.
pub fn best_answer(answers: Vec<Result<SendOutcome, ChainError>>) -> Option<Result<SendOutcome, ChainError>> {
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
