//! Redis as a value: commands are functions from one to the next, and remembered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use alloy::primitives::Address;
use redis::Value;
use shared::ids::{JobId, PaymentId};

use super::effect::{Asked, Effect, hash_of, text};
use super::settings::SIGNER;
use crate::fenced::fence_at;
use crate::patch::{Patch, Patches};
use crate::redis::SimRedis;

/// What one thread keeps of commands that were executed.
const KEPT: usize = 100_000;

/// The data of one moment.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) redis: SimRedis,
    /// Of all of it.
    pub(super) id: u64,
    /// The lease's value, empty where nobody holds it.
    pub(super) lease: String,
    /// What is known of each payment.
    pub(super) payments: Vec<Known>,
}

/// A payment's job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) job: Option<JobId>,
    pub(super) stage: String,
}

/// What a command came to.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) reply: Value,
    pub(super) db: Arc<Db>,
    /// It carried the value of a lease that is not the living one.
    pub(super) was_stale: bool,
}

/// How commands are executed in one model.
pub(super) struct Server {
    /// A number that no other model of this process has.
    model: u64,
    /// Commands that load the scripts.
    load: Vec<Vec<Vec<u8>>>,
    patches: Patches,
    /// What nobody decides on.
    forgotten: Vec<Vec<Vec<u8>>>,
    payments: Vec<PaymentId>,
}

thread_local! {
    static STARTS: RefCell<HashMap<(u64, u64, u64), Arc<Db>>> = RefCell::default();
    static WRITES: RefCell<HashMap<(u64, u64, u64), Arc<Executed>>> = RefCell::default();
    static READS: RefCell<HashMap<(u64, u64, u64), Value>> = RefCell::default();
}

fn keep<K: std::hash::Hash + Eq, V>(kept: &mut HashMap<K, V>, key: K, value: V) {
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, value);
}

pub(super) fn key(name: &str) -> String {
    format!("ail:{{main}}:{name}")
}

impl Server {
    pub(super) fn new(model: u64, patches: &[Patch], payments: Vec<PaymentId>, jobs: u64) -> Self {
        let patches = Patches::new(patches);
        let load = shared::store::sources().into_iter().map(|(_, source)| {
            let command = vec![b"SCRIPT".to_vec(), b"LOAD".to_vec(), source.as_bytes().to_vec()];
            patches.applied(&command).unwrap_or(command)
        });
        let load = load.collect();
        let mut forgotten: Vec<String> =
            ["events", "audit", "stats", "lease:changes"].iter().map(|name| key(name)).collect();
        forgotten.insert(0, "DEL".to_owned());
        let timelines = (0..jobs).map(|job| {
            // One command adds a few lines at most, and begins where they are not counted.
            let lines = (1..=5).map(|line| format!("log:{line}"));
            let job = key(&format!("job:{}", JobId::numbered(job)));
            ["HDEL".to_owned(), job, "lines".to_owned()].into_iter().chain(lines).collect()
        });
        let words = |command: Vec<String>| command.into_iter().map(String::into_bytes).collect();
        let forgotten = std::iter::once(forgotten).chain(timelines).map(words).collect();
        Self { model, load, patches, forgotten, payments }
    }

    /// An empty one.
    pub(super) fn empty(&self, now: u64) -> Arc<Db> {
        self.started(SimRedis::new("run0"), now)
    }

    /// A new process on older data.
    pub(super) fn restarted(&self, data: &Db, run: u8, now: u64) -> Arc<Db> {
        let at = (self.model ^ data.id, u64::from(run), now);
        if let Some(known) = STARTS.with_borrow(|kept| kept.get(&at).cloned()) {
            return known;
        }
        let mut redis = data.redis.clone();
        redis.restart(&format!("run{run}"));
        let db = self.started(redis, now);
        STARTS.with_borrow_mut(|kept| keep(kept, at, db.clone()));
        db
    }

