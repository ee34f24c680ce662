//! Lists, single jobs, retries and cancels.

use std::collections::BTreeSet;
use std::time::Duration;

use alloy::primitives::{Address, Bytes, U256};
use reqwest::Method;
use serde_json::{Value, json};
use shared::ids::{BlockNumber, FencingTerm, JobId, Nonce};
use shared::job::{Failure, FailureClass};
use shared::store::{Departure, Exit, FinishedJob, JournalOutcome, NewTx, Noted};
use shared::tx::{Attempt, Fees, Held, Inclusion, Intent, IntentKind};

use crate::support::*;

const SIGNER: Address = Address::repeat_byte(0x51);

async fn due(server: &Server, n: u64) -> String {
    let event = payment(&format!("pay_{n}"), &wallet(1), "10");
    Answer::of(server.deliver(&format!("evt_{n}"), &event)).await.job().to_owned()
}

/// Claims `job`, which is queued, with everything before it.
async fn claimed(server: &Server, job: &str) -> Held {
    let id: JobId = job.parse().unwrap();
    let briefs = server.store.claims("w1").await.unwrap().next(256, Duration::from_millis(50)).await.unwrap();
    Held { job: id, epoch: briefs.iter().find(|brief| brief.id == id).expect("queued").epoch }
}

async fn failed(server: &Server, job: &str) {
    let held = claimed(server, job).await;
    let failure = Failure::new(FailureClass::AboveCap, "the cap is 5");
    let exit = Exit::Fail { failure, charge: false };
    let departure = Departure { job: held.job, epoch: held.epoch, nonce: None, pack_max: None, exit };
    assert_eq!(server.store.leave("w1", None, &[departure]).await.unwrap(), [Ok(())]);
}

fn attempt(n: u8) -> Attempt {
    Attempt {
        hash: format!("0x{}", format!("{n:02x}").repeat(32)).parse().unwrap(),
        raw: Bytes::from(vec![n]),
        gas_limit: 100_000,
        fees: Fees { max_fee: 30_000_000_000, max_priority_fee: 1_000_000_000 },
        cancel: false,
        term: FencingTerm::new(1),
        head: BlockNumber::new(9),
        at: 0,
    }
}

async fn submitted(server: &Server, job: &str) -> Held {
    let held = claimed(server, job).await;
    assert_eq!(server.store.pass("w1", &[(held.job, held.epoch)]).await.unwrap(), [Ok(())]);
    assert!(server.store.set_next_nonce(&server.fence, SIGNER, None, Nonce::new(4)).await.unwrap());
    let intent = Intent {
        kind: IntentKind::Payout,
        to: Address::repeat_byte(9),
        data: Bytes::new(),
        value: U256::ZERO,
        jobs: vec![held],
    };
    let (nonce, attempt) = (Nonce::new(4), attempt(0xaa));
    let tx = NewTx { signer: SIGNER, nonce, intent: &intent, attempt: &attempt, max_open: 16 };
    let outcome = server.store.journal(&server.fence, &tx).await.unwrap();
    assert!(matches!(outcome, JournalOutcome::Journaled { .. }), "{outcome:?}");
    held
}

fn act(server: &Server, method: Method, path: &str) -> reqwest::RequestBuilder {
    server.request(method, path).bearer_auth(OPERATOR)
}

