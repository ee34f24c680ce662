//! The bad-input table of the main issue, row by row.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

async fn refused_registration(server: &Server, body: Value, status: u16, code: &str) -> Answer {
    let answer = Answer::of(server.register(&body)).await;
    answer.is_problem(status, code);
    answer
}

async fn refused_event(server: &Server, body: Value, status: u16, code: &str) -> Answer {
    let id = format!("evt_{}", sha256(&body.to_string()));
    let answer = Answer::of(server.deliver(&id, &body)).await;
    answer.is_problem(status, code);
    answer
}

fn raw_register(server: &Server, body: &'static str) -> reqwest::RequestBuilder {
    let request = server.request(Method::POST, "/register").bearer_auth(MERCHANT);
    request.header("content-type", "application/json").body(body)
}

#[tokio::test]
async fn a_body_that_is_no_json_is_400() {
    let server = Server::start().await;
    for body in ["", "{", "{\"wallet\":}", "\u{0}", "nul", "{\"wallet\":\"a\"} x"] {
        Answer::of(raw_register(&server, body)).await.is_problem(400, "malformed_json");
        let delivery = server.deliver_signed("payments", "evt_1", now(), SECRET, body);
        Answer::of(delivery).await.is_problem(400, "malformed_json");
    }
    let invalid_utf8 = raw_register(&server, "").body(vec![b'"', 0xff, b'"']);
    Answer::of(invalid_utf8).await.is_problem(400, "malformed_json");
}

#[tokio::test]
async fn json_of_another_shape_is_422_wrong_type() {
    let server = Server::start().await;
    for body in ["[]", "null", "1", "\"text\""] {
        Answer::of(raw_register(&server, body)).await.is_problem(422, "wrong_type");
    }
    refused_registration(&server, json!({"wallet": 5}), 422, "wrong_type").await.at("wallet", 5);
    let nested = json!({"wallet": wallet(1), "referrer": {"a": 1}});
    refused_registration(&server, nested, 422, "wrong_type").await.at("referrer", "{\"a\":1}");
    let data = json!({"type": "payment.succeeded", "data": "x"});
    refused_event(&server, data, 422, "wrong_type").await.at("data", "x");
}

#[tokio::test]
async fn an_unknown_field_is_422_with_its_name_and_value() {
    let server = Server::start().await;
    let body = json!({"wallet": wallet(1), "refferer": wallet(2)});
    refused_registration(&server, body, 422, "unknown_field").await.at("refferer", wallet(2));
    let mut event = payment("pay_1", &wallet(1), "1");
    event["data"]["note"] = json!(7);
    refused_event(&server, event.clone(), 422, "unknown_field").await.at("data.note", 7);
    event["data"].as_object_mut().unwrap().remove("note");
    event["created"] = json!(true);
    refused_event(&server, event, 422, "unknown_field").await.at("created", true);
    assert_eq!(server.taken().await, 0);
}

#[tokio::test]
async fn a_missing_field_is_422_with_its_name() {
    let server = Server::start().await;
    let answer = refused_registration(&server, json!({}), 422, "missing_field").await;
    assert_eq!(answer.body["field"], "wallet");
    for field in ["payment_id", "wallet", "amount", "currency"] {
        let mut event = payment("pay_1", &wallet(1), "1");
        event["data"].as_object_mut().unwrap().remove(field);
        let answer = refused_event(&server, event, 422, "missing_field").await;
        assert_eq!(answer.body["field"], format!("data.{field}"));
    }
    let answer = refused_event(&server, json!({"type": "payment.succeeded"}), 422, "missing_field").await;
    assert_eq!(answer.body["field"], "data");
}

#[tokio::test]
async fn a_wallet_that_is_none_is_422_by_its_reason() {
    let server = Server::start().await;
    let checksum = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let zero = format!("0x{}", "0".repeat(40));
    let cases = [
        (checksum, "bad_checksum"),
        (&*zero, "zero_address"),
        ("0x12", "malformed_wallet"),
        ("vitalik.eth", "malformed_wallet"),
    ];
    for (text, code) in cases {
        refused_registration(&server, json!({"wallet": text}), 422, code).await.at("wallet", text);
        let body = json!({"wallet": wallet(1), "referrer": text});
        refused_registration(&server, body, 422, code).await.at("referrer", text);
        refused_event(&server, payment("pay_1", text, "1"), 422, code).await.at("data.wallet", text);
        let get = server.get(&format!("/api/affiliates/{text}"));
        Answer::of(get).await.is_problem(422, code).at("wallet", text);
    }
    assert_eq!(server.taken().await, 0);
}

