//! Liveness, readiness, metrics, request ids.

use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;
use shared::ids::BlockNumber;
use shared::store::Replay;

use crate::support::*;

async fn ready(server: &Server) -> Answer {
    Answer::of(server.request(Method::GET, "/readyz")).await
}

#[tokio::test]
async fn not_synced_is_red_with_the_reason_and_turns_green() {
    let server = Server::unsynced().await;
    let answer = ready(&server).await;
    assert_eq!((answer.status, &answer.body["ready"]), (503, &json!(false)));
    assert_eq!(answer.body["reasons"][0]["code"], "not_synced");
    server.sync().await;
    let answer = eventually(|| ready(&server), |answer| answer.status == 200).await;
    assert_eq!(answer.body, json!({"ready": true, "reasons": [], "notes": []}));
}

#[tokio::test]
async fn not_synced_tells_how_far_the_replay_has_come() {
    let server = Server::unsynced().await;
    let block = BlockNumber::new;
    let replay = Replay { from: block(7), to: block(40_000), at: Some(block(10_006)), events: 321 };
    assert!(server.store.show_replay(&server.fence, "run", &replay).await.unwrap());
    let told = "from block 7 to 40000: at block 10006, 321 events so far";
    let answer = eventually(|| ready(&server), |answer| answer.text.contains(told)).await;
    assert_eq!((answer.status, &answer.body["reasons"][0]["code"]), (503, &json!("not_synced")));
    server.sync().await;
    eventually(|| ready(&server), |answer| answer.status == 200).await;
}

#[tokio::test]
async fn a_redis_that_is_nearly_full_takes_nothing_new_and_opens_again_by_itself() {
    let server = Server::start().await;
    let (child, referrer) = (wallet(1), wallet(2));
    server.refer(&child, &referrer).await;
    let used: u64 = {
        let info = server.redis_cli(&["INFO", "memory"]);
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        line.trim().parse().unwrap()
    };
    let limit = |bytes: u64| {
        assert_eq!(server.redis_cli(&["CONFIG", "SET", "maxmemory", &bytes.to_string()]).trim(), "OK");
    };
    // 95 % of it are used.
    limit(used + used / 19);
    let red = eventually(|| ready(&server), |answer| answer.status == 503).await;
    assert_eq!(red.body["reasons"][0]["code"], "store_full", "{red:?}");
    assert!(red.text.contains("maxmemory") && red.text.contains("RETAIN_JOBS"), "{red:?}");
    let before = server.taken().await;
    let refused = Answer::of(server.deliver("evt_1", &payment("pay_1", &child, "10"))).await;
    refused.is_problem(503, "store_full");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    let registration = server.register(&json!({"wallet": wallet(3), "referrer": referrer}));
    Answer::of(registration).await.is_problem(503, "store_full");
    assert_eq!(server.taken().await, before, "something was taken all the same");
    let text = Answer::of(server.request(Method::GET, "/metrics")).await.text;
    assert!(text.contains("affiliate_api_store_full 1"), "{text}");

    limit(0);
    eventually(|| ready(&server), |answer| answer.status == 200).await;
    let again = Answer::of(server.deliver("evt_1", &payment("pay_1", &child, "10"))).await;
    assert_eq!(again.status, 202, "{again:?}");
}

#[tokio::test]
async fn redis_away_is_red_with_the_reason_while_the_process_lives() {
    let mut server = Server::start().await;
    drop(server.redis.take());
    let answer = eventually(|| ready(&server), |answer| answer.status == 503).await;
    assert_eq!(answer.body["reasons"][0]["code"], "redis_unavailable");
    assert_eq!(Answer::of(server.request(Method::GET, "/healthz")).await.status, 200);
    let metrics = eventually(
        || Answer::of(server.request(Method::GET, "/metrics")),
        |answer| answer.text.contains("affiliate_api_redis_up 0"),
    )
    .await;
    assert_eq!(metrics.status, 200);
    assert!(!metrics.text.contains("affiliate_jobs{"), "no numbers rather than wrong ones");
}

