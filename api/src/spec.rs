//! The OpenAPI document, from the code. poem-openapi knows neither which of the declared problems a route can answer, nor
//! that our bodies refuse unknown fields, nor the forms that our parsers check, nor that an absent answer is null; all are
//! put right here.

use poem_openapi::OpenApiService;
use serde_json::{Value, json};
use shared::job::FailureClass;

use crate::routes::{
    Affiliates, Events, FleetRoutes, Health, Jobs, Operations, Payments, Registration, Transactions, Webhooks,
};

type Apis = (
    Registration,
    Webhooks,
    Jobs,
    Transactions,
    Payments,
    Affiliates,
    Operations,
    FleetRoutes,
    Events,
    Health,
);

const DESCRIPTION: &str = "Merchants register wallets and report payments; every payment pays the referrer on-chain, \
    exactly once. Errors are problem documents (RFC 9457) with a stable `code`. Every answer carries `X-Request-Id`; \
    one may be given (1 to 128 characters of A-Z, a-z, 0-9, -, _, . and :). Wallets are shown with their EIP-55 \
    checksum, amounts are decimal strings of base units, times are unix milliseconds.";

/// Bodies that refuse fields they do not know.
const CLOSED: [&str; 6] =
    ["RegisterRequest", "WebhookEvent", "WebhookData", "ModeRequest", "ReasonRequest", "PauseRequest"];

const WALLET: &str = "^0x[0-9a-fA-F]{40}$";
const JOB: &str = "^[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$";
const JOB_CURSOR: &str = r"^[0-5]\.[0-9]{1,15}\.[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}$";
const HASH: &str = "^0x[0-9a-fA-F]{64}$";
const TX: &str = "^0x([0-9a-fA-F]{64}|[0-9a-fA-F]{40}:[0-9]{1,20})$";
const TX_CURSOR: &str = r"^0x[0-9a-fA-F]{40}:[0-9]{1,20}(\.0x[0-9a-fA-F]{40}:[0-9]{1,20}){0,63}$";
const EVENT: &str = r"^[0-9]{1,20}-[0-9]{1,20}(\.[1-9][0-9]{0,9})?$";
const PAYMENT: &str = "^(0x[0-9a-fA-F]{64}|[a-z0-9-]{1,32}:.{1,256})$";

/// Forms that our own parsers check, so that their refusals carry our codes: schema or path, field, form. `parameter` is
/// any path's.
fn form(schema: &str, field: &str) -> Option<Value> {
    match (schema, field) {
        ("RegisterRequest", "wallet" | "referrer")
        | ("WebhookData", "wallet")
        | ("parameter", "wallet" | "signer") => Some(json!({"pattern": WALLET})),
        ("WebhookData", "payment_id") => Some(json!({"minLength": 1, "maxLength": 256})),
        ("WebhookData", "currency") => Some(json!({"enum": ["USD"]})),
        ("ReasonRequest" | "PauseRequest" | "parameter", "reason") => {
            Some(json!({"minLength": 1, "maxLength": 500, "pattern": "\\S"}))
        }
        ("/api/jobs/{id}" | "/api/jobs/retry/{id}", "id") => Some(json!({"pattern": JOB})),
        ("/api/payments/{id}", "id") | ("parameter", "payment") => Some(json!({"pattern": PAYMENT})),
        ("parameter", "tx") => Some(json!({"pattern": HASH})),
        ("parameter", "reference") => Some(json!({"pattern": TX})),
        ("parameter", "Last-Event-ID" | "after") => Some(json!({"pattern": EVENT})),
        ("/api/transactions", "cursor") => Some(json!({"pattern": TX_CURSOR})),
        ("parameter", "cursor") => Some(json!({"pattern": JOB_CURSOR})),
        ("parameter", "error_class") => {
            let classes: Vec<&str> = FailureClass::ALL.iter().map(|class| class.name()).collect();
            Some(json!({"enum": classes}))
        }
        _ => None,
    }
}

/// The members of an object, where it is one. Indexing instead would insert nulls.
fn members(value: Option<&mut Value>) -> impl Iterator<Item = (&String, &mut Value)> {
    value.and_then(Value::as_object_mut).into_iter().flatten()
}

fn shape(target: &mut Value, form: Option<Value>) {
    if let (Some(target), Some(Value::Object(form))) = (target.as_object_mut(), form) {
        target.extend(form);
    }
}

pub(crate) fn service() -> OpenApiService<Apis, ()> {
    let apis = (
        Registration,
        Webhooks,
        Jobs,
        Transactions,
        Payments,
        Affiliates,
        Operations,
        FleetRoutes,
        Events,
        Health,
    );
    OpenApiService::new(apis, "Affiliate Instant Liquidity", env!("CARGO_PKG_VERSION"))
        .description(DESCRIPTION)
}

/// The document that is served and checked in.
pub(crate) fn document() -> Value {
    let mut document: Value = serde_json::from_str(&service().spec()).unwrap_or_default();
    for schema in CLOSED {
        if let Some(schema) = document.pointer_mut(&format!("/components/schemas/{schema}")) {
            schema["additionalProperties"] = json!(false);
        }
    }
    for (name, schema) in members(document.pointer_mut("/components/schemas")) {
        let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
        for (field, property) in members(schema.get_mut("properties")) {
            if property.get("type").is_some() && !required.iter().any(|name| name == field) {
                property["nullable"] = json!(true);
            }
            shape(property, form(name, field));
        }
    }
    for (path, operations) in members(document.get_mut("paths")) {
        for operation in operations.as_object_mut().into_iter().flatten().map(|(_, operation)| operation) {
            prune(path, operation);
            for parameter in
                operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten()
            {
                let name = parameter["name"].as_str().unwrap_or_default().to_owned();
                shape(&mut parameter["schema"], form(path, &name).or_else(|| form("parameter", &name)));
            }
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
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { return };
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
