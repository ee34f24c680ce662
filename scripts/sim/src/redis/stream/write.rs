//! Adding and deleting.

use std::sync::Arc;

use super::super::SimRedis;
use super::super::keyspace::Bytes;
use super::super::reply::{Failure, Outcome, Reply, integer, is};
use super::{Entry, Id, Stream};

/// So many entries Redis keeps together at the most, and it trims approximately by taking all of them away or none. It puts
/// fewer together where they are long (4 KiB), and trims the sooner; that is not simulated.
const NODE: u64 = 100;

struct Trim {
    most: usize,
    is_rough: bool,
}

pub(in super::super) fn xadd(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let (key, mut rest) = (args[0], &args[1..]);
    let mut trim = None;
    if let [option, more @ ..] = rest
        && is(option, "MAXLEN")
    {
        let (is_rough, more) = match more {
            [b"~", more @ ..] => (true, more),
            [b"=", more @ ..] => (false, more),
            more => (false, more),
        };
        let [most, more @ ..] = more else { return Err(Failure::syntax()) };
        let most = usize::try_from(integer(most)?)
            .map_err(|_| Failure::new("ERR The MAXLEN argument must be >= 0."))?;
        (trim, rest) = (Some(Trim { most, is_rough }), more);
    }
    let [id, fields @ ..] = rest else { return Err(Failure::syntax()) };
    if ["NOMKSTREAM", "MINID", "LIMIT"].iter().any(|option| is(id, option)) {
        return Err(Failure::not_simulated(id));
    }
    let wanted = Wanted::read(id)?;
    if fields.is_empty() || fields.len() % 2 == 1 {
        return Err(Failure::new("ERR wrong number of arguments for 'xadd' command"));
    }
    wanted.check()?;
    let last = redis.keyspace.read::<Stream>(key)?.map_or(Id::ZERO, |stream| stream.last_id);
    let id = wanted.after(last, now)?;
    redis.keyspace.change(key, |stream: &mut Stream| {
        let fields = fields.iter().map(|bytes| Bytes::from(*bytes)).collect();
        stream.entries.push(Arc::new(Entry::new(id, fields, stream.entries_added)));
        stream.entries_added += 1;
        stream.last_id = id;
        if let Some(trim) = trim {
            stream.trim(&trim);
        }
    })?;
    Ok(id.reply())
}

/// The id that an entry is to have.
enum Wanted {
    Next,
    This(Id),
}

impl Wanted {
    fn read(text: &[u8]) -> Result<Self, Failure> {
        match text {
            b"*" => Ok(Self::Next),
            [.., b'-', b'*'] => Err(Failure::not_simulated(text)),
            text => Id::read(text, 0).map(Self::This),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        match self {
            Self::This(Id::ZERO) => {
                Err(Failure::new("ERR The ID specified in XADD must be greater than 0-0"))
            }
            _ => Ok(()),
        }
    }

    fn after(self, last: Id, now: u64) -> Result<Id, Failure> {
        let refused = |why: &str| Err(Failure::new(format!("ERR The {why}")));
        let Some(next) = last.next() else {
            return refused("stream has exhausted the last possible ID, unable to add more items");
        };
        match self {
            Self::Next => Ok(next.max(Id { ms: now, seq: 0 })),
            Self::This(id) if id <= last => {
                refused("ID specified in XADD is equal or smaller than the target stream top item")
            }
            Self::This(id) => Ok(id),
        }
    }
}

impl Stream {
    fn trim(&mut self, trim: &Trim) {
        let surplus = self.entries.len().saturating_sub(trim.most);
        let gone = if trim.is_rough {
            let node = |entry: &Entry| entry.ordinal / NODE;
            let kept = self.entries.get(surplus).map(|entry| node(entry));
            self.entries[..surplus].iter().take_while(|entry| Some(node(entry)) != kept).count()
        } else {
            surplus
        };
        self.entries.drain(..gone);
    }
}

pub(in super::super) fn xdel(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let Some(stream) = redis.keyspace.read::<Stream>(args[0])? else { return Ok(Reply::Int(0)) };
    let ids: Result<Vec<Id>, _> = args[1..].iter().map(|text| Id::read(text, 0)).collect();
    let ids = ids?;
    if !ids.iter().any(|id| stream.holds(*id)) {
        return Ok(Reply::Int(0));
    }
    redis.keyspace.change(args[0], |stream: &mut Stream| {
        let mut deleted = 0;
        for id in ids {
            if let Ok(place) = stream.place(id) {
                stream.entries.remove(place);
                stream.max_deleted = stream.max_deleted.max(id);
                deleted += 1;
            }
        }
        Reply::count(deleted)
    })
}
