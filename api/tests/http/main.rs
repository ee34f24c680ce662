//! The HTTP interface against a real Redis, through a real socket.

#![allow(unreachable_pub, reason = "a test binary has no outside")]
#![allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]

mod auth;
mod bad_input;
mod document;
mod events;
mod fleet;
mod health;
mod jobs;
mod operations;
mod payments;
mod process;
mod refunds;
mod signatures;
mod support;
mod transactions;