#[tokio::test]
async fn pages_hold_every_job_once() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let mut expected = BTreeSet::new();
    for n in 0..25 {
        expected.insert(due(&server, n).await);
    }
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let next = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = Answer::of(server.get(&format!("/api/jobs?kind=payout&limit=10{next}"))).await.body;
        let jobs = page["jobs"].as_array().unwrap();
        assert!(jobs.len() <= 10);
        assert!(jobs.iter().all(|job| job.get("timeline").is_none()));
        seen.extend(jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (25, 3));
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn filters_combine() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let first = due(&server, 1).await;
    failed(&server, &first).await;
    let second = due(&server, 2).await;
    let id =
        Answer::of(server.get("/api/payments/payments:pay_2")).await.body["id"].as_str().unwrap().to_owned();
    let updated =
        Answer::of(server.get(&format!("/api/jobs/{second}"))).await.body["updated_at"].as_u64().unwrap();
    submitted(&server, &second).await;
    let none: &[&String] = &[];
    let hash = attempt(0xaa).hash;
    let cases: [(String, &[&String]); 11] = [
        ("state=failed".into(), &[&first]),
        ("state=failed&error_class=above_cap".into(), &[&first]),
        ("state=failed&error_class=poison".into(), none),
        ("payment=payments:pay_2".into(), &[&second]),
        (format!("payment={id}"), &[&second]),
        (format!("payment={id}&state=failed"), none),
        (format!("wallet={}&kind=payout&state=failed", wallet(2)), &[&first]),
        (format!("wallet={}", wallet(9)), none),
        (format!("tx={hash}"), &[&second]),
        (format!("tx={hash}&state=failed"), none),
        (format!("state=failed&changed_to={}", updated - 60_000), none),
    ];
    for (query, expected) in cases {
        let page = Answer::of(server.get(&format!("/api/jobs?{query}"))).await;
        let ids: Vec<&str> = page.body["jobs"]
            .as_array()
            .unwrap_or_else(|| panic!("{page:?}"))
            .iter()
            .map(|j| j["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
    for (query, field, value) in [
        ("error_class=bad_luck", "error_class", "bad_luck"),
        ("cursor=12", "cursor", "12"),
        ("cursor=a.b", "cursor", "a.b"),
        ("cursor=0.50", "cursor", "0.50"),
        ("payment=Pay:1", "payment", "Pay:1"),
        ("payment=0x12", "payment", "0x12"),
        ("limit=0", "limit", "0"),
        ("tx=0x12", "tx", "0x12"),
    ] {
        Answer::of(server.get(&format!("/api/jobs?{query}")))
            .await
            .is_problem(422, "invalid_value")
            .at(field, value);
    }
}

#[tokio::test]
async fn a_job_that_is_none_is_404_and_a_mangled_id_422() {
    let server = Server::start().await;
    let unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    Answer::of(server.get(&format!("/api/jobs/{unknown}"))).await.is_problem(404, "not_found");
    Answer::of(act(&server, Method::POST, &format!("/api/jobs/retry/{unknown}")))
        .await
        .is_problem(404, "not_found");
    let delete = act(&server, Method::DELETE, &format!("/api/jobs/{unknown}?reason=x"));
    Answer::of(delete).await.is_problem(404, "not_found");
    Answer::of(server.get("/api/jobs/7")).await.is_problem(422, "invalid_value").at("id", "7");
}

#[tokio::test]
async fn a_signed_job_shows_its_nonce_and_attempts_also_when_done() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let job = due(&server, 1).await;
    let held = submitted(&server, &job).await;
    let view = Answer::of(server.get(&format!("/api/jobs/{job}"))).await.body;
    assert_eq!((&view["stage"], &view["tx"]["nonce"]), (&json!("submitted"), &json!(4)));
    assert_eq!(view["tx"]["attempts"][0]["hash"], attempt(0xaa).hash.to_string());
    assert_eq!(view["tx"]["attempts"][0]["max_fee_wei"], "30000000000");
    assert!(view["tx"].get("block").is_none());

    let delete = act(&server, Method::DELETE, &format!("/api/jobs/{job}?reason=x"));
    Answer::of(delete).await.is_problem(409, "job_journaled");
    let full = Answer::of(server.deliver("evt_r", &refund("pay_1", &wallet(1), "10"))).await;
    assert_eq!((full.status, full.body["outcome"].as_str()), (202, Some("refund_requested")));

    let seen = Inclusion { hash: attempt(0xaa).hash, block: BlockNumber::new(12) };
    let said = server.store.include(&server.fence, SIGNER, Nonce::new(4), Some(seen)).await.unwrap();
    assert!(matches!(said, Noted::At(_)), "{said:?}");
    let finished =
        FinishedJob { job: held.job, epoch: held.epoch, block: seen.block, event: Some((seen.hash, 1)) };
    assert_eq!(server.store.finish(&server.fence, &[finished]).await.unwrap(), [Ok(())]);
    let view = Answer::of(server.get(&format!("/api/jobs/{job}"))).await.body;
    assert_eq!((&view["state"], &view["refund_requested"]), (&json!("done"), &json!(true)));
    assert_eq!((&view["tx"]["block"], &view["tx"]["hash"]), (&json!(12), &json!(seen.hash.to_string())));
    assert_eq!(view["tx"]["signer"], SIGNER.to_checksum(None));
    assert_eq!(view["tx"]["attempts"].as_array().map(Vec::len), Some(1));
    let delete = act(&server, Method::DELETE, &format!("/api/jobs/{job}?reason=x"));
    Answer::of(delete).await.is_problem(409, "job_terminal");
    let view = Answer::of(server.get(&format!("/api/affiliates/{}", wallet(2)))).await.body;
    assert_eq!((&view["paid"]["usdc"], &view["owed"]["usdc"]), (&json!("1000000"), &json!("1000000")));
}

#[tokio::test]
async fn only_a_failed_job_is_retried() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let job = due(&server, 1).await;
    let retry = || act(&server, Method::POST, &format!("/api/jobs/retry/{job}"));
    Answer::of(retry()).await.is_problem(409, "not_retryable");
    failed(&server, &job).await;
    let view = Answer::of(server.get(&format!("/api/jobs/{job}"))).await.body;
    assert_eq!(
        (&view["error"]["class"], &view["error"]["reason"]),
        (&json!("above_cap"), &json!("the cap is 5"))
    );
    assert!(view["error"]["hint"].as_str().unwrap().contains("cap"));
    let answer = Answer::of(retry().json(&json!({"reason": "the cap was raised"}))).await;
    assert_eq!((answer.status, answer.body), (202, json!({"job_id": job, "status": "retrying"})));
    let view = Answer::of(server.get(&format!("/api/jobs/{job}"))).await.body;
    let last = view["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!((&view["state"], &last["detail"]["by"]), (&json!("retrying"), &json!("ops")));
    assert_eq!(last["detail"]["reason"], "the cap was raised");
}

#[tokio::test]
async fn a_retry_needs_no_body() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let job = due(&server, 1).await;
    failed(&server, &job).await;
    let answer = Answer::of(act(&server, Method::POST, &format!("/api/jobs/retry/{job}"))).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test]
