//! Whether this process can do its work. Red: Redis does not answer, its schema is not ours, it is not synced, or it is
//! nearly full. A pause is told, but keeps the process ready: behind a load balancer nobody could resume it otherwise.

use std::time::Duration;

use shared::store::{INTAKE, Replay, Store, StoreError};

/// How long one look may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// What stands in the way, and what is worth knowing.
#[derive(Debug)]
pub(crate) struct Readiness {
    /// Code and detail of each reason not to be ready.
    pub(crate) reasons: Vec<(&'static str, String)>,
    /// Code and detail of what limits the service while it is ready.
    pub(crate) notes: Vec<(&'static str, String)>,
}

/// `full`: why nothing new is taken, where Redis has no room for it.
pub(crate) async fn look(store: &Store, full: Option<String>) -> Readiness {
    let reasons = full.map(|detail| ("store_full", detail)).into_iter().collect();
    let mut readiness = Readiness { reasons, notes: Vec::new() };
    match tokio::time::timeout(PATIENCE, look_closely(store, &mut readiness)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            // The error's own words may name hosts: they are for the log.
            tracing::warn!(%error, "not ready: Redis");
            readiness.reasons.push(("redis_unavailable", "Redis does not answer".to_owned()));
        }
        Err(_) => {
            readiness
                .reasons
                .push(("redis_unavailable", format!("Redis did not answer within {} s", PATIENCE.as_secs())));
        }
    }
    readiness
}

async fn look_closely(store: &Store, readiness: &mut Readiness) -> Result<(), StoreError> {
    store.ping().await?;
    match store.schema().await {
        Ok(Some(_)) => {}
        Ok(None) => {
            readiness
                .reasons
                .push(("schema", "no schema in this lane: run `affiliate-relayer migrate`".to_owned()));
        }
        Err(error @ StoreError::NewerSchema { .. }) => readiness.reasons.push(("schema", error.to_string())),
        Err(error) => return Err(error),
    }
    let sync = store.sync_state().await?;
    if !sync.synced {
        readiness.reasons.push(("not_synced", not_synced(sync.replay.as_ref())));
    }
    for gate in store.closed_gates().await? {
        if gate.gate == INTAKE {
            readiness.notes.push(("intake_paused", format!("paused by {}: {}", gate.by, gate.reason)));
        }
    }
    Ok(())
}

fn not_synced(replay: Option<&Replay>) -> String {
    let Some(Replay { from, to, at, events }) = replay else {
        return "contract events are not replayed into this Redis: start a relayer, or wait for it"
            .to_owned();
    };
    let at = at.map_or_else(|| "at its beginning".to_owned(), |block| format!("at block {block}"));
    format!("contract events are being replayed from block {from} to {to}: {at}, {events} events so far")
}
