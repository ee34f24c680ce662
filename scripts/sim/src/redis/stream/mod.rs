//! Streams with their groups.

mod group;
mod inspect;
mod read;
mod write;

pub(super) use group::{xack, xautoclaim, xgroup, xpending};
pub(super) use inspect::xinfo;
pub(super) use read::{xlen, xrange, xread, xreadgroup, xrevrange};
pub(super) use write::{xadd, xdel};

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use super::keyspace::{Bytes, Keyspace, hash_of};
use super::reply::{Failure, Reply, integer};

/// A stream id: milliseconds and a number among those of the millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    ms: u64,
    seq: u64,
}

impl Id {
    const ZERO: Self = Self { ms: 0, seq: 0 };
    const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// `missing` stands in for a part after the dash that is not there.
    fn read(text: &[u8], missing: u64) -> Result<Self, Failure> {
        let invalid = || Failure::new("ERR Invalid stream ID specified as stream command argument");
        let text = std::str::from_utf8(text).map_err(|_| invalid())?;
        let number = |digits: &str| digits.parse().map_err(|_| invalid());
        match text.split_once('-') {
            Some((ms, seq)) => Ok(Self { ms: number(ms)?, seq: number(seq)? }),
            None => Ok(Self { ms: number(text)?, seq: missing }),
        }
    }

    fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    fn before(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(Self { ms: self.ms, seq }),
            None => self.ms.checked_sub(1).map(|ms| Self { ms, seq: u64::MAX }),
        }
    }

    fn reply(self) -> Reply {
        Reply::text(&format!("{}-{}", self.ms, self.seq))
    }
}

/// The id of the last entry that the stream ever had.
pub(super) fn end(keyspace: &Keyspace, key: &[u8]) -> Option<(u64, u64)> {
    let stream = keyspace.read::<Stream>(key).ok()??;
    Some((stream.last_id.ms, stream.last_id.seq))
}

/// The first or last id of a range, with `-`, `+` and `(`.
fn bound(text: &[u8], is_start: bool) -> Result<Id, Failure> {
    match text {
        b"-" => Ok(Id::ZERO),
        b"+" => Ok(Id::MAX),
        [b'(', id @ ..] => {
            let id = Id::read(id, if is_start { 0 } else { u64::MAX })?;
            let (moved, which) = if is_start { (id.next(), "start") } else { (id.before(), "end") };
            moved.ok_or_else(|| Failure::new(format!("ERR invalid {which} ID for the interval")))
        }
        id => Id::read(id, if is_start { 0 } else { u64::MAX }),
    }
}

/// A count; below zero it means none.
fn count(text: &[u8]) -> Result<usize, Failure> {
    Ok(usize::try_from(integer(text)?).unwrap_or(0))
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    id: Id,
    /// Fields and values by turns.
    fields: Vec<Bytes>,
    /// How many entries were added before it.
    ordinal: u64,
    /// Of `id` and `fields`: entries never change, and feeds are long.
    hash: u64,
}

impl Entry {
    fn new(id: Id, fields: Vec<Bytes>, ordinal: u64) -> Self {
        let hash = hash_of(&(id, &fields));
        Self { id, fields, ordinal, hash }
    }

    fn reply(&self) -> Reply {
        let fields = self.fields.iter().map(|bytes| Reply::Bulk(bytes.clone())).collect();
        Reply::Array(vec![self.id.reply(), Reply::Array(fields)])
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Stream {
    entries: Vec<Arc<Entry>>,
    last_id: Id,
    /// The greatest id that was ever deleted.
    max_deleted: Id,
    entries_added: u64,
    groups: BTreeMap<Bytes, Group>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Group {
    last_id: Id,
    /// How many entries were delivered, while that can be told.
    entries_read: Option<u64>,
    pending: BTreeMap<Id, Pending>,
    /// When each was last heard of.
    consumers: BTreeMap<Bytes, u64>,
}

/// An entry that was delivered and not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pending {
    consumer: Bytes,
    delivered_at: u64,
    deliveries: u64,
}

impl Stream {
    fn place(&self, id: Id) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&id, |entry| entry.id)
    }

    fn holds(&self, id: Id) -> bool {
        self.place(id).is_ok()
    }

    fn between(&self, first: Id, last: Id) -> Range<usize> {
        let start = self.entries.partition_point(|entry| entry.id < first);
        let end = self.entries.partition_point(|entry| entry.id <= last);
        start..end.max(start)
    }

    fn first_id(&self) -> Id {
        self.entries.first().map_or(Id::ZERO, |entry| entry.id)
    }

    /// Whether one was deleted from `start` on, as far as Redis can tell.
    fn has_tombstones_from(&self, start: Id) -> bool {
        let deleted = self.max_deleted;
        !self.entries.is_empty() && deleted != Id::ZERO && self.first_id() <= deleted && start <= deleted
    }

    /// How many entries were ever added up to `id`, where Redis can tell.
    fn distance(&self, id: Id) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.entries.is_empty() && id <= self.last_id || id == self.last_id {
            return Some(self.entries_added);
        }
        let (first, len) = (self.first_id(), self.entries.len() as u64);
        if id < self.last_id && (self.max_deleted == Id::ZERO || self.max_deleted < first) {
            if id < first {
                return Some(self.entries_added - len);
            }
            if id == first {
                return Some(self.entries_added - len + 1);
            }
        }
        None
    }

    /// Notes that the group was given the entry `id`, which it had not been given before.
    fn deliver(&mut self, group: &[u8], id: Id) {
        let has_tombstones = self.has_tombstones_from(id);
        let distance = if self.entries_added > 0 { self.distance(id) } else { None };
        if let Some(group) = self.groups.get_mut(group) {
            group.entries_read = match group.entries_read {
                Some(read) if !has_tombstones => Some(read + 1),
                _ => distance,
            };
            group.last_id = id;
        }
    }

    fn lag(&self, group: &Group) -> Option<u64> {
        let read = match group.entries_read {
            _ if self.entries_added == 0 => return Some(0),
            Some(read) if !self.has_tombstones_from(group.last_id) => Some(read),
            _ => self.distance(group.last_id),
        };
        read.map(|read| self.entries_added.saturating_sub(read))
    }
}
