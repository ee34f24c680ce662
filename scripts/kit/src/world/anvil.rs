//! A private EVM node, and the ways to disturb it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, U256};
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder};
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::process::{Process, Reaper, until};
use super::{paths, ports};

/// The chain id of development chains.
pub const CHAIN_ID: u64 = 31_337;

/// When blocks are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// One for each transaction, at once.
    Auto,
    /// One every so many seconds.
    Every(u64),
    /// Only by [`Anvil::mine`].
    Manual,
}

/// How the node is started.
#[derive(Debug, Clone)]
pub struct AnvilOptions {
    pub mining: Mining,
    pub gas_limit: u64,
    /// The base fee of the first block, in wei.
    pub base_fee: u64,
    pub slots_in_an_epoch: u64,
    pub extra: Vec<String>,
}

impl Default for AnvilOptions {
    fn default() -> Self {
        let mining = Mining::Every(1);
        Self {
            mining,
            gas_limit: 30_000_000,
            base_fee: 1_000_000_000,
            slots_in_an_epoch: 32,
            extra: Vec::new(),
        }
    }
}

/// A running node with its ten well-known, funded, unlocked accounts.
pub struct Anvil {
    process: Process,
    port: u16,
    http: reqwest::Client,
    provider: DynProvider,
}

impl Anvil {
    /// Starts the node with automatic mining, so that contracts deploy quickly; see [`Anvil::set_mining`].
    pub(super) async fn start(world: &Path, reaper: &Arc<Reaper>, options: &AnvilOptions) -> Result<Self> {
        let mut last = None;
        for _ in 0..3 {
            match Self::launch(world, reaper, options).await {
                Ok(anvil) => return Ok(anvil),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("never tried"))).context("start Anvil")
    }

