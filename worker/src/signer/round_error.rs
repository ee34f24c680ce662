//! Why a round was cut short.

use shared::ids::{JobId, Nonce};
use shared::store::StoreError;

use super::sync::SyncError;
use crate::chain::ChainError;

/// Why a round could not be finished. Every round is safe to begin again.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sync(#[from] SyncError),
    #[error("the signing key failed: {0}")]
    Key(#[from] crate::keys::KeyError),
    #[error("the lease is not ours any more")]
    Fenced,
    /// The journal holds something else than we remember: take over again.
    #[error("our picture of the journal is outdated: {0}")]
    Outdated(String),
    /// The contract says that it was paid, and no node shows the event that says how much.
    #[error("the payment of job {0} has no event yet")]
    Unexplained(JobId),
    /// The nonce is consumed, and no node shows by which transaction.
    #[error("no node has a receipt for nonce {0} yet")]
    NoReceipt(Nonce),
    #[error(transparent)]
    Unsure(#[from] super::recover::Unsure),
}

impl RoundError {
    pub(super) fn is_of_the_chain(&self) -> bool {
        matches!(
            self,
            Self::Chain(_) | Self::Sync(SyncError::Chain(_) | SyncError::Undecided(_)) | Self::Unsure(_)
        )
    }
}

/// A record of this nonce or of one of its jobs broke a script off. The others go on.
pub(super) fn broke_off(doing: &'static str, nonce: Nonce, error: &StoreError) {
    tracing::error!(doing, nonce = nonce.get(), %error, "this nonce cannot go on; look at its record and at those of its jobs");
}
