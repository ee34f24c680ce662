//! The consumers: every relayer claims jobs, asks the chain what would become of them, and hands the good ones to the
//! leader. A claim is one script, a simulation one call, a hand-over one script, each for all jobs of a batch.
//!
//! A worker that dies leaves its jobs `checking`, with their entries pending in the group; another worker takes them over
//! once they have rested for longer than any handler may take. What the dead one may still have written is refused,
//! because taking over gives the job a new claim epoch. A job that comes back like this is handled alone, and one that
//! keeps killing its workers is dead-lettered.

mod claim;
mod reclaim;
mod sweep;

pub use claim::{Checked, claim_once, run as claim};
pub use reclaim::{round as reclaim_once, run as reclaim};
pub use sweep::Sweep;
