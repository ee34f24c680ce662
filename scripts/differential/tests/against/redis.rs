//! The simulated Redis held against a real one.

mod commands;
mod pair;
mod scripts;
mod server;
mod speed;
mod steps;
#[path = "../../../../shared/tests/store/support/mod.rs"]
mod support;
mod walk;

use std::hash::{DefaultHasher, Hash, Hasher};

use sim::redis::SimRedis;

/// The same in each run of the suite: change it to go other ways.
const SEED: u64 = 2_026;

#[test]
fn random_commands_have_the_same_replies_and_leave_the_same_keys() {
    commands::random_commands(SEED);
}

#[test]
fn values_cross_between_redis_and_lua_in_the_same_way() {
    scripts::all();
}

#[tokio::test]
async fn walks_over_all_operations_have_the_same_replies_and_leave_the_same_keys() {
    walk::random_walks(SEED).await;
}

fn hash(redis: &SimRedis) -> u64 {
    let mut hasher = DefaultHasher::new();
    redis.hash(&mut hasher);
    hasher.finish()
}

/// One key of each type, with and without an expiry.
fn filled() -> SimRedis {
    let mut redis = SimRedis::new("first");
    for command in [
        "SET s 1 PX 100",
        "HSET h a 1 b 2",
        "RPUSH l a b",
        "SADD t a b",
        "ZADD z 1 a 2 b",
        "XADD x 5-0 a 1",
        "XADD x 6-0 a 2",
        "XGROUP CREATE x g 0",
        "XREADGROUP GROUP g amy COUNT 1 STREAMS x >",
    ] {
        run(&mut redis, command);
    }
    redis
}

fn run(redis: &mut SimRedis, command: &str) -> redis::Value {
    redis.exec(1_000, &command.split(' ').collect::<Vec<_>>()).unwrap()
}

#[test]
fn a_clone_is_a_snapshot_that_differs_once_either_is_changed() {
    for change in [
        "SET s 2 PX 100",
        "PEXPIRE s 101",
        "HSET h a 2",
        "HDEL h b",
        "RPUSH l c",
        "SADD t c",
        "ZADD z 3 a",
        "XADD x 7-0 a 1",
        "XDEL x 5-0",
        "XACK x g 5-0",
        "DEL h",
    ] {
        let before = filled();
        let mut after = before.clone();
        assert!(after == before && hash(&after) == hash(&before));
        run(&mut after, change);
        assert!(after != before && hash(&after) != hash(&before), "{change}");
        let fresh = filled();
        assert!(before == fresh && hash(&before) == hash(&fresh), "{change} changed the snapshot");
    }
}

#[test]
fn the_way_to_the_same_data_does_not_matter() {
    let mut other = filled();
    for command in ["HSET h c 3", "HDEL h c", "SADD t c", "SREM t c", "ZADD z 9 b", "ZADD z 2 b", "GET s"] {
        run(&mut other, command);
    }
    assert!(other == filled() && hash(&other) == hash(&filled()));
}

#[test]
fn a_restart_keeps_the_data_under_a_new_run_id_and_forgets_scripts() {
    let mut redis = filled();
    let sha = redis.exec(1_000, &["SCRIPT", "LOAD", "return redis.call('GET', KEYS[1])"]).unwrap();
    let sha = pair::text(&sha);
    let call = ["EVALSHA", &sha, "1", "s"];
    assert_eq!(redis.exec(1_000, &call).unwrap(), redis::Value::BulkString(b"1".to_vec()));
    redis.restart("second");
    assert!(redis != filled());
    assert_eq!(redis.exec(1_000, &call).unwrap_err().code(), Some("NOSCRIPT"));
    let info = redis.exec(1_000, &["INFO", "server"]).unwrap();
    assert!(pair::text(&info).contains("run_id:second\r\n"));
    assert_eq!(run(&mut redis, "HGET h b"), redis::Value::BulkString(b"2".to_vec()));
    assert_eq!(run(&mut redis, "XACK x g 5-0"), redis::Value::Int(1));
    // The last millisecond in which the key is there, and the one after.
    assert_eq!(redis.exec(1_100, &["EXISTS", "s"]).unwrap(), redis::Value::Int(1));
    assert_eq!(redis.exec(1_101, &["EXISTS", "s"]).unwrap(), redis::Value::Int(0));
}

#[test]
fn what_is_not_simulated_is_refused_by_name() {
    let mut redis = filled();
    for command in [&["MOVE", "s", "1"][..], &["ZADD", "z", "NX", "1", "a"], &["CONFIG", "SET", "a", "b"]] {
        let refused = redis.exec(1_000, command).unwrap_err().to_string();
        assert!(
            command
                .iter()
                .any(|word| refused.contains(&format!("'{word}'")) || refused.contains(&format!("`{word}`"))),
            "{refused}"
        );
    }
    assert!(redis == filled());
}
