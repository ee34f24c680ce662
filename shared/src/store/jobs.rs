//! Single jobs: reading them, and every transition that is not signing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use redis::RedisResult;
use serde::Serialize;

use super::codec::{self, TimelineEntry};
use super::error::StoreError;
use super::lease::Fence;
use super::script::{self, Applied, Args, applied};
use super::{Brief, SLICE, Store};
use crate::ids::{BlockNumber, Epoch, JobId, Nonce};
use crate::job::{Failure, Job};

/// How a job leaves a worker's or the leader's hands without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// Tried again after `delay`. `charge` counts it as an attempt; the reason is kept either way.
    BackOff { delay: Duration, charge: bool, failure: Option<Failure> },
    /// Parked until the gate opens; never charged.
    Park { gate: String, reason: Failure },
    /// Dead-lettered.
    Fail { failure: Failure, charge: bool },
    /// The chain does not know the registration of the payout's child, though it is to know every one that Redis recorded up
    /// to `block`. Never charged: it waits for a registration under way, is tried again after `delay` for one that is
    /// newer, and fails, until somebody registers the wallet again, where there is neither.
    Unregistered { delay: Duration, block: BlockNumber },
}

/// One job's departure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    pub job: JobId,
    pub epoch: Epoch,
    /// The nonce it leaves; the script refuses when the job is held by another one by now.
    pub nonce: Option<Nonce>,
    /// A new bound on the size of the transactions it may be packed into.
    pub pack_max: Option<u32>,
    pub exit: Exit,
}

/// A job that the chain already shows as done, in `block`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledJob {
    pub job: JobId,
    pub epoch: Epoch,
    pub block: BlockNumber,
}

/// What became of a manual retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Retried {
    Queued,
    Unknown,
    /// Only failed jobs are retried; this one is at `stage` (or `superseded` by a later registration).
    NotFailed {
        stage: String,
    },
    Refunded,
}

/// What became of a manual cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    Cancelled {
        stage_before: String,
    },
    Unknown,
    /// Done or cancelled already.
    Terminal {
        stage: String,
    },
    /// A signed transaction exists; only the chain decides now.
    Journaled {
        stage: String,
    },
    NotSynced,
}

#[derive(Serialize)]
struct LeaveItem<'a> {
    id: JobId,
    epoch: String,
    event: &'static str,
    charge: u8,
    delay_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pack_max: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<String>,
}

impl<'a> From<&'a Departure> for LeaveItem<'a> {
    fn from(departure: &'a Departure) -> Self {
        let mut item = Self {
            id: departure.job,
            epoch: departure.epoch.to_string(),
            event: "fail",
            charge: 0,
            delay_ms: 0,
            gate: None,
            error: None,
            pack_max: departure.pack_max,
            nonce: departure.nonce.map(|nonce| nonce.to_string()),
            block: None,
        };
        match &departure.exit {
            Exit::BackOff { delay, charge, failure } => {
                item.event = "back_off";
                item.charge = u8::from(*charge);
                item.delay_ms = millis(*delay);
                item.error = failure.as_ref();
            }
            Exit::Park { gate, reason } => {
                item.event = "park";
                item.gate = Some(gate);
                item.error = Some(reason);
            }
            Exit::Fail { failure, charge } => {
                item.charge = u8::from(*charge);
                item.error = Some(failure);
            }
            Exit::Unregistered { delay, block } => {
                item.event = "unregistered";
                item.delay_ms = millis(*delay);
                item.block = Some(block.to_string());
            }
        }
        item
    }
}

/// Of a line of a timeline: a field `log:<n>`.
fn line_number(field: &str) -> Option<u64> {
    field.strip_prefix("log:")?.parse().ok()
}

fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)
}

