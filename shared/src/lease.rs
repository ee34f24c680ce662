//! What the holder of a lease may believe, pure. The lease itself is a key in Redis (`store/lease.rs`).
//!
//! Trust starts at the moment *before* the request was sent, because Redis may have started the TTL then, and ends a
//! margin before the TTL could. The clock may stand still while a machine is suspended; for that case every write is
//! fenced as well.

use std::time::Duration;

use crate::clock::Monotonic;
use crate::ids::FencingTerm;

/// How long leases live, and how far their holder trusts them.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTiming {
    pub ttl: Duration,
    /// Covers what clocks and schedulers may differ by.
    pub margin: Duration,
}

impl LeaseTiming {
    /// A margin of a fifth of the ttl.
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, margin: ttl / 5 }
    }

    pub fn renew_every(&self) -> Duration {
        self.ttl / 3
    }

    /// Until when a request sent at `sent_at` and granted later can be trusted.
    fn trusted_until(&self, sent_at: Monotonic) -> Monotonic {
        sent_at.plus(self.ttl).minus(self.margin)
    }
}

/// A term of leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term {
    pub fence: FencingTerm,
    pub trusted_until: Monotonic,
}

impl Term {
    pub fn is_trusted(&self, now: Monotonic) -> bool {
        now < self.trusted_until
    }
}

/// Whose turn it is, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LeaseState {
    Follower,
    Leader(Term),
}

/// What may happen to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEvent {
    /// The acquisition sent at `sent_at` was granted.
    Acquired { fence: FencingTerm, sent_at: Monotonic },
    /// The renewal sent at `sent_at` was granted.
    Renewed { sent_at: Monotonic },
    /// Redis says the lease is somebody else's, or nobody's.
    Lost,
    /// Redis did not answer, or time passed.
    Silence,
    /// We gave it up.
    Released,
}

/// The next state. A renewal never shortens trust, and nothing but a new term brings trust back once it is over.
pub fn step(state: LeaseState, event: LeaseEvent, now: Monotonic, timing: &LeaseTiming) -> LeaseState {
    match (state, event) {
        (_, LeaseEvent::Acquired { fence, sent_at }) => {
            let term = Term { fence, trusted_until: timing.trusted_until(sent_at) };
            if term.is_trusted(now) { LeaseState::Leader(term) } else { LeaseState::Follower }
        }
        (LeaseState::Leader(term), LeaseEvent::Renewed { sent_at }) if term.is_trusted(now) => {
            let trusted_until = term.trusted_until.max(timing.trusted_until(sent_at));
            LeaseState::Leader(Term { trusted_until, ..term })
        }
        (LeaseState::Leader(term), LeaseEvent::Silence) if term.is_trusted(now) => state,
        _ => LeaseState::Follower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: LeaseTiming =
        LeaseTiming { ttl: Duration::from_millis(1000), margin: Duration::from_millis(200) };

    fn at(millis: u64) -> Monotonic {
        Monotonic::from_millis(millis)
    }

    fn acquired(sent_at: u64, now: u64) -> LeaseState {
        let event = LeaseEvent::Acquired { fence: FencingTerm::new(7), sent_at: at(sent_at) };
        step(LeaseState::Follower, event, at(now), &TIMING)
    }

    #[test]
    fn trust_counts_from_before_the_call() {
        let LeaseState::Leader(term) = acquired(100, 350) else { panic!("no leader") };
        assert_eq!(term.trusted_until, at(900));
        assert!(term.is_trusted(at(899)) && !term.is_trusted(at(900)));
    }

    #[test]
    fn an_answer_that_took_too_long_makes_no_leader() {
        assert_eq!(acquired(100, 900), LeaseState::Follower);
    }

    #[test]
    fn silence_ends_leadership_at_the_deadline_and_not_before() {
        let leader = acquired(0, 10);
        assert_eq!(step(leader, LeaseEvent::Silence, at(799), &TIMING), leader);
        assert_eq!(step(leader, LeaseEvent::Silence, at(800), &TIMING), LeaseState::Follower);
    }

    #[test]
    fn a_renewal_that_arrives_after_trust_ended_does_not_bring_it_back() {
        let leader = acquired(0, 10);
        let late = LeaseEvent::Renewed { sent_at: at(700) };
        assert_eq!(step(leader, late, at(850), &TIMING), LeaseState::Follower);
        let LeaseState::Leader(term) = step(leader, late, at(750), &TIMING) else { panic!("lost") };
        assert_eq!(term.trusted_until, at(1500));
    }

    #[test]
    fn a_lost_lease_is_not_trusted_for_its_remaining_time() {
        assert_eq!(step(acquired(0, 10), LeaseEvent::Lost, at(20), &TIMING), LeaseState::Follower);
    }
}
