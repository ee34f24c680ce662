//! How good one endpoint is, pure: what its answers and its silences make of it, and in which order endpoints are asked.
//!
//! Invariants: an endpoint on another chain is never asked anything but its chain id; a failing endpoint is asked last,
//! for a pause that grows with each relapse, and comes back only through a probe; a node that is merely behind has not
//! failed.

use std::time::Duration;

use shared::ids::BlockNumber;
use tokio::time::Instant;

use super::ChainError;

/// Answers with an error in a row before the endpoint counts as failing. One alone may be about the question.
const ERRORS_IN_A_ROW: u32 = 3;
/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Blocks behind the best head at which others are asked first. Blocks do not reach all nodes at the same moment.
const BEHIND: u64 = 2;

/// What was wrong with an answer, or with its absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    Timeout,
    Unreachable,
    RateLimited,
    /// The node answered with an error of its own.
    Node,
    Garbage,
    WrongChain,
}

impl Fault {
    pub const ALL: [Self; 6] =
        [Self::Timeout, Self::Unreachable, Self::RateLimited, Self::Node, Self::Garbage, Self::WrongChain];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::Node => "node",
            Self::Garbage => "garbage",
            Self::WrongChain => "wrong_chain",
        }
    }

    /// The fault behind an error; `None` where the node only does not have the block that was asked about.
    pub const fn of(error: &ChainError) -> Option<Self> {
        match error {
            ChainError::Timeout { .. } => Some(Self::Timeout),
            ChainError::Unreachable { .. } => Some(Self::Unreachable),
            ChainError::RateLimited { .. } => Some(Self::RateLimited),
            ChainError::Node { .. } => Some(Self::Node),
            ChainError::Garbage { .. } => Some(Self::Garbage),
            ChainError::WrongChain { .. } => Some(Self::WrongChain),
            ChainError::UnknownBlock { .. } => None,
        }
    }
}

/// Which chain the endpoint is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChainCheck {
    /// It has not said yet: it is asked before anything else.
    Unknown,
    Right,
    Wrong,
}

/// The order in which endpoints are asked; lower first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Good,
    /// Behind the best head, or slow right now.
    Behind,
    /// Only where nobody else has an answer.
    Demoted,
}

/// What is known about one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Health {
    chain: ChainCheck,
    /// When it is to be looked at again: its chain id, and whether it answers at all.
    probe_at: Option<Instant>,
    demoted: bool,
    /// Its last question was not answered at all.
    silent: bool,
    /// Errors in a row.
    errors: u32,
    /// The last pause, and when it ended: a relapse soon after doubles it.
    pause: Duration,
    recovered_at: Option<Instant>,
    head: Option<BlockNumber>,
    lag: u64,
    /// The longest pause, and the time between two looks at the chain id.
    check_every: Duration,
}

impl Health {
    pub(super) const fn new(check_every: Duration) -> Self {
        Self {
            chain: ChainCheck::Unknown,
            probe_at: None,
            demoted: false,
            silent: false,
            errors: 0,
            pause: Duration::ZERO,
            recovered_at: None,
            head: None,
            lag: 0,
            check_every,
        }
    }

    /// `None`: not to be asked. `slow`: some question to it is waiting for longer than others take.
    pub(super) fn rank(&self, slow: bool) -> Option<Rank> {
        match self.chain {
            ChainCheck::Wrong => None,
            _ if self.demoted => Some(Rank::Demoted),
            _ if slow || self.lag > BEHIND => Some(Rank::Behind),
            _ => Some(Rank::Good),
        }
    }

    /// Whether it may be asked first.
    pub(super) fn is_up(&self) -> bool {
        !self.demoted && self.chain != ChainCheck::Wrong
    }

    /// Whether a question to it would most likely cost a whole deadline.
    pub(super) fn is_silent(&self) -> bool {
        self.demoted && self.silent
    }

    /// Whether its chain id must be asked for before anything else.
    pub(super) fn is_unchecked(&self) -> bool {
        self.chain == ChainCheck::Unknown
    }

    pub(super) const fn lag(&self) -> u64 {
        self.lag
    }

    /// The newest block it showed, where that says something about the chain's newest.
    pub(super) fn head(&self) -> Option<BlockNumber> {
        self.head.filter(|_| self.is_up())
    }

    /// It answered as it should.
    pub(super) fn answered(&mut self) {
        self.errors = 0;
        self.silent = false;
    }

