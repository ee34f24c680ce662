//! New heads, as they appear: pushed by a WebSocket subscription where there is one, polled otherwise.
//!
//! Invariants: a head is delivered only when its number or hash differs from the last one; no failure of a node ends
//! the stream, only cancellation does. While a subscription lives, polling goes on slowly: it notices a connection that
//! is open but silent, and may only move the head forward. The node that pushes may do no more: where its head is not above
//! the known one, the others are asked, and what they say counts.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::U64;
use alloy::pubsub::{PubSubFrontend, Subscription};
use alloy::rpc::client::RpcClient;
use alloy::transports::ws::WsConnect;
use alloy::transports::{TransportError, TransportErrorKind};
use rand::Rng;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::alloy::Url;
use super::endpoint::host_of;
use super::wire::RawHeader;
use super::{Chain, ChainError, Head, classify};

/// Where heads come from and how often to look.
#[derive(Clone)]
pub struct HeadsConfig {
    pub websocket: Option<Url>,
    /// A WebSocket endpoint on another chain is not listened to; `None`: on any chain.
    pub chain_id: Option<u64>,
    /// Between two polls while no subscription lives.
    pub poll: Duration,
    /// Between two polls while one does.
    pub safety_poll: Duration,
    /// The first wait before connecting again; doubled up to `reconnect_max`.
    pub reconnect: Duration,
    pub reconnect_max: Duration,
}

impl Default for HeadsConfig {
    fn default() -> Self {
        Self {
            websocket: None,
            chain_id: None,
            poll: Duration::from_millis(250),
            safety_poll: Duration::from_secs(5),
            reconnect: Duration::from_millis(500),
            reconnect_max: Duration::from_secs(30),
        }
    }
}

/// A live subscription. The client is kept because dropping it closes the connection.
struct Live {
    _client: RpcClient,
    heads: Subscription<RawHeader>,
}

/// For connecting and subscribing together.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

type Connecting = Pin<Box<dyn Future<Output = Result<Live, TransportError>> + Send>>;

/// The state of the push side.
enum Push {
    /// No WebSocket is configured.
    Off,
    Connecting(Connecting),
    Live(Box<Live>),
    /// Connects again at the instant.
    Waiting(Instant),
}

/// What woke the loop.
enum Wake {
    Cancelled,
    PollDue,
    Polled(Result<Head, ChainError>),
    Connected(Result<Live, TransportError>),
    Reconnect,
    Pushed(Option<Head>),
}

/// Delivers heads into `out` until `cancel` is cancelled.
pub async fn follow_heads(
    chain: Arc<dyn Chain>,
    config: HeadsConfig,
    out: watch::Sender<Option<Head>>,
    cancel: CancellationToken,
) {
    let mut follower = Follower::new(&config, out);
    // The first poll is at once: nobody waits for a head that is already there. A poll runs beside the subscription:
    // an endpoint that does not answer must not hold up pushed heads.
    let mut next_poll = Instant::now();
    let mut poll: Option<Polling<'_>> = None;
    loop {
        let wake = tokio::select! {
            biased;
            () = cancel.cancelled() => Wake::Cancelled,
            wake = follower.pushed() => wake,
            head = answer_of(&mut poll) => Wake::Polled(head),
            () = tokio::time::sleep_until(next_poll), if poll.is_none() => Wake::PollDue,
        };
        match wake {
            Wake::Cancelled => return,
            Wake::PollDue => poll = Some(chain.head()),
            Wake::Polled(head) => {
                poll = None;
                follower.polled(head);
                next_poll = Instant::now() + follower.poll_interval();
            }
            Wake::Connected(Ok(live)) => follower.connected(live),
            Wake::Connected(Err(error)) => follower.lost(&reason(&error)),
            Wake::Reconnect => follower.push = follower.connect(),
            Wake::Pushed(Some(head)) => {
                if !follower.is_pushed_forward(head) {
                    next_poll = next_poll.min(Instant::now() + config.poll);
                }
            }
            Wake::Pushed(None) => {
                follower.lost("the subscription ended");
                next_poll = Instant::now();
            }
        }
    }
}

type Polling<'a> = Pin<Box<dyn Future<Output = Result<Head, ChainError>> + Send + 'a>>;

async fn answer_of(poll: &mut Option<Polling<'_>>) -> Result<Head, ChainError> {
    match poll {
        Some(poll) => poll.await,
        None => std::future::pending().await,
    }
}

struct Follower<'a> {
    config: &'a HeadsConfig,
    out: watch::Sender<Option<Head>>,
    push: Push,
    /// Failed connections in a row.
    failures: u32,
    /// The last poll failed, and that was logged.
    poll_fails: bool,
    /// The node that pushes showed a head that is not above the known one: a reorganisation, or it is behind.
    doubtful: bool,
}

impl<'a> Follower<'a> {
    fn new(config: &'a HeadsConfig, out: watch::Sender<Option<Head>>) -> Self {
        let mut follower =
            Self { config, out, push: Push::Off, failures: 0, poll_fails: false, doubtful: false };
        follower.push = follower.connect();
        follower
    }

    fn connect(&self) -> Push {
        let chain_id = self.config.chain_id;
        let subscribe = |url| Push::Connecting(Box::pin(subscribe_in_time(url, chain_id)));
        self.config.websocket.clone().map_or(Push::Off, subscribe)
    }

    /// The next event of the push side. Cancel-safe: all state lives in `self.push`.
    async fn pushed(&mut self) -> Wake {
        match &mut self.push {
            Push::Off => std::future::pending().await,
            Push::Connecting(connecting) => Wake::Connected(connecting.await),
            Push::Waiting(until) => {
                tokio::time::sleep_until(*until).await;
                Wake::Reconnect
            }
            Push::Live(live) => Wake::Pushed(next_head(&mut live.heads).await),
        }
    }

