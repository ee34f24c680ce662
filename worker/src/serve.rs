//! `/metrics`, `/healthz` and `/readyz` of a relayer.

use std::sync::Arc;

use poem::http::StatusCode;
use poem::listener::{Acceptor, Listener, TcpListener};
use poem::web::Data;
use poem::{EndpointExt, IntoResponse, Response, Route, Server, get, handler};
use shared::store::Store;
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
    match served.store.stats().await {
        Ok(stats) => served.metrics.set_stats(&stats),
        Err(error) => tracing::warn!(%error, "metrics without queue depths"),
    }
    match served.store.lease_holder().await {
        Ok(holder) => served.metrics.set_holder(holder.as_ref().map(|(value, _)| value.as_str())),
        Err(error) => tracing::warn!(%error, "metrics without lease holder"),
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    served.metrics.encode().with_content_type(kind).into_response()
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
