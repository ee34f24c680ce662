//! The `jobs` stream as workers see it, and what puts jobs back into it. What mends it is in `recovery.rs`.

use std::time::Duration;

use redis::streams::{StreamId, StreamRangeReply, StreamReadReply};

use super::error::StoreError;
use super::script::{self, Args};
use super::wire::Connection;
use super::{Brief, RESPONSE_TIMEOUT, SLICE, Store, codec};
use crate::ids::Wallet;

pub(super) const GROUP: &str = "relayers";
/// A blocking read's own deadline is its patience plus this; past it the connection is given up. As long as for any other
/// reply, and for the same reason: entries in a reply that is given up rest with us until others may take them over.
const GRACE: Duration = RESPONSE_TIMEOUT;

/// A worker's way to new jobs: a blocking reader on a connection of its own.
pub struct Claims {
    store: Store,
    connection: Connection,
    worker: String,
    /// There were jobs the last time, so there may be more.
    busy: bool,
}

impl Store {
    /// Opens the stream for `worker`, a consumer name that no other process ever uses.
    pub async fn claims(&self, worker: &str) -> Result<Claims, StoreError> {
        let connection = self.blocking("claim").await?;
        Ok(Claims { store: self.clone(), connection, worker: worker.to_owned(), busy: false })
    }

    /// Claims the jobs of these entries and of up to `more` new ones. Returns how many entries there were.
    async fn claim(
        &self,
        worker: &str,
        entries: &[(String, String)],
        more: usize,
    ) -> Result<(usize, Vec<Brief>), StoreError> {
        let mut args = Args::new().arg(worker).arg(more);
        for (entry, job) in entries {
            args = args.arg(entry).arg(job);
        }
        let (entries, rows): (usize, Vec<Vec<String>>) = self.run(&script::CLAIM, args).await?;
        Ok((entries, codec::briefs(&rows)?))
    }

    /// Queues jobs whose delay is over. Returns how many, and how long until the next one is due.
    pub async fn promote(&self) -> Result<(usize, Option<Duration>), StoreError> {
        let (count, next): (usize, i64) = self.run(&script::PROMOTE, Args::new().arg(SLICE)).await?;
        Ok((count, u64::try_from(next).ok().map(Duration::from_millis)))
    }

    /// Queues at most `count` of the jobs parked under `gate`, longest parked first; `None` while it is closed.
    pub async fn release_parked(&self, gate: &str, count: usize) -> Result<Option<usize>, StoreError> {
        let args = Args::new().arg(gate).arg(count.min(SLICE));
        let released: i64 = self.run(&script::RELEASE_PARKED, args).await?;
        Ok(usize::try_from(released).ok())
    }

    /// Settles one slice of the payouts that waited for `child`'s registration; 0 when nothing is left.
    pub async fn unblock(&self, child: Wallet) -> Result<usize, StoreError> {
        self.run(&script::UNBLOCK, Args::new().arg(child.key()).arg(SLICE)).await
    }

    /// A watch on the `ready` stream, for the leader.
    pub async fn watch_ready(&self) -> Result<ReadyWatch, StoreError> {
        let key = self.keys.ready();
        let last = self.newest_entry("watch ready", &key).await?;
        Ok(ReadyWatch { connection: self.blocking("watch ready").await?, key, last })
    }

    /// Where a watch begins that must not miss what comes between its creation and its first wait, as `$` would.
    pub(super) async fn newest_entry(
        &self,
        operation: &'static str,
        key: &str,
    ) -> Result<String, StoreError> {
        let mut command = redis::cmd("XREVRANGE");
        command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: StreamRangeReply = self.read(operation, &command).await?;
        Ok(newest.ids.first().map_or_else(|| "0-0".to_owned(), |entry| entry.id.clone()))
    }
}

fn entry_pair(entry: &str, job: Option<String>) -> Option<(String, String)> {
    job.map(|job| (entry.to_owned(), job))
}

