//! The relayer.

pub mod chain;
pub mod keys;
pub mod signer;
