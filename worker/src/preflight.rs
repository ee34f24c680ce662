//! What must be true of Redis and of the chain before a relayer listens or claims anything. All problems in one list.
//!
//! The judgements are the doctor's. Here are those of them that no running relayer could mend or wait for: a paused
//! contract, a closed gate or little gas money keep nobody from starting.

use shared::store::Store;

use crate::chain::alloy::AlloyChain;
use crate::config::Config;
use crate::doctor::report::{Check, Status};
use crate::doctor::{ask_contracts, chain, contracts, lane, server};

/// Everything that keeps this relayer from working; empty when nothing does.
pub async fn problems(
    config: &Config,
    store: &Store,
    node: &AlloyChain,
    relayer: alloy::primitives::Address,
) -> Vec<String> {
    let (view, schema, endpoints) = tokio::join!(store.server(), store.schema(), node.check_endpoints());
    let mut checks = server::basics(&view.into(), config.redis.durability);
    checks.push(lane::schema(&schema.into()));
    checks.extend(chain::endpoints(&endpoints, config));
    if chain::best_head(&endpoints).is_some() {
        let facts = ask_contracts(config, node, relayer).await;
        checks.extend(contracts::deployment(&facts, config, relayer));
    }
    for warning in checks.iter().filter(|check| check.status == Status::Warning) {
        tracing::warn!(check = warning.id, found = warning.found, "not as it should be at start");
    }
    checks.iter().filter(|check| check.status == Status::Failed).map(Check::problem).collect()
}
