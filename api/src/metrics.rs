//! What `/metrics` shows, in the Prometheus text format.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use shared::store::Stats;

use crate::code::Code;
use crate::memory::Seen;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    source: String,
    decision: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

/// The process's own counters. What the lane counts is added at each scrape, see [`Metrics::render`].
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    events: Family<EventLabels, Counter>,
    auth_failures: Family<CodeLabel, Counter>,
    problems: Family<CodeLabel, Counter>,
    redis_errors: Counter<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("affiliate_api");
        let requests = Family::default();
        registry.register(
            "http_requests",
            "Requests answered, by route, method and status",
            requests.clone(),
        );
        let durations: Family<RouteLabels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let events = Family::default();
        registry.register("webhook_events", "Genuine webhook events, by what was decided", events.clone());
        let auth_failures = Family::default();
        registry.register(
            "auth_failures",
            "Requests without a valid key, role or signature",
            auth_failures.clone(),
        );
        let problems = Family::default();
        registry.register("problems", "Requests refused or failed, by problem code", problems.clone());
        let redis_errors = Counter::default();
        registry.register(
            "redis_errors",
            "Requests that failed because Redis did not answer",
            redis_errors.clone(),
        );
        Self { registry, requests, durations, events, auth_failures, problems, redis_errors }
    }

    pub(crate) fn request(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let route = route.to_owned();
        self.requests.get_or_create(&RequestLabels { route: route.clone(), method, status }).inc();
        self.durations.get_or_create(&RouteLabels { route, method }).observe(took.as_secs_f64());
    }

    pub(crate) fn problem(&self, code: Code) {
        let label = CodeLabel { code: code.name() };
        match code {
            Code::Unauthorized | Code::Forbidden | Code::InvalidSignature => {
                self.auth_failures.get_or_create(&label).inc();
            }
            Code::RedisUnavailable | Code::NotDurable => {
                self.redis_errors.inc();
            }
            _ => {}
        }
        self.problems.get_or_create(&label).inc();
    }

    /// `decision` is one of the store's decisions or refund outcomes, or a problem code.
    pub(crate) fn event(&self, source: &str, decision: &str) {
        let labels = EventLabels { source: source.to_owned(), decision: decision.to_owned() };
        self.events.get_or_create(&labels).inc();
    }

    /// Everything as text. Without `stats` (Redis is away) the lane's gauges are absent rather than wrong.
    pub(crate) fn render(
        &self,
        stats: Option<&Stats>,
        streams: usize,
        seen: Seen,
    ) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        let mut out = String::with_capacity(text.len() + 2048);
        for line in text.lines() {
            out.push_str(&classic(line));
            out.push('\n');
        }
        gauge(&mut out, "affiliate_api_event_streams", "Clients that watch the live feed now");
        writeln!(out, "affiliate_api_event_streams {streams}")?;
        gauge(&mut out, "affiliate_api_redis_memory_used_bytes", "What Redis used when last looked at");
        writeln!(out, "affiliate_api_redis_memory_used_bytes {}", seen.memory.used)?;
        gauge(&mut out, "affiliate_api_redis_memory_max_bytes", "The maxmemory of Redis; 0 without a limit");
        writeln!(out, "affiliate_api_redis_memory_max_bytes {}", seen.memory.max)?;
        gauge(
            &mut out,
            "affiliate_api_store_full",
            "1 while nothing new is taken because Redis is nearly full",
        );
        writeln!(out, "affiliate_api_store_full {}", u8::from(seen.full))?;
        gauge(&mut out, "affiliate_api_redis_up", "Whether Redis answered at this scrape");
        writeln!(out, "affiliate_api_redis_up {}", u8::from(stats.is_some()))?;
        if let Some(stats) = stats {
            lane(&mut out, stats)?;
        }
        Ok(out)
    }
}

/// OpenMetrics names a counter without its suffix in `# TYPE` and `# HELP`; the classic format names its samples.
fn classic(line: &str) -> String {
    const COUNTERS: [&str; 5] =
        ["http_requests", "webhook_events", "auth_failures", "problems", "redis_errors"];
    let mut words = line.splitn(4, ' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("#"), Some(kind @ ("HELP" | "TYPE")), Some(name), Some(rest)) => {
            let counter = name.strip_prefix("affiliate_api_").is_some_and(|name| COUNTERS.contains(&name));
            format!("# {kind} {name}{} {rest}", if counter { "_total" } else { "" })
        }
        (Some("#"), Some("EOF"), ..) => String::new(),
        _ => line.to_owned(),
    }
}

fn gauge(out: &mut String, name: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = write!(out, "# HELP {name} {help}.\n# TYPE {name} gauge\n");
}

fn lane(out: &mut String, stats: &Stats) -> std::fmt::Result {
    gauge(out, "affiliate_jobs", "Jobs in each state");
    for state in &stats.states {
        writeln!(out, "affiliate_jobs{{state=\"{}\"}} {}", state.state, state.count)?;
    }
    gauge(
        out,
        "affiliate_jobs_oldest_age_seconds",
        "Time since the oldest last change among the jobs of a state",
    );
    for state in &stats.states {
        let age = state.oldest.map_or(0, |at| stats.now.saturating_sub(at));
        writeln!(out, "affiliate_jobs_oldest_age_seconds{{state=\"{}\"}} {}", state.state, seconds(age))?;
    }
    gauge(out, "affiliate_queue_entries", "Entries per queue; those in workers' hands are still in `jobs`");
    for (queue, count) in [("jobs", stats.queued), ("ready", stats.ready), ("delayed", stats.delayed)] {
        writeln!(out, "affiliate_queue_entries{{queue=\"{queue}\"}} {count}")?;
    }
    gauge(out, "affiliate_queue_oldest_age_seconds", "Time that the oldest undelivered entry has waited");
    let age = stats.oldest_queued.map_or(0, |at| stats.now.saturating_sub(at));
    writeln!(out, "affiliate_queue_oldest_age_seconds {}", seconds(age))
}

fn seconds(millis: u64) -> f64 {
    Duration::from_millis(millis).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_named_as_its_samples_are() {
        let metrics = Metrics::new();
        metrics.request("/register", "POST", 202, Duration::from_millis(3));
        metrics.problem(Code::Unauthorized);
        let text = metrics.render(None, 0, Seen::default()).unwrap();
        assert!(text.contains("# TYPE affiliate_api_http_requests_total counter"), "{text}");
        assert!(text.contains("affiliate_api_http_requests_total{route=\"/register\""), "{text}");
        assert!(text.contains("affiliate_api_auth_failures_total{code=\"unauthorized\"} 1"), "{text}");
        assert!(!text.contains("affiliate_jobs{"), "{text}");
    }
}
