//! The relayer: consumers that check jobs, and one elected leader that signs them.
//!
//! Direction: `main → consumer | signer | movers → store | chain | keys → domain`. Consumers never import the signer.

/// A place between two durable effects. A test announces it with `FAILPOINTS=at_<name>=print(…)` and stops or delays the
/// process there with `<name>=…`: one failpoint does one thing at a time. Nothing in builds without `failpoints`.
macro_rules! crash_point {
    ($name:literal) => {
        fail::fail_point!(concat!("at_", $name));
        fail::fail_point!($name);
    };
}

pub mod build;
pub mod chain;
pub mod commands;
pub mod config;
pub mod consumer;
pub mod context;
pub mod doctor;
pub mod gates;
pub mod heartbeat;
pub mod keys;
pub mod max_loss;
pub mod metrics;
pub mod movers;
pub mod preflight;
pub mod reconcile;
pub mod serve;
pub mod signer;
pub mod verdict;
