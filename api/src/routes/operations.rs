use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::payload::Json;

use super::Tag;
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::JsonBody;
use crate::dto::{PauseAnswer, PauseRequest, StatsView};
use crate::error::Problem;

pub(crate) struct Operations;

#[OpenApi(tag = "Tag::Operations")]
impl Operations {
    /// Count
    #[oai(path = "/api/stats", method = "get", operation_id = "read_stats")]
    async fn stats(&self, app: Data<&Arc<App>>, _caller: Reader) -> Result<Json<StatsView>, Problem> {
        let stats = app.store.stats().await?;
        Ok(Json(StatsView::new(&stats, app.gates().await?)))
    }

    /// Pause intake, signing or reconcile
    ///
    /// Survives restarts, until it is resumed.
    #[oai(path = "/api/pause", method = "post", operation_id = "pause")]
    async fn pause(
        &self,
        app: Data<&Arc<App>>,
        caller: Acting,
        body: JsonBody<PauseRequest>,
    ) -> Result<Json<PauseAnswer>, Problem> {
        let PauseRequest { what, reason } = body.0;
        let changed = app.store.pause(what.gate(), &reason, &caller.0.name).await?;
        Ok(Json(PauseAnswer { what, paused: true, changed }))
    }

    /// Resume intake, signing or reconcile
    #[oai(path = "/api/resume", method = "post", operation_id = "resume")]
    async fn resume(
        &self,
        app: Data<&Arc<App>>,
        caller: Acting,
        body: JsonBody<PauseRequest>,
    ) -> Result<Json<PauseAnswer>, Problem> {
        let PauseRequest { what, reason } = body.0;
        let changed = app.store.resume(what.gate(), &reason, &caller.0.name).await?;
        Ok(Json(PauseAnswer { what, paused: false, changed }))
    }
}
