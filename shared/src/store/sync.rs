//! What was replayed from the chain into this Redis. Until a server process has been synced, nothing is accepted,
//! cancelled or signed: an emptied or restored Redis knows less than the chain.

use std::collections::HashMap;

use super::codec::Record;
use super::error::StoreError;
use super::lease::Fence;
use super::script::{self, Args};
use super::{SLICE, Store};
use crate::ids::{BlockNumber, Hash32, PaymentId, Wallet};
use crate::money::Commission;

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

impl Store {
    pub async fn sync_state(&self) -> Result<SyncState, StoreError> {
        let key = self.keys.synced();
        let mut pipe = redis::pipe();
        pipe.cmd("INFO").arg("server").cmd("HGETALL").arg(&key);
        let (info, fields): (String, HashMap<String, String>) = self.pipe("sync state", &pipe).await?;
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

    /// Marks payments that the chain shows as paid. Returns how many were news; `None` when fenced.
    pub async fn mark_paid(
        &self,
        fence: &Fence,
        payments: &[PaidPayment],
    ) -> Result<Option<u64>, StoreError> {
        let mut news = 0;
        for slice in payments.chunks(SLICE) {
            let mut args = Args::new().arg(fence);
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
            let (code, marked): (i64, u64) = self.run(&script::SYNC_PAYMENTS, args).await?;
            if code != 0 {
                return Ok(None);
            }
            news += marked;
        }
        Ok(Some(news))
    }

    /// Declares this server process synced up to `block`, or moves the checkpoint of one that is. `false` when fenced, or when the process that the replay began
    /// on, `run_id`, is gone.
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
    })
}
