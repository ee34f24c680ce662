//! The domain of Affiliate Instant Liquidity, its pure state machines, and the only code that speaks to Redis.
pub mod ids;
pub mod money;
