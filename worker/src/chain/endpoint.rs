//! One node behind one url: every question has a deadline, every error names the host and hides the rest of the url, and
//! every answer or silence counts for the node's standing (`standing.rs`). Which questions there are is in `questions.rs`.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, keccak256};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{RpcRecv, RpcSend};
use alloy::transports::http::reqwest::Client;
use alloy::transports::{TransportError, TransportResult};
use serde::Serialize;
use serde_json::{Value, json};
use shared::ids::Hash32;

use super::classify::{self, Revert, Trouble};
use super::health::Health;
use super::http::BoundedHttp;
use super::{ChainError, SendOutcome, events};
use crate::metrics::RpcMetrics;

pub use alloy::transports::http::reqwest::Url;

/// The block a question is asked about.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    Hash(Hash32),
    Latest,
}

impl At {
    /// The JSON-RPC parameter. A hash is asked for as canonical (EIP-1898): state of a block that was reorganised
    /// away must be an error, never an answer.
    pub(super) fn param(self) -> Value {
        match self {
            Self::Hash(hash) => json!({ "blockHash": hash.b256(), "requireCanonical": true }),
            Self::Latest => json!("latest"),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => hash.fmt(f),
            Self::Latest => f.write_str("latest"),
        }
    }
}

/// An `eth_call`, as if sent by `from`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Call {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) data: Bytes,
    #[serde(with = "alloy::serde::quantity")]
    pub(super) gas: u64,
}

/// What all endpoints have in common.
#[derive(Clone)]
pub(super) struct Terms {
    /// For each single question.
    pub(super) deadline: Duration,
    pub(super) chain_id: u64,
    /// Between two looks at an endpoint's chain id, and the longest pause of one that fails.
    pub(super) check_every: Duration,
    pub(super) metrics: RpcMetrics,
}

pub(super) struct Endpoint {
    pub(super) name: Arc<str>,
    /// In the configuration.
    position: usize,
    /// Parts of the url that must not appear in an error, longest first.
    secrets: Vec<String>,
    pub(super) client: RpcClient,
    pub(super) terms: Terms,
    pub(super) health: Mutex<Health>,
    /// Blocks of one `eth_getLogs` that it bears.
    pub(super) log_span: AtomicU64,
    /// Questions that others have answered meanwhile.
    pub(super) overdue: AtomicUsize,
}

impl Endpoint {
    /// `name`: host and port, the same for no other endpoint.
    pub(super) fn new(http: &Client, url: &Url, name: &str, position: usize, terms: &Terms) -> Self {
        let endpoint = Self {
            name: name.into(),
            position,
            secrets: secrets_of(url),
            client: RpcClient::new(BoundedHttp::new(http.clone(), url.clone()), false),
            terms: terms.clone(),
            health: Mutex::new(Health::new(terms.check_every)),
            log_span: AtomicU64::new(events::FIRST_SPAN),
            overdue: AtomicUsize::new(0),
        };
        endpoint.terms.metrics.begin(&endpoint.name);
        endpoint.publish(&endpoint.health());
        endpoint
    }

