//! Refunds: before and after the payment, full, partial, repeated, too large, of somebody else.

use serde_json::json;

use crate::support::*;

async fn paid(server: &Server, amount: &str) -> Answer {
    server.refer(&wallet(1), &wallet(2)).await;
    let due = Answer::of(server.deliver("evt_pay", &payment("pay_1", &wallet(1), amount))).await;
    assert_eq!(due.status, 202, "{due:?}");
    due
}

async fn refunded(server: &Server, delivery: &str, amount: &str) -> Answer {
    Answer::of(server.deliver(delivery, &refund("pay_1", &wallet(1), amount))).await
}

#[tokio::test]
async fn a_full_refund_cancels_what_is_not_signed() {
    let server = Server::start().await;
    let due = paid(&server, "10").await;
    let answer = refunded(&server, "evt_1", "10").await;
    assert_eq!((answer.status, answer.body["outcome"].as_str()), (202, Some("cancelled")));
    assert_eq!(answer.job(), due.job());
    let job = Answer::of(server.get(&format!("/api/jobs/{}", due.job()))).await.body;
    assert_eq!(job["state"], "cancelled");
    let again = Answer::of(server.deliver("evt_pay", &payment("pay_1", &wallet(1), "10"))).await;
    assert_eq!(
        (again.status, again.body["decision"].as_str()),
        (200, Some("refunded")),
        "the id stays spent"
    );
}

#[tokio::test]
async fn a_refund_before_its_payment_is_remembered_and_applied() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let answer = refunded(&server, "evt_1", "10").await;
    let expected = json!({"outcome": "tombstone", "job_id": null, "repeated": false});
    assert_eq!((answer.status, answer.body), (200, expected));
    let late = Answer::of(server.deliver("evt_pay", &payment("pay_1", &wallet(1), "10"))).await;
    assert_eq!((late.status, late.body["decision"].as_str()), (200, Some("refunded")));
    assert!(late.body["job_id"].is_null());
}

#[tokio::test]
async fn a_partial_refund_is_owed_in_proportion() {
    let server = Server::start().await;
    let due = paid(&server, "10").await;
    let answer = refunded(&server, "evt_1", "2.5").await;
    assert_eq!((answer.status, answer.body["outcome"].as_str()), (202, Some("owed")));
    let payment = Answer::of(server.get("/api/payments/payments:pay_1")).await.body;
    assert_eq!(payment["owed"], json!({"usdc": "250000", "sge": "0"}));
    assert_eq!((&payment["refunded"], &payment["job_id"]), (&json!("2500000"), &due.body["job_id"]));
    let view = Answer::of(server.get(&format!("/api/affiliates/{}", wallet(2)))).await.body;
    assert_eq!(view["owed"]["usdc"], "250000");
}

#[tokio::test]
async fn the_same_refund_delivered_again_counts_once() {
    let server = Server::start().await;
    paid(&server, "10").await;
    let first = refunded(&server, "evt_1", "2.5").await;
    let again = refunded(&server, "evt_1", "2.5").await;
    assert_eq!((again.status, &again.body["outcome"]), (first.status, &first.body["outcome"]));
    assert_eq!(again.body["repeated"], true);
    let payment = Answer::of(server.get("/api/payments/payments:pay_1")).await.body;
    assert_eq!(payment["refunded"], "2500000");
    let other = refunded(&server, "evt_1", "3").await;
    other.is_problem(409, "payment_conflict");
}

#[tokio::test]
async fn partial_refunds_add_up_to_a_full_one() {
    let server = Server::start().await;
    paid(&server, "10").await;
    assert_eq!(refunded(&server, "evt_1", "4").await.body["outcome"], "owed");
    assert_eq!(refunded(&server, "evt_2", "6").await.body["outcome"], "cancelled");
    let payment = Answer::of(server.get("/api/payments/payments:pay_1")).await.body;
    assert_eq!(payment["owed"], json!({"usdc": "0", "sge": "0"}), "nothing was paid");
}

#[tokio::test]
async fn more_than_was_paid_is_422_and_nothing_is_written() {
    let server = Server::start().await;
    paid(&server, "10").await;
    assert_eq!(refunded(&server, "evt_1", "4").await.status, 202);
    let answer = refunded(&server, "evt_2", "6.000001").await;
    answer.is_problem(422, "refund_too_large").at("data.amount", "6.000001");
    let payment = Answer::of(server.get("/api/payments/payments:pay_1")).await.body;
    assert_eq!(payment["refunded"], "4000000");
}

#[tokio::test]
async fn a_refund_that_names_another_wallet_is_409() {
    let server = Server::start().await;
    let due = paid(&server, "10").await;
    let answer = Answer::of(server.deliver("evt_1", &refund("pay_1", &wallet(7), "10"))).await;
    answer.is_problem(409, "payment_conflict");
    let job = Answer::of(server.get(&format!("/api/jobs/{}", due.job()))).await.body;
    assert_eq!(job["state"], "pending");
}

#[tokio::test]
async fn a_refund_of_a_payment_that_was_not_due_pays_nothing_back() {
    let server = Server::start().await;
    Answer::of(server.deliver("evt_pay", &payment("pay_1", &wallet(1), "10"))).await;
    let answer = refunded(&server, "evt_1", "10").await;
    assert_eq!((answer.status, answer.body["outcome"].as_str()), (200, Some("nothing_paid")));
}
