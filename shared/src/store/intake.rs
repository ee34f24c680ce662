//! What merchants bring: registrations, payments and refunds. Each is one script, and the answer is given only when it
//! is as durable as the policy says.

use alloy::hex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::refunds::share;
use super::script::{self, Args};
use super::{Store, codec};
use crate::ids::{ExternalId, JobId, PaymentId, Source, Wallet};
use crate::job::{PayoutMode, Register};
use crate::money::{Commission, CommissionRules, Usdc};

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

/// What a payout's job knows of its payment; the script adds what is paid, and to whom.
#[derive(Serialize)]
struct PayoutAsked<'a> {
    child: Wallet,
    external_id: &'a ExternalId,
    source: &'a Source,
}

/// How often a write is computed again when another delivery for the same payment came in between.
pub(super) const RACES: usize = 16;

impl Store {
    pub async fn register(&self, registration: &Registration) -> Result<Intake<Registered>, StoreError> {
        let id = self.new_id();
        let (referrer, payload) = match registration.referrer {
            None => (String::new(), String::new()),
            Some(referrer) => {
                let payload = codec::to_json(&Register { child: registration.child, referrer });
                (referrer.key(), payload)
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
        let payload = codec::to_json(&PayoutAsked {
            child: payment.wallet,
            external_id: &payment.external_id,
            source: &payment.source,
        });
        let (mut refunded, mut paid) = (Usdc::ZERO, Commission::default());
        for _ in 0..RACES {
            // What the chain shows as paid goes before what today's rules would give.
            let owed = |rules| share(if paid.is_zero() { rules } else { paid }, refunded, payment.amount);
            let (owed, owed_hybrid) = (owed(usdc), owed(hybrid));
            let mut args = identity(payment, id);
            for commission in [usdc, hybrid] {
                args = args.arg(commission.usdc).arg(commission.sge);
            }
            args = args.arg(self.new_id()).arg(&payload).arg(hold_ms);
            args = if refunded.is_zero() {
                args.arg("")
            } else {
                args.arg(format_args!(
                    "{refunded} {} {} {} {}",
                    owed.usdc, owed.sge, owed_hybrid.usdc, owed_hybrid.sge
                ))
            };
            let run = |args| self.run_durably(&script::ACCEPT_PAYMENTS, args);
            let (code, decision, job) = self.gatherer.ask(args, run).await?;
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
                6 => return Err(StoreError::Unreadable { operation: "accept a payment", detail: decision }),
                other => {
                    let value = other.to_string();
                    return Err(StoreError::UnknownReply { script: "accept_payments", value });
                }
            });
        }
        Err(StoreError::UnknownReply {
            script: "accept_payments",
            value: "a refund in between, every time".into(),
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
}

/// The first arguments of `accept_payments.lua`: which payment this is, and of whom.
fn identity(payment: &Payment, id: PaymentId) -> Args {
    let print = fingerprint(
        "payment.succeeded",
        &payment.external_id,
        payment.wallet,
        payment.amount,
        &payment.currency,
    );
    Args::new()
        .arg(&payment.source)
        .arg(&payment.event_id)
        .arg(id)
        .arg(&payment.external_id)
        .arg(print)
        .arg(payment.wallet.key())
        .arg(payment.amount)
}

/// Tells same content from other content, whatever the JSON looked like.
pub(super) fn fingerprint(
    kind: &str,
    external_id: &ExternalId,
    wallet: Wallet,
    amount: Usdc,
    currency: &str,
) -> String {
    let content = codec::to_json(&(kind, external_id, wallet, amount, currency));
    let digest: [u8; 32] = Sha256::digest(content.as_bytes()).into();
    hex::encode(&digest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is kept with each payment: were it another tomorrow, what comes again would be taken for something else.
    #[test]
    fn the_fingerprint_of_the_same_content_never_changes() {
        let wallet = "0x00000000000000000000000000000000000000ab".parse().unwrap();
        let amount = Usdc::parse_payment("10.5").unwrap();
        let print = |kind, id: &str| fingerprint(kind, &id.parse().unwrap(), wallet, amount, "USD");
        assert_eq!(print("payment.succeeded", "pay \"1\" \\ ü"), "4d7c7976f45c7021328eab23695327fc");
        assert_eq!(print("payment.refunded", "pay_1"), "7b81f3751c9fb054a0cee453773c5574");
    }
}
