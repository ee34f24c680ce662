//! The server: its clock, what it says of itself, and how durable it says writes are.

use super::SimRedis;
use super::reply::{Failure, Outcome, Reply, integer};

/// The version whose behaviour is simulated.
const VERSION: &str = "7.0.15";
/// Bytes in use. A server that is full has just this limit.
const USED_MEMORY: u64 = 1_000_000;

pub(super) fn ping(_redis: &mut SimRedis, _now: u64, _args: &[&[u8]]) -> Outcome {
    Ok(Reply::Status("PONG".to_owned()))
}

pub(super) fn time(_redis: &mut SimRedis, now: u64, _args: &[&[u8]]) -> Outcome {
    Ok(Reply::Array(vec![Reply::digits(now / 1000), Reply::digits(now % 1000 * 1000)]))
}

/// The sections `server`, `memory` and `replication`, with the lines that the project reads.
pub(super) fn info(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let section = args.first().map_or_else(|| b"everything".to_vec(), |name| name.to_ascii_lowercase());
    let server = format!(
        "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nrun_id:{}\r\n",
        redis.run_id
    );
    if section == b"server" {
        return Ok(Reply::text(&server));
    }
    let max = if redis.is_full { USED_MEMORY } else { 0 };
    let memory = format!(
        "# Memory\r\nused_memory:{USED_MEMORY}\r\nmaxmemory:{max}\r\nmaxmemory_policy:noeviction\r\n"
    );
    let replication = "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n";
    match section.as_slice() {
        b"memory" => Ok(Reply::text(&memory)),
        b"replication" => Ok(Reply::text(replication)),
        b"everything" | b"all" | b"default" => Ok(Reply::text(&[&server, &memory, replication].join("\r\n"))),
        other => Err(Failure::not_simulated(other)),
    }
}

/// A server that loses nothing it has acknowledged.
pub(super) fn config(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let [what, name] = args else { return Err(Failure::not_simulated(args[0])) };
    if !what.eq_ignore_ascii_case(b"GET") {
        return Err(Failure::not_simulated(what));
    }
    let max = if redis.is_full { USED_MEMORY.to_string() } else { "0".to_owned() };
    let value = match *name {
        b"appendonly" => "yes",
        b"appendfsync" => "always",
        b"maxmemory-policy" => "noeviction",
        b"maxmemory" => &max,
        _ => return Err(Failure::not_simulated(name)),
    };
    Ok(Reply::Array(vec![Reply::bulk(name), Reply::text(value)]))
}

/// There are no replicas.
pub(super) fn wait(_redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    for number in args {
        integer(number)?;
    }
    Ok(Reply::Int(0))
}

/// Every write is on the disk at once, and there are no replicas.
pub(super) fn waitaof(_redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    for number in args {
        integer(number)?;
    }
    Ok(Reply::Array(vec![Reply::Int(1), Reply::Int(0)]))
}
