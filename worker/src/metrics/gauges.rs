//! What the gauges show, from what was read on the chain and in Redis.

use shared::money::{Sge, Usdc};
use shared::store::{ClosedGate, Stats};

use super::{ByEvent, ByGate, ByHolder, ByState, ByToken, Metrics};
use crate::chain::{Conditions, TokenRoom};

/// Whole tokens above which a window's limit means that there is none.
const OFF: f64 = 1e18;

impl Metrics {
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
        let limit = whole(room.window_limit);
        if limit < OFF {
            self.window_limit.get_or_create(&ByToken { token }).set(limit);
        } else {
            self.window_limit.remove(&ByToken { token });
        }
    }

    /// The gates that are closed now, by name.
    pub fn set_gates(&self, gates: &[ClosedGate]) {
        self.gate_closed.clear();
        self.gate_parked.clear();
        for closed in gates {
            let label = ByGate { gate: closed.gate.clone() };
            self.gate_closed.get_or_create(&label).set(1);
            self.gate_parked.get_or_create(&label).set(closed.parked as i64);
        }
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
}
