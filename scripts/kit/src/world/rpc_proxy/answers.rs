//! What a faulty endpoint makes of one question.

use std::sync::PoisonError;
use std::time::Duration;

use alloy::consensus::transaction::SignerRecoverable as _;
use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{B256, Bytes, keccak256};
use anyhow::Result;
use serde_json::{Value, json};

use super::{Fault, Held};

/// Methods whose last parameter, at this position, is the block they are about.
const ABOUT_A_BLOCK: [(&str, usize); 5] = [
    ("eth_call", 1),
    ("eth_getBalance", 1),
    ("eth_getCode", 1),
    ("eth_getTransactionCount", 1),
    ("eth_getStorageAt", 2),
];

/// The real node.
pub(super) struct Upstream {
    url: String,
    http: reqwest::Client,
    held: Held,
}

impl Upstream {
    pub(super) fn new(url: &str, held: Held) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        Ok(Self { url: url.to_owned(), http, held })
    }

    /// The answer to one question of a request; `None` where none is ever given.
    pub(super) async fn answer(&self, fault: Fault, question: &Value) -> Option<Value> {
        let method = question["method"].as_str().unwrap_or_default();
        match fault {
            Fault::Hang => None,
            Fault::StaleNonce(n) if method == "eth_getTransactionCount" => {
                Some(shifted(self.forward(question).await, |nonce| nonce.saturating_sub(n)))
            }
            Fault::HighNonce(n) if method == "eth_getTransactionCount" => {
                Some(shifted(self.forward(question).await, |nonce| nonce.saturating_add(n)))
            }
            Fault::StaleState(n) if method == "eth_call" || method == "eth_getBalance" => {
                Some(self.stale(question, n).await)
            }
            Fault::Lag(n) => Some(self.lagging(method, question, n).await),
            Fault::WrongChainId if method == "eth_chainId" => Some(result(question, json!("0x1"))),
            Fault::WrongChainId if method == "net_version" => Some(result(question, json!("1"))),
            Fault::SwallowSend if method == "eth_sendRawTransaction" => {
                self.forward(question).await;
                None
            }
            Fault::SwallowSome(n) if method == "eth_sendRawTransaction" => {
                let answer = self.forward(question).await;
                (!is_among(n, question)).then_some(answer)
            }
            Fault::SlowSend(n) if method == "eth_sendRawTransaction" => {
                let answer = self.forward(question).await;
                tokio::time::sleep(Duration::from_millis(n)).await;
                Some(answer)
            }
            Fault::NoGaps if method == "eth_sendRawTransaction" => Some(self.in_order(question).await),
            Fault::DropSend if method == "eth_sendRawTransaction" => Some(accepted(question)),
            Fault::Holds if method == "eth_sendRawTransaction" => Some(self.hold(question)),
            Fault::Tip(n) if method == "eth_maxPriorityFeePerGas" => Some(result(question, hex(n))),
            Fault::Slow(n) => {
                tokio::time::sleep(Duration::from_millis(n)).await;
                Some(self.forward(question).await)
            }
            Fault::Fork if method == "eth_getBlockByNumber" => Some(forked(self.forward(question).await)),
            Fault::NoCode if method == "eth_call" => Some(result(question, json!("0x"))),
            Fault::NarrowLogs(n) if method == "eth_getLogs" => Some(self.narrow(question, n).await),
            Fault::NoLogs => Some(without_logs(method, question, self.forward(question).await)),
            _ => Some(self.forward(question).await),
        }
    }

    /// The node's own answer.
    async fn forward(&self, question: &Value) -> Value {
        let asked = async { self.http.post(&self.url).json(question).send().await?.json::<Value>().await };
        match asked.await {
            Ok(answer) => answer,
            Err(cause) => error(question, &format!("the node behind does not answer: {cause}")),
        }
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.forward(&question).await["result"].take()
    }

    /// Late for each second nonce, so that what is sent side by side arrives out of order; refused above the next nonce.
    async fn in_order(&self, question: &Value) -> Value {
        let raw: Option<Bytes> = question["params"][0].as_str().and_then(|raw| raw.parse().ok());
        let tx = raw.and_then(|raw| TxEnvelope::decode_2718(&mut raw.as_ref()).ok());
        let Some((nonce, from)) = tx.and_then(|tx| Some((tx.nonce(), tx.recover_signer().ok()?))) else {
            return error(question, "failed to decode signed transaction");
        };
        if nonce % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        match number(&self.ask("eth_getTransactionCount", json!([from, "pending"])).await) {
            Some(next) if nonce > next => {
                error(question, &format!("nonce too high: {nonce}, next is {next}"))
            }
            _ => self.forward(question).await,
        }
    }

    fn hold(&self, question: &Value) -> Value {
        let answer = accepted(question);
        let hash = answer["result"].as_str().and_then(|hash| hash.parse().ok());
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match hash {
            Some(hash) if !held.insert(hash) => error(question, "already known"),
            _ => answer,
        }
    }

    async fn newest(&self) -> u64 {
        number(&self.ask("eth_blockNumber", json!([])).await).unwrap_or_default()
    }

    /// The height of the block that a parameter names: a tag, a number, or a hash (EIP-1898 or plain).
    async fn height(&self, block: &Value) -> Option<u64> {
        let hash = block["blockHash"].as_str().or(block.as_str().filter(|text| text.len() == 66));
        if let Some(hash) = hash {
            return number(&self.ask("eth_getBlockByHash", json!([hash, false])).await["number"]);
        }
        match block["blockNumber"].as_str().or(block.as_str()) {
            None | Some("latest" | "pending" | "safe" | "finalized") => Some(self.newest().await),
            Some("earliest") => Some(0),
            Some(text) => number(&json!(text)),
        }
    }

    /// A call on top of a block `n` below the one it is about.
    async fn stale(&self, question: &Value, n: u64) -> Value {
        // Whoever asks about a block that is not there is told so.
        let Some(height) = self.height(&question["params"][1]).await else {
            return self.forward(question).await;
        };
        let mut older = question.clone();
        older["params"][1] = hex(height.saturating_sub(n));
        self.forward(&older).await
    }

    /// Logs of `n` blocks at most.
    async fn narrow(&self, question: &Value, n: u64) -> Value {
        let filter = &question["params"][0];
        let (from, to) = (self.height(&filter["fromBlock"]).await, self.height(&filter["toBlock"]).await);
        match (filter["blockHash"].is_null(), from, to) {
            (true, Some(from), Some(to)) if to.saturating_sub(from) >= n => {
                error(question, "block range is too large")
            }
            _ => self.forward(question).await,
        }
    }

    /// The answer of a node that has not seen the newest `n` blocks.
    async fn lagging(&self, method: &str, question: &Value, n: u64) -> Value {
        let visible = self.newest().await.saturating_sub(n);
        let params = &question["params"];
        if let Some((_, at)) = ABOUT_A_BLOCK.iter().find(|(name, _)| *name == method) {
            return match self.height(&params[at]).await {
                Some(height) if height > visible && is_tag(&params[at]) => {
                    let mut older = question.clone();
                    older["params"][at] = hex(visible);
                    self.forward(&older).await
                }
                Some(height) if height > visible => error(question, "header not found"),
                _ => self.forward(question).await,
            };
        }
        match method {
            "eth_blockNumber" => result(question, hex(visible)),
            "eth_getBlockByNumber" if is_tag(&params[0]) => {
                let mut older = question.clone();
                older["params"][0] = hex(visible);
                self.forward(&older).await
            }
            "eth_getLogs" => self.lagging_logs(question, visible).await,
            "eth_getBlockByNumber" | "eth_getBlockByHash" => {
                hidden_above(visible, "number", self.forward(question).await)
            }
            "eth_getTransactionReceipt" | "eth_getTransactionByHash" => {
                hidden_above(visible, "blockNumber", self.forward(question).await)
            }
            "eth_getBlockReceipts" => match self.height(&params[0]).await {
                Some(height) if height > visible => result(question, Value::Null),
                _ => self.forward(question).await,
            },
            _ => self.forward(question).await,
        }
    }

    async fn lagging_logs(&self, question: &Value, visible: u64) -> Value {
        let filter = &question["params"][0];
        if filter["blockHash"].is_string() {
            return match self.height(filter).await {
                Some(height) if height > visible => error(question, "header not found"),
                _ => self.forward(question).await,
            };
        }
        if self.height(&filter["fromBlock"]).await.is_some_and(|from| from > visible) {
            return result(question, json!([]));
        }
        let mut older = question.clone();
        if self.height(&filter["toBlock"]).await.is_some_and(|to| to > visible) {
            older["params"][0]["toBlock"] = hex(visible);
        }
        self.forward(&older).await
    }
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn hex(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

fn is_tag(block: &Value) -> bool {
    block.is_null() || block.as_str().is_some_and(|text| !text.starts_with("0x"))
}

fn result(question: &Value, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "result": result})
}

