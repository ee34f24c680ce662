//! The journal: which nonce belongs to which intent, and every signed attempt, written before anything is broadcast.
//!
//! Invariants, all enforced inside the scripts:
//! * Only the holder of the living lease writes (G5).
//! * A nonce gets one intent, and keeps it (G3); a cancel is irrevocable.
//! * An attempt is in the journal before anybody may broadcast it (G4). Asking again with the same hash answers
//!   [`JournalOutcome::Already`], so a lost reply is re-asked and never re-signed.

use std::collections::HashMap;

use alloy::primitives::Address;

use super::codec::{self, Record};
use super::error::StoreError;
use super::lease::Fence;
use super::script::{self, Applied, Args, applied};
use super::{SLICE, Store};
use crate::ids::{BlockNumber, Epoch, Hash32, JobId, Nonce};
use crate::tx::{Attempt, Inclusion, Intent, TxRecord};
use crate::tx_state::TxState;

/// A signed transaction that wants a nonce.
#[derive(Debug, Clone)]
pub struct NewTx<'a> {
    pub signer: Address,
    pub nonce: Nonce,
    pub intent: &'a Intent,
    pub attempt: &'a Attempt,
    /// The most nonces that may be open at once.
    pub max_open: usize,
}

/// What the journal said to a new transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalOutcome {
    /// Durable since `at` (unix milliseconds): it may be broadcast.
    Journaled {
        at: u64,
    },
    /// This very transaction is durable already: it may be broadcast.
    Already,
    /// The lease is not ours: nothing was written.
    Fenced,
    /// Another nonce is next (`None`: the signer has no nonce yet).
    WrongNonce {
        next: Option<Nonce>,
    },
    SigningPaused,
    TooManyOpen,
    NotSynced,
    /// These jobs may not be signed any more; nothing was written.
    Offenders(Vec<JobId>),
}

/// What the journal said to a further attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journaled {
    Journaled {
        at: u64,
    },
    Already,
    Fenced,
    /// The nonce is closed.
    NotOpen,
    /// Another attempt came first.
    Overtaken,
    /// Only cancels may follow a cancel.
    Cancelling,
}

/// What the journal said to where a transaction was seen.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Noted at this time (unix milliseconds).
    At(u64),
    Fenced,
    /// The nonce is closed.
    NotOpen,
}

/// A job that the contract's state, deep enough, says is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedJob {
    pub job: JobId,
    pub epoch: Epoch,
    pub block: BlockNumber,
    /// The transaction and log that did it, where an event was found.
    pub event: Option<(Hash32, u64)>,
}

impl Store {
    /// The next nonce of `signer`, `None` before its first takeover.
    pub async fn next_nonce(&self, signer: Address) -> Result<Option<Nonce>, StoreError> {
        let key = self.keys.signer(signer);
        let next: Option<String> = self.read("next nonce", redis::cmd("HGET").arg(&key).arg("next")).await?;
        codec::optional(&key, "next", &next.unwrap_or_default(), "a nonce")
    }

    /// Sets the next nonce after a takeover looked at the chain; `false` when fenced, when `expected` is
    /// outdated, or when a nonce is open at or above `next`.
    pub async fn set_next_nonce(
        &self,
        fence: &Fence,
        signer: Address,
        expected: Option<Nonce>,
        next: Nonce,
    ) -> Result<bool, StoreError> {
        let expected = expected.map(|nonce| nonce.to_string()).unwrap_or_default();
        let args = Args::new().arg(fence).arg(format!("{signer:#x}")).arg(expected).arg(next);
        Ok(self.run_durably::<i64>(&script::SIGNER_SET, args).await? == 0)
    }

