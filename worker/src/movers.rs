//! Puts jobs back into the queue: after a delay, after a hold, when a gate opened, when a registration was decided; and
//! now and then looks for jobs that were left behind, and for ended ones that need not stay. One relayer at a time does
//! this; the others ask every three seconds whether it still does. The scripts make it harmless that two do.

use std::collections::BTreeMap;
use std::time::Duration;

use shared::store::{Chores, SLICE, StoreError};
use tokio::time::Instant;

use crate::consumer::Sweep;
use crate::context::Context;

/// How often the others ask whether the turn is free.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// Between two looks where nothing is known to be due sooner.
const EVERY: Duration = Duration::from_secs(1);
/// Between two slices of one gate: time to meet it closed again before the next, larger one.
const SLICE_EVERY: Duration = Duration::from_millis(500);
/// Between two slices of what leaves Redis.
const BREATH: Duration = Duration::from_millis(50);
const SOONEST: Duration = Duration::from_millis(10);
const SWEEP_EVERY: Duration = Duration::from_secs(30);
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// How many jobs a gate that just opened lets go at first; doubled while it stays open, so that a gate that closes again
/// at once costs little, however many wait.
const FIRST_SLICE: usize = 16;

/// Moves until shutdown.
pub async fn run(ctx: Context) {
    let mut next = SOONEST;
    let mut turn: Option<Turn> = None;
    while ctx.pause(next).await {
        let round = async {
            if turn.is_none() && !ctx.store.take_turn(&ctx.worker).await? {
                return Ok(None);
            }
            turn.get_or_insert_with(Turn::new).round(&ctx).await
        };
        next = match round.await {
            Ok(Some(soon)) => soon,
            Ok(None) => {
                turn = None;
                ASK_EVERY
            }
            Err(error) => {
                ctx.metrics.redis_errors.inc();
                tracing::warn!(%error, "moving jobs back into the queue failed");
                EVERY
            }
        };
    }
}

/// What the relayer whose turn it is remembers.
struct Turn {
    /// Per gate that lets jobs go: how many with the next slice.
    slices: BTreeMap<String, usize>,
    /// The sweep that is under way or comes next, and when its next slice does.
    sweep: Sweep,
    sweep_at: Instant,
    /// When to look again for what need not stay.
    retain_at: Instant,
}

impl Turn {
    fn new() -> Self {
        Self {
            slices: BTreeMap::new(),
            sweep: Sweep::default(),
            sweep_at: Instant::now() + SWEEP_EVERY,
            retain_at: Instant::now(),
        }
    }

    /// One round; returns when to come again, `None` when the turn is another's.
    async fn round(&mut self, ctx: &Context) -> Result<Option<Duration>, StoreError> {
        let Some(chores) = ctx.store.chores(&ctx.worker, ctx.config.claim_min_idle).await? else {
            return Ok(None);
        };
        let mut next = EVERY;
        if let Some(due) = chores.next_due {
            next = next.min(due);
            if due.is_zero() {
                let (promoted, due) = ctx.store.promote().await?;
                crash_point!("after_promote");
                next = if promoted == SLICE { SOONEST } else { due.unwrap_or(EVERY).min(EVERY) };
            }
        }
        if chores.children.len() == SLICE {
            next = SOONEST;
        }
        for child in &chores.children {
            ctx.store.unblock(*child).await?;
            crash_point!("after_unblock");
        }
        if chores.silent {
            ctx.silent.notify_one();
        }
        self.release(ctx, &chores).await?;
        if !chores.gates.is_empty() {
            next = next.min(SLICE_EVERY);
        }
        // One slice a round: however long the lane is, what is due is not held up.
        if Instant::now() >= self.sweep_at {
            let breath = self.sweep.slice(ctx).await?;
            if breath.is_none() {
                self.sweep = Sweep::default();
            }
            self.sweep_at = Instant::now() + breath.unwrap_or(SWEEP_EVERY);
        }
        next = next.min(self.sweep_at.saturating_duration_since(Instant::now()));
        if Instant::now() >= self.retain_at {
            let removed = ctx.store.retain(&ctx.config.retention).await?;
            crash_point!("after_retain");
            ctx.metrics.removed_jobs.inc_by(removed.jobs);
            ctx.metrics.unreadable_jobs.inc_by(removed.unreadable);
            let again = if removed.more { BREATH } else { RETAIN_EVERY };
            self.retain_at = Instant::now() + again;
            next = next.min(again);
        }
        Ok(Some(next.max(SOONEST)))
    }

    /// Lets one slice go under each open gate. A gate that is not among them has closed, or has nobody parked: the next
    /// time it begins with a small slice again.
    async fn release(&mut self, ctx: &Context, chores: &Chores) -> Result<(), StoreError> {
        self.slices.retain(|gate, _| chores.gates.contains(gate));
        for gate in &chores.gates {
            let slice = self.slices.entry(gate.clone()).or_insert(FIRST_SLICE);
            ctx.store.release_parked(gate, *slice).await?;
            crash_point!("after_release");
            *slice = (*slice * 2).min(SLICE);
        }
        Ok(())
    }
}
