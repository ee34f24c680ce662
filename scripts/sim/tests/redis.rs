//! The simulated Redis held against a real one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests stop at what is unexpected")]

#[path = "redis/commands.rs"]
mod commands;
#[path = "redis/pair.rs"]
mod pair;
#[path = "redis/server.rs"]
mod server;
#[path = "redis/speed.rs"]
mod speed;
#[path = "redis/steps.rs"]
mod steps;
#[path = "../../../shared/tests/support/mod.rs"]
mod support;
#[path = "redis/walk.rs"]
mod walk;

/// `Some` repeats a run.
const SEED: Option<u64> = None;

fn seed() -> u64 {
    let seed = SEED.unwrap_or_else(rand::random);
    eprintln!("the seed of this run: {seed}");
    seed
}

#[test]
fn random_commands_have_the_same_replies_and_leave_the_same_keys() {
    commands::random_commands(seed());
}

#[tokio::test]
async fn walks_over_all_operations_have_the_same_replies_and_leave_the_same_keys() {
    walk::random_walks(seed()).await;
}
