//! The commands that are simulated: how many arguments each takes, whether it writes and whether it may need memory.

use super::reply::Outcome;
use super::{SimRedis, hash, info, keys, list, script, set, stream, string, zset};

pub(super) struct Command {
    pub(super) name: &'static str,
    least: usize,
    most: usize,
    effect: Effect,
    pub(super) run: fn(&mut SimRedis, u64, &[&[u8]]) -> Outcome,
}

#[derive(Clone, Copy, PartialEq)]
enum Effect {
    Reads,
    /// Changes something, and is let through when memory is full.
    Writes,
    /// Changes something, and may need memory.
    Grows,
    /// As its first argument says.
    Depends,
    /// Nothing that a script may do.
    Outside,
}

impl Command {
    /// Whether it takes so many arguments, the name not counted.
    pub(super) fn takes(&self, arguments: usize) -> bool {
        (self.least..=self.most).contains(&arguments)
    }

    /// Whether it is refused when memory is full.
    pub(super) fn grows(&self, args: &[&[u8]]) -> bool {
        match self.effect {
            Effect::Grows => true,
            Effect::Depends => args.first().is_some_and(|what| {
                what.eq_ignore_ascii_case(b"CREATE") || what.eq_ignore_ascii_case(b"CREATECONSUMER")
            }),
            _ => false,
        }
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self.effect, Effect::Writes | Effect::Grows | Effect::Depends)
    }

    pub(super) fn is_for_scripts(&self) -> bool {
        self.effect != Effect::Outside
    }
}

const MANY: usize = usize::MAX;

macro_rules! commands {
    ($($name:literal $least:tt..=$most:tt $effect:ident $run:path;)*) => {
        [$(Command { name: $name, least: $least, most: $most, effect: Effect::$effect, run: $run }),*]
    };
}

/// Sorted by name.
static COMMANDS: &[Command] = &commands! {
    "CONFIG" 1..=MANY Outside info::config;
    "DEL" 1..=MANY Writes keys::del;
    "EVALSHA" 2..=MANY Outside script::evalsha;
    "EXISTS" 1..=MANY Reads keys::exists;
    "FLUSHALL" 0..=1 Writes keys::flush;
    "GET" 1..=1 Reads string::get;
    "HDEL" 2..=MANY Writes hash::hdel;
    "HEXISTS" 2..=2 Reads hash::hexists;
    "HGET" 2..=2 Reads hash::hget;
    "HGETALL" 1..=1 Reads hash::hgetall;
    "HINCRBY" 3..=3 Grows hash::hincrby;
    "HLEN" 1..=1 Reads hash::hlen;
    "HMGET" 2..=MANY Reads hash::hmget;
    "HSCAN" 2..=MANY Reads hash::hscan;
    "HSET" 3..=MANY Grows hash::hset;
    "HSETNX" 3..=3 Grows hash::hsetnx;
    "INCR" 1..=1 Grows string::incr;
    "INFO" 0..=1 Reads info::info;
    "KEYS" 1..=1 Reads keys::keys;
    "LINDEX" 2..=2 Reads list::lindex;
    "LLEN" 1..=1 Reads list::llen;
    "LRANGE" 3..=3 Reads list::lrange;
    "LREM" 3..=3 Writes list::lrem;
    "PEXPIRE" 2..=MANY Writes keys::pexpire;
    "PING" 0..=0 Reads info::ping;
    "PTTL" 1..=1 Reads keys::pttl;
    "RPUSH" 2..=MANY Grows list::rpush;
    "SADD" 2..=MANY Grows set::sadd;
    "SCARD" 1..=1 Reads set::scard;
    "SCRIPT" 1..=MANY Outside script::script;
    "SET" 2..=MANY Grows string::set;
    "SISMEMBER" 2..=2 Reads set::sismember;
    "SMEMBERS" 1..=1 Reads set::smembers;
    "SRANDMEMBER" 2..=2 Reads set::srandmember;
    "SREM" 2..=MANY Writes set::srem;
    "TIME" 0..=0 Reads info::time;
    "TYPE" 1..=1 Reads keys::kind;
    "WAIT" 2..=2 Outside info::wait;
    "WAITAOF" 3..=3 Outside info::waitaof;
    "XACK" 3..=MANY Writes stream::xack;
    "XADD" 4..=MANY Grows stream::xadd;
    "XAUTOCLAIM" 5..=MANY Writes stream::xautoclaim;
    "XDEL" 2..=MANY Writes stream::xdel;
    "XGROUP" 1..=MANY Depends stream::xgroup;
    "XINFO" 1..=MANY Reads stream::xinfo;
    "XLEN" 1..=1 Reads stream::xlen;
    "XPENDING" 2..=MANY Reads stream::xpending;
    "XRANGE" 3..=MANY Reads stream::xrange;
    "XREAD" 3..=MANY Reads stream::xread;
    "XREADGROUP" 6..=MANY Writes stream::xreadgroup;
    "XREVRANGE" 3..=MANY Reads stream::xrevrange;
    "ZADD" 3..=MANY Grows zset::zadd;
    "ZCARD" 1..=1 Reads zset::zcard;
    "ZCOUNT" 3..=3 Reads zset::zcount;
    "ZRANGE" 3..=MANY Reads zset::zrange;
    "ZRANGEBYSCORE" 3..=MANY Reads zset::zrangebyscore;
    "ZREM" 2..=MANY Writes zset::zrem;
    "ZREMRANGEBYSCORE" 3..=3 Writes zset::zremrangebyscore;
    "ZREVRANGE" 3..=MANY Reads zset::zrevrange;
    "ZSCORE" 2..=2 Reads zset::zscore;
};

/// No name is longer.
const LONGEST: usize = 16;

pub(super) fn find(name: &[u8]) -> Option<&'static Command> {
    let mut upper = [0; LONGEST];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    let at = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(upper)).ok()?;
    COMMANDS.get(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        for command in COMMANDS {
            assert_eq!(find(command.name.to_lowercase().as_bytes()).unwrap().name, command.name);
        }
        assert!(find(b"MOVE").is_none() && find(b"").is_none() && find(&[b'X'; 40]).is_none());
    }
}
