//! From what the chain says about a job to where the job goes, pure. Consumers ask it about simulations, the signer about
//! transactions that are final.

use std::time::Duration;

use shared::ids::BlockNumber;
use shared::job::{Failure, Severity};
use shared::retry::RetryPolicy;
use shared::store::Exit;

use crate::chain::{Gate, Verdict};
use crate::gates;

/// A node that lags behind the block of the registration catches up within this.
const LAG: Duration = Duration::from_secs(1);
/// Blocks after which a registration that Redis knows and the chain does not is none: no node is so far behind, and no
/// reorganisation so deep.
const FORGOTTEN_AFTER: u64 = 64;

/// Where a checked job goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To the leader.
    Ready,
    /// The chain shows it as done already, by `block` at the latest.
    Settled {
        block: BlockNumber,
    },
    Leaves(Exit),
    /// Parked; the gate has to be closed first.
    Parked {
        gate: Gate,
        reason: String,
    },
}

/// Decides on one job. `draw` is uniform in `0.0..1.0`.
pub fn decide(verdict: Verdict, attempts: u32, at: BlockNumber, policy: &RetryPolicy, draw: f64) -> Next {
    match verdict {
        Verdict::Fine => Next::Ready,
        Verdict::AlreadyDone => Next::Settled { block: at },
        // We know the referral: the node is behind, or the registration is gone. The record of it tells which.
        Verdict::NotRegistered => Next::Leaves(Exit::Unregistered {
            delay: LAG,
            block: BlockNumber::new(at.get().saturating_sub(FORGOTTEN_AFTER)),
        }),
        // Blocks have one time each, and the node was between two. No charge.
        Verdict::OutOfTime => Next::Leaves(Exit::BackOff { delay: LAG, charge: false, failure: None }),
        Verdict::Gate { gate, reason } => Next::Parked { gate, reason },
        Verdict::Fails(failure) => Next::Leaves(charged(failure, attempts, policy, draw)),
    }
}

/// What a failed attempt comes to: again after a backoff, or the dead letter.
pub fn charged(failure: Failure, attempts: u32, policy: &RetryPolicy, draw: f64) -> Exit {
    let after = attempts + 1;
    match failure.class.severity() {
        Severity::Permanent => Exit::Fail { failure, charge: true },
        Severity::Transient if policy.is_exhausted(after) => Exit::Fail { failure, charge: true },
        Severity::Transient => {
            Exit::BackOff { delay: policy.delay(after, draw), charge: true, failure: Some(failure) }
        }
    }
}

/// Parks under a gate of the contracts.
pub fn park(gate: Gate, reason: &str) -> Exit {
    Exit::Park { gate: gate.name().to_owned(), reason: gates::parked_for(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::job::FailureClass;

    fn fails(class: FailureClass, attempts: u32) -> Next {
        let verdict = Verdict::Fails(Failure::new(class, "as the test wants"));
        decide(verdict, attempts, BlockNumber::new(9), &RetryPolicy::new(3), 0.5)
    }

    #[test]
    fn a_permanent_reason_fails_at_once() {
        assert!(matches!(fails(FailureClass::AboveCap, 0), Next::Leaves(Exit::Fail { .. })));
    }

    #[test]
    fn an_unclear_revert_is_charged_until_attempts_are_used_up() {
        assert!(matches!(
            fails(FailureClass::UnclearRevert, 1),
            Next::Leaves(Exit::BackOff { charge: true, .. })
        ));
        assert!(matches!(fails(FailureClass::UnclearRevert, 2), Next::Leaves(Exit::Fail { .. })));
    }

    #[test]
    fn a_lagging_node_costs_no_attempt() {
        let decide = |verdict| decide(verdict, 2, BlockNumber::new(99), &RetryPolicy::new(3), 0.5);
        assert!(matches!(decide(Verdict::OutOfTime), Next::Leaves(Exit::BackOff { charge: false, .. })));
        let Next::Leaves(Exit::Unregistered { block, .. }) = decide(Verdict::NotRegistered) else {
            panic!("a registration that is not there")
        };
        assert_eq!(block.get(), 35);
    }
}
