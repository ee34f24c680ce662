//! Looks for jobs that nobody would ever touch again, because what their stage needs outside the hash is gone, and for
//! consumers that nobody is behind any more. Every relayer can do this; one at a time does.

use std::collections::VecDeque;
use std::time::Duration;

use shared::job_state::Stage;
use shared::store::{StoreError, SweepCursor};

use crate::context::Context;
use crate::metrics::ByStage;

/// Between two slices, so that a sweep of a million jobs holds up nobody: less where there is something to mend.
const BREATH: Duration = Duration::from_millis(200);
const BREATH_OF_A_FINDER: Duration = Duration::from_millis(20);
/// A consumer that asked for nothing for so long, and holds nothing, has nobody behind it.
const DEAD_AFTER: Duration = Duration::from_secs(600);

/// One sweep over everything unfinished, a slice of each state by turns, so that much of one keeps no other waiting.
#[derive(Debug)]
pub struct Sweep {
    left: VecDeque<(&'static str, SweepCursor)>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self { left: Stage::UNFINISHED.into_iter().map(|state| (state, SweepCursor::default())).collect() }
    }
}

impl Sweep {
    /// Looks at the next slice. Returns when to look at the one after it; `None` when the sweep is over.
    pub async fn slice(&mut self, ctx: &Context) -> Result<Option<Duration>, StoreError> {
        let Some((state, cursor)) = self.left.front() else {
            let dropped = ctx.store.drop_dead_consumers(DEAD_AFTER).await?;
            if !dropped.is_empty() {
                tracing::info!(consumers = ?dropped, "removed consumers that nobody is behind");
            }
            return Ok(None);
        };
        let (state, swept) = (*state, ctx.store.sweep(&ctx.worker, state, cursor).await?);
        crash_point!("after_sweep");
        for (job, stage) in &swept.rebuilt {
            ctx.metrics.rebuilt.get_or_create(&ByStage { stage: stage.name() }).inc();
            tracing::error!(job.id = %job, job.stage = stage.name(), "rebuilt from its hash: nobody would have touched it again");
        }
        for (job, error) in &swept.unreadable {
            ctx.metrics.unreadable_jobs.inc();
            tracing::error!(job.id = %job, error, "its record cannot be read");
        }
        self.left.pop_front();
        self.left.extend(swept.next.map(|next| (state, next)));
        Ok(Some(if swept.rebuilt.is_empty() { BREATH } else { BREATH_OF_A_FINDER }))
    }
}

/// A whole sweep without delay.
pub(super) async fn round(ctx: &Context) -> Result<(), StoreError> {
    let mut sweep = Sweep::default();
    while sweep.slice(ctx).await?.is_some() && ctx.pause(BREATH_OF_A_FINDER).await {}
    Ok(())
}
