//! What streams, groups and consumers say of themselves.

use super::super::SimRedis;
use super::super::reply::{Failure, Outcome, Reply, is};
use super::{Entry, Group, Id, Stream};

pub(in super::super) fn xinfo(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let stream =
        |key: &[u8]| redis.keyspace.read::<Stream>(key)?.ok_or_else(|| Failure::new("ERR no such key"));
    match args {
        [what, key] if is(what, "STREAM") => Ok(of_stream(stream(key)?)),
        [what, key] if is(what, "GROUPS") => {
            let stream = stream(key)?;
            let groups = stream.groups.iter().map(|(name, group)| of_group(stream, name, group));
            Ok(Reply::Array(groups.collect()))
        }
        [what, key, name] if is(what, "CONSUMERS") => {
            let group = stream(key)?.groups.get(*name).ok_or_else(|| {
                Failure::new(format!(
                    "NOGROUP No such consumer group '{}' for key name '{}'",
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(key)
                ))
            })?;
            let consumers = group.consumers.iter().map(|(name, seen_at)| {
                let pending = group.pending.values().filter(|pending| pending.consumer == *name).count();
                named([
                    ("name", Reply::Bulk(name.clone())),
                    ("pending", Reply::count(pending)),
                    ("idle", number(now.saturating_sub(*seen_at))),
                ])
            });
            Ok(Reply::Array(consumers.collect()))
        }
        [what, ..] => Err(Failure::not_simulated(what)),
        [] => Err(Failure::syntax()),
    }
}

fn named<const N: usize>(pairs: [(&str, Reply); N]) -> Reply {
    Reply::Array(pairs.into_iter().flat_map(|(name, value)| [Reply::text(name), value]).collect())
}

fn number(number: u64) -> Reply {
    Reply::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// The two counts of the radix tree, which are about Redis's memory, are those of a small stream.
fn of_stream(stream: &Stream) -> Reply {
    let entry = |entry: Option<&std::sync::Arc<Entry>>| entry.map_or(Reply::Nil, |entry| entry.reply());
    named([
        ("length", Reply::count(stream.entries.len())),
        ("radix-tree-keys", Reply::Int(1)),
        ("radix-tree-nodes", Reply::Int(2)),
        ("last-generated-id", stream.last_id.reply()),
        ("max-deleted-entry-id", stream.max_deleted.reply()),
        ("entries-added", number(stream.entries_added)),
        ("recorded-first-entry-id", stream.first_id().reply()),
        ("groups", Reply::count(stream.groups.len())),
        ("first-entry", entry(stream.entries.first())),
        ("last-entry", entry(stream.entries.last())),
    ])
}

fn of_group(stream: &Stream, name: &[u8], group: &Group) -> Reply {
    named([
        ("name", Reply::bulk(name)),
        ("consumers", Reply::count(group.consumers.len())),
        ("pending", Reply::count(group.pending.len())),
        ("last-delivered-id", id(group.last_id)),
        ("entries-read", group.entries_read.map_or(Reply::Nil, number)),
        ("lag", stream.lag(group).map_or(Reply::Nil, number)),
    ])
}

fn id(id: Id) -> Reply {
    id.reply()
}