    async fn launch(world: &Path, reaper: &Arc<Reaper>, options: &AnvilOptions) -> Result<Self> {
        let port = ports::free()?;
        let mut command = Command::new(paths::anvil()?);
        command.args(["--quiet", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--chain-id", &CHAIN_ID.to_string(), "--gas-limit", &options.gas_limit.to_string()]);
        command.args(["--block-base-fee-per-gas", &options.base_fee.to_string()]);
        command.args(["--slots-in-an-epoch", &options.slots_in_an_epoch.to_string()]);
        command.args(&options.extra);
        // Forks of public chains are cached under the home folder; nothing of ours shall be.
        command.env("HOME", world).current_dir(world);
        let mut process = Process::spawn("anvil", command, world.join("anvil.log"), reaper)?;
        // A connection that was idle may be closed by the node just when it is used again.
        let http =
            reqwest::Client::builder().timeout(Duration::from_secs(30)).pool_max_idle_per_host(0).build()?;
        let url = format!("http://127.0.0.1:{port}");
        let provider = ProviderBuilder::new().connect_http(url.parse()?).erased();
        for _ in 0..400 {
            process.check()?;
            if rpc(&http, &url, "web3_clientVersion", json!([])).await.is_ok() {
                process.check()?;
                return Ok(Self { process, port, http, provider });
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        bail!("Anvil does not answer on port {port}; its log ends:\n{}", process.log_tail(20))
    }

    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw()
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// For reading, and for sending from the unlocked accounts.
    pub fn provider(&self) -> &DynProvider {
        &self.provider
    }

    /// Any JSON-RPC call.
    pub async fn rpc(&self, method: &str, params: Value) -> Result<Value> {
        match rpc(&self.http, &self.url(), method, params).await {
            Err(error) if error.is::<reqwest::Error>() => {
                Err(error
                    .context(format!("{method}; the node's log ends with\n{}", self.process.log_tail(20))))
            }
            answer => answer,
        }
    }

    pub async fn block_number(&self) -> Result<u64> {
        Ok(self.provider.get_block_number().await?)
    }

    /// Waits until the head is at `number` or above.
    pub async fn until_block(&self, number: u64, limit: Duration) -> Result<u64> {
        until(&format!("block {number}"), limit, || async {
            let head = self.block_number().await?;
            Ok((head >= number).then_some(head))
        })
        .await
    }

    pub async fn set_mining(&self, mining: Mining) -> Result<()> {
        let seconds = if let Mining::Every(seconds) = mining { seconds } else { 0 };
        self.rpc("evm_setAutomine", json!([mining == Mining::Auto])).await?;
        if mining != Mining::Auto {
            self.rpc("evm_setIntervalMining", json!([seconds])).await?;
        }
        Ok(())
    }

    /// Makes `blocks` blocks now.
    pub async fn mine(&self, blocks: u64) -> Result<()> {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await.map(drop)
    }

    /// Replaces the last `depth` blocks by empty ones. Their transactions are gone, also from the pool.
    pub async fn reorg(&self, depth: u64) -> Result<()> {
        self.rpc("anvil_reorg", json!([depth, []])).await.map(drop)
    }

    /// The base fee of the next block, in wei; later blocks follow from it as the protocol says.
    pub async fn set_next_base_fee(&self, wei: u128) -> Result<()> {
        self.rpc("anvil_setNextBlockBaseFeePerGas", json!([format!("{wei:#x}")])).await.map(drop)
    }

    /// Takes a transaction out of the pool.
    pub async fn drop_transaction(&self, hash: B256) -> Result<()> {
        self.rpc("anvil_dropTransaction", json!([hash])).await.map(drop)
    }

    /// Takes every transaction out of the pool.
    pub async fn drop_all_transactions(&self) -> Result<()> {
        self.rpc("anvil_dropAllTransactions", json!([])).await.map(drop)
    }

    /// Moves the clock of the next block forward.
    pub async fn increase_time(&self, seconds: u64) -> Result<()> {
        self.rpc("evm_increaseTime", json!([seconds])).await.map(drop)
    }

    pub async fn set_balance(&self, account: Address, wei: U256) -> Result<()> {
        self.rpc("anvil_setBalance", json!([account, wei])).await.map(drop)
    }

    /// How many transactions the pool could put into the next block, and how many wait behind a nonce gap.
    pub async fn pool(&self) -> Result<(u64, u64)> {
        let status = self.rpc("txpool_status", json!([])).await?;
        let count = |name: &str| -> Result<u64> {
            let text = status[name].as_str().context("txpool_status")?;
            Ok(u64::from_str_radix(text.trim_start_matches("0x"), 16)?)
        };
        Ok((count("pending")?, count("queued")?))
    }

    /// Sends `signal` to the node: SIGSTOP and SIGCONT for a node that hangs.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Ends the node for good; its chain is lost.
    pub fn kill(&mut self) {
        self.process.kill();
    }
}

async fn rpc(http: &reqwest::Client, url: &str, method: &str, params: Value) -> Result<Value> {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut answer: Value = http.post(url).json(&call).send().await?.json().await?;
    match answer.get("error") {
        Some(error) => bail!("{method}: {error}"),
        None => Ok(answer["result"].take()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn blocks_are_made_and_unmade_on_demand() {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(folder.path()).unwrap();
        let anvil = Anvil::start(folder.path(), &reaper, &AnvilOptions::default()).await.unwrap();
        anvil.set_mining(Mining::Manual).await.unwrap();
        anvil.mine(5).await.unwrap();
        assert_eq!(anvil.block_number().await.unwrap(), 5);
        let hash = |value: Value| value["hash"].as_str().unwrap().to_owned();
        let before = hash(anvil.rpc("eth_getBlockByNumber", json!(["0x4", false])).await.unwrap());
        anvil.reorg(3).await.unwrap();
        let after = hash(anvil.rpc("eth_getBlockByNumber", json!(["0x4", false])).await.unwrap());
        assert_ne!(before, after);
        anvil.set_next_base_fee(77_000_000_000).await.unwrap();
        anvil.mine(1).await.unwrap();
        let head = anvil.rpc("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
        assert_eq!(head["baseFeePerGas"], format!("{:#x}", 77_000_000_000u64));
        assert_eq!(anvil.pool().await.unwrap(), (0, 0));
    }
}
