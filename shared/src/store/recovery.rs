//! What brings back jobs that a dead worker, a rollback or a hand in Redis left behind.
//!
//! Invariants:
//! * A job that came back from a dead worker is handled alone: whatever kills its worker next is that job's doing and no
//!   neighbour's. Only these deliveries count towards [`MOST_REDELIVERIES`].
//! * The hash is the record. What a stage needs outside of it is rebuilt from it; nothing is guessed.
//! * Nothing pending is ever forgotten with its consumer.

use std::time::Duration;

use super::codec;
use super::error::StoreError;
use super::script::{self, Args};
use super::{Brief, SLICE, Store};
use crate::ids::{JobId, Wallet};
use crate::job_state::Stage;

/// A job whose workers died this often while they handled it alone is dead-lettered at the next delivery.
pub const MOST_REDELIVERIES: u32 = 3;
/// The most jobs that a slice of a sweep passes, of which it needs to look at few where entries name the others, and the most
/// that it looks at: however many are parked, and however long the queue is, sweeping takes a small share of Redis.
const SWEPT_AT_ONCE: usize = 1024;
const LOOKED_AT_AT_ONCE: usize = 64;
/// How long the turn of one relayer to do the lane's chores lasts, unless renewed.
const TURN: Duration = Duration::from_secs(2);

/// What one look for silent workers found.
#[derive(Debug)]
pub struct Reclaimed {
    /// Where to go on; `0-0` is the start again.
    pub cursor: String,
    /// The one job taken over, if there was one.
    pub job: Option<Brief>,
    /// Entries that were pending and are not in the stream any more: an incident, see [`Store::sweep`].
    pub deleted: u64,
    /// The job that was dead-lettered because its workers kept dying.
    pub poisoned: Option<JobId>,
}

/// Where a sweep through the jobs of one state is: in the order of their last change, up to when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweepCursor {
    /// The last job that was passed, and the time of its last change.
    changed_at: String,
    job: String,
    /// Jobs that changed later are the next sweep's; empty before the first slice.
    until: String,
}

impl Default for SweepCursor {
    fn default() -> Self {
        Self { changed_at: "-inf".into(), job: String::new(), until: String::new() }
    }
}

/// What a slice of a sweep found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Swept {
    /// Where the next slice goes on; `None` after the last one.
    pub next: Option<SweepCursor>,
    pub rebuilt: Vec<(JobId, Stage)>,
    /// Jobs whose record cannot be read, with the error. They stay as they are.
    pub unreadable: Vec<(JobId, String)>,
}

/// What is due to be put back into the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chores {
    /// Until the next delay or hold is over; `None` when there is none.
    pub next_due: Option<Duration>,
    /// Children whose registration was decided while payouts waited for it; a slice of them.
    pub children: Vec<Wallet>,
    /// Gates that are open and still have jobs parked.
    pub gates: Vec<String>,
    /// Whether a worker that is silent for longer than allowed holds a job.
    pub silent: bool,
}

impl Store {
    /// Takes over one job of a worker that did not touch it for `min_idle`.
    pub async fn reclaim(
        &self,
        worker: &str,
        min_idle: Duration,
        cursor: &str,
    ) -> Result<Reclaimed, StoreError> {
        let args = Args::new().arg(worker).arg(min_idle.as_millis()).arg(cursor).arg(MOST_REDELIVERIES);
        let reply: Vec<redis::Value> = self.run(&script::RECLAIM, args).await?;
        let unknown = || StoreError::UnknownReply { script: "reclaim", value: format!("{reply:?}") };
        let text = |at: usize| -> Result<String, StoreError> {
            reply.get(at).and_then(|value| redis::from_redis_value_ref(value).ok()).ok_or_else(unknown)
        };
        let row: Option<Vec<String>> = match reply.get(3) {
            Some(row) => Some(redis::from_redis_value_ref(row).map_err(|_| unknown())?),
            None => None,
        };
        let job = row.and_then(|row| match codec::brief(&row) {
            Ok(brief) => Some(brief),
            // It stays claimed, comes back, and is dead-lettered in the end: others must not wait for it.
            Err(error) => {
                tracing::error!(%error, "a job that was taken over cannot be read");
                None
            }
        });
        Ok(Reclaimed {
            cursor: text(0)?,
            job,
            deleted: codec::parse("reclaim", "deleted", &text(1)?, "a number")?,
            poisoned: codec::optional("reclaim", "poisoned", &text(2)?, "a job id")?,
        })
    }

