use std::collections::HashMap;

use poem_openapi::{Enum, Object};
use serde_json::Value;
use shared::job::{FailureClass, Job, Kind, Payload};
use shared::job_state::{JobState, Pending, Processing};
use shared::store::TimelineEntry;
use shared::tx::TxRecord;

use super::Amounts;

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum StateName {
    Pending,
    Processing,
    Retrying,
    Done,
    Failed,
    Cancelled,
}

impl StateName {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Retrying => "retrying",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(state: &JobState) -> Self {
        match state {
            JobState::Pending(_) => Self::Pending,
            JobState::Processing { .. } => Self::Processing,
            JobState::Retrying => Self::Retrying,
            JobState::Done { .. } => Self::Done,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// The kind of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum KindName {
    /// Writes a referral on-chain.
    Register,
    /// Pays a commission.
    Payout,
}

impl KindName {
    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Register => Kind::Register,
            Self::Payout => Kind::Payout,
        }
    }
}

/// The payment that a payout is for.
#[derive(Debug, Object)]
pub(crate) struct PaymentRef {
    /// The on-chain payment id: keccak256 of the ABI-encoded source and external id, 0x and 64 hex digits.
    pub(crate) id: String,
    /// The name of the source that reported it.
    pub(crate) source: String,
    /// Its id at the source.
    pub(crate) external_id: String,
}

/// Why a job failed, or why its last attempt did.
#[derive(Debug, Object)]
pub(crate) struct JobError {
    /// The failure's class; stable, for programs.
    pub(crate) class: String,
    /// What happened, with the values decoded from the chain.
    pub(crate) reason: String,
    /// What an operator can do about it.
    pub(crate) hint: String,
}

/// One signed transaction at the nonce.
#[derive(Debug, Object)]
pub(crate) struct AttemptView {
    /// Transaction hash, 0x and 64 hex digits.
    pub(crate) hash: String,
    /// Gas limit in gas.
    pub(crate) gas_limit: u64,
    /// Highest fee in wei per gas, as a decimal string.
    pub(crate) max_fee_wei: String,
    /// Highest priority fee in wei per gas, as a decimal string.
    pub(crate) max_priority_fee_wei: String,
    /// Whether it replaces the payout by a transfer of nothing to the signer itself.
    pub(crate) cancel: bool,
    /// The fencing term of the leader that signed it.
    pub(crate) term: u64,
    /// Height of the chain's head when it was signed.
    pub(crate) head: u64,
    /// When it was journaled, in unix milliseconds.
    pub(crate) at: u64,
}

/// The transaction that holds the job, or the last one that did. Others may share it.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct TxView {
    /// Account nonce; absent where the chain showed the job as done without a transaction of ours.
    pub(crate) nonce: Option<u64>,
    /// The signing account, with its EIP-55 checksum.
    pub(crate) signer: Option<String>,
    /// `open`, `cancelling` or `closed`. Only with a single job.
    pub(crate) state: Option<String>,
    /// Hash of the included transaction, 0x and 64 hex digits. Only with a single job.
    pub(crate) hash: Option<String>,
    /// Height of the including block.
    pub(crate) block: Option<u64>,
    /// Every signed attempt, oldest first. Only with a single job.
    pub(crate) attempts: Option<Vec<AttemptView>>,
}

/// One event in a job's life.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct TimelineLine {
    /// Unix milliseconds.
    pub(crate) at: u64,
    /// What happened.
    pub(crate) event: String,
    /// The stage that it led to.
    pub(crate) stage: Option<String>,
    /// Everything else about it: by, nonce, hash, block, gate, class, reason, delivery…
    pub(crate) detail: HashMap<String, Value>,
}

impl From<TimelineEntry> for TimelineLine {
    fn from(entry: TimelineEntry) -> Self {
        Self {
            at: entry.at,
            event: entry.event,
            stage: entry.stage,
            detail: entry.detail.into_iter().collect(),
        }
    }
}

/// A job.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct JobView {
    /// A ULID of 26 characters.
    pub(crate) id: String,
    /// What it does.
    pub(crate) kind: KindName,
    /// Where it is.
    pub(crate) state: StateName,
    /// Where inside its state: queued, waiting, delayed, held, gated, checking, ready, submitted, confirming; or the
    /// state's own name.
    pub(crate) stage: String,
    /// The wallet that registered or paid, with its EIP-55 checksum.
    pub(crate) child: String,
    /// The wallet that brought it, and is paid, with its EIP-55 checksum.
    pub(crate) referrer: String,
    /// The payment; only for payouts.
    pub(crate) payment: Option<PaymentRef>,
    /// What is paid; only for payouts.
    pub(crate) amounts: Option<Amounts>,
    /// Attempts charged since it was accepted or last retried by hand.
    pub(crate) attempts: u32,
    /// How often the same event came again.
    pub(crate) duplicates: u64,
    /// The failure of the job, or of its last attempt.
    pub(crate) error: Option<JobError>,
    /// Whether a full refund came when it was already signed.
    pub(crate) refund_requested: bool,
    /// When a delayed or held job goes on, in unix milliseconds.
    pub(crate) due: Option<u64>,
    /// The closed gate that a gated job waits for.
    pub(crate) gate: Option<String>,
    /// The worker that checks it.
    pub(crate) worker: Option<String>,
    /// Its transaction, once it is signed.
    pub(crate) tx: Option<TxView>,
    /// When it was accepted, in unix milliseconds.
    pub(crate) created_at: u64,
    /// When it last changed, in unix milliseconds.
    pub(crate) updated_at: u64,
    /// Its events, oldest first. Only with a single job.
    pub(crate) timeline: Option<Vec<TimelineLine>>,
}