    fn connected(&mut self, live: Live) {
        tracing::info!(rpc.endpoint = self.host(), "subscribed to new heads");
        self.failures = 0;
        self.push = Push::Live(Box::new(live));
    }

    /// Logged at the first failure of a streak only.
    fn lost(&mut self, why: &str) {
        if self.failures == 0 {
            tracing::warn!(
                rpc.endpoint = self.host(),
                error = why,
                "no subscription to new heads; polling meanwhile"
            );
        }
        let wait = backoff(self.config, self.failures);
        self.failures = self.failures.saturating_add(1);
        self.push = Push::Waiting(Instant::now() + wait);
    }

    fn host(&self) -> String {
        self.config.websocket.as_ref().map(host_of).unwrap_or_default()
    }

    fn poll_interval(&self) -> Duration {
        if matches!(self.push, Push::Live(_)) { self.config.safety_poll } else { self.config.poll }
    }

    fn polled(&mut self, answer: Result<Head, ChainError>) {
        match answer {
            Ok(head) => {
                if std::mem::take(&mut self.poll_fails) {
                    tracing::info!(block.number = head.number.get(), "polling for heads works again");
                }
                // Another node may lag behind the one that pushes.
                let known = self.out.borrow().map(|known| known.number);
                let forward = known.is_none_or(|known| head.number > known);
                let doubtful = std::mem::take(&mut self.doubtful);
                if forward || doubtful || !matches!(self.push, Push::Live(_)) {
                    self.deliver(head);
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.poll_fails, true) {
                    tracing::warn!(error = %error, "polling for heads fails");
                }
            }
        }
    }

    /// Delivers a pushed head that is above the known one; whether the known head is settled with that.
    fn is_pushed_forward(&mut self, head: Head) -> bool {
        let known = *self.out.borrow();
        if known.is_none_or(|known| head.number > known.number) {
            self.deliver(head);
        } else if known != Some(head) {
            self.doubtful = true;
        }
        !self.doubtful
    }

    fn deliver(&self, head: Head) {
        self.out.send_if_modified(|known| {
            let changed = known.is_none_or(|known| (known.number, known.hash) != (head.number, head.hash));
            if changed {
                *known = Some(head);
            }
            changed
        });
    }
}

/// Exponential, with up to half of it added by chance, so that a fleet does not return in step.
fn backoff(config: &HeadsConfig, failures: u32) -> Duration {
    let wait = config.reconnect.saturating_mul(1 << failures.min(16)).min(config.reconnect_max);
    wait + wait.mul_f64(rand::rng().random_range(0.0..0.5))
}

async fn subscribe_in_time(url: Url, chain_id: Option<u64>) -> Result<Live, TransportError> {
    match tokio::time::timeout(CONNECT_DEADLINE, subscribe(url, chain_id)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(TransportErrorKind::custom_str("no answer within the deadline")),
    }
}

async fn subscribe(url: Url, chain_id: Option<u64>) -> Result<Live, TransportError> {
    // No retries inside: this file reconnects, and polls meanwhile.
    let connect = WsConnect::new(url.as_str()).with_max_retries(0);
    let client = RpcClient::connect_pubsub(connect).await?;
    if let Some(expected) = chain_id {
        let found: U64 = client.request("eth_chainId", ()).await?;
        if found.to::<u64>() != expected {
            return Err(TransportErrorKind::custom_str(&format!(
                "it is on chain {found}, not on {expected}"
            )));
        }
    }
    let mut call = client.request::<_, alloy::primitives::B256>("eth_subscribe", ("newHeads",));
    call.set_is_subscription();
    let id = call.await?;
    let frontend: &PubSubFrontend =
        client.pubsub_frontend().ok_or_else(TransportErrorKind::pubsub_unavailable)?;
    let heads = frontend.get_subscription(id).await?.into_typed();
    Ok(Live { _client: client, heads })
}

/// The next head, or `None` when the subscription has ended.
async fn next_head(heads: &mut Subscription<RawHeader>) -> Option<Head> {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match heads.recv().await {
            Ok(raw) => return Some(raw.into()),
            // Only the newest head matters.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Why there is no connection, without the url.
fn reason(error: &TransportError) -> String {
    format!("{:?}", classify::trouble(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::B256;
    use shared::ids::BlockNumber;

    fn head(number: u64, hash: u8) -> Head {
        Head {
            number: BlockNumber::new(number),
            hash: B256::repeat_byte(hash).into(),
            parent: B256::ZERO.into(),
            timestamp: 0,
            gas_limit: 0,
            base_fee: 0,
        }
    }

    #[test]
    fn a_node_that_pushes_moves_the_head_forward_only_and_else_the_endpoints_are_asked() {
        let (config, (out, heads)) = (HeadsConfig::default(), watch::channel(None));
        let mut follower = Follower::new(&config, out);
        assert!(follower.is_pushed_forward(head(5, 5)));
        assert!(follower.is_pushed_forward(head(5, 5)), "nothing new");
        for doubtful in [head(4, 4), head(5, 6)] {
            assert!(!follower.is_pushed_forward(doubtful));
            assert_eq!(*heads.borrow(), Some(head(5, 5)), "not on its word alone");
        }
        // A reorganisation that the endpoints show as well.
        follower.polled(Ok(head(5, 6)));
        assert_eq!(*heads.borrow(), Some(head(5, 6)));
        assert!(follower.is_pushed_forward(head(6, 7)));
    }
}
