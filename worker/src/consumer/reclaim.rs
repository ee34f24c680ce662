//! Takes over jobs whose worker went silent, one at a time: if one of them kills its worker, it is alone then.

use std::time::Duration;

use shared::store::{Reclaimed, StoreError};

use super::claim::Checked;
use crate::context::Context;

/// The start, and after a full round the end, of the pending entries.
const START: &str = "0-0";

/// Between two looks at most. The relayer that does the chores looks at once when they tell of a silent worker: its jobs are
/// back within the least idle time and two seconds.
const MOST_EVERY: Duration = Duration::from_secs(5);

/// Takes over until shutdown, carrying the cursor through the pending entries.
pub async fn run(ctx: Context) {
    let every = (ctx.config.claim_min_idle / 4).clamp(Duration::from_millis(100), MOST_EVERY);
    while !ctx.shutdown.is_cancelled() {
        tokio::select! {
            biased;
            waited = ctx.pause(every) => if !waited { return },
            () = ctx.silent.notified() => {}
        }
        if let Err(error) = round(&ctx).await {
            ctx.metrics.redis_errors.inc();
            tracing::warn!(%error, "taking over from silent workers failed; trying again");
        }
    }
}

/// One walk through everything that is pending.
pub async fn round(ctx: &Context) -> Result<(), StoreError> {
    let mut cursor = START.to_owned();
    let (mut taken_over, mut deleted) = (0, 0);
    while !ctx.shutdown.is_cancelled() {
        let found: Reclaimed = ctx.store.reclaim(&ctx.worker, ctx.config.claim_min_idle, &cursor).await?;
        deleted += found.deleted;
        if let Some(job) = found.poisoned {
            ctx.metrics.poisoned.inc();
            tracing::error!(job.id = %job, "dead-lettered: its workers died whenever they handled it alone");
        }
        crash_point!("after_reclaim");
        if let Some(job) = found.job {
            taken_over += 1;
            if super::claim::handle(ctx, vec![job]).await? == Checked::ChainAway {
                break;
            }
        }
        cursor = found.cursor;
        if cursor == START {
            break;
        }
    }
    if taken_over > 0 {
        tracing::warn!(jobs = taken_over, "took over jobs whose worker went silent");
    }
    if deleted > 0 {
        ctx.metrics.deleted_entries.inc_by(deleted);
        tracing::error!(
            entries = deleted,
            "pending entries are not in the stream any more; sweeping at once"
        );
        super::sweep::round(ctx).await?;
    }
    Ok(())
}
