use super::*;

const NONE: [usize; 0] = [];

fn code_violations(path: &str, text: &str) -> Vec<usize> {
    let mut found = Vec::new();
    check_code(&Source::new(path, text), &mut found);
    found.into_iter().map(|violation| violation.line).collect()
}

fn manifest_violations(path: &str, text: &str) -> usize {
    let mut found = Vec::new();
    check_manifest(&Source::new(path, text), &mut found);
    found.len()
}

#[test]
fn a_consumer_that_imports_the_signer_is_found_however_it_is_spelled() {
    let path = "worker/src/consumer/check.rs";
    assert_eq!(code_violations(path, "use crate::signer::pack;\n"), [1]);
    assert_eq!(code_violations(path, "use crate::{\n  chain,\n  signer::{pack, fees as f},\n};\n"), [1, 1]);
    assert_eq!(code_violations(path, "\nfn a() { crate::signer::run() }\n"), [2]);
    assert_eq!(code_violations(path, "use super::super::signer;\n"), [1]);
    assert_eq!(code_violations(path, "use super::signer;\nuse crate::signer_keys; // crate::signer\n"), NONE);
    assert_eq!(code_violations(path, "use crate::chain::Chain;\nuse shared::store::Store;\n"), NONE);
    assert_eq!(code_violations("worker/src/main.rs", "use crate::signer;\n"), NONE);
}

#[test]
fn the_two_services_do_not_know_each_other() {
    assert_eq!(code_violations("api/src/a.rs", "use worker::chain;\n"), [1]);
    assert_eq!(code_violations("worker/src/a.rs", "fn a() -> api::dto::Job {}\n"), [1]);
    assert_eq!(code_violations("api/src/a.rs", "use crate::worker::chain;\n"), NONE);
}

#[test]
fn redis_is_named_in_the_store_only() {
    let text = "use redis::AsyncCommands;\nuse deadpool_redis::{Pool};\n";
    assert_eq!(code_violations("api/src/a.rs", text), [1, 2]);
    assert_eq!(code_violations("shared/src/tasks.rs", "fn a(x: redis::Client) {}"), [1]);
    assert_eq!(code_violations("shared/src/store/mod.rs", text), NONE);
    assert_eq!(
        code_violations("scripts/kit/src/a.rs", "use super::redis::Redis; use crate::world::redis;"),
        NONE
    );
}

#[test]
fn domain_code_never_awaits_nor_stores() {
    let path = "shared/src/job/payout.rs";
    assert_eq!(code_violations(path, "async fn a() {}\n"), [1]);
    assert_eq!(code_violations(path, "\nuse tokio::time;\nuse crate::store::keys;\n"), [2, 3]);
    assert_eq!(code_violations(path, "use crate::ids;\n// async, await, tokio::x\n"), NONE);
    assert_eq!(code_violations("shared/src/tasks.rs", "async fn a() { tokio::x() }\n"), NONE);
}

#[test]
fn a_manifest_with_a_forbidden_dependency_is_found() {
    assert_eq!(manifest_violations("api/Cargo.toml", "[dependencies]\nredis.workspace = true\n"), 1);
    assert_eq!(manifest_violations("api/Cargo.toml", "[dev-dependencies]\nr = { package = \"redis\" }\n"), 1);
    assert_eq!(
        manifest_violations("worker/Cargo.toml", "[dependencies.deadpool-redis]\nversion = \"1\"\n"),
        1
    );
    assert_eq!(manifest_violations("worker/Cargo.toml", "[dependencies]\nail-api.workspace = true\n"), 1);
    assert_eq!(manifest_violations("shared/Cargo.toml", "[dependencies]\nail-worker.workspace = true\n"), 1);
    assert_eq!(manifest_violations("shared/Cargo.toml", "[dependencies]\nredis.workspace = true\n"), 0);
    assert_eq!(manifest_violations("Cargo.toml", "[workspace.dependencies]\nredis = \"1\"\n"), 0);
    assert_eq!(manifest_violations("api/Cargo.toml", "[package]\nname = \"redis\"\n"), 0);
}

#[test]
fn a_use_tree_is_flattened() {
    let found = paths(&[], "use a::{b, c::{d, e as f}, g::*};\n");
    let paths: Vec<&str> = found.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(paths, ["a::b", "a::c::d", "a::c::e", "a::g::*"]);
}

#[test]
fn no_backend_of_a_key_decides_itself_whether_a_signature_is_its_own() {
    let text = "impl SignerKey for Remote {\n    fn has_signed(&self) -> bool { true }\n}\n";
    assert_eq!(code_violations("worker/src/keys/remote.rs", text), [2]);
    assert_eq!(code_violations("worker/src/keys/mod.rs", text), NONE);
    assert_eq!(code_violations("scripts/sim/src/chain/key.rs", text), NONE);
}
