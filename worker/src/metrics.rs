//! What operators watch. Counters count what this process did; gauges of queues and money are read at scrape time or by
//! the leader at each block, so they are the same whichever relayer is asked, or absent where only the leader knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use shared::money::{Sge, Usdc};
use shared::store::Stats;

use crate::chain::{Conditions, TokenRoom};

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ByEvent {
    pub event: String,
}

type FloatGauge = Gauge<f64, AtomicU64>;
type IntGauge = Gauge<i64, AtomicI64>;

/// All metrics of one relayer.
pub struct Metrics {
    registry: Registry,
    pub jobs_claimed: Counter,
    pub jobs_done: Family<ByKind, Counter>,
    pub failures: Family<ByClass, Counter>,
    pub attempts: Counter,
    pub broadcasts: Family<ByOutcome, Counter>,
    pub bumps: Counter,
    pub cancels: Counter,
    pub nonce_errors: Counter,
    pub rpc_errors: Counter,
    pub redis_errors: Counter,
    pub disagreements: Counter,
    pub lease_held: IntGauge,
    pub lease_term: IntGauge,
    pub lease_holder: Family<ByHolder, IntGauge>,
    pub open_nonces: IntGauge,
    pub head: IntGauge,
    pub to_broadcast: Histogram,
    pub to_inclusion: Histogram,
    pub to_done: Histogram,
    depth: Family<ByState, IntGauge>,
    oldest: Family<ByState, FloatGauge>,
    queued: IntGauge,
    oldest_queued: FloatGauge,
    totals: Family<ByEvent, IntGauge>,
    signer_balance: FloatGauge,
    payout_funds: Family<ByToken, FloatGauge>,
    window_left: Family<ByToken, FloatGauge>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 16))
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("ail");
        macro_rules! register {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
            ($name:literal, $help:literal, $unit:expr, $metric:expr) => {{
                let metric = $metric;
                registry.register_with_unit($name, $help, $unit, metric.clone());
                metric
            }};
        }
        let to_broadcast = register!(
            "webhook_to_broadcast",
            "From acceptance to the first broadcast",
            Unit::Seconds,
            seconds()
        );
        let to_inclusion = register!(
            "webhook_to_inclusion",
            "From acceptance to inclusion in a block",
            Unit::Seconds,
            seconds()
        );
        let to_done = register!(
            "webhook_to_done",
            "From acceptance to done, confirmations included",
            Unit::Seconds,
            seconds()
        );
        Arc::new(Self {
            jobs_claimed: register!("jobs_claimed", "Jobs claimed by this relayer", Counter::default()),
            jobs_done: register!("jobs_done", "Jobs that this relayer took to done", Family::default()),
            failures: register!("job_failures", "Attempts that failed, by class", Family::default()),
            attempts: register!("job_attempts", "Attempts charged", Counter::default()),
            broadcasts: register!(
                "broadcasts",
                "Broadcast transactions by the nodes' answer",
                Family::default()
            ),
            bumps: register!("fee_bumps", "Fee bumps journaled", Counter::default()),
            cancels: register!("cancels", "Cancels journaled", Counter::default()),
            nonce_errors: register!(
                "nonce_errors",
                "Answers of nodes that contradict the journal's nonces",
                Counter::default()
            ),
            rpc_errors: register!(
                "rpc_errors",
                "Questions to nodes without a usable answer",
                Counter::default()
            ),
            redis_errors: register!(
                "redis_errors",
                "Commands to Redis without a usable answer",
                Counter::default()
            ),
            disagreements: register!(
                "reconcile_mismatches",
                "Jobs whose amounts differ from the chain's event",
                Counter::default()
            ),
            lease_held: register!("lease_held", "1 while this relayer is the leader", IntGauge::default()),
            lease_term: register!(
                "lease_term",
                "The fencing term of the lease as last seen",
                IntGauge::default()
            ),
            lease_holder: register!(
                "lease_holder",
                "1 for the boot that holds the lease as last seen",
                Family::default()
            ),
            open_nonces: register!(
                "open_nonces",
                "Nonces that are journaled and not final; leader only",
                IntGauge::default()
            ),
            head: register!("chain_head", "The newest block this relayer saw", IntGauge::default()),
            depth: register!("jobs", "Jobs per state", Family::default()),
            oldest: register!(
                "oldest_job_age",
                "Age of the oldest last change per state",
                Unit::Seconds,
                Family::default()
            ),
            queued: register!("jobs_queued", "Jobs in the stream", IntGauge::default()),
            oldest_queued: register!(
                "oldest_queued_age",
                "Age of the oldest job that no worker has taken",
                Unit::Seconds,
                FloatGauge::default()
            ),
            totals: register!(
                "lane_events",
                "Everything the lane ever counted, over all processes",
                Family::default()
            ),
            signer_balance: register!(
                "signer_balance_ether",
                "Gas money of the signer",
                FloatGauge::default()
            ),
            payout_funds: register!(
                "payout_funds_tokens",
                "What the payout contract can spend, in whole tokens",
                Family::default()
            ),
            window_left: register!(
                "window_left_tokens",
                "What the rolling window has left, in whole tokens",
                Family::default()
            ),
            to_broadcast,
            to_inclusion,
            to_done,
            registry,
        })
    }

    /// The gauges of money, as read at one block.
    pub fn set_conditions(&self, conditions: &Conditions) {
        self.signer_balance.set(conditions.signer_balance as f64 / 1e18);
        let usdc = |units: Usdc| units.base_units() as f64 / 1e6;
        let sge = |units: Sge| units.base_units() as f64 / 1e18;
        self.set_token("usdc", &conditions.usdc, usdc);
        self.set_token("sge", &conditions.sge, sge);
    }

    fn set_token<T: Copy>(&self, token: &'static str, room: &TokenRoom<T>, whole: impl Fn(T) -> f64) {
        self.payout_funds.get_or_create(&ByToken { token }).set(whole(room.funds));
        self.window_left.get_or_create(&ByToken { token }).set(whole(room.window_left));
    }

    /// Who holds the lease, as last seen: `boot-uuid:term`.
    pub fn set_holder(&self, value: Option<&str>) {
        self.lease_holder.clear();
        let Some((boot, term)) = value.and_then(|value| value.rsplit_once(':')) else { return };
        self.lease_holder.get_or_create(&ByHolder { holder: boot.to_owned() }).set(1);
        if let Ok(term) = term.parse() {
            self.lease_term.set(term);
        }
    }

    /// The gauges of the lane's queues.
    pub fn set_stats(&self, stats: &Stats) {
        let age = |since: u64| stats.now.saturating_sub(since) as f64 / 1000.0;
        for state in &stats.states {
            let label = ByState { state: state.state };
            self.depth.get_or_create(&label).set(state.count as i64);
            self.oldest.get_or_create(&label).set(state.oldest.map_or(0.0, age));
        }
        for (event, total) in &stats.totals {
            self.totals.get_or_create(&ByEvent { event: event.clone() }).set(*total as i64);
        }
        self.queued.set(stats.queued as i64);
        self.oldest_queued.set(stats.oldest_queued.map_or(0.0, age));
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
