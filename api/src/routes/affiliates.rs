use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;

use super::Tag;
use crate::app::App;
use crate::auth::{Acting, Reader};
use crate::body::{JsonBody, parse_wallet};
use crate::dto::{AffiliateAnswer, ModeAnswer, ModeRequest};
use crate::error::Problem;

pub(crate) struct Affiliates;

#[OpenApi(tag = "Tag::Records")]
impl Affiliates {
    /// Read an affiliate
    ///
    /// Earnings over all payouts to this wallet. A wallet that never earned anything has zeros.
    #[oai(path = "/api/affiliates/:wallet", method = "get", operation_id = "read_affiliate")]
    async fn read(
        &self,
        app: Data<&Arc<App>>,
        _caller: Reader,
        /// The wallet: 0x and 40 hex digits.
        wallet: Path<String>,
    ) -> Result<Json<AffiliateAnswer>, Problem> {
        let wallet = parse_wallet(&wallet, "wallet")?;
        let view = app.store.affiliate(wallet).await?;
        let referral = app.store.referral(wallet).await?;
        Ok(Json(AffiliateAnswer::new(wallet, view, referral)))
    }

    /// Set how an affiliate is paid
    ///
    /// From the next accepted payment on; jobs already accepted keep their amounts.
    #[oai(
        path = "/api/affiliates/:wallet",
        method = "put",
        operation_id = "set_payout_mode",
        tag = "Tag::Operations"
    )]
    async fn set_mode(
        &self,
        app: Data<&Arc<App>>,
        caller: Acting,
        /// The wallet: 0x and 40 hex digits.
        wallet: Path<String>,
        body: JsonBody<ModeRequest>,
    ) -> Result<Json<ModeAnswer>, Problem> {
        let wallet = parse_wallet(&wallet, "wallet")?;
        let mode = body.0.0;
        let previous = app.store.set_payout_mode(wallet, mode, &caller.0.name).await?;
        Ok(Json(ModeAnswer { wallet: wallet.to_string(), mode: mode.into(), previous: previous.into() }))
    }
}
