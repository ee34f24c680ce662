use poem_openapi::{Enum, Object};
use shared::ids::{ExternalId, IdError, Wallet};
use shared::job::PayoutMode;
use shared::money::Usdc;
use shared::store::{INTAKE, RECONCILE, SIGNING};

use crate::body::{Fields, FromFields};
use crate::code::Code;
use crate::error::Problem;

/// A wallet to register.
#[derive(Debug, Object)]
#[oai(rename = "RegisterRequest")]
pub(crate) struct RegisterSchema {
    /// The wallet of the person who registers: 0x and 40 hex digits; mixed case must carry a right EIP-55 checksum.
    wallet: String,
    /// The wallet of who brought it, in the same form. It can be given later, but once given it never changes.
    referrer: Option<String>,
}

/// A parsed registration.
#[derive(Debug)]
pub(crate) struct RegisterRequest {
    pub(crate) wallet: Wallet,
    pub(crate) referrer: Option<Wallet>,
}

impl FromFields for RegisterRequest {
    type Schema = RegisterSchema;

    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let wallet = fields.need_wallet("wallet")?;
        let referrer = fields.wallet("referrer")?;
        if referrer == Some(wallet) {
            return Err(Problem::new(
                Code::SelfReferral,
                "a wallet cannot refer itself; leave the referrer out",
            )
            .at("referrer")
            .value(wallet.to_string()));
        }
        Ok(Self { wallet, referrer })
    }
}

/// What became of a registration.
#[derive(Debug, Object)]
pub(crate) struct RegisterAnswer {
    /// The job that writes the referral on-chain; null where there is nothing to write.
    pub(crate) job_id: Option<String>,
    /// `accepted`: a job writes, or wrote, the referral. `recorded`: the wallet is known, without a job.
    pub(crate) status: String,
    /// The wallet, with its EIP-55 checksum.
    pub(crate) wallet: String,
    /// The referrer on record, with its EIP-55 checksum.
    pub(crate) referrer: Option<String>,
}

/// The event types that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum EventType {
    /// A payment succeeded: its commission is due.
    #[oai(rename = "payment.succeeded")]
    PaymentSucceeded,
    /// A payment was refunded, wholly or in part.
    #[oai(rename = "payment.refunded")]
    PaymentRefunded,
}

/// A payment event. Unknown fields are refused.
#[derive(Debug, Object)]
pub(crate) struct WebhookEvent {
    /// What happened.
    #[oai(rename = "type")]
    kind: EventType,
    /// To which payment.
    data: WebhookData,
}

/// The payment of an event.
#[derive(Debug, Object)]
pub(crate) struct WebhookData {
    /// The payment's id at the source: 1 to 256 bytes without control characters, taken byte for byte.
    payment_id: String,
    /// The wallet of the person who paid: 0x and 40 hex digits; mixed case must carry a right EIP-55 checksum.
    wallet: String,
    /// Whole units as a decimal string with at most 6 decimals, above 0, at most 2^96 base units. In a refund: what this
    /// event gives back, not a running total.
    #[oai(validator(pattern = r"^[0-9]+(\.[0-9]{1,6})?$"))]
    amount: String,
    /// Only `USD`: one unit counts as one USDC.
    currency: String,
}

const CURRENCY: &str = "USD";

/// A parsed payment event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) refund: bool,
    pub(crate) payment_id: ExternalId,
    pub(crate) wallet: Wallet,
    pub(crate) amount: Usdc,
    pub(crate) currency: String,
}

impl Event {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let mut fields = Fields::parse(bytes)?;
        let kind = fields.need_text("type")?;
        let refund = match kind.as_str() {
            "payment.succeeded" => false,
            "payment.refunded" => true,
            _ => {
                let detail =
                    "only payment.succeeded and payment.refunded are understood; do not send other events";
                return Err(Problem::new(Code::UnsupportedEventType, detail).at("type").value(kind));
            }
        };
        let mut data = fields.need_object("data")?;
        let payment_id = data.need_text("payment_id")?;
        let payment_id: ExternalId = payment_id
            .parse()
            .map_err(|error: IdError| Problem::id(&error, data.name("payment_id"), &payment_id))?;
        let wallet = data.need_wallet("wallet")?;
        let amount = data.need_text("amount")?;
        let amount = Usdc::parse_payment(&amount)
            .map_err(|error| Problem::money(&error, data.name("amount"), &amount))?;
        let currency = data.need_text("currency")?;
        if currency != CURRENCY {
            let detail = "only USD is paid out; one USD counts as one USDC";
            return Err(Problem::new(Code::UnsupportedCurrency, detail)
                .at(data.name("currency"))
                .value(currency));
        }
        data.finish()?;
        fields.finish()?;
        Ok(Self { refund, payment_id, wallet, amount, currency })
    }
}

