//! What was replayed from the chain into this Redis. Until a server process has been synced, nothing is accepted,
//! cancelled or signed: an emptied or restored Redis knows less than the chain.

use std::collections::HashMap;

use redis::RedisResult;

use super::codec::{self, Record};
use super::error::StoreError;
use super::lease::Fence;
use super::script::{self, Applied, Args, applied};
use super::{SLICE, Store};
use crate::ids::{BlockNumber, Hash32, JobId, PaymentId, Wallet};
use crate::money::Commission;

/// In blocks, below the newest final one: no reorganisation is held to go deeper. What was done there may be removed, and
/// what was learned there is watched no more.
pub const UNDOABLE: u64 = 256;

/// The server process, and how far it was synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncState {
    pub run_id: String,
    /// The block up to which events were replayed, whichever server process it was.
    pub checkpoint: Option<BlockNumber>,
    /// Whether that was this very process.
    pub synced: bool,
    /// While a replay is on its way.
    pub replay: Option<Replay>,
    /// The block up to which a replay into this very process has come that was cut short.
    pub resume: Option<BlockNumber>,
    /// The newest block that was final, and its hash.
    pub last_final: Option<(BlockNumber, Hash32)>,
    /// Up to which block all that was learned was held against a final one.
    pub compared: Option<BlockNumber>,
    /// The newest block that counted as final in a replay, and its hash; above the other, or none.
    pub last_replayed: Option<(BlockNumber, Hash32)>,
}

/// How far a replay of contract events has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    pub from: BlockNumber,
    pub to: BlockNumber,
    /// The block up to which it has come; `None` before its first answer.
    pub at: Option<BlockNumber>,
    /// Events so far.
    pub events: u64,
}

/// A payment that the chain shows as paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidPayment {
    pub payment: PaymentId,
    pub block: BlockNumber,
    pub hash: Hash32,
    pub referrer: Wallet,
    pub child: Wallet,
    pub commission: Commission,
}

/// What came of holding payments of the chain against what is recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Payments that were not known.
    pub marked: u64,
    /// Jobs that no transaction of ours carries, and are settled now.
    pub settled: u64,
    /// Payments that people must look at, and what is wrong with them.
    pub disagreements: Vec<(PaymentId, String)>,
}

impl Store {
    pub async fn sync_state(&self) -> Result<SyncState, StoreError> {
        let key = self.keys.synced();
        let (info, fields): (String, HashMap<String, String>) = redis::pipe()
            .cmd("INFO")
            .arg("server")
            .cmd("HGETALL")
            .arg(&key)
            .query_async(&mut self.link.hot())
            .await
            .map_err(|source| StoreError::Redis { operation: "sync state", source })?;
        let run_id =
            info.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().trim().to_owned();
        state(&run_id, &Record { key: &key, fields: &fields })
    }

    /// Shows how far a replay into the server process `run_id` has come. `false` when fenced.
    pub async fn show_replay(
        &self,
        fence: &Fence,
        run_id: &str,
        replay: &Replay,
    ) -> Result<bool, StoreError> {
        let at = replay.at.map(|block| block.to_string()).unwrap_or_default();
        let args =
            Args::new().arg(fence).arg(replay.from).arg(replay.to).arg(at).arg(replay.events).arg(run_id);
        Ok(self.run::<i64>(&script::SYNC_PROGRESS, args).await? == 0)
    }

