//! Real parts as child processes on free loopback ports in a private folder: Redis, Anvil, the contracts, the API and
//! a fleet of relayers.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let mut world = kit::world::World::builder().relayers(2).start().await?;
//! let client = world.client()?;
//! client.register("0x…", Some("0x…")).await?.expect(&[202])?;
//! let leader = world.leader(std::time::Duration::from_secs(10)).await?;
//! world.kill_relayer(leader, kit::world::Signal::SIGKILL).await?;
//! # Ok(()) }
//! ```
//!
//! Nothing outlives the [`World`]: dropping it kills every process group and removes the folder; a reaper does the
//! same when the harness itself is killed. A part that does not start is an error with the end of its log.

pub mod anvil;
pub mod api;
#[allow(missing_docs)]
pub mod bindings;
mod builder;
pub mod client;
pub mod contracts;
pub mod paths;
pub mod ports;
pub mod process;
pub mod redis;
pub mod relayer;
pub mod rpc_proxy;
pub mod settings;
pub mod tcp_proxy;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
pub use nix::sys::signal::Signal;
use tempfile::TempDir;

pub use self::redis::Redis;
pub use anvil::{Anvil, AnvilOptions, Mining};
pub use api::Api;
pub use builder::{Builder, Node};
pub use client::{Answer, Client, Delivery};
pub use contracts::Contracts;
pub use relayer::{Relayer, metric};
pub use rpc_proxy::{Fault, RpcProxy};
pub use settings::{Env, Programme, Settings};
pub use tcp_proxy::{LinkFault, TcpProxy};

use process::{Process, Reaper, until};

/// A whole system. The fields are dropped, and their processes killed, from top to bottom.
pub struct World {
    pub relayers: Vec<Relayer>,
    /// `None` where the builder was told to start no API.
    pub api: Option<Api>,
    pub contracts: Contracts,
    /// In front of the node, in the order given to [`Builder::endpoints`].
    pub proxies: Vec<RpcProxy>,
    /// The ways to Redis, where [`Builder::redis_links`] made some: the API's first, then one for each relayer.
    pub links: Vec<TcpProxy>,
    pub anvil: Anvil,
    pub redis: Redis,
    pub settings: Settings,
    common: Env,
    relayer_env: Env,
    folder: TempDir,
    reaper: Arc<Reaper>,
}

impl World {
    /// The choices before the start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A client of the API.
    pub fn client(&self) -> Result<Client> {
        self.api.as_ref().context("this world has no API")?.client()
    }

    /// The private folder; gone with the world.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What kills everything of this world should the harness be killed.
    pub fn reaper(&self) -> &Arc<Reaper> {
        &self.reaper
    }

    /// The environment that both binaries share, for starting one by hand.
    pub fn common_env(&self) -> &Env {
        &self.common
    }

    /// The index of the relayer that holds the lease now, if one says so.
    pub async fn leads_now(&mut self) -> Option<usize> {
        for relayer in &mut self.relayers {
            if relayer.leads().await {
                return Some(relayer.index);
            }
        }
        None
    }

    /// Waits until some relayer holds the lease, and gives its index.
    pub async fn leader(&mut self, limit: Duration) -> Result<usize> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            if let Some(index) = self.leads_now().await {
                return Ok(index);
            }
            if tokio::time::Instant::now() > deadline {
                let lease = self.redis.cli(&["GET", &self.key("lease")]).await;
                anyhow::bail!("no relayer leads after {limit:?}; the lease in Redis: {lease:?}");
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// The Redis key `name` of this world's lane.
    pub fn key(&self, name: &str) -> String {
        format!("ail:{{{}}}:{name}", self.settings.lane)
    }

    /// The holder of the lease as Redis has it: boot uuid and term.
    pub async fn lease(&self) -> Result<Option<(String, u64)>> {
        let value = self.redis.cli(&["GET", &self.key("lease")]).await?;
        match value.rsplit_once(':') {
            Some((boot, term)) => Ok(Some((boot.to_owned(), term.parse().context("the lease's term")?))),
            None => Ok(None),
        }
    }

    /// Puts `redis` in the place of this world's server, which is killed: whoever goes there by a link of its own goes to it
    /// from now on.
    pub fn fail_over(&mut self, redis: Redis) {
        self.redis.kill();
        for link in &self.links {
            link.retarget(redis.port());
        }
        let url = redis.url();
        self.common.insert("REDIS_URL".to_owned(), url.clone());
        self.relayer_env.insert("REDIS_URL".to_owned(), url);
        self.redis = redis;
    }

    /// Adds a relayer to the fleet, with `extra` in its environment, and gives its index.
    pub fn add_relayer(&mut self, extra: &Env) -> Result<usize> {
        let index = self.relayers.len();
        let mut env = self.relayer_env.clone();
        env.extend(extra.clone());
        self.relayers.push(Relayer::start(index, self.folder.path(), &self.reaper, env)?);
        Ok(index)
    }

    /// Sends `signal` to one relayer and waits until it has ended.
    pub async fn kill_relayer(&mut self, index: usize, signal: Signal) -> Result<()> {
        self.relayer(index)?.kill(signal).await
    }

    /// Starts one relayer again, with `extra` added to its environment (an empty value takes a variable away).
    pub fn restart_relayer(&mut self, index: usize, extra: &Env) -> Result<()> {
        self.relayer(index)?.restart(extra)
    }

    pub fn relayer(&mut self, index: usize) -> Result<&mut Relayer> {
        self.relayers.get_mut(index).with_context(|| format!("there is no relayer {index}"))
    }

    /// Waits until one relayer has ended by itself (a failpoint, a refused start), and gives its exit code: none after
    /// a signal.
    pub async fn until_ended(&mut self, index: usize, limit: Duration) -> Result<Option<i32>> {
        Ok(self.relayer(index)?.process().wait(limit).await?.code())
    }

    /// All that one relayer has logged.
    pub fn logs(&self, index: usize) -> String {
        self.relayers.get(index).map(Relayer::log).unwrap_or_default()
    }

    /// Waits until a line in the log of one relayer contains `text`.
    pub async fn until_logged(&self, index: usize, text: &str, limit: Duration) -> Result<String> {
        until(&format!("relayer {index} to log `{text}`"), limit, || async {
            Ok(self.logs(index).lines().find(|line| line.contains(text)).map(str::to_owned))
        })
        .await
    }

    /// Runs a subcommand of `affiliate-relayer` (`max-loss`, `reconcile`) and gives what it prints.
    pub async fn subcommand(&self, arguments: &[&str]) -> Result<String> {
        relayer::subcommand(arguments, &self.common).await
    }

    /// The logs of all processes, for the message of a failing test.
    pub fn all_logs(&mut self, lines: usize) -> String {
        let mut text = String::new();
        let api = self.api.as_mut().map(Api::process);
        for process in self.relayers.iter_mut().map(Relayer::process).chain(api) {
            text.push_str(&format!("--- {}\n{}\n", process.name(), process.log_tail(lines)));
        }
        text
    }

    /// An error when a process that should run has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(api) = &mut self.api {
            api.process().check()?;
        }
        self.relayers.iter_mut().map(Relayer::process).try_for_each(Process::check)
    }
}
