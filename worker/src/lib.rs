//! The relayer: consumers that check jobs, and one elected leader that signs them.
//!
//! Direction: `main → consumer | signer | movers → store | chain | keys → domain`. Consumers never import the signer.

pub mod build;
pub mod chain;
pub mod config;
pub mod consumer;
pub mod context;
pub mod gates;
pub mod keys;
pub mod max_loss;
pub mod metrics;
pub mod movers;
pub mod preflight;
pub mod serve;
pub mod signer;