    /// A question failed. Says for how long the endpoint is demoted, if it is from now on.
    pub(super) fn failed(&mut self, fault: Fault, now: Instant) -> Option<Duration> {
        self.errors = self.errors.saturating_add(1);
        self.silent = fault == Fault::Timeout;
        match fault {
            // The check of the chain id deals with these.
            Fault::WrongChain => None,
            Fault::Node if self.errors < ERRORS_IN_A_ROW => None,
            // Silence, refusal and nonsense are not about the question: the next one would cost as much.
            _ => self.demote(now),
        }
    }

    /// Asked last from now on. One that is demoted already keeps its pause: only probes prolong it.
    pub(super) fn demote(&mut self, now: Instant) -> Option<Duration> {
        if self.demoted {
            return None;
        }
        let relapse = self.recovered_at.is_some_and(|at| now.duration_since(at) < self.check_every);
        self.demoted = true;
        self.pause = if relapse { self.longer_pause() } else { FIRST_PAUSE.min(self.check_every) };
        self.probe_at = Some(now + self.pause);
        Some(self.pause)
    }

    fn longer_pause(&self) -> Duration {
        self.pause.saturating_mul(2).min(self.check_every)
    }

    /// Whether it is time for a probe.
    pub(super) fn is_probe_due(&self, now: Instant) -> bool {
        self.probe_at.is_none_or(|at| at <= now)
    }

    /// A probe that has not answered yet is not sent twice.
    pub(super) fn probe_sent(&mut self, now: Instant) {
        self.probe_at = Some(now + self.check_every);
    }

    /// A probe got its answers. Says whether that ended a demotion.
    pub(super) fn probe_passed(&mut self, now: Instant) -> bool {
        self.answered();
        self.probe_at = Some(now + self.check_every);
        let recovered = std::mem::take(&mut self.demoted);
        if recovered {
            self.recovered_at = Some(now);
        }
        recovered
    }

    /// A probe found nothing better.
    pub(super) fn probe_failed(&mut self, now: Instant) {
        if self.demoted {
            self.pause = self.longer_pause();
            self.probe_at = Some(now + self.pause);
        }
    }

    /// What its chain id turned out to be. Says whether that is news.
    pub(super) fn checked(&mut self, is_right: bool, now: Instant) -> bool {
        let found = if is_right { ChainCheck::Right } else { ChainCheck::Wrong };
        if !self.demoted {
            self.probe_at = Some(now + self.check_every);
        }
        std::mem::replace(&mut self.chain, found) != found
    }

    /// It showed `head`; `best` was the newest head known when it was asked.
    pub(super) fn showed(&mut self, head: BlockNumber, best: Option<BlockNumber>) {
        self.head = Some(head);
        self.lag = best.map_or(0, |best| best.get().saturating_sub(head.get()));
    }
}

