//! Groups: who was given what, and did not acknowledge it.

use super::super::SimRedis;
use super::super::keyspace::Bytes;
use super::super::reply::{Failure, Outcome, Reply, integer, is};
use super::{Group, Id, Pending, Stream, bound, count};

fn no_group(key: &[u8], group: &[u8]) -> Failure {
    Failure::new(format!(
        "NOGROUP No such key '{}' or consumer group '{}'",
        String::from_utf8_lossy(key),
        String::from_utf8_lossy(group)
    ))
}

pub(in super::super) fn xack(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (key, name) = (args[0], args[1]);
    let stream = redis.keyspace.read::<Stream>(key)?;
    let Some(group) = stream.and_then(|stream| stream.groups.get(name)) else { return Ok(Reply::Int(0)) };
    let ids: Result<Vec<Id>, _> = args[2..].iter().map(|text| Id::read(text, 0)).collect();
    let ids = ids?;
    if !ids.iter().any(|id| group.pending.contains_key(id)) {
        return Ok(Reply::Int(0));
    }
    redis.keyspace.change(key, |stream: &mut Stream| {
        let group = stream.groups.get_mut(name);
        group.map_or(Reply::Int(0), |group| {
            Reply::count(ids.iter().filter(|id| group.pending.remove(id).is_some()).count())
        })
    })
}

pub(in super::super) fn xgroup(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    match args {
        [what, key, group, id, rest @ ..] if is(what, "CREATE") => {
            let makes_stream = match rest {
                [] => false,
                [option] if is(option, "MKSTREAM") => true,
                [option, ..] => return Err(Failure::not_simulated(option)),
            };
            create(redis, key, group, id, makes_stream)
        }
        [what, key, group, consumer] if is(what, "CREATECONSUMER") => change(redis, key, group, |group| {
            let is_new = !group.consumers.contains_key(*consumer);
            if is_new {
                group.consumers.insert(Bytes::from(*consumer), now);
            }
            Reply::from(is_new)
        }),
        [what, key, group, consumer] if is(what, "DELCONSUMER") => change(redis, key, group, |group| {
            let before = group.pending.len();
            group.consumers.remove(*consumer);
            group.pending.retain(|_, pending| *pending.consumer != **consumer);
            Reply::count(before - group.pending.len())
        }),
        [what, ..] => Err(Failure::not_simulated(what)),
        [] => Err(Failure::syntax()),
    }
}

const NO_KEY: &str = "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
                      the MKSTREAM option to create an empty stream automatically.";

fn create(redis: &mut SimRedis, key: &[u8], group: &[u8], id: &[u8], makes_stream: bool) -> Outcome {
    let stream = redis.keyspace.read::<Stream>(key)?;
    if stream.is_none() && !makes_stream {
        return Err(Failure::new(NO_KEY));
    }
    let last_id = match id {
        b"$" => stream.map_or(Id::ZERO, |stream| stream.last_id),
        id => Id::read(id, 0)?,
    };
    if stream.is_some_and(|stream| stream.groups.contains_key(group)) {
        return Err(Failure::new("BUSYGROUP Consumer Group name already exists"));
    }
    redis.keyspace.change(key, |stream: &mut Stream| {
        stream.groups.insert(group.into(), Group { last_id, ..Group::default() });
    })?;
    Ok(Reply::ok())
}

fn change(
    redis: &mut SimRedis,
    key: &[u8],
    group: &[u8],
    change: impl FnOnce(&mut Group) -> Reply,
) -> Outcome {
    let stream = redis.keyspace.read::<Stream>(key)?.ok_or_else(|| Failure::new(NO_KEY))?;
    if !stream.groups.contains_key(group) {
        return Err(Failure::new(format!(
            "NOGROUP No such consumer group '{}' for key name '{}'",
            String::from_utf8_lossy(group),
            String::from_utf8_lossy(key)
        )));
    }
    redis
        .keyspace
        .change(key, |stream: &mut Stream| stream.groups.get_mut(group).map_or(Reply::Int(0), change))
}

