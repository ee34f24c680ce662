//! The whole relayer without a network: the production code over a simulated Redis and a simulated chain, driven by a seed
//! or by a model checker. Nothing here is shipped.

pub mod chain;
mod fenced;
pub mod fleet;
pub mod model;
pub mod patch;
pub mod redis;
