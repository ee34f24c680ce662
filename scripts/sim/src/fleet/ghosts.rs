//! What must hold at every moment, watched from outside while commands and transactions pass: nothing in the product knows
//! that it is watched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{Address, Bytes, keccak256};
use redis::{RedisResult, Value};
use shared::ids::{Hash32, PaymentId};
use shared::store::RECONCILE;

use super::settings::CONFIRMATIONS;
use crate::chain::SimChain;
use crate::fenced::fence_at;
use crate::redis::SimRedis;

/// Every script by its hash.
static NAMES: LazyLock<HashMap<&'static [u8], &'static str>> = LazyLock::new(|| {
    shared::store::scripts().into_iter().map(|(hash, name)| (hash.as_bytes(), name)).collect()
});

/// In milliseconds: a write may be this late after the look at the chain that it goes by.
const LATE: u64 = 10_000;

/// What a command changed, and what it was decided on.
pub(super) struct Around<'a> {
    pub(super) redis: &'a mut SimRedis,
    pub(super) chain: &'a SimChain,
    pub(super) now: u64,
}

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
    /// Why nothing new was to be signed until somebody had looked, each time that was said.
    pub(super) told: Vec<String>,
    /// What was final is taken back, and nobody has said so yet.
    pub(super) untold: Option<String>,
    /// When that was last done.
    pub(super) deep_reorg: Option<u64>,
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

    /// After it.
    pub(super) fn after(&mut self, at: Around<'_>, command: &[Vec<u8>], reply: &RedisResult<Value>) {
        if let Some(before) = self.before.take() {
            self.on_zombie(&at, before, command, reply);
        }
        let Ok(reply) = reply else { return };
        match name_of(command) {
            Some("finish") => self.on_finish(at, command, reply),
            Some("gate_close") if word(command, 0) == Some(RECONCILE) => {
                self.tell(word(command, 1).unwrap_or_default().to_owned());
            }
            Some("sync_payments") => {
                let Value::Array(said) = reply else { return };
                for pair in said.get(3..).unwrap_or_default().chunks_exact(2) {
                    let pair = (text(&pair[0]).unwrap_or_default(), text(&pair[1]).unwrap_or_default());
                    self.tell(format!("payment {}: {}", pair.0, pair.1));
                }
            }
            _ => {}
        }
    }

    fn tell(&mut self, what: String) {
        self.untold = None;
        self.told.push(what);
    }

    /// A relayer whose lease is not the living one has changed nothing.
    fn on_zombie(
        &mut self,
        at: &Around<'_>,
        mut before: SimRedis,
        command: &[Vec<u8>],
        reply: &RedisResult<Value>,
    ) {
        let mut after = at.redis.clone();
        for side in [&mut before, &mut after] {
            // It counts the attempt, and nothing else.
            ask(side, at.now, &["DEL", &key("stats")]);
        }
        if before != after {
            let name = name_of(command).unwrap_or_default();
            self.violation(format!("G5: `{name}` of a relayer without the lease changed Redis: {reply:?}"));
        }
    }

    /// What is done now has been so for long enough, as the chain has it.
    fn on_finish(&mut self, at: Around<'_>, command: &[Vec<u8>], reply: &Value) {
        if self.deep_reorg.is_some_and(|then| at.now < then + LATE) {
            return;
        }
        let Value::Array(codes) = reply else { return };
        let head = at.chain.head().number;
        let deep = head.below(CONFIRMATIONS).and_then(|number| at.chain.block(number));
        let jobs = command.get(5..).unwrap_or_default().chunks_exact(5);
        for (job, _) in jobs.zip(codes).filter(|(_, code)| **code == Value::Int(0)) {
            let id = String::from_utf8_lossy(&job[0]);
            let fields = ["HMGET", &key(&format!("job:{id}")), "payment", "payload"];
            let Value::Array(fields) = ask(at.redis, at.now, &fields) else { continue };
            let is_so = deep.is_some_and(|deep| match text(&fields[0]).and_then(|id| id.parse().ok()) {
                Some::<PaymentId>(payment) => deep.state.payout.paid_at.contains_key(&payment.hash()),
                None => {
                    let payload: serde_json::Value = text(&fields[1])
                        .and_then(|payload| serde_json::from_str(&payload).ok())
                        .unwrap_or_default();
                    let wallet = |name: &str| payload[name].as_str()?.parse::<Address>().ok();
                    let child = wallet("child").unwrap_or_default();
                    deep.state.registry.referrer_of(child) == wallet("referrer")
                }
            });
            if !is_so {
                self.violation(format!("G6: job {id} is done, and not so {CONFIRMATIONS} deep below {head}"));
            }
        }
    }

    /// The newest `depth` blocks are about to be replaced.
    pub(super) fn before_reorg(&mut self, redis: &mut SimRedis, now: u64, head: u64, depth: u64) {
        if depth <= CONFIRMATIONS {
            return;
        }
        self.deep_reorg = Some(now);
        let was_final = text(&ask(redis, now, &["HGET", &key("synced"), "final_block"]));
        let was_final = was_final.and_then(|number| number.parse::<u64>().ok());
        // The first block of all is never replaced.
        if was_final.is_some_and(|number| number + depth.min(head) > head) {
            self.untold =
                Some(format!("block {was_final:?} was final and is replaced, {depth} below {head}"));
        }
    }

    /// Signed bytes reach a node.
    pub(super) fn sent(&mut self, redis: &mut SimRedis, now: u64, raw: &Bytes) {
        let Ok(tx) = TxEnvelope::decode_2718(&mut raw.as_ref()) else {
            return self.violation("a node was sent what is no transaction");
        };
        let (nonce, hash) = (tx.nonce(), Hash32::from(keccak256(raw)));
        let hashes = journaled(redis, now, self.signer, nonce);
        if !hashes.contains(&hash) {
            if !self.forgotten.contains(&hash) {
                self.violation(format!(
                    "G4: {hash} at nonce {nonce} was broadcast and is not in the journal"
                ));
            }
            // A journal that was lost binds nobody.
            return;
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
        self.forget();
    }

    /// Redis does not know any more what was signed, or final.
    pub(super) fn forget(&mut self) {
        self.intents.clear();
        self.untold = None;
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

/// The script that `command` runs.
fn name_of(command: &[Vec<u8>]) -> Option<&'static str> {
    let (name, hash) = (command.first()?, command.get(1)?);
    if name != b"EVALSHA" {
        return None;
    }
    NAMES.get(hash.as_slice()).copied()
}

/// An argument of a script: after its hash, the number of keys and the lane.
fn word(command: &[Vec<u8>], at: usize) -> Option<&str> {
    std::str::from_utf8(command.get(4 + at)?).ok()
}

/// The lease value that a fenced script was given: its first argument.
fn fence_of(command: &[Vec<u8>]) -> Option<&str> {
    let name = name_of(command)?;
    (fence_at(name) == Some(0)).then(|| word(command, 0))?
}
