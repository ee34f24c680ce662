//! Between stored text and domain types. A field that does not parse is an error with its key and value, never a default.

use std::collections::HashMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use crate::ids::{BlockNumber, Epoch, JobId, Nonce};
use crate::job::{Failure, Job, Kind, Payload};
use crate::job_state::{JobState, Pending, Processing, Stage};

/// What a worker or the leader needs of a job.
#[derive(Debug, Clone, Hash)]
pub struct Brief {
    pub id: JobId,
    pub epoch: Epoch,
    pub payload: Payload,
    pub attempts: u32,
    /// The most items a transaction with this job may hold; 0 = no bound. Halved when a batch reverts as a whole.
    pub pack_max: u32,
    pub refund_requested: bool,
    /// Unix milliseconds of the Redis clock.
    pub created_at: u64,
    pub stage: Stage,
    pub nonce: Option<Nonce>,
}

/// One line of a job's timeline, as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Unix milliseconds of the Redis clock.
    #[serde(deserialize_with = "number_text")]
    pub at: u64,
    pub event: String,
    /// The stage after the event, where the event moved the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Everything else the event left: by, nonce, hash, block, gate, class, reason, delivery…
    #[serde(flatten)]
    pub detail: serde_json::Map<String, serde_json::Value>,
}

fn number_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