    /// Writes a new transaction. Only [`JournalOutcome::Journaled`] and [`JournalOutcome::Already`] allow a broadcast.
    pub async fn journal(&self, fence: &Fence, tx: &NewTx<'_>) -> Result<JournalOutcome, StoreError> {
        let mut args = Args::new()
            .arg(fence)
            .arg(format!("{:#x}", tx.signer))
            .arg(tx.nonce)
            .arg(tx.intent.kind.name())
            .arg(codec::to_json(tx.intent))
            .arg(codec::to_json(tx.attempt))
            .arg(tx.attempt.hash)
            .arg(tx.max_open);
        for held in &tx.intent.jobs {
            args = args.arg(held.job).arg(held.epoch);
        }
        let reply: Vec<redis::Value> = self.run_durably(&script::JOURNAL, args).await?;
        let unknown = || StoreError::UnknownReply { script: "journal", value: format!("{reply:?}") };
        let text = |at: usize| -> Result<String, StoreError> {
            reply.get(at).and_then(|value| redis::from_redis_value_ref(value).ok()).ok_or_else(unknown)
        };
        Ok(match text(0)?.as_str() {
            "0" => JournalOutcome::Journaled {
                at: codec::parse("journal", "at", &text(1)?, "unix milliseconds")?,
            },
            "1" => JournalOutcome::Already,
            "2" => JournalOutcome::Fenced,
            "3" => {
                JournalOutcome::WrongNonce { next: codec::optional("signer", "next", &text(1)?, "a nonce")? }
            }
            "4" => JournalOutcome::SigningPaused,
            "5" => JournalOutcome::TooManyOpen,
            "6" => JournalOutcome::NotSynced,
            "7" => {
                let ids: Vec<String> = reply
                    .get(1)
                    .and_then(|value| redis::from_redis_value_ref(value).ok())
                    .ok_or_else(unknown)?;
                let ids = ids.iter().map(|id| codec::parse("journal", "offender", id, "a job id"));
                JournalOutcome::Offenders(ids.collect::<Result<_, _>>()?)
            }
            _ => return Err(unknown()),
        })
    }

    /// Writes a further attempt at an open nonce, of which `so_far` attempts were known. Only
    /// [`Journaled::Journaled`] and [`Journaled::Already`] allow a broadcast.
    pub async fn journal_attempt(
        &self,
        fence: &Fence,
        signer: Address,
        nonce: Nonce,
        so_far: usize,
        attempt: &Attempt,
    ) -> Result<Journaled, StoreError> {
        let args = Args::new()
            .arg(fence)
            .arg(format!("{signer:#x}"))
            .arg(nonce)
            .arg(so_far)
            .arg(codec::to_json(attempt))
            .arg(attempt.hash)
            .arg(u8::from(attempt.cancel));
        let reply: Vec<String> = self.run_durably(&script::JOURNAL_ATTEMPT, args).await?;
        let unknown = || StoreError::UnknownReply { script: "journal_attempt", value: format!("{reply:?}") };
        Ok(match reply.first().map(String::as_str) {
            Some("0") => {
                let at = reply.get(1).ok_or_else(unknown)?;
                Journaled::Journaled { at: codec::parse("journal", "at", at, "unix milliseconds")? }
            }
            Some("1") => Journaled::Already,
            Some("2") => Journaled::Fenced,
            Some("3") => Journaled::NotOpen,
            Some("4") => Journaled::Overtaken,
            Some("5") => Journaled::Cancelling,
            _ => return Err(unknown()),
        })
    }

