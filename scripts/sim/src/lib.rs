//! The whole relayer without a network: the production code over a simulated Redis and a simulated chain, driven by a seed
//! or by a model checker. Nothing here is shipped.

pub mod chain;
mod fenced;
pub mod fleet;
pub mod model;
pub mod patch;
pub mod redis;

/// A simulation allocates little things and lets go of them, all the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
