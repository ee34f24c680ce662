//! The HTTP interface against a real Redis, through a real socket.

#![allow(unreachable_pub, reason = "a test binary has no outside")]

mod auth;
mod bad_input;
mod document;
mod health;
mod jobs;
mod operations;
mod payments;
mod process;
mod refunds;
mod signatures;
mod support;
