//! The verdict on a nonce, pure. Only two facts decide, both read at a canonical block that is deep enough: whether the
//! nonce is consumed, and whether the contracts say that a job is done. Receipts and events only explain.

use std::time::Duration;

use shared::ids::{BlockNumber, Hash32, Nonce};
use shared::job::{Failure, FailureClass, Payload};
use shared::retry::RetryPolicy;
use shared::store::{Brief, Departure, Exit, FinishedJob};

use crate::chain::{ChainEvent, ChainEventKind, Gate, ReceiptView, Verdict};
use crate::verdict;

/// For this many blocks, a payment whose event no node shows is asked about again: only then may the event have been
/// pruned, and the state alone must do.
pub const EVENT_PATIENCE: u64 = 64;

/// For this many blocks, a consumed nonce of which no node has a receipt is asked about again: only then is it called a
/// stranger's.
pub const RECEIPT_PATIENCE: u64 = 16;

/// What was found about a nonce that is consumed deep enough.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Per job, in order: the block in which the contract's state became what the job wants, if it did.
    pub settled: Vec<Option<BlockNumber>>,
    /// The receipt of one of our attempts at this nonce, where a node has one.
    pub receipt: Option<ReceiptView>,
    /// The attempt that an event names, where nobody has its receipt.
    pub ours: Option<Hash32>,
    /// Whether that attempt was a cancel.
    pub cancelled: bool,
    /// Why the call reverts as a whole, where it did.
    pub revert: Option<Verdict>,
    /// Our contracts' events that concern these jobs, from the receipt and from the blocks of `settled`.
    pub events: Vec<ChainEvent>,
}

/// Whether the amounts paid for `job` can be compared: its event is there, or it was not paid, or so long before `deep`
/// that nodes may have dropped the event.
pub fn is_explained(
    job: &Brief,
    settled: Option<BlockNumber>,
    events: &[ChainEvent],
    deep: BlockNumber,
) -> bool {
    let (Payload::Payout(_), Some(paid_in)) = (&job.payload, settled) else { return true };
    success(job, events).is_some() || deep.get() > paid_in.get() + EVENT_PATIENCE
}

/// Whether a nonce that is consumed at least since the block `since`, without a receipt at `deep` either, must be decided
/// without one. Never while one of several endpoints alone says that it is consumed: another may know better, or have the
/// receipt.
pub fn is_past_hope(since: BlockNumber, deep: BlockNumber, is_alone: bool) -> bool {
    !is_alone && deep.get() >= since.get().saturating_add(RECEIPT_PATIENCE)
}

fn success<'a>(job: &Brief, events: &'a [ChainEvent]) -> Option<&'a ChainEvent> {
    events.iter().find(|event| is_success(&event.kind) && concerns(&event.kind, &job.payload))
}

/// What the close of a nonce means for its jobs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub finished: Vec<FinishedJob>,
    pub departures: Vec<Departure>,
    pub close: Vec<(Gate, String)>,
    /// The chain paid something else than the job says: a closed gate and an alarm.
    pub disagreements: Vec<String>,
    pub consumed_by: &'static str,
    pub hash: Option<Hash32>,
}

/// Decides on every job of a consumed nonce. `draw` is uniform in `0.0..1.0`.
pub fn decide(nonce: Nonce, jobs: &[Brief], evidence: &Evidence, policy: &RetryPolicy, draw: f64) -> Outcome {
    let mut outcome = Outcome {
        consumed_by: match (&evidence.receipt, evidence.cancelled) {
            (None, _) if evidence.ours.is_some() => "ours",
            (None, _) => "stranger",
            (Some(_), true) => "cancel",
            (Some(_), false) => "ours",
        },
        hash: evidence.receipt.as_ref().map(|receipt| receipt.inclusion.hash).or(evidence.ours),
        ..Outcome::default()
    };
    for (at, job) in jobs.iter().enumerate() {
        match evidence.settled.get(at).copied().flatten() {
            Some(block) => outcome.finish(job, block, evidence),
            None => outcome.leave(nonce, job, jobs.len(), evidence, policy, draw),
        }
    }
    outcome
}

impl Outcome {
    fn finish(&mut self, job: &Brief, block: BlockNumber, evidence: &Evidence) {
        let event = success(job, &evidence.events);
        if let Some(difference) = event.and_then(|event| disagreement(&event.kind, &job.payload)) {
            self.disagreements.push(format!("job {}: {difference}", job.id));
        }
        self.finished.push(FinishedJob {
            job: job.id,
            epoch: job.epoch,
            block: event.map_or(block, |event| event.block),
            event: event.map(|event| (event.tx_hash, event.log_index)),
        });
    }

