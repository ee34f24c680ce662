//! Walks over everything the store can do, right and wrong, with jumps of time, damage and full memory in between. The
//! store speaks to both servers at once.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use redis::{RedisResult, Value};
use shared::ids::{JobId, Nonce, Wallet};
use shared::store::{Acquisition, Durability, Fence, Payment, Store, Wire};

use super::pair::{Pair, text};
use super::{speed, support};

const WALKS: usize = 6;
const STEPS: usize = 2_400;
const COMPARE_EVERY: usize = 1_200;
/// A walk that runs fewer proves little.
const LEAST_CALLS: usize = 20_000;

/// Both servers as the store sees them.
pub(crate) struct Both(Mutex<Pair>);

impl Both {
    pub(crate) fn pair(&self) -> MutexGuard<'_, Pair> {
        self.0.lock().unwrap()
    }
}

impl Wire for Both {
    fn call(&self, command: Vec<Vec<u8>>) -> BoxFuture<'_, RedisResult<Value>> {
        std::future::ready(self.pair().exec(&command)).boxed()
    }
}

/// What the walk knows of; it picks from here at random.
pub(crate) struct Walk {
    pub(crate) both: Arc<Both>,
    pub(crate) store: Store,
    pub(crate) random: StdRng,
    pub(crate) fence: Fence,
    pub(crate) serial: u64,
    pub(crate) cursor: String,
    pub(crate) children: Vec<Wallet>,
    pub(crate) payments: Vec<Payment>,
    pub(crate) jobs: Vec<JobId>,
    pub(crate) nonces: Vec<Nonce>,
}

pub(crate) async fn random_walks(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let both = Arc::new(Both(Mutex::new(Pair::start())));
    for _ in 0..WALKS {
        both.pair().clear();
        let mut walk = Walk::begin(both.clone(), StdRng::seed_from_u64(random.random())).await;
        for step in 1..=STEPS {
            walk.step().await;
            if step % COMPARE_EVERY == 0 {
                both.pair().compare_all();
            }
        }
    }
    let pair = both.pair();
    let calls: usize = pair.runs.values().sum();
    let known = shared::store::scripts();
    let unseen: BTreeSet<_> =
        known.iter().filter(|(sha, _)| !pair.runs.contains_key(*sha)).map(|(_, name)| name).collect();
    eprintln!("{} commands in the last walk", pair.recorded.len());
    eprintln!("{calls} calls of {} scripts", pair.runs.len());
    assert!(unseen.is_empty(), "never run: {unseen:?}");
    assert!(calls >= LEAST_CALLS, "only {calls} calls");
    speed::print(&pair.recorded, &pair.run_id);
}

