//! What operators watch. Counters count what this process did; gauges of queues and money are read at scrape time or by
//! the leader at each block, so they are the same whichever relayer is asked, or absent where only the leader knows.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use shared::job::{Failure, FailureClass, Kind};
use shared::store::{Departure, Exit};

mod gauges;
mod rpc;

pub use rpc::RpcMetrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByClass {
    pub class: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByKind {
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByState {
    pub state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByStage {
    pub stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByGate {
    pub gate: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByToken {
    pub token: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByOutcome {
    pub outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByHolder {
    pub holder: String,
}

/// Host and port of an endpoint, never more of its url.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByEndpoint {
    pub endpoint: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByFault {
    pub endpoint: String,
    pub kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByEvent {
    pub event: String,
}

type FloatGauge = Gauge<f64, AtomicU64>;
pub type IntGauge = Gauge<i64, AtomicI64>;

/// A histogram of seconds, from 5 ms to 164 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 16))
}

/// One table for fields, names and help texts.
macro_rules! metrics {
    (@make Histogram) => { seconds() };
    (@make $($type:tt)*) => { <$($type)*>::default() };
    (@register $registry:ident, $name:literal, $help:literal, $metric:expr) => {
        $registry.register($name, $help, $metric)
    };
    (@register $registry:ident, $name:literal, $help:literal, $metric:expr, $unit:ident) => {
        $registry.register_with_unit($name, $help, Unit::$unit, $metric)
    };
    ($($field:ident: [$($type:tt)*] = $name:literal $(in $unit:ident)?, $help:literal;)*) => {
        /// All metrics of one relayer.
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $($type)*,)*
        }

        impl Metrics {
            pub fn new() -> Arc<Self> {
                let mut registry = Registry::with_prefix("ail");
                $(
                    let $field: $($type)* = metrics!(@make $($type)*);
                    metrics!(@register registry, $name, $help, $field.clone() $(, $unit)?);
                )*
                let metrics = Self { registry, $($field,)* };
                metrics.show_zeros();
                Arc::new(metrics)
            }
        }
    };
}

metrics! {
    to_broadcast: [Histogram] = "webhook_to_broadcast" in Seconds, "From acceptance to the first broadcast";
    to_inclusion: [Histogram] = "webhook_to_inclusion" in Seconds, "From acceptance to inclusion in a block";
    to_done: [Histogram] = "webhook_to_done" in Seconds, "From acceptance to done, confirmations included";
    jobs_claimed: [Counter] = "jobs_claimed", "Jobs claimed by this relayer";
    claims: [IntGauge] = "claims_held", "Jobs in this relayer's hands now";
    jobs_done: [Family<ByKind, Counter>] = "jobs_done", "Jobs that this relayer took to done";
    failures: [Family<ByClass, Counter>] = "job_failures", "Attempts that failed, by class";
    attempts: [Counter] = "job_attempts", "Attempts charged";
    broadcasts: [Family<ByOutcome, Counter>] = "broadcasts", "Broadcast transactions by the nodes' answer";
    bumps: [Counter] = "fee_bumps", "Fee bumps journaled";
    cancels: [Counter] = "cancels", "Cancels journaled";
    nonce_errors: [Counter] = "nonce_errors", "Answers of nodes that contradict the journal's nonces";
    strangers: [Counter] = "stranger_nonces", "Nonces of the signer that transactions consumed which are not in the journal";
    rpc_errors: [Counter] = "rpc_errors", "Questions to nodes without a usable answer";
    rpc_up: [Family<ByEndpoint, IntGauge>] = "rpc_up", "1 while the endpoint is on the right chain and does not fail";
    rpc_lag: [Family<ByEndpoint, IntGauge>] = "rpc_lag_blocks", "Blocks by which the endpoint was behind the best head when last asked";
    rpc_faults: [Family<ByFault, Counter>] = "rpc_endpoint_errors", "Questions that the endpoint failed, by kind";
    rpc_refuted: [Family<ByEndpoint, Counter>] = "rpc_disagreements", "Answers of the endpoint that the chain's own records refute";
    rpc_alone: [Counter] = "rpc_lone_verdicts", "Verdicts on money that rest on one endpoint because no second one could be asked";
    rpc_undecided: [Counter] = "rpc_undecided", "Verdicts on money put off to the next block because endpoints disagree";
    redis_errors: [Counter] = "redis_errors", "Commands to Redis without a usable answer";
    disagreements: [Counter] = "reconcile_mismatches", "Jobs whose amounts differ from the chain's event";
    deep_reorgs: [Counter] = "deep_reorgs", "Times that a block which was final was replaced by another";
    undone: [Counter] = "jobs_undone", "Jobs that were done, and records learned, in a block that is no more";
    poisoned: [Counter] = "jobs_poisoned", "Jobs dead-lettered because their workers kept dying";
    rebuilt: [Family<ByStage, Counter>] = "jobs_rebuilt", "Jobs left behind and rebuilt from their hash, by the stage they were in";
    deleted_entries: [Counter] = "deleted_entries", "Stream entries that were gone while they were pending";
    unreadable_nonces: [IntGauge] = "unreadable_nonces", "Open nonces whose record cannot be read; leader only";
    unreadable_jobs: [Counter] = "unreadable_jobs", "Times that a sweep met a job whose record cannot be read";
    removed_jobs: [Counter] = "jobs_removed", "Ended jobs removed from Redis, as retention allows";
    leadership_changes: [Counter] = "leadership_changes", "Terms that this relayer took up";
    lease_held: [IntGauge] = "lease_held", "1 while this relayer is the leader";
    lease_term: [IntGauge] = "lease_term", "The fencing term of the lease as last seen";
    lease_holder: [Family<ByHolder, IntGauge>] = "lease_holder", "1 for the boot that holds the lease as last seen";
    open_nonces: [IntGauge] = "open_nonces", "Nonces that are journaled and not final; leader only";
    head: [IntGauge] = "chain_head", "The newest block this relayer saw";
    depth: [Family<ByState, IntGauge>] = "jobs", "Jobs per state";
    oldest: [Family<ByState, FloatGauge>] = "oldest_job_age" in Seconds, "Age of the oldest last change per state";
    queued: [IntGauge] = "jobs_queued", "Jobs in the stream";
    oldest_queued: [FloatGauge] = "oldest_queued_age" in Seconds, "Age of the oldest job that no worker has taken";
    totals: [Family<ByEvent, IntGauge>] = "lane_events", "Everything the lane ever counted, over all processes";
    signer_balance: [FloatGauge] = "signer_balance_ether", "Gas money of the signer";
    payout_funds: [Family<ByToken, FloatGauge>] = "payout_funds_tokens", "What the payout contract can spend, in whole tokens";
    gate_closed: [Family<ByGate, IntGauge>] = "gate_closed", "1 for each gate that is closed";
    gate_since: [Family<ByGate, FloatGauge>] = "gate_closed_since_timestamp" in Seconds, "Unix time since which each closed gate is closed; openings for a try do not count";
    gate_parked: [Family<ByGate, IntGauge>] = "gate_parked", "Jobs parked under each closed gate";
    synced: [IntGauge] = "synced", "1 while this Redis process is synced with the chain";
    durable: [IntGauge] = "durable", "1 while Redis is as durable as DURABILITY asks";
    window_limit: [Family<ByToken, FloatGauge>] = "window_limit_tokens", "What the rolling window allows, in whole tokens; absent while it is off";
    window_left: [Family<ByToken, FloatGauge>] = "window_left_tokens", "What the rolling window has left, in whole tokens";
}

impl Metrics {
    /// The part that the chain client writes.
    pub fn rpc(&self) -> RpcMetrics {
        RpcMetrics {
            up: self.rpc_up.clone(),
            lag: self.rpc_lag.clone(),
            faults: self.rpc_faults.clone(),
            refuted: self.rpc_refuted.clone(),
            alone: self.rpc_alone.clone(),
        }
    }

    /// What has not happened yet is zero, not absent.
    fn show_zeros(&self) {
        for class in FailureClass::ALL {
            self.failures.get_or_create(&ByClass { class: class.name() }).inc_by(0);
        }
        for kind in Kind::ALL {
            self.jobs_done.get_or_create(&ByKind { kind: kind.name() }).inc_by(0);
        }
    }

    /// Counts jobs as in this relayer's hands until the guard is dropped.
    #[must_use]
    pub fn hold(&self, jobs: usize) -> Held {
        let jobs = i64::try_from(jobs).unwrap_or(i64::MAX);
        self.claims.inc_by(jobs);
        Held { claims: self.claims.clone(), jobs }
    }

    /// Counts what leaves a worker's or the leader's hands without success.
    pub fn count_departures(&self, departures: &[Departure]) {
        for departure in departures {
            let (charge, failure): (bool, Option<&Failure>) = match &departure.exit {
                Exit::BackOff { charge, failure, .. } => (*charge, failure.as_ref()),
                Exit::Fail { failure, charge } => (*charge, Some(failure)),
                Exit::Park { .. } | Exit::Unregistered { .. } => (false, None),
            };
            if charge {
                self.attempts.inc();
            }
            if let Some(failure) = failure {
                self.failures.get_or_create(&ByClass { class: failure.class.name() }).inc();
            }
        }
    }

    /// The text that Prometheus reads, in the classic format.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        classic(&text)
    }
}

/// Jobs in this relayer's hands, however it lets go of them.
pub struct Held {
    claims: IntGauge,
    jobs: i64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.claims.dec_by(self.jobs);
    }
}

/// OpenMetrics names a counter without its suffix in `# HELP` and `# TYPE`; the classic format names its samples, and
/// knows neither units nor an end.
fn classic(text: &str) -> String {
    let counter = |line: &str| Some(line.strip_prefix("# TYPE ")?.strip_suffix(" counter")?.to_owned());
    let counters: HashSet<String> = text.lines().filter_map(counter).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(kind @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
                let suffix = if counters.contains(name) { "_total" } else { "" };
                out.push_str(&format!("# {kind} {name}{suffix} {rest}\n"));
            }
            (Some("#"), ..) => {}
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::health::Fault;

    #[test]
    fn an_endpoint_is_shown_by_name_with_every_kind_of_fault_from_the_start() {
        let metrics = Metrics::new();
        let rpc = metrics.rpc();
        rpc.begin("node.example:8545");
        rpc.failed("node.example:8545", Fault::RateLimited);
        rpc.state("node.example:8545", false, 7);
        rpc.disagreed("node.example:8545");
        let text = metrics.encode();
        let shows = |line: &str| assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        for fault in Fault::ALL {
            let count = u8::from(fault == Fault::RateLimited);
            let (name, kind) = ("ail_rpc_endpoint_errors_total", fault.name());
            shows(&format!("{name}{{endpoint=\"node.example:8545\",kind=\"{kind}\"}} {count}"));
        }
        shows("ail_rpc_up{endpoint=\"node.example:8545\"} 0");
        shows("ail_rpc_lag_blocks{endpoint=\"node.example:8545\"} 7");
        shows("ail_rpc_disagreements_total{endpoint=\"node.example:8545\"} 1");
    }

    #[test]
    fn counters_are_named_as_their_samples_and_each_class_is_there_from_the_start() {
        let metrics = Metrics::new();
        metrics.nonce_errors.inc();
        let text = metrics.encode();
        for line in ["# TYPE ail_nonce_errors_total counter", "ail_nonce_errors_total 1"] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
        for class in FailureClass::ALL {
            let line = format!("ail_job_failures_total{{class=\"{}\"}} 0", class.name());
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
        {
            let (_first, _second) = (metrics.hold(3), metrics.hold(4));
            assert_eq!(metrics.claims.get(), 7);
        }
        assert_eq!(metrics.claims.get(), 0);
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }
}
