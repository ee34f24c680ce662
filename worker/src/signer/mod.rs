//! The signer: one relayer at a time, the leader, gives out nonces, signs, submits and confirms.
//!
//! Invariants:
//! * Before every signature the lease is still trusted (local clock); every write carries the whole lease value and is
//!   refused by the script when that is not the living one. A zombie therefore broadcasts journaled bytes at most.
//! * Nothing is broadcast that is not in the journal.
//! * Only the contract's state at a deep block moves a job to done or out of its nonce.
//!
//! What is kept in memory is a mirror of the journal and is rebuilt from it at each takeover.

pub mod calls;
mod close;
pub mod confirm;
pub mod fees;
mod fork;
pub mod gas;
mod holes;
mod inclusion;
mod leader;
mod lease_keeper;
mod opinions;
pub mod pack;
mod receipts;
pub mod recover;
mod reorg;
mod resend;
mod round_error;
pub mod send;
mod sending;
mod submit;
mod sync;
mod takeover;
mod watch;

use std::time::Duration;

use shared::ids::FencingTerm;
use shared::lease::LeaseState;
use shared::store::{Acquisition, Fence, StoreError};

use crate::context::Context;

pub use leader::{Ending, Leader, Passed};
pub use lease_keeper::LeaseKeeper;

const AFTER_ERROR: Duration = Duration::from_millis(500);

/// Follows and leads, in turn, until shutdown.
pub async fn run(ctx: Context) {
    while !ctx.shutdown.is_cancelled() {
        match run_follower(&ctx).await {
            Ok(Some((fence, keeper))) => {
                if run_leader(&ctx, fence, keeper).await == Ending::ChainAway {
                    stand_aside(&ctx).await;
                }
            }
            Ok(None) => {}
            Err(error) => {
                ctx.metrics.redis_errors.inc();
                tracing::warn!(%error, "following failed; trying again");
                ctx.pause(AFTER_ERROR).await;
            }
        }
    }
}

/// Waits for the lease; `None` at shutdown.
async fn run_follower(ctx: &Context) -> Result<Option<(Fence, LeaseKeeper)>, StoreError> {
    let mut changes = ctx.store.watch_lease().await?;
    while !ctx.shutdown.is_cancelled() {
        let remaining = match ctx.store.lease_remaining().await? {
            Some(remaining) => remaining,
            None => {
                let sent_at = ctx.clock.monotonic();
                match ctx.store.acquire_lease(&ctx.boot, ctx.config.lease.ttl).await? {
                    Acquisition::Taken { fence, term } => {
                        crash_point!("after_acquire");
                        let keeper = LeaseKeeper::start(ctx, &fence, term, sent_at);
                        if let Some(keeper) = keeper {
                            return Ok(Some((fence, keeper)));
                        }
                        continue;
                    }
                    Acquisition::HeldBy { remaining, .. } => remaining,
                }
            }
        };
        // A release wakes us at once; an expiry tells nobody, so the remaining time is our alarm clock.
        let patience = remaining.clamp(Duration::from_millis(10), ctx.config.lease.ttl);
        tokio::select! {
            biased;
            () = ctx.shutdown.cancelled() => {}
            changed = changes.changed(patience) => changed?,
        }
    }
    Ok(None)
}

/// Leads until the lease is lost, the chain is out of reach or shutdown comes; then gives the lease up.
async fn run_leader(ctx: &Context, fence: Fence, keeper: LeaseKeeper) -> Ending {
    announce(ctx, &fence, keeper.term());
    let mut leader = Leader::new(ctx.clone(), fence.clone(), keeper.clone());
    let ending = tokio::select! {
        biased;
        () = keeper.keep(ctx, &fence) => Ending::LeaseLost,
        ending = leader.lead() => ending,
    };
    tracing::info!(lease.term = %keeper.term(), ?ending, "leading no more");
    ctx.metrics.lease_held.set(0);
    ctx.leading.send_replace(None);
    ctx.metrics.open_nonces.set(0);
    ctx.metrics.unreadable_nonces.set(0);
    if matches!(keeper.state(), LeaseState::Leader(_)) {
        match ctx.store.release_lease(&fence).await {
            Ok(released) => tracing::info!(lease.term = %keeper.term(), released, "gave the lease up"),
            Err(error) => tracing::warn!(%error, "the lease could not be given up; it will expire"),
        }
    }
    ending
}

/// Keeps out of elections until the chain answers again: another relayer may have a better way to it.
async fn stand_aside(ctx: &Context) {
    while ctx.pause(AFTER_ERROR).await {
        let answered = async {
            let head = ctx.chain.head().await?;
            ctx.chain.conditions(ctx.signer(), head.hash).await
        };
        match answered.await {
            Ok(_) => return tracing::info!("the chain answers again; standing for election"),
            Err(error) => tracing::debug!(%error, "the chain is still out of reach"),
        }
    }
}

fn announce(ctx: &Context, fence: &Fence, term: FencingTerm) {
    ctx.metrics.lease_held.set(1);
    ctx.leading.send_replace(Some(term));
    ctx.metrics.leadership_changes.inc();
    ctx.metrics.lease_term.set(i64::try_from(term.get()).unwrap_or(i64::MAX));
    tracing::info!(lease.term = %term, lease.value = %fence, "leading");
}
