//! `/metrics`, `/healthz` and `/readyz` of a relayer.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Response, Route, Server, get, handler};
use shared::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::metrics::{IntGauge, Metrics};

struct Served {
    store: Store,
    metrics: Arc<Metrics>,
}

/// Listens at `address`; a failure to bind is the caller's to report.
pub async fn bind(address: std::net::SocketAddr) -> std::io::Result<impl Acceptor + 'static> {
    TcpListener::bind(address).into_acceptor().await
}

/// Serves until shutdown.
pub async fn serve(
    acceptor: impl Acceptor + 'static,
    store: Store,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) {
    let app = Route::new()
        .at("/metrics", get(show_metrics))
        .at("/healthz", get(healthz))
        .at("/readyz", get(readyz))
        .data(Arc::new(Served { store, metrics }));
    let server = Server::new_with_acceptor(acceptor);
    if let Err(error) = server.run_with_graceful_shutdown(app, shutdown.cancelled_owned(), None).await {
        tracing::error!(%error, "the metrics server failed");
    }
}

#[handler]
async fn show_metrics(Data(served): Data<&Arc<Served>>) -> Response {
    for (what, error) in look_at_the_lane(&served.store, &served.metrics).await {
        tracing::warn!(what, %error, "metrics as they were: Redis does not tell");
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    served.metrics.encode().with_content_type(kind).into_response()
}

/// The gauges that are read at the scrape, so that they are the same whichever relayer is asked. Each look is its own: what
/// one record that cannot be read keeps from being told is no reason to show anything else as it was. Returns what failed.
async fn look_at_the_lane(store: &Store, metrics: &Metrics) -> Vec<(&'static str, StoreError)> {
    let (stats, holder, gates, sync, durability) = tokio::join!(
        store.stats(),
        store.lease_holder(),
        store.closed_gates(),
        store.sync_state(),
        store.check_durability(),
    );
    let set = |gauge: &IntGauge, holds: bool| {
        gauge.set(i64::from(holds));
    };
    let looks = [
        ("stats", stats.map(|stats| metrics.set_stats(&stats))),
        ("lease", holder.map(|held| metrics.set_holder(held.as_ref().map(|(value, _)| value.as_str())))),
        ("gates", gates.map(|gates| metrics.set_gates(&gates))),
        ("synced", sync.map(|state| set(&metrics.synced, state.synced))),
        ("durable", durability.map(|problems| set(&metrics.durable, problems.is_empty()))),
    ];
    looks.into_iter().filter_map(|(what, look)| look.err().map(|error| (what, error))).collect()
}

#[handler]
fn healthz() -> &'static str {
    "ok\n"
}

#[handler]
async fn readyz(Data(served): Data<&Arc<Served>>) -> Response {
    match served.store.ping().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => format!("{error}\n").with_status(StatusCode::SERVICE_UNAVAILABLE).into_response(),
    }
}