    /// Host and port.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) async fn ask<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
        at: At,
    ) -> Result<R, ChainError> {
        self.noted(self.ask_quietly(method, params, at).await)
    }

    /// A question whose failure the caller judges.
    pub(super) async fn ask_quietly<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
        at: At,
    ) -> Result<R, ChainError> {
        self.on_our_chain().await?;
        self.timed(self.client.request(method, params)).await.map_err(|failed| self.error(failed, method, at))
    }

    /// Runs a call: what it returned, or how it was undone.
    pub(super) async fn call(&self, call: &Call, at: At) -> Result<Result<Bytes, Revert>, ChainError> {
        self.on_our_chain().await?;
        let params = (call.clone(), at.param());
        let answer = match self.timed(self.client.request("eth_call", params)).await {
            Ok(returned) => Ok(Ok(returned)),
            Err(failed) => match failed.revert() {
                Some(revert) => Ok(Err(revert)),
                None => Err(self.error(failed, "eth_call", at)),
            },
        };
        self.noted(answer)
    }

    /// Several questions in one round trip.
    pub(super) async fn ask_all(
        &self,
        questions: &[(&'static str, Value)],
        at: At,
    ) -> Result<Vec<Value>, ChainError> {
        self.on_our_chain().await?;
        let method = "batch";
        let exchange = async {
            let mut batch = self.client.new_batch();
            let mut waiters = Vec::with_capacity(questions.len());
            for (method, params) in questions {
                waiters.push(batch.add_call::<_, Value>(*method, params)?);
            }
            batch.send().await?;
            let mut answers = Vec::with_capacity(waiters.len());
            for waiter in waiters {
                answers.push(waiter.await?);
            }
            Ok(answers)
        };
        self.noted(self.timed(exchange).await.map_err(|failed| self.error(failed, method, at)))
    }

    pub(super) async fn send(&self, raw: &Bytes) -> Result<SendOutcome, ChainError> {
        self.on_our_chain().await?;
        let method = "eth_sendRawTransaction";
        let answer = match self.timed(self.client.request::<_, B256>(method, (raw.clone(),))).await {
            Ok(hash) if hash == keccak256(raw) => Ok(SendOutcome::Accepted),
            Ok(hash) => Err(Trouble::Garbage(format!("{hash} is not the transaction's hash"))),
            Err(Failed::Deadline) => Err(Trouble::Timeout),
            Err(Failed::Rpc(error)) => match classify::send_answer(&error) {
                Ok(SendOutcome::Refused(why)) => Ok(SendOutcome::Refused(self.scrub(&why))),
                answer => answer,
            },
        };
        self.noted(answer.map_err(|trouble| self.scrubbed(trouble, method, At::Latest)))
    }

    pub(super) fn unknown_block(&self, block: impl fmt::Display) -> ChainError {
        ChainError::UnknownBlock { endpoint: self.name.to_string(), block: block.to_string() }
    }

    pub(super) async fn timed<R>(
        &self,
        exchange: impl IntoFuture<Output = TransportResult<R>>,
    ) -> Result<R, Failed> {
        match tokio::time::timeout(self.terms.deadline, exchange.into_future()).await {
            Ok(answer) => answer.map_err(Failed::Rpc),
            Err(_elapsed) => Err(Failed::Deadline),
        }
    }

    pub(super) fn error(&self, failed: Failed, method: &'static str, at: At) -> ChainError {
        let trouble = match failed {
            Failed::Deadline => Trouble::Timeout,
            Failed::Rpc(error) => classify::trouble(&error),
        };
        self.scrubbed(trouble, method, at)
    }

    pub(super) fn scrubbed(&self, trouble: Trouble, method: &'static str, at: At) -> ChainError {
        let trouble = match trouble {
            Trouble::Unreachable(detail) => Trouble::Unreachable(self.scrub(&detail)),
            Trouble::Node(detail) => Trouble::Node(self.scrub(&detail)),
            Trouble::Garbage(detail) => Trouble::Garbage(self.scrub(&detail)),
            other => other,
        };
        trouble.at(&self.name, method, &at.to_string())
    }

    /// Cuts a detail to a bearable length and takes out what the url holds besides the host.
    fn scrub(&self, detail: &str) -> String {
        let clean =
            self.secrets.iter().fold(detail.to_owned(), |text, secret| text.replace(secret.as_str(), "…"));
        clean.chars().take(300).collect()
    }
}

pub(super) enum Failed {
    Deadline,
    Rpc(TransportError),
}

impl Failed {
    fn revert(&self) -> Option<Revert> {
        match self {
            Self::Deadline => None,
            Self::Rpc(error) => classify::revert(error),
        }
    }
}

/// Host and port of `url`: all of it that may be shown.
pub(super) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn secrets_of(url: &Url) -> Vec<String> {
    let mut parts = vec![url.as_str().to_owned(), url.path().to_owned(), url.username().to_owned()];
    parts.extend(url.password().map(str::to_owned));
    parts.extend(url.query().map(str::to_owned));
    parts.extend(url.query_pairs().map(|(_, value)| value.into_owned()));
    parts.extend(url.path_segments().into_iter().flatten().map(str::to_owned));
    // Shorter pieces, such as "/" or "v3", are no secrets, and would eat innocent text.
    parts.retain(|part| part.len() >= 6);
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        let url: Url = url.parse().unwrap();
        let terms = Terms {
            deadline: Duration::from_millis(500),
            chain_id: 1,
            check_every: Duration::from_secs(30),
            metrics: RpcMetrics::default(),
        };
        Endpoint::new(&Client::new(), &url, &host_of(&url), 0, &terms)
    }

    #[test]
    fn an_error_shows_the_host_and_no_secret_of_the_url() {
        let node =
            endpoint("https://user123:pass456@rpc.example.org:8443/v3/0123456789abcdef?apikey=topsecret");
        assert_eq!(&**node.name(), "rpc.example.org:8443");
        let told = "https://user123:pass456@rpc.example.org:8443/v3/0123456789abcdef?apikey=topsecret said 0123456789abcdef topsecret pass456";
        let trouble = Trouble::Node(told.to_owned());
        let shown = node.scrubbed(trouble, "eth_call", At::Latest).to_string();
        for secret in ["user123", "pass456", "0123456789abcdef", "topsecret"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[tokio::test]
    async fn a_dead_endpoint_is_unreachable_and_its_url_stays_hidden() {
        let node = endpoint("http://127.0.0.1:1/v3/0123456789abcdef");
        let error = node.ask::<_, Value>("eth_chainId", (), At::Latest).await.unwrap_err();
        assert!(matches!(error, ChainError::Unreachable { .. }), "{error:?}");
        assert!(!error.to_string().contains("0123456789abcdef"), "{error}");
        assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
    }

    #[tokio::test]
    async fn a_silent_endpoint_is_a_timeout_for_reads_and_broadcasts_alike() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let node = endpoint(&format!("http://{}/", listener.local_addr().unwrap()));
        let read = node.ask::<_, Value>("eth_chainId", (), At::Latest).await.unwrap_err();
        assert!(matches!(read, ChainError::Timeout { .. }), "{read:?}");
        let sent = node.send(&Bytes::from_static(&[2])).await.unwrap_err();
        assert!(matches!(sent, ChainError::Timeout { .. }), "{sent:?}");
    }
}
