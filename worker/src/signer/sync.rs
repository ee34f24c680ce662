//! Replays the contracts' events into a Redis that may know less than the chain. Until that is done nothing is accepted,
//! cancelled or signed.

use shared::ids::{BlockNumber, Hash32};
use shared::money::Commission;
use shared::store::{Fence, PaidPayment, Replay, StoreError};

use crate::chain::{ChainError, ChainEventKind, EVENT_SPAN};
use crate::context::Context;
use crate::gates;

/// Blocks after which a synced Redis is told what has happened since: what other hands did to the contracts becomes known,
/// and no restart has more than that to replay.
const FOLLOW_EVERY: u64 = 64;

/// Why a replay did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the lease was lost, or Redis restarted, during the replay")]
    Overtaken,
    /// No payment can be believed to be final yet.
    #[error("endpoints see different blocks at {0}; the replay waits until they agree")]
    Undecided(BlockNumber),
}

/// Makes sure that this Redis process is synced; replays where it is not, or where `force` says that the chain knows
/// more than the journal. A replay that was cut short goes on where it was. Returns whether it replayed.
pub(super) async fn ensure(ctx: &Context, fence: &Fence, force: bool) -> Result<bool, SyncError> {
    let state = ctx.store.sync_state().await?;
    if state.synced && !force {
        return Ok(false);
    }
    let head = ctx.chain.head().await?.number;
    let deep = head.below(ctx.config.confirmations);
    if let Some(deep) = deep {
        let remembered = remember_replayed(ctx, fence, state.last_replayed, deep).await;
        if matches!(remembered, Err(SyncError::Undecided(_))) {
            ctx.metrics.rpc_undecided.inc();
        }
        remembered?;
    }
    let begun = state.replay.filter(|_| state.resume.is_some());
    // What was replayed less than the confirmation depth ago may have been reorganised since.
    let again = state.resume.or(state.checkpoint);
    let again = again.map(|block| block.get().saturating_sub(ctx.config.confirmations));
    let mut from = again.unwrap_or(0).max(ctx.config.start_block.get());
    tracing::info!(from, to = head.get(), run.id = %state.run_id, "replaying contract events");
    let mut shown =
        begun.map_or(Replay { from: BlockNumber::new(from), to: head, at: None, events: 0 }, |begun| {
            Replay { to: head, ..begun }
        });
    show(ctx, fence, &state.run_id, &shown).await?;
    while from <= head.get() {
        let to = BlockNumber::new(head.get().min(from + span() - 1));
        let events = replay(ctx, fence, BlockNumber::new(from), to, deep).await?;
        shown = Replay { at: Some(to), events: shown.events + events as u64, ..shown };
        show(ctx, fence, &state.run_id, &shown).await?;
        crash_point!("after_replayed_span");
        from = to.get() + 1;
    }
    if !ctx.store.set_synced(fence, &state.run_id, head).await? {
        return Err(SyncError::Overtaken);
    }
    tracing::info!(events = shown.events, block = head.get(), "synced");
    crash_point!("after_synced");
    Ok(true)
}

/// Remembers the block that payments count as final at, before the first of them does: a reorganisation of it is noticed by
/// whoever leads next, also where this replay does not come to its end. One of the block that an earlier replay remembered
/// is still to be noticed, so that one stays.
async fn remember_replayed(
    ctx: &Context,
    fence: &Fence,
    before: Option<(BlockNumber, Hash32)>,
    deep: BlockNumber,
) -> Result<(), SyncError> {
    let agreed = async |number| ctx.chain.agreed_block(number).await?.ok_or(SyncError::Undecided(number));
    if let Some((number, hash)) = before
        && (deep < number || agreed(number).await?.hash != hash)
    {
        return Ok(());
    }
    let block = agreed(deep).await?;
    match ctx.store.set_replayed(fence, block.number, block.hash).await? {
        true => Ok(()),
        false => Err(SyncError::Overtaken),
    }
}

