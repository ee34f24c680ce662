//! What is told of the endpoints, by the client that asks them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::{ByEndpoint, ByFault, IntGauge};
use crate::chain::health::Fault;

/// What is told of each endpoint. Clones share the figures.
#[derive(Debug, Clone, Default)]
pub struct RpcMetrics {
    pub(super) up: Family<ByEndpoint, IntGauge>,
    pub(super) lag: Family<ByEndpoint, IntGauge>,
    pub(super) faults: Family<ByFault, Counter>,
    pub(super) refuted: Family<ByEndpoint, Counter>,
    pub alone: Counter,
}

impl RpcMetrics {
    /// What has not happened yet is zero, not absent.
    pub fn begin(&self, endpoint: &str) {
        self.state(endpoint, true, 0);
        for fault in Fault::ALL {
            self.faults
                .get_or_create(&ByFault { endpoint: endpoint.to_owned(), kind: fault.name() })
                .inc_by(0);
        }
        self.refuted.get_or_create(&ByEndpoint { endpoint: endpoint.to_owned() }).inc_by(0);
    }

    pub fn state(&self, endpoint: &str, up: bool, lag: u64) {
        let label = ByEndpoint { endpoint: endpoint.to_owned() };
        self.up.get_or_create(&label).set(i64::from(up));
        self.lag.get_or_create(&label).set(i64::try_from(lag).unwrap_or(i64::MAX));
    }

    pub fn failed(&self, endpoint: &str, fault: Fault) {
        self.faults.get_or_create(&ByFault { endpoint: endpoint.to_owned(), kind: fault.name() }).inc();
    }

    pub fn disagreed(&self, endpoint: &str) {
        self.refuted.get_or_create(&ByEndpoint { endpoint: endpoint.to_owned() }).inc();
    }
}
