//! The relayer: consumers that check jobs, and one elected leader that signs them.
//!
//! Direction: `main → consumer | signer | movers → store | chain | keys → domain`. Consumers never import the signer.

/// A place between two durable effects, in a function that may fail as the store does. A test announces it with
/// `FAILPOINTS=at_<name>=print(…)` and stops or delays the process there with `<name>=…`; with `<name>=return` what was done
/// is done, and its reply is lost. One failpoint does one thing at a time. Nothing in builds without `failpoints`.
macro_rules! crash_point {
    ($name:literal) => {
        fail::fail_point!(concat!("at_", $name));
        fail::fail_point!($name, |_| Err(crate::lost_reply($name).into()));
    };
}

/// What a caller is told whose reply was lost.
#[cfg(feature = "failpoints")]
fn lost_reply(point: &'static str) -> shared::store::StoreError {
    shared::store::StoreError::Pool { operation: point, detail: "its reply is lost".to_owned() }
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
