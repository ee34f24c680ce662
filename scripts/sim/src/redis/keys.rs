//! Commands on keys of any type.

use super::SimRedis;
use super::reply::{Failure, Outcome, Reply, integer};

pub(super) fn del(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::count(args.iter().filter(|key| redis.keyspace.remove(key)).count()))
}

pub(super) fn exists(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::count(args.iter().filter(|key| redis.keyspace.slot(key).is_some()).count()))
}

pub(super) fn kind(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let kind = redis.keyspace.slot(args[0]).map_or("none", |slot| slot.value.kind());
    Ok(Reply::Status(kind.to_owned()))
}

pub(super) fn keys(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    if args[0].iter().any(|byte| b"?[\\".contains(byte)) {
        return Err(Failure::not_simulated(args[0]));
    }
    let found = redis.keyspace.keys().into_iter().filter(|key| matches(args[0], key));
    Ok(Reply::Array(found.map(|key| Reply::Bulk(key.clone())).collect()))
}

/// Patterns of texts and stars.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else { return pattern == text };
    let (before, after) = (&pattern[..star], &pattern[star + 1..]);
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| matches(after, &rest[at..]))
}

pub(super) fn flush(redis: &mut SimRedis, _now: u64, _args: &[&[u8]]) -> Outcome {
    redis.keyspace.clear();
    Ok(Reply::ok())
}

pub(super) fn pexpire(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let ms = integer(args[1])?;
    if let Some(option) = args.get(2) {
        return Err(Failure::not_simulated(option));
    }
    if ms <= 0 {
        return Ok(Reply::from(redis.keyspace.remove(args[0])));
    }
    let expires_at = now
        .checked_add(ms.unsigned_abs())
        .filter(|at| i64::try_from(*at).is_ok())
        .ok_or_else(|| Failure::new("ERR invalid expire time in 'pexpire' command"))?;
    Ok(Reply::from(redis.keyspace.set_expiry(args[0], expires_at)))
}

pub(super) fn pttl(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    Ok(match redis.keyspace.slot(args[0]) {
        None => Reply::Int(-2),
        Some(slot) => slot.expires_at.map_or(Reply::Int(-1), |at| {
            Reply::Int(i64::try_from(at.saturating_sub(now)).unwrap_or(i64::MAX))
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text) in
            [("*", ""), ("a*", "ab"), ("*b", "ab"), ("a*c*", "abcd"), ("ail:{m}:*", "ail:{m}:x")]
        {
            assert!(matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*", "ba"), ("*b", "ba"), ("", "a")] {
            assert!(!matches(pattern.as_bytes(), text.as_bytes()), "{pattern} {text}");
        }
    }
}
