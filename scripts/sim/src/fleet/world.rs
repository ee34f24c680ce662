//! Everything outside the relayers: one Redis, one chain, and what is wrong with the ways to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IteratorRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use redis::{RedisResult, Value};
use shared::ids::Wallet;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ghosts::{Around, Ghosts, ask, key, text};
use super::settings::SIGNER;
use super::weather::Rates;
use crate::chain::{SimChain, View};
use crate::patch::Patches;
use crate::redis::SimRedis;

/// The unix milliseconds at which every simulation begins.
const EPOCH: u64 = 1_700_000_000_000;

/// Shared by all processes of one simulation.
pub(super) struct World {
    pub(super) state: Mutex<State>,
    began: Instant,
    /// In milliseconds: how far Redis's clock is off.
    skew: AtomicI64,
    /// What is broken on purpose in the scripts.
    patches: Patches,
}

/// How often each kind of fault happened.
pub type Faults = BTreeMap<&'static str, u64>;

/// A stream that somebody waits for.
#[derive(Debug, Default)]
struct Watched {
    /// Its last entry, when that was last looked at.
    end: Option<(u64, u64)>,
    /// Rung where it has another.
    bell: Arc<Notify>,
}

/// All that changes. Locked for moments, never across an await.
pub(super) struct State {
    pub(super) redis: SimRedis,
    pub(super) chain: SimChain,
    pub(super) dice: StdRng,
    pub(super) rates: Rates,
    /// Redis answers nobody.
    pub(super) redis_down: bool,
    /// By process: what is wrong with its own ways.
    pub(super) ways: Vec<Ways>,
    pub(super) ghosts: Ghosts,
    pub(super) faults: Faults,
    watched: BTreeMap<Vec<u8>, Watched>,
    /// How often Redis was a new process.
    pub(super) runs: u64,
    /// Redis once knew more than it did later: what was answered before binds nobody.
    pub(super) memory_was_lost: bool,
    /// Who can never be paid.
    pub(super) blocklisted: BTreeSet<Wallet>,
}

/// One process's ways to Redis and to the chain.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    pub(super) redis_cut: bool,
    pub(super) chain_cut: bool,
    pub(super) view: View,
    /// Rung to kill the process.
    pub(super) killed: Arc<Notify>,
}

impl World {
    pub(super) fn new(seed: u64, processes: usize, chain: SimChain, patches: Patches) -> Arc<Self> {
        let way =
            || Ways { redis_cut: false, chain_cut: false, view: View::honest_pair(), killed: Arc::default() };
        Arc::new(Self {
            state: Mutex::new(State {
                redis: SimRedis::new(&run_id(0)),
                chain,
                dice: StdRng::seed_from_u64(seed),
                rates: Rates::NONE,
                redis_down: false,
                ways: (0..processes).map(|_| way()).collect(),
                ghosts: Ghosts::watching(SIGNER),
                faults: Faults::new(),
                watched: BTreeMap::new(),
                runs: 0,
                memory_was_lost: false,
                blocklisted: BTreeSet::new(),
            }),
            began: Instant::now(),
            skew: AtomicI64::new(0),
            patches,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Redis's clock.
    pub(super) fn now(&self) -> u64 {
        (EPOCH + u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX))
            .saturating_add_signed(self.skew.load(Ordering::Relaxed))
    }

    /// From now on Redis's clock is off by so much more.
    pub(super) fn shift_clock(&self, millis: i64) {
        self.skew.fetch_add(millis, Ordering::Relaxed);
    }

    /// The unix time of a block made now: of all clocks that are there, nodes have their own.
    pub(super) fn chain_seconds(&self) -> u64 {
        EPOCH / 1000 + self.elapsed().as_secs()
    }

    /// Executes `command` in Redis, and watches what it does.
    pub(super) fn execute(&self, command: &[Vec<u8>]) -> RedisResult<Value> {
        let now = self.now();
        let mut state = self.state();
        let state = &mut *state;
        state.ghosts.before(&mut state.redis, now, command);
        let reply = match self.patches.applied(command) {
            Some(broken) => state.redis.exec(now, &broken),
            None => state.redis.exec(now, command),
        };
        let at = Around { redis: &mut state.redis, chain: &state.chain, now };
        state.ghosts.after(at, command, &reply);
        if command.first().is_some_and(|name| name == b"EVALSHA") {
            state.ring();
        }
        reply
    }

    /// Rung when the stream has an entry that it does not have now.
    pub(super) fn bell(&self, stream: &[u8]) -> Arc<Notify> {
        let mut state = self.state();
        if let Some(watched) = state.watched.get(stream) {
            return watched.bell.clone();
        }
        let watched = Watched { end: state.redis.stream_end(stream), bell: Arc::default() };
        state.watched.entry(stream.to_vec()).or_insert(watched).bell.clone()
    }

    /// Takes away an entry of `jobs` or `ready`, or a due time, behind everybody's back. Whether there was one.
    pub(super) fn take_entry(&self) -> bool {
        let now = self.now();
        let mut state = self.state();
        let state = &mut *state;
        let mut place = ["jobs", "ready", "delayed"];
        place.shuffle(&mut state.dice);
        place.into_iter().any(|name| {
            let key = key(name);
            let (read, take) = if name == "delayed" { ("ZRANGE", "ZREM") } else { ("XRANGE", "XDEL") };
            let range: [&str; 2] = if name == "delayed" { ["0", "-1"] } else { ["-", "+"] };
            let Value::Array(found) = ask(&mut state.redis, now, &[read, &key, range[0], range[1]]) else {
                return false;
            };
            let found = found.iter().filter_map(|item| match item {
                Value::Array(entry) => entry.first().and_then(text),
                member => text(member),
            });
            let Some(one) = found.choose(&mut state.dice) else { return false };
            ask(&mut state.redis, now, &[take, &key, &one]) == Value::Int(1)
        })
    }

    /// Redis as another process on `data`.
    pub(super) fn restart_redis(&self, data: Option<SimRedis>) {
        let mut state = self.state();
        state.runs += 1;
        let id = run_id(state.runs);
        if let Some(data) = data {
            state.redis = data;
            state.ghosts.forget();
        }
        state.redis.restart(&id);
        for watched in state.watched.values() {
            watched.bell.notify_waiters();
        }
    }
}

impl State {
    /// Whether something that was answered for, or final, is so no more.
    pub(super) fn may_differ(&self) -> bool {
        self.memory_was_lost || self.ghosts.deep_reorg.is_some()
    }

    /// Counts a fault.
    pub(super) fn note(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Whether something with this probability happens now; counted as that fault where it does.
    pub(super) fn strikes(&mut self, probability: f64, fault: &'static str) -> bool {
        let strikes = probability > 0.0 && self.dice.random_bool(probability);
        if strikes {
            self.note(fault);
        }
        strikes
    }

    /// Wakes who waits for a stream that has a new entry.
    fn ring(&mut self) {
        for (stream, watched) in &mut self.watched {
            let end = self.redis.stream_end(stream);
            if watched.end != end {
                watched.end = end;
                watched.bell.notify_waiters();
            }
        }
    }
}

fn run_id(run: u64) -> String {
    format!("{run:040x}")
}
