use std::collections::HashMap;

use poem_openapi::Object;
use shared::store::{ClosedGate, StateCount, Stats};

use super::Switch;

/// A job queued again.
#[derive(Debug, Object)]
pub(crate) struct RetryAnswer {
    /// The job.
    pub(crate) job_id: String,
    /// Always `retrying`: the chain is looked at before anything is signed.
    pub(crate) status: String,
}

/// A job cancelled.
#[derive(Debug, Object)]
pub(crate) struct CancelAnswer {
    /// The job.
    pub(crate) job_id: String,
    /// Always `cancelled`. The payment's id stays spent.
    pub(crate) status: String,
    /// The stage it was in.
    pub(crate) stage_before: String,
}

/// What became of a pause or resume.
#[derive(Debug, Object)]
pub(crate) struct PauseAnswer {
    /// What was paused or resumed.
    pub(crate) what: Switch,
    /// Whether it is paused now.
    pub(crate) paused: bool,
    /// Whether this request changed it.
    pub(crate) changed: bool,
}

/// The jobs of one state.
#[derive(Debug, Object)]
pub(crate) struct StateCountView {
    /// The state.
    pub(crate) state: String,
    /// How many jobs are in it.
    pub(crate) count: u64,
    /// The oldest last change among them, in unix milliseconds; null where there are none.
    pub(crate) oldest_change_at: Option<u64>,
}

impl From<&StateCount> for StateCountView {
    fn from(count: &StateCount) -> Self {
        Self { state: count.state.to_owned(), count: count.count, oldest_change_at: count.oldest }
    }
}

/// A closed gate. Jobs that meet it are parked, without charge, until it opens.
#[derive(Debug, Object)]
pub(crate) struct GateView {
    /// Its name.
    pub(crate) gate: String,
    /// Why it is closed.
    pub(crate) reason: String,
    /// Who closed it.
    pub(crate) by: String,
    /// Since when, in unix milliseconds.
    pub(crate) since: u64,
    /// How many jobs wait for it: those parked under it, and under a gate of the signer those that are checked.
    pub(crate) parked: u64,
}

impl From<ClosedGate> for GateView {
    fn from(gate: ClosedGate) -> Self {
        Self { gate: gate.gate, reason: gate.reason, by: gate.by, since: gate.since, parked: gate.parked }
    }
}

/// Counts over the lane.
#[derive(Debug, Object)]
pub(crate) struct StatsView {
    /// Jobs per state.
    pub(crate) states: Vec<StateCountView>,
    /// Entries in the queue, including those in workers' hands.
    pub(crate) queued: u64,
    /// When the oldest entry that no worker has taken was queued, in unix milliseconds; null where there is none.
    pub(crate) oldest_queued_at: Option<u64>,
    /// Checked jobs that wait for a nonce.
    pub(crate) ready: u64,
    /// Jobs that wait for their backoff or hold to end.
    pub(crate) delayed: u64,
    /// Everything ever counted in this Redis: `event:<name>`, `done:<kind>`, `failure:<class>`, `intake:<decision>`…
    pub(crate) totals: HashMap<String, u64>,
    /// The gates that are closed now.
    pub(crate) closed_gates: Vec<GateView>,
    /// When this was counted, in unix milliseconds.
    pub(crate) now: u64,
}

impl StatsView {
    pub(crate) fn new(stats: &Stats, gates: Vec<ClosedGate>) -> Self {
        Self {
            states: stats.states.iter().map(StateCountView::from).collect(),
            queued: stats.queued,
            oldest_queued_at: stats.oldest_queued,
            ready: stats.ready,
            delayed: stats.delayed,
            totals: stats.totals.iter().map(|(name, count)| (name.clone(), *count)).collect(),
            closed_gates: gates.into_iter().map(GateView::from).collect(),
            now: stats.now,
        }
    }
}

/// One thing that stands in the way, or is worth knowing.
#[derive(Debug, Object)]
pub(crate) struct ReadinessPoint {
    /// `redis_unavailable`, `schema`, `not_synced`, `store_full` or `intake_paused`.
    pub(crate) code: String,
    /// What it is, and what to do about it.
    pub(crate) detail: String,
}

/// Whether requests can be served.
#[derive(Debug, Object)]
pub(crate) struct ReadinessView {
    /// Whether there are no reasons against it.
    pub(crate) ready: bool,
    /// What stands in the way.
    pub(crate) reasons: Vec<ReadinessPoint>,
    /// What limits the service while it is ready, such as paused intake.
    pub(crate) notes: Vec<ReadinessPoint>,
}