/// What became of an event.
#[derive(Debug, Object)]
pub(crate) struct WebhookAnswer {
    /// For a payment: `due`, `unknown_wallet`, `no_referrer`, `nothing_due`, `refunded`, `cancelled` or `paid_on_chain`.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) decision: Option<String>,
    /// For a refund: `tombstone` (remembered until its payment comes), `cancelled` (the payout will not be made),
    /// `refund_requested` (the chain decides), `owed` (recorded as owed by the affiliate) or `nothing_paid`.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) outcome: Option<String>,
    /// The payout job, where there is one.
    pub(crate) job_id: Option<String>,
    /// Whether the same content came before; the answer is then the first one again.
    pub(crate) repeated: bool,
}

/// How a referrer is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum ModeName {
    /// The whole commission in USDC.
    Usdc,
    /// A configured share of it in SGE.
    Hybrid,
}

impl From<PayoutMode> for ModeName {
    fn from(mode: PayoutMode) -> Self {
        match mode {
            PayoutMode::Usdc => Self::Usdc,
            PayoutMode::Hybrid => Self::Hybrid,
        }
    }
}

/// A new payout mode.
#[derive(Debug, Object)]
#[oai(rename = "ModeRequest")]
pub(crate) struct ModeSchema {
    /// From the next accepted payment on.
    mode: ModeName,
}

/// A parsed payout mode.
#[derive(Debug)]
pub(crate) struct ModeRequest(pub(crate) PayoutMode);

impl FromFields for ModeRequest {
    type Schema = ModeSchema;

    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let mode = fields.need_text("mode")?;
        PayoutMode::from_name(&mode).map(Self).ok_or_else(|| {
            Problem::new(Code::InvalidValue, "the mode is usdc or hybrid").at("mode").value(mode)
        })
    }
}

/// Why an operator acts.
#[derive(Debug, Object)]
#[oai(rename = "ReasonRequest")]
pub(crate) struct ReasonSchema {
    /// 1 to 500 characters, for the audit log and the job's timeline.
    reason: Option<String>,
}

/// A reason, where one was given.
#[derive(Debug)]
pub(crate) struct ReasonRequest(pub(crate) Option<String>);

impl FromFields for ReasonRequest {
    type Schema = ReasonSchema;
    const OPTIONAL: bool = true;

    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        fields.text("reason")?.map(|reason| check_reason(reason, "reason")).transpose().map(Self)
    }
}

/// A reason worth keeping.
pub(crate) fn check_reason(reason: String, field: &str) -> Result<String, Problem> {
    let trimmed = reason.trim();
    if trimmed.is_empty() || trimmed.chars().count() > 500 || trimmed.chars().any(char::is_control) {
        let detail = "the reason must have 1 to 500 characters, none of them a control character";
        return Err(Problem::new(Code::InvalidValue, detail).at(field).value(reason));
    }
    Ok(trimmed.to_owned())
}

/// What can be paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum Switch {
    /// Registrations and webhooks: answered with 503 while paused.
    Intake,
    /// New transactions: those already signed are still bumped and confirmed.
    Signing,
    /// New transactions, after the chain paid something else than a job says. Closed by the relayer itself; resume it once
    /// the difference is explained.
    Reconcile,
}

impl Switch {
    pub(crate) const fn gate(self) -> &'static str {
        match self {
            Self::Intake => INTAKE,
            Self::Signing => SIGNING,
            Self::Reconcile => RECONCILE,
        }
    }
}

/// What to pause or resume, and why.
#[derive(Debug, Object)]
#[oai(rename = "PauseRequest")]
pub(crate) struct PauseSchema {
    /// What to pause or resume.
    what: Switch,
    /// 1 to 500 characters, for the audit log.
    reason: String,
}

/// A parsed pause or resume.
#[derive(Debug)]
pub(crate) struct PauseRequest {
    pub(crate) what: Switch,
    pub(crate) reason: String,
}

impl FromFields for PauseRequest {
    type Schema = PauseSchema;

    fn from_fields(fields: &mut Fields) -> Result<Self, Problem> {
        let what = fields.need_text("what")?;
        let what = match what.as_str() {
            INTAKE => Switch::Intake,
            SIGNING => Switch::Signing,
            "reconcile" => Switch::Reconcile,
            _ => {
                return Err(Problem::new(Code::InvalidValue, "intake, signing or reconcile can be paused")
                    .at("what")
                    .value(what));
            }
        };
        Ok(Self { what, reason: check_reason(fields.need_text("reason")?, "reason")? })
    }
}
