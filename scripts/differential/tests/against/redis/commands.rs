//! Random commands, right and wrong ones, on few keys, so that they meet.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::pair::{Pair, text};

const COMMANDS: usize = 20_000;
/// After so many the whole keyspace is compared.
const COMPARE_EVERY: usize = 100;
/// After so many it is emptied.
const CLEAR_EVERY: usize = 500;

pub(crate) fn random_commands(seed: u64) {
    let mut pair = Pair::start();
    let mut random = Random(StdRng::seed_from_u64(seed), Vec::new());
    let mut refused = 0;
    for nth in 1..=COMMANDS {
        if random.0.random_bool(0.3) {
            let ms = *[1, 1, 2, 5, 50, 500].choose(&mut random.0).unwrap();
            pair.advance(ms);
        }
        let command = random.command();
        let reply = pair.exec(&command);
        refused += usize::from(reply.is_err());
        if let (Some("XADD"), Ok(id @ redis::Value::BulkString(_))) =
            (command.first().map(String::as_str), &reply)
        {
            random.1.push(text(id));
            let surplus = random.1.len().saturating_sub(IDS);
            random.1.drain(..surplus);
        }
        if nth % COMPARE_EVERY == 0 {
            pair.compare_all();
        }
        if nth % CLEAR_EVERY == 0 {
            pair.clear();
        }
    }
    assert!(
        (COMMANDS / 50..COMMANDS / 3).contains(&refused),
        "{refused} were refused: hardly the right mixture"
    );
}

/// How many of the last stream ids are remembered.
const IDS: usize = 12;

struct Random(StdRng, Vec<String>);