impl Walk {
    async fn begin(both: Arc<Both>, random: StdRng) -> Self {
        let ids = Arc::new(AtomicU64::new(1));
        let store = Store::over(both.clone(), &"main".parse().unwrap(), Durability::None, ids);
        store.migrate().await.unwrap();
        let fence = support::take_lease(&store, "boot-0").await;
        let children = (1..=8).map(support::wallet).collect();
        let mut walk = Self {
            both,
            store,
            random,
            fence,
            serial: 100,
            cursor: "0-0".to_owned(),
            children,
            payments: Vec::new(),
            jobs: Vec::new(),
            nonces: Vec::new(),
        };
        walk.sync().await;
        walk.store.set_next_nonce(&walk.fence, support::SIGNER, None, Nonce::new(0)).await.unwrap();
        walk
    }

    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    pub(crate) fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of.choose(&mut self.random).unwrap().clone()
    }

    pub(crate) fn child(&mut self) -> Wallet {
        self.children.choose(&mut self.random).copied().unwrap()
    }

    pub(crate) fn referrer(&mut self) -> Wallet {
        support::wallet(9_000 + self.random.random_range(0..3))
    }

    pub(crate) fn some_job(&mut self) -> JobId {
        let lately = self.jobs.len().saturating_sub(60);
        self.jobs[lately..].choose(&mut self.random).copied().unwrap_or(JobId::numbered(9_999_999))
    }

    pub(crate) fn some_nonce(&mut self) -> Nonce {
        let lately = self.nonces.len().saturating_sub(8);
        self.nonces[lately..].choose(&mut self.random).copied().unwrap_or(Nonce::new(0))
    }

    async fn step(&mut self) {
        let ms = match self.random.random_range(0..100) {
            0..60 => 0,
            60..90 => self.random.random_range(1..4),
            90..98 => self.random.random_range(100..5_000),
            98 => 61_000,
            _ => self.random.random_range(0..700_000),
        };
        self.both.pair().advance(ms);
        match self.random.random_range(0..100) {
            0..12 => self.intake().await,
            12..20 => self.claim().await,
            20..32 => self.verdict().await,
            32..44 => self.sign().await,
            44..54 => self.follow().await,
            54..62 => self.conclude().await,
            62..72 => self.movers().await,
            72..80 => self.operate().await,
            80..85 => self.lead().await,
            85..88 => self.sync().await,
            88..95 => self.look().await,
            95..97 => self.damage().await,
            97 => self.run_full().await,
            _ => self.stumble().await,
        }
    }

    /// Keeps, gives up or takes the lease.
    async fn lead(&mut self) {
        let boot = format!("boot-{}", self.serial());
        match self.random.random_range(0..10) {
            0..5 => drop(self.store.renew_lease(&self.fence, support::TTL).await),
            5 => drop(self.store.release_lease(&self.fence).await),
            6 => drop(self.store.lease_holder().await),
            _ => {}
        }
        let taken = self.store.acquire_lease(&boot, support::TTL).await;
        // Now and then it goes on with a lease that is none any more.
        if let Ok(Acquisition::Taken { fence, .. }) = taken
            && self.chance(90)
        {
            self.fence = fence;
        }
    }

    /// Some operations while memory is full. What they come to is the servers' affair, as long as it is the same.
    async fn run_full(&mut self) {
        self.both.pair().set_full(true);
        for _ in 0..4 {
            match self.random.random_range(0..6) {
                0 => self.intake().await,
                1 => self.claim().await,
                2 => self.verdict().await,
                3 => self.conclude().await,
                4 => self.movers().await,
                _ => self.lead().await,
            }
        }
        self.both.pair().set_full(false);
    }

    pub(crate) fn raw(&self, words: &[&str]) -> RedisResult<Value> {
        self.both.pair().exec(words)
    }

    pub(crate) fn key(&self, rest: &str) -> String {
        format!("ail:{{main}}:{rest}")
    }

    pub(crate) fn some_key(&mut self, pattern: &str) -> Option<String> {
        let Ok(Value::Array(keys)) = self.raw(&["KEYS", &self.key(pattern)]) else { return None };
        let mut keys: Vec<_> = keys.iter().map(text).collect();
        keys.sort();
        keys.choose(&mut self.random).cloned()
    }

    /// What a rollback of Redis, a defect or a hand in Redis may leave behind.
    async fn damage(&mut self) {
        let id = self.some_job().to_string();
        let job = self.key(&format!("job:{id}"));
        let exists = self.raw(&["EXISTS", &job]).is_ok_and(|value| value == Value::Int(1));
        match self.random.random_range(0..12) {
            0..4 => self.lose_place(),
            4 | 5 => {
                let kind = self.one(&[
                    "waiting:*",
                    "tx:*",
                    "settling",
                    "parked:*",
                    "referral:*",
                    "payment:*",
                    "open:*",
                ]);
                if let Some(key) = self.some_key(kind) {
                    drop(self.raw(&["DEL", &key]));
                }
            }
            6 if exists => {
                let garbage = self.one(&["", "{", "{\"child\":1}", "[1,", "{\"a\" 1}", "nil"]);
                let field = self.one(&["payload", "error", "attempts", "epoch"]);
                drop(self.raw(&["HSET", &job, field, garbage]));
            }
            7 if exists => drop(self.raw(&["HSET", &job, "refund_requested", "1"])),
            8 if exists => {
                // A timeline that is nearly full.
                let lines = self.random.random_range(125..130_u32).to_string();
                drop(self.raw(&["HSET", &job, "lines", &lines, "log:17", "{\"event\":\"x\",\"at\":\"1\"}"]));
            }
            9 => {
                let pattern = self.one(&["waiting:*", "parked:*", "payment:*", "open:*", "referral:*"]);
                if let Some(key) = self.some_key(pattern) {
                    drop(self.raw(&["SET", &key, "of another type"]));
                }
            }
            10 => drop(self.raw(&["ZADD", &self.key("delayed"), "1", &id])),
            _ => {
                let stream = self.one(&["jobs", "ready"]);
                drop(self.raw(&["XADD", &self.key(stream), "*", "job", &id, "epoch", "0"]));
            }
        }
    }

    /// Takes away what a job's stage needs outside its hash.
    fn lose_place(&mut self) {
        let id = self.some_job().to_string();
        let job = self.key(&format!("job:{id}"));
        let field = |name: &str| match self.raw(&["HGET", &job, name]) {
            Ok(value @ Value::BulkString(_)) => text(&value),
            _ => "0-0".to_owned(),
        };
        let (stage, entry, gate) = (field("stage"), field("entry"), field("gate"));
        let _ = match stage.as_str() {
            "ready" => self.raw(&["XDEL", &self.key("ready"), &entry]),
            "delayed" | "held" => self.raw(&["ZREM", &self.key("delayed"), &id]),
            "gated" => self.raw(&["ZREM", &self.key(&format!("parked:{gate}")), &id]),
            "submitted" | "confirming" => {
                let open = self.key(&format!("open:{}", field("signer")));
                self.raw(&["ZREM", &open, &field("nonce")])
            }
            _ => self.raw(&["XDEL", &self.key("jobs"), &entry]),
        };
    }

    /// What should not happen: a worker that dies over what it was given, a stream that is gone, a second migration.
    async fn stumble(&mut self) {
        match self.random.random_range(0..8) {
            0..4 => {
                let jobs = self.key("jobs");
                drop(self.raw(&[
                    "XREADGROUP",
                    "GROUP",
                    "relayers",
                    "dead",
                    "COUNT",
                    "2",
                    "STREAMS",
                    &jobs,
                    ">",
                ]));
            }
            4 => {
                drop(self.raw(&["DEL", &self.key("jobs")]));
                self.movers().await;
                let _ = self.store.chores("amy", support::MIN_IDLE).await;
                let _ = self.store.migrate().await;
            }
            5 => drop(self.store.migrate().await),
            6 => drop(self.store.job(JobId::numbered(8_888_888)).await),
            _ => drop(self.store.reclaim("other", Duration::ZERO, "x").await),
        }
    }
}
