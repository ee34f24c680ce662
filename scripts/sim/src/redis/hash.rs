//! Hashes. Their fields come sorted, where Redis gives a small hash in the order of insertion and a large one in none.

use super::SimRedis;
use super::keyspace::Bytes;
use super::reply::{Failure, Outcome, Reply, integer, is};

/// Sorted by field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Fields(Vec<(Bytes, Bytes)>);

impl Fields {
    fn place(&self, field: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(field))
    }

    fn get(&self, field: &[u8]) -> Option<&Bytes> {
        self.place(field).ok().map(|at| &self.0[at].1)
    }

    /// Whether the field is new.
    fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        match self.place(field) {
            Ok(at) => {
                self.0[at].1 = value.into();
                false
            }
            Err(at) => {
                self.0.insert(at, (field.into(), value.into()));
                true
            }
        }
    }

    fn remove(&mut self, field: &[u8]) -> bool {
        self.place(field).is_ok_and(|at| {
            self.0.remove(at);
            true
        })
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn flat(&self) -> Reply {
        let pairs = self.0.iter().flat_map(|(field, value)| [field, value]);
        Reply::Array(pairs.map(|bytes| Reply::Bulk(bytes.clone())).collect())
    }
}

pub(super) fn hset(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (pairs, rest) = args[1..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Failure::new("ERR wrong number of arguments for 'hset' command"));
    }
    redis.keyspace.change(args[0], |fields: &mut Fields| {
        Reply::count(pairs.iter().filter(|[field, value]| fields.set(field, value)).count())
    })
}

pub(super) fn hsetnx(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    if redis.keyspace.read::<Fields>(args[0])?.is_some_and(|fields| fields.get(args[1]).is_some()) {
        return Ok(Reply::Int(0));
    }
    redis.keyspace.change(args[0], |fields: &mut Fields| Reply::from(fields.set(args[1], args[2])))
}

pub(super) fn hget(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let fields = redis.keyspace.read::<Fields>(args[0])?;
    Ok(Reply::optional(fields.and_then(|fields| fields.get(args[1]))))
}

pub(super) fn hmget(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let fields = redis.keyspace.read::<Fields>(args[0])?;
    let values = args[1..].iter().map(|name| Reply::optional(fields.and_then(|fields| fields.get(name))));
    Ok(Reply::Array(values.collect()))
}

pub(super) fn hgetall(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let fields = redis.keyspace.read::<Fields>(args[0])?;
    Ok(fields.map_or_else(|| Reply::Array(Vec::new()), Fields::flat))
}

pub(super) fn hexists(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let fields = redis.keyspace.read::<Fields>(args[0])?;
    Ok(Reply::from(fields.is_some_and(|fields| fields.get(args[1]).is_some())))
}

pub(super) fn hlen(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::count(redis.keyspace.read::<Fields>(args[0])?.map_or(0, Fields::len)))
}

pub(super) fn hdel(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let (key, names) = (args[0], &args[1..]);
    let fields = redis.keyspace.read::<Fields>(key)?;
    if !fields.is_some_and(|fields| names.iter().any(|name| fields.get(name).is_some())) {
        return Ok(Reply::Int(0));
    }
    redis.keyspace.change(key, |fields: &mut Fields| {
        Reply::count(names.iter().filter(|name| fields.remove(name)).count())
    })
}

pub(super) fn hincrby(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let by = integer(args[2])?;
    let fields = redis.keyspace.read::<Fields>(args[0])?;
    let before = match fields.and_then(|fields| fields.get(args[1])) {
        Some(text) => integer(text).map_err(|_| Failure::new("ERR hash value is not an integer"))?,
        None => 0,
    };
    let after =
        before.checked_add(by).ok_or_else(|| Failure::new("ERR increment or decrement would overflow"))?;
    redis.keyspace.change(args[0], |fields: &mut Fields| {
        fields.set(args[1], after.to_string().as_bytes());
        Reply::Int(after)
    })
}

/// All of it at once, as Redis does with a small hash whatever `COUNT` says.
pub(super) fn hscan(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    if args[1].is_empty() || !args[1].iter().all(u8::is_ascii_digit) {
        return Err(Failure::new("ERR invalid cursor"));
    }
    let nothing = || Reply::Array(vec![Reply::text("0"), Reply::Array(Vec::new())]);
    let Some(fields) = redis.keyspace.read::<Fields>(args[0])? else { return Ok(nothing()) };
    match args[2..] {
        [] => {}
        [name, count] if is(name, "COUNT") => {
            if integer(count)? < 1 {
                return Err(Failure::syntax());
            }
        }
        [name, ..] => return Err(Failure::not_simulated(name)),
    }
    Ok(Reply::Array(vec![Reply::text("0"), fields.flat()]))
}
