//! A block that was final and is no more. Nothing can have prepared for that: what it undid is queued again, so that every
//! record is truthful, and nothing new is signed until somebody has looked.

use shared::ids::JobId;
use shared::store::Brief;

use super::leader::{Leader, RoundError};
use crate::chain::Head;
use crate::chain::agree::Settled;
use crate::gates;

/// More than a lane can have had consumed in the blocks that any reorganisation undoes.
const MOST_REOPENED: u64 = 1_024;

impl Leader {
    /// Compares the newest final block with the one that was it before, also under earlier leaders, and remembers it.
    pub(super) async fn watch_final(&mut self, deep: Head) -> Result<(), RoundError> {
        let before = match self.last_final {
            Some(known) => Some(known),
            None => self.ctx.store.sync_state().await?.last_final,
        };
        if let Some((number, hash)) = before {
            if deep.number < number {
                // An endpoint is behind; once it has caught up this is looked at.
                return Ok(());
            }
            let now = match deep.number {
                same if same == number => Some(deep.hash),
                next if next == number.next() => Some(deep.parent),
                _ => self.ctx.chain.agreed_block(number).await?.map(|block| block.hash),
            };
            // Endpoints that contradict each other prove nothing.
            let Some(now) = now else { return Ok(()) };
            if now != hash {
                let reason = format!(
                    "block {number} was final with {} confirmations as {hash} and is {now} now: a reorganisation deeper than \
                     CONFIRMATIONS. What it undid is queued again; nothing is signed until you resume `reconcile`",
                    self.ctx.config.confirmations
                );
                tracing::error!(gate = gates::RECONCILE, reason, "the chain took back what was final");
                self.ctx.metrics.deep_reorgs.inc();
                self.ctx.store.close_gate(gates::RECONCILE, &reason, &self.ctx.worker).await?;
                if !self.undo(deep).await? {
                    return Ok(());
                }
                self.remember_final(deep).await?;
                return self.reopen(deep).await;
            }
        }
        self.remember_final(deep).await
    }

    async fn remember_final(&mut self, deep: Head) -> Result<(), RoundError> {
        if self.last_final != Some((deep.number, deep.hash)) {
            if !self.ctx.store.set_final(&self.fence, deep.number, deep.hash).await? {
                return Err(RoundError::Fenced);
            }
            self.last_final = Some((deep.number, deep.hash));
        }
        Ok(())
    }

    /// Opens the nonces again that are not consumed any more; otherwise everything above them would wait for ever.
    async fn reopen(&mut self, deep: Head) -> Result<(), RoundError> {
        let (lowest, _) = self.consumed(deep).await?;
        let count = self.next.get().saturating_sub(lowest.get()).min(MOST_REOPENED);
        let opened =
            Self::fenced(self.ctx.store.reopen(&self.fence, self.ctx.signer(), lowest, count).await?)?;
        match opened {
            0 => Ok(()),
            _ => Err(RoundError::Outdated(format!("{opened} nonces from {lowest} on are open again"))),
        }
    }

    /// Queues every job again that is done by its record and not by the chain at `deep`: newest first, until a whole slice
    /// stands. `false` while endpoints contradict each other about some: then this is to be done again.
    async fn undo(&mut self, deep: Head) -> Result<bool, RoundError> {
        let (mut offset, mut is_sure) = (0, true);
        loop {
            let ids = self.ctx.store.done(offset).await?;
            let jobs: Vec<Brief> = self.ctx.store.briefs(&ids).await?.into_iter().flatten().collect();
            let settled = self.settled(&jobs, deep).await?;
            is_sure &= !settled.contains(&Settled::Undecided);
            let gone = jobs.iter().zip(&settled).filter(|(_, settled)| **settled == Settled::Not);
            let gone: Vec<JobId> = gone.map(|(job, _)| job.id).collect();
            if gone.is_empty() {
                return Ok(is_sure);
            }
            for job in &gone {
                tracing::error!(job.id = %job, "it was done in a block that is no more; queued again");
            }
            self.ctx.metrics.undone.inc_by(gone.len() as u64);
            super::watch::unfenced(&self.ctx.store.undo(&self.fence, deep.number, &gone).await?)?;
            offset += ids.len() - gone.len();
        }
    }
}
