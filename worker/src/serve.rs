//! `/metrics`, `/healthz` and `/readyz` of a relayer.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Response, Route, Server, get, handler};
use shared::store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

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
    if let Err(error) = look_at_the_lane(&served.store, &served.metrics).await {
        tracing::warn!(%error, "metrics without what only Redis knows");
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    served.metrics.encode().with_content_type(kind).into_response()
}

/// The gauges that are read at the scrape, so that they are the same whichever relayer is asked.
async fn look_at_the_lane(store: &Store, metrics: &Metrics) -> Result<(), StoreError> {
    metrics.set_stats(&store.stats().await?);
    let holder = store.lease_holder().await?;
    metrics.set_holder(holder.as_ref().map(|(value, _)| value.as_str()));
    metrics.set_gates(&store.closed_gates().await?);
    metrics.synced.set(i64::from(store.sync_state().await?.synced));
    metrics.durable.set(i64::from(store.check_durability().await?.is_empty()));
    Ok(())
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
