//! A JSON-RPC endpoint with switchable faults, in front of a real node.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use kit::world::rpc_proxy::{Fault, RpcProxy};
//! let proxy = RpcProxy::start("http://127.0.0.1:8545")?;
//! println!("ETH_RPC_HTTPS={},http://127.0.0.1:8545", proxy.url());
//! proxy.set(Fault::StaleNonce(3));
//! // …
//! proxy.set(Fault::Pass);
//! # Ok(()) }
//! ```
//!
//! A fault holds for all questions from the moment it is set, also for those that are being answered then where it keeps
//! answers back. The proxy has a thread and a runtime of its own, so that a busy test does not make it slow, and ends when
//! it is dropped. Single questions and batches are understood; WebSockets are not.

mod answers;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use answers::Upstream;

/// What is wrong with the endpoint. Numbers of blocks and nonces are given by `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing: every question goes to the node and its answer comes back.
    Pass,
    /// Connections are closed before anything is said, open ones too.
    Down,
    /// Questions are taken and never answered.
    Hang,
    /// HTTP 429 to everything.
    Status429,
    /// HTTP 200 with a body that is no JSON.
    Garbage,
    /// Account nonces, at whatever block, are `n` too low (but not below zero).
    StaleNonce(u64),
    /// Account nonces, at whatever block, are `n` too high.
    HighNonce(u64),
    /// Calls and balances are answered with the state `n` blocks below the block asked about: what was paid since then is
    /// unpaid.
    StaleState(u64),
    /// The newest `n` blocks are hidden, with their state, receipts and logs.
    Lag(u64),
    /// `eth_chainId` names another chain.
    WrongChainId,
    /// Transactions are passed on, and the answer to that is never given.
    SwallowSend,
    /// The same for `n` of a hundred transactions, by their hashes: always for the same ones.
    SwallowSome(u64),
    /// Transactions are passed on at once, and the answer to that comes `n` milliseconds late.
    SlowSend(u64),
    /// A transaction whose nonce is above the account's next is refused; and those of every other nonce come late.
    NoGaps,
    /// Transactions are accepted with their right hash, and never passed on.
    DropSend,
    /// Transactions are accepted with their right hash, known from then on until [`RpcProxy::forget`], and never passed on.
    Holds,
    /// No logs: neither when asked for, nor in receipts.
    NoLogs,
    /// Logs of more than `n` blocks at a time are refused.
    NarrowLogs(u64),
    /// `n` wei per gas are suggested as the priority fee.
    Tip(u64),
    /// Every answer comes `n` milliseconds late.
    Slow(u64),
    /// Blocks asked for by number have other hashes than on the real chain.
    Fork,
    /// Calls return nothing, as where no contract is.
    NoCode,
}

/// Where a proxy listens, what it does, and what it was asked. Ends with its value.
pub struct RpcProxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    asked: Asked,
    unanswered: Arc<AtomicU64>,
    taken: Taken,
    held: Held,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How often each method was asked.
type Asked = Arc<Mutex<BTreeMap<String, u64>>>;
/// When the node first took each transaction.
type Taken = Arc<Mutex<HashMap<B256, Instant>>>;
/// Transactions that an endpoint which holds them knows.
type Held = Arc<Mutex<HashSet<B256>>>;

/// How long a kept-back answer is kept back at most: then the connection is closed, so that nothing stays for ever.
const LONGEST_SILENCE: Duration = Duration::from_secs(120);

