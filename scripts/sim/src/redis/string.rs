//! Strings.

use super::SimRedis;
use super::keyspace::Value;
use super::reply::{Failure, Outcome, Reply, integer};

pub(super) fn get(redis: &mut SimRedis, _now: u64, args: &[&[u8]]) -> Outcome {
    Ok(Reply::optional(redis.keyspace.string(args[0])?))
}

#[derive(Default)]
struct Options<'a> {
    only_new: bool,
    only_old: bool,
    keeps_expiry: bool,
    /// A number, the milliseconds it counts, and whether it counts from now.
    expiry: Option<(&'a [u8], i64, bool)>,
}

impl<'a> Options<'a> {
    fn read(words: &[&'a [u8]]) -> Result<Self, Failure> {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let is_new = options.expiry.is_none() && !options.keeps_expiry;
            let mut expiry = |unit, from_now| {
                options.expiry = Some((words.next()?, unit, from_now));
                is_new.then_some(())
            };
            match word.to_ascii_uppercase().as_slice() {
                b"PX" => expiry(1, true),
                b"EX" => expiry(1000, true),
                b"PXAT" => expiry(1, false),
                b"NX" => (!options.only_old).then(|| options.only_new = true),
                b"XX" => (!options.only_new).then(|| options.only_old = true),
                b"KEEPTTL" => is_new.then(|| options.keeps_expiry = true),
                _ => None,
            }
            .ok_or_else(Failure::syntax)?;
        }
        Ok(options)
    }

    fn expires_at(&self, now: u64) -> Result<Option<u64>, Failure> {
        let Some((number, unit, from_now)) = self.expiry else { return Ok(None) };
        let ms = integer(number)?.checked_mul(unit).filter(|ms| *ms > 0);
        let at = ms.and_then(|ms| ms.unsigned_abs().checked_add(if from_now { now } else { 0 }));
        let at = at.filter(|at| i64::try_from(*at).is_ok());
        at.map(Some).ok_or_else(|| Failure::new("ERR invalid expire time in 'set' command"))
    }
}

pub(super) fn set(redis: &mut SimRedis, now: u64, args: &[&[u8]]) -> Outcome {
    let (key, value) = (args[0], args[1]);
    let options = Options::read(&args[2..])?;
    let expires_at = options.expires_at(now)?;
    let before = redis.keyspace.slot(key);
    if (options.only_new && before.is_some()) || (options.only_old && before.is_none()) {
        return Ok(Reply::Nil);
    }
    let kept = before.and_then(|slot| slot.expires_at).filter(|_| options.keeps_expiry);
    redis.keyspace.put(key, Value::String(value.into()), kept.or(expires_at));
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
