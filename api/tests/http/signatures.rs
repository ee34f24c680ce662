//! Webhook signatures, against vectors and an implementation that is not ours.

use api::webhook::Webhooks;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::support::*;

fn vectors() -> Vec<Value> {
    let text = include_str!("../vectors/webhook-signatures.json");
    let all: Vec<Value> = serde_json::from_str(text).unwrap();
    all.into_iter().filter(|vector| vector["scheme"] == "standard-webhooks").collect()
}

fn headers(vector: &Value) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in vector["headers"].as_object().unwrap() {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    headers
}

fn verified(vector: &Value, headers: &HeaderMap, body: &[u8], now: u64) -> bool {
    let webhooks = Webhooks::parse(&format!("payments={}", vector["secret"].as_str().unwrap())).unwrap();
    webhooks.find("payments").unwrap().1.verify(headers, body, now).is_ok()
}

#[test]
fn the_standard_vectors_are_verified() {
    let vectors = vectors();
    assert!(vectors.len() >= 2);
    for vector in vectors {
        let (body, now) = (vector["body"].as_str().unwrap().as_bytes(), vector["now"].as_u64().unwrap());
        assert_eq!(verified(&vector, &headers(&vector), body, now), vector["valid"].as_bool().unwrap());
    }
}

#[test]
fn a_vector_changed_in_any_part_is_refused() {
    for vector in vectors() {
        let (body, now) = (vector["body"].as_str().unwrap().as_bytes(), vector["now"].as_u64().unwrap());
        let mut other = body.to_vec();
        other.push(b' ');
        assert!(!verified(&vector, &headers(&vector), &other, now));
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut missing = headers(&vector);
            missing.remove(name);
            assert!(!verified(&vector, &missing, body, now), "{name} missing");
            let mut changed = headers(&vector);
            let text = changed[name].to_str().unwrap().replace(['1', 'g'], "2");
            changed.insert(name, HeaderValue::from_str(&text).unwrap());
            assert!(!verified(&vector, &changed, body, now), "{name} changed");
        }
    }
}

#[test]
fn a_delivery_is_recent_up_to_300_seconds_both_ways() {
    let vector = &vectors()[0];
    let (body, now) = (vector["body"].as_str().unwrap().as_bytes(), vector["now"].as_u64().unwrap());
    for (now, recent) in [(now + 300, true), (now + 301, false), (now - 300, true), (now - 301, false)] {
        assert_eq!(verified(vector, &headers(vector), body, now), recent);
    }
}

#[tokio::test]
async fn an_old_or_future_delivery_is_401() {
    let server = Server::start().await;
    let body = payment("pay_1", &wallet(1), "1").to_string();
    for at in [now() - 330, now() + 330, 0, -5] {
        let delivery = server.deliver_signed("payments", "evt_1", at, SECRET, body.clone());
        Answer::of(delivery).await.is_problem(401, "invalid_signature");
    }
}

#[tokio::test]
async fn every_bad_signature_gets_the_very_same_answer() {
    let server = Server::start().await;
    let body = payment("pay_1", &wallet(1), "1").to_string();
    let at = now();
    let good = sign(SECRET, "evt_1", at, &body);
    let unknown_secret = sign("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "evt_1", at, &body);
    let at = at.to_string();
    let header_sets: [&[(&str, &str)]; 9] = [
        &[],
        &[("webhook-id", "evt_1"), ("webhook-timestamp", &at)],
        &[("webhook-id", "evt_1"), ("webhook-signature", &good)],
        &[("webhook-timestamp", &at), ("webhook-signature", &good)],
        &[("webhook-id", "evt_2"), ("webhook-timestamp", &at), ("webhook-signature", &good)],
        &[("webhook-id", "evt_1"), ("webhook-timestamp", "soon"), ("webhook-signature", &good)],
        &[("webhook-id", "evt_1"), ("webhook-timestamp", &at), ("webhook-signature", &good[3..])],
        &[("webhook-id", "evt_1"), ("webhook-timestamp", &at), ("webhook-signature", "v1,")],
        &[("webhook-id", "evt_1"), ("webhook-timestamp", &at), ("webhook-signature", &unknown_secret)],
    ];
    let mut answers = Vec::new();
    for headers in header_sets {
        let mut request = server.request(reqwest::Method::POST, "/webhooks/payments").body(body.clone());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = Answer::of(request).await;
        answer.is_problem(401, "invalid_signature");
        answer.body["instance"] = Value::Null;
        answers.push(answer.body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:#?}");
}

#[tokio::test]
async fn each_live_secret_and_any_of_several_signatures_is_enough() {
    let server = Server::start().await;
    let body = payment("pay_1", &wallet(1), "1").to_string();
    let next = server.deliver_signed("payments", "evt_1", now(), NEXT_SECRET, body.clone());
    assert_eq!(Answer::of(next).await.status, 200);
    let several = format!("v1a,x v1,AAAA {}", sign(SECRET, "evt_1", now(), &body));
    let mut request = server.request(reqwest::Method::POST, "/webhooks/payments").body(body);
    request = request.header("webhook-id", "evt_1").header("webhook-timestamp", now().to_string());
    assert_eq!(Answer::of(request.header("webhook-signature", several)).await.status, 200);
}

#[tokio::test]
async fn the_secret_of_one_source_opens_no_other() {
    let server = Server::start().await;
    let body = payment("pay_1", &wallet(1), "1").to_string();
    let delivery = server.deliver_signed("shop-two", "evt_1", now(), SECRET, body.clone());
    Answer::of(delivery).await.is_problem(401, "invalid_signature");
    let delivery = server.deliver_signed("shop-two", "evt_1", now(), NEXT_SECRET, body);
    assert_eq!(Answer::of(delivery).await.status, 200);
}