#[tokio::test]
async fn a_self_referral_is_422_and_nothing_is_written() {
    let server = Server::start().await;
    let same = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let body = json!({"wallet": same.to_lowercase(), "referrer": same});
    refused_registration(&server, body, 422, "self_referral").await.at("referrer", same);
    assert!(server.store.referral(same.parse().unwrap()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_cycle_of_two_is_409_and_nothing_is_written() {
    let server = Server::start().await;
    let (a, b) = (wallet(1), wallet(2));
    assert_eq!(Answer::of(server.register(&json!({"wallet": a, "referrer": b}))).await.status, 202);
    let back = json!({"wallet": b, "referrer": a});
    refused_registration(&server, back, 409, "referral_cycle").await;
    assert!(server.store.referral(b.parse().unwrap()).await.unwrap().is_none());
    assert_eq!(server.taken().await, 1);
}

#[tokio::test]
async fn a_second_other_referrer_is_409_and_nothing_is_written() {
    let server = Server::start().await;
    let (child, first, second) = (wallet(1), wallet(2), wallet(3));
    assert_eq!(Answer::of(server.register(&json!({"wallet": child, "referrer": first}))).await.status, 202);
    let other = json!({"wallet": child, "referrer": second});
    refused_registration(&server, other, 409, "referrer_conflict").await;
    let referral = server.store.referral(child.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(referral.referrer, Some(first.parse().unwrap()));
    assert_eq!(server.taken().await, 1);
}

#[tokio::test]
async fn an_amount_that_cannot_be_paid_is_422_by_its_reason() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let cases = [
        ("0", "amount_not_positive"),
        ("0.000000", "amount_not_positive"),
        ("-5", "amount_not_positive"),
        ("1.0000001", "amount_too_precise"),
        ("79228162514264337593543.950337", "amount_too_large"),
        ("999999999999999999999999999999999999999999999999", "amount_too_large"),
        ("1e3", "malformed_amount"),
        ("", "malformed_amount"),
        ("NaN", "malformed_amount"),
        ("1,5", "malformed_amount"),
    ];
    for (amount, code) in cases {
        refused_event(&server, payment("pay_1", &wallet(1), amount), 422, code)
            .await
            .at("data.amount", amount);
        refused_event(&server, refund("pay_1", &wallet(1), amount), 422, code)
            .await
            .at("data.amount", amount);
    }
    let mut number = payment("pay_1", &wallet(1), "1");
    number["data"]["amount"] = json!(129.9);
    refused_event(&server, number, 422, "wrong_type").await.at("data.amount", 129.9);
    assert_eq!(server.taken().await, 1, "only the registration");
}

#[tokio::test]
async fn the_largest_amount_is_accepted() {
    let server = Server::with(|name| (name == "HYBRID_SGE_BPS").then(|| "0".into())).await;
    server.sync().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let largest = payment("pay_1", &wallet(1), "79228162514264337593543.950336");
    assert_eq!(Answer::of(server.deliver("evt_1", &largest)).await.status, 202);
}

#[tokio::test]
async fn an_amount_whose_hybrid_commission_does_not_fit_is_422() {
    let server = Server::with(|name| match name {
        "COMMISSION_BPS" | "HYBRID_SGE_BPS" => Some("10000".into()),
        "SGE_PER_USDC" => Some("1000000".into()),
        _ => None,
    })
    .await;
    server.sync().await;
    let largest = payment("pay_1", &wallet(1), "79228162514264337593543.950336");
    let answer = refused_event(&server, largest, 422, "amount_too_large").await;
    assert_eq!(answer.body["field"], "data.amount");
}

#[tokio::test]
async fn a_foreign_currency_is_422() {
    let server = Server::start().await;
    for currency in ["EUR", "usd", "USDC", ""] {
        let mut event = payment("pay_1", &wallet(1), "1");
        event["data"]["currency"] = json!(currency);
        refused_event(&server, event, 422, "unsupported_currency").await.at("data.currency", currency);
    }
}

#[tokio::test]
async fn an_event_of_another_type_is_422() {
    let server = Server::start().await;
    let mut event = payment("pay_1", &wallet(1), "1");
    event["type"] = json!("payment.created");
    refused_event(&server, event, 422, "unsupported_event_type").await.at("type", "payment.created");
}

#[tokio::test]
async fn a_payment_id_with_control_characters_is_422() {
    let server = Server::start().await;
    for id in ["", "pay\n1", &"x".repeat(257)] {
        let answer = refused_event(&server, payment(id, &wallet(1), "1"), 422, "invalid_value").await;
        assert_eq!(answer.body["field"], "data.payment_id");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let server = Server::start().await;
    let large = "x".repeat(MAX_BODY + 1);
    let body = json!({"wallet": large});
    refused_registration(&server, body, 413, "body_too_large").await;
    let event = payment(&large, &wallet(1), "1");
    refused_event(&server, event, 413, "body_too_large").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_before_it_is_sent() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    let address = server.base.strip_prefix("http://").unwrap();
    let heads = [
        // Announced, and never sent.
        "content-length: 1000000000\r\n\r\n".to_owned(),
        // Chunked: one chunk above the limit, and no end of the body.
        format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n", MAX_BODY + 1, "x".repeat(MAX_BODY + 1)),
        // Many chunks, none of which is above it.
        [
            "transfer-encoding: chunked\r\n\r\n",
            &format!("40\r\n{}\r\n", "x".repeat(64)).repeat(MAX_BODY / 64 + 1),
        ]
        .concat(),
    ];
    for head in heads {
        let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MERCHANT}\r\n\
             content-type: application/json\r\n{head}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut start = [0; 12];
        socket.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 413");
    }
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_read() {
    let server = Server::start().await;
    let body = json!({"wallet": "x".repeat(MAX_BODY - json!({"wallet": ""}).to_string().len())});
    assert_eq!(body.to_string().len(), MAX_BODY);
    refused_registration(&server, body, 422, "malformed_wallet").await;
}

#[tokio::test]
async fn a_body_that_ends_before_its_length_is_400() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start().await;
    let address = server.base.strip_prefix("http://").unwrap();
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST /register HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {MERCHANT}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{\"wallet\":"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("did not arrive whole"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_not_json_by_its_type_is_415() {
    let server = Server::start().await;
    let form = server.request(Method::POST, "/register").bearer_auth(MERCHANT);
    let form = form.header("content-type", "application/x-www-form-urlencoded").body("wallet=0x");
    let answer = Answer::of(form).await;
    answer.is_problem(415, "unsupported_media_type");
    answer.at("Content-Type", "application/x-www-form-urlencoded");
    let event =
        server.request(Method::POST, "/webhooks/payments").header("content-type", "text/plain").body("{}");
    Answer::of(event).await.is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn a_source_without_secrets_is_404() {
    let server = Server::start().await;
    let event = payment("pay_1", &wallet(1), "1").to_string();
    let delivery = server.deliver_signed("stripe", "evt_1", now(), SECRET, event);
    Answer::of(delivery).await.is_problem(404, "unknown_source").at("source", "stripe");
}

#[tokio::test]
async fn the_frameworks_own_refusals_are_problem_documents() {
    let server = Server::start().await;
    Answer::of(server.get("/nowhere")).await.is_problem(404, "not_found");
    Answer::of(server.get("/api/jobs/")).await.is_problem(404, "not_found");
    let answer = Answer::of(server.request(Method::PATCH, "/register")).await;
    answer.is_problem(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST");
    for path in ["/docs", "/openapi.json"] {
        let answer = Answer::of(server.request(Method::POST, path)).await;
        answer.is_problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), "GET");
        Answer::of(server.get(&format!("{path}/"))).await.is_problem(404, "not_found");
    }
    let answer = Answer::of(server.get("/api/jobs?limit=101")).await;
    answer.is_problem(422, "invalid_value").at("limit", "101");
    let answer = Answer::of(server.get("/api/jobs?state=sleeping")).await;
    answer.is_problem(422, "invalid_value").at("state", "sleeping");
    let answer = Answer::of(server.get("/api/jobs?changed_from=yesterday")).await;
    answer.is_problem(422, "invalid_value").at("changed_from", "yesterday");
}

#[tokio::test]
async fn redis_away_is_503_and_never_a_2xx() {
    let mut server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    drop(server.redis.take());
    let started = std::time::Instant::now();
    let register = server.register(&json!({"wallet": wallet(3), "referrer": wallet(2)}));
    Answer::of(register).await.is_problem(503, "redis_unavailable");
    let deliver = server.deliver("evt_1", &payment("pay_1", &wallet(1), "1"));
    Answer::of(deliver).await.is_problem(503, "redis_unavailable");
    let deliver = server.deliver("evt_2", &refund("pay_1", &wallet(1), "1"));
    Answer::of(deliver).await.is_problem(503, "redis_unavailable");
    Answer::of(server.get("/api/jobs")).await.is_problem(503, "redis_unavailable");
    for path in ["/api/stats", "/api/fleet", "/api/transactions", "/api/events"] {
        Answer::of(server.get(path)).await.is_problem(503, "redis_unavailable");
    }
    assert!(started.elapsed().as_secs() < 15, "eight answers took {:?}", started.elapsed());
}

#[tokio::test]
async fn redis_that_hangs_is_503_within_the_deadline() {
    let server = Server::start().await;
    server.redis_cli(&["CLIENT", "PAUSE", "30000", "ALL"]);
    let started = std::time::Instant::now();
    let register = server.register(&json!({"wallet": wallet(3), "referrer": wallet(2)}));
    let answer = Answer::of(register).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(started.elapsed().as_secs() < 9, "{:?}", started.elapsed());
}

#[tokio::test]
async fn not_synced_is_503_and_nothing_is_written() {
    let server = Server::unsynced().await;
    let register = server.register(&json!({"wallet": wallet(3), "referrer": wallet(2)}));
    Answer::of(register).await.is_problem(503, "not_synced");
    let deliver = server.deliver("evt_1", &payment("pay_1", &wallet(1), "1"));
    Answer::of(deliver).await.is_problem(503, "not_synced");
    let deliver = server.deliver("evt_2", &refund("pay_1", &wallet(1), "1"));
    Answer::of(deliver).await.is_problem(503, "not_synced");
    assert_eq!(server.taken().await, 0);
    server.sync().await;
    let register = server.register(&json!({"wallet": wallet(3), "referrer": wallet(2)}));
    assert_eq!(Answer::of(register).await.status, 202);
}