pub(super) fn to_json<T: Serialize>(value: &T) -> String {
    // Serialising our own structs of strings and numbers cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn parse<T: FromStr>(
    key: &str,
    field: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<T, StoreError> {
    value.parse().map_err(|_| StoreError::Corrupt {
        key: key.to_owned(),
        field,
        value: value.to_owned(),
        expected,
    })
}

/// As [`parse`], where an empty text means absent.
pub(super) fn optional<T: FromStr>(
    key: &str,
    field: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<Option<T>, StoreError> {
    if value.is_empty() { Ok(None) } else { parse(key, field, value, expected).map(Some) }
}

pub(super) fn json<T: for<'de> Deserialize<'de>>(
    key: &str,
    field: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(value).map_err(|_| StoreError::Corrupt {
        key: key.to_owned(),
        field,
        value: value.chars().take(200).collect(),
        expected,
    })
}

/// A hash as read, with the key it came from for errors.
pub(super) struct Record<'a> {
    pub(super) key: &'a str,
    pub(super) fields: &'a HashMap<String, String>,
}

impl Record<'_> {
    pub(super) fn text(&self, field: &'static str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }

    pub(super) fn need<T: FromStr>(
        &self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<T, StoreError> {
        parse(self.key, field, self.text(field), expected)
    }

    pub(super) fn maybe<T: FromStr>(
        &self,
        field: &'static str,
        expected: &'static str,
    ) -> Result<Option<T>, StoreError> {
        optional(self.key, field, self.text(field), expected)
    }
}

/// Reads a job's hash. `None` when there is none.
pub(super) fn job(id: JobId, key: &str, fields: &HashMap<String, String>) -> Result<Option<Job>, StoreError> {
    if fields.is_empty() {
        return Ok(None);
    }
    let record = Record { key, fields };
    let payload = payload(key, record.text("kind"), record.text("payload"))?;
    let last_failure: Option<Failure> = match record.text("error") {
        "" => None,
        text => Some(json(key, "error", text, "a failure")?),
    };
    Ok(Some(Job {
        id,
        payload,
        state: state(&record)?,
        attempts: record.maybe("attempts", "a number")?.unwrap_or(0),
        duplicates: record.maybe("duplicate", "a number")?.unwrap_or(0),
        last_failure,
        refund_requested: record.text("refund_requested") == "1",
        last_nonce: record.maybe("last_nonce", "a nonce")?,
        last_signer: record.maybe("last_signer", "an address")?,
        created_at: record.need("created_at", "unix milliseconds")?,
        updated_at: record.need("updated_at", "unix milliseconds")?,
    }))
}

fn state(record: &Record<'_>) -> Result<JobState, StoreError> {
    let stage = stage(record.key, record.text("stage"))?;
    let due = || record.need("due", "unix milliseconds");
    // One that the chain showed as paid before anybody claimed it has none.
    let epoch = record.maybe::<Epoch>("epoch", "an epoch")?.unwrap_or(Epoch::new(0));
    let processing = |step| Ok(JobState::Processing { epoch, step });
    match stage {
        Stage::Queued => Ok(JobState::Pending(Pending::Queued)),
        Stage::Waiting => Ok(JobState::Pending(Pending::Waiting)),
        Stage::Delayed => Ok(JobState::Pending(Pending::Delayed { due: due()? })),
        Stage::Held => Ok(JobState::Pending(Pending::Held { due: due()? })),
        Stage::Gated => Ok(JobState::Pending(Pending::Gated { gate: record.need("gate", "a gate")? })),
        Stage::Checking => processing(Processing::Checking { worker: record.need("worker", "a worker")? }),
        Stage::Ready => processing(Processing::Ready),
        Stage::Submitted => processing(Processing::Submitted { nonce: record.need("nonce", "a nonce")? }),
        Stage::Confirming => processing(Processing::Confirming {
            block: record.need("block", "a block number")?,
            nonce: record.maybe("nonce", "a nonce")?,
        }),
        Stage::Retrying => Ok(JobState::Retrying),
        Stage::Done => Ok(JobState::Done { block: record.need::<BlockNumber>("block", "a block number")? }),
        Stage::Failed => Ok(JobState::Failed),
        Stage::Cancelled => Ok(JobState::Cancelled),
    }
}

fn stage(key: &str, text: &str) -> Result<Stage, StoreError> {
    Stage::from_name(text).ok_or_else(|| StoreError::Corrupt {
        key: key.to_owned(),
        field: "stage",
        value: text.to_owned(),
        expected: "a stage",
    })
}

/// Reads a batch of briefs. One that does not parse must not hold up the others: it is logged and left out, and stays
/// where it is. It is the answer only where it is alone.
pub(super) fn briefs(rows: &[Vec<String>]) -> Result<Vec<Brief>, StoreError> {
    let (good, bad): (Vec<_>, Vec<_>) = rows.iter().map(|row| brief(row)).partition(Result::is_ok);
    let good: Vec<Brief> = good.into_iter().flatten().collect();
    for error in bad.into_iter().filter_map(Result::err) {
        if good.is_empty() {
            return Err(error);
        }
        tracing::error!(%error, "a job is left out of its batch");
    }
    Ok(good)
}

fn payload(key: &str, kind: &str, text: &str) -> Result<Payload, StoreError> {
    let corrupt = |field, value: &str, expected| StoreError::Corrupt {
        key: key.to_owned(),
        field,
        value: value.to_owned(),
        expected,
    };
    let known = Kind::from_name(kind).ok_or_else(|| corrupt("kind", kind, "a kind of job"))?;
    Payload::parse(known, text).map_err(|_| corrupt("payload", text, "a job payload"))
}

/// Reads what `brief` in `lua/lib/moves.lua` returns.
pub(super) fn brief(fields: &[String]) -> Result<Brief, StoreError> {
    let key = fields.first().map_or("brief", String::as_str);
    let field = |at: usize| fields.get(at).map_or("", String::as_str);
    Ok(Brief {
        id: parse(key, "id", field(0), "a job id")?,
        epoch: parse(key, "epoch", field(1), "an epoch")?,
        payload: payload(key, field(9), field(2))?,
        attempts: parse(key, "attempts", field(3), "a number")?,
        pack_max: parse(key, "pack_max", field(4), "a number")?,
        refund_requested: field(5) == "1",
        created_at: parse(key, "created_at", field(6), "unix milliseconds")?,
        stage: stage(key, field(7))?,
        nonce: optional(key, "nonce", field(8), "a nonce")?,
    })
}
