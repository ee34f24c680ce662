//! Asks Redis and the chain, at the same time, each question with a deadline: what does not answer costs its own lines and
//! no others. Only reads; signs nothing.

use std::fmt::Display;
use std::time::Duration;

use alloy::primitives::Address;
use shared::clock::Clock;
use shared::store::{Checkup, Fleet, Journal, ServerView, Store};
use tokio::time::{Instant, timeout_at};

use super::contracts::ContractFacts;
use super::report::Fact;
use super::server::{self, ClockReading};
use super::{chain, lane};
use crate::chain::alloy::AlloyChain;
use crate::chain::{Chain, Conditions, EndpointView, Head, NonceRange};
use crate::config::Config;
use crate::signer::fees::Tips;

/// For the connection to Redis, and then for all questions to it together.
const REDIS_DEADLINE: Duration = Duration::from_secs(2);
/// On top of what two questions to a node may take.
const SLACK: Duration = Duration::from_secs(1);

const NO_REDIS: &str = "not asked: Redis does not answer";
const NO_CHAIN: &str = "not asked: no endpoint can be used";
const NO_CONTRACT: &str = "not asked: a contract is missing";

/// What Redis told.
pub(super) struct RedisFacts {
    pub(super) connection: Fact<()>,
    pub(super) server: Fact<ServerView>,
    pub(super) clock: Fact<ClockReading>,
    pub(super) schema: Fact<Option<u64>>,
    pub(super) fleet: Fact<Fleet>,
    pub(super) checkup: Fact<Checkup>,
}

/// What the chain told.
pub(super) struct ChainFacts {
    pub(super) endpoints: Vec<EndpointView>,
    pub(super) head: Fact<Head>,
    /// Our clock when the head had come, in unix seconds.
    pub(super) now: u64,
    pub(super) tip: Fact<u128>,
    pub(super) nonces: Fact<NonceRange>,
    pub(super) contracts: ContractFacts,
    pub(super) decimals: Fact<(u8, u8)>,
    pub(super) conditions: Fact<Conditions>,
}

/// The answer, or that there was none in time.
async fn within<T, E: Display>(until: Instant, question: impl Future<Output = Result<T, E>>) -> Fact<T> {
    match timeout_at(until, question).await {
        Ok(answer) => answer.into(),
        Err(_) => Fact::Unreadable("no answer in time".to_owned()),
    }
}

/// Connects to Redis; the store is gone with the error.
pub(super) async fn connect(config: &Config) -> Result<Store, String> {
    let redis = &config.redis;
    let connecting = Store::connect(redis.url.expose(), &redis.lane, redis.durability);
    match tokio::time::timeout(REDIS_DEADLINE, connecting).await {
        Ok(Ok(store)) => Ok(store),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no connection within {} s", REDIS_DEADLINE.as_secs())),
    }
}

impl RedisFacts {
    pub(super) async fn of(store: &Result<Store, String>, clock: Clock) -> Self {
        let store = match store {
            Ok(store) => store,
            Err(error) => return Self::none(error),
        };
        let until = Instant::now() + REDIS_DEADLINE;
        // First and alone: what is asked at the same time would count as a slow way.
        let clock = within(until, server::clock(store, clock)).await;
        let (server, schema, fleet, checkup) = tokio::join!(
            within(until, store.server()),
            within(until, store.schema()),
            within(until, store.fleet()),
            within(until, store.checkup(lane::LATELY)),
        );
        let connection = match &clock {
            Fact::Unreadable(error) => Fact::Unreadable(error.clone()),
            _ => Fact::Known(()),
        };
        if connection.known().is_none() && server.known().is_none() {
            return Self { connection, ..Self::none("") };
        }
        Self { connection: Fact::Known(()), server, clock, schema, fleet, checkup }
    }