impl RpcProxy {
    /// Listens on a free loopback port, in front of the node at `upstream` (an HTTP url).
    pub fn start(upstream: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, super::ports::free()?))
            .context("listen for JSON-RPC")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (fault, watched) = watch::channel(Fault::Pass);
        let (stop, stopped) = oneshot::channel();
        let asked = Asked::default();
        let unanswered = Arc::<AtomicU64>::default();
        let taken = Taken::default();
        let held = Held::default();
        let proxy = Proxy {
            upstream: Upstream::new(upstream, held.clone())?,
            fault: watched,
            asked: asked.clone(),
            unanswered: unanswered.clone(),
            taken: taken.clone(),
        };
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(listener, Arc::new(proxy)) => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new()
            .name("rpc-proxy".to_owned())
            .spawn(serve)
            .context("start a thread")?;
        let (stop, thread) = (Some(stop), Some(thread));
        Ok(Self { address, fault, asked, unanswered, taken, held, stop, thread })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Host and port: the endpoint's name in logs and metrics.
    pub fn name(&self) -> String {
        self.address.to_string()
    }

    /// From now on the endpoint has this fault, and no other.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    pub fn fault(&self) -> Fault {
        *self.fault.borrow()
    }

    /// How often `method` was asked so far, answered or not. Unreadable requests and closed connections do not count.
    pub fn asked(&self, method: &str) -> u64 {
        self.counts().get(method).copied().unwrap_or_default()
    }

    /// How many requests were taken and never answered so far.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// How many questions there were so far, of whatever method.
    pub fn asked_in_all(&self) -> u64 {
        self.counts().values().sum()
    }

    /// When the node took each transaction that went through here, by its hash.
    pub fn taken(&self) -> HashMap<B256, Instant> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The transactions that this endpoint holds.
    pub fn held(&self) -> HashSet<B256> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// This endpoint holds the transaction no longer, and takes it as a new one.
    pub fn forget(&self, tx: B256) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&tx);
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for RpcProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The serving side.
struct Proxy {
    upstream: Upstream,
    fault: watch::Receiver<Fault>,
    asked: Asked,
    unanswered: Arc<AtomicU64>,
    taken: Taken,
}

async fn accept(listener: TcpListener, proxy: Arc<Proxy>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
            Some(_) = connections.join_next() => continue,
        };
        let proxy = proxy.clone();
        connections.spawn(async move {
            let mut fault = proxy.fault.clone();
            let asked = proxy.clone();
            let service = service_fn(move |request| answer(asked.clone(), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // An endpoint that is down has no connections.
                _ = fault.wait_for(|fault| *fault == Fault::Down) => {}
                _ = connection => {}
            }
        });
    }
}

/// An error closes the connection.
async fn answer(proxy: Arc<Proxy>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
    let body = request.into_body().collect().await.map_err(|_| Closed)?.to_bytes();
    let Ok(questions) = serde_json::from_slice::<Value>(&body) else {
        return Ok(response(StatusCode::BAD_REQUEST, Bytes::from_static(b"no JSON")));
    };
    proxy.count(&questions);
    let fault = *proxy.fault.borrow();
    match fault {
        Fault::Down => return Err(Closed),
        Fault::Status429 => {
            return Ok(response(StatusCode::TOO_MANY_REQUESTS, Bytes::from_static(b"too many requests")));
        }
        Fault::Garbage => return Ok(response(StatusCode::OK, Bytes::from_static(b"<html>nonsense</html>"))),
        _ => {}
    }
    let answered = match &questions {
        Value::Array(batch) => {
            let each = batch.iter().map(|question| proxy.upstream.answer(fault, question));
            futures::future::join_all(each).await.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
        }
        single => proxy.upstream.answer(fault, single).await,
    };
    if let Some(answers) = &answered {
        proxy.note_taken(&questions, answers);
    }
    match answered {
        Some(answer) => Ok(response(StatusCode::OK, answer.to_string().into())),
        None => {
            proxy.unanswered.fetch_add(1, Ordering::Relaxed);
            proxy.keep_back(fault).await;
            Err(Closed)
        }
    }
}

impl Proxy {
    fn count(&self, questions: &Value) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let all = questions.as_array().map_or(std::slice::from_ref(questions), Vec::as_slice);
        for method in all.iter().filter_map(|question| question["method"].as_str()) {
            *asked.entry(method.to_owned()).or_default() += 1;
        }
    }

    fn note_taken(&self, questions: &Value, answers: &Value) {
        fn all(value: &Value) -> &[Value] {
            value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
        }
        let sends = all(questions).iter().zip(all(answers));
        for (_, answer) in sends.filter(|(question, _)| question["method"] == "eth_sendRawTransaction") {
            let hash = answer["result"].as_str().and_then(|hash| hash.parse().ok());
            if let Some(hash) = hash {
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                taken.entry(hash).or_insert_with(Instant::now);
            }
        }
    }

    /// Keeps an answer back until the fault is another one: who asks then may hope again.
    async fn keep_back(&self, fault: Fault) {
        let mut watched = self.fault.clone();
        let changed = watched.wait_for(|now| *now != fault);
        let _ = tokio::time::timeout(LONGEST_SILENCE, changed).await;
    }
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}

/// The connection is closed without an answer.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed without an answer")
    }
}

impl std::error::Error for Closed {}

#[cfg(test)]
mod tests;
