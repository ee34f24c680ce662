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
/// One tick in milliseconds. Leases live for 2,000 and are trusted for 1,600: after one tick they are both, after two neither.
pub(super) const TICK: u64 = 1_200;

/// A budget with one number per kind of fault.
macro_rules! budget {
    ($($(#[$about:meta])* $fault:ident,)+) => {
        /// What may happen so often.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub(super) struct Budget {
            $($(#[$about])* pub(super) $fault: u8,)+
        }

        impl Budget {
            const NONE: Self = Self { $($fault: 0,)+ };

            /// `false` where there is no fault of this name.
            pub(super) fn set(&mut self, fault: &str, times: u8) -> bool {
                match fault {
                    $(stringify!($fault) => self.$fault = times,)+
                    _ => return false,
                }
                true
            }
        }
    };
}

budget! {
    /// Blocks that are made.
    blocks,
    /// Blocks that are undone, one at a time.
    reorgs,
    /// Transactions that a pool forgets.
    drops,
    /// Ticks of all clocks.
    ticks,
    /// Ticks at which one process stood still.
    stalls,
    /// Processes that die.
    crashes,
    /// Executed, and the answer lost.
    lost,
    /// Never arrived.
    undelivered,
    /// Executed, and answered after other things have happened.
    late,
    /// Steps that see the chain through a faulty endpoint.
    glances,
    /// Redis loses everything after some earlier moment.
    rollbacks,
    /// Further deliveries of the payments.
    deliveries,
    refunds,
    cancels,
    retries,
    /// Renewals of leases.
    renewals,
    /// Leases given up.
    resignations,
    /// Sixteen empty blocks at once: as long as a leader waits before it believes in a hole, or that nobody has a receipt.
    calms,
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
    /// Followers ask for the lease while somebody holds it as well. Refused, that changes nothing.
    pub(super) contends: bool,
    pub(super) size: Size,
}

/// When a configuration is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Always, and to its end: small enough for the test suite.
    Suite,
    /// Only in the larger run, which looks at so many transitions of it at most.
    Large,
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
            contends: false,
            size: Size::Large,
        }
    }
}

const NONE: Budget = Budget::NONE;

/// All configurations.
pub(super) fn settings() -> Vec<Setting> {
    let mut all = small();
    all.iter_mut().for_each(|setting| setting.size = Size::Suite);
    all.extend(large());
    all
}

/// Those that are walked to their end within seconds.
fn small() -> Vec<Setting> {
    let plain = Setting::plain;
    vec![
        Setting { leads: true, ..plain("zombie", Budget { blocks: 2, ticks: 2, stalls: 2, ..NONE }) },
        Setting { fine: true, ..plain("election", Budget { ticks: 2, late: 1, ..NONE }) },
        Setting {
            leads: true,
            fine: true,
            contends: true,
            ..plain("contest", Budget { ticks: 2, resignations: 1, ..NONE })
        },
        Setting {
            signers: 1,
            leads: true,
            consumers: 1,
            payments: 2,
            start: Start::Queued,
            ..plain("timeout", Budget { lost: 1, ..NONE })
        },
        Setting {
            signers: 1,
            leads: true,
            ..plain("merchant", Budget { blocks: 3, deliveries: 1, refunds: 1, cancels: 1, ..NONE })
        },
        Setting { signers: 1, leads: true, ..plain("restore", Budget { blocks: 3, rollbacks: 1, ..NONE }) },
        Setting {
            signers: 1,
            leads: true,
            ..plain("hole", Budget { blocks: 1, reorgs: 1, rollbacks: 1, calms: 1, ..NONE })
        },
        Setting {
            signers: 1,
            leads: true,
            consumers: 1,
            start: Start::Queued,
            ..plain("replay", Budget { blocks: 1, rollbacks: 1, ..NONE })
        },
        Setting {
            signers: 1,
            leads: true,
            start: Start::Refused,
            ..plain("refusal", Budget { blocks: 4, refunds: 1, drops: 1, crashes: 1, ..NONE })
        },
        plain("undone", Budget { blocks: 3, reorgs: 1, ..NONE }),
    ]
}

/// Those that go further.
fn large() -> Vec<Setting> {
    use Glance::{Behind, OneAbandoned, OneBehind, OneDenies, OneForgetful, OneInvents, Silent};
    let plain = Setting::plain;
    vec![
        plain("expiry", Budget { blocks: 2, ticks: 4, stalls: 3, crashes: 1, ..NONE }),
        plain(
            "renewal",
            Budget { blocks: 2, ticks: 4, stalls: 1, late: 1, renewals: 2, resignations: 1, ..NONE },
        ),
        Setting {
            payments: 2,
            ..plain("silence", Budget { blocks: 2, ticks: 2, lost: 2, undelivered: 1, crashes: 1, ..NONE })
        },
        plain("pool", Budget { blocks: 4, drops: 2, ticks: 2, stalls: 2, crashes: 1, ..NONE }),
        plain("reorg", Budget { blocks: 4, reorgs: 2, crashes: 1, ticks: 2, ..NONE }),
        Setting {
            consumers: 1,
            ..plain(
                "rollback",
                Budget { blocks: 3, rollbacks: 1, deliveries: 1, ticks: 2, crashes: 1, ..NONE },
            )
        },
        Setting {
            glances: &[Behind, OneBehind, OneForgetful, OneAbandoned, OneDenies, OneInvents, Silent],
            ..plain("endpoints", Budget { blocks: 3, reorgs: 1, glances: 2, crashes: 1, ticks: 2, ..NONE })
        },
        Setting {
            consumers: 1,
            start: Start::Queued,
            ..plain(
                "refund",
                Budget { blocks: 3, refunds: 1, cancels: 1, deliveries: 1, ticks: 2, crashes: 1, ..NONE },
            )
        },
        Setting {
            start: Start::Refused,
            leads: true,
            ..plain(
                "cancel",
                Budget { blocks: 5, refunds: 1, ticks: 2, stalls: 2, crashes: 1, drops: 1, ..NONE },
            )
        },
        Setting { fine: true, ..plain("torn", Budget { blocks: 1, ticks: 2, stalls: 2, ..NONE }) },
    ]
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
    // So that payments meet at different moments, not in one batch.
    config.claim_count = 1;
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
