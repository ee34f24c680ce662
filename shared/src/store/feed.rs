//! The live feed: the capped stream of everything that moved, for people who watch. Nothing is decided on it.
//!
//! A reader never has to guess whether it missed something: [`Store::events_after`] says when entries after the one it
//! saw last are gone, and [`FeedWatch::next`] says which entry its answer follows, and whether others between the two are
//! gone.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::error::StoreError;
use super::script::{self, Args};
use super::stream::read_entries;
use super::wire::Connection;
use super::{Store, codec};
use crate::ids::IdError;

/// The most entries of one read.
const COUNT: usize = 64;

/// The id of an event: milliseconds and a number within them, which name an entry of the feed, and how many events of that
/// entry follow this one. Later events have greater ids; that of the last one of an entry is the entry's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EventId {
    millis: u64,
    sequence: u64,
    followed_by: Reverse<u32>,
}

impl EventId {
    /// That of the last event of the same entry.
    fn entry(self) -> Self {
        Self { followed_by: Reverse(0), ..self }
    }

    /// From where on `XRANGE` gives all that follows.
    fn range(self) -> String {
        match self.followed_by {
            Reverse(0) => format!("({self}"),
            _ => self.entry().to_string(),
        }
    }
}

impl FromStr for EventId {
    type Err = IdError;
    /// `<milliseconds>-<number>`, with `.<how many follow>` where some do; in decimal digits.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let number =
            |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u64>().ok()).flatten();
        let (entry, follow) = text.split_once('.').map_or((text, Some(0)), |(entry, follow)| {
            let follow = number(follow).and_then(|follow| u32::try_from(follow).ok());
            (entry, follow.filter(|follow| *follow > 0))
        });
        let parts = entry.split_once('-').and_then(|(millis, sequence)| number(millis).zip(number(sequence)));
        let id = parts.zip(follow).map(|((millis, sequence), follow)| Self {
            millis,
            sequence,
            followed_by: Reverse(follow),
        });
        id.ok_or_else(|| IdError::Malformed {
            what: "event id",
            value: text.chars().take(80).collect(),
            expected: "the `id` of an event, such as 1767225600000-0",
        })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)?;
        match self.followed_by {
            Reverse(0) => Ok(()),
            Reverse(follow) => write!(f, ".{follow}"),
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedEvent {
    pub id: EventId,
    /// Unix milliseconds of the Redis clock.
    pub at: u64,
    /// `job`, `tx`, `gate`, `lease` or `relayer`.
    pub kind: String,
    pub event: String,
    /// Everything else about it, as stored.
    pub detail: BTreeMap<String, String>,
}

/// A part of the feed.
#[derive(Debug, Clone)]
pub struct FeedSlice {
    /// Entries after the one that was asked for are gone, or it is none of this feed.
    pub gap: bool,
    pub events: Vec<FeedEvent>,
    /// The entry to ask for next.
    pub last: EventId,
    /// Whether there may be more.
    pub more: bool,
}

/// What a watch brings.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The entry that a watch saw last, which `events` follow.
    pub after: EventId,
    /// Entries between `after` and the first of `events` may be gone: the watch was slower than the feed is trimmed.
    pub gap: bool,
    /// None when the wait was in vain.
    pub events: Vec<FeedEvent>,
}

/// What a stream says of itself.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The oldest entry there is.
    first: Option<EventId>,
    /// The newest id ever given.
    last: EventId,
    /// Entries ever added, and entries there are.
    added: u64,
    length: u64,
}

/// Whether somebody who saw `after` last cannot be told of everything since.
fn is_gap(after: EventId, bounds: &Bounds) -> bool {
    let after = after.entry();
    if after == EventId::default() {
        return bounds.added > bounds.length;
    }
    // Above the newest: seen in another Redis, or in one that has since lost its newest data.
    after > bounds.last || bounds.first.map_or(after < bounds.last, |first| after < first)
}

impl Store {
    /// The feed after `after`; with `None`, nothing but where it ends now.
    pub async fn events_after(&self, after: Option<EventId>) -> Result<FeedSlice, StoreError> {
        let (bounds, events) = self.read_feed(after).await?;
        let gap = after.is_some_and(|after| is_gap(after, &bounds));
        let end = after.filter(|after| *after <= bounds.last).unwrap_or(bounds.last);
        let last = events.last().map_or(end, |event| event.id);
        Ok(FeedSlice { gap, last, more: !events.is_empty() && last < bounds.last, events })
    }

    /// What the feed says of itself, and a slice of it after `after`; with `None` no entries.
    async fn read_feed(&self, after: Option<EventId>) -> Result<(Bounds, Vec<FeedEvent>), StoreError> {
        let from = after.map(EventId::range).unwrap_or_default();
        let rows: Vec<Vec<String>> =
            self.look(&script::EVENTS_AFTER, Args::new().arg(from).arg(COUNT)).await?;
        let unknown =
            || StoreError::UnknownReply { script: "events_after", value: format!("{:?}", rows.first()) };
        let Some(([first, last, added, length], entries)) =
            rows.split_first().and_then(|(bounds, entries)| Some((bounds.first_chunk::<4>()?, entries)))
        else {
            return Err(unknown());
        };
        let key = self.keys.events();
        let number = |field, text: &str| codec::parse(&key, field, text, "a number");
        let bounds = Bounds {
            first: codec::optional(&key, "first", first, "an event id")?,
            last: codec::parse(&key, "last", last, "an event id")?,
            added: number("added", added)?,
            length: number("length", length)?,
        };
        let mut events = Vec::with_capacity(entries.len());
        for row in entries {
            let (id, fields) = row.split_first().ok_or_else(unknown)?;
            let fields = fields.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            events.extend(of_entry(&key, id, fields)?.into_iter().filter(|event| Some(event.id) > after));
        }
        Ok((bounds, events))
    }

