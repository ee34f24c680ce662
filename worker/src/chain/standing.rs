//! What an endpoint's answers and silences make of its standing: the shell around the decisions of `health.rs`, which
//! counts, tells and logs.
//!
//! Invariant: a node is asked for its chain id before anything else, and for nothing else while that is not ours.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use alloy::primitives::U64;
use shared::ids::BlockNumber;
use tokio::time::Instant;

use super::ChainError;
use super::classify::Trouble;
use super::endpoint::{At, Endpoint};
use super::health::{Fault, Health, Rank};

impl Endpoint {
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn publish(&self, health: &Health) {
        self.terms.metrics.state(&self.name, health.is_up(), health.lag());
    }

    pub(super) fn rank(&self) -> Option<Rank> {
        self.health().rank(self.is_slow())
    }

    /// Demoted for not answering, and not heard of since.
    pub(super) fn is_silent(&self) -> bool {
        self.health().is_silent()
    }

    pub(super) fn is_slow(&self) -> bool {
        self.overdue.load(Ordering::Relaxed) > 0
    }

    /// Makes sure, once, that the node is on our chain.
    pub(super) async fn on_our_chain(&self) -> Result<(), ChainError> {
        // Decided before the await: a guard must not be held across it.
        let unchecked = self.health().is_unchecked();
        if unchecked { self.noted(self.check_chain().await.map(drop)) } else { Ok(()) }
    }

    /// Asks for the chain id, and remembers whether it is ours.
    async fn check_chain(&self) -> Result<u64, ChainError> {
        let method = "eth_chainId";
        let id: U64 = self
            .timed(self.client.request(method, ()))
            .await
            .map_err(|failed| self.error(failed, method, At::Latest))?;
        let (found, expected) = (id.to::<u64>(), self.terms.chain_id);
        let mut health = self.health();
        if health.checked(found == expected, Instant::now()) && found != expected {
            tracing::error!(
                rpc.endpoint = &*self.name,
                found,
                expected,
                "an endpoint is on another chain; it is not asked"
            );
        }
        self.publish(&health);
        if found == expected {
            Ok(found)
        } else {
            Err(ChainError::WrongChain { endpoint: self.name.to_string(), found, expected })
        }
    }

    /// The chain id, asked for now.
    pub(super) async fn chain_id(&self) -> Result<u64, ChainError> {
        self.noted(self.check_chain().await)
    }

    /// Looks at the node: is it on our chain, and does it answer? The only way out of a demotion.
    pub(super) async fn probe(&self, best: Option<BlockNumber>) {
        let was_up = self.health().is_up();
        let look = async {
            self.chain_id().await?;
            self.head(best).await
        };
        let answer = look.await;
        let now = Instant::now();
        let mut health = self.health();
        match answer {
            // One that was up when it was asked may have begun a pause meanwhile, which this probe must neither end nor
            // prolong.
            _ if was_up && !health.is_up() => {}
            Ok(_) if health.probe_passed(now) => {
                tracing::info!(rpc.endpoint = &*self.name, "an endpoint is back");
            }
            Ok(_) | Err(ChainError::WrongChain { .. }) => {}
            Err(_) => health.probe_failed(now),
        }
        self.publish(&health);
    }

    /// It showed `head`, when `best` was the newest that anybody had shown.
    pub(super) fn showed(&self, head: BlockNumber, best: Option<BlockNumber>) {
        let mut health = self.health();
        health.showed(head, best);
        self.publish(&health);
    }

    /// Its answer to a question of which the chain's own records tell otherwise: it is asked last for a while.
    pub(super) fn blame(&self, why: &str) {
        self.terms.metrics.disagreed(&self.name);
        let mut health = self.health();
        let pause = health.demote(Instant::now());
        self.publish(&health);
        tracing::error!(
            rpc.endpoint = &*self.name,
            why,
            ?pause,
            "an endpoint's answer is refuted by the chain itself"
        );
    }

    pub(super) fn noted<R>(&self, answer: Result<R, ChainError>) -> Result<R, ChainError> {
        match &answer {
            Ok(_) => self.health().answered(),
            Err(error) => self.failed(error),
        }
        answer
    }

    fn failed(&self, error: &ChainError) {
        let Some(fault) = Fault::of(error) else { return self.health().answered() };
        self.terms.metrics.failed(&self.name, fault);
        let mut health = self.health();
        if let Some(pause) = health.failed(fault, Instant::now()) {
            tracing::warn!(rpc.endpoint = &*self.name, %error, ?pause, "an endpoint fails; others are asked first");
        }
        self.publish(&health);
    }

    /// An answer that does not make sense, which counts against the node.
    pub(super) fn garbage(&self, method: &'static str, detail: impl fmt::Display) -> ChainError {
        let error = self.scrubbed(Trouble::Garbage(detail.to_string()), method, At::Latest);
        self.failed(&error);
        error
    }
}

/// While it lives, others are asked before the endpoint: one of its answers is overdue.
pub(super) struct Overdue(Arc<Endpoint>);

impl Overdue {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Self {
        endpoint.overdue.fetch_add(1, Ordering::Relaxed);
        Self(endpoint)
    }

    pub(super) fn is_of(&self, endpoint: &Arc<Endpoint>) -> bool {
        Arc::ptr_eq(&self.0, endpoint)
    }
}

impl Drop for Overdue {
    fn drop(&mut self) {
        self.0.overdue.fetch_sub(1, Ordering::Relaxed);
    }
}
