//! How the relayer's endpoints see the chain while one question is answered: honestly, late, or wrongly. The defaults are one
//! honest endpoint.

use std::sync::Arc;

use worker::chain::{ChainError, SendOutcome};

/// The configured endpoints, in the order in which they are asked. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct View {
    pub eyes: Vec<Eye>,
    /// Refusals that no second endpoint confirms count: it has been like that for long.
    pub lone_refusals_count: bool,
}

/// What one endpoint shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Eye {
    /// Host and port.
    pub name: Arc<str>,
    /// Blocks that it is behind the newest.
    pub lag: u64,
    /// It still follows the branch that the last reorganisation abandoned, where there is one.
    pub on_abandoned_branch: bool,
    /// It answers no question at all.
    pub fault: Option<Fault>,
    /// Added to every nonce that it tells of the chain's state.
    pub nonce_skew: i8,
    /// What it tells of its pool.
    pub pool: PoolSight,
    /// It shows no receipt.
    pub hides_receipts: bool,
    /// It shows no logs, neither by themselves nor in receipts.
    pub hides_logs: bool,
    /// What it tells of the contracts' records.
    pub records: Records,
    /// What it tells of conditions and simulations.
    pub mood: Mood,
    /// How it answers broadcasts, where that is not what the chain would say. It does not keep the bytes then.
    pub refuses: Option<SendOutcome>,
    /// Suggested priority fee in wei per gas.
    pub tip: u128,
}

/// Why an endpoint has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    Timeout,
    Unreachable,
    RateLimited,
    Node,
    Garbage,
    WrongChain,
    /// Does not know the block that the question names (pruned, or not there yet).
    UnknownBlock,
}

/// What an endpoint tells of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PoolSight {
    #[default]
    Whole,
    /// It holds nothing: its pending nonce is its latest.
    Empty,
    /// Its pending nonce is lower by this, but not below its latest.
    Fewer(u8),
    /// Its pending nonce is higher by this.
    More(u8),
}

/// What an endpoint tells of `paidAt` and `referrerOf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Records {
    #[default]
    Honest,
    /// Nothing was ever paid or registered.
    Denies,
    /// Every payment asked about was paid in the block asked about.
    Invents,
}

/// What an endpoint tells of conditions, and of calls that it simulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mood {
    #[default]
    Honest,
    /// Both contracts are paused, there are no funds; every call reverts without a reason.
    Refuses,
    /// There are funds without end; every call passes.
    Approves,
}

/// What nodes suggest where nothing else is wanted: 1 gwei.
pub const TIP: u128 = 1_000_000_000;

impl Eye {
    /// An honest endpoint.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            lag: 0,
            on_abandoned_branch: false,
            fault: None,
            nonce_skew: 0,
            pool: PoolSight::default(),
            hides_receipts: false,
            hides_logs: false,
            records: Records::default(),
            mood: Mood::default(),
            refuses: None,
            tip: TIP,
        }
    }

    /// An honest endpoint that is `lag` blocks behind.
    #[must_use]
    pub fn behind(mut self, lag: u64) -> Self {
        self.lag = lag;
        self
    }

    /// One that answers nothing.
    #[must_use]
    pub fn failing(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }
}

impl View {
    /// One honest endpoint.
    pub fn honest() -> Self {
        Self::of([Eye::named("one")])
    }

    /// Two honest endpoints.
    pub fn honest_pair() -> Self {
        Self::of([Eye::named("one"), Eye::named("two")])
    }

    pub fn of(eyes: impl IntoIterator<Item = Eye>) -> Self {
        Self { eyes: eyes.into_iter().collect(), lone_refusals_count: false }
    }
}

impl Default for View {
    fn default() -> Self {
        Self::honest()
    }
}

impl Fault {
    /// The error that `endpoint` answers `method` with; `block` is what the question was pinned to.
    pub fn error(self, endpoint: &str, method: &'static str, block: &str) -> ChainError {
        let (endpoint, detail) = (endpoint.to_owned(), "simulated".to_owned());
        match self {
            Self::Timeout => ChainError::Timeout { endpoint, method },
            Self::Unreachable => ChainError::Unreachable { endpoint, method, detail },
            Self::RateLimited => ChainError::RateLimited { endpoint, method },
            Self::Node => ChainError::Node { endpoint, method, detail },
            Self::Garbage => ChainError::Garbage { endpoint, method, detail },
            Self::WrongChain => ChainError::WrongChain { endpoint, found: 1, expected: 0 },
            Self::UnknownBlock => ChainError::UnknownBlock { endpoint, block: block.to_owned() },
        }
    }
}