    fn none(error: &str) -> Self {
        Self {
            connection: Fact::Unreadable(error.to_owned()),
            server: Fact::NotAsked(NO_REDIS),
            clock: Fact::NotAsked(NO_REDIS),
            schema: Fact::NotAsked(NO_REDIS),
            fleet: Fact::NotAsked(NO_REDIS),
            checkup: Fact::NotAsked(NO_REDIS),
        }
    }
}

/// What the journal says about the signer. To be asked after the chain's nonce is known: the journal only ever grows.
pub(super) async fn journal(store: &Result<Store, String>, signer: Address) -> Fact<Journal> {
    match store {
        Ok(store) => within(Instant::now() + REDIS_DEADLINE, store.signer_journal(signer)).await,
        Err(_) => Fact::NotAsked(NO_REDIS),
    }
}

/// The part of the contracts' facts that a start rests on.
pub(crate) async fn contracts(config: &Config, node: &AlloyChain, relayer: Address) -> ContractFacts {
    let until = Instant::now() + config.rpc_timeout + SLACK;
    let (registry_code, payout_code, wiring, roles) = tokio::join!(
        within(until, node.has_code(config.registry)),
        within(until, node.has_code(config.payout)),
        within(until, node.wiring()),
        within(until, node.has_roles(relayer)),
    );
    let missing = |code: &Fact<bool>| code.known() == Some(&false);
    let (no_registry, no_payout) = (missing(&registry_code), missing(&payout_code));
    ContractFacts {
        // What an address without code answers is no news about the contract.
        wiring: if no_payout { Fact::NotAsked(NO_CONTRACT) } else { wiring },
        roles: if no_registry || no_payout { Fact::NotAsked(NO_CONTRACT) } else { roles },
        registry_code,
        payout_code,
    }
}

impl ChainFacts {
    pub(super) async fn ask(config: &Config, node: &AlloyChain, signer: Address, clock: Clock) -> Self {
        let endpoints = node.check_endpoints().await;
        let now = clock.unix_seconds();
        let Some(head) = chain::best_head(&endpoints) else { return Self::none(endpoints, now) };
        let until = Instant::now() + config.rpc_timeout + SLACK;
        let decimals = async {
            let wired = node.wiring().await?;
            tokio::try_join!(node.decimals(wired.usdc), node.decimals(wired.sge))
        };
        let tip = async {
            let suggested = node.priority_fees().await;
            suggested.map(|fees| Tips::of(&fees, config.max_tip).unwrap_or(Tips::USUAL).first())
        };
        let (tip, nonces, contracts, decimals, conditions) = tokio::join!(
            within(until, tip),
            within(until, node.nonce_latest(signer)),
            contracts(config, node, signer),
            within(until, decimals),
            within(until, node.conditions(signer, head.hash)),
        );
        let missing = |code: &Fact<bool>| code.known() == Some(&false);
        let no_payout = missing(&contracts.payout_code);
        let no_contract = no_payout || missing(&contracts.registry_code);
        Self {
            endpoints,
            head: Fact::Known(head),
            now,
            tip,
            nonces,
            decimals: if no_payout { Fact::NotAsked(NO_CONTRACT) } else { decimals },
            conditions: if no_contract { Fact::NotAsked(NO_CONTRACT) } else { conditions },
            contracts,
        }
    }

    fn none(endpoints: Vec<EndpointView>, now: u64) -> Self {
        Self {
            endpoints,
            head: Fact::NotAsked(NO_CHAIN),
            now,
            tip: Fact::NotAsked(NO_CHAIN),
            nonces: Fact::NotAsked(NO_CHAIN),
            contracts: ContractFacts {
                registry_code: Fact::NotAsked(NO_CHAIN),
                payout_code: Fact::NotAsked(NO_CHAIN),
                wiring: Fact::NotAsked(NO_CHAIN),
                roles: Fact::NotAsked(NO_CHAIN),
            },
            decimals: Fact::NotAsked(NO_CHAIN),
            conditions: Fact::NotAsked(NO_CHAIN),
        }
    }
}
