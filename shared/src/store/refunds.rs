//! Refunds. Each delivery counts once; their sum never exceeds the payment.

use alloy::primitives::U256;

use super::error::StoreError;
use super::intake::{Intake, RACES, fingerprint};
use super::script::{self, Args};
use super::{Store, codec};
use crate::ids::{ExternalId, JobId, PaymentId, Source, Wallet};
use crate::money::{Commission, Sge, Usdc};

/// A refund of one payment, as parsed. `amount` is what this event gives back, not a running total.
#[derive(Debug, Clone)]
pub struct Refund {
    pub source: Source,
    pub event_id: ExternalId,
    pub external_id: ExternalId,
    pub wallet: Wallet,
    pub amount: Usdc,
    pub currency: String,
}

/// What a refund came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The payment is not known yet: remembered, and applied when it comes.
    Tombstone,
    /// The payout was not journaled and never will be.
    Cancelled,
    /// The payout is journaled: cancelled if the chain says unpaid, else recorded as owed.
    RefundRequested,
    /// The commission, or its part, is recorded as owed by the affiliate.
    Owed,
    /// Nothing was due on this payment.
    NothingPaid,
}

impl RefundOutcome {
    const ALL: [Self; 5] =
        [Self::Tombstone, Self::Cancelled, Self::RefundRequested, Self::Owed, Self::NothingPaid];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::Cancelled => "cancelled",
            Self::RefundRequested => "refund_requested",
            Self::Owed => "owed",
            Self::NothingPaid => "nothing_paid",
        }
    }
}

/// What became of a refund event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refunded {
    Applied {
        outcome: RefundOutcome,
        job: Option<JobId>,
        repeated: bool,
    },
    Conflict {
        job: Option<JobId>,
    },
    /// More would be refunded than was paid.
    TooMuch {
        paid: Usdc,
        refunded: Usdc,
    },
}

impl Store {
    /// Applies a refund once.
    pub async fn refund(&self, refund: &Refund) -> Result<Intake<Refunded>, StoreError> {
        let id = PaymentId::derive(refund.source.as_str(), refund.external_id.as_str());
        let print = fingerprint(
            "payment.refunded",
            &refund.external_id,
            refund.wallet,
            refund.amount,
            &refund.currency,
        );
        for _ in 0..RACES {
            let known = self.refund_basis(id).await?;
            let total = known.refunded.checked_add(refund.amount).unwrap_or(Usdc::MAX_PAYMENT);
            let repeated = self.delivery(&refund.source, &refund.event_id).await?;
            if let (Some(paid), None) = (known.amount, &repeated)
                && total > paid
            {
                return Ok(Intake::Open(Refunded::TooMuch { paid, refunded: known.refunded }));
            }
            let owed =
                known.amount.map_or_else(Commission::default, |paid| share(known.commission, total, paid));
            let args = Args::new()
                .arg(&refund.source)
                .arg(&refund.event_id)
                .arg(id)
                .arg(&refund.external_id)
                .arg(&print)
                .arg(refund.wallet.key())
                .arg(known.refunded)
                .arg(total)
                .arg(owed.usdc)
                .arg(owed.sge)
                .arg(known.amount.map(|amount| amount.to_string()).unwrap_or_default());
            let (code, outcome, job): (i64, String, String) = self.run_durably(&script::REFUND, args).await?;
            let job = codec::optional("payment", "job", &job, "a job id")?;
            let outcome = || {
                let known = RefundOutcome::ALL.into_iter().find(|known| known.name() == outcome);
                known.ok_or(StoreError::UnknownReply { script: "refund", value: outcome.clone() })
            };
            return Ok(match code {
                0 => Intake::Open(Refunded::Applied { outcome: outcome()?, job, repeated: false }),
                1 => Intake::Open(Refunded::Applied { outcome: outcome()?, job, repeated: true }),
                2 => Intake::Open(Refunded::Conflict { job }),
                3 => Intake::NotSynced,
                4 => Intake::Paused,
                5 => continue,
                other => return Err(StoreError::UnknownReply { script: "refund", value: other.to_string() }),
            });
        }
        Err(StoreError::UnknownReply {
            script: "refund",
            value: "another refund in between, every time".into(),
        })
    }

    async fn delivery(&self, source: &Source, event: &ExternalId) -> Result<Option<String>, StoreError> {
        self.read("delivery", redis::cmd("GET").arg(self.keys.event(source, event))).await
    }

    pub(super) async fn refund_basis(&self, id: PaymentId) -> Result<RefundBasis, StoreError> {
        let key = self.keys.payment(id);
        let mut command = redis::cmd("HMGET");
        command.arg(&key).arg(&["amount", "refunded", "usdc", "sge"]);
        let [amount, refunded, usdc, sge]: [Option<String>; 4] = self.read("refund", &command).await?;
        let text = |field: Option<String>| field.unwrap_or_default();
        Ok(RefundBasis {
            amount: codec::optional(&key, "amount", &text(amount), "base units")?,
            refunded: codec::optional(&key, "refunded", &text(refunded), "base units")?.unwrap_or_default(),
            commission: Commission {
                usdc: codec::optional(&key, "usdc", &text(usdc), "base units")?.unwrap_or_default(),
                sge: codec::optional(&key, "sge", &text(sge), "base units")?.unwrap_or_default(),
            },
        })
    }
}

pub(super) struct RefundBasis {
    pub(super) amount: Option<Usdc>,
    pub(super) refunded: Usdc,
    pub(super) commission: Commission,
}

/// The part of `commission` that `refunded` of `paid` takes back, rounded down.
pub(super) fn share(commission: Commission, refunded: Usdc, paid: Usdc) -> Commission {
    let part = |whole: u128| {
        let refunded = refunded.base_units().min(paid.base_units());
        let units = U256::from(whole) * U256::from(refunded) / U256::from(paid.base_units().max(1));
        units.to::<u128>()
    };
    Commission {
        usdc: Usdc::from_base_units(part(commission.usdc.base_units())),
        sge: Sge::from_base_units(part(commission.sge.base_units())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_in_proportion_and_rounded_down() {
        let whole = Commission { usdc: Usdc::from_base_units(101), sge: Sge::from_base_units(7) };
        let owed = share(whole, Usdc::from_base_units(50), Usdc::from_base_units(100));
        assert_eq!((owed.usdc.base_units(), owed.sge.base_units()), (50, 3));
        assert_eq!(share(whole, Usdc::from_base_units(300), Usdc::from_base_units(100)), whole);
    }
}
