//! Lists.

use super::SimRedis;
use super::keyspace::Bytes;
use super::reply::{Failure, Outcome, Reply, integer};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct List {
    pub(super) items: Vec<Bytes>,
}

/// `start` and `stop` as Redis counts them, below zero from the end, as a range of places.
pub(super) fn range(start: i64, stop: i64, len: usize) -> std::ops::Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |at: i64| if at < 0 { at.saturating_add(len) } else { at };
    let (start, stop) = (from_end(start).max(0), from_end(stop).min(len - 1));
    if start > stop { 0..0 } else { start.unsigned_abs() as usize..stop.unsigned_abs() as usize + 1 }
}

pub(super) fn rpush(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    redis.keyspace.change(args[0], |list: &mut List| {
        list.items.extend(args[1..].iter().map(|item| Bytes::from(*item)));
        Reply::count(list.items.len())
    })
}

pub(super) fn llen(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::count(redis.keyspace.read::<List>(args[0])?.map_or(0, |list| list.items.len())))
}

pub(super) fn lindex(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let Some(list) = redis.keyspace.read::<List>(args[0])? else { return Ok(Reply::Nil) };
    let at = integer(args[1])?;
    Ok(Reply::optional(list.items[range(at, at, list.items.len())].first()))
}

pub(super) fn lrange(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (start, stop) = (integer(args[1])?, integer(args[2])?);
    let list = redis.keyspace.read::<List>(args[0])?;
    let items = list.map_or(&[][..], |list| &list.items[range(start, stop, list.items.len())]);
    Ok(Reply::Array(items.iter().map(|item| Reply::Bulk(item.clone())).collect()))
}

/// Removes from the head; from the tail, with a count below zero, is not simulated.
pub(super) fn lrem(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let count = integer(args[1])?;
    let most = usize::try_from(count).map_err(|_| Failure::not_simulated(args[1]))?;
    let most = if most == 0 { usize::MAX } else { most };
    if !redis
        .keyspace
        .read::<List>(args[0])?
        .is_some_and(|list| list.items.iter().any(|item| **item == *args[2]))
    {
        return Ok(Reply::Int(0));
    }
    redis.keyspace.change(args[0], |list: &mut List| {
        let mut removed = 0;
        list.items.retain(|item| {
            let goes = removed < most && **item == *args[2];
            removed += usize::from(goes);
            !goes
        });
        Reply::count(removed)
    })
}
