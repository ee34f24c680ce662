//! Counts over the lane, for metrics and operators.

use std::collections::BTreeMap;

use super::Store;
use super::codec;
use super::error::StoreError;
use crate::job_state::Stage;

/// How many jobs are in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateCount {
    pub state: &'static str,
    pub count: u64,
    /// Unix milliseconds of the oldest last change.
    pub oldest: Option<u64>,
}

/// Counts over the lane.
#[derive(Debug, Clone)]
pub struct Stats {
    pub states: Vec<StateCount>,
    /// Jobs in the stream, including those in workers' hands.
    pub queued: u64,
    /// Unix milliseconds at which the oldest undelivered entry was queued.
    pub oldest_queued: Option<u64>,
    pub ready: u64,
    pub delayed: u64,
    /// Everything ever counted: `event:<name>`, `done:<kind>`, `failure:<class>`, `attempts`, `intake:<decision>`…
    pub totals: BTreeMap<String, u64>,
    /// The Redis clock in unix milliseconds.
    pub now: u64,
}

/// What Redis uses of its memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    pub used: u64,
    /// `maxmemory`; 0 where there is no limit.
    pub max: u64,
}

impl Store {
    pub async fn memory(&self) -> Result<Memory, StoreError> {
        let info: String = self.read("memory", redis::cmd("INFO").arg("memory")).await?;
        let field = |name| {
            let text = info.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap_or_default();
            codec::parse("INFO memory", name, text.trim(), "bytes")
        };
        Ok(Memory { used: field("used_memory:")?, max: field("maxmemory:")? })
    }

    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("TIME").cmd("XLEN").arg(self.keys.jobs()).cmd("XLEN").arg(self.keys.ready());
        pipe.cmd("ZCARD").arg(self.keys.delayed()).cmd("HGETALL").arg(self.keys.stats());
        let (time, queued, ready, delayed, totals): ((u64, u64), u64, u64, u64, BTreeMap<String, u64>) =
            self.pipe("stats", &pipe).await?;
        let mut pipe = redis::pipe();
        for state in Stage::STATES {
            let key = self.keys.by_state(state);
            pipe.cmd("ZCARD").arg(&key).cmd("ZRANGE").arg(&key).arg(0).arg(0).arg("WITHSCORES");
        }
        let rows: Vec<redis::Value> = self.pipe("stats", &pipe).await?;
        let states = Stage::STATES.iter().zip(rows.chunks(2)).map(|(state, row)| {
            let oldest: Vec<String> = redis::from_redis_value_ref(&row[1]).unwrap_or_default();
            let oldest = oldest.get(1).and_then(|score| score.parse().ok());
            StateCount { state, count: redis::from_redis_value_ref(&row[0]).unwrap_or_default(), oldest }
        });
        Ok(Stats {
            states: states.collect(),
            queued,
            oldest_queued: self.oldest_queued().await?,
            ready,
            delayed,
            totals,
            now: time.0 * 1000 + time.1 / 1000,
        })
    }

    async fn oldest_queued(&self) -> Result<Option<u64>, StoreError> {
        let groups: redis::streams::StreamInfoGroupsReply =
            self.read("stats", redis::cmd("XINFO").arg("GROUPS").arg(self.keys.jobs())).await?;
        let Some(group) = groups.groups.first() else { return Ok(None) };
        let mut command = redis::cmd("XRANGE");
        command
            .arg(self.keys.jobs())
            .arg(format!("({}", group.last_delivered_id))
            .arg("+")
            .arg("COUNT")
            .arg(1);
        let next: redis::streams::StreamRangeReply = self.read("stats", &command).await?;
        Ok(next.ids.first().and_then(|entry| entry.id.split_once('-')?.0.parse().ok()))
    }
}
