//! A private Anvil with the real contracts. They are deployed once per test process by `scripts/deploy`; every test
//! starts from a copy of that state on a node of its own, which is killed when dropped.

#![allow(unreachable_pub, reason = "a module of a test program")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256, address};
use alloy::rpc::client::RpcClient;
use alloy::sol_types::SolCall;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::env::Secret;
use shared::ids::{ExternalId, Hash32, Nonce, PaymentId, Source, Wallet};
use shared::job::Payout;
use shared::money::{Commission, Sge, Usdc};
use tokio::sync::OnceCell;
use worker::chain::alloy::{AlloyChain, AlloyChainConfig, Url};
use worker::chain::{Answers, Chain, ChainError, Head};
use worker::keys::RawKey;
use worker::metrics::RpcMetrics;

alloy::sol! {
    interface TestToken {
        function mint(address to, uint256 amount) external;
        function pause() external;
        function unpause() external;
        function setBlocklisted(address account, bool blocked) external;
        function setBurnedGas(address recipient, uint64 amount) external;
        function balanceOf(address account) external view returns (uint256);
        function grantRole(bytes32 role, address account) external;
        function revokeRole(bytes32 role, address account) external;
    }
}

/// Anvil's first account: deployer, admin, owner of the test tokens.
pub const ADMIN: Address = address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
pub const ADMIN_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Anvil's second account.
pub const RELAYER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
pub const RELAYER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
pub const CHAIN_ID: u64 = 31337;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A node that mines at once, until told otherwise.
pub struct Anvil {
    process: Child,
    port: u16,
    client: RpcClient,
}

impl Anvil {
    pub async fn start(args: &[&str]) -> Self {
        Self::start_on(free_port(), args).await
    }

    pub async fn start_on(port: u16, args: &[&str]) -> Self {
        let binary = repository().join("contracts/tools/anvil");
        let installed = repository().join("contracts/node_modules/@foundry-rs/anvil").exists();
        assert!(binary.exists() && installed, "Anvil is not installed: run `npm ci` in contracts/");
        let process = Command::new(binary)
            .args(["--port", &port.to_string(), "--chain-id", &CHAIN_ID.to_string(), "--quiet"])
            .args(args)
            .stdout(Stdio::null())
            .spawn()
            .expect("anvil starts");
        let client = RpcClient::new_http(format!("http://127.0.0.1:{port}").parse().expect("a url"));
        let anvil = Self { process, port, client };
        anvil.wait_until_it_answers().await;
        anvil
    }

