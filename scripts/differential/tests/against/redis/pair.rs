//! A real Redis and a simulated one that are given the same commands at the same times, and must answer the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use redis::{RedisResult, Value};
use serde_json::value::RawValue;
use sim::redis::SimRedis;

use super::server::Real;
use super::speed::Recorded;

/// When the clocks begin: a time of 13 digits, as today's.
const START: u64 = 1_732_000_000_000;
/// How many of the last commands a failure shows.
const SHOWN: usize = 30;
/// How many reads travel together.
const PIPELINED: usize = 500;

pub(crate) struct Pair {
    pub(crate) real: Real,
    pub(crate) sim: SimRedis,
    pub(crate) now: u64,
    pub(crate) run_id: String,
    history: VecDeque<String>,
    /// How often each script was run, by its hash.
    pub(crate) runs: BTreeMap<String, usize>,
    /// Every command since the servers were emptied.
    pub(crate) recorded: Vec<Recorded>,
    /// Hashes of scripts that pick members of sets as they like.
    picking: BTreeSet<String>,
    /// Hashes of scripts that tell fields or members in no order.
    unordered: BTreeSet<&'static str>,
}

impl Pair {
    pub(crate) fn start() -> Self {
        let mut real = Real::start(START);
        let Ok(Value::BulkString(info)) = real.exec(&["INFO", "server"]) else { panic!("INFO") };
        let info = String::from_utf8(info).unwrap();
        let scripts = shared::store::scripts().into_iter();
        let unordered = scripts.filter(|(_, name)| ["chores", "fleet_view"].contains(name));
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap().trim().to_owned();
        Self {
            real,
            sim: SimRedis::new(&run_id),
            now: START,
            run_id,
            history: VecDeque::new(),
            runs: BTreeMap::new(),
            recorded: Vec::new(),
            picking: BTreeSet::new(),
            unordered: unordered.map(|(sha, _)| sha).collect(),
        }
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.now += ms;
        self.real.set_clock(self.now);
    }

    pub(crate) fn set_full(&mut self, full: bool) {
        let limit = if full { "1" } else { "0" };
        self.real.exec(&["CONFIG", "SET", "maxmemory", limit]).unwrap();
        self.sim.set_full(full);
    }

    /// Begins again with nothing.
    pub(crate) fn clear(&mut self) {
        self.real.exec(&["FLUSHALL"]).unwrap();
        self.real.exec(&["SCRIPT", "FLUSH"]).unwrap();
        self.sim = SimRedis::new(&self.run_id);
        self.history.clear();
        self.recorded.clear();
    }

    /// Gives `words` to both, and what both answered.
    pub(crate) fn exec(&mut self, words: &[impl AsRef<[u8]>]) -> RedisResult<Value> {
        let words: Vec<&[u8]> = words.iter().map(AsRef::as_ref).collect();
        let name = String::from_utf8_lossy(words[0]).to_uppercase();
        if name == "EVALSHA" {
            self.before_script(&words);
        }
        let real = self.real.exec(&without_block(&words));
        self.compare(&name, &words, real)
    }

    /// Gives all of `commands`, which only read, to both.
    fn exec_all(&mut self, commands: &[Vec<String>]) -> Vec<Value> {
        let mut all = Vec::new();
        for some in commands.chunks(PIPELINED) {
            for (words, real) in some.iter().zip(self.real.exec_all(some)) {
                let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
                let name = String::from_utf8_lossy(words[0]).to_uppercase();
                all.extend(self.compare(&name, &words, Ok(real)));
            }
        }
        all
    }

