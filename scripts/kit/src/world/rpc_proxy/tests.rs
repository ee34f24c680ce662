use super::super::process::Reaper;
use super::super::{Anvil, AnvilOptions, Mining};
use super::*;

use alloy::primitives::keccak256;
use serde_json::json;

/// A node at block 10, of which the relayer's account sent one transaction in block 8, with a proxy in front.
struct Scene {
    anvil: Anvil,
    proxy: RpcProxy,
    http: reqwest::Client,
    sent: Value,
    _reaper: Arc<Reaper>,
    _folder: tempfile::TempDir,
}

const SENDER: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";
/// Answers every call with the number of the block it runs in: NUMBER PUSH0 MSTORE PUSH1 32 PUSH0 RETURN.
const CLOCK: &str = "0x435f5260205ff3";
const CLOCK_AT: &str = "0x00000000000000000000000000000000000c10c4";

impl Scene {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(folder.path()).unwrap();
        let anvil = Anvil::start(folder.path(), &reaper, &AnvilOptions::default()).await.unwrap();
        anvil.set_mining(Mining::Manual).await.unwrap();
        anvil.rpc("anvil_setCode", json!([CLOCK_AT, CLOCK])).await.unwrap();
        anvil.mine(7).await.unwrap();
        let sent = anvil.rpc("eth_sendTransaction", json!([{"from": SENDER, "to": CLOCK_AT}])).await.unwrap();
        anvil.mine(3).await.unwrap();
        let proxy = RpcProxy::start(&anvil.url()).unwrap();
        let http = reqwest::Client::builder().timeout(Duration::from_millis(700)).build().unwrap();
        Self { anvil, proxy, http, sent, _reaper: reaper, _folder: folder }
    }

    async fn ask(&self, method: &str, params: Value) -> reqwest::Result<Value> {
        let question = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
        self.http.post(self.proxy.url()).json(&question).send().await?.error_for_status()?.json().await
    }

    async fn result(&self, method: &str, params: Value) -> Value {
        let mut answer = self.ask(method, params).await.unwrap();
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    async fn nonce(&self, block: Value) -> Value {
        self.result("eth_getTransactionCount", json!([SENDER, block])).await
    }

    /// Which block a call at `block` runs in.
    async fn clock(&self, block: Value) -> Result<u64, String> {
        let answer = self.ask("eth_call", json!([{"to": CLOCK_AT}, block])).await.unwrap();
        let Some(word) = answer["result"].as_str() else {
            return Err(answer["error"]["message"].to_string());
        };
        Ok(u64::from_str_radix(&word[word.len() - 16..], 16).unwrap())
    }

    async fn hash_of(&self, height: u64) -> Value {
        let block =
            self.anvil.rpc("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await.unwrap();
        json!({"blockHash": block["hash"], "requireCanonical": true})
    }
}

#[tokio::test]
async fn without_a_fault_everything_passes_also_in_batches_and_is_counted() {
    let scene = Scene::start().await;
    assert_eq!(scene.result("eth_blockNumber", json!([])).await, "0xa");
    assert_eq!(scene.nonce(json!("latest")).await, "0x1");
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_blockNumber", "params": []},
    ]);
    let sent = scene.http.post(scene.proxy.url()).json(&batch).send().await.unwrap();
    let answers: Value = sent.json().await.unwrap();
    assert_eq!((&answers[0]["id"], &answers[0]["result"]), (&json!(1), &json!("0x7a69")));
    assert_eq!((&answers[1]["id"], &answers[1]["result"]), (&json!(2), &json!("0xa")));
    assert_eq!((scene.proxy.asked("eth_blockNumber"), scene.proxy.asked_in_all()), (2, 4));
}

#[tokio::test]
async fn the_ways_not_to_answer() {
    let scene = Scene::start().await;
    let ask = || scene.ask("eth_chainId", json!([]));
    scene.proxy.set(Fault::Down);
    assert!(!ask().await.unwrap_err().is_timeout(), "closed at once");
    scene.proxy.set(Fault::Hang);
    assert!(ask().await.unwrap_err().is_timeout());
    scene.proxy.set(Fault::Status429);
    assert_eq!(ask().await.unwrap_err().status(), Some(reqwest::StatusCode::TOO_MANY_REQUESTS));
    scene.proxy.set(Fault::Garbage);
    assert!(ask().await.unwrap_err().is_decode());
    scene.proxy.set(Fault::Pass);
    assert_eq!(ask().await.unwrap()["result"], "0x7a69");
}

#[tokio::test]
async fn a_wrong_chain_has_another_id_and_the_same_blocks() {
    let scene = Scene::start().await;
    scene.proxy.set(Fault::WrongChainId);
    assert_eq!(scene.result("eth_chainId", json!([])).await, "0x1");
    assert_eq!(scene.result("eth_blockNumber", json!([])).await, "0xa");
}

#[tokio::test]
async fn nonces_are_shifted_at_every_block() {
    let scene = Scene::start().await;
    scene.proxy.set(Fault::HighNonce(2));
    assert_eq!(scene.nonce(json!("latest")).await, "0x3");
    assert_eq!(scene.nonce(scene.hash_of(7).await).await, "0x2");
    scene.proxy.set(Fault::StaleNonce(2));
    assert_eq!(scene.nonce(json!("latest")).await, "0x0");
}

