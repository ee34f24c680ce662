//! The OpenAPI document, from the code. poem-openapi knows neither which of the declared problems a route can answer, nor
//! that our bodies refuse unknown fields; both are put right here.

use poem_openapi::OpenApiService;
use serde_json::{Value, json};

use crate::routes::{Affiliates, Health, Jobs, Operations, Payments, Registration, Webhooks};

type Apis = (Registration, Webhooks, Jobs, Payments, Affiliates, Operations, Health);

const DESCRIPTION: &str = "Merchants register wallets and report payments; every payment pays the referrer on-chain, \
    exactly once. Errors are problem documents (RFC 9457) with a stable `code`. Every answer carries `X-Request-Id`; \
    one may be given (1 to 128 characters of A-Z, a-z, 0-9, -, _, . and :). Wallets are shown with their EIP-55 \
    checksum, amounts are decimal strings of base units, times are unix milliseconds.";

/// Bodies that refuse fields they do not know.
const CLOSED: [&str; 6] =
    ["RegisterRequest", "WebhookEvent", "WebhookData", "ModeRequest", "ReasonRequest", "PauseRequest"];

pub(crate) fn service() -> OpenApiService<Apis, ()> {
    let apis = (Registration, Webhooks, Jobs, Payments, Affiliates, Operations, Health);
    OpenApiService::new(apis, "Affiliate Instant Liquidity", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
}

/// The document that is served and checked in.
pub(crate) fn document() -> Value {
    let mut document: Value = serde_json::from_str(&service().spec()).unwrap_or_default();
    for schema in CLOSED {
        if let Some(schema) = document["components"]["schemas"].get_mut(schema) {
            schema["additionalProperties"] = json!(false);
        }
    }
    for (path, operations) in document["paths"].as_object_mut().into_iter().flatten() {
        for operation in operations.as_object_mut().into_iter().flatten().map(|(_, operation)| operation) {
            prune(path, operation);
        }
    }
    document
}

/// The document as text, with a newline at its end.
pub fn text() -> String {
    format!("{:#}\n", document())
}

/// Removes the statuses that an operation cannot answer.
fn prune(path: &str, operation: &mut Value) {
    let has_key = operation.get("security").is_some();
    let has_body = operation.get("requestBody").is_some();
    let has_path_parameter = path.contains('{');
    let signed = path.starts_with("/webhooks/");
    let reads = operation["operationId"]
        .as_str()
        .is_some_and(|id| id.starts_with("read_") || id.starts_with("list_"));
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    responses.retain(|status, _| match status.as_str() {
        "401" => has_key || signed,
        "403" => has_key,
        "404" => has_path_parameter,
        "409" => has_body && !path.starts_with("/api/affiliates") && !reads,
        "413" | "415" => has_body,
        "400" | "422" => has_body || has_key,
        _ => true,
    });
}
