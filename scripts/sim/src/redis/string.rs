//! Strings.

use super::SimRedis;
use super::keyspace::Value;
use super::reply::{Failure, Outcome, Reply, integer};

pub(super) fn get(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::optional(redis.keyspace.string(args[0])?))
}

#[derive(Default)]
struct Options {
    only_new: bool,
    only_old: bool,
    keeps_expiry: bool,
    expires_at: Option<u64>,
}

impl Options {
    fn read(now: u64, words: &[&[u8]]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut expiry = |unit: i64, from: u64| {
                let number = integer(words.next().ok_or_else(Failure::syntax)?)?;
                let invalid = || Failure::new("ERR invalid expire time in 'set' command");
                let ms = number.checked_mul(unit).filter(|ms| *ms > 0).ok_or_else(invalid)?;
                options.expires_at = Some(from.checked_add(ms.unsigned_abs()).ok_or_else(invalid)?);
                Ok::<_, Failure>(())
            };
            match word.to_ascii_uppercase().as_slice() {
                b"PX" => expiry(1, now)?,
                b"EX" => expiry(1000, now)?,
                b"PXAT" => expiry(1, 0)?,
                b"NX" => options.only_new = true,
                b"XX" => options.only_old = true,
                b"KEEPTTL" => options.keeps_expiry = true,
                _ => return Err(Failure::syntax()),
            }
        }
        let is_torn =
            (options.only_new && options.only_old) || (options.keeps_expiry && options.expires_at.is_some());
        if is_torn { Err(Failure::syntax()) } else { Ok(options) }
    }
}

pub(super) fn set(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let (key, value) = (args[0], args[1]);
    let options = Options::read(now, &args[2..])?;
    let before = redis.keyspace.slot(key);
    if (options.only_new && before.is_some()) || (options.only_old && before.is_none()) {
        return Ok(Reply::Nil);
    }
    let kept = before.and_then(|slot| slot.expires_at).filter(|_| options.keeps_expiry);
    redis.keyspace.put(key, Value::String(value.into()), kept.or(options.expires_at));
    redis.keyspace.expire(now);
    Ok(Reply::ok())
}

pub(super) fn incr(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    let before = redis.keyspace.string(args[0])?.map_or(Ok(0), |text| integer(text))?;
    let after =
        before.checked_add(1).ok_or_else(|| Failure::new("ERR increment or decrement would overflow"))?;
    let expires_at = redis.keyspace.slot(args[0]).and_then(|slot| slot.expires_at);
    redis.keyspace.put(args[0], Value::String(after.to_string().as_bytes().into()), expires_at);
    Ok(Reply::Int(after))
}
