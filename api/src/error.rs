//! Every error of the HTTP interface as an RFC 9457 problem document. With `code.rs` the only place that knows which
//! failure becomes which status.

use poem::http::{HeaderValue, StatusCode, header};
use poem::{Body, Response};
use poem_openapi::registry::{MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiResponse, Object};
use serde_json::Value;

use shared::ids::{IdError, JobId};
use shared::money::MoneyError;
use shared::store::StoreError;

use crate::code::Code;

pub(crate) const CONTENT_TYPE: &str = "application/problem+json";
/// The longest text of a caller that an answer repeats.
const SHOWN: usize = 80;

/// A problem document (RFC 9457).
#[derive(Debug, Object)]
#[oai(rename = "Problem", skip_serializing_if_is_none)]
pub(crate) struct ProblemDocument {
    /// `urn:ail:problem:` followed by the code.
    #[oai(rename = "type")]
    kind: String,
    /// The code in words; the same for every problem of this code.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened here, and what to do about it.
    detail: String,
    code: Code,
    /// The field, parameter or header at fault; nested names are joined by dots.
    field: Option<String>,
    /// What that field held, cut to 80 characters where it is a text.
    value: Option<Value>,
    /// The job that the request collided with.
    job_id: Option<String>,
    /// The request id, as in the header `X-Request-Id` and in the log.
    instance: String,
}

/// A request's failure.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    what: Box<What>,
}

