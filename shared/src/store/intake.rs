//! What merchants bring: registrations, payments and refunds. Each is one script, and the answer is given only when it
//! is as durable as the policy says.

use alloy::primitives::U256;
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::script::{self, Args};
use super::{Store, codec};
use crate::ids::{ExternalId, JobId, PaymentId, Source, Wallet};
use crate::job::{Payload, PayoutMode, Register};
use crate::money::{Commission, CommissionRules, Sge, Usdc};

/// A wallet, and who brought it.
#[derive(Debug, Clone)]
pub struct Registration {
    pub child: Wallet,
    pub referrer: Option<Wallet>,
    /// The name of the API key that asked.
    pub actor: String,
}

/// What became of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    Accepted {
        job: JobId,
    },
    /// The same registration was accepted before.
    Known {
        job: Option<JobId>,
        referrer: Wallet,
    },
    WithoutReferrer,
    /// Another referrer is recorded, and never changes.
    Conflict {
        recorded: Wallet,
    },
    /// The referrer was itself referred by the child.
    Cycle,
}

/// Whether the store takes work at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake<T> {
    Open(T),
    /// Contract events are not yet replayed into this Redis.
    NotSynced,
    /// An operator stopped intake.
    Paused,
}

/// A successful payment, as parsed.
#[derive(Debug, Clone)]
pub struct Payment {
    pub source: Source,
    pub event_id: ExternalId,
    pub external_id: ExternalId,
    pub wallet: Wallet,
    pub amount: Usdc,
    pub currency: String,
}

/// What became of a payment event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// `decision`: due, unknown_wallet, no_referrer, nothing_due, refunded, paid_on_chain.
    Decided { decision: String, job: Option<JobId>, repeated: bool },
    /// The same payment or delivery id came before with other content.
    Conflict { job: Option<JobId> },
}

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

/// How often a write is computed again when another delivery for the same payment came in between.
const RACES: usize = 16;

impl Store {
    pub async fn register(&self, registration: &Registration) -> Result<Intake<Registered>, StoreError> {
        let id = JobId::generate();
        let (referrer, payload) = match registration.referrer {
            None => (String::new(), String::new()),
            Some(referrer) => {
                let payload = Payload::Register(Register { child: registration.child, referrer });
                (referrer.key(), codec::to_json(&payload))
            }
        };
        let args = Args::new()
            .arg(registration.child.key())
            .arg(referrer)
            .arg(id)
            .arg(payload)
            .arg(&registration.actor);
        let (code, job, recorded): (i64, String, String) = self.run_durably(&script::REGISTER, args).await?;
        let recorded = || codec::parse::<Wallet>("referral", "referrer", &recorded, "a wallet");
        let job = codec::optional::<JobId>("referral", "job", &job, "a job id")?;
        Ok(match code {
            0 => Intake::Open(Registered::Accepted { job: job.unwrap_or(id) }),
            1 => Intake::Open(Registered::Known { job, referrer: recorded()? }),
            2 => Intake::Open(Registered::WithoutReferrer),
            3 => Intake::Open(Registered::Conflict { recorded: recorded()? }),
            4 => Intake::Open(Registered::Cycle),
            5 => Intake::NotSynced,
            6 => Intake::Paused,
            other => return Err(StoreError::UnknownReply { script: "register", value: other.to_string() }),
        })
    }

