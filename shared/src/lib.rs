//! The domain of Affiliate Instant Liquidity, its pure state machines, and the only code that speaks to Redis.

pub mod clock;
pub mod ids;
pub mod job;
pub mod job_state;
pub mod money;
pub mod tx;
pub mod tx_state;
