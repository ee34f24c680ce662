//! What travels over HTTP. Doc comments here are the OpenAPI descriptions, so they give units and forms. Wallets are shown
//! with their EIP-55 checksum; amounts are decimal strings of base units; times are unix milliseconds of the Redis clock.

mod feed;
mod fleet;
mod jobs;
mod operations;
mod programme;
mod requests;
mod transactions;

pub(crate) use feed::FeedMessage;
pub(crate) use fleet::FleetAnswer;
pub(crate) use jobs::{JobPageView, JobView, KindName, StateName, classes};
pub(crate) use operations::{
    CancelAnswer, PauseAnswer, ReadinessPoint, ReadinessView, RetryAnswer, StatsView,
};
pub(crate) use programme::{AffiliateAnswer, ModeAnswer, PaymentAnswer};
pub(crate) use requests::{
    Event, ModeName, ModeRequest, PauseRequest, ReasonRequest, RegisterAnswer, RegisterRequest, Switch,
    WebhookAnswer, WebhookEvent, check_reason,
};

pub(crate) use transactions::{TransactionPageView, TransactionView, TxStateName};

use poem_openapi::Object;
use shared::money::Commission;

/// Amounts of the two tokens.
#[derive(Debug, Clone, Object)]
pub(crate) struct Amounts {
    /// USDC in base units (6 decimals), as a decimal string.
    pub(crate) usdc: String,
    /// SGE in base units (18 decimals), as a decimal string.
    pub(crate) sge: String,
}

impl From<Commission> for Amounts {
    fn from(commission: Commission) -> Self {
        Self { usdc: commission.usdc.to_string(), sge: commission.sge.to_string() }
    }
}
