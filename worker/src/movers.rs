//! Puts jobs back into the queue: after a delay, after a hold, when a gate opened, when a registration was decided. Every
//! relayer does this; the scripts make it harmless that several do.

use std::time::Duration;

use shared::store::{SLICE, StoreError};

use crate::context::Context;
use crate::gates;

const EVERY: Duration = Duration::from_millis(500);
const SOONEST: Duration = Duration::from_millis(10);

/// Moves until shutdown.
pub async fn run(ctx: Context) {
    let mut next = EVERY;
    while ctx.pause(next).await {
        next = match move_once(&ctx).await {
            Ok(due) => due.map_or(EVERY, |due| due.clamp(SOONEST, EVERY)),
            Err(error) => {
                ctx.metrics.redis_errors.inc();
                tracing::warn!(%error, "moving jobs back into the queue failed");
                EVERY
            }
        };
    }
}

/// One round; returns how long until the next delay is over.
async fn move_once(ctx: &Context) -> Result<Option<Duration>, StoreError> {
    let (promoted, due) = ctx.store.promote().await?;
    for child in ctx.store.to_unblock().await? {
        ctx.store.unblock(child).await?;
    }
    for (gate, parked) in gates::PARKING.iter().zip(ctx.store.parked(&gates::PARKING).await?) {
        if parked > 0 {
            // One slice per round, so that a long queue under a gate that closes again costs little.
            ctx.store.release_parked(gate).await?;
        }
    }
    Ok(if promoted == SLICE { Some(SOONEST) } else { due })
}
