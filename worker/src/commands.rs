//! The short commands of `affiliate-relayer`, and how it refuses to start.

use std::process::ExitCode;

use alloy::primitives::Address;
use shared::env::Env;
use shared::store::Store;

use crate::chain::Chain;
use crate::config::RedisConfig;
use crate::max_loss::MaxLoss;

/// Bad configuration (`EX_USAGE`).
pub const EXIT_CONFIG: u8 = 64;
/// Redis or the chain is not as it must be (`EX_UNAVAILABLE`).
pub const EXIT_UNAVAILABLE: u8 = 69;

/// Says what is wrong, all of it, and gives the exit code.
pub fn refuse(what: &str, problems: &[String], code: u8) -> ExitCode {
    eprintln!("affiliate-relayer: {what}:");
    for problem in problems {
        eprintln!("  - {problem}");
    }
    ExitCode::from(code)
}

/// Connects to Redis, or says why not.
pub async fn connect(redis: &RedisConfig) -> Result<Store, ExitCode> {
    let store = Store::connect(redis.url.expose(), &redis.lane, redis.durability).await;
    store.map_err(|error| refuse("no connection to Redis", &[error.to_string()], EXIT_UNAVAILABLE))
}

/// Creates the consumer group and the schema version. Comes first, when there are no contracts yet: it asks for Redis only.
pub async fn migrate(env: Env<'_>) -> ExitCode {
    let redis = match RedisConfig::read(env) {
        Ok(redis) => redis,
        Err(problems) => return refuse("the configuration is wrong", &problems, EXIT_CONFIG),
    };
    let store = match connect(&redis).await {
        Ok(store) => store,
        Err(refused) => return refused,
    };
    match store.migrate().await {
        Ok(created) => {
            println!("{}", if created { "schema created" } else { "schema is up to date" });
            ExitCode::SUCCESS
        }
        Err(error) => refuse("the migration failed", &[error.to_string()], EXIT_UNAVAILABLE),
    }
}

/// Prints what a stolen key could spend.
pub async fn max_loss(chain: &dyn Chain, signer: Address) -> ExitCode {
    let found = match chain.head().await {
        Ok(head) => chain.conditions(signer, head.hash).await,
        Err(error) => Err(error),
    };
    match found {
        Ok(conditions) => {
            println!("{}", MaxLoss::from(&conditions));
            ExitCode::SUCCESS
        }
        Err(error) => refuse("the limits cannot be read", &[error.to_string()], EXIT_UNAVAILABLE),
    }
}
