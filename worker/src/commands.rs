//! The short commands of `affiliate-relayer`, and how it refuses to start.

use std::process::ExitCode;

use alloy::primitives::Address;
use shared::store::Store;

use crate::chain::Chain;
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

/// Creates the consumer group and the schema version.
pub async fn migrate(store: &Store) -> ExitCode {
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
