//! The OpenAPI document and the page that shows it.

use reqwest::Method;
use serde_json::Value;

use crate::support::*;

#[test]
fn the_checked_in_document_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let checked_in = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        checked_in == api::openapi(),
        "api/openapi.json is outdated: run `cargo run -p ail-api -- openapi > api/openapi.json`"
    );
}

#[tokio::test]
async fn the_served_document_is_the_checked_in_one() {
    let server = Server::start().await;
    let answer = Answer::of(server.request(Method::GET, "/openapi.json")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.text, api::openapi());
}

#[tokio::test]
async fn the_documents_page_needs_nothing_from_elsewhere() {
    let server = Server::start().await;
    let answer = Answer::of(server.request(Method::GET, "/docs")).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(answer.text.contains("/webhooks/{source}"), "the document is part of the page");
    for fetch in ["src=\"http", "src='http", "href=\"http", "href='http", "src=\"//", "@import", "url(http"] {
        assert!(!head(&answer.text).contains(fetch), "{fetch}");
    }
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
}

/// The page without the library's code, whose strings name many addresses that it never fetches.
fn head(page: &str) -> String {
    let mut rest = page;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("<script") {
        out.push_str(before);
        out.push_str(after.split_once('>').map_or("", |(attributes, _)| attributes));
        rest = after.split_once("</script>").map_or("", |(_, after)| after);
    }
    out + rest
}

#[test]
fn every_operation_declares_what_the_framework_may_answer() {
    let document: Value = serde_json::from_str(&api::openapi()).unwrap();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let declared = |status: &str| operation["responses"].get(status).is_some();
            if !path.starts_with("/api") && path != "/register" && !path.starts_with("/webhooks") {
                continue;
            }
            for status in ["401", "405", "422", "500", "503"] {
                assert!(declared(status), "{method} {path} does not declare {status}");
            }
            let body = operation.get("requestBody").is_some();
            assert_eq!(declared("413"), body, "{method} {path}");
            assert_eq!(declared("415"), body, "{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let problem = response["content"].get("application/problem+json").is_some();
                assert_eq!(problem, status.as_str() >= "400", "{method} {path} {status}");
            }
        }
    }
}

#[test]
fn every_field_and_parameter_is_described() {
    let document: Value = serde_json::from_str(&api::openapi()).unwrap();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let described = property.get("description").is_some()
                || property.get("$ref").is_some()
                || property.get("allOf").is_some();
            assert!(described, "{name}.{field} has no description");
        }
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(parameter["description"].is_string(), "{method} {path} {}", parameter["name"]);
            }
        }
    }
}