#[tokio::test]
async fn redis_that_hangs_turns_readiness_red_within_seconds() {
    let server = Server::start().await;
    server.redis_cli(&["CLIENT", "PAUSE", "30000", "ALL"]);
    let started = std::time::Instant::now();
    let answer = eventually(|| ready(&server), |answer| answer.status == 503).await;
    assert_eq!(answer.body["reasons"][0]["code"], "redis_unavailable");
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_restarted_redis_is_not_synced_until_a_relayer_syncs_it_again() {
    let mut server = Server::start().await;
    if !server.redis.as_mut().unwrap().restart() {
        return; // A container gets a new port.
    }
    let answer =
        eventually(|| ready(&server), |answer| answer.body["reasons"][0]["code"] == "not_synced").await;
    assert_eq!(answer.status, 503);
    let register = server.register(&json!({"wallet": wallet(1), "referrer": wallet(2)}));
    Answer::of(register).await.is_problem(503, "not_synced");
    server.sync().await;
    let register = server.register(&json!({"wallet": wallet(1), "referrer": wallet(2)}));
    assert_eq!(Answer::of(register).await.status, 202);
}

#[tokio::test]
async fn a_schema_that_is_gone_or_newer_is_red() {
    let server = Server::start().await;
    server.redis_cli(&["SET", "ail:{main}:schema", "99"]);
    let answer = eventually(|| ready(&server), |answer| answer.status == 503).await;
    assert_eq!(answer.body["reasons"][0]["code"], "schema");
    server.redis_cli(&["DEL", "ail:{main}:schema"]);
    let answer =
        eventually(|| ready(&server), |answer| answer.text.contains("affiliate-relayer migrate")).await;
    assert_eq!(answer.status, 503);
}

#[tokio::test]
async fn metrics_are_clean_by_promtool_and_count_what_happened() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    Answer::of(server.deliver("evt_1", &payment("pay_1", &wallet(1), "10"))).await;
    Answer::of(server.request(Method::POST, "/webhooks/payments")).await;
    Answer::of(server.request(Method::GET, "/nowhere")).await;
    let metrics = eventually(
        || Answer::of(server.request(Method::GET, "/metrics")),
        |answer| answer.text.contains("affiliate_jobs{state=\"pending\"} 2"),
    )
    .await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    for line in [
        "affiliate_api_http_requests_total{route=\"/webhooks/{source}\",method=\"POST\",status=\"202\"} 1",
        "affiliate_api_http_requests_total{route=\"unmatched\",method=\"GET\",status=\"404\"} 1",
        "affiliate_api_webhook_events_total{source=\"payments\",decision=\"due\"} 1",
        "affiliate_api_auth_failures_total{code=\"invalid_signature\"} 1",
        "affiliate_api_redis_up 1",
        "affiliate_api_event_streams 0",
    ] {
        assert!(metrics.text.contains(line), "{line} is not in\n{}", metrics.text);
    }
    let mut promtool = match Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(promtool) => promtool,
        Err(error) => panic!("promtool (Debian package prometheus): {error}"),
    };
    promtool.stdin.take().unwrap().write_all(metrics.text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn a_harmless_request_id_is_kept_and_any_other_replaced() {
    let server = Server::start().await;
    let ask =
        |id: &str| Answer::of(server.request(Method::GET, "/nowhere").header("x-request-id", id.to_owned()));
    let kept = ask("order-17_a.b:c").await;
    assert_eq!(kept.header("x-request-id"), "order-17_a.b:c");
    assert_eq!(kept.body["instance"], "order-17_a.b:c");
    for id in ["", "a b", "x\"y", &"x".repeat(129)] {
        let answer = ask(id).await;
        assert_eq!(answer.header("x-request-id").len(), 26, "{answer:?}");
    }
    let success = Answer::of(server.request(Method::GET, "/healthz")).await;
    assert_eq!(success.header("x-request-id").len(), 26);
}
