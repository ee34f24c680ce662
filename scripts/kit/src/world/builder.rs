//! The choices before a world starts, and the order in which its parts do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::U256;
use anyhow::{Context as _, Result};

use super::anvil::{Anvil, AnvilOptions, Mining};
use super::contracts::Contracts;
use super::process::Reaper;
use super::redis::Redis;
use super::rpc_proxy::{Fault, RpcProxy};
use super::settings::{Env, Programme, Settings};
use super::{Api, Relayer, TcpProxy, World, relayer};

/// How long API and fleet may take until they are ready.
const READY: Duration = Duration::from_secs(60);

/// One of the endpoints that the relayers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The node itself.
    Anvil,
    /// A proxy in front of it, with this fault at the start; found in [`World::proxies`].
    Proxy(Fault),
}

/// The options of a [`World`], each with a default that suits a quick test.
#[derive(Debug, Clone)]
pub struct Builder {
    anvil: AnvilOptions,
    settings: Settings,
    limits: Env,
    usdc: u128,
    sge: u128,
    api: bool,
    relayers: usize,
    websocket: bool,
    endpoints: Vec<Node>,
    redis_links: bool,
    api_env: Env,
    relayer_env: Env,
    single_env: BTreeMap<usize, Env>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            anvil: AnvilOptions::default(),
            settings: Settings::default(),
            limits: Env::new(),
            usdc: 1_000_000_000_000,
            sge: 1_000_000_000_000_000_000_000_000,
            api: true,
            relayers: 1,
            websocket: false,
            endpoints: vec![Node::Anvil],
            redis_links: false,
            api_env: Env::new(),
            relayer_env: Env::new(),
            single_env: BTreeMap::new(),
        }
    }
}

impl Builder {
    /// When blocks are made, once the contracts are deployed.
    pub fn mining(mut self, mining: Mining) -> Self {
        self.anvil.mining = mining;
        self
    }

    /// Everything about the node.
    pub fn anvil(mut self, options: AnvilOptions) -> Self {
        self.anvil = options;
        self
    }

