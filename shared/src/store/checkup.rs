//! What a check-up asks of a lane beside the fleet's view. Everything here only reads, and looks at a bounded number of
//! records.

use std::time::Duration;

use alloy::primitives::Address;

use super::error::StoreError;
use super::listing::SCAN;
use super::{SLICE, Store, stream};
use crate::ids::{JobId, Nonce};
use crate::job_state::Stage;

/// Unreadable records that are enough to know: each costs a look at its neighbours one by one.
const MOST_UNREADABLE: usize = 8;

/// How a lane's jobs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkup {
    /// Whether the stream has its consumer group.
    pub has_group: bool,
    /// Jobs that failed for good.
    pub failed: u64,
    /// Those of them that did within the time asked about.
    pub failed_lately: u64,
    /// Unfinished jobs that were looked at: all, or the newest of each state.
    pub looked_at: usize,
    /// Those of them whose record cannot be read; not looked for any further once there are a few.
    pub unreadable: Vec<JobId>,
}

/// What the journal says about one signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// `None` before the first takeover.
    pub next: Option<Nonce>,
    /// Open nonces, rising, those without a readable record included.
    pub open: Vec<Nonce>,
    pub unreadable: Vec<Nonce>,
}

impl Store {
    /// Looks at the lane's jobs; `lately` reaches back from now.
    pub async fn checkup(&self, lately: Duration) -> Result<Checkup, StoreError> {
        let since = self.now().await?.saturating_sub(u64::try_from(lately.as_millis()).unwrap_or(u64::MAX));
        let by_failed = self.keys.by_state("failed");
        let mut pipe = redis::pipe();
        pipe.cmd("ZCARD").arg(&by_failed).cmd("ZCOUNT").arg(&by_failed).arg(since).arg("+inf");
        pipe.cmd("EXISTS").arg(self.keys.jobs());
        let (failed, failed_lately, has_stream): (u64, u64, bool) = self.pipe("checkup", &pipe).await?;
        let mut found =
            Checkup { has_group: false, failed, failed_lately, looked_at: 0, unreadable: Vec::new() };
        if has_stream {
            let groups: redis::streams::StreamInfoGroupsReply =
                self.read("checkup", redis::cmd("XINFO").arg("GROUPS").arg(self.keys.jobs())).await?;
            found.has_group = groups.groups.iter().any(|group| group.name == stream::GROUP);
        }
        for state in Stage::UNFINISHED {
            self.look_at_records(state, &mut found).await?;
        }
        Ok(found)
    }

    async fn look_at_records(&self, state: &str, found: &mut Checkup) -> Result<(), StoreError> {
        let (index, mut behind, mut looked_at) = (self.keys.by_state(state), None, 0);
        while looked_at < SCAN && found.unreadable.len() < MOST_UNREADABLE {
            let places = self.index_slice(&index, (None, None), behind).await?;
            let ids: Vec<JobId> = places.iter().map(|(job, _)| *job).collect();
            match self.load(&ids).await {
                Ok(_) => {}
                Err(StoreError::Corrupt { .. }) => {
                    // Which of them it is tells only each alone.
                    for id in &ids {
                        match self.load(&[*id]).await {
                            Err(StoreError::Corrupt { .. }) => found.unreadable.push(*id),
                            other => _ = other?,
                        }
                    }
                }
                Err(error) => return Err(error),
            }
            found.looked_at += ids.len();
            looked_at += ids.len();
            behind = places.last().copied();
            if ids.len() < SLICE {
                break;
            }
        }
        Ok(())
    }

    /// What the journal says about `signer`.
    pub async fn signer_journal(&self, signer: Address) -> Result<Journal, StoreError> {
        let next = self.next_nonce(signer).await?;
        let index = self.open_nonces(signer).await?;
        let (records, unreadable) = self.open_txs(signer, &index).await?;
        let unreadable: Vec<Nonce> = unreadable.into_iter().map(|(nonce, _)| nonce).collect();
        let mut open: Vec<Nonce> = records.iter().map(|record| record.nonce).collect();
        open.extend(&unreadable);
        open.sort();
        Ok(Journal { next, open, unreadable })
    }
}