    async fn wait_until_it_answers(&self) {
        for _ in 0..400 {
            if self.client.request_noparams::<String>("eth_chainId").await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("anvil does not answer on port {}", self.port);
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn http(&self) -> Url {
        format!("http://127.0.0.1:{}", self.port).parse().expect("a url")
    }

    pub fn ws(&self) -> Url {
        format!("ws://127.0.0.1:{}", self.port).parse().expect("a url")
    }

    pub async fn rpc(&self, method: &'static str, params: Value) -> Value {
        self.client
            .request::<_, Value>(method, &params)
            .await
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    pub async fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// Sends from one of Anvil's own accounts and expects success, in a block of its own.
    pub async fn send(&self, from: Address, to: Address, data: Vec<u8>) -> B256 {
        let tx = json!([{"from": from, "to": to, "data": Bytes::from(data), "gas": "0x900000"}]);
        let hash = self.rpc("eth_sendTransaction", tx).await;
        let receipt = self.receipt(&hash).await;
        assert_eq!(receipt["status"], "0x1", "transaction failed: {receipt}");
        B256::deserialize(&hash).expect("a hash")
    }

    /// The receipt of a transaction that is about to be mined: automining answers before it has mined.
    pub async fn receipt(&self, hash: &Value) -> Value {
        for _ in 0..400 {
            let receipt = self.rpc("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                return receipt;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{hash} is not mined");
    }

    /// Kills the node at once.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// What `scripts/deploy` prints.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Deployed {
    pub registry: Address,
    pub payout: Address,
    pub usdc: Address,
    pub sge: Address,
    pub block: u64,
}

/// The deployment, and the state after it.
static DEPLOYMENT: OnceCell<(Deployed, Value)> = OnceCell::const_new();

async fn deploy() -> (Deployed, Value) {
    let anvil = Anvil::start(&[]).await;
    let http = anvil.http().to_string();
    let script = repository().join("scripts/deploy");
    let run = move || {
        Command::new(script)
            .env("ETH_RPC_HTTPS", http)
            .env("DEPLOYER_PRIVATE_KEY", ADMIN_KEY)
            .env("RELAYER_ADDRESS", RELAYER.to_string())
            .stderr(Stdio::piped())
            .output()
            .expect("scripts/deploy runs")
    };
    let output = tokio::task::spawn_blocking(run).await.expect("scripts/deploy runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/deploy failed (run `npm ci` in contracts/ once):\n{told}");
    let deployed: Deployed = serde_json::from_slice(&output.stdout).expect("scripts/deploy prints JSON");
    for token in [deployed.usdc, deployed.sge] {
        let amount = U256::from(10).pow(U256::from(24));
        anvil.send(ADMIN, token, TestToken::mintCall { to: deployed.payout, amount }.abi_encode()).await;
    }
    (deployed, anvil.rpc("anvil_dumpState", json!([])).await)
}

/// A chain with funded contracts, and a client of it.
pub struct World {
    pub anvil: Anvil,
    pub deployed: Deployed,
    pub chain: AlloyChain,
}

impl World {
    pub async fn start() -> Self {
        let (deployed, state) = DEPLOYMENT.get_or_init(deploy).await;
        let anvil = Anvil::start(&[]).await;
        anvil.rpc("anvil_loadState", json!([state])).await;
        anvil.mine(1).await;
        let chain = client(&[anvil.http()], *deployed, RELAYER);
        Self { anvil, deployed: *deployed, chain }
    }

    pub async fn head(&self) -> Head {
        self.chain.head().await.expect("a head")
    }

    pub async fn at(&self) -> Hash32 {
        self.head().await.hash
    }

    pub async fn as_admin(&self, to: Address, call: impl SolCall) -> B256 {
        self.anvil.send(ADMIN, to, call.abi_encode()).await
    }

    pub async fn as_relayer(&self, to: Address, call: impl SolCall) -> B256 {
        self.anvil.send(RELAYER, to, call.abi_encode()).await
    }
}

pub fn client(endpoints: &[Url], deployed: Deployed, relayer: Address) -> AlloyChain {
    AlloyChain::new(&AlloyChainConfig {
        endpoints: endpoints.to_vec(),
        chain_id: CHAIN_ID,
        registry: deployed.registry,
        payout: deployed.payout,
        relayer,
        deadline: AlloyChainConfig::DEFAULT_DEADLINE,
        check_every: AlloyChainConfig::DEFAULT_CHECK,
        metrics: RpcMetrics::default(),
    })
    .expect("a client")
}

/// What two endpoints, or the only one, agree about.
pub fn agreed<T: PartialEq>(answers: Result<Answers<T>, ChainError>) -> T {
    answers.expect("an answer").agreed().expect("agreement")
}

/// The account nonce that every endpoint gives.
pub async fn nonce_of(chain: &AlloyChain, account: Address) -> Nonce {
    let range = chain.nonce_latest(account).await.expect("a nonce");
    assert_eq!(range.lowest, range.highest);
    range.lowest
}

pub fn relayer_key() -> RawKey {
    RawKey::new(&Secret::new(RELAYER_KEY)).expect("a key")
}

/// A wallet that nobody owns.
pub fn wallet(number: u16) -> Wallet {
    let mut bytes = [0xaa; 20];
    bytes[18..].copy_from_slice(&number.to_be_bytes());
    Wallet::try_from(Address::from(bytes)).expect("a wallet")
}

/// A payout of `usdc` and `sge` base units.
pub fn payout(id: &str, child: Wallet, referrer: Wallet, usdc: u128, sge: u128) -> Payout {
    Payout {
        payment_id: PaymentId::derive(Source::PAYMENTS, id),
        source: Source::PAYMENTS.parse().expect("a source"),
        external_id: id.parse::<ExternalId>().expect("an id"),
        child,
        referrer,
        commission: Commission { usdc: Usdc::from_base_units(usdc), sge: Sge::from_base_units(sge) },
    }
}