    /// Accepts a payment once. `rules` decide the commission, `hold_ms` how long the payout is held.
    ///
    /// `hybrid` of the rules must be representable: parse the amount with [`Usdc::parse_payment`] and refuse it where
    /// [`CommissionRules::hybrid`] gives nothing.
    pub async fn accept_payment(
        &self,
        payment: &Payment,
        rules: &CommissionRules,
        hold_ms: u64,
    ) -> Result<Intake<Accepted>, StoreError> {
        let id = PaymentId::derive(payment.source.as_str(), payment.external_id.as_str());
        let usdc = rules.usdc(payment.amount);
        let hybrid = rules.hybrid(payment.amount).unwrap_or(usdc);
        let payload = serde_json::json!({
            "kind": "payout", "payment_id": id, "source": payment.source, "external_id": payment.external_id,
            "child": payment.wallet,
        });
        let (mut refunded, mut paid) = (Usdc::ZERO, Commission::default());
        for _ in 0..RACES {
            // What the chain shows as paid goes before what today's rules would give.
            let owed = |rules| share(if paid.is_zero() { rules } else { paid }, refunded, payment.amount);
            let (owed, owed_hybrid) = (owed(usdc), owed(hybrid));
            let args = Args::new()
                .arg(&payment.source)
                .arg(&payment.event_id)
                .arg(id)
                .arg(&payment.external_id)
                .arg(fingerprint(
                    "payment.succeeded",
                    &payment.external_id,
                    payment.wallet,
                    payment.amount,
                    &payment.currency,
                ))
                .arg(payment.wallet.key())
                .arg(payment.amount)
                .arg(usdc.usdc)
                .arg(usdc.sge)
                .arg(hybrid.usdc)
                .arg(hybrid.sge)
                .arg(JobId::generate())
                .arg(&payload)
                .arg(hold_ms)
                .arg(refunded)
                .arg(owed.usdc)
                .arg(owed.sge)
                .arg(owed_hybrid.usdc)
                .arg(owed_hybrid.sge);
            let (code, decision, job): (i64, String, String) =
                self.run_durably(&script::ACCEPT_PAYMENT, args).await?;
            if code == 5 {
                refunded = codec::parse("payment", "refunded", &decision, "an amount in base units")?;
                paid = self.refund_basis(id).await?.commission;
                continue;
            }
            let job = codec::optional("payment", "job", &job, "a job id")?;
            return Ok(match code {
                0 => Intake::Open(Accepted::Decided { decision, job, repeated: false }),
                1 => Intake::Open(Accepted::Decided { decision, job, repeated: true }),
                2 => Intake::Open(Accepted::Conflict { job }),
                3 => Intake::NotSynced,
                4 => Intake::Paused,
                other => {
                    return Err(StoreError::UnknownReply {
                        script: "accept_payment",
                        value: other.to_string(),
                    });
                }
            });
        }
        Err(StoreError::UnknownReply {
            script: "accept_payment",
            value: "a refund in between, every time".into(),
        })
    }

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

    /// Sets how `referrer` is paid from the next accepted payment on; returns the mode before.
    pub async fn set_payout_mode(
        &self,
        referrer: Wallet,
        mode: PayoutMode,
        actor: &str,
    ) -> Result<PayoutMode, StoreError> {
        let args = Args::new().arg(referrer.key()).arg(mode.name()).arg(actor);
        let previous: String = self.run_durably(&script::SET_MODE, args).await?;
        PayoutMode::from_name(&previous)
            .ok_or(StoreError::UnknownReply { script: "set_mode", value: previous })
    }

    async fn delivery(&self, source: &Source, event: &ExternalId) -> Result<Option<String>, StoreError> {
        self.read("delivery", redis::cmd("GET").arg(self.keys.event(source, event))).await
    }

    async fn refund_basis(&self, id: PaymentId) -> Result<RefundBasis, StoreError> {
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

struct RefundBasis {
    amount: Option<Usdc>,
    refunded: Usdc,
    commission: Commission,
}

/// The part of `commission` that `refunded` of `paid` takes back, rounded down.
fn share(commission: Commission, refunded: Usdc, paid: Usdc) -> Commission {
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

/// Tells same content from other content, whatever the JSON looked like.
fn fingerprint(kind: &str, external_id: &ExternalId, wallet: Wallet, amount: Usdc, currency: &str) -> String {
    let content = serde_json::json!([kind, external_id, wallet, amount, currency]).to_string();
    let digest = Sha256::digest(content.as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
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
