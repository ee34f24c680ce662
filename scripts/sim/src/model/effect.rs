//! What the production code asks the world for, and what it is told: the two ports as data.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use redis::Value;
use worker::chain::ChainError;

use crate::chain::{Answer, Question};

/// Script names by hash.
static NAMES: LazyLock<BTreeMap<&'static str, &'static str>> =
    LazyLock::new(|| shared::store::scripts().into_iter().collect());

/// Scripts that change nothing a decision depends on.
const READING: [&str; 4] = ["read_ready", "chores", "index_slice", "fleet_view"];

/// One command to Redis, or one question to the chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    Redis(Vec<Vec<u8>>),
    Chain(Question),
}

/// An effect, with what is asked about it again and again.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) effect: Effect,
    pub(super) hash: u64,
    /// The script that it runs.
    pub(super) script: Option<&'static str>,
    /// Whether it changes the world.
    pub(super) writes: bool,
}

impl Asked {
    pub(super) fn new(effect: Effect) -> Self {
        let script = match &effect {
            Effect::Redis(words) if words.first().is_some_and(|name| name == b"EVALSHA") => words
                .get(1)
                .and_then(|sha| std::str::from_utf8(sha).ok())
                .and_then(|sha| NAMES.get(sha).copied()),
            _ => None,
        };
        let writes = match &effect {
            Effect::Chain(question) => matches!(question, Question::Broadcast(_)),
            Effect::Redis(words) => match words.first().map(Vec::as_slice) {
                Some(b"EVALSHA") => script.is_none_or(|name| !READING.contains(&name)),
                Some(b"XREADGROUP" | b"SET" | b"SCRIPT") => true,
                _ => false,
            },
        };
        let hash = hash_of(&effect);
        Self { effect, hash, script, writes }
    }

    /// The n-th argument of a script, from 0, as text.
    pub(super) fn arg(&self, n: usize) -> &str {
        match &self.effect {
            // Behind the name, the hash, the number of keys and the lane.
            Effect::Redis(words) => {
                words.get(n + 4).and_then(|word| std::str::from_utf8(word).ok()).unwrap_or("")
            }
            Effect::Chain(_) => "",
        }
    }

    /// How many arguments a script has.
    pub(super) fn args(&self) -> usize {
        match &self.effect {
            Effect::Redis(words) => words.len().saturating_sub(4),
            Effect::Chain(_) => 0,
        }
    }
}

/// In a few words, for traces.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.effect, self.script) {
            (_, Some(name @ ("journal" | "journal_attempt" | "close_nonce" | "include"))) => {
                write!(f, "{name} at nonce {} under {}", self.arg(2), self.arg(0))
            }
            (_, Some(name)) => {
                let shown: Vec<&str> = (0..self.args().min(3)).map(|n| self.arg(n)).collect();
                write!(f, "{name} {}", shown.join(" "))
            }
            (Effect::Redis(words), None) => {
                let shown: Vec<_> = words.iter().take(6).map(|word| String::from_utf8_lossy(word)).collect();
                f.write_str(&shown.join(" "))
            }
            (Effect::Chain(Question::Broadcast(raw)), None) => match super::ghosts::decode(raw) {
                Some(sent) => write!(
                    f,
                    "broadcast {:.10} at nonce {}{}",
                    sent.hash.to_string(),
                    sent.nonce,
                    if sent.pays { "" } else { " (pays nobody)" }
                ),
                None => f.write_str("broadcast of what is no transaction"),
            },
            (Effect::Chain(question), None) => write!(f, "{question:?}"),
        }
    }
}

/// The answer to an effect.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Redis(Value),
    /// The connection broke: whether the command was executed is not known.
    Broken,
    Chain(Result<Answer, ChainError>),
}

impl Hash for Told {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Redis(value) => {
                state.write_u8(0);
                hash_value(value, state);
            }
            Self::Broken => state.write_u8(1),
            Self::Chain(answer) => {
                state.write_u8(2);
                answer.hash(state);
            }
        }
    }
}

fn hash_value<H: Hasher>(value: &Value, state: &mut H) {
    match value {
        Value::Nil => state.write_u8(0),
        Value::Int(number) => (1u8, number).hash(state),
        Value::BulkString(bytes) => (2u8, bytes).hash(state),
        Value::SimpleString(text) => (3u8, text).hash(state),
        Value::Okay => state.write_u8(4),
        Value::Array(values) => {
            (5u8, values.len()).hash(state);
            values.iter().for_each(|value| hash_value(value, state));
        }
        // RESP2 has no others.
        other => format!("{other:?}").hash(state),
    }
}

/// The same in every process.
pub(super) fn hash_of<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The text in a reply.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The n-th text in a reply that is an array, or the reply itself where n is 0.
pub(super) fn nth(value: &Value, n: usize) -> Option<String> {
    match value {
        Value::Array(values) => values.get(n).and_then(text),
        other if n == 0 => text(other),
        _ => None,
    }
}
