//! Heads from a real node: polled, pushed, and through an outage of either.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::chain::Head;
use worker::chain::alloy::Url;
use worker::chain::heads::{HeadsConfig, follow_heads};

use crate::support;
use crate::support::{Anvil, Deployed, RELAYER, client};

const NEVER: Duration = Duration::from_secs(3_600);

struct Follower {
    heads: watch::Receiver<Option<Head>>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

#[allow(clippy::disallowed_methods, reason = "a test awaits its own task")]
fn follow(http: Url, config: HeadsConfig) -> Follower {
    let nowhere = support::wallet(1).address();
    let deployed = Deployed { registry: nowhere, payout: nowhere, usdc: nowhere, sge: nowhere, block: 0 };
    let chain = Arc::new(client(&[http], deployed, RELAYER));
    let (out, heads) = watch::channel(None);
    let cancel = CancellationToken::new();
    let task = tokio::spawn(follow_heads(chain, config, out, cancel.clone()));
    Follower { heads, cancel, task }
}

impl Follower {
    async fn reaches(&mut self, number: u64) -> Head {
        let reached = self.heads.wait_for(|head| head.is_some_and(|head| head.number.get() >= number));
        let head = tokio::time::timeout(Duration::from_secs(20), reached)
            .await
            .expect("in time")
            .expect("still followed");
        head.expect("a head")
    }

    async fn stops(self) {
        self.cancel.cancel();
        tokio::time::timeout(Duration::from_secs(2), self.task).await.expect("in time").expect("no panic");
    }
}

fn polling(poll: Duration) -> HeadsConfig {
    HeadsConfig { poll, ..HeadsConfig::default() }
}

fn pushing(anvil: &Anvil) -> HeadsConfig {
    HeadsConfig {
        websocket: Some(anvil.ws()),
        chain_id: Some(support::CHAIN_ID),
        poll: Duration::from_millis(50),
        safety_poll: NEVER,
        reconnect: Duration::from_millis(50),
        ..HeadsConfig::default()
    }
}

#[tokio::test]
async fn a_polled_head_is_delivered_once_per_change() {
    let anvil = Anvil::start(&["--no-mining"]).await;
    let mut follower = follow(anvil.http(), polling(Duration::from_millis(20)));
    assert_eq!(follower.reaches(0).await.number.get(), 0);
    follower.heads.mark_unchanged();
    // Many polls later nothing is new.
    let quiet = tokio::time::timeout(Duration::from_millis(300), follower.heads.changed()).await;
    assert!(quiet.is_err(), "the same head was delivered again");
    anvil.mine(3).await;
    assert_eq!(follower.reaches(3).await.number.get(), 3);
    follower.stops().await;
}

#[tokio::test]
async fn a_reorganised_head_of_the_same_height_is_delivered() {
    let anvil = Anvil::start(&["--no-mining"]).await;
    let mut follower = follow(anvil.http(), polling(Duration::from_millis(20)));
    anvil.mine(3).await;
    let before = follower.reaches(3).await;
    follower.heads.mark_unchanged();
    anvil.rpc("anvil_reorg", serde_json::json!([2, []])).await;
    let changed = tokio::time::timeout(Duration::from_secs(5), follower.heads.changed()).await;
    changed.expect("in time").expect("still followed");
    let after = follower.heads.borrow().expect("a head");
    assert_eq!(after.number, before.number);
    assert_ne!(after.hash, before.hash);
    follower.stops().await;
}

#[tokio::test]
async fn a_pushed_head_needs_no_poll() {
    let anvil = Anvil::start(&["--no-mining"]).await;
    let mut follower = follow(anvil.http(), HeadsConfig { poll: NEVER, ..pushing(&anvil) });
    // The first poll is at once; whatever comes after it was pushed.
    follower.reaches(0).await;
    for number in 1.. {
        anvil.mine(1).await;
        let pushed = follower.heads.wait_for(|head| head.is_some_and(|head| head.number.get() >= number));
        if tokio::time::timeout(Duration::from_millis(500), pushed).await.is_ok() {
            break;
        }
        assert!(number < 20, "no head was pushed");
    }
    let next = follower.heads.borrow().expect("a head").number.get() + 1;
    anvil.mine(1).await;
    follower.reaches(next).await;
    follower.stops().await;
}

#[tokio::test]
async fn an_outage_of_the_node_ends_nothing() {
    let mut anvil = Anvil::start(&["--no-mining"]).await;
    let port = anvil.port();
    let mut follower = follow(anvil.http(), pushing(&anvil));
    anvil.mine(2).await;
    follower.reaches(2).await;
    anvil.kill();
    let again = Anvil::start_on(port, &["--no-mining"]).await;
    again.mine(7).await;
    follower.reaches(7).await;
    again.mine(1).await;
    follower.reaches(8).await;
    follower.stops().await;
}

#[tokio::test]
async fn a_websocket_on_another_chain_is_not_listened_to() {
    let (anvil, other) = (Anvil::start(&["--no-mining"]).await, Anvil::start(&["--no-mining"]).await);
    other.mine(1_000).await;
    let expected = Some(support::CHAIN_ID + 1);
    let mut follower = follow(anvil.http(), HeadsConfig { chain_id: expected, ..pushing(&other) });
    for number in 1..=20 {
        other.mine(1).await;
        anvil.mine(1).await;
        assert_eq!(follower.reaches(number).await.number.get(), number);
    }
    follower.stops().await;
}

#[tokio::test]
async fn a_dead_websocket_leaves_polling_at_work() {
    let anvil = Anvil::start(&["--no-mining"]).await;
    let nobody: Url = format!("ws://127.0.0.1:{}", support::free_port()).parse().unwrap();
    let mut follower = follow(anvil.http(), HeadsConfig { websocket: Some(nobody), ..pushing(&anvil) });
    anvil.mine(4).await;
    follower.reaches(4).await;
    follower.stops().await;
}
