//! Reading, by range and as a member of a group.

use super::super::SimRedis;
use super::super::keyspace::Bytes;
use super::super::reply::{Failure, Outcome, Reply, integer, is};
use super::{Id, Pending, Stream, bound, count};

pub(in super::super) fn xlen(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::count(redis.keyspace.read::<Stream>(args[0])?.map_or(0, |stream| stream.entries.len())))
}

pub(in super::super) fn xrange(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (first, last) = (bound(args[1], true)?, bound(args[2], false)?);
    by_range(redis, args, first, last, false)
}

pub(in super::super) fn xrevrange(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (last, first) = (bound(args[1], false)?, bound(args[2], true)?);
    by_range(redis, args, first, last, true)
}

fn by_range(redis: &SimRedis, args: &[&[u8]], first: Id, last: Id, reversed: bool) -> Outcome {
    let most = match args[3..] {
        [] => usize::MAX,
        [option, most] if is(option, "COUNT") => count(most)?,
        _ => return Err(Failure::syntax()),
    };
    let Some(stream) = redis.keyspace.read::<Stream>(args[0])? else { return Ok(Reply::Array(Vec::new())) };
    if most == 0 {
        return Ok(Reply::Nil);
    }
    let entries = stream.entries[stream.between(first, last)].iter();
    Ok(Reply::Array(if reversed {
        entries.rev().take(most).map(|entry| entry.reply()).collect()
    } else {
        entries.take(most).map(|entry| entry.reply()).collect()
    }))
}

/// `[COUNT n] [BLOCK ms] STREAMS key id`; several streams at once are not simulated.
struct Read<'a> {
    most: usize,
    key: &'a [u8],
    id: &'a [u8],
}

impl<'a> Read<'a> {
    fn parse(mut words: &[&'a [u8]]) -> Result<Self, Failure> {
        let mut most = usize::MAX;
        loop {
            match words {
                [option, value, rest @ ..] if is(option, "COUNT") => {
                    // None and less mean all.
                    most = Some(count(value)?).filter(|most| *most > 0).unwrap_or(usize::MAX);
                    words = rest;
                }
                [option, ms, rest @ ..] if is(option, "BLOCK") => {
                    if integer(ms)
                        .map_err(|_| Failure::new("ERR timeout is not an integer or out of range"))?
                        < 0
                    {
                        return Err(Failure::new("ERR timeout is negative"));
                    }
                    words = rest;
                }
                [option, key, id] if is(option, "STREAMS") => return Ok(Self { most, key, id }),
                [other, ..] => return Err(Failure::not_simulated(other)),
                [] => return Err(Failure::syntax()),
            }
        }
    }
}

fn of_one_stream(key: &[u8], entries: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::Array(vec![Reply::bulk(key), Reply::Array(entries)])])
}

pub(in super::super) fn xread(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let read = Read::parse(args)?;
    let stream = redis.keyspace.read::<Stream>(read.key)?;
    let after = if read.id == b"$" { None } else { Some(Id::read(read.id, 0)?) };
    let Some(stream) = stream else { return Ok(Reply::Nil) };
    let after = after.unwrap_or(stream.last_id);
    let Some(first) = after.next() else { return Ok(Reply::Nil) };
    let found = &stream.entries[stream.between(first, Id::MAX)];
    if found.is_empty() {
        return Ok(Reply::Nil);
    }
    Ok(of_one_stream(read.key, found.iter().take(read.most).map(|entry| entry.reply()).collect()))
}

/// Only what no consumer was given yet (`>`); a consumer's own history is not simulated.
pub(in super::super) fn xreadgroup(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let [option, group, consumer, rest @ ..] = args else { return Err(Failure::syntax()) };
    if !is(option, "GROUP") {
        return Err(Failure::not_simulated(option));
    }
    let read = Read::parse(rest)?;
    if read.id != b">" {
        return Err(Failure::not_simulated(read.id));
    }
    let stream = redis.keyspace.read::<Stream>(read.key)?;
    let last_id = stream.and_then(|stream| stream.groups.get(*group)).map(|group| group.last_id);
    let (Some(stream), Some(last_id)) = (stream, last_id) else {
        return Err(Failure::new(format!(
            "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP option",
            String::from_utf8_lossy(read.key),
            String::from_utf8_lossy(group)
        )));
    };
    let Some(first) = last_id.next() else { return Ok(Reply::Nil) };
    let found: Vec<_> =
        stream.entries[stream.between(first, Id::MAX)].iter().take(read.most).cloned().collect();
    if found.is_empty() {
        // From Redis 7.2 on it would make the consumer known all the same.
        return Ok(Reply::Nil);
    }
    redis.keyspace.change(read.key, |stream: &mut Stream| {
        let consumer = Bytes::from(*consumer);
        for entry in &found {
            stream.deliver(group, entry.id);
            if let Some(group) = stream.groups.get_mut(*group) {
                let pending = Pending { consumer: consumer.clone(), delivered_at: now, deliveries: 1 };
                group.pending.insert(entry.id, pending);
            }
        }
        if let Some(group) = stream.groups.get_mut(*group) {
            group.consumers.insert(consumer, now);
        }
    })?;
    Ok(of_one_stream(read.key, found.iter().map(|entry| entry.reply()).collect()))
}