impl Claims {
    /// As after a claim that found jobs: the next one does not wait, if there are any. For a checker, which keeps nothing from
    /// one claim to the next.
    pub fn expect_jobs(&mut self) {
        self.busy = true;
    }

    /// Claims up to `count` jobs that wait already, where there were some the last time. Never drop this future half-way, as
    /// that of [`Claims::next`].
    pub async fn more(&mut self, count: usize) -> Result<Vec<Brief>, StoreError> {
        if !std::mem::take(&mut self.busy) {
            return Ok(Vec::new());
        }
        let (entries, jobs) = self.store.claim(&self.worker, &[], count.min(SLICE)).await?;
        self.busy = entries > 0;
        Ok(jobs)
    }

    /// Waits up to `patience` for new jobs and claims up to `count` of them. Never drop this future half-way: its reply
    /// would be lost with the entries already assigned to us.
    pub async fn next(&mut self, count: usize, patience: Duration) -> Result<Vec<Brief>, StoreError> {
        let count = count.min(SLICE);
        // Where jobs wait already, one script reads and claims them; a script cannot wait.
        let jobs = self.more(count).await?;
        if self.busy {
            return Ok(jobs);
        }
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.worker).arg("COUNT").arg(count);
        command.arg("BLOCK").arg(patience.as_millis().max(1) as u64);
        command.arg("STREAMS").arg(self.store.keys.jobs()).arg(">");
        let read = command.query_async::<Option<StreamReadReply>>(&mut self.connection);
        let reply = match tokio::time::timeout(patience + GRACE, read).await {
            Ok(reply) => reply.map_err(|source| StoreError::Redis { operation: "claim", source })?,
            Err(_) => return Err(silent("claim", patience)),
        };
        let entries: Vec<_> = reply
            .map(|reply| reply.keys)
            .unwrap_or_default()
            .iter()
            .flat_map(|stream| &stream.ids)
            .filter_map(|entry| entry_pair(&entry.id, entry.get("job")))
            .collect();
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (_, jobs) = self.store.claim(&self.worker, &entries, count - entries.len().min(count)).await?;
        self.busy = true;
        Ok(jobs)
    }
}

/// Waits for checked jobs, on a connection of its own.
pub struct ReadyWatch {
    connection: Connection,
    key: String,
    last: String,
}

impl ReadyWatch {
    /// Returns `true` when something new is ready, `false` when `patience` is over.
    pub async fn wait(&mut self, patience: Duration) -> Result<bool, StoreError> {
        wait_for_entry(&mut self.connection, &self.key, &mut self.last, patience, "watch ready").await
    }
}

pub(super) async fn wait_for_entry(
    connection: &mut Connection,
    key: &str,
    last: &mut String,
    patience: Duration,
    operation: &'static str,
) -> Result<bool, StoreError> {
    let entries = read_entries(connection, key, last, SLICE, patience, operation).await?;
    let newest = entries.last().map(|entry| entry.id.clone());
    let found = newest.is_some();
    if let Some(newest) = newest {
        *last = newest;
    }
    Ok(found)
}

/// Waits up to `patience` for entries after `last`.
pub(super) async fn read_entries(
    connection: &mut Connection,
    key: &str,
    last: &str,
    count: usize,
    patience: Duration,
    operation: &'static str,
) -> Result<Vec<StreamId>, StoreError> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(count).arg("BLOCK").arg(patience.as_millis().max(1) as u64);
    command.arg("STREAMS").arg(key).arg(last);
    let read = command.query_async::<Option<StreamReadReply>>(connection);
    let reply = match tokio::time::timeout(patience + GRACE, read).await {
        Ok(reply) => reply.map_err(|source| StoreError::Redis { operation, source })?,
        Err(_) => return Err(silent(operation, patience)),
    };
    Ok(reply.and_then(|reply| reply.keys.into_iter().next()).map(|stream| stream.ids).unwrap_or_default())
}

fn silent(operation: &'static str, patience: Duration) -> StoreError {
    StoreError::Pool {
        operation,
        detail: format!("no reply within {:?}; the connection is given up", patience + GRACE),
    }
}