    /// Gives to the simulated one what the real one has answered.
    fn compare(&mut self, name: &str, words: &[&[u8]], real: RedisResult<Value>) -> RedisResult<Value> {
        let told: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let mut told = format!("{}: {}", self.now, told.join(" "));
        if (name, words.len()) == ("SCRIPT", 3) {
            if String::from_utf8_lossy(words[2]).contains("SRANDMEMBER") {
                self.picking.insert(text(real.as_ref().unwrap()));
            }
            told.truncate(200);
        }
        let ours = self.sim.exec(self.now, words);
        self.recorded.push((self.now, words.iter().map(|word| word.to_vec()).collect()));
        self.history.push_back(told);
        if self.history.len() > SHOWN {
            self.history.pop_front();
        }
        let is_unordered =
            words.get(1).is_some_and(|sha| self.unordered.iter().any(|known| known.as_bytes() == *sha));
        let comparable =
            |reply| comparable(name, words, reply).map(if is_unordered { deeply_sorted } else { |v| v });
        let (expected, found) = (comparable(&real), comparable(&ours));
        if expected != found {
            self.fail(&format!("Redis answers\n  {expected:?}\nand the simulated one\n  {found:?}"));
        }
        real
    }

    /// Which members Redis picks first is its own affair; the simulated one is told.
    fn before_script(&mut self, words: &[&[u8]]) {
        let sha = String::from_utf8_lossy(words[1]).into_owned();
        if self.picking.contains(&sha) {
            let mut order = Vec::new();
            for set in ["waiting", "stranded"] {
                let key = format!(
                    "{}{set}:{}",
                    String::from_utf8_lossy(words[3]),
                    String::from_utf8_lossy(words[4])
                );
                let Ok(Value::Array(members)) = self.real.exec(&["SMEMBERS", &key]) else { continue };
                order.extend(members.iter().map(|member| text(member).into_bytes()));
            }
            self.sim.prefer(order);
        }
        *self.runs.entry(sha).or_default() += 1;
    }

    /// Compares every key, its type, its content and its time of expiry.
    pub(crate) fn compare_all(&mut self) {
        let Ok(Value::Array(keys)) = self.exec(&["KEYS", "*"]) else { panic!("KEYS") };
        let keys: Vec<String> = keys.iter().map(text).collect();
        let each = |name: &str| keys.iter().map(|key| vec![name.to_owned(), key.clone()]).collect::<Vec<_>>();
        self.exec_all(&each("PTTL"));
        let kinds = self.exec_all(&each("TYPE"));
        let mut reads = Vec::new();
        for (key, kind) in keys.iter().zip(kinds) {
            let Value::SimpleString(kind) = kind else { panic!("TYPE") };
            let mut read = |words: &[&str]| reads.push(words.iter().map(|word| (*word).to_owned()).collect());
            match kind.as_str() {
                "string" => read(&["GET", key]),
                "hash" => read(&["HGETALL", key]),
                "list" => read(&["LRANGE", key, "0", "-1"]),
                "set" => read(&["SMEMBERS", key]),
                "zset" => read(&["ZRANGE", key, "0", "-1", "WITHSCORES"]),
                "stream" => self.compare_stream(key),
                other => panic!("{key} is a {other}"),
            }
        }
        self.exec_all(&reads);
    }

    fn compare_stream(&mut self, key: &str) {
        self.exec(&["XRANGE", key, "-", "+"]).unwrap();
        self.exec(&["XINFO", "STREAM", key]).unwrap();
        let Ok(Value::Array(groups)) = self.exec(&["XINFO", "GROUPS", key]) else { panic!("XINFO GROUPS") };
        for group in groups {
            let Value::Array(fields) = group else { panic!("{group:?}") };
            let name = text(&fields[1]);
            self.exec(&["XINFO", "CONSUMERS", key, &name]).unwrap();
            self.exec(&["XPENDING", key, &name, "-", "+", "1000000"]).unwrap();
        }
    }

    pub(crate) fn fail(&self, what: &str) -> ! {
        let history: Vec<_> = self.history.iter().map(String::as_str).collect();
        panic!("{what}\nafter\n  {}", history.join("\n  "));
    }
}

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("not a text: {other:?}"),
    }
}

