//! Everything outside the relayers: one Redis, one chain, and what is wrong with the ways to them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use redis::{RedisResult, Value};
use shared::ids::Hash32;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ghosts::Ghosts;
use super::weather::Rates;
use crate::chain::{SimChain, View};
use crate::redis::SimRedis;

/// The unix milliseconds at which every simulation begins.
const EPOCH: u64 = 1_700_000_000_000;

/// Shared by all processes of one simulation.
pub(super) struct World {
    pub(super) state: Mutex<State>,
    /// Something was written that a blocking read may wait for.
    pub(super) written: Notify,
    began: Instant,
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
    pub(super) faults: u64,
    /// How often Redis was a new process.
    pub(super) runs: u64,
    /// Hashes of transactions that were ever in the journal.
    pub(super) journaled: BTreeSet<Hash32>,
}

/// One process's ways to Redis and to the chain.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    pub(super) redis_cut: bool,
    pub(super) view: View,
    /// Rung to kill the process.
    pub(super) killed: Arc<Notify>,
}

impl World {
    pub(super) fn new(seed: u64, processes: usize, chain: SimChain) -> Arc<Self> {
        let way = || Ways { redis_cut: false, view: View::honest_pair(), killed: Arc::default() };
        Arc::new(Self {
            state: Mutex::new(State {
                redis: SimRedis::new(&run_id(0)),
                chain,
                dice: StdRng::seed_from_u64(seed),
                rates: Rates::NONE,
                redis_down: false,
                ways: (0..processes).map(|_| way()).collect(),
                ghosts: Ghosts::default(),
                faults: 0,
                runs: 0,
                journaled: BTreeSet::new(),
            }),
            written: Notify::new(),
            began: Instant::now(),
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
        EPOCH + u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Executes `command` in Redis, and watches what it does.
    pub(super) fn execute(&self, command: &[Vec<u8>]) -> RedisResult<Value> {
        let now = self.now();
        let reply = {
            let mut state = self.state();
            let state = &mut *state;
            state.ghosts.before(&mut state.redis, now, command);
            let reply = state.redis.exec(now, command);
            state.ghosts.after(&mut state.redis, now, command, &reply);
            reply
        };
        if command.first().is_some_and(|name| name.starts_with(b"EVALSHA")) {
            self.written.notify_waiters();
        }
        reply
    }

    /// Redis as another process on `data`.
    pub(super) fn restart_redis(&self, data: Option<SimRedis>) {
        let mut state = self.state();
        state.runs += 1;
        let id = run_id(state.runs);
        if let Some(data) = data {
            state.redis = data;
        }
        state.redis.restart(&id);
        drop(state);
        self.written.notify_waiters();
    }
}

impl State {
    /// Whether something with this probability happens now; counted as a fault where it does.
    pub(super) fn strikes(&mut self, probability: f64) -> bool {
        let strikes = probability > 0.0 && self.dice.random_bool(probability);
        self.faults += u64::from(strikes);
        strikes
    }
}

fn run_id(run: u64) -> String {
    format!("{run:040x}")
}