    fn started(&self, mut redis: SimRedis, now: u64) -> Arc<Db> {
        for script in &self.load {
            exec(&mut redis, now, script);
        }
        Arc::new(self.db(redis, now))
    }

    /// The same data later: what has expired is gone.
    pub(super) fn at(&self, db: &Db, now: u64) -> Arc<Db> {
        Arc::new(self.db(db.redis.clone(), now))
    }

    fn db(&self, mut redis: SimRedis, now: u64) -> Db {
        for command in &self.forgotten {
            exec(&mut redis, now, command);
        }
        let lease = ask(&mut redis, now, &["GET", &key("lease")]).unwrap_or_default();
        let payments = self.payments.iter().map(|payment| known(&mut redis, now, *payment)).collect();
        Db { id: hash_of(&redis), redis, lease, payments }
    }

    fn words(&self, asked: &Asked) -> Vec<Vec<u8>> {
        let Effect::Redis(words) = &asked.effect else { panic!("no command: {asked}") };
        self.patches.applied(words).unwrap_or_else(|| words.clone())
    }

    /// What `asked` changes.
    pub(super) fn execute(&self, db: &Db, now: u64, asked: &Asked) -> Arc<Executed> {
        let at = (self.model ^ db.id, asked.hash, now);
        if let Some(known) = WRITES.with_borrow(|kept| kept.get(&at).cloned()) {
            return known;
        }
        let mut redis = db.redis.clone();
        let reply = exec(&mut redis, now, &self.words(asked));
        let fence = asked.script.and_then(fence_at).map(|at| asked.arg(at)).filter(|fence| !fence.is_empty());
        let was_stale = fence.is_some_and(|fence| fence != db.lease);
        let executed = Arc::new(Executed { reply, db: Arc::new(self.db(redis, now)), was_stale });
        WRITES.with_borrow_mut(|kept| keep(kept, at, executed.clone()));
        executed
    }

    /// What `asked` reads.
    pub(super) fn read(&self, db: &Db, now: u64, asked: &Asked) -> Value {
        let at = (self.model ^ db.id, asked.hash, now);
        if let Some(known) = READS.with_borrow(|kept| kept.get(&at).cloned()) {
            return known;
        }
        let reply = exec(&mut db.redis.clone(), now, &self.words(asked));
        READS.with_borrow_mut(|kept| keep(kept, at, reply.clone()));
        reply
    }
}

impl Db {
    /// One text, asked behind everybody's back.
    pub(super) fn ask(&self, now: u64, words: &[&str]) -> Option<String> {
        ask(&mut self.redis.clone(), now, words)
    }

    /// The signer's next nonce, as journaled.
    pub(super) fn next_nonce(&self, now: u64) -> u64 {
        let signer: Address = SIGNER;
        let next = self.ask(now, &["HGET", &key(&format!("signer:{signer:#x}")), "next"]);
        next.and_then(|next| next.parse().ok()).unwrap_or(0)
    }
}

/// # Panics
/// Where Redis refuses it: no command of the store is ever refused.
fn exec(redis: &mut SimRedis, now: u64, words: &[Vec<u8>]) -> Value {
    redis.exec(now, words).unwrap_or_else(|error| {
        let words: Vec<_> = words.iter().take(8).map(|word| String::from_utf8_lossy(word)).collect();
        panic!("Redis refuses {words:?}: {error}")
    })
}

fn ask(redis: &mut SimRedis, now: u64, words: &[&str]) -> Option<String> {
    redis.exec(now, words).ok().as_ref().and_then(text)
}

fn known(redis: &mut SimRedis, now: u64, payment: PaymentId) -> Known {
    let job = ask(redis, now, &["HGET", &key(&format!("payment:{payment}")), "job"]);
    let Some(job) = job.and_then(|job| job.parse::<JobId>().ok()) else { return Known::default() };
    let stage = ask(redis, now, &["HGET", &key(&format!("job:{job}")), "stage"]).unwrap_or_default();
    Known { job: Some(job), stage }
}