/// The real one would wait for its clock, which stands.
fn without_block<'a>(words: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let at = words.iter().position(|word| word.eq_ignore_ascii_case(b"BLOCK"));
    let is_read = words[0].to_ascii_uppercase().starts_with(b"XREAD");
    match at.filter(|_| is_read) {
        Some(at) => [&words[..at], &words[at + 2..]].concat(),
        None => words.to_vec(),
    }
}

/// A reply without what Redis and its Lua leave open (the order of members, and of fields, also in JSON), or what is about
/// Redis's own memory.
fn comparable(name: &str, words: &[&[u8]], reply: &RedisResult<Value>) -> Result<Value, String> {
    let value = match reply {
        Ok(value) => json_sorted(value),
        Err(error) => return Err(told(error)),
    };
    let what = words.get(1).map(|word| word.to_ascii_uppercase()).unwrap_or_default();
    Ok(match (name, value) {
        ("SMEMBERS" | "KEYS", value) => sorted(value),
        ("HGETALL", value) => sorted_pairs(value),
        ("SRANDMEMBER", Value::Array(members)) => {
            let count: usize = std::str::from_utf8(words[2]).unwrap().parse().unwrap();
            if members.len() < count {
                sorted(Value::Array(members))
            } else {
                Value::Int(members.len() as i64)
            }
        }
        ("HSCAN", Value::Array(mut parts)) => {
            parts[1] = sorted_pairs(std::mem::take(&mut parts[1]));
            Value::Array(parts)
        }
        ("XINFO", Value::Array(mut fields)) if what == b"STREAM" => {
            // Its radix tree.
            fields.drain(2..6);
            Value::Array(fields)
        }
        ("INFO", Value::BulkString(text)) => {
            let text = String::from_utf8_lossy(&text).into_owned();
            let told = ["redis_version:", "run_id:", "role:", "connected_slaves:", "maxmemory_policy:"];
            let lines = text.lines().filter(|line| told.iter().any(|name| line.starts_with(name)));
            Value::Array(lines.map(|line| Value::SimpleString(line.trim().to_owned())).collect())
        }
        (_, value) => value,
    })
}

/// Kind, code and text, but for the line of a script, which ours does not know after a tail call. That a command has not the right form is enough where it has not.
fn told(error: &redis::RedisError) -> String {
    let detail = error.detail().unwrap_or_default();
    if ["wrong number of arguments", "syntax error", "is not simulated", "Unbalanced"]
        .iter()
        .any(|part| detail.contains(part))
    {
        return "not a command's form".to_owned();
    }
    let detail = detail.split_once(", on @user_script").map_or(detail, |(before, _)| before);
    format!("{:?} {} {detail}", error.kind(), error.code().unwrap_or_default())
}

/// With the fields of every JSON object in order.
fn json_sorted(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(json_sorted).collect()),
        Value::BulkString(bytes) if bytes.starts_with(b"{") => {
            Value::BulkString(fields_sorted(&String::from_utf8_lossy(bytes)).into_bytes())
        }
        other => other.clone(),
    }
}

/// Everything but their order stays as it was written.
fn fields_sorted(json: &str) -> String {
    if let Ok(fields) = serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(json) {
        let fields = fields.iter().map(|(name, value)| format!("{name:?}:{}", fields_sorted(value.get())));
        return format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
    }
    match serde_json::from_str::<Vec<Box<RawValue>>>(json) {
        Ok(items) => {
            let items = items.iter().map(|item| fields_sorted(item.get()));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        Err(_) => json.to_owned(),
    }
}

fn sorted(value: Value) -> Value {
    let Value::Array(mut items) = value else { return value };
    items.sort_by_cached_key(|item| format!("{item:?}"));
    Value::Array(items)
}

fn sorted_pairs(value: Value) -> Value {
    let Value::Array(items) = value else { return value };
    let pairs = items.chunks(2).map(|pair| Value::Array(pair.to_vec())).collect();
    sorted(Value::Array(pairs))
}

/// Lists that scripts put together from members and fields, wherever they are in the reply.
fn deeply_sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => sorted(Value::Array(items.into_iter().map(deeply_sorted).collect())),
        other => other,
    }
}
