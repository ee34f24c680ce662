//! The only code that speaks to Redis. Methods answer domain questions; no connection and no key leaves this module.
//!
//! Invariants:
//! * Every write that changes a job, a transaction or the lease is one Lua script, so it happens wholly or not at all,
//!   and nothing is decided on a value read in an earlier round trip unless the script compares it again.
//! * The stream is transport, the hash is the record.
//! * Whoever waits for Redis to push (blocking reads) does so on a connection of its own.
//!
//! When Redis is away every method fails with [`StoreError`]; callers answer 503 or try again, and never assume that the
//! write did not happen: a lost reply is re-asked, and each script recognises its own earlier run.

mod accounts;
mod books;
mod checkup;
mod codec;
mod durability;
mod error;
mod feed;
mod fleet;
mod gates;
mod gather;
mod intake;
mod jobs;
mod journal;
mod keys;
mod learned;
mod lease;
mod listing;
#[cfg(feature = "testing")]
mod noop;
mod ready;
mod recovery;
mod refunds;
mod retention;
mod script;
mod server;
mod stats;
mod stream;
mod sync;
mod transactions;
mod wire;

pub use accounts::{AffiliateView, PaymentView, ReferralView};
pub use books::{RecordedPayment, RecordedReferral};
pub use checkup::{Checkup, Journal};
pub use codec::{Brief, TimelineEntry};
pub use durability::{Durability, DurabilityProblem};
pub use error::StoreError;
pub use feed::{EventId, FeedEvent, FeedSlice, FeedWatch, Heard};
pub use fleet::{
    ALIVE_WITHIN, ConsumerView, Fleet, HEARTBEAT_EVERY, Heartbeat, LeaseView, QueueView, REMEMBERED_FOR,
    RelayerView, SignerView,
};
pub use gates::{BASE_FEE, ClosedGate, GAS_MONEY, INTAKE, RECONCILE, SIGNING};
pub use intake::{Accepted, Intake, Payment, Registered, Registration};
pub use jobs::{Cancelled, Departure, Exit, Retried, SettledJob};
pub use journal::{FinishedJob, JournalOutcome, Journaled, NewTx, Noted};
pub use keys::Lane;
pub use learned::{Deed, Unlearned};
pub use lease::{Acquisition, Fence, LeaseWatch};
pub use listing::{JobCursor, JobFilter, JobPage};
pub use ready::Ready;
pub use recovery::{Chores, MOST_REDELIVERIES, Reclaimed, SweepCursor, Swept};
pub use refunds::{Refund, RefundOutcome, Refunded};
pub use retention::{Removed, Retention};
pub use script::{Applied, Refusal, scripts, sources};
pub use server::{Memory, OLDEST_REDIS, ServerView, Settings};
pub use stats::{StateCount, Stats};
pub use stream::{Claims, ReadyWatch};
pub use sync::{Compared, PaidPayment, Replay, SyncState, UNDOABLE};
pub use transactions::{TxCursor, TxEnd, TxFilter, TxPage, TxRef, TxView};
pub use wire::Wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::FromRedisValue;

use gather::Gatherer;
use keys::Keys;
use script::{Args, Script};
use wire::{Connection, Link};

use crate::ids::JobId;

/// How long a command may take before its connection is given up. Long, because with `appendfsync always` a slow disk
/// answers late, and a reply given up is a reply lost.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most jobs that one script touches: Lua's `unpack` ends at 8,000 values, and a long script holds up everybody.
pub const SLICE: usize = 256;
/// The schema this program writes.
const SCHEMA: u64 = 1;

