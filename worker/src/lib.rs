//! The relayer.

pub mod chain;