/// Boxed, because every fallible function here returns it.
#[derive(Debug, Clone, Default)]
struct What {
    detail: String,
    field: Option<String>,
    value: Option<Value>,
    job: Option<JobId>,
    /// For the log only.
    cause: Option<String>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, what: Box::new(What { detail: detail.into(), ..What::default() }) }
    }

    #[must_use]
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.what.field = Some(field.into());
        self
    }

    #[must_use]
    pub(crate) fn value(mut self, value: impl Into<Value>) -> Self {
        self.what.value = Some(match value.into() {
            Value::String(text) => Value::String(text.chars().take(SHOWN).collect()),
            value @ (Value::Array(_) | Value::Object(_)) => {
                Value::String(value.to_string().chars().take(SHOWN).collect())
            }
            value => value,
        });
        self
    }

    #[must_use]
    pub(crate) fn job(mut self, job: Option<JobId>) -> Self {
        self.what.job = job;
        self
    }

    #[must_use]
    pub(crate) fn cause(mut self, cause: impl ToString) -> Self {
        self.what.cause = Some(cause.to_string());
        self
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Self::new(Code::NotFound, format!("there is no {what} `{}`", cut(id)))
    }

    pub(crate) fn not_synced() -> Self {
        Self::new(
            Code::NotSynced,
            "contract events are not replayed into this Redis yet; a relayer does it at its start. Nothing was \
             written: send the same request again later",
        )
    }

    pub(crate) fn intake_paused() -> Self {
        Self::new(
            Code::IntakePaused,
            "an operator paused intake. Nothing was written: send the same request again later",
        )
    }

    /// A text that is no identifier.
    pub(crate) fn id(error: &IdError, field: impl Into<String>, text: &str) -> Self {
        let code = match error {
            IdError::MalformedWallet(_) => Code::MalformedWallet,
            IdError::Checksum(_) => Code::BadChecksum,
            IdError::ZeroWallet => Code::ZeroAddress,
            _ => Code::InvalidValue,
        };
        Self::new(code, error.to_string()).at(field).value(text)
    }

    /// A text that is no payable amount.
    pub(crate) fn money(error: &MoneyError, field: impl Into<String>, text: &str) -> Self {
        let code = match error {
            MoneyError::NotPositive(_) => Code::AmountNotPositive,
            MoneyError::TooPrecise { .. } => Code::AmountTooPrecise,
            MoneyError::TooLarge(_) => Code::AmountTooLarge,
            MoneyError::Malformed(_) | MoneyError::BasisPoints(_) => Code::MalformedAmount,
        };
        Self::new(code, error.to_string()).at(field).value(text)
    }

    /// What the framework answered by itself, in its own words.
    pub(crate) fn of_framework(status: StatusCode, text: &str) -> Self {
        let code = Code::of_framework(status);
        let detail = match code {
            Code::NotFound => "nothing is served at this path; see /docs".to_owned(),
            Code::MethodNotAllowed => {
                "this path does not take this method; the header Allow lists those it takes".to_owned()
            }
            Code::Internal => return Self::internal(text),
            _ => text.to_owned(),
        };
        if let Some(rest) = text.strip_prefix("failed to parse ") {
            // `parameter `limit`: reason`, `path `id`: reason`
            let field = rest.split('`').nth(1).unwrap_or_default();
            return Self::new(Code::InvalidValue, detail).at(field);
        }
        Self::new(code, detail)
    }

    pub(crate) fn internal(cause: impl ToString) -> Self {
        Self::new(
            Code::Internal,
            "the server failed; its log says more under this request id. Sending the same request again is safe",
        )
        .cause(cause)
    }

    /// What happened, for the log only.
    pub(crate) fn logged_cause(&self) -> Option<&str> {
        self.what.cause.as_deref()
    }

    /// The field at fault, if one is.
    pub(crate) fn field(&self) -> Option<&str> {
        self.what.field.as_deref()
    }

    pub(crate) fn value_is_missing(&self) -> bool {
        self.what.value.is_none()
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer, once the request's id is known.
    pub(crate) fn respond(&self, request_id: &str) -> Response {
        let document = ProblemDocument {
            kind: format!("urn:ail:problem:{}", self.code.name()),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.what.detail.clone(),
            code: self.code,
            field: self.what.field.clone(),
            value: self.what.value.clone(),
            job_id: self.what.job.map(|job| job.to_string()),
            instance: request_id.to_owned(),
        };
        let mut response = Response::builder()
            .status(self.status())
            .content_type(CONTENT_TYPE)
            .body(Body::from_string(document.to_json_string()));
        if let Some(seconds) = self.code.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.code.challenge() {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = match &error {
            StoreError::Redis { .. } | StoreError::Pool { .. } => Self::new(
                Code::RedisUnavailable,
                "Redis did not answer. Whether it took the write is not known: send the same request again, it is \
                 recognised",
            ),
            StoreError::NotDurable { .. } => Self::new(
                Code::NotDurable,
                "the write is not yet as durable as the policy asks: send the same request again, it is recognised",
            ),
            StoreError::Corrupt { .. }
            | StoreError::Unreadable { .. }
            | StoreError::UnknownReply { .. }
            | StoreError::NewerSchema { .. } => {
                return Self::internal(error);
            }
        };
        problem.cause(error)
    }
}

/// The document is written by the outermost layer, which knows the request id; see `shell.rs`.
impl From<Problem> for poem::Error {
    fn from(problem: Problem) -> Self {
        let mut error = Self::from_status(problem.status());
        error.set_data(problem);
        error
    }
}

/// The statuses that any route may answer; `spec.rs` removes those that a route cannot.
const DECLARED: [(u16, &str); 11] = [
    (400, "The body is not JSON, or the request is malformed."),
    (401, "No valid API key, or no valid signature."),
    (403, "The API key's role may not do this."),
    (404, "There is no such thing."),
    (405, "The path does not take this method."),
    (409, "What is recorded stands against it; nothing was written."),
    (413, "The body is too large."),
    (415, "The body is not JSON by its content type."),
    (422, "A field or parameter is not acceptable; nothing was written."),
    (500, "The server failed."),
    (
        503,
        "Redis is away, the store is not synced, intake is paused, or the server is overloaded; try again.",
    ),
];

impl ApiResponse for Problem {
    fn meta() -> MetaResponses {
        let responses = DECLARED.map(|(status, description)| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content: vec![MetaMediaType {
                content_type: CONTENT_TYPE,
                schema: ProblemDocument::schema_ref(),
            }],
            headers: vec![],
        });
        MetaResponses { responses: responses.into() }
    }

    fn register(registry: &mut Registry) {
        ProblemDocument::register(registry);
    }
}
