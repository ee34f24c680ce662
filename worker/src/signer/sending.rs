//! Broadcasts under way: begun in the order of their nonces, some at once, while what comes next is signed and journaled.
//! One after the other, a node that answers late would be the limit of how fast anything is sent.

use std::pin::pin;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use shared::ids::{Hash32, Nonce};

use super::leader::Leader;
use super::receipts::AT_ONCE;
use crate::chain::{ChainError, SendOutcome};

/// What the nodes said of one.
pub(super) struct Sent {
    pub(super) nonce: Nonce,
    pub(super) hash: Hash32,
    pub(super) answer: Result<SendOutcome, ChainError>,
}

#[derive(Default)]
pub(super) struct Sending {
    running: FuturesUnordered<BoxFuture<'static, Sent>>,
    sent: Vec<Sent>,
}

impl Sending {
    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Begins with the newest journaled attempt at `nonce`, once one of the others has been answered where many are under way.
    pub(super) async fn begin(&mut self, leader: &Leader, nonce: Nonce) {
        let Some(attempt) = leader.open.get(&nonce).and_then(|tx| tx.record.latest()) else { return };
        let (chain, hash, raw) = (leader.ctx.chain.clone(), attempt.hash, attempt.raw.clone());
        while self.running.len() >= AT_ONCE {
            self.sent.extend(self.running.next().await);
        }
        self.running.push(Box::pin(async move { Sent { nonce, hash, answer: chain.broadcast(&raw).await } }));
    }

    /// Does `work`, and takes what is answered meanwhile.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                Some(sent) = self.running.next() => self.sent.push(sent),
                done = &mut work => return done,
            }
        }
    }

    /// Waits for the rest. All answers.
    pub(super) async fn all(&mut self) -> Vec<Sent> {
        self.sent.extend(self.running.by_ref().collect::<Vec<_>>().await);
        std::mem::take(&mut self.sent)
    }
}
