//! The closed list of problem codes, and what each means in HTTP.

use poem::http::StatusCode;
use poem_openapi::Enum;

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong; stable, for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum)]
        #[oai(rename = "ProblemCode")]
        pub enum Code { $(#[oai(rename = $name)] $variant,)* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    MalformedJson = "malformed_json", 400, "The body is not JSON";
    BadRequest = "bad_request", 400, "The request is malformed";
    Unauthorized = "unauthorized", 401, "A valid API key is needed";
    InvalidSignature = "invalid_signature", 401, "The webhook signature is not valid";
    Forbidden = "forbidden", 403, "The API key may not do this";
    NotFound = "not_found", 404, "There is no such thing";
    UnknownSource = "unknown_source", 404, "The webhook source is not configured";
    MethodNotAllowed = "method_not_allowed", 405, "The method does not apply here";
    ReferralCycle = "referral_cycle", 409, "The referrer was referred by this wallet";
    ReferrerConflict = "referrer_conflict", 409, "Another referrer is recorded";
    PaymentConflict = "payment_conflict", 409, "The id came before with other content";
    NotRetryable = "not_retryable", 409, "Only failed jobs are retried";
    PaymentRefunded = "payment_refunded", 409, "The payment was refunded";
    JobTerminal = "job_terminal", 409, "The job has ended";
    JobJournaled = "job_journaled", 409, "The job is signed";
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be JSON";
    UnknownField = "unknown_field", 422, "A field is not known";
    MissingField = "missing_field", 422, "A field is missing";
    WrongType = "wrong_type", 422, "A field has the wrong type";
    InvalidValue = "invalid_value", 422, "A value is not acceptable";
    MalformedWallet = "malformed_wallet", 422, "The wallet is malformed";
    BadChecksum = "bad_checksum", 422, "The wallet fails its checksum";
    ZeroAddress = "zero_address", 422, "The zero address is nobody's wallet";
    SelfReferral = "self_referral", 422, "A wallet cannot refer itself";
    MalformedAmount = "malformed_amount", 422, "The amount is malformed";
    AmountNotPositive = "amount_not_positive", 422, "The amount is not above zero";
    AmountTooPrecise = "amount_too_precise", 422, "The amount has too many decimals";
    AmountTooLarge = "amount_too_large", 422, "The amount is too large";
    UnsupportedCurrency = "unsupported_currency", 422, "The currency is not supported";
    UnsupportedEventType = "unsupported_event_type", 422, "The event type is not supported";
    RefundTooLarge = "refund_too_large", 422, "More would be refunded than was paid";
    Internal = "internal_error", 500, "The server failed";
    RedisUnavailable = "redis_unavailable", 503, "The store is not available";
    NotDurable = "not_durable", 503, "The write is not durable yet";
    NotSynced = "not_synced", 503, "The store is not synced with the chain";
    IntakePaused = "intake_paused", 503, "Intake is paused";
    StoreFull = "store_full", 503, "The store is nearly full";
    Overloaded = "overloaded", 503, "Too many requests are in flight";
    TooManyStreams = "too_many_streams", 503, "Too many event streams are open";
    TimedOut = "timed_out", 503, "The request took too long";
}

impl Code {
    /// Seconds after which the same request may be sent again.
    pub(crate) const fn retry_after(self) -> Option<u32> {
        match self {
            Self::Overloaded => Some(1),
            Self::RedisUnavailable | Self::NotDurable | Self::NotSynced | Self::TimedOut => Some(5),
            Self::IntakePaused | Self::StoreFull | Self::TooManyStreams => Some(30),
            _ => None,
        }
    }

    pub(crate) const fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("Bearer realm=\"affiliate-api\""),
            Self::InvalidSignature => Some("Webhook-Signature realm=\"affiliate-api\""),
            _ => None,
        }
    }

    pub(crate) fn of_framework(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            413 => Self::BodyTooLarge,
            415 => Self::UnsupportedMediaType,
            500.. => Self::Internal,
            _ => Self::BadRequest,
        }
    }
}
