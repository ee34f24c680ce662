//! What must hold at every moment, watched from outside while commands and transactions pass: nothing in the product knows
//! that it is watched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{Address, Bytes, keccak256};
use redis::{RedisResult, Value};
use shared::ids::Hash32;

use crate::fenced::fence_at;
use crate::redis::SimRedis;

/// The hashes of the scripts whose first argument is the value of a lease.
static FENCED_SHAS: LazyLock<BTreeMap<&'static str, &'static str>> = LazyLock::new(|| {
    shared::store::scripts().into_iter().filter(|(_, name)| fence_at(name) == Some(0)).collect()
});

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    pub(super) violations: Vec<String>,
    /// Writes that came from a relayer whose lease was over.
    pub(super) zombie_writes: u64,
    /// The Redis before such a write.
    before: Option<SimRedis>,
    /// Hashes that were in the journal before it was rolled back or emptied.
    forgotten: BTreeSet<Hash32>,
    /// By nonce: what it was first used for. Forgotten with the journal.
    intents: BTreeMap<u64, (Address, Bytes)>,
    signer: Address,
}

impl Ghosts {
    pub(super) fn watching(signer: Address) -> Self {
        Self { signer, ..Self::default() }
    }

    pub(super) fn violation(&mut self, what: impl Into<String>) {
        self.violations.push(what.into());
    }

    /// Before `command` is executed.
    pub(super) fn before(&mut self, redis: &mut SimRedis, now: u64, command: &[Vec<u8>]) {
        self.before = None;
        let Some(fence) = fence_of(command) else { return };
        let lease = ask(redis, now, &["GET", &key("lease")]);
        if text(&lease).as_deref() != Some(fence) {
            self.zombie_writes += 1;
            self.before = Some(redis.clone());
        }
    }

    /// After it: a relayer whose lease is not the living one has changed nothing.
    pub(super) fn after(
        &mut self,
        redis: &mut SimRedis,
        now: u64,
        command: &[Vec<u8>],
        reply: &RedisResult<Value>,
    ) {
        let Some(mut before) = self.before.take() else { return };
        let mut after = redis.clone();
        for side in [&mut before, &mut after] {
            // It counts the attempt, and nothing else.
            ask(side, now, &["DEL", &key("stats")]);
        }
        if before != after {
            let name = name_of(command).unwrap_or_default();
            self.violation(format!("G5: `{name}` of a relayer without the lease changed Redis: {reply:?}"));
        }
    }

    /// Signed bytes reach a node.
    pub(super) fn sent(&mut self, redis: &mut SimRedis, now: u64, raw: &Bytes) {
        let Ok(tx) = TxEnvelope::decode_2718(&mut raw.as_ref()) else {
            return self.violation("a node was sent what is no transaction");
        };
        let (nonce, hash) = (tx.nonce(), Hash32::from(keccak256(raw)));
        let hashes = journaled(redis, now, self.signer, nonce);
        if !hashes.contains(&hash) && !self.forgotten.contains(&hash) {
            self.violation(format!("G4: {hash} at nonce {nonce} was broadcast and is not in the journal"));
        }
        let Some(to) = tx.to().filter(|to| *to != self.signer) else { return };
        let intent = (to, tx.input().clone());
        let first = self.intents.entry(nonce).or_insert_with(|| intent.clone());
        if *first != intent {
            self.violation(format!("G3: nonce {nonce} was used for two intents"));
        }
    }

    /// The journal is about to be lost, or to become an older one: what is broadcast later may have been in it.
    pub(super) fn remember_journal(&mut self, redis: &mut SimRedis, now: u64) {
        let next = ask(redis, now, &["HGET", &key(&format!("signer:{:#x}", self.signer)), "next"]);
        let next: u64 = text(&next).and_then(|next| next.parse().ok()).unwrap_or(0);
        for nonce in 0..next {
            self.forgotten.extend(journaled(redis, now, self.signer, nonce));
        }
        self.intents.clear();
    }
}

/// The hashes of all attempts at `nonce`.
fn journaled(redis: &mut SimRedis, now: u64, signer: Address, nonce: u64) -> BTreeSet<Hash32> {
    let record = ask(redis, now, &["HGETALL", &key(&format!("tx:{signer:#x}:{nonce}"))]);
    let Value::Array(fields) = record else { return BTreeSet::new() };
    let fields =
        fields.chunks_exact(2).filter(|pair| text(&pair[0]).is_some_and(|field| field.starts_with("hash:")));
    fields.filter_map(|pair| text(&pair[1])?.parse().ok()).collect()
}

/// A key of the simulation's lane.
pub(super) fn key(name: &str) -> String {
    format!("ail:{{main}}:{name}")
}

/// Asks Redis behind everybody's back.
pub(super) fn ask(redis: &mut SimRedis, now: u64, words: &[&str]) -> Value {
    redis.exec(now, words).unwrap_or(Value::Nil)
}

pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn name_of(command: &[Vec<u8>]) -> Option<&'static str> {
    let (name, sha) = (command.first()?, command.get(1)?);
    if name != b"EVALSHA" {
        return None;
    }
    FENCED_SHAS.get(std::str::from_utf8(sha).ok()?).copied()
}

/// The lease value that a fenced script was given: its first argument, after the hash, the number of keys and the lane.
fn fence_of(command: &[Vec<u8>]) -> Option<&str> {
    name_of(command)?;
    std::str::from_utf8(command.get(4)?).ok()
}
