use poem_openapi::{Enum, Object};
use shared::store::TxView;
use shared::tx_state::TxState;

use super::jobs::AttemptView;

/// The state of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum TxStateName {
    /// Journaled; it may be mined at any time.
    Open,
    /// Journaled, and being replaced by a transfer of nothing to the signer itself.
    Cancelling,
    /// Its nonce is consumed for good.
    Closed,
}

impl TxStateName {
    pub(crate) const fn state(self) -> TxState {
        match self {
            Self::Open => TxState::Open,
            Self::Cancelling => TxState::Cancelling,
            Self::Closed => TxState::Closed,
        }
    }

    const fn of(state: TxState) -> Self {
        match state {
            TxState::Open => Self::Open,
            TxState::Cancelling => Self::Cancelling,
            TxState::Closed => Self::Closed,
        }
    }
}

/// Where a transaction was seen in the chain.
#[derive(Debug, Object)]
pub(crate) struct InclusionView {
    /// Hash of the included attempt, 0x and 64 hex digits.
    pub(crate) hash: String,
    /// Height of the block.
    pub(crate) block: u64,
}

/// How a nonce ended.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct EndView {
    /// What consumed it: `ours` (an attempt with the intent), `cancel`, or `stranger` (a transaction that is not in the
    /// journal).
    pub(crate) consumed_by: String,
    /// Hash of what consumed it, 0x and 64 hex digits; absent where it is not known.
    pub(crate) hash: Option<String>,
    /// When it was found final, in unix milliseconds.
    pub(crate) at: u64,
}

/// A nonce, what it is spent on, and every signed attempt.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct TransactionView {
    /// The signing account, with its EIP-55 checksum.
    pub(crate) signer: String,
    /// Account nonce.
    pub(crate) nonce: u64,
    /// `register`, `payout`, or `filler` (a transfer of nothing that closes a hole in the nonces).
    pub(crate) kind: String,
    /// Where it stands.
    pub(crate) state: TxStateName,
    /// The jobs that it is to settle. A job that left it meanwhile is still listed.
    pub(crate) jobs: Vec<String>,
    /// The account that it calls, with its EIP-55 checksum.
    pub(crate) to: String,
    /// Every signed attempt, oldest first.
    pub(crate) attempts: Vec<AttemptView>,
    /// Where it was seen in the chain, as deep as that may be.
    pub(crate) included: Option<InclusionView>,
    /// How it ended, once it is closed.
    pub(crate) ended: Option<EndView>,
    /// When it was journaled, in unix milliseconds.
    pub(crate) created_at: u64,
}

impl From<&TxView> for TransactionView {
    fn from(view: &TxView) -> Self {
        let tx = &view.tx;
        Self {
            signer: view.signer.to_checksum(None),
            nonce: tx.nonce.get(),
            kind: tx.intent.kind.name().to_owned(),
            state: TxStateName::of(tx.state),
            jobs: tx.intent.jobs.iter().map(|held| held.job.to_string()).collect(),
            to: tx.intent.to.to_checksum(None),
            attempts: tx.attempts.iter().map(AttemptView::from).collect(),
            included: tx
                .inclusion
                .map(|seen| InclusionView { hash: seen.hash.to_string(), block: seen.block.get() }),
            ended: view.end.as_ref().map(|end| EndView {
                consumed_by: end.consumed_by.clone(),
                hash: end.hash.map(|hash| hash.to_string()),
                at: end.at,
            }),
            created_at: tx.created_at,
        }
    }
}

/// A page of transactions, newest first.
#[derive(Debug, Object)]
pub(crate) struct TransactionPageView {
    /// The page. It may be shorter than the limit, even empty, while there is a next one.
    pub(crate) transactions: Vec<TransactionView>,
    /// Give it as `cursor` for the next page; null on the last one.
    pub(crate) next: Option<String>,
}
