//! The simulated Redis held against a real one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests stop at what is unexpected")]

#[path = "redis/commands.rs"]
mod commands;
#[path = "redis/pair.rs"]
mod pair;
#[path = "redis/server.rs"]
mod server;

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
