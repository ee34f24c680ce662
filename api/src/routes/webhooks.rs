use std::sync::Arc;

use poem::http::HeaderMap;
use poem::web::Data;
use poem::{Request, RequestBody};
use poem_openapi::param::{Header, Path};
use poem_openapi::payload::Json;
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, OpenApi};
use shared::ids::{ExternalId, IdError, JobId, Source};
use shared::store::{Accepted, Intake, Payment, Refund, Refunded};

use super::Tag;
use crate::app::App;
use crate::body;
use crate::code::Code;
use crate::dto::{Event, WebhookAnswer, WebhookEvent};
use crate::error::Problem;
use crate::webhook::standard;

pub(crate) struct Webhooks;

/// A body as it came; what it says counts only once its signature is checked.
struct RawEvent(Vec<u8>);

/// A delivery whose signature was checked over its raw bytes.
struct Delivery {
    source: Source,
    event_id: ExternalId,
    body: Vec<u8>,
}

impl Delivery {
    fn check(app: &App, source: &str, headers: &HeaderMap, body: Vec<u8>) -> Result<Self, Problem> {
        let Some((source, scheme)) = app.webhooks.find(source) else {
            let detail = "no webhook secret is configured for this source (WEBHOOK_SECRETS)";
            return Err(Problem::new(Code::UnknownSource, detail).at("source").value(source));
        };
        let id = scheme.verify(headers, &body, app.clock.unix_seconds()).map_err(|_| {
            app.metrics.event(source.as_str(), Code::InvalidSignature.name());
            Problem::new(
                Code::InvalidSignature,
                "the delivery's signature, its time or a header it needs is missing or not valid; nothing was read",
            )
        })?;
        let event_id = id.parse().map_err(|error: IdError| Problem::id(&error, standard::ID, id))?;
        Ok(Self { source: source.clone(), event_id, body })
    }
}

impl<'a> ApiExtractor<'a> for RawEvent {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        WebhookEvent::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: Some("The canonical payment event; the signature covers exactly these bytes."),
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: WebhookEvent::schema_ref(),
            }],
            required: true,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        body::check_content_type(request)?;
        Ok(Self(body::read(request, body).await?))
    }
}

#[derive(ApiResponse)]
enum WebhookResponse {
    /// A payout is due, or a refund concerns one: the job goes on. The same content again gets the same answer.
    #[oai(status = 202)]
    Due(Json<WebhookAnswer>),
    /// Recorded; nothing is to be done.
    #[oai(status = 200)]
    Recorded(Json<WebhookAnswer>),
}

#[OpenApi(tag = "Tag::Intake")]
impl Webhooks {
    /// Deliver a payment event
    ///
    /// Signed as Standard Webhooks (`v1`, HMAC-SHA256 over `webhook-id.webhook-timestamp.body`), at most 300 seconds old
    /// or early. Deliver again until a 2xx comes: a repeated delivery is recognised and changes nothing.
    #[oai(path = "/webhooks/:source", method = "post", operation_id = "deliver_event")]
    #[allow(
        clippy::too_many_arguments,
        unused_variables,
        reason = "the headers are checked with the body; here they are for the document"
    )]
    async fn deliver(
        &self,
        app: Data<&Arc<App>>,
        /// The name under which the source is configured, such as `payments`; part of every payment's on-chain id.
        source: Path<String>,
        /// The delivery's id: the same for each attempt to deliver it.
        #[oai(name = "webhook-id")]
        id: Header<Option<String>>,
        /// When this attempt was signed, in unix seconds.
        #[oai(name = "webhook-timestamp")]
        timestamp: Header<Option<String>>,
        /// One or more signatures, separated by spaces, each `v1,` and base64.
        #[oai(name = "webhook-signature")]
        signature: Header<Option<String>>,
        event: RawEvent,
        headers: &HeaderMap,
    ) -> Result<WebhookResponse, Problem> {
        let delivery = Delivery::check(&app, &source, headers, event.0)?;
        // Boxed: each layer of the framework moves what the handler's future holds.
        let result = Box::pin(decide(&app, &delivery)).await;
        let decision = match &result {
            Ok(answer) => answer.decision.as_deref().or(answer.outcome.as_deref()).unwrap_or_default(),
            Err(problem) => problem.code.name(),
        };
        app.metrics.event(delivery.source.as_str(), decision);
        let answer = result?;
        let goes_on = answer.decision.as_deref() == Some("due")
            || matches!(answer.outcome.as_deref(), Some("cancelled" | "refund_requested" | "owed"));
        Ok(if goes_on { WebhookResponse::Due(Json(answer)) } else { WebhookResponse::Recorded(Json(answer)) })
    }
}

async fn decide(app: &App, delivery: &Delivery) -> Result<WebhookAnswer, Problem> {
    let event = Event::parse(&delivery.body)?;
    if event.refund { refund(app, delivery, event).await } else { accept(app, delivery, event).await }
}

async fn accept(app: &App, delivery: &Delivery, event: Event) -> Result<WebhookAnswer, Problem> {
    // Refunds are taken as long as they can be: one may cancel a payout that would be paid otherwise.
    app.memory.check()?;
    if app.rules.hybrid(event.amount).is_none() {
        let detail = "the commission on this amount is above 2^128 base units of SGE";
        return Err(Problem::new(Code::AmountTooLarge, detail)
            .at("data.amount")
            .value(event.amount.to_decimal()));
    }
    let payment = Payment {
        source: delivery.source.clone(),
        event_id: delivery.event_id.clone(),
        external_id: event.payment_id,
        wallet: event.wallet,
        amount: event.amount,
        currency: event.currency,
    };
    match open(app.store.accept_payment(&payment, &app.rules, app.hold_ms).await?)? {
        Accepted::Decided { decision, job, repeated } => Ok(WebhookAnswer {
            decision: Some(decision),
            outcome: None,
            job_id: job.map(|job| job.to_string()),
            repeated,
        }),
        Accepted::Conflict { job } => Err(conflict(&payment.external_id, job)),
    }
}

async fn refund(app: &App, delivery: &Delivery, event: Event) -> Result<WebhookAnswer, Problem> {
    let refund = Refund {
        source: delivery.source.clone(),
        event_id: delivery.event_id.clone(),
        external_id: event.payment_id,
        wallet: event.wallet,
        amount: event.amount,
        currency: event.currency,
    };
    match open(app.store.refund(&refund).await?)? {
        Refunded::Applied { outcome, job, repeated } => Ok(WebhookAnswer {
            decision: None,
            outcome: Some(outcome.name().to_owned()),
            job_id: job.map(|job| job.to_string()),
            repeated,
        }),
        Refunded::Conflict { job } => Err(conflict(&refund.external_id, job)),
        Refunded::TooMuch { paid, refunded } => Err(Problem::new(
            Code::RefundTooLarge,
            format!(
                "{} was paid and {} refunded already; this refund is of what one event gives back, not a running total",
                paid.to_decimal(),
                refunded.to_decimal()
            ),
        )
        .at("data.amount")
        .value(refund.amount.to_decimal())),
    }
}

fn open<T>(intake: Intake<T>) -> Result<T, Problem> {
    match intake {
        Intake::Open(outcome) => Ok(outcome),
        Intake::NotSynced => Err(Problem::not_synced()),
        Intake::Paused => Err(Problem::intake_paused()),
    }
}

fn conflict(payment: &ExternalId, job: Option<JobId>) -> Problem {
    Problem::new(
        Code::PaymentConflict,
        "this payment id, or this webhook-id, came before with other content; what came first stands",
    )
    .at("data.payment_id")
    .value(payment.as_str())
    .job(job)
}
