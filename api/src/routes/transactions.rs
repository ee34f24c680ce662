use std::sync::Arc;

use poem::web::Data;
use poem_openapi::OpenApi;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use shared::store::{TxCursor, TxFilter, TxRef};

use super::Tag;
use crate::app::App;
use crate::auth::Reader;
use crate::body::parse_wallet;
use crate::dto::{TransactionPageView, TransactionView, TxStateName};
use crate::error::Problem;

pub(crate) struct Transactions;

const LIMIT: u32 = 20;

#[OpenApi(tag = "Tag::Records")]
impl Transactions {
    /// List transactions
    ///
    /// Newest first. Filters combine with "and". Pages may be short, even empty, while `next` is given: one call looks at
    /// a bounded number of nonces.
    #[oai(path = "/api/transactions", method = "get", operation_id = "list_transactions")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _caller: Reader,
        /// Only transactions in this state.
        state: Query<Option<TxStateName>>,
        /// Only transactions of this signing account: 0x and 40 hex digits.
        signer: Query<Option<String>>,
        /// `next` of the page before, with the same filters.
        cursor: Query<Option<String>>,
        /// Transactions per page, 1 to 100; 20 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<TransactionPageView>, Problem> {
        let signer = signer.0.map(|text| parse_wallet(&text, "signer")).transpose()?;
        let filter = TxFilter {
            state: state.0.map(TxStateName::state),
            signer: signer.map(|signer| signer.address()),
        };
        let cursor = cursor.0.as_deref().map(parse_cursor).transpose()?;
        let limit = usize::try_from(limit.0.unwrap_or(LIMIT)).unwrap_or(1);
        let page = app.store.txs(&filter, cursor.as_ref(), limit).await?;
        Ok(Json(TransactionPageView {
            transactions: page.txs.iter().map(TransactionView::from).collect(),
            next: page.next.map(|cursor| cursor.to_string()),
        }))
    }

    /// Read a transaction
    ///
    /// With every attempt, where it was seen in the chain, and how it ended.
    #[oai(path = "/api/transactions/:reference", method = "get", operation_id = "read_transaction")]
    async fn read(
        &self,
        app: Data<&Arc<App>>,
        _caller: Reader,
        /// The hash of any of its attempts (0x and 64 hex digits), or `signer:nonce`.
        reference: Path<String>,
    ) -> Result<Json<TransactionView>, Problem> {
        let name: TxRef = reference.parse().map_err(|error| Problem::id(&error, "reference", &reference))?;
        let found = app.store.find_tx(name).await?;
        let found = found.ok_or_else(|| Problem::not_found("transaction", &reference))?;
        Ok(Json(TransactionView::from(&found)))
    }
}

fn parse_cursor(text: &str) -> Result<TxCursor, Problem> {
    text.parse().map_err(|error| Problem::id(&error, "cursor", text))
}