impl From<&Job> for JobView {
    fn from(job: &Job) -> Self {
        let (child, referrer, payment, amounts) = match &job.payload {
            Payload::Register(register) => (register.child, register.referrer, None, None),
            Payload::Payout(payout) => {
                let payment = PaymentRef {
                    id: payout.payment_id.to_string(),
                    source: payout.source.to_string(),
                    external_id: payout.external_id.to_string(),
                };
                (payout.child, payout.referrer, Some(payment), Some(payout.commission.into()))
            }
        };
        let (mut due, mut gate, mut worker) = (None, None, None);
        match &job.state {
            JobState::Pending(Pending::Delayed { due: at } | Pending::Held { due: at }) => due = Some(*at),
            JobState::Pending(Pending::Gated { gate: name }) => gate = Some(name.clone()),
            JobState::Processing { step: Processing::Checking { worker: name }, .. } => {
                worker = Some(name.clone())
            }
            _ => {}
        }
        Self {
            id: job.id.to_string(),
            kind: match job.payload.kind() {
                Kind::Register => KindName::Register,
                Kind::Payout => KindName::Payout,
            },
            state: StateName::of(&job.state),
            stage: job.state.stage().name().to_owned(),
            child: child.to_string(),
            referrer: referrer.to_string(),
            payment,
            amounts,
            attempts: job.attempts,
            duplicates: job.duplicates,
            error: job.last_failure.as_ref().map(|failure| JobError {
                class: failure.class.name().to_owned(),
                reason: failure.reason.clone(),
                hint: failure.class.hint().to_owned(),
            }),
            refund_requested: job.refund_requested,
            due,
            gate,
            worker,
            tx: tx_of(job),
            created_at: job.created_at,
            updated_at: job.updated_at,
            timeline: None,
        }
    }
}

/// What the job itself says about its transaction.
fn tx_of(job: &Job) -> Option<TxView> {
    let block = match &job.state {
        JobState::Done { block } => Some(block.get()),
        JobState::Processing { step: Processing::Confirming { block, .. }, .. } => Some(block.get()),
        _ => None,
    };
    if block.is_none() && job.last_nonce.is_none() {
        return None;
    }
    Some(TxView {
        nonce: job.last_nonce.map(|nonce| nonce.get()),
        signer: job.last_signer.map(|signer| signer.to_checksum(None)),
        state: None,
        hash: None,
        block,
        attempts: None,
    })
}

impl JobView {
    /// Adds what only a single job shows.
    #[must_use]
    pub(crate) fn with_details(mut self, tx: Option<&TxRecord>, timeline: Vec<TimelineEntry>) -> Self {
        if let (Some(view), Some(tx)) = (&mut self.tx, tx) {
            view.state = Some(tx.state.name().to_owned());
            view.hash = tx.inclusion.map(|seen| seen.hash.to_string());
            view.block = view.block.or(tx.inclusion.map(|seen| seen.block.get()));
            view.attempts = Some(tx.attempts.iter().map(AttemptView::from).collect());
        }
        if let Some(view) = &mut self.tx
            && view.hash.is_none()
        {
            // Settled from the chain, by somebody else's transaction: the last event knows its hash.
            let finish = timeline.iter().rev().find(|entry| entry.event == "finish");
            let hash = finish.and_then(|entry| entry.detail.get("hash")).and_then(Value::as_str);
            view.hash = hash.filter(|hash| !hash.is_empty()).map(str::to_owned);
        }
        self.timeline = Some(timeline.into_iter().map(TimelineLine::from).collect());
        self
    }
}

impl From<&shared::tx::Attempt> for AttemptView {
    fn from(attempt: &shared::tx::Attempt) -> Self {
        Self {
            hash: attempt.hash.to_string(),
            gas_limit: attempt.gas_limit,
            max_fee_wei: attempt.fees.max_fee.to_string(),
            max_priority_fee_wei: attempt.fees.max_priority_fee.to_string(),
            cancel: attempt.cancel,
            term: attempt.term.get(),
            head: attempt.head.get(),
            at: attempt.at,
        }
    }
}

/// A page of jobs, newest change first within a state; states in the order pending, processing, retrying, done, failed,
/// cancelled.
#[derive(Debug, Object)]
pub(crate) struct JobPageView {
    /// The page. It may be shorter than the limit, even empty, while there is a next one.
    pub(crate) jobs: Vec<JobView>,
    /// Give it as `cursor` for the next page; null on the last one.
    pub(crate) next: Option<String>,
}

/// The classes that `error_class` takes, for messages.
pub(crate) fn classes() -> String {
    FailureClass::ALL.iter().map(|class| class.name()).collect::<Vec<_>>().join(", ")
}
