//! Broadcasts under way: begun in the order of their nonces, some at once, while what comes next is signed and journaled.
//! One after the other, a node that answers late would be the limit of how fast anything is sent.

use std::pin::pin;
use std::sync::Arc;

use alloy::primitives::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use shared::ids::{Hash32, Nonce};
use shared::tx::Attempt;

use super::receipts::AT_ONCE;
use super::send;
use crate::chain::{Chain, ChainError, SendOutcome};

/// What the nodes said of one.
pub(super) struct Sent {
    pub(super) nonce: Nonce,
    pub(super) hash: Hash32,
    pub(super) answer: Result<SendOutcome, ChainError>,
    raw: Bytes,
}

pub(super) struct Sending {
    chain: Arc<dyn Chain>,
    running: FuturesUnordered<BoxFuture<'static, Sent>>,
    sent: Vec<Sent>,
}

impl Sending {
    pub(super) fn new(chain: Arc<dyn Chain>) -> Self {
        Self { chain, running: FuturesUnordered::new(), sent: Vec::new() }
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.running.is_empty()
    }

    /// Begins with a journaled attempt, once one of the others has been answered where many are under way.
    pub(super) async fn begin(&mut self, nonce: Nonce, attempt: &Attempt) {
        let (chain, hash, raw) = (self.chain.clone(), attempt.hash, attempt.raw.clone());
        while self.running.len() >= AT_ONCE {
            self.sent.extend(self.running.next().await);
        }
        self.running.push(Box::pin(async move {
            let answer = chain.broadcast(&raw).await;
            Sent { nonce, hash, answer, raw }
        }));
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

    /// Waits for the rest. All answers, in the order of their nonces.
    pub(super) async fn all(&mut self) -> Vec<Sent> {
        self.sent.extend(self.running.by_ref().collect::<Vec<_>>().await);
        let mut sent = std::mem::take(&mut self.sent);
        sent.sort_by_key(|sent| sent.nonce);
        if sent.len() > 1 {
            refused_again(&*self.chain, &mut sent).await;
        }
        sent
    }
}

/// Sends what was refused once more, in order, as far as it is taken: side by side, it may have come before a lower nonce,
/// to a node that takes none above the next.
async fn refused_again(chain: &dyn Chain, sent: &mut [Sent]) {
    let is_refused = |sent: &Sent| match &sent.answer {
        Ok(SendOutcome::PoolFull) => true,
        answer => send::is_refusal(answer),
    };
    for sent in sent.iter_mut().filter(|sent| is_refused(sent)) {
        sent.answer = chain.broadcast(&sent.raw).await;
        let is_taken = matches!(
            sent.answer,
            Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown | SendOutcome::NonceTooLow)
        );
        if !is_taken {
            return;
        }
    }
}
