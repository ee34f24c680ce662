//! Request bodies: read up to the limit, then taken apart field by field, so that every refusal names the field and shows
//! its value. What is left over is an unknown field.

use futures::StreamExt as _;
use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::{Map, Value};

use shared::ids::Wallet;

use crate::app::App;
use crate::code::Code;
use crate::error::Problem;

/// What a body gets at once of what its length announces, in bytes: most are shorter, and none has sent anything yet.
const AT_FIRST: u64 = 4096;

/// The whole body, refused before it is buffered where it is over the limit.
pub(crate) async fn read(request: &Request, body: &mut RequestBody) -> Result<Vec<u8>, Problem> {
    let limit = App::of(request)?.max_body_bytes;
    let too_large = || {
        Problem::new(Code::BodyTooLarge, format!("the body is above {limit} bytes (MAX_BODY_BYTES)"))
            .value(limit)
    };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let body = body.take().map_err(Problem::internal)?;
    let mut parts = body.into_bytes_stream();
    let mut whole = Vec::with_capacity(length.map_or(0, |length| length.min(AT_FIRST) as usize));
    while let Some(part) = parts.next().await {
        let part = part.map_err(|error| {
            Problem::new(Code::BadRequest, format!("the body did not arrive whole: {error}"))
        })?;
        // Counted as well, since a body may come without a length.
        if whole.len() + part.len() > limit {
            return Err(too_large());
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole)
}

/// Refuses a body that says it is not JSON. One that says nothing is taken as JSON.
pub(crate) fn check_content_type(request: &Request) -> Result<(), Problem> {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "send JSON, with the header `Content-Type: application/json`",
    )
    .at("Content-Type")
    .value(text))
}

/// A JSON object, consumed field by field.
pub(crate) struct Fields {
    /// The names of the enclosing fields, each with a dot behind.
    prefix: String,
    map: Map<String, Value>,
}

impl Fields {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            Problem::new(Code::MalformedJson, format!("the body does not parse as JSON: {error}"))
        })?;
        match value {
            Value::Object(map) => Ok(Self { prefix: String::new(), map }),
            other => Err(wrong_type("the body", "an object", &other)),
        }
    }

    /// The dotted name of a field.
    pub(crate) fn name(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    /// A text that may be absent or null.
    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, Problem> {
        match self.map.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.name(field), "a string", &other).at(self.name(field))),
        }
    }

    pub(crate) fn need_text(&mut self, field: &str) -> Result<String, Problem> {
        self.text(field)?.ok_or_else(|| self.missing(field))
    }

    pub(crate) fn wallet(&mut self, field: &str) -> Result<Option<Wallet>, Problem> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        parse_wallet(&text, self.name(field)).map(Some)
    }

    pub(crate) fn need_wallet(&mut self, field: &str) -> Result<Wallet, Problem> {
        self.wallet(field)?.ok_or_else(|| self.missing(field))
    }

    pub(crate) fn need_object(&mut self, field: &str) -> Result<Fields, Problem> {
        match self.map.remove(field) {
            None | Some(Value::Null) => Err(self.missing(field)),
            Some(Value::Object(map)) => Ok(Fields { prefix: format!("{}.", self.name(field)), map }),
            Some(other) => Err(wrong_type(&self.name(field), "an object", &other).at(self.name(field))),
        }
    }

    /// Refuses what was not asked for.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some((field, value)) = self.map.into_iter().next() else { return Ok(()) };
        let shown: String = format!("{}{field}", self.prefix).chars().take(80).collect();
        let detail = format!("`{shown}` is not a field of this request; see /docs");
        Err(Problem::new(Code::UnknownField, detail).at(shown).value(value))
    }

    fn missing(&self, field: &str) -> Problem {
        let name = self.name(field);
        Problem::new(Code::MissingField, format!("`{name}` is required")).at(name)
    }
}

pub(crate) fn parse_wallet(text: &str, field: impl Into<String>) -> Result<Wallet, Problem> {
    text.parse().map_err(|error| Problem::id(&error, field, text))
}

fn wrong_type(what: &str, expected: &str, found: &Value) -> Problem {
    let kind = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Problem::new(Code::WrongType, format!("{what} must be {expected}, found {kind}")).value(found.clone())
}

/// A request body of our own: what it looks like is `Schema`, how it is read is [`FromFields::from_fields`].
pub(crate) trait FromFields: Sized + Send {
    type Schema: Type;
    /// Whether a request without a body is an empty object.
    const OPTIONAL: bool = false;

    fn from_fields(fields: &mut Fields) -> Result<Self, Problem>;
}

/// Extracts a JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<'a, T: FromFields> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::Schema::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType {
                content_type: "application/json",
                schema: T::Schema::schema_ref(),
            }],
            required: !T::OPTIONAL,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _options: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let bytes = read(request, body).await?;
        let mut fields = if bytes.is_empty() && T::OPTIONAL {
            Fields { prefix: String::new(), map: Map::new() }
        } else {
            check_content_type(request)?;
            Fields::parse(&bytes)?
        };
        let value = T::from_fields(&mut fields)?;
        fields.finish()?;
        Ok(Self(value))
    }
}
