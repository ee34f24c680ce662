//! What is checked: configurations, each with budgets for two or three kinds of fault, so that each space is finite.

use std::time::Duration;

use alloy::primitives::{Address, address};
use shared::env::Env;
use shared::money::CommissionRules;
use worker::config::Config;

use super::action::Glance;

/// The signer's account, whoever leads.
pub(super) const SIGNER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
/// How deep is final: what must hold, whatever a mutant is configured with.
pub(super) const CONFIRMATIONS: u64 = 1;
/// How long a lease lives, in milliseconds. It is trusted for four fifths of that.
pub(super) const TTL: u64 = 2_000;
/// One tick: after one a lease lives and is trusted, after two it is neither.
pub(super) const TICK: u64 = 1_200;

/// What may happen so often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Budget {
    /// Blocks that are made.
    pub(super) blocks: u8,
    /// Blocks that are undone, one at a time.
    pub(super) reorgs: u8,
    /// Transactions that a pool forgets.
    pub(super) drops: u8,
    /// Ticks of all clocks.
    pub(super) ticks: u8,
    /// Ticks at which one process stood still.
    pub(super) stalls: u8,
    /// Processes that die.
    pub(super) crashes: u8,
    /// Executed, and the answer lost.
    pub(super) lost: u8,
    /// Never arrived.
    pub(super) undelivered: u8,
    /// Executed, and answered after other things have happened.
    pub(super) late: u8,
    /// Steps that see the chain through a faulty endpoint.
    pub(super) glances: u8,
    /// Redis loses everything after some earlier moment.
    pub(super) rollbacks: u8,
    /// Further deliveries of the payments.
    pub(super) deliveries: u8,
    pub(super) refunds: u8,
    pub(super) cancels: u8,
    pub(super) retries: u8,
    /// Renewals of leases.
    pub(super) renewals: u8,
    /// Leases given up.
    pub(super) resignations: u8,
}

/// Where the explored part begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The payments are queued.
    Queued,
    /// They are checked.
    Ready,
    /// One of them is journaled, and every node refuses its transaction: it will be cancelled with the next block.
    Refused,
}

/// One configuration.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) signers: usize,
    pub(super) consumers: usize,
    pub(super) payments: usize,
    pub(super) start: Start,
    /// Whether the first signer leads already.
    pub(super) leads: bool,
    pub(super) budget: Budget,
    pub(super) glances: &'static [Glance],
    /// Every question is a step of its own, also those that change nothing.
    pub(super) fine: bool,
    /// Only a large check does it.
    pub(super) large: bool,
}

impl Setting {
    const fn plain(name: &'static str, budget: Budget) -> Self {
        Self {
            name,
            signers: 2,
            consumers: 0,
            payments: 1,
            start: Start::Ready,
            leads: false,
            budget,
            glances: &[],
            fine: false,
            large: false,
        }
    }
}

const NONE: Budget = Budget {
    blocks: 0,
    reorgs: 0,
    drops: 0,
    ticks: 0,
    stalls: 0,
    crashes: 0,
    lost: 0,
    undelivered: 0,
    late: 0,
    glances: 0,
    rollbacks: 0,
    deliveries: 0,
    refunds: 0,
    cancels: 0,
    retries: 0,
    renewals: 0,
    resignations: 0,
};

/// All configurations.
pub(super) fn settings() -> Vec<Setting> {
    vec![Setting::plain("expiry", Budget { blocks: 2, ticks: 2, stalls: 2, crashes: 1, ..NONE })]
}

/// A relayer's configuration: production defaults scaled to blocks and leases that are steps, read by the production code.
pub(super) fn config() -> Config {
    let env = Env::new(|name| {
        let value = match name {
            "REDIS_URL" => "redis://modelled/",
            "ETH_RPC_HTTPS" => "http://modelled/",
            "CHAIN_ID" => "31337",
            "AFFILIATE_REGISTRY_ADDRESS" => "0x00000000000000000000000000000000000000a1",
            "AFFILIATE_PAYOUT_ADDRESS" => "0x00000000000000000000000000000000000000a2",
            "RELAYER_PRIVATE_KEY" => "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
            "CONFIRMATIONS" => "1",
            "LEASE_TTL_MS" => "2000",
            "BUMP_AFTER_BLOCKS" => "1",
            "MAX_OPEN_NONCES" => "2",
            "MAX_ATTEMPTS" => "5",
            _ => return None,
        };
        Some(value.to_owned())
    });
    let mut config = match Config::read(env) {
        Ok(config) => config,
        Err(problems) => panic!("the model's configuration is refused: {problems:?}"),
    };
    // Delays have no length: whether one is over would be nothing but another tick.
    config.retry.base = Duration::ZERO;
    config.claim_min_idle = Duration::from_millis(TICK);
    config
}

/// Ten percent.
pub(super) fn rules() -> CommissionRules {
    let number = "a number that parses";
    CommissionRules {
        commission: "1000".parse().expect(number),
        hybrid_sge: "5000".parse().expect(number),
        sge_per_usdc: "2".parse().expect(number),
    }
}