/// `key group [IDLE ms] start end count [consumer]`; the summary without a range is not simulated.
pub(in super::super) fn xpending(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let (key, name) = (args[0], args[1]);
    let (least_idle, rest) = match &args[2..] {
        [option, ms, rest @ ..] if is(option, "IDLE") => (integer(ms)?, rest),
        rest => (0, rest),
    };
    let (start, end, most, consumer) = match *rest {
        [start, end, most] => (start, end, most, None),
        [start, end, most, consumer] => (start, end, most, Some(consumer)),
        [] => return Err(Failure::not_simulated(b"XPENDING without a range")),
        _ => return Err(Failure::syntax()),
    };
    let most = count(most)?;
    let (first, last) = (bound(start, true)?, bound(end, false)?);
    let stream = redis.keyspace.read::<Stream>(key)?;
    let group = stream.and_then(|stream| stream.groups.get(name)).ok_or_else(|| no_group(key, name))?;
    if first > last {
        return Ok(Reply::Array(Vec::new()));
    }
    let idle =
        |pending: &Pending| i64::try_from(now.saturating_sub(pending.delivered_at)).unwrap_or(i64::MAX);
    let rows = group
        .pending
        .range(first..=last)
        .filter(|(_, pending)| consumer.is_none_or(|name| *pending.consumer == *name))
        .filter(|(_, pending)| idle(pending) >= least_idle)
        .take(most)
        .map(|(id, pending)| {
            Reply::Array(vec![
                id.reply(),
                Reply::Bulk(pending.consumer.clone()),
                Reply::Int(idle(pending)),
                Reply::Int(i64::try_from(pending.deliveries).unwrap_or(i64::MAX)),
            ])
        });
    Ok(Reply::Array(rows.collect()))
}

/// What one `XAUTOCLAIM` found.
#[derive(Default)]
struct Claimed {
    taken: Vec<Id>,
    deleted: Vec<Id>,
    /// Where the next one is to begin.
    cursor: Id,
}

impl Group {
    /// Redis looks at ten entries for each that may be claimed, and counts those that were deleted among the claimed.
    fn find_idle(&self, stream: &Stream, start: Id, least_idle: u64, most: usize, now: u64) -> Claimed {
        let mut claimed = Claimed::default();
        let (mut left, mut attempts) = (most, most.saturating_mul(10));
        let mut pending = self.pending.range(start..);
        while attempts > 0 && left > 0 {
            attempts -= 1;
            let Some((id, entry)) = pending.next() else { break };
            if !stream.holds(*id) {
                claimed.deleted.push(*id);
                left -= 1;
            } else if now.saturating_sub(entry.delivered_at) >= least_idle {
                claimed.taken.push(*id);
                left -= 1;
            }
        }
        claimed.cursor = pending.next().map_or(Id::ZERO, |(id, _)| *id);
        claimed
    }
}

pub(in super::super) fn xautoclaim(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let (key, name, consumer) = (args[0], args[1], args[2]);
    let least_idle =
        integer(args[3]).map_err(|_| Failure::new("ERR Invalid min-idle-time argument for XAUTOCLAIM"))?;
    let start = bound(args[4], true)?;
    let most = match args[5..] {
        [] => 100,
        [option, most] if is(option, "COUNT") => {
            count(most).ok().filter(|most| *most > 0).ok_or_else(|| Failure::new("ERR COUNT must be > 0"))?
        }
        [option, ..] => return Err(Failure::not_simulated(option)),
    };
    let stream = redis.keyspace.read::<Stream>(key)?;
    let found = stream.and_then(|stream| stream.groups.get(name).map(|group| (stream, group)));
    let (stream, group) = found.ok_or_else(|| no_group(key, name))?;
    let least_idle = u64::try_from(least_idle).unwrap_or(0);
    let claimed = group.find_idle(stream, start, least_idle, most, now);
    let taken: Vec<_> = claimed
        .taken
        .iter()
        .filter_map(|id| stream.place(*id).ok())
        .map(|at| stream.entries[at].clone())
        .collect();
    if !claimed.taken.is_empty() || !claimed.deleted.is_empty() {
        change(redis, key, name, |group| {
            for id in &claimed.deleted {
                group.pending.remove(id);
            }
            let consumer = Bytes::from(consumer);
            for id in &claimed.taken {
                if let Some(pending) = group.pending.get_mut(id) {
                    pending.consumer = consumer.clone();
                    pending.delivered_at = now;
                    pending.deliveries += 1;
                }
            }
            if !claimed.taken.is_empty() {
                group.consumers.insert(consumer, now);
            }
            Reply::Nil
        })?;
    }
    Ok(Reply::Array(vec![
        claimed.cursor.reply(),
        Reply::Array(taken.iter().map(|entry| entry.reply()).collect()),
        Reply::Array(claimed.deleted.iter().map(|id| id.reply()).collect()),
    ]))
}
