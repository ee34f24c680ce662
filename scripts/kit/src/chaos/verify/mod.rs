//! The independent verifier: what chain and API say at the end, held against what was accepted.
//!
//! It shares no code with the worker. Events are decoded here, word by word; payment ids and amounts are computed here, from
//! the programme's terms alone; of the system it hears only what its public HTTP interface says.

mod compare;
mod facts;
#[cfg(test)]
mod tests;

use std::fmt;

pub use compare::{Watched, check, payment_id};
pub use facts::{Event, Facts, JobFact, Owed, Referral, Where, read};

/// The terms of the programme, as whole numbers.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub commission_bps: u128,
    pub hybrid_sge_bps: u128,
    /// Base units of SGE for one whole USDC.
    pub sge_units_per_usdc: u128,
    /// How deep a block must be before what it shows is final.
    pub confirmations: u64,
}

/// What is wrong with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// It was accepted, is due, and is not paid or not written.
    Lost,
    /// It was paid more often than once, or after it was said to be cancelled, or without anybody asking.
    Doubled,
    /// What the API says is not so.
    Untruthful,
    /// A nonce is missing or left over.
    Nonce,
    /// It has not ended.
    Unfinished,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub wrong: Wrong,
    pub what: String,
}

impl Finding {
    pub fn new(wrong: Wrong, what: impl Into<String>) -> Self {
        Self { wrong, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.wrong, self.what)
    }
}

/// How it ended, all in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Registrations and payments that were accepted.
    pub accepted: usize,
    pub paid: usize,
    /// Truthfully not paid: cancelled, refunded, or refused by the token.
    pub not_paid: usize,
    pub registered: usize,
    pub findings: Vec<Finding>,
}

impl Verdict {
    pub fn count(&self, wrong: Wrong) -> usize {
        self.findings.iter().filter(|finding| finding.wrong == wrong).count()
    }
}
