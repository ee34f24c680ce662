//! Takes over jobs whose worker went silent.

use std::time::Duration;

use crate::context::Context;

/// Takes over until shutdown, carrying the cursor through the pending entries.
pub async fn run(ctx: Context) {
    let every = (ctx.config.claim_min_idle / 4).clamp(Duration::from_millis(100), Duration::from_secs(5));
    let mut cursor = "0-0".to_owned();
    while ctx.pause(every).await {
        let min_idle = ctx.config.claim_min_idle;
        match ctx.store.reclaim(&ctx.worker, min_idle, &cursor, ctx.config.claim_count).await {
            Ok((batch, next)) => {
                cursor = next;
                if batch.is_empty() {
                    continue;
                }
                tracing::warn!(jobs = batch.len(), "taking over jobs whose worker went silent");
                if let Err(error) = super::claim::handle(&ctx, batch).await {
                    ctx.metrics.redis_errors.inc();
                    tracing::warn!(%error, "the verdicts could not be stored");
                }
            }
            Err(error) => {
                ctx.metrics.redis_errors.inc();
                tracing::warn!(%error, "looking for silent workers failed");
            }
        }
    }
}