    /// Records referrals that the chain shows, and lets the payouts go that waited for them. `false` when fenced.
    pub async fn registered(
        &self,
        fence: &Fence,
        referrals: &[(Wallet, Wallet, BlockNumber)],
    ) -> Result<bool, StoreError> {
        for slice in referrals.chunks(SLICE) {
            let mut args = Args::new().arg(fence);
            for (child, referrer, block) in slice {
                args = args.arg(child.key()).arg(referrer.key()).arg(block);
            }
            if self.run::<i64>(&script::REGISTERED, args).await? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Holds payments that the chain shows as paid, N deep, against what is recorded. Disagreements close [`super::RECONCILE`] in the
    /// same script. `None` when fenced.
    pub async fn mark_paid(
        &self,
        fence: &Fence,
        who: &str,
        payments: &[PaidPayment],
    ) -> Result<Option<Compared>, StoreError> {
        let mut all = Compared::default();
        for slice in payments.chunks(SLICE) {
            let mut args = Args::new().arg(fence).arg(who);
            for paid in slice {
                args = args
                    .arg(paid.payment)
                    .arg(paid.block)
                    .arg(paid.hash)
                    .arg(paid.referrer.key())
                    .arg(paid.child.key())
                    .arg(paid.commission.usdc)
                    .arg(paid.commission.sge);
            }
            let reply: Vec<String> = self.run_durably(&script::SYNC_PAYMENTS, args).await?;
            let [code, marked, settled, wrong @ ..] = &reply[..] else {
                return Err(StoreError::UnknownReply {
                    script: "sync_payments",
                    value: format!("{reply:?}"),
                });
            };
            if code != "0" {
                return Ok(None);
            }
            all.marked += codec::parse::<u64>("sync_payments", "marked", marked, "a number")?;
            all.settled += codec::parse::<u64>("sync_payments", "settled", settled, "a number")?;
            for pair in wrong.chunks(2) {
                let [payment, what] = pair else { continue };
                let payment = codec::parse("sync_payments", "payment", payment, "a payment id")?;
                all.disagreements.push((payment, what.clone()));
            }
        }
        Ok(Some(all))
    }

    /// Remembers the newest block that is final, and up to which one all that was learned was held against a final one. `false`
    /// when fenced.
    pub async fn set_final(
        &self,
        fence: &Fence,
        block: BlockNumber,
        hash: Hash32,
        compared: Option<BlockNumber>,
    ) -> Result<bool, StoreError> {
        let args = Args::new().arg(fence).arg(block).arg(hash).arg("final");
        let compared = compared.map(|block| block.to_string()).unwrap_or_default();
        let args = args.arg(UNDOABLE).arg(compared);
        Ok(self.run::<i64>(&script::FINAL_SET, args).await? == 0)
    }

    /// Remembers the block up to which a replay believed payments. `false` when fenced.
    pub async fn set_replayed(
        &self,
        fence: &Fence,
        block: BlockNumber,
        hash: Hash32,
    ) -> Result<bool, StoreError> {
        let args = Args::new().arg(fence).arg(block).arg(hash).arg("replayed");
        Ok(self.run::<i64>(&script::FINAL_SET, args).await? == 0)
    }

    /// Takes back that jobs are done in a block, `gone` or below, which is no more.
    pub async fn undo(
        &self,
        fence: &Fence,
        gone: BlockNumber,
        jobs: &[JobId],
    ) -> Result<Vec<Applied>, StoreError> {
        let mut out = Vec::with_capacity(jobs.len());
        for slice in jobs.chunks(SLICE) {
            let mut args = Args::new().arg(fence).arg(gone);
            for job in slice {
                args = args.arg(job);
            }
            out.extend(applied("undo", self.run(&script::UNDO, args).await?)?);
        }
        Ok(out)
    }

    /// One slice of the jobs that are done and their blocks, the newest first, `offset` of them skipped.
    pub async fn done(&self, offset: usize) -> Result<Vec<(JobId, Option<BlockNumber>)>, StoreError> {
        let key = self.keys.by_state("done");
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(&key).arg(offset).arg(offset + SLICE - 1);
        let ids: Vec<String> = self.read("done jobs", &command).await?;
        let ids: Result<Vec<JobId>, StoreError> =
            ids.iter().map(|id| codec::parse(&key, "job", id, "a job id")).collect();
        let ids = ids?;
        let mut pipe = redis::pipe();
        // A record that cannot be read has no block, as one that is gone.
        pipe.ignore_errors();
        for id in &ids {
            pipe.cmd("HGET").arg(self.keys.job(*id)).arg("block");
        }
        let blocks: Vec<RedisResult<Option<String>>> = match ids.is_empty() {
            true => Vec::new(),
            false => pipe
                .query_async(&mut self.link.hot())
                .await
                .map_err(|source| StoreError::Redis { operation: "blocks of done jobs", source })?,
        };
        let block = |text: RedisResult<Option<String>>| Some(BlockNumber::new(text.ok()??.parse().ok()?));
        Ok(ids.into_iter().zip(blocks.into_iter().map(block)).collect())
    }

    /// Declares this server process synced up to `block`, or moves the checkpoint of one that is. `false` when fenced,
    /// or when the process that the replay began on, `run_id`, is gone.
    pub async fn set_synced(
        &self,
        fence: &Fence,
        run_id: &str,
        block: BlockNumber,
    ) -> Result<bool, StoreError> {
        let args = Args::new().arg(fence).arg(run_id).arg(block);
        Ok(self.run_durably::<i64>(&script::SYNC_SET, args).await? == 0)
    }
}

/// What the hash `synced` says to the server process `run_id`.
pub(super) fn state(run_id: &str, record: &Record<'_>) -> Result<SyncState, StoreError> {
    let block = "a block number";
    let replay = match record.maybe("replaying_from", block)? {
        Some(from) => Some(Replay {
            from,
            to: record.need("replaying_to", block)?,
            at: record.maybe("replaying_at", block)?,
            events: record.need("events", "a number")?,
        }),
        None => None,
    };
    Ok(SyncState {
        run_id: run_id.to_owned(),
        checkpoint: record.maybe("block", block)?,
        synced: record.text("run_id") == run_id,
        resume: replay.and_then(|replay| replay.at).filter(|_| record.text("replaying_run") == run_id),
        replay,
        last_final: match record.maybe("final_block", block)? {
            Some(number) => Some((number, record.need("final_hash", "a hash")?)),
            None => None,
        },
        compared: record.maybe("compared_block", block)?,
        last_replayed: match record.maybe("replayed_block", block)? {
            Some(number) => Some((number, record.need("replayed_hash", "a hash")?)),
            None => None,
        },
    })
}
