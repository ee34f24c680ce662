//! What every part of a relayer shares.

use std::sync::{Arc, Mutex, PoisonError};

use alloy::primitives::Address;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
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
    pub dice: Dice,
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
            biased;
            () = self.shutdown.cancelled() => false,
            () = tokio::time::sleep(duration) => true,
        }
    }
}

/// Chance, injected: a simulation that begins with the same seed goes the same way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dice(Arc<Mutex<StdRng>>);

impl Dice {
    pub fn of_the_system() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_os_rng())))
    }

    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Uniform in `0.0..1.0`.
    pub fn roll(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}
