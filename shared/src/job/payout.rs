use serde::{Deserialize, Serialize};

use crate::ids::{ExternalId, PaymentId, Source, Wallet};
use crate::money::Commission;

/// Pay `referrer` the commission on one payment of `child`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "Stored")]
pub struct Payout {
    /// What source and external id come to.
    pub payment_id: PaymentId,
    pub source: Source,
    pub external_id: ExternalId,
    pub child: Wallet,
    pub referrer: Wallet,
    pub commission: Commission,
}

/// A payout as it is kept: what can be derived is not kept a million times.
#[derive(Deserialize)]
struct Stored {
    source: Source,
    external_id: ExternalId,
    child: Wallet,
    referrer: Wallet,
    #[serde(flatten)]
    commission: Commission,
}

impl From<Stored> for Payout {
    fn from(stored: Stored) -> Self {
        let Stored { source, external_id, child, referrer, commission } = stored;
        let payment_id = PaymentId::derive(source.as_str(), external_id.as_str());
        Self { payment_id, source, external_id, child, referrer, commission }
    }
}

impl Payout {
    pub const NAME: &'static str = "payout";
}

/// How a referrer is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutMode {
    /// The whole commission in USDC.
    #[default]
    Usdc,
    /// A configured share of the commission in SGE.
    Hybrid,
}

impl PayoutMode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usdc => "usdc",
            Self::Hybrid => "hybrid",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Usdc, Self::Hybrid].into_iter().find(|mode| mode.name() == name)
    }
}