    fn leave(
        &mut self,
        nonce: Nonce,
        job: &Brief,
        batch: usize,
        evidence: &Evidence,
        policy: &RetryPolicy,
        draw: f64,
    ) {
        let mut departure = Departure {
            job: job.id,
            epoch: job.epoch,
            nonce: Some(nonce),
            pack_max: None,
            exit: again(None),
        };
        match &evidence.receipt {
            Some(receipt) if !evidence.cancelled && receipt.succeeded => {
                let verdict = evidence.events.iter().find_map(|event| rejection(&event.kind, &job.payload));
                departure.exit = self.after(verdict, job, policy, draw);
            }
            Some(_) if !evidence.cancelled => match evidence.revert.clone() {
                Some(Verdict::Gate { gate, reason }) => departure.exit = self.park(gate, reason),
                // Nobody in a batch is charged for its revert: halve it until the culprit is alone.
                _ if batch > 1 => departure.pack_max = Some(u32::try_from(batch.div_ceil(2)).unwrap_or(1)),
                Some(Verdict::Fails(failure)) => {
                    departure.exit = verdict::charged(failure, job.attempts, policy, draw);
                }
                // One endpoint alone says why, or it was asked between two blocks: nothing to charge for.
                Some(Verdict::OutOfTime) => {}
                _ => {
                    let failure =
                        Failure::new(FailureClass::BatchReverted, "the transaction reverted as a whole");
                    departure.exit = verdict::charged(failure, job.attempts, policy, draw);
                }
            },
            // No node took this transaction at any fee: find out whose fault it is, as with a revert.
            Some(_) if batch > 1 => departure.pack_max = Some(u32::try_from(batch.div_ceil(2)).unwrap_or(1)),
            Some(_) => {
                let failure =
                    Failure::new(FailureClass::RefusedByNodes, "no node took the transaction at any fee");
                departure.exit = verdict::charged(failure, job.attempts, policy, draw);
            }
            // Somebody else's transaction, or ours without a receipt that says why: nothing to charge for.
            None => {}
        }
        self.departures.push(departure);
    }

    fn after(&mut self, verdict: Option<Verdict>, job: &Brief, policy: &RetryPolicy, draw: f64) -> Exit {
        match verdict {
            Some(Verdict::Gate { gate, reason }) => self.park(gate, reason),
            Some(Verdict::Fails(failure)) => verdict::charged(failure, job.attempts, policy, draw),
            Some(Verdict::Fine | Verdict::AlreadyDone | Verdict::NotRegistered | Verdict::OutOfTime)
            | None => again(None),
        }
    }

    fn park(&mut self, gate: Gate, reason: String) -> Exit {
        let exit = verdict::park(gate, &reason);
        if !self.close.iter().any(|(closed, _)| *closed == gate) {
            self.close.push((gate, reason));
        }
        exit
    }
}

/// Back to the queue at once, without charge: the check stage looks at the chain first.
fn again(failure: Option<Failure>) -> Exit {
    Exit::BackOff { delay: Duration::ZERO, charge: false, failure }
}

fn is_success(event: &ChainEventKind) -> bool {
    matches!(event, ChainEventKind::Paid { .. } | ChainEventKind::Registered { .. })
}

fn concerns(event: &ChainEventKind, payload: &Payload) -> bool {
    match (event, payload) {
        (
            ChainEventKind::Paid { payment, .. } | ChainEventKind::PayoutFailed { payment, .. },
            Payload::Payout(payout),
        ) => *payment == payout.payment_id,
        (
            ChainEventKind::Registered { child, .. } | ChainEventKind::RegistrationRejected { child, .. },
            Payload::Register(register),
        ) => *child == register.child,
        _ => false,
    }
}

fn rejection(event: &ChainEventKind, payload: &Payload) -> Option<Verdict> {
    match event {
        ChainEventKind::PayoutFailed { verdict, .. }
        | ChainEventKind::RegistrationRejected { verdict, .. }
            if concerns(event, payload) =>
        {
            Some(verdict.clone())
        }
        _ => None,
    }
}

fn disagreement(event: &ChainEventKind, payload: &Payload) -> Option<String> {
    match (event, payload) {
        (ChainEventKind::Paid { referrer, usdc, sge, .. }, Payload::Payout(payout))
            if (*referrer, *usdc, *sge)
                != (payout.referrer, payout.commission.usdc, payout.commission.sge) =>
        {
            Some(format!(
                "the chain paid {usdc} USDC and {sge} SGE base units to {referrer}, the job says {} and {} to {}",
                payout.commission.usdc, payout.commission.sge, payout.referrer
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
