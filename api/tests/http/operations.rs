//! Pauses, counts and payout modes.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

fn operate(server: &Server, path: &str, body: &Value) -> reqwest::RequestBuilder {
    server.request(Method::POST, path).bearer_auth(OPERATOR).json(body)
}

#[tokio::test]
async fn paused_intake_is_503_until_it_is_resumed() {
    let server = Server::start().await;
    let body = json!({"what": "intake", "reason": "migration"});
    for changed in [true, false] {
        let answer = Answer::of(operate(&server, "/api/pause", &body)).await;
        assert_eq!(
            (answer.status, answer.body),
            (200, json!({"what": "intake", "paused": true, "changed": changed}))
        );
    }
    let register = || server.register(&json!({"wallet": wallet(1), "referrer": wallet(2)}));
    let answer = Answer::of(register()).await;
    answer.is_problem(503, "intake_paused");
    assert_eq!(answer.header("retry-after"), "30");
    let deliver = server.deliver("evt_1", &payment("pay_1", &wallet(1), "1"));
    Answer::of(deliver).await.is_problem(503, "intake_paused");
    let ready = eventually(
        || Answer::of(server.request(Method::GET, "/readyz")),
        |ready| ready.body["notes"][0]["code"] == "intake_paused",
    )
    .await;
    assert_eq!(ready.status, 200, "or nobody could resume it behind a load balancer");
    let stats = Answer::of(server.get("/api/stats")).await.body;
    assert_eq!(stats["closed_gates"][0]["gate"], "intake");
    assert_eq!(
        (&stats["closed_gates"][0]["by"], &stats["closed_gates"][0]["reason"]),
        (&json!("ops"), &json!("migration"))
    );

    let answer = Answer::of(operate(&server, "/api/resume", &body)).await;
    assert_eq!(answer.body, json!({"what": "intake", "paused": false, "changed": true}));
    assert_eq!(Answer::of(register()).await.status, 202);
}

#[tokio::test]
async fn paused_signing_leaves_intake_open() {
    let server = Server::start().await;
    Answer::of(operate(&server, "/api/pause", &json!({"what": "signing", "reason": "gas"}))).await;
    let register = server.register(&json!({"wallet": wallet(1), "referrer": wallet(2)}));
    assert_eq!(Answer::of(register).await.status, 202);
    assert_eq!(server.store.closed_gates().await.unwrap()[0].gate, "signing");
}

#[tokio::test]
async fn a_pause_needs_what_and_why() {
    let server = Server::start().await;
    for path in ["/api/pause", "/api/resume"] {
        let answer = Answer::of(operate(&server, path, &json!({"what": "everything", "reason": "x"}))).await;
        answer.is_problem(422, "invalid_value").at("what", "everything");
        Answer::of(operate(&server, path, &json!({"what": "intake"}))).await.is_problem(422, "missing_field");
        let empty = json!({"what": "intake", "reason": ""});
        Answer::of(operate(&server, path, &empty)).await.is_problem(422, "invalid_value").at("reason", "");
    }
    assert!(server.store.closed_gates().await.unwrap().is_empty());
}

#[tokio::test]
async fn counts_tell_states_and_totals() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    Answer::of(server.deliver("evt_1", &payment("pay_1", &wallet(1), "10"))).await;
    Answer::of(server.deliver("evt_2", &payment("pay_2", &wallet(7), "10"))).await;
    let stats = Answer::of(server.get("/api/stats")).await.body;
    assert_eq!(stats["states"].as_array().unwrap().len(), 6);
    assert_eq!(stats["totals"]["intake:due"], 1);
    assert_eq!(stats["totals"]["intake:unknown_wallet"], 1);
    assert!(stats["oldest_queued_at"].as_u64().unwrap() <= stats["now"].as_u64().unwrap());
}

#[tokio::test]
async fn a_payout_mode_is_one_of_two() {
    let server = Server::start().await;
    let put = |body: Value| {
        server
            .request(Method::PUT, &format!("/api/affiliates/{}", wallet(2)))
            .bearer_auth(OPERATOR)
            .json(&body)
    };
    Answer::of(put(json!({"mode": "doge"}))).await.is_problem(422, "invalid_value").at("mode", "doge");
    Answer::of(put(json!({}))).await.is_problem(422, "missing_field");
    let view = Answer::of(server.get(&format!("/api/affiliates/{}", wallet(2)))).await.body;
    assert_eq!((&view["mode"], &view["paid"]["usdc"]), (&json!("usdc"), &json!("0")));
    assert_eq!(view["referral"], Value::Null);
}
