//! The claim loop and what is done with a batch.

use std::time::Duration;

use shared::ids::{Epoch, JobId};
use shared::job::Payload;
use shared::store::{Applied, Brief, Claims, Departure, Exit, SettledJob, StoreError};
use tokio::time::Instant;

use crate::chain::{ChainError, Head, Verdict};
use crate::context::Context;
use crate::gates;
use crate::metrics::Held;
use crate::verdict::{self, Next};

/// How long one blocking read lasts, and so how long a shutdown may have to wait for it.
const PATIENCE: Duration = Duration::from_secs(2);
const AFTER_ERROR: Duration = Duration::from_millis(500);

/// Claims and checks until shutdown.
pub async fn run(ctx: Context) {
    while !ctx.shutdown.is_cancelled() {
        if let Err(error) = claim_until_shutdown(&ctx).await {
            ctx.metrics.redis_errors.inc();
            tracing::warn!(%error, "claiming failed; connecting again");
            // An emptied Redis has lost the consumer group with everything else.
            if let Err(error) = ctx.store.migrate().await {
                tracing::warn!(%error, "the consumer group cannot be made sure of");
            }
            ctx.pause(AFTER_ERROR).await;
        }
    }
}

/// Jobs in our hands, counted as such.
struct Batch {
    jobs: Vec<Brief>,
    since: Instant,
    _held: Held,
}

impl Batch {
    fn of(ctx: &Context, jobs: Vec<Brief>) -> Self {
        Self { _held: ctx.metrics.hold(jobs.len()), jobs, since: Instant::now() }
    }
}

async fn claim_until_shutdown(ctx: &Context) -> Result<(), StoreError> {
    let mut claims = ctx.store.claims(&ctx.worker).await?;
    let mut batch = Batch::of(ctx, Vec::new());
    while !ctx.shutdown.is_cancelled() {
        if batch.jobs.is_empty() {
            // Awaited to its end even when shutdown comes: its entries would be ours without our knowing.
            batch = Batch::of(ctx, claims.next(ctx.config.claim_count, PATIENCE).await?);
        } else if batch.since.elapsed() > ctx.config.handler_deadline() / 2 {
            give_back(ctx, &batch.jobs).await?;
            batch = Batch::of(ctx, Vec::new());
        } else if let Some(found) = look_at(ctx, &batch.jobs, batch.since).await? {
            batch = store_and_claim(ctx, batch, found, &mut claims).await?;
        } else {
            batch = Batch::of(ctx, Vec::new());
            until_the_chain_answers(ctx).await;
        }
    }
    give_back(ctx, &batch.jobs).await
}

/// Stores what was found, and claims the next jobs where some wait: the claim goes to Redis behind the first of the verdicts, and
/// with `appendfsync always` may share its fsync.
async fn store_and_claim(
    ctx: &Context,
    batch: Batch,
    found: Found,
    claims: &mut Claims,
) -> Result<Batch, StoreError> {
    let next = async {
        let is_over = ctx.shutdown.is_cancelled();
        let jobs = if is_over { Vec::new() } else { claims.more(ctx.config.claim_count).await? };
        Ok(Batch::of(ctx, jobs))
    };
    // Both to their end, as above.
    let (stored, next) = tokio::join!(store_verdicts(ctx, &batch.jobs, found), next);
    let Err(error) = stored else { return next };
    // Others could take them over only when they have rested with us.
    let given_back = match next {
        Ok(next) => give_back(ctx, &next.jobs).await,
        Err(other) => Err(other),
    };
    if let Err(other) = given_back {
        tracing::warn!(error = %other, "what was claimed meanwhile is lost to others until it has rested");
    }
    Err(error)
}

/// Waits for one batch and does with it what is to be done, for a checker that goes step by step. Never drop this future
/// half-way.
pub async fn claim_once(ctx: &Context, claims: &mut Claims) -> Result<Checked, StoreError> {
    let batch = claims.next(ctx.config.claim_count, PATIENCE).await?;
    if batch.is_empty() {
        return Ok(Checked::Yes);
    }
    handle(ctx, batch).await
}

