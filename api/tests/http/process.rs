//! The real binary: exit codes, and that nothing listens before everything was checked.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};

use shared::store::{Durability, Store};
use shared::testing::{TestRedis, free_port};

use crate::support::*;

const VARIABLES: [&str; 6] =
    ["REDIS_URL", "API_KEYS", "WEBHOOK_SECRETS", "COMMISSION_BPS", "HYBRID_SGE_BPS", "SGE_PER_USDC"];

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_affiliate-api"));
    command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn configured(redis_url: &str) -> Command {
    let mut command = binary();
    for name in VARIABLES {
        command.env(name, setting(name, redis_url).unwrap());
    }
    command
}

#[track_caller]
fn refused(output: &Output, code: i32, problems: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for problem in problems {
        assert!(said.contains(problem), "{problem} is not in:\n{said}");
    }
    assert_eq!(said.lines().count(), problems.len(), "{said}");
}

#[test]
fn a_bad_configuration_exits_64_with_every_problem_and_no_secret() {
    let port = free_port();
    let output = binary()
        .env("API_LISTEN", format!("127.0.0.1:{port}"))
        .env("REDIS_URL", "redis://user:hunter2@localhost:1/")
        .env("API_KEYS", "shop:merchant:hunter2,ops:god:00")
        .env("WEBHOOK_SECRETS", "payments=hunter2")
        .env("COMMISSION_BPS", "10001")
        .env("SGE_PER_USDC", "-1")
        .env("HOLD_SECONDS", "soon")
        .env("DURABILITY", "mostly")
        .output()
        .unwrap();
    let problems = [
        "DURABILITY=mostly",
        "API_KEYS: entry 1",
        "API_KEYS: entry 2",
        "WEBHOOK_SECRETS: payments: secret 1",
        "COMMISSION_BPS=10001",
        "SGE_PER_USDC=-1",
        "HOLD_SECONDS=soon",
    ];
    refused(&output, 64, &problems);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
}

#[test]
fn an_empty_environment_names_everything_that_is_needed() {
    let output = binary().output().unwrap();
    refused(
        &output,
        64,
        &[
            "REDIS_URL is not set",
            "API_KEYS is not set",
            "WEBHOOK_SECRETS is not set",
            "COMMISSION_BPS is not set",
        ],
    );
}

#[test]
fn an_unknown_argument_exits_64() {
    refused(&binary().arg("serve").output().unwrap(), 64, &["usage"]);
}

#[test]
fn a_redis_that_is_away_exits_69() {
    let url = format!("redis://127.0.0.1:{}/", free_port());
    refused(&configured(&url).output().unwrap(), 69, &["REDIS_URL"]);
}

#[tokio::test]
async fn a_redis_that_is_not_durable_enough_or_not_migrated_exits_69_with_every_problem() {
    let server = Server::unsynced().await;
    let url = server.redis.as_ref().unwrap().url();
    server.redis_cli(&["CONFIG", "SET", "appendfsync", "everysec"]);
    server.redis_cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    server.redis_cli(&["DEL", "ail:{main}:schema"]);
    let port = free_port();
    let output = configured(url).env("API_LISTEN", format!("127.0.0.1:{port}")).output().unwrap();
    refused(&output, 69, &["appendfsync", "maxmemory-policy", "affiliate-relayer migrate"]);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn a_replica_is_refused_whatever_the_policy() {
    let server = Server::unsynced().await;
    let url = server.redis.as_ref().unwrap().url();
    server.redis_cli(&["REPLICAOF", "127.0.0.1", "1"]);
    let output = configured(url).env("DURABILITY", "none").output().unwrap();
    refused(&output, 69, &["not a primary"]);
}

#[tokio::test]
async fn an_address_that_is_taken_exits_69() {
    let server = Server::start().await;
    let url = server.redis.as_ref().unwrap().url();
    let taken = server.base.strip_prefix("http://").unwrap();
    let output = configured(url).env("API_LISTEN", taken).env("RUST_LOG", "off").output().unwrap();
    refused(&output, 69, &["cannot listen"]);
}

/// Waits for the line that names the address.
fn address_of(child: &mut Child) -> (String, BufReader<std::process::ChildStderr>) {
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some((_, address)) = line.split_once("ready for requests address=") {
            return (address.trim().to_owned(), lines);
        }
        line.clear();
    }
    panic!("it ended before it listened");
}

#[tokio::test]
async fn sigterm_drains_and_exits_0_and_the_log_holds_no_secret() {
    let redis = TestRedis::start().await;
    let store = Store::connect(redis.url(), &"main".parse().unwrap(), Durability::Always).await.unwrap();
    store.migrate().await.unwrap();
    let mut child = configured(redis.url()).env("API_LISTEN", "127.0.0.1:0").spawn().unwrap();
    let (address, mut lines) = address_of(&mut child);
    let url = format!("http://{address}/api/stats?token=sesame");
    let answer = reqwest::Client::new().get(url).bearer_auth(VIEWER).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let refused =
        reqwest::Client::new().get(format!("http://{address}/api/stats")).bearer_auth("hunter2").send();
    assert_eq!(refused.await.unwrap().status(), 401);
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut log = String::new();
    lines.read_to_string(&mut log).unwrap();
    let line = log.lines().find(|line| line.contains("http.status=200")).unwrap_or_else(|| panic!("{log}"));
    for part in
        ["http.method=\"GET\"", "http.route=\"/api/stats\"", "request.id=", "key.name=\"look\"", "http.ms="]
    {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    for secret in [VIEWER, "hunter2", "sesame", SECRET] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}
