use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use shared::ids::{ExternalId, IdError, PaymentId, Source};

use super::Tag;
use crate::app::App;
use crate::auth::Reader;
use crate::dto::PaymentAnswer;
use crate::error::Problem;

pub(crate) struct Payments;

#[OpenApi(tag = "Tag::Records")]
impl Payments {
    /// Read a payment
    #[oai(path = "/api/payments/:id", method = "get", operation_id = "read_payment")]
    async fn read(
        &self,
        app: Data<&Arc<App>>,
        _caller: Reader,
        /// Its on-chain id (0x and 64 hex digits), or `source:external_id`.
        id: Path<String>,
    ) -> Result<Json<PaymentAnswer>, Problem> {
        let payment = app.store.payment(parse_payment(&id, "id")?).await?;
        payment.map(|payment| Json(payment.into())).ok_or_else(|| Problem::not_found("payment", &id))
    }
}

/// Reads an on-chain payment id, or `source:external_id`. A colon decides: hex digits have none.
pub(super) fn parse_payment(text: &str, field: &str) -> Result<PaymentId, Problem> {
    let refused = |error: IdError| Problem::id(&error, field, text);
    match text.split_once(':') {
        None => text.parse().map_err(refused),
        Some((source, external)) => {
            let source: Source = source.parse().map_err(refused)?;
            let external: ExternalId = external.parse().map_err(refused)?;
            Ok(PaymentId::derive(source.as_str(), external.as_str()))
        }
    }
}
