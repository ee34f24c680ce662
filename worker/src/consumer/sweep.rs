//! Looks for jobs that nobody would ever touch again, because what their stage needs outside the hash is gone, and for
//! consumers that nobody is behind any more. Every relayer can do this; one at a time does.

use std::time::Duration;

use shared::store::{SLICE, StoreError};

use crate::context::Context;
use crate::metrics::ByStage;

/// The states whose jobs are not at their end.
const UNFINISHED: [&str; 3] = ["pending", "processing", "retrying"];
/// Between two slices of a long state, so that a sweep of a million jobs holds up nobody.
const BREATH: Duration = Duration::from_millis(50);
/// A consumer that asked for nothing for so long, and holds nothing, has nobody behind it.
const DEAD_AFTER: Duration = Duration::from_secs(600);

/// One sweep over everything unfinished.
pub async fn round(ctx: &Context) -> Result<(), StoreError> {
    for state in UNFINISHED {
        let mut offset = 0;
        loop {
            let swept = ctx.store.sweep(&ctx.worker, state, offset).await?;
            for (job, stage) in &swept.rebuilt {
                ctx.metrics.rebuilt.get_or_create(&ByStage { stage: stage.name() }).inc();
                tracing::error!(job.id = %job, job.stage = stage.name(), "rebuilt from its hash: nobody would have touched it again");
            }
            for (job, error) in &swept.unreadable {
                tracing::error!(job.id = %job, error, "its record cannot be read");
            }
            offset += swept.looked_at;
            if swept.looked_at < SLICE || !ctx.pause(BREATH).await {
                break;
            }
        }
    }
    let dropped = ctx.store.drop_dead_consumers(DEAD_AFTER).await?;
    if !dropped.is_empty() {
        tracing::info!(consumers = ?dropped, "removed consumers that nobody is behind");
    }
    Ok(())
}