/// Positions of the endpoints that may be asked, best first; equals in the order of the configuration.
pub(super) fn order(ranks: impl IntoIterator<Item = Option<Rank>>) -> Vec<(usize, Rank)> {
    let mut order: Vec<_> =
        ranks.into_iter().enumerate().filter_map(|(at, rank)| Some((at, rank?))).collect();
    order.sort_by_key(|(at, rank)| (*rank, *at));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: Duration = Duration::from_secs(30);

    fn right(now: Instant) -> Health {
        let mut health = Health::new(CHECK);
        health.checked(true, now);
        health
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn good_ones_are_asked_in_the_order_of_the_configuration_and_wrong_ones_never() {
        let ranks = [Some(Rank::Demoted), Some(Rank::Good), None, Some(Rank::Behind), Some(Rank::Good)];
        let order: Vec<usize> = order(ranks).into_iter().map(|(at, _)| at).collect();
        assert_eq!(order, [1, 4, 3, 0]);
    }

    #[test]
    fn a_first_silence_demotes_until_a_probe_after_the_pause() {
        let now = Instant::now();
        let mut health = right(now);
        assert_eq!(health.failed(Fault::Timeout, now), Some(secs(1)));
        assert_eq!(health.rank(false), Some(Rank::Demoted));
        assert!(!health.is_up());
        // Answers to those who had nobody else to ask end no demotion.
        health.answered();
        assert_eq!(health.rank(false), Some(Rank::Demoted));
        assert!(!health.is_probe_due(now + Duration::from_millis(999)));
        assert!(health.is_probe_due(now + secs(1)));
        assert!(health.probe_passed(now + secs(1)));
        assert_eq!((health.rank(false), health.is_up()), (Some(Rank::Good), true));
    }

    #[test]
    fn the_pause_doubles_with_each_failed_probe_and_each_relapse_up_to_its_bound() {
        let mut now = Instant::now();
        let mut health = right(now);
        health.failed(Fault::Unreachable, now);
        for pause in [2, 4, 8, 16, 30, 30] {
            health.probe_failed(now);
            assert!(!health.is_probe_due(now + secs(pause) - Duration::from_millis(1)), "{pause}");
            assert!(health.is_probe_due(now + secs(pause)), "{pause}");
        }
        let mut health = right(now);
        for pause in [1, 2, 4] {
            assert_eq!(health.failed(Fault::Garbage, now), Some(secs(pause)));
            now += secs(pause);
            health.probe_passed(now);
        }
        // A long time without a failure is forgiven.
        assert_eq!(health.failed(Fault::Garbage, now + CHECK), Some(secs(1)));
    }

    #[test]
    fn a_failure_of_one_that_is_demoted_already_does_not_prolong_its_pause() {
        let now = Instant::now();
        let mut health = right(now);
        health.failed(Fault::Timeout, now);
        assert_eq!(health.failed(Fault::Timeout, now + Duration::from_millis(900)), None);
        assert!(health.is_probe_due(now + secs(1)));
    }

    #[test]
    fn an_error_about_one_question_is_forgiven_and_errors_about_all_are_not() {
        let now = Instant::now();
        let mut health = right(now);
        for _ in 0..10 {
            assert_eq!(health.failed(Fault::Node, now), None);
            assert_eq!(health.failed(Fault::Node, now), None);
            health.answered();
        }
        assert_eq!(health.failed(Fault::Node, now), None);
        assert_eq!(health.failed(Fault::Node, now), None);
        assert_eq!(health.failed(Fault::Node, now), Some(secs(1)));
    }

    #[test]
    fn one_that_is_demoted_for_its_silence_is_silent_until_it_says_anything() {
        let now = Instant::now();
        let mut health = right(now);
        health.failed(Fault::RateLimited, now);
        assert!(!health.is_silent(), "it answers, though not as it should");
        health.failed(Fault::Timeout, now);
        assert!(health.is_silent());
        health.failed(Fault::Unreachable, now);
        assert!(!health.is_silent(), "a refused connection costs nobody time");
        health.failed(Fault::Timeout, now);
        health.probe_passed(now);
        assert!(!health.is_silent());
    }

    #[test]
    fn a_block_that_a_node_does_not_have_is_no_fault() {
        let error = ChainError::UnknownBlock { endpoint: "node".into(), block: "7".into() };
        assert_eq!(Fault::of(&error), None);
    }

    #[test]
    fn one_that_lags_is_asked_after_the_others_and_is_up() {
        let now = Instant::now();
        let mut health = right(now);
        health.showed(BlockNumber::new(98), Some(BlockNumber::new(100)));
        assert_eq!(health.rank(false), Some(Rank::Good));
        health.showed(BlockNumber::new(97), Some(BlockNumber::new(100)));
        assert_eq!((health.rank(false), health.lag(), health.is_up()), (Some(Rank::Behind), 3, true));
        health.showed(BlockNumber::new(101), Some(BlockNumber::new(100)));
        assert_eq!((health.rank(false), health.lag()), (Some(Rank::Good), 0));
        assert_eq!(health.rank(true), Some(Rank::Behind), "slow right now");
    }

    #[test]
    fn a_wrong_chain_is_never_asked_and_comes_back_when_its_id_is_right_again() {
        let now = Instant::now();
        let mut health = right(now);
        health.showed(BlockNumber::new(1_000_000), None);
        assert!(health.checked(false, now), "news");
        assert!(!health.checked(false, now), "no news");
        assert_eq!((health.rank(false), health.is_up(), health.head()), (None, false, None));
        assert!(!health.is_probe_due(now + secs(29)));
        assert!(health.is_probe_due(now + CHECK));
        assert!(health.checked(true, now + CHECK));
        assert_eq!(health.rank(false), Some(Rank::Good));
    }

    #[test]
    fn one_that_never_said_its_chain_id_is_looked_at_first() {
        let now = Instant::now();
        let mut health = Health::new(CHECK);
        assert!(health.is_unchecked() && health.is_probe_due(now));
        health.probe_sent(now);
        assert!(!health.is_probe_due(now), "one probe at a time");
        health.checked(true, now);
        assert!(!health.is_unchecked());
    }

    #[test]
    fn a_demoted_endpoint_is_probed_after_its_pause_and_not_at_the_next_check() {
        let now = Instant::now();
        let mut health = right(now);
        health.failed(Fault::Timeout, now);
        health.checked(true, now);
        assert!(health.is_probe_due(now + secs(1)));
    }
}
