//! What every simulated relayer is configured with: the production defaults scaled to short blocks, read by the production
//! code.

use std::time::Duration;

use alloy::primitives::{Address, address};
use shared::env::Env;
use shared::money::CommissionRules;
use worker::config::Config;

pub const CHAIN_ID: u64 = 31_337;
pub const REGISTRY: Address = address!("5FbDB2315678afecb367f032d93F642f64180aa3");
pub const PAYOUT: Address = address!("e7f1725E7734CE288F8367e1Bb143E90bb3F0512");
/// How deep is final.
pub const CONFIRMATIONS: u64 = 3;
pub const BLOCK: Duration = Duration::from_millis(1_000);
/// How long a payout is held before it is queued.
pub const HOLD_MS: u64 = 0;

/// A relayer's configuration.
///
/// # Panics
/// Where the production code refuses these values.
pub fn config() -> Config {
    let env = Env::new(|name| {
        let value = match name {
            "REDIS_URL" => "redis://simulated/",
            "ETH_RPC_HTTPS" => "http://simulated/",
            "CHAIN_ID" => "31337",
            "AFFILIATE_REGISTRY_ADDRESS" => "0x5FbDB2315678afecb367f032d93F642f64180aa3",
            "AFFILIATE_PAYOUT_ADDRESS" => "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512",
            "RELAYER_PRIVATE_KEY" => "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
            "CONFIRMATIONS" => "3",
            "LEASE_TTL_MS" => "2000",
            "CLAIM_MIN_IDLE_MS" => "4500",
            "RPC_TIMEOUT_MS" => "1000",
            "POLL_MS" => "500",
            "BUMP_AFTER_BLOCKS" => "2",
            "MAX_OPEN_NONCES" => "4",
            "MAX_ATTEMPTS" => "5",
            _ => return None,
        };
        Some(value.to_owned())
    });
    match Config::read(env) {
        Ok(config) => config,
        Err(problems) => panic!("the simulation's configuration is refused: {problems:?}"),
    }
}

/// The merchant's programme: ten percent, half of it in SGE for hybrid referrers.
///
/// # Panics
/// Never: the numbers parse.
pub fn rules() -> CommissionRules {
    let number = "a number that parses";
    CommissionRules {
        commission: "1000".parse().expect(number),
        hybrid_sge: "5000".parse().expect(number),
        sge_per_usdc: "2".parse().expect(number),
    }
}
