//! What every part of a relayer shares.

use std::sync::Arc;

use alloy::primitives::Address;
use shared::clock::Clock;
use shared::ids::FencingTerm;
use shared::store::Store;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::chain::{Chain, Head};
use crate::config::Config;
use crate::keys::SignerKey;
use crate::metrics::Metrics;

/// Built once at start; cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub config: Arc<Config>,
    pub store: Store,
    pub chain: Arc<dyn Chain>,
    pub key: Arc<dyn SignerKey>,
    /// The newest block, as it comes.
    pub heads: watch::Receiver<Option<Head>>,
    /// The term while this relayer leads. The signer tells, the heartbeat listens.
    pub leading: watch::Sender<Option<FencingTerm>>,
    /// A worker was seen that holds jobs and says nothing.
    pub silent: Arc<Notify>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    /// `<host>-<pid>-<uuid>`, new at each boot: no other process ever has it.
    pub worker: Arc<str>,
    /// The uuid alone: the holder's part of the lease.
    pub boot: Arc<str>,
    pub shutdown: CancellationToken,
}

impl Context {
    pub fn signer(&self) -> Address {
        self.key.address()
    }

    /// The newest block seen, or asked for when none was seen yet.
    pub async fn head(&self) -> Result<Head, crate::chain::ChainError> {
        let seen = *self.heads.borrow();
        match seen {
            Some(head) => Ok(head),
            None => self.chain.head().await,
        }
    }

    /// Waits, but not past shutdown; `false` when that came first.
    pub async fn pause(&self, duration: std::time::Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.shutdown.cancelled() => false,
        }
    }
}
