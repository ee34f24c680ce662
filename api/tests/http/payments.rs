//! Registrations and payments that are fine.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::*;

#[tokio::test]
async fn a_registration_gets_the_same_answer_every_time() {
    let server = Server::start().await;
    let referrer = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    let body = json!({"wallet": wallet(1), "referrer": referrer.to_lowercase()});
    let first = Answer::of(server.register(&body)).await;
    assert_eq!((first.status, first.body["status"].as_str()), (202, Some("accepted")));
    assert_eq!(first.body["referrer"], referrer, "with its checksum");
    let again = Answer::of(server.register(&body)).await;
    assert_eq!((again.status, again.body), (202, first.body));
}

#[tokio::test]
async fn a_wallet_without_referrer_is_recorded_and_may_be_given_one_once() {
    let server = Server::start().await;
    for referrer in [Value::Null, Value::Null] {
        let body = json!({"wallet": wallet(1), "referrer": referrer});
        let answer = Answer::of(server.register(&body)).await;
        assert_eq!((answer.status, &answer.body["job_id"]), (200, &Value::Null));
        assert_eq!(answer.body["status"], "recorded");
    }
    let late = Answer::of(server.register(&json!({"wallet": wallet(1), "referrer": wallet(2)}))).await;
    assert_eq!(late.status, 202);
    let answer = Answer::of(server.register(&json!({"wallet": wallet(1)}))).await;
    assert_eq!((answer.status, &answer.body["job_id"]), (200, &Value::Null), "the referrer stays");
    assert!(answer.body["referrer"].is_string());
}

#[tokio::test]
async fn a_payment_of_a_referred_wallet_is_due() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let answer = Answer::of(server.deliver("evt_1", &payment("pay_1", &wallet(1), "129.90"))).await;
    assert_eq!((answer.status, answer.body["decision"].as_str()), (202, Some("due")));
    assert_eq!(answer.body["repeated"], false);
    let job = Answer::of(server.get(&format!("/api/jobs/{}", answer.job()))).await.body;
    assert_eq!(job["amounts"], json!({"usdc": "12990000", "sge": "0"}));
    assert_eq!(
        (&job["kind"], &job["state"], &job["stage"]),
        (&json!("payout"), &json!("pending"), &json!("queued"))
    );
    assert_eq!(job["payment"]["external_id"], "pay_1");
    assert_eq!(job["timeline"][0]["event"], "accept");
    let read = Answer::of(server.get("/api/payments/payments:pay_1")).await.body;
    assert_eq!((&read["job_id"], &read["id"]), (&answer.body["job_id"], &job["payment"]["id"]));
    let by_hash = Answer::of(server.get(&format!("/api/payments/{}", read["id"].as_str().unwrap()))).await;
    assert_eq!(by_hash.body, read);
    Answer::of(server.get("/api/payments/payments:pay_2")).await.is_problem(404, "not_found");
    Answer::of(server.get("/api/payments/0x12")).await.is_problem(422, "invalid_value").at("id", "0x12");
}

#[tokio::test]
async fn a_payment_that_nobody_is_due_for_says_why() {
    let server = Server::start().await;
    Answer::of(server.register(&json!({"wallet": wallet(1)}))).await;
    server.refer(&wallet(3), &wallet(4)).await;
    let cases = [
        (wallet(9), "1", "unknown_wallet"),
        (wallet(1), "1", "no_referrer"),
        (wallet(3), "0.000001", "nothing_due"),
    ];
    for (n, (payer, amount, decision)) in cases.into_iter().enumerate() {
        let event = payment(&format!("pay_{n}"), &payer, amount);
        for repeated in [false, true] {
            let answer = Answer::of(server.deliver(&format!("evt_{n}"), &event)).await;
            let expected = json!({"decision": decision, "job_id": null, "repeated": repeated});
            assert_eq!((answer.status, answer.body), (200, expected));
        }
    }
}

