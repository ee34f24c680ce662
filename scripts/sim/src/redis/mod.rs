//! One Redis as plain data, for simulation: it runs the production scripts in LuaJIT, whose language contains that of
//! Redis's Lua 5.1, and answers as Redis 7.0 does to every command that the store uses. `scripts/differential` holds it
//! against a real server.
//!
//! What is decided here and not by Redis:
//! * Time is the caller's: each command says when it happens.
//! * Nothing blocks. A blocking read that finds nothing answers nil at once; whoever drives the simulation asks again.
//! * What Redis keeps in no particular order (the fields of a hash, the members of a set) comes sorted; see
//!   [`SimRedis::prefer`]; so do the fields of a table that a script turns into JSON, and `pairs` has an order of
//!   its own. Nothing in the scripts may depend on any of it.
//! * A key is gone from the millisecond after its expiry on, whoever looks or does not.

mod hash;
mod info;
mod keys;
mod keyspace;
mod list;
mod reply;
mod script;
mod set;
mod stream;
mod string;
mod table;
mod zset;

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use keyspace::{Bytes, Keyspace};
use reply::{Failure, Outcome};

/// One Redis. Plain data: a clone is a snapshot, and shares everything with the original until one of them changes it.
///
/// Two are equal when the same process, by its run id, holds the same data under the same memory limit. Which scripts are
/// loaded does not count: the store loads what is missing, so no answer of the store depends on it.
#[derive(Clone, Debug, Default)]
pub struct SimRedis {
    run_id: String,
    keyspace: Keyspace,
    /// Source by SHA1 in lower-case hex.
    scripts: Arc<BTreeMap<String, Arc<[u8]>>>,
    is_full: bool,
    preferred: Arc<Vec<Bytes>>,
}

impl SimRedis {
    /// An empty server process. Real run ids are 40 hex digits; any text of letters and digits will do.
    pub fn new(run_id: &str) -> Self {
        Self { run_id: run_id.to_owned(), ..Self::default() }
    }

    /// Runs one command, name and arguments as they would travel, at `now` in unix milliseconds of this server's clock.
    ///
    /// The reply has the shape that the `redis` crate gives under RESP2. A refusal has the kind, code and text of Redis's;
    /// a command or an option that is not simulated is refused by name.
    pub fn exec(&mut self, now: u64, command: &[impl AsRef<[u8]>]) -> ::redis::RedisResult<::redis::Value> {
        let words: Vec<&[u8]> = command.iter().map(AsRef::as_ref).collect();
        self.keyspace.expire(now);
        self.run(now, &words).map_or_else(|failure| Err(failure.into_error()), |reply| reply.into_value())
    }

    fn run(&mut self, now: u64, words: &[&[u8]]) -> Outcome {
        let (name, args) = words.split_first().ok_or_else(|| Failure::new("ERR empty command"))?;
        let command = table::find(name).ok_or_else(|| {
            Failure::new(format!("ERR unknown command '{}'", String::from_utf8_lossy(name)))
        })?;
        if !command.takes(args.len()) {
            let name = command.name.to_lowercase();
            return Err(Failure::new(format!("ERR wrong number of arguments for '{name}' command")));
        }
        if self.is_full && command.grows(args) {
            return Err(Failure::out_of_memory());
        }
        (command.run)(self, now, args)
    }

    /// A new process on the same data: scripts are forgotten; streams with their groups and pending entries stay, and so do
    /// times of expiry.
    pub fn restart(&mut self, run_id: &str) {
        self.run_id = run_id.to_owned();
        self.scripts = Arc::default();
    }

    /// Whether the memory limit is reached: what would need more memory is refused, as under `noeviction`. A script is
    /// stopped at such a command unless it has written before.
    pub fn set_full(&mut self, full: bool) {
        self.is_full = full;
    }

    /// The id of the last entry that a stream ever had; `None` where there is no such stream. For who drives blocking reads.
    pub fn stream_end(&self, key: &[u8]) -> Option<(u64, u64)> {
        stream::end(&self.keyspace, key)
    }

    /// In which order members of sets come that Redis gives in an arbitrary one: these first, in this order, then the
    /// others, sorted. For who wants to shuffle them, or to follow a real server.
    pub fn prefer(&mut self, members: impl IntoIterator<Item = Vec<u8>>) {
        self.preferred = Arc::new(members.into_iter().map(Bytes::from).collect());
    }
}

impl PartialEq for SimRedis {
    fn eq(&self, other: &Self) -> bool {
        self.run_id == other.run_id && self.is_full == other.is_full && self.keyspace == other.keyspace
    }
}

impl Eq for SimRedis {}

impl Hash for SimRedis {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.run_id.hash(state);
        self.is_full.hash(state);
        self.keyspace.hash(state);
    }
}
