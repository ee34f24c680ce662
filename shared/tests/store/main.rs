//! The store against a real Redis: one program, because each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, reason = "tests stop at what is unexpected")]

mod claims;
mod durability;
mod feed;
mod fleet;
mod indexes;
mod intake;
mod job_machine;
mod learned;
mod lease;
mod query;
mod recovery;
mod retention;
mod signing;
mod support;
mod sync;
mod transactions;
