//! Who may call what, over every route of the document.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

/// Every operation that needs a key, with who may call it.
const MATRIX: [(&str, &str, &[&str]); 15] = [
    ("POST", "/register", &[MERCHANT]),
    ("GET", "/api/jobs", &[VIEWER, OPERATOR]),
    ("GET", "/api/jobs/{id}", &[VIEWER, MERCHANT, OPERATOR]),
    ("DELETE", "/api/jobs/{id}", &[OPERATOR]),
    ("POST", "/api/jobs/retry/{id}", &[OPERATOR]),
    ("GET", "/api/affiliates/{wallet}", &[VIEWER, OPERATOR]),
    ("PUT", "/api/affiliates/{wallet}", &[OPERATOR]),
    ("GET", "/api/payments/{id}", &[VIEWER, OPERATOR]),
    ("GET", "/api/stats", &[VIEWER, OPERATOR]),
    ("GET", "/api/fleet", &[VIEWER, OPERATOR]),
    ("GET", "/api/events", &[VIEWER, OPERATOR]),
    ("GET", "/api/transactions", &[VIEWER, OPERATOR]),
    ("GET", "/api/transactions/{reference}", &[VIEWER, OPERATOR]),
    ("POST", "/api/pause", &[OPERATOR]),
    ("POST", "/api/resume", &[OPERATOR]),
];
const OPEN: [(&str, &str); 4] =
    [("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/metrics"), ("POST", "/webhooks/{source}")];

fn document() -> Value {
    serde_json::from_str(&api::openapi()).unwrap()
}

fn filled(path: &str) -> String {
    path.replace("{id}", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
        .replace("{wallet}", &wallet(1))
        .replace("{source}", "payments")
        .replace("{reference}", &format!("{}:7", wallet(1)))
}

#[test]
fn the_matrix_covers_every_operation_of_the_document() {
    let mut seen = 0;
    for (path, operations) in document()["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let is = |known: &(&str, &str)| known.0 == method.to_uppercase() && known.1 == path;
            let keyed = MATRIX.iter().any(|(method, path, _)| is(&(method, path)));
            assert_eq!(operation.get("security").is_some(), keyed, "{method} {path}");
            assert!(keyed || OPEN.iter().any(is), "{method} {path} is in neither list");
            seen += 1;
        }
    }
    assert_eq!(seen, MATRIX.len() + OPEN.len());
}

#[tokio::test]
async fn each_route_takes_only_the_roles_it_is_for() {
    let server = Server::start().await;
    for (method, path, allowed) in MATRIX {
        let method: Method = method.parse().unwrap();
        for key in [VIEWER, MERCHANT, OPERATOR] {
            let request = server.request(method.clone(), &filled(path)).bearer_auth(key);
            // Only refusals are read to their end: an event stream has none.
            let response = request.send().await.unwrap();
            if allowed.contains(&key) {
                let status = response.status().as_u16();
                assert!(![401, 403].contains(&status), "{key} {method} {path}: {response:?}");
            } else {
                Answer::read(response).await.is_problem(403, "forbidden");
            }
        }
    }
}

#[tokio::test]
async fn without_a_valid_key_every_keyed_route_is_401() {
    let server = Server::start().await;
    for (method, path, _) in MATRIX {
        let ask = || server.request(method.parse().unwrap(), &filled(path));
        let digest = sha256(OPERATOR);
        let cases = [
            ask(),
            ask().bearer_auth("wrong"),
            ask().bearer_auth(""),
            ask().bearer_auth(digest),
            ask().header("authorization", format!("Basic {OPERATOR}")),
            ask().header("authorization", OPERATOR),
            ask().header("authorization", format!("Bearer {OPERATOR}")).header("authorization", "Bearer x"),
        ];
        for request in cases {
            let answer = Answer::of(request).await;
            answer.is_problem(401, "unauthorized");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn the_scheme_of_the_header_is_read_in_any_case() {
    let server = Server::start().await;
    let request =
        server.request(Method::GET, "/api/stats").header("authorization", format!("bearer {VIEWER}"));
    assert_eq!(Answer::of(request).await.status, 200);
}

#[tokio::test]
async fn health_metrics_and_documents_need_no_key() {
    let server = Server::start().await;
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"] {
        assert_eq!(Answer::of(server.request(Method::GET, path)).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn the_key_is_checked_before_the_body_is_read() {
    let server = Server::start().await;
    let request = server.request(Method::POST, "/register").bearer_auth(VIEWER).body("{");
    Answer::of(request).await.is_problem(403, "forbidden");
}

#[tokio::test]
async fn a_merchant_reads_registrations_and_no_payouts() {
    let server = Server::start().await;
    let answer = Answer::of(server.register(&json!({"wallet": wallet(1), "referrer": wallet(2)}))).await;
    let ask = |job: &str| server.request(Method::GET, &format!("/api/jobs/{job}")).bearer_auth(MERCHANT);
    assert_eq!(Answer::of(ask(answer.job())).await.status, 200);
    let due = Answer::of(server.deliver("evt_1", &payment("pay_1", &wallet(1), "10"))).await;
    Answer::of(ask(due.job())).await.is_problem(404, "not_found");
}