    /// Looks at one slice of the jobs in `state`, and rebuilds what their stage needs outside the hash where it is gone.
    pub async fn sweep(&self, who: &str, state: &str, from: &SweepCursor) -> Result<Swept, StoreError> {
        let args = Args::new().arg(state).arg(&from.changed_at).arg(&from.job).arg(&from.until);
        let reply: Vec<String> =
            self.run(&script::SWEEP, args.arg(SWEPT_AT_ONCE).arg(LOOKED_AT_AT_ONCE).arg(who)).await?;
        let [changed_at, job, until, has_more, found @ ..] = reply.as_slice() else {
            return Err(StoreError::UnknownReply { script: "sweep", value: format!("{reply:?}") });
        };
        let next = SweepCursor { changed_at: changed_at.clone(), job: job.clone(), until: until.clone() };
        let mut swept = Swept {
            next: (!has_more.is_empty()).then_some(next),
            rebuilt: Vec::new(),
            unreadable: Vec::new(),
        };
        for row in found.chunks(3) {
            let [id, stage, error] = row else { continue };
            let id = codec::parse("sweep", "job", id, "a job id")?;
            match Stage::from_name(stage) {
                Some(stage) if error.is_empty() => swept.rebuilt.push((id, stage)),
                _ => swept.unreadable.push((id, error.clone())),
            }
        }
        Ok(swept)
    }

    /// Removes consumers that were silent for `min_idle` and hold nothing. Returns their names.
    pub async fn drop_dead_consumers(&self, min_idle: Duration) -> Result<Vec<String>, StoreError> {
        self.run(&script::DROP_CONSUMERS, Args::new().arg(min_idle.as_millis())).await
    }

    /// Asks for the turn to do the lane's chores, of which one relayer at a time takes care; `true` when it is ours now.
    /// Two that believe so at once do no harm.
    pub async fn take_turn(&self, worker: &str) -> Result<bool, StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.turn()).arg(worker).arg("NX").arg("PX").arg(TURN.as_millis() as u64);
        let taken: Option<String> = command
            .query_async(&mut self.link.hot())
            .await
            .map_err(|source| StoreError::Redis { operation: "turn", source })?;
        Ok(taken.is_some())
    }

    /// What is due now; keeps the turn. `None` when it is another's. A worker is silent after `min_idle`.
    pub async fn chores(&self, worker: &str, min_idle: Duration) -> Result<Option<Chores>, StoreError> {
        let args = Args::new().arg(worker).arg(TURN.as_millis()).arg(SLICE).arg(min_idle.as_millis());
        let reply: Vec<redis::Value> = self.run(&script::CHORES, args).await?;
        if !matches!(reply.first(), Some(redis::Value::Int(1))) {
            return Ok(None);
        }
        let unknown = || StoreError::UnknownReply { script: "chores", value: format!("{reply:?}") };
        let [_, due, children, gates, silent] = &reply[..] else { return Err(unknown()) };
        let due: i64 = redis::from_redis_value_ref(due).map_err(|_| unknown())?;
        let children: Vec<String> = redis::from_redis_value_ref(children).map_err(|_| unknown())?;
        let key = self.keys.unblock();
        Ok(Some(Chores {
            next_due: u64::try_from(due).ok().map(Duration::from_millis),
            children: children
                .iter()
                .map(|child| codec::parse(&key, "child", child, "a wallet"))
                .collect::<Result<_, _>>()?,
            gates: redis::from_redis_value_ref(gates).map_err(|_| unknown())?,
            silent: *silent != redis::Value::Int(0),
        }))
    }
}