impl Random {
    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.0).unwrap()
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.0.random_ratio(percent, 100)
    }

    /// A key of the wanted type, or now and then of another.
    fn key(&mut self, kind: &str) -> String {
        let kind = if self.chance(3) { self.one(&["s", "h", "l", "t", "z", "x"]) } else { kind };
        format!("{kind}{}", self.0.random_range(0..3))
    }

    fn word(&mut self) -> String {
        let long = "0123456789".repeat(7);
        self.one(&["a", "b", "c", "d", "e", "f", "g", "", "4", "17", "-3", "x y", "ä", &long]).to_owned()
    }

    fn field(&mut self) -> String {
        self.one(&["a", "b", "c", "d", "e", "f", "g"]).to_owned()
    }

    fn number(&mut self) -> String {
        if self.chance(3) {
            return self.one(&["", "x", "1.5", "+1", "01", " 1", "9223372036854775807", "-0"]).to_owned();
        }
        self.0.random_range(-4i64..12).to_string()
    }

    fn score(&mut self) -> String {
        if self.chance(3) {
            return self.one(&["inf", "-inf", "x", "", "1e3", "-5"]).to_owned();
        }
        self.0.random_range(0..8u32).to_string()
    }

    fn bound(&mut self) -> String {
        let open = if self.chance(30) { "(" } else { "" };
        format!(
            "{open}{}",
            if self.chance(20) { self.one(&["-inf", "+inf"]).to_owned() } else { self.score() }
        )
    }

    fn known_id(&mut self) -> Vec<String> {
        vec![self.id()]
    }

    /// An id that was given lately, as a rule.
    fn id(&mut self) -> String {
        if self.chance(80)
            && let Some(id) = self.1.choose(&mut self.0)
        {
            return id.clone();
        }
        if self.chance(4) {
            return self
                .one(&["x", "5", "1-1-1", "0-0", "18446744073709551615-18446744073709551615"])
                .to_owned();
        }
        format!("{}-{}", self.0.random_range(1..40u32), self.0.random_range(0..3u32))
    }

    fn id_bound(&mut self) -> String {
        match self.0.random_range(0..4) {
            0 => self.one(&["-", "+"]).to_owned(),
            1 => format!("({}", self.id()),
            _ => self.id(),
        }
    }

    fn many(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> Vec<String>) -> Vec<String> {
        let count = self.0.random_range(1..=most);
        (0..count).flat_map(|_| one(self)).collect()
    }

    fn command(&mut self) -> Vec<String> {
        let mut command = match self.0.random_range(0..10) {
            0 => self.of_keys(),
            1 => self.of_strings(),
            2 | 3 => self.of_hashes(),
            4 => self.of_lists(),
            5 => self.of_sets(),
            6 => self.of_sorted_sets(),
            _ => self.of_streams(),
        };
        // Without its count it would answer what it likes.
        if self.chance(1) && command[0] != "SRANDMEMBER" {
            command.pop();
        }
        if command.is_empty() {
            command.push("PING".to_owned());
        }
        command
    }

    fn of_keys(&mut self) -> Vec<String> {
        let kind = self.one(&["s", "h", "l", "t", "z", "x"]);
        let key = self.key(kind);
        let ms = self.number();
        match self.0.random_range(0..9) {
            0 => words(&["DEL", &key, &self.key("s")]),
            1 => words(&["EXISTS", &key, &self.key("h"), &key]),
            2 => words(&["TYPE", &key]),
            3 | 4 => words(&["PEXPIRE", &key, &format!("{ms}00")]),
            5 | 6 => words(&["PTTL", &key]),
            7 => words(&[self.one(&["PING", "TIME"])]),
            _ => words(&["KEYS", self.one(&["*", "s*", "*1", "h1", "*0*"])]),
        }
    }

    fn of_strings(&mut self) -> Vec<String> {
        let (key, value, ms) = (self.key("s"), self.word(), self.number());
        match self.0.random_range(0..9) {
            0..3 => words(&["GET", &key]),
            3 => words(&["INCR", &key]),
            4 => words(&["SET", &key, &value, "PX", &format!("{ms}0")]),
            5 => words(&["SET", &key, &value, "NX", "PX", &format!("{ms}0")]),
            6 => words(&["SET", &key, &value, self.one(&["XX", "NX", "KEEPTTL", "px", "ZZ"])]),
            7 => words(&["set", &key, &value, "EX", &ms, self.one(&["XX", "KEEPTTL"])]),
            _ => words(&["SET", &key, &value]),
        }
    }

    fn of_hashes(&mut self) -> Vec<String> {
        let (key, field) = (self.key("h"), self.field());
        match self.0.random_range(0..12) {
            0..3 => {
                let pairs = self.many(4, |random| vec![random.field(), random.word()]);
                [words(&["HSET", &key]), pairs].concat()
            }
            3 => words(&["HSETNX", &key, &field, &self.word()]),
            4 => words(&["HGET", &key, &field]),
            5 => [words(&["HMGET", &key]), self.many(3, |random| vec![random.field()])].concat(),
            6 => words(&["HGETALL", &key]),
            7 => words(&[self.one(&["HEXISTS", "HGET"]), &key, &field]),
            8 | 9 => [words(&["HDEL", &key]), self.many(3, |random| vec![random.field()])].concat(),
            10 => words(&["HINCRBY", &key, &field, &self.number()]),
            _ => match self.chance(50) {
                true => words(&["HSCAN", &key, "0", "COUNT", self.one(&["50", "100", "0", "x"])]),
                false => words(&["HLEN", &key]),
            },
        }
    }

    fn of_lists(&mut self) -> Vec<String> {
        let key = self.key("l");
        match self.0.random_range(0..7) {
            0..3 => [words(&["RPUSH", &key]), self.many(3, |random| vec![random.word()])].concat(),
            3 => words(&["LINDEX", &key, &self.number()]),
            4 => words(&["LRANGE", &key, &self.number(), &self.number()]),
            5 => words(&["LREM", &key, self.one(&["0", "1", "2", "x"]), &self.word()]),
            _ => words(&["LLEN", &key]),
        }
    }

    fn of_sets(&mut self) -> Vec<String> {
        let (key, member) = (self.key("t"), self.word());
        match self.0.random_range(0..8) {
            0..3 => [words(&["SADD", &key]), self.many(3, |random| vec![random.word()])].concat(),
            3 | 4 => [words(&["SREM", &key]), self.many(3, |random| vec![random.word()])].concat(),
            5 => words(&["SISMEMBER", &key, &member]),
            6 => words(&["SRANDMEMBER", &key, self.one(&["0", "1", "3", "100"])]),
            _ => words(&[self.one(&["SMEMBERS", "SCARD"]), &key]),
        }
    }

    fn of_sorted_sets(&mut self) -> Vec<String> {
        let (key, member) = (self.key("z"), self.word());
        match self.0.random_range(0..14) {
            0..4 => {
                let pairs = self.many(3, |random| vec![random.score(), random.word()]);
                [words(&["ZADD", &key]), pairs].concat()
            }
            4 | 5 => [words(&["ZREM", &key]), self.many(2, |random| vec![random.word()])].concat(),
            6 => words(&["ZSCORE", &key, &member]),
            7 => words(&["ZCOUNT", &key, &self.bound(), &self.bound()]),
            8 => words(&[self.one(&["ZRANGE", "ZREVRANGE"]), &key, &self.number(), &self.number()]),
            9 => words(&[
                self.one(&["ZRANGE", "ZREVRANGE"]),
                &key,
                &self.number(),
                &self.number(),
                "WITHSCORES",
            ]),
            10 => words(&["ZRANGEBYSCORE", &key, &self.bound(), &self.bound()]),
            11 => {
                let (offset, count) = (self.number(), self.number());
                words(&[
                    "ZRANGEBYSCORE",
                    &key,
                    &self.bound(),
                    &self.bound(),
                    "withscores",
                    "LIMIT",
                    &offset,
                    &count,
                ])
            }
            12 => words(&["ZREMRANGEBYSCORE", &key, &self.bound(), &self.bound()]),
            _ => words(&["ZCARD", &key]),
        }
    }

    fn of_streams(&mut self) -> Vec<String> {
        let (key, group, id) = (self.key("x"), self.one(&["g", "g", "g", "other"]), self.id());
        let consumer = self.one(&["amy", "bob", "cy"]);
        let count = self.one(&["1", "2", "5", "0", "-1"]);
        match self.0.random_range(0..26) {
            0..4 => words(&["XADD", &key, "*", &self.field(), &self.word()]),
            4 => words(&["XADD", &key, "MAXLEN", "5", "*", &self.field(), &self.word()]),
            5 => words(&["XADD", &key, &id, &self.field(), &self.word(), &self.field(), &self.word()]),
            6 => words(&["XADD", &key, &id, &self.field(), &self.word()]),
            7 => [words(&["XDEL", &key]), self.many(3, |random| random.known_id())].concat(),
            8 | 9 => [words(&["XACK", &key, group]), self.many(3, |random| random.known_id())].concat(),
            10 => words(&["XRANGE", &key, &self.id_bound(), &self.id_bound()]),
            11 => words(&["XRANGE", &key, "-", "+", "COUNT", count]),
            12 => words(&["XREVRANGE", &key, &self.id_bound(), &self.id_bound(), "COUNT", count]),
            13 => words(&["XLEN", &key]),
            14 => words(&["XGROUP", "CREATE", &key, group, self.one(&["0", "$", "0-0", "3"]), "MKSTREAM"]),
            15 => words(&["XGROUP", "CREATE", &key, group, &id]),
            16 => {
                let what = self.one(&["DELCONSUMER", "CREATECONSUMER", "CREATECONSUMER"]);
                words(&["XGROUP", what, &key, group, consumer])
            }
            17..20 => words(&["XREADGROUP", "GROUP", group, consumer, "COUNT", count, "STREAMS", &key, ">"]),
            20 => words(&["XREAD", "COUNT", count, "BLOCK", "5", "STREAMS", &key, &id]),
            21 => {
                let what = self.one(&["STREAM", "GROUPS"]);
                words(&["XINFO", what, &key])
            }
            22 => words(&["XINFO", "CONSUMERS", &key, group]),
            23 => {
                let (first, last) = (self.id_bound(), self.id_bound());
                match self.chance(50) {
                    true => words(&[
                        "XPENDING",
                        &key,
                        group,
                        "IDLE",
                        self.one(&["0", "5", "100"]),
                        &first,
                        &last,
                        "3",
                    ]),
                    false => words(&["XPENDING", &key, group, "-", "+", count, consumer]),
                }
            }
            _ => {
                let (idle, start) = (self.one(&["0", "0", "3", "100"]), self.id_bound());
                let start = if self.chance(60) { "0-0".to_owned() } else { start };
                match self.chance(80) {
                    true => words(&["XAUTOCLAIM", &key, group, consumer, idle, &start, "COUNT", count]),
                    false => words(&["XAUTOCLAIM", &key, group, consumer, idle, &start]),
                }
            }
        }
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