/// Whether a batch could be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    Yes,
    /// No node answered this relayer; another may have a better way to the chain.
    ChainAway,
}

/// A relayer that cannot see the chain claims nothing: it would only park what others could check.
async fn until_the_chain_answers(ctx: &Context) {
    while ctx.pause(AFTER_ERROR).await {
        match ctx.chain.head().await {
            Ok(_) => return,
            Err(error) => tracing::debug!(%error, "no node answers; claiming nothing"),
        }
    }
}

async fn give_back(ctx: &Context, batch: &[Brief]) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    let jobs: Vec<(JobId, Epoch)> = batch.iter().map(|job| (job.id, job.epoch)).collect();
    ctx.store.hand_back(&ctx.worker, &jobs).await?;
    crash_point!("after_hand_back");
    tracing::info!(jobs = jobs.len(), "handed claimed jobs back");
    Ok(())
}

/// Checks claimed jobs and stores what was found.
pub(super) async fn handle(ctx: &Context, jobs: Vec<Brief>) -> Result<Checked, StoreError> {
    let batch = Batch::of(ctx, jobs);
    let Some(found) = look_at(ctx, &batch.jobs, batch.since).await? else { return Ok(Checked::ChainAway) };
    store_verdicts(ctx, &batch.jobs, found).await?;
    Ok(Checked::Yes)
}

/// What became of each job of a batch, and at which block.
type Found = (Head, Vec<Verdict>);

/// Checks jobs that were claimed at `since`, within the time after which others would take them over. Where no node answers
/// they are parked, and nothing was found.
async fn look_at(ctx: &Context, batch: &[Brief], since: Instant) -> Result<Option<Found>, StoreError> {
    ctx.metrics.jobs_claimed.inc_by(batch.len() as u64);
    crash_point!("after_claim");
    die_of_poison(batch);
    let deadline = since + ctx.config.handler_deadline();
    let away = match tokio::time::timeout_at(deadline, check(ctx, batch)).await {
        Ok(Ok(found)) => return Ok(Some(found)),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the check took longer than a claim may rest".to_owned(),
    };
    park_all(ctx, batch, &away).await?;
    Ok(None)
}

/// In builds with `failpoints`: `FAILPOINTS=poison=return(<payment>)` makes the payouts of all payments whose ids begin
/// like that kill whoever checks them.
fn die_of_poison(batch: &[Brief]) {
    let _ = batch;
    fail::fail_point!("poison", |payment| {
        let is_it = |job: &Brief| matches!(&job.payload, Payload::Payout(payout) if payment.as_deref().is_some_and(|id| payout.external_id.as_str().starts_with(id)));
        if batch.iter().any(is_it) {
            std::process::abort();
        }
    });
}

/// Simulates on top of the newest block seen, or, where the node that answers is behind it or between two blocks, of that
/// node's own.
async fn check(ctx: &Context, batch: &[Brief]) -> Result<Found, ChainError> {
    let again = async || simulate(ctx, batch, ctx.chain.head().await?).await;
    match simulate(ctx, batch, ctx.head().await?).await {
        Err(ChainError::UnknownBlock { .. }) => again().await,
        Ok(first) if first.1.contains(&Verdict::OutOfTime) => Ok(again().await.unwrap_or(first)),
        other => other,
    }
}

async fn simulate(ctx: &Context, batch: &[Brief], head: Head) -> Result<Found, ChainError> {
    let mut payouts = Vec::new();
    let mut registers = Vec::new();
    for job in batch {
        match &job.payload {
            Payload::Payout(payout) => payouts.push(payout.clone()),
            Payload::Register(register) => registers.push(register.clone()),
        }
    }
    let paid = async {
        if payouts.is_empty() {
            Ok(Vec::new())
        } else {
            ctx.chain.simulate_payouts(&payouts, head.hash).await
        }
    };
    let registered = async {
        if registers.is_empty() {
            Ok(Vec::new())
        } else {
            ctx.chain.simulate_registrations(&registers, head.hash).await
        }
    };
    let (paid, registered) = tokio::try_join!(paid, registered)?;
    let (mut paid, mut registered) = (paid.into_iter(), registered.into_iter());
    let verdicts = batch.iter().map(|job| match job.payload {
        Payload::Payout(_) => paid.next(),
        Payload::Register(_) => registered.next(),
    });
    // A short answer is a defect of the node, not of the job.
    let verdicts: Option<Vec<Verdict>> = verdicts.collect();
    let verdicts = verdicts.ok_or_else(|| ChainError::Garbage {
        endpoint: "simulation".into(),
        method: "eth_call",
        detail: format!("fewer verdicts than the {} items asked for", batch.len()),
    })?;
    Ok((head, verdicts))
}

