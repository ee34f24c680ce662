//! The domain of Affiliate Instant Liquidity, its pure state machines, and the only code that speaks to Redis.

pub mod clock;
pub mod env;
pub mod ids;
pub mod job;
pub mod job_state;
pub mod lease;
pub mod money;
pub mod retry;
pub mod store;
pub mod tasks;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tls;
pub mod tx;
pub mod tx_state;

/// Of every program that links this: a request, a job and a message from a node are many little things. It takes less CPU than
/// the allocator of glibc, and some 20 to 30 MB for it (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