#[tokio::test]
async fn a_hybrid_affiliate_is_paid_in_both_tokens() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let put = server.request(reqwest::Method::PUT, &format!("/api/affiliates/{}", wallet(2)));
    let set = Answer::of(put.bearer_auth(OPERATOR).json(&json!({"mode": "hybrid"}))).await;
    assert_eq!((&set.body["mode"], &set.body["previous"]), (&json!("hybrid"), &json!("usdc")));
    let due = Answer::of(server.deliver("evt_1", &payment("pay_1", &wallet(1), "100"))).await;
    let job = Answer::of(server.get(&format!("/api/jobs/{}", due.job()))).await.body;
    assert_eq!(job["amounts"], json!({"usdc": "7500000", "sge": "31250000000000000000"}));
    let view = Answer::of(server.get(&format!("/api/affiliates/{}", wallet(2)))).await.body;
    assert_eq!((&view["mode"], &view["pending"]), (&json!("hybrid"), &job["amounts"]));
    assert_eq!((&view["children"], &view["payouts"]["pending"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn the_same_payment_again_gets_the_first_answer_again() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let event = payment("pay_1", &wallet(1), "10");
    let first = Answer::of(server.deliver("evt_1", &event)).await;
    // Other bytes and another delivery id, the same content.
    let spaced = serde_json::to_string_pretty(&event).unwrap();
    for (id, body) in [("evt_1", event.to_string()), ("evt_2", spaced)] {
        let again = Answer::of(server.deliver_signed("payments", id, now(), NEXT_SECRET, body)).await;
        assert_eq!((again.status, again.job()), (202, first.job()));
        assert_eq!(again.body["repeated"], true);
    }
    let job = Answer::of(server.get(&format!("/api/jobs/{}", first.job()))).await.body;
    assert_eq!(job["duplicates"], 2);
    assert!(job["timeline"].as_array().unwrap().iter().any(|line| line["event"] == "duplicate"));
}

#[tokio::test]
async fn the_same_payment_id_with_other_content_is_409_and_visible_in_the_log() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let first = Answer::of(server.deliver("evt_1", &payment("pay_1", &wallet(1), "10"))).await;
    let others = [
        ("evt_2", payment("pay_1", &wallet(1), "11")),
        ("evt_3", payment("pay_1", &wallet(5), "10")),
        ("evt_1", payment("pay_1", &wallet(1), "12")),
    ];
    for (id, other) in others {
        let answer = Answer::of(server.deliver(id, &other)).await;
        answer.is_problem(409, "payment_conflict");
        assert_eq!(answer.job(), first.job());
    }
    let job = Answer::of(server.get(&format!("/api/jobs/{}", first.job()))).await.body;
    assert_eq!(job["amounts"]["usdc"], "1000000");
    let conflicts =
        job["timeline"].as_array().unwrap().iter().filter(|line| line["event"] == "conflict").count();
    assert_eq!(conflicts, 3, "{job:#}");
}

#[tokio::test]
async fn a_hundred_copies_at_once_make_one_job() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let before = server.taken().await;
    let event = payment("pay_1", &wallet(1), "10");
    let copies = (0..100).map(|n| Answer::of(server.deliver(&format!("evt_{}", n % 7), &event)));
    let answers = join_all(copies).await;
    assert!(answers.iter().all(|answer| answer.status == 202 && answer.job() == answers[0].job()));
    assert_eq!(answers.iter().filter(|answer| answer.body["repeated"] == false).count(), 1);
    assert_eq!(server.taken().await, before + 1);
}

#[tokio::test]
async fn a_payout_is_held_as_long_as_the_programme_says() {
    let server = Server::with(|name| (name == "HOLD_SECONDS").then(|| "3600".into())).await;
    server.sync().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let due = Answer::of(server.deliver("evt_1", &payment("pay_1", &wallet(1), "10"))).await;
    let job = Answer::of(server.get(&format!("/api/jobs/{}", due.job()))).await.body;
    assert_eq!(job["stage"], "held");
    let held = job["due"].as_u64().unwrap() - job["created_at"].as_u64().unwrap();
    assert_eq!(held, 3_600_000);
}