    pub fn confirmations(mut self, blocks: u64) -> Self {
        self.settings.confirmations = blocks;
        self
    }

    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.settings.max_attempts = attempts;
        self
    }

    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.settings.lease_ttl = ttl;
        self
    }

    pub fn programme(mut self, programme: Programme) -> Self {
        self.settings.programme = programme;
        self
    }

    /// A limit that `scripts/deploy` takes: `USDC_CAP`, `USDC_WINDOW_LIMIT`, `WINDOW_SECONDS` and the like.
    pub fn limit(mut self, name: &str, value: impl ToString) -> Self {
        self.limits.insert(name.to_owned(), value.to_string());
        self
    }

    /// What the payout contract holds at the start, in base units.
    pub fn funds(mut self, usdc: u128, sge: u128) -> Self {
        (self.usdc, self.sge) = (usdc, sge);
        self
    }

    /// Starts no API.
    pub fn without_api(mut self) -> Self {
        self.api = false;
        self
    }

    pub fn relayers(mut self, count: usize) -> Self {
        self.relayers = count;
        self
    }

    /// Gives the relayers `ETH_RPC_WSS`.
    pub fn websocket(mut self) -> Self {
        self.websocket = true;
        self
    }

    /// What the relayers get as `ETH_RPC_HTTPS`, in this order. Default: the node alone.
    pub fn endpoints(mut self, endpoints: &[Node]) -> Self {
        self.endpoints = endpoints.to_vec();
        self
    }

    /// Gives the API and each relayer a way to Redis of its own, which can be disturbed: see [`World::links`].
    pub fn redis_links(mut self) -> Self {
        self.redis_links = true;
        self
    }

    pub fn api_env(mut self, name: &str, value: impl ToString) -> Self {
        self.api_env.insert(name.to_owned(), value.to_string());
        self
    }

    /// A variable for every relayer.
    pub fn relayer_env(mut self, name: &str, value: impl ToString) -> Self {
        self.relayer_env.insert(name.to_owned(), value.to_string());
        self
    }

    /// A variable for one relayer.
    pub fn relayer_env_of(mut self, index: usize, name: &str, value: impl ToString) -> Self {
        self.single_env.entry(index).or_default().insert(name.to_owned(), value.to_string());
        self
    }

    /// Starts everything and waits until the API is ready and each relayer answers.
    pub async fn start(self) -> Result<World> {
        let folder = tempfile::Builder::new().prefix("ail-world-").tempdir().context("make a folder")?;
        let reaper = Reaper::start(folder.path())?;
        let (redis, anvil) = tokio::try_join!(
            Redis::start(folder.path(), &reaper),
            Anvil::start(folder.path(), &reaper, &self.anvil)
        )?;
        let contracts = Contracts::deploy(folder.path(), &reaper, &anvil, &self.limits).await?;
        contracts.fund(U256::from(self.usdc), U256::from(self.sge)).await?;
        anvil.set_mining(self.anvil.mining).await?;

        let common = self.settings.common(&redis.url(), &anvil.url(), &contracts.addresses);
        let mut relayer_env = common.clone();
        let mut proxies = Vec::new();
        relayer_env.insert("ETH_RPC_HTTPS".to_owned(), endpoint_urls(&self.endpoints, &anvil, &mut proxies)?);
        if self.websocket {
            relayer_env.insert("ETH_RPC_WSS".to_owned(), anvil.ws_url());
        }
        relayer_env.extend(self.relayer_env.clone());
        if self.api || self.relayers > 0 {
            relayer::subcommand(&["migrate"], &common).await?;
        }
        let mut world = World {
            relayers: Vec::new(),
            api: None,
            contracts,
            proxies,
            links: Vec::new(),
            anvil,
            redis,
            settings: self.settings.clone(),
            common,
            relayer_env,
            folder,
            reaper,
        };
        self.start_binaries(&mut world).await?;
        Ok(world)
    }

    async fn start_binaries(&self, world: &mut World) -> Result<()> {
        let mut api_env = self.api_env.clone();
        if self.redis_links {
            for _ in 0..=self.relayers {
                world.links.push(TcpProxy::start(world.redis.port())?);
            }
            api_env.insert("REDIS_URL".to_owned(), redis_url(&world.links[0]));
        }
        for index in 0..self.relayers {
            let mut env = self.single_env.get(&index).cloned().unwrap_or_default();
            if let Some(link) = world.links.get(index + 1) {
                env.insert("REDIS_URL".to_owned(), redis_url(link));
            }
            world.add_relayer(&env)?;
        }
        if self.api {
            let reaper = Arc::clone(&world.reaper);
            world.api = Some(Api::start(world.folder.path(), &reaper, world.common.clone(), &api_env)?);
        }
        for relayer in &mut world.relayers {
            answers(relayer).await?;
        }
        if let Some(api) = &mut world.api {
            let client = api.client()?;
            tokio::select! {
                ready = client.until_ready(READY) => ready.context(api.process().log_tail(10))?,
                ended = api.process().wait(READY * 2) => {
                    ended?;
                    api.process().check()?;
                }
            }
        }
        world.check()
    }
}

/// The urls of `endpoints`, separated by commas; proxies are started on the way.
fn endpoint_urls(endpoints: &[Node], anvil: &Anvil, proxies: &mut Vec<RpcProxy>) -> Result<String> {
    let mut urls = Vec::new();
    for endpoint in endpoints {
        urls.push(match endpoint {
            Node::Anvil => anvil.url(),
            Node::Proxy(fault) => {
                let proxy = RpcProxy::start(&anvil.url())?;
                proxy.set(*fault);
                let url = proxy.url();
                proxies.push(proxy);
                url
            }
        });
    }
    Ok(urls.join(","))
}

fn redis_url(link: &TcpProxy) -> String {
    format!("redis://127.0.0.1:{}", link.port())
}

/// Waits until the relayer serves its metrics; an error as soon as it has ended.
async fn answers(relayer: &mut Relayer) -> Result<()> {
    let deadline = tokio::time::Instant::now() + READY;
    while let Err(error) = relayer.metrics().await {
        relayer.process().check()?;
        if tokio::time::Instant::now() > deadline {
            let log = relayer.process().log_tail(20);
            return Err(error)
                .with_context(|| format!("relayer {} never answered; its log ends:\n{log}", relayer.index));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}