/// The store of one lane. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    link: Link,
    keys: Keys,
    durability: Durability,
    gatherer: Arc<Gatherer>,
    /// The number of the next job, where ids are not to be random.
    next_id: Option<Arc<AtomicU64>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("lane", &self.keys.prefix()).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects to the Redis at `url`. Nothing is checked or written; see [`Store::check_durability`].
    pub async fn connect(url: &str, lane: &Lane, durability: Durability) -> Result<Self, StoreError> {
        Ok(Self {
            link: Link::tcp(url).await?,
            keys: Keys::new(lane),
            durability,
            gatherer: Arc::default(),
            next_id: None,
        })
    }

    /// The store behind `wire`, for simulations. Jobs are numbered by `next_id`.
    pub fn over(wire: Arc<dyn Wire>, lane: &Lane, durability: Durability, next_id: Arc<AtomicU64>) -> Self {
        Self {
            link: Link::Wire(wire),
            keys: Keys::new(lane),
            durability,
            gatherer: Arc::default(),
            next_id: Some(next_id),
        }
    }

    fn new_id(&self) -> JobId {
        match &self.next_id {
            Some(next) => JobId::numbered(next.fetch_add(1, Ordering::Relaxed)),
            None => JobId::generate(),
        }
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        redis::cmd("PING")
            .query_async(&mut self.link.hot())
            .await
            .map_err(|source| StoreError::Redis { operation: "ping", source })
    }

    /// The Redis clock in unix milliseconds.
    pub async fn now(&self) -> Result<u64, StoreError> {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME")
            .query_async(&mut self.link.hot())
            .await
            .map_err(|source| StoreError::Redis { operation: "time", source })?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Creates the consumer group and the schema version. Safe to run again.
    pub async fn migrate(&self) -> Result<bool, StoreError> {
        let (code, stored): (i64, u64) = self.run(&script::MIGRATE, Args::new().arg(SCHEMA)).await?;
        match code {
            0 => Ok(true),
            1 | 2 => Ok(false),
            3 => Err(StoreError::NewerSchema { stored, known: SCHEMA }),
            other => Err(StoreError::UnknownReply { script: "migrate", value: other.to_string() }),
        }
    }

    /// The schema version found in Redis, `None` before the first migration.
    pub async fn schema(&self) -> Result<Option<u64>, StoreError> {
        let stored: Option<u64> =
            self.read("schema", redis::cmd("GET").arg(format!("{}schema", self.keys.prefix()))).await?;
        match stored {
            Some(stored) if stored > SCHEMA => Err(StoreError::NewerSchema { stored, known: SCHEMA }),
            other => Ok(other),
        }
    }

    async fn run<T: FromRedisValue>(&self, script: &Script, args: Args) -> Result<T, StoreError> {
        script.run(&mut self.link.hot(), self.keys.prefix(), &args).await
    }

    /// Runs a script that only reads, away from the hot paths.
    async fn look<T: FromRedisValue>(&self, script: &Script, args: Args) -> Result<T, StoreError> {
        let mut connection = self.pooled(script.name).await?;
        script.run(&mut connection, self.keys.prefix(), &args).await
    }

    /// As [`Store::read`], on the connection that is always there, for small replies that are asked for again and again: taking
    /// one out of the pool costs two commands more.
    async fn read_often<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &redis::Cmd,
    ) -> Result<T, StoreError> {
        command
            .query_async(&mut self.link.hot())
            .await
            .map_err(|source| StoreError::Redis { operation, source })
    }

    async fn read<T: FromRedisValue>(
        &self,
        operation: &'static str,
        command: &redis::Cmd,
    ) -> Result<T, StoreError> {
        let mut connection = self.pooled(operation).await?;
        command.query_async(&mut connection).await.map_err(|source| StoreError::Redis { operation, source })
    }

    async fn pipe<T: FromRedisValue>(
        &self,
        operation: &'static str,
        pipe: &redis::Pipeline,
    ) -> Result<T, StoreError> {
        let mut connection = self.pooled(operation).await?;
        pipe.query_async(&mut connection).await.map_err(|source| StoreError::Redis { operation, source })
    }

    async fn pooled(&self, operation: &'static str) -> Result<Connection, StoreError> {
        self.link.pooled(operation).await
    }

    async fn blocking(&self, operation: &'static str) -> Result<Connection, StoreError> {
        self.link.blocking(operation).await
    }
}
