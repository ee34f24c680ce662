//! The chain as real endpoints show it: one program, because each would be linked on its own otherwise.
#![allow(clippy::unwrap_used, reason = "tests stop at what is unexpected")]

mod broadcast;
mod chain;
mod endpoints;
mod heads;
mod support;