fn error(question: &Value, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -32000, "message": message}})
}

fn shifted(mut answer: Value, by: impl Fn(u64) -> u64) -> Value {
    if let Some(found) = number(&answer["result"]) {
        answer["result"] = hex(by(found));
    }
    answer
}

/// The answer, or null where its block is above `visible`.
fn hidden_above(visible: u64, field: &str, mut answer: Value) -> Value {
    if number(&answer["result"][field]).is_some_and(|height| height > visible) {
        answer["result"] = Value::Null;
    }
    answer
}

/// The hash that a node gives which takes the transaction.
fn accepted(question: &Value) -> Value {
    match question["params"][0].as_str().and_then(|raw| raw.parse::<Bytes>().ok()) {
        Some(raw) => result(question, json!(keccak256(raw))),
        None => error(question, "invalid params"),
    }
}

/// Whether these bytes belong to `percent` of all that may be sent.
fn is_among(percent: u64, question: &Value) -> bool {
    let raw = question["params"][0].as_str().unwrap_or_default();
    let digest = keccak256(raw);
    u64::from(u16::from_be_bytes([digest[0], digest[1]])) * 100 < percent * 65_536
}

/// The block with another hash.
fn forked(mut answer: Value) -> Value {
    if let Some(hash) = answer["result"]["hash"].as_str().and_then(|hash| hash.parse::<B256>().ok()) {
        answer["result"]["hash"] = json!(keccak256(hash));
    }
    answer
}

fn without_logs(method: &str, question: &Value, mut answer: Value) -> Value {
    match method {
        "eth_getLogs" => result(question, json!([])),
        "eth_getTransactionReceipt" if answer["result"].is_object() => {
            answer["result"]["logs"] = json!([]);
            answer
        }
        "eth_getBlockReceipts" => {
            for receipt in answer["result"].as_array_mut().into_iter().flatten() {
                receipt["logs"] = json!([]);
            }
            answer
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_all_sends_is_chosen_by_their_bytes_and_always_the_same() {
        let send = |n: u32| json!({"params": [format!("0x{n:08x}")]});
        let chosen: Vec<u32> = (0..1_000).filter(|n| is_among(30, &send(*n))).collect();
        assert!((250..350).contains(&chosen.len()), "{}", chosen.len());
        assert_eq!(chosen, (0..1_000).filter(|n| is_among(30, &send(*n))).collect::<Vec<_>>());
        assert!((0..1_000).all(|n| !is_among(0, &send(n)) && is_among(100, &send(n))));
    }
}