impl Store {
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let key = self.keys.job(id);
        let fields: HashMap<String, String> = self.read("job", redis::cmd("HGETALL").arg(&key)).await?;
        codec::job(id, &key, &fields)
    }

    /// A job's timeline, oldest first.
    pub async fn timeline(&self, id: JobId) -> Result<Vec<TimelineEntry>, StoreError> {
        let key = self.keys.job(id);
        let fields: HashMap<String, String> = self.read("timeline", redis::cmd("HGETALL").arg(&key)).await?;
        let lines = fields.iter().filter_map(|(field, line)| Some((line_number(field)?, line)));
        let lines: BTreeMap<u64, &String> = lines.collect();
        lines.into_values().map(|line| codec::json(&key, "log:<n>", line, "a timeline entry")).collect()
    }

    /// Queues a failed job again.
    pub async fn retry(&self, id: JobId, actor: &str, reason: &str) -> Result<Retried, StoreError> {
        let args = Args::new().arg(id).arg(actor).arg(reason);
        let (code, stage): (i64, String) = self.run_durably(&script::RETRY, args).await?;
        match code {
            0 => Ok(Retried::Queued),
            1 => Ok(Retried::Unknown),
            2 => Ok(Retried::NotFailed { stage }),
            3 => Ok(Retried::Refunded),
            other => Err(StoreError::UnknownReply { script: "retry", value: other.to_string() }),
        }
    }

    /// Cancels a job that is not journaled. Its payment id stays spent.
    pub async fn cancel(&self, id: JobId, actor: &str, reason: &str) -> Result<Cancelled, StoreError> {
        let args = Args::new().arg(id).arg(actor).arg(reason);
        let (code, stage): (i64, String) = self.run_durably(&script::CANCEL, args).await?;
        match code {
            0 => Ok(Cancelled::Cancelled { stage_before: stage }),
            1 => Ok(Cancelled::Unknown),
            2 => Ok(Cancelled::Terminal { stage }),
            3 => Ok(Cancelled::Journaled { stage }),
            4 => Ok(Cancelled::NotSynced),
            other => Err(StoreError::UnknownReply { script: "cancel", value: other.to_string() }),
        }
    }

    /// Hands checked jobs to the leader.
    pub async fn pass(&self, worker: &str, jobs: &[(JobId, Epoch)]) -> Result<Vec<Applied>, StoreError> {
        self.over_pairs(&script::READY, worker, jobs).await
    }

    /// Gives claimed jobs back to the queue, without charge.
    pub async fn hand_back(&self, worker: &str, jobs: &[(JobId, Epoch)]) -> Result<Vec<Applied>, StoreError> {
        self.over_pairs(&script::HAND_BACK, worker, jobs).await
    }

    async fn over_pairs(
        &self,
        script: &script::Script,
        worker: &str,
        jobs: &[(JobId, Epoch)],
    ) -> Result<Vec<Applied>, StoreError> {
        let mut out = Vec::with_capacity(jobs.len());
        for slice in jobs.chunks(SLICE) {
            let mut args = Args::new().arg(worker);
            for (id, epoch) in slice {
                args = args.arg(id).arg(epoch);
            }
            out.extend(applied(script.name, self.run(script, args).await?)?);
        }
        Ok(out)
    }

    /// Takes jobs out of somebody's hands. From the leader's stages only with the living lease.
    pub async fn leave(
        &self,
        who: &str,
        fence: Option<&Fence>,
        departures: &[Departure],
    ) -> Result<Vec<Applied>, StoreError> {
        let mut out = Vec::with_capacity(departures.len());
        for slice in departures.chunks(SLICE) {
            let mut args = Args::new().arg(who).arg(fence.map_or("", Fence::value));
            for departure in slice {
                args.push(codec::to_json(&LeaveItem::from(departure)));
            }
            out.extend(applied("leave", self.run(&script::LEAVE, args).await?)?);
        }
        Ok(out)
    }

    /// Takes jobs that the chain already shows as done to confirming, without a nonce.
    pub async fn settle(
        &self,
        who: &str,
        fence: Option<&Fence>,
        jobs: &[SettledJob],
    ) -> Result<Vec<Applied>, StoreError> {
        let mut out = Vec::with_capacity(jobs.len());
        for slice in jobs.chunks(SLICE) {
            let mut args = Args::new().arg(who).arg(fence.map_or("", Fence::value));
            for settled in slice {
                args = args.arg(settled.job).arg(settled.epoch).arg(settled.block);
            }
            out.extend(applied("settle", self.run(&script::SETTLE, args).await?)?);
        }
        Ok(out)
    }

    /// Jobs settled from the chain in blocks up to `block`, which wait to be deep enough.
    pub async fn settling(&self, up_to: BlockNumber, count: usize) -> Result<Vec<JobId>, StoreError> {
        let key = self.keys.settling();
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(&key).arg("-inf").arg(up_to.get()).arg("LIMIT").arg(0).arg(count);
        let ids: Vec<String> = self.read_often("settling", &command).await?;
        ids.iter().map(|id| codec::parse(&key, "job", id, "a job id")).collect()
    }

    /// What the leader needs of these jobs, in order; `None` where a job is gone, or cannot be read, which is logged.
    pub async fn briefs(&self, ids: &[JobId]) -> Result<Vec<Option<Brief>>, StoreError> {
        let each = self.each_brief(ids).await?.into_iter().zip(ids);
        let readable = each.map(|(brief, job)| match brief {
            Err(error) if error.is_of_one_record() => {
                tracing::error!(job.id = %job, %error, "a job cannot be read and is left out");
                Ok(None)
            }
            brief => brief,
        });
        readable.collect()
    }

    /// As `briefs`, with the error of each that cannot be read.
    pub async fn each_brief(
        &self,
        ids: &[JobId],
    ) -> Result<Vec<Result<Option<Brief>, StoreError>>, StoreError> {
        let mut out = Vec::with_capacity(ids.len());
        for slice in ids.chunks(SLICE) {
            let mut pipe = redis::pipe();
            pipe.ignore_errors();
            for id in slice {
                pipe.cmd("HMGET").arg(self.keys.job(*id)).arg(&[
                    "epoch",
                    "payload",
                    "attempts",
                    "pack_max",
                    "refund_requested",
                    "created_at",
                    "stage",
                    "nonce",
                    "kind",
                ]);
            }
            let rows: Vec<RedisResult<Vec<Option<String>>>> = self.pipe("jobs", &pipe).await?;
            out.extend(slice.iter().zip(rows).map(|(id, row)| {
                row.map_err(|source| StoreError::Redis { operation: "a job", source })
                    .and_then(|row| full_brief(*id, row))
            }));
        }
        Ok(out)
    }
}

/// A job of which nothing is there is gone.
fn full_brief(id: JobId, row: Vec<Option<String>>) -> Result<Option<Brief>, StoreError> {
    if row.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut fields = vec![id.to_string()];
    let defaults = ["0", "", "0", "0", "0", "", "", "", ""];
    fields.extend(row.into_iter().zip(defaults).map(|(field, or)| field.unwrap_or_else(|| or.to_owned())));
    codec::brief(&fields).map(Some)
}