#[tokio::test]
async fn stale_state_answers_calls_only_and_no_unknown_block() {
    let scene = Scene::start().await;
    scene.proxy.set(Fault::StaleState(4));
    assert_eq!(scene.clock(json!("latest")).await, Ok(6));
    assert_eq!(scene.clock(scene.hash_of(8).await).await, Ok(4));
    assert!(scene.clock(json!({"blockHash": keccak256("nowhere")})).await.is_err());
    assert_eq!(scene.nonce(json!("latest")).await, "0x1");
}

#[tokio::test]
async fn a_lagging_endpoint_knows_nothing_of_the_newest_blocks() {
    let scene = Scene::start().await;
    scene.proxy.set(Fault::Lag(3));
    assert_eq!(scene.result("eth_blockNumber", json!([])).await, "0x7");
    let latest = scene.result("eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(latest["number"], "0x7");
    assert_eq!(scene.result("eth_getBlockByNumber", json!(["0x8", false])).await, Value::Null);
    assert_eq!(scene.nonce(json!("latest")).await, "0x0");
    assert_eq!(scene.clock(json!("latest")).await, Ok(7));
    assert_eq!(scene.clock(scene.hash_of(7).await).await, Ok(7));
    assert!(scene.clock(scene.hash_of(8).await).await.unwrap_err().contains("header not found"));
    assert_eq!(scene.result("eth_getTransactionReceipt", json!([scene.sent])).await, Value::Null);
    assert_eq!(scene.result("eth_getLogs", json!([{"fromBlock": "0x8"}])).await, json!([]));
    scene.proxy.set(Fault::Lag(2));
    let receipt = scene.result("eth_getTransactionReceipt", json!([scene.sent])).await;
    assert_eq!(receipt["blockNumber"], "0x8");
}

#[tokio::test]
async fn transactions_are_swallowed_after_and_dropped_before_they_reach_the_node() {
    let scene = Scene::start().await;
    // The node refuses these bytes; whether it is asked is what matters.
    let raw = json!(["0x02c0"]);
    let direct = scene.ask("eth_sendRawTransaction", raw.clone()).await.unwrap();
    assert!(direct["error"].is_object(), "{direct}");
    scene.proxy.set(Fault::DropSend);
    let hash = scene.result("eth_sendRawTransaction", raw.clone()).await;
    assert_eq!(hash, json!(keccak256([2, 0xc0])));
    scene.proxy.set(Fault::SwallowSend);
    assert!(scene.ask("eth_sendRawTransaction", raw).await.unwrap_err().is_timeout());
    assert_eq!(scene.result("eth_blockNumber", json!([])).await, "0xa", "anything else passes");
}

#[tokio::test]
async fn held_transactions_are_known_until_they_are_forgotten() {
    let scene = Scene::start().await;
    let raw = json!(["0x02c0"]);
    let hash = keccak256([2, 0xc0]);
    scene.proxy.set(Fault::Holds);
    for _ in 0..2 {
        assert_eq!(scene.result("eth_sendRawTransaction", raw.clone()).await, json!(hash));
        let again = scene.ask("eth_sendRawTransaction", raw.clone()).await.unwrap();
        assert_eq!(again["error"]["message"], "already known");
        assert!(scene.proxy.held().contains(&hash));
        scene.proxy.forget(hash);
    }
}

#[tokio::test]
async fn tips_forks_narrow_logs_and_missing_contracts_are_what_they_say_and_nothing_else() {
    let scene = Scene::start().await;
    let latest = || json!(["latest", false]);
    let truth = scene.result("eth_getBlockByNumber", latest()).await;
    scene.proxy.set(Fault::Tip(7));
    assert_eq!(scene.result("eth_maxPriorityFeePerGas", json!([])).await, "0x7");
    scene.proxy.set(Fault::Fork);
    let other = scene.result("eth_getBlockByNumber", latest()).await;
    assert_eq!(other["parentHash"], truth["parentHash"]);
    assert_ne!(other["hash"], truth["hash"]);
    scene.proxy.set(Fault::NoCode);
    assert_eq!(scene.result("eth_call", json!([{"to": CLOCK_AT}, "latest"])).await, "0x");
    scene.proxy.set(Fault::NarrowLogs(2));
    let logs = |to: &str| json!([{"fromBlock": "0x1", "toBlock": to}]);
    assert_eq!(scene.result("eth_getLogs", logs("0x2")).await, json!([]));
    assert!(scene.ask("eth_getLogs", logs("0x3")).await.unwrap()["error"].is_object());
    scene.proxy.set(Fault::Slow(150));
    let asked = std::time::Instant::now();
    assert_eq!(scene.result("eth_getBlockByNumber", latest()).await, truth);
    assert!(asked.elapsed() >= Duration::from_millis(150));
    scene.proxy.set(Fault::SlowSend(500));
    let asked = std::time::Instant::now();
    assert_eq!(scene.result("eth_getBlockByNumber", latest()).await, truth);
    assert!(asked.elapsed() < Duration::from_millis(500), "anything else passes");
    let asked = std::time::Instant::now();
    scene.ask("eth_sendRawTransaction", json!(["0x02c0"])).await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(500));
}