    /// A watch on the feed, from now on.
    pub async fn watch_events(&self) -> Result<FeedWatch, StoreError> {
        let key = self.keys.events();
        let last = self.newest_entry("watch events", &key).await?;
        let connection = self.blocking("watch events").await?;
        Ok(FeedWatch { store: self.clone(), connection, key, last })
    }
}

/// Waits for new entries, on a connection of its own.
pub struct FeedWatch {
    store: Store,
    connection: Connection,
    key: String,
    last: String,
}

impl FeedWatch {
    /// Waits up to `patience` for entries.
    ///
    /// `XREAD` after an entry that was trimmed begins at the oldest that is left, and does not say so. So the feed is asked
    /// afterwards: where the entry seen last, or one later, is still the oldest, nothing between was gone a moment before.
    pub async fn next(&mut self, patience: Duration) -> Result<Heard, StoreError> {
        let after = codec::parse(&self.key, "id", &self.last, "an event id")?;
        let entries =
            read_entries(&mut self.connection, &self.key, &self.last, COUNT, patience, "watch events")
                .await?;
        if let Some(newest) = entries.last() {
            self.last.clone_from(&newest.id);
        }
        let mut events = Vec::with_capacity(entries.len());
        for entry in &entries {
            let text = |value: &redis::Value| redis::from_redis_value_ref(value).unwrap_or_default();
            let fields = entry.map.iter().map(|(name, value)| (name.clone(), text(value)));
            events.extend(of_entry(&self.key, &entry.id, fields)?);
        }
        let gap = !events.is_empty() && is_gap(after, &self.store.read_feed(None).await?.0);
        Ok(Heard { after, gap, events })
    }
}

/// The events of an entry: one for each of the jobs that moved alike, or one.
fn of_entry(
    key: &str,
    id: &str,
    fields: impl Iterator<Item = (String, String)>,
) -> Result<Vec<FeedEvent>, StoreError> {
    let mut detail: BTreeMap<String, String> = fields.collect();
    let mut take = |name| detail.remove(name).unwrap_or_default();
    let entry: EventId = codec::parse(key, "id", id, "an event id")?;
    let at = codec::parse(key, "at", &take("at"), "unix milliseconds")?;
    let (kind, event) = (take("type"), take("event"));
    let jobs: Vec<String> =
        detail.get("job").map(|jobs| jobs.split(' ').map(str::to_owned).collect()).unwrap_or_default();
    if jobs.len() < 2 {
        return Ok(vec![FeedEvent { id: entry, at, kind, event, detail }]);
    }
    let follow = (0..jobs.len()).rev().map(|follow| u32::try_from(follow).unwrap_or(u32::MAX));
    let each = jobs.iter().zip(follow).map(|(job, follow)| {
        let mut detail = detail.clone();
        detail.insert("job".to_owned(), job.clone());
        let id = EventId { followed_by: Reverse(follow), ..entry };
        FeedEvent { id, at, kind: kind.clone(), event: event.clone(), detail }
    });
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EventId {
        text.parse().unwrap()
    }

    #[test]
    fn an_event_id_is_read_as_it_is_written_and_ordered_by_number() {
        assert_eq!(id("1767225600000-12").to_string(), "1767225600000-12");
        assert!(id("9-0") < id("10-0") && id("10-9") < id("10-10"));
        assert_eq!(id("17-3.2").to_string(), "17-3.2");
        assert!(id("10-8") < id("10-9.2") && id("10-9.2") < id("10-9.1") && id("10-9.1") < id("10-9"));
        for text in [
            "10-9.0",
            "10-9.",
            "10.1",
            "10-9.1.1",
            "10-9.4294967296",
            "",
            "-",
            "1",
            "1-",
            "-1",
            "1-2-3",
            "+1-2",
            "1-x",
            "99999999999999999999-0",
        ] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_gap_is_told_exactly_where_entries_are_gone() {
        let stream = Bounds { first: Some(id("20-0")), last: id("30-5"), added: 100, length: 10 };
        for (after, gap) in [
            ("19-9", true),
            ("20-0.3", false),
            ("30-5.1", false),
            ("20-0", false),
            ("25-3", false),
            ("30-5", false),
            ("30-6", true),
            ("0-0", true),
        ] {
            assert_eq!(is_gap(id(after), &stream), gap, "{after}");
        }
        let untrimmed = Bounds { added: 10, ..stream };
        assert!(!is_gap(id("0-0"), &untrimmed), "from the very beginning, and all is there");
        assert!(is_gap(id("19-9"), &untrimmed), "an id of before an emptied Redis");
        let empty = Bounds { first: None, last: id("0-0"), added: 0, length: 0 };
        assert!(!is_gap(id("0-0"), &empty) && is_gap(id("5-0"), &empty));
        let all_deleted = Bounds { first: None, ..stream };
        assert!(is_gap(id("30-4"), &all_deleted) && !is_gap(id("30-5"), &all_deleted));
    }
}