/// Nodes that do not answer are nobody's fault: close the gate and park, without charge.
async fn park_all(ctx: &Context, batch: &[Brief], reason: &str) -> Result<(), StoreError> {
    ctx.metrics.rpc_errors.inc();
    tracing::warn!(gate = gates::CHAIN, jobs = batch.len(), reason, "cannot check; parking");
    ctx.store.close_gate(gates::CHAIN, reason, &ctx.worker).await?;
    crash_point!("after_chain_gate");
    let departures: Vec<Departure> = batch
        .iter()
        .map(|job| {
            let exit = Exit::Park { gate: gates::CHAIN.to_owned(), reason: gates::parked_for(reason) };
            departure(job, exit)
        })
        .collect();
    let applied = ctx.store.leave(&ctx.worker, None, &departures).await?;
    crash_point!("after_park");
    report(&departures.iter().map(|departure| departure.job).collect::<Vec<_>>(), &applied);
    Ok(())
}

async fn store_verdicts(ctx: &Context, batch: &[Brief], (head, verdicts): Found) -> Result<(), StoreError> {
    let mut ready: Vec<(JobId, Epoch)> = Vec::new();
    let mut settled = Vec::new();
    let mut departures = Vec::new();
    let mut closed = Vec::new();
    for (job, verdict) in batch.iter().zip(verdicts) {
        match verdict::decide(verdict, job.attempts, head.number, &ctx.config.retry, ctx.dice.roll()) {
            Next::Ready => ready.push((job.id, job.epoch)),
            Next::Settled { block } => settled.push(SettledJob { job: job.id, epoch: job.epoch, block }),
            Next::Leaves(exit) => departures.push(departure(job, exit)),
            Next::Parked { gate, reason } => {
                departures.push(departure(job, verdict::park(gate, &reason)));
                if !closed.iter().any(|(known, _)| *known == gate) {
                    closed.push((gate, reason));
                }
            }
        }
    }
    for (gate, reason) in closed {
        ctx.store.close_gate_at(gate.name(), &reason, &ctx.worker, head.number).await?;
        crash_point!("after_verdict_gate");
    }
    if !ready.is_empty() {
        report(
            &ready.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            &ctx.store.pass(&ctx.worker, &ready).await?,
        );
        crash_point!("after_ready");
    }
    if !settled.is_empty() {
        let applied = ctx.store.settle(&ctx.worker, None, &settled).await?;
        crash_point!("after_settle");
        report(&settled.iter().map(|settled| settled.job).collect::<Vec<_>>(), &applied);
    }
    if !departures.is_empty() {
        ctx.metrics.count_departures(&departures);
        let applied = ctx.store.leave(&ctx.worker, None, &departures).await?;
        crash_point!("after_leave");
        report(&departures.iter().map(|departure| departure.job).collect::<Vec<_>>(), &applied);
    }
    crash_point!("after_check");
    Ok(())
}

fn departure(job: &Brief, exit: Exit) -> Departure {
    Departure { job: job.id, epoch: job.epoch, nonce: None, pack_max: None, exit }
}

/// A refused verdict is normal after a takeover or a cancel; it is logged, and nothing else.
fn report(jobs: &[JobId], applied: &[Applied]) {
    for (job, outcome) in jobs.iter().zip(applied) {
        if let Err(refusal) = outcome {
            tracing::info!(job.id = %job, ?refusal, "the job moved on meanwhile; verdict dropped");
        }
    }
}
