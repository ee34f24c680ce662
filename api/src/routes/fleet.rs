use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::payload::Json;

use super::Tag;
use crate::app::App;
use crate::auth::Reader;
use crate::dto::FleetAnswer;
use crate::error::Problem;

pub(crate) struct FleetRoutes;

#[OpenApi(tag = "Tag::Operations")]
impl FleetRoutes {
    /// See the fleet
    ///
    /// Relayers, lease, consumers, closed gates, open nonces, sync and queue, all at one moment.
    #[oai(path = "/api/fleet", method = "get", operation_id = "read_fleet")]
    async fn read(&self, app: Data<&Arc<App>>, _caller: Reader) -> Result<Json<FleetAnswer>, Problem> {
        Ok(Json(app.store.fleet().await?.into()))
    }
}