    /// The nonces that are open by their index, in order. What is no nonce was written there by hand, and is left out; the next
    /// takeover takes it away ([`Store::set_next_nonce`]).
    pub async fn open_nonces(&self, signer: Address) -> Result<Vec<Nonce>, StoreError> {
        let key = self.keys.open(signer);
        let nonces: Vec<String> =
            self.read_often("open nonces", redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1)).await?;
        let nonces = nonces.iter().map(|nonce| codec::parse(&key, "nonce", nonce, "a nonce"));
        Ok(nonces
            .filter_map(|nonce| nonce.inspect_err(|error| tracing::error!(%error, "left out")).ok())
            .collect())
    }

    /// What was journaled for each of these nonces, in their order; and those whose record cannot be read, with the error.
    pub async fn open_txs(
        &self,
        signer: Address,
        nonces: &[Nonce],
    ) -> Result<(Vec<TxRecord>, Vec<(Nonce, StoreError)>), StoreError> {
        let (mut readable, mut unreadable) = (Vec::with_capacity(nonces.len()), Vec::new());
        for &nonce in nonces {
            match self.tx(signer, nonce).await {
                Ok(tx) => readable.extend(tx),
                Err(error) if error.is_of_one_record() => unreadable.push((nonce, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((readable, unreadable))
    }

    /// What was journaled for a nonce.
    pub async fn tx(&self, signer: Address, nonce: Nonce) -> Result<Option<TxRecord>, StoreError> {
        let key = self.keys.tx(signer, nonce);
        let fields: HashMap<String, String> =
            self.read("transaction", redis::cmd("HGETALL").arg(&key)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        read_tx(nonce, &Record { key: &key, fields: &fields }).map(Some)
    }

    /// Records where a nonce's transaction is seen in the chain, or (`None`) that it is not.
    pub async fn include(
        &self,
        fence: &Fence,
        signer: Address,
        nonce: Nonce,
        seen: Option<Inclusion>,
    ) -> Result<Noted, StoreError> {
        let hash = seen.map(|seen| seen.hash.to_string()).unwrap_or_default();
        let block = seen.map(|seen| seen.block.to_string()).unwrap_or_default();
        let args = Args::new().arg(fence).arg(format!("{signer:#x}")).arg(nonce).arg(hash).arg(block);
        let reply: Vec<String> = self.run(&script::INCLUDE, args).await?;
        let unknown = || StoreError::UnknownReply { script: "include", value: format!("{reply:?}") };
        Ok(match reply.first().map(String::as_str) {
            Some("0") => {
                let at = reply.get(1).ok_or_else(unknown)?;
                Noted::At(codec::parse("include", "at", at, "unix milliseconds")?)
            }
            Some("1") => Noted::Fenced,
            Some("2") => Noted::NotOpen,
            _ => return Err(unknown()),
        })
    }

    /// Takes jobs to done.
    pub async fn finish(&self, fence: &Fence, jobs: &[FinishedJob]) -> Result<Vec<Applied>, StoreError> {
        let mut out = Vec::with_capacity(jobs.len());
        for slice in jobs.chunks(SLICE) {
            let mut args = Args::new().arg(fence);
            for finished in slice {
                let (hash, log_index) = match finished.event {
                    Some((hash, index)) => (hash.to_string(), index.to_string()),
                    None => Default::default(),
                };
                args =
                    args.arg(finished.job).arg(finished.epoch).arg(finished.block).arg(hash).arg(log_index);
            }
            out.extend(applied("finish", self.run_durably(&script::FINISH, args).await?)?);
        }
        Ok(out)
    }

    /// Closes a nonce that is consumed for good; `false` when fenced, closed already, or still holding a job.
    pub async fn close_nonce(
        &self,
        fence: &Fence,
        signer: Address,
        nonce: Nonce,
        consumed_by: &'static str,
        hash: Option<Hash32>,
    ) -> Result<bool, StoreError> {
        let hash = hash.map(|hash| hash.to_string()).unwrap_or_default();
        let args = Args::new().arg(fence).arg(format!("{signer:#x}")).arg(nonce).arg(consumed_by).arg(hash);
        Ok(self.run::<i64>(&script::CLOSE_NONCE, args).await? == 0)
    }

    /// Opens `count` nonces from `lowest` on again, as far as they were closed. Returns how many; `None` when fenced.
    pub async fn reopen(
        &self,
        fence: &Fence,
        signer: Address,
        lowest: Nonce,
        count: u64,
    ) -> Result<Option<u64>, StoreError> {
        let args = Args::new().arg(fence).arg(format!("{signer:#x}")).arg(lowest).arg(count);
        let opened: i64 = self.run_durably(&script::REOPEN, args).await?;
        Ok(u64::try_from(opened).ok())
    }
}

pub(super) fn read_tx(nonce: Nonce, record: &Record<'_>) -> Result<TxRecord, StoreError> {
    let corrupt = |field, expected| StoreError::Corrupt {
        key: record.key.to_owned(),
        field,
        value: record.text(field).to_owned(),
        expected,
    };
    let intent: Intent = codec::json(record.key, "intent", record.text("intent"), "an intent")?;
    let count: usize = record.need("attempts", "a number")?;
    let mut attempts = Vec::with_capacity(count);
    for n in 0..count {
        let text = |name: &str| record.fields.get(&format!("{name}:{n}")).map_or("", String::as_str);
        let mut attempt: Attempt = codec::json(record.key, "attempt", text("attempt"), "an attempt")?;
        attempt.at = codec::parse(record.key, "at", text("at"), "unix milliseconds")?;
        attempts.push(attempt);
    }
    let inclusion = match record.maybe::<Hash32>("included_hash", "a hash")? {
        Some(hash) => Some(Inclusion { hash, block: record.need("included_block", "a block number")? }),
        None => None,
    };
    Ok(TxRecord {
        nonce,
        intent,
        state: TxState::from_name(record.text("state"))
            .ok_or_else(|| corrupt("state", "a transaction state"))?,
        attempts,
        inclusion,
        created_at: record.need("created_at", "unix milliseconds")?,
    })
}
