//! The same things happen to both, the simulated one and the real one; whatever can be asked, both must answer the same.
#![allow(clippy::unwrap_used, reason = "tests stop at what is unexpected")]
#![allow(unreachable_pub, reason = "the modules are shared within this program only")]

mod chain;
#[cfg(target_os = "linux")]
mod redis;
