use serde::{Deserialize, Serialize};

use crate::ids::{ExternalId, PaymentId, Source, Wallet};
use crate::money::Commission;

/// Pay `referrer` the commission on one payment of `child`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Payout {
    pub payment_id: PaymentId,
    pub source: Source,
    pub external_id: ExternalId,
    pub child: Wallet,
    pub referrer: Wallet,
    #[serde(flatten)]
    pub commission: Commission,
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