/// Tells a synced Redis what the contracts did up to `deep` and moves its checkpoint there, once that is worth a question.
/// Returns the checkpoint; `known` is what it returned before.
pub(super) async fn follow(
    ctx: &Context,
    fence: &Fence,
    known: Option<BlockNumber>,
    deep: BlockNumber,
) -> Result<Option<BlockNumber>, SyncError> {
    let is_due = |checkpoint: BlockNumber| deep.get() >= checkpoint.get().saturating_add(FOLLOW_EVERY);
    if known.is_some_and(|checkpoint| !is_due(checkpoint)) {
        return Ok(known);
    }
    let state = ctx.store.sync_state().await?;
    let Some(checkpoint) = state.checkpoint.filter(|at| state.synced && is_due(*at)) else {
        return Ok(state.checkpoint);
    };
    // One question a block, so that a long way behind holds nothing else up; what was reached is never walked again.
    let from = checkpoint.get().saturating_sub(ctx.config.confirmations).max(ctx.config.start_block.get());
    let to = BlockNumber::new(deep.get().min(from + span() - 1)).max(checkpoint);
    replay(ctx, fence, BlockNumber::new(from), to, Some(deep)).await?;
    crash_point!("after_followed");
    match ctx.store.set_synced(fence, &state.run_id, to).await? {
        true => Ok(Some(to)),
        false => Err(SyncError::Overtaken),
    }
}

/// Has everything from `from` on read again, in time: the blocks are others than those that Redis was told of.
pub(super) async fn rewind(ctx: &Context, fence: &Fence, from: BlockNumber) -> Result<(), SyncError> {
    let state = ctx.store.sync_state().await?;
    let is_above = state.checkpoint.is_some_and(|checkpoint| checkpoint > from);
    // Into another process everything is replayed in any case, and from where this one had come.
    if !state.synced || (is_above && !ctx.store.set_synced(fence, &state.run_id, from).await?) {
        return Err(SyncError::Overtaken);
    }
    Ok(())
}

/// Blocks per question. In builds with `failpoints`, `FAILPOINTS=replay_span=return(<blocks>)` makes it fewer.
fn span() -> u64 {
    fail::fail_point!("replay_span", |blocks| blocks
        .and_then(|text| text.parse().ok())
        .unwrap_or(EVENT_SPAN));
    EVENT_SPAN
}

/// Lets everybody see how far the replay has come.
async fn show(ctx: &Context, fence: &Fence, run_id: &str, replay: &Replay) -> Result<(), SyncError> {
    match ctx.store.show_replay(fence, run_id, replay).await? {
        true => Ok(()),
        false => Err(SyncError::Overtaken),
    }
}

/// Writes down what the contracts did in these blocks: registrations, and payments up to `deep`.
async fn replay(
    ctx: &Context,
    fence: &Fence,
    from: BlockNumber,
    to: BlockNumber,
    deep: Option<BlockNumber>,
) -> Result<usize, SyncError> {
    let events = ctx.chain.events(from, to).await?;
    let mut referrals = Vec::new();
    let mut paid = Vec::new();
    for event in &events {
        match &event.kind {
            ChainEventKind::Registered { child, referrer } => {
                referrals.push((*child, *referrer, event.block))
            }
            // A payment that may yet be undone is none: a webhook for it gets a job, and the check stage settles that.
            ChainEventKind::Paid { .. } if deep.is_none_or(|deep| event.block > deep) => {}
            ChainEventKind::Paid { payment, referrer, child, usdc, sge } => paid.push(PaidPayment {
                payment: *payment,
                block: event.block,
                hash: event.tx_hash,
                referrer: *referrer,
                child: *child,
                commission: Commission { usdc: *usdc, sge: *sge },
            }),
            ChainEventKind::RegistrationRejected { .. } | ChainEventKind::PayoutFailed { .. } => {}
        }
    }
    if !ctx.store.registered(fence, &referrals).await? {
        return Err(SyncError::Overtaken);
    }
    crash_point!("after_referrals");
    let compared = ctx.store.mark_paid(fence, &ctx.worker, &paid).await?.ok_or(SyncError::Overtaken)?;
    if compared.settled > 0 {
        tracing::warn!(
            jobs = compared.settled,
            "jobs that no transaction of ours carries are paid on the chain: settled"
        );
    }
    for (payment, what) in &compared.disagreements {
        ctx.metrics.disagreements.inc();
        tracing::error!(gate = gates::RECONCILE, payment.id = %payment, what, "chain and Redis disagree");
    }
    Ok(events.len())
}