async fn a_cancel_needs_a_reason_once() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let job = due(&server, 1).await;
    let path = format!("/api/jobs/{job}");
    let delete = |query: &str| act(&server, Method::DELETE, &format!("{path}{query}"));
    Answer::of(delete("")).await.is_problem(422, "missing_field");
    Answer::of(delete("").json(&json!({}))).await.is_problem(422, "missing_field");
    Answer::of(delete("?reason=%20")).await.is_problem(422, "invalid_value");
    Answer::of(delete("?reason=a").json(&json!({"reason": "b"}))).await.is_problem(422, "invalid_value");
    Answer::of(delete("").json(&json!({"why": "b"}))).await.is_problem(422, "unknown_field");
    let long = "x".repeat(501);
    Answer::of(delete("").json(&json!({"reason": long}))).await.is_problem(422, "invalid_value");
    let answer = Answer::of(delete("?reason=test%20order")).await;
    let expected = json!({"job_id": job, "status": "cancelled", "stage_before": "queued"});
    assert_eq!((answer.status, answer.body), (200, expected));
    let view = Answer::of(server.get(&path)).await.body;
    assert_eq!(view["timeline"].as_array().unwrap().last().unwrap()["detail"]["reason"], "test order");

    let second = due(&server, 2).await;
    let delete = act(&server, Method::DELETE, &format!("/api/jobs/{second}"));
    assert_eq!(Answer::of(delete.json(&json!({"reason": "by body"}))).await.status, 200);
}

#[tokio::test]
async fn a_cancelled_payment_stays_spent() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    let job = due(&server, 1).await;
    Answer::of(act(&server, Method::DELETE, &format!("/api/jobs/{job}?reason=x"))).await;
    let again = Answer::of(server.deliver("evt_9", &payment("pay_1", &wallet(1), "10"))).await;
    assert_eq!((again.status, again.body["decision"].as_str()), (200, Some("cancelled")));
    let retry = Answer::of(act(&server, Method::POST, &format!("/api/jobs/retry/{job}"))).await;
    retry.is_problem(409, "not_retryable");
    assert_eq!(retry.body["job_id"], Value::from(job));
}
