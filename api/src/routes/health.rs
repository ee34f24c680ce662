use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::{Json, PlainText, Response};
use poem_openapi::{ApiResponse, OpenApi};

use super::Tag;
use crate::app::App;
use crate::dto::{ReadinessPoint, ReadinessView};
use crate::error::Problem;
use crate::metrics;

pub(crate) struct Health;

#[derive(ApiResponse)]
enum ReadyResponse {
    /// Requests can be served.
    #[oai(status = 200)]
    Ready(Json<ReadinessView>),
    /// They cannot, for these reasons.
    #[oai(status = 503)]
    NotReady(Json<ReadinessView>),
}

#[OpenApi(tag = "Tag::Health")]
impl Health {
    /// Liveness
    ///
    /// Says that the process answers; nothing about Redis.
    #[oai(path = "/healthz", method = "get", operation_id = "liveness")]
    async fn live(&self) -> PlainText<&'static str> {
        PlainText("ok")
    }

    /// Readiness, with reasons
    ///
    /// At most one second old.
    #[oai(path = "/readyz", method = "get", operation_id = "readiness")]
    async fn ready(&self, app: Data<&Arc<App>>) -> ReadyResponse {
        let readiness = app.recent_readiness().await;
        let points = |points: &[(&'static str, String)]| {
            let point = |(code, detail): &(&'static str, String)| ReadinessPoint {
                code: (*code).to_owned(),
                detail: detail.clone(),
            };
            points.iter().map(point).collect()
        };
        let ready = readiness.reasons.is_empty();
        let view = Json(ReadinessView {
            ready,
            reasons: points(&readiness.reasons),
            notes: points(&readiness.notes),
        });
        if ready { ReadyResponse::Ready(view) } else { ReadyResponse::NotReady(view) }
    }

    /// Metrics
    ///
    /// The Prometheus text format. Counts of jobs are at most one second old, and absent while Redis is away.
    #[oai(path = "/metrics", method = "get", operation_id = "metrics")]
    async fn metrics(&self, app: Data<&Arc<App>>) -> Result<Response<PlainText<String>>, Problem> {
        let stats = app.recent_stats().await;
        let text = app
            .metrics
            .render(stats.as_deref(), app.feed.watchers(), app.memory.seen())
            .map_err(Problem::internal)?;
        Ok(Response::new(PlainText(text)).header("Content-Type", metrics::CONTENT_TYPE))
    }
}
