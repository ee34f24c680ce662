//! What waits for a nonce, as the leader reads it.

use super::error::StoreError;
use super::script::{self, Args};
use super::{Brief, Fence, SLICE, Store, codec};

/// Jobs that wait for a nonce, and the entry of the newest of them.
#[derive(Debug)]
pub struct Ready {
    pub jobs: Vec<Brief>,
    pub last: String,
}

impl Default for Ready {
    fn default() -> Self {
        Self { jobs: Vec::new(), last: "0-0".into() }
    }
}

impl Store {
    /// Reads so many more of the jobs that wait for a nonce, the oldest that are not yet among `ready`. `false` when fenced.
    pub async fn read_ready(
        &self,
        fence: &Fence,
        ready: &mut Ready,
        count: usize,
    ) -> Result<bool, StoreError> {
        let args = Args::new().arg(fence).arg(count.min(SLICE)).arg(&ready.last);
        let rows: Vec<redis::Value> = self.run(&script::READ_READY, args).await?;
        if !matches!(rows.first(), Some(redis::Value::Int(0))) {
            return Ok(false);
        }
        let unknown = |value: &redis::Value| StoreError::UnknownReply {
            script: "read_ready",
            value: format!("{value:?}"),
        };
        let [_, last, rows @ ..] = rows.as_slice() else {
            return Err(StoreError::UnknownReply { script: "read_ready", value: format!("{rows:?}") });
        };
        let last = redis::from_redis_value_ref(last).map_err(|_| unknown(last))?;
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| redis::from_redis_value_ref(row).map_err(|_| unknown(row)))
            .collect::<Result<_, _>>()?;
        match codec::briefs(&rows) {
            Ok(more) => {
                // A sweep may have given one that we hold a new entry.
                let is_new = |job: &Brief| ready.jobs.iter().all(|held| held.id != job.id);
                let more: Vec<Brief> = more.into_iter().filter(is_new).collect();
                ready.jobs.extend(more);
                ready.last = last;
            }
            // It is told once the others are dealt with.
            Err(_) if !ready.jobs.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}
