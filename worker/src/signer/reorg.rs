//! A block that was final and is no more. What it undid is open again, so that every record is truthful and the very same
//! transactions settle it; nothing new is signed until somebody has looked.

use shared::ids::{BlockNumber, Hash32, JobId};
use shared::store::{Brief, Deed, SLICE, UNDOABLE};

use super::leader::Leader;
use super::round_error::RoundError;
use crate::chain::Head;
use crate::chain::agree::Settled;
use crate::gates;
use crate::signer::opinions::Opinion;

/// More than a lane can have had consumed in the blocks that any reorganisation undoes.
const MOST_REOPENED: u64 = 1_024;

/// Below it nothing is taken back.
fn lowest(deep: Head) -> BlockNumber {
    BlockNumber::new(deep.number.get().saturating_sub(UNDOABLE))
}

impl Leader {
    /// Compares the newest final block with the one that was it before, also under earlier leaders and in their replays, and
    /// remembers it. Returns whether it is remembered: only then may anything be done in it.
    pub(super) async fn watch_final(&mut self, deep: Head) -> Result<bool, RoundError> {
        if self.last_final.is_none() {
            let state = self.ctx.store.sync_state().await?;
            (self.last_final, self.compared) = (state.last_final, state.compared);
            self.last_replayed = state.last_replayed;
        }
        if self.last_final.is_some_and(|(number, _)| deep.number < number) {
            // An endpoint is behind; once it has caught up this is looked at.
            return Ok(false);
        }
        let known = self.last_final.into_iter().chain(self.last_replayed);
        for (number, hash) in known.filter(|(number, _)| *number <= deep.number) {
            let now = match deep.number {
                same if same == number => Some(deep.hash),
                next if next == number.next() => Some(deep.parent),
                _ => self.ctx.chain.agreed_block(number).await?.map(|block| block.hash),
            };
            // Endpoints that contradict each other prove nothing.
            let Some(now) = now else { return Ok(false) };
            if now != hash {
                self.freeze(number, hash, now).await?;
                return self.take_back(deep).await;
            }
        }
        // What was learned from a block that was not final may have gone with it; it is held against the first final one.
        let above = self.compared.map_or(0, |number| number.get() + 1).max(lowest(deep).get());
        match self.unlearn(BlockNumber::new(above), deep).await? {
            (0, is_sure) => {
                self.remember_final(deep, is_sure).await?;
                Ok(true)
            }
            (some, _) => Err(RoundError::Outdated(format!("{some} records of the chain are open again"))),
        }
    }

    /// Lets people know that a block which was final is another one now.
    async fn freeze(&self, number: BlockNumber, was: Hash32, is: Hash32) -> Result<(), RoundError> {
        let reason = format!(
            "block {number} was final with {} confirmations as {was} and is {is} now: a reorganisation deeper than \
             CONFIRMATIONS. What it undid is open again; nothing new is signed until you resume `reconcile`",
            self.ctx.config.confirmations
        );
        if self.ctx.store.close_gate(gates::RECONCILE, &reason, &self.ctx.worker).await? {
            self.ctx.metrics.deep_reorgs.inc();
            tracing::error!(gate = gates::RECONCILE, reason, "the chain took back what was final");
        }
        crash_point!("after_reorg_gate");
        Ok(())
    }

    /// Takes back what is not so any more. Only once all of it is does the new block count as final: until then this is
    /// done again, which changes nothing twice. Returns whether it does.
    async fn take_back(&mut self, deep: Head) -> Result<bool, RoundError> {
        let (undone, is_sure) = self.undo(deep).await?;
        // Also where a question further down gets no answer: the next time there may be nothing left to take back.
        self.must_take_over |= undone > 0;
        crash_point!("after_undo");
        let opened = self.reopen(deep).await?;
        self.must_take_over |= opened > 0;
        crash_point!("after_reopen");
        let (unlearned, is_sure_too) = self.unlearn(BlockNumber::new(0), deep).await?;
        self.must_take_over |= unlearned > 0;
        super::sync::rewind(&self.ctx, &self.fence, lowest(deep)).await?;
        self.checkpoint = None;
        crash_point!("after_rewind");
        let is_whole = is_sure && is_sure_too;
        if is_whole {
            self.remember_final(deep, true).await?;
        }
        match undone + opened + unlearned {
            0 => Ok(is_whole),
            _ => Err(RoundError::Outdated(format!(
                "{undone} jobs, {opened} nonces and {unlearned} records of the chain are open again"
            ))),
        }
    }

    /// Takes back what is known from the chain alone, by blocks from `from` on, and is not so at `deep`. Returns how much, and
    /// whether that is all.
    async fn unlearn(&mut self, from: BlockNumber, deep: Head) -> Result<(u64, bool), RoundError> {
        let learned = self.ctx.store.learned(from..=deep.number).await?;
        let (mut taken, mut is_sure) = (0, true);
        for slice in learned.chunks(SLICE) {
            let judged = self.judged(slice.iter().cloned(), deep).await?;
            // There is no second look at what is forgotten: not on the word of one endpoint among several.
            let is_gone = |of: &Opinion| of.settled == Settled::Not && !of.is_alone;
            let is_open = |of: &Opinion| of.settled.block().is_none() && !is_gone(of);
            is_sure &= !judged.iter().any(is_open);
            let gone = slice.iter().zip(&judged).filter(|(_, of)| is_gone(of));
            let gone: Vec<Deed> = gone.map(|(deed, _)| deed.clone()).collect();
            for deed in &gone {
                tracing::error!(%deed, block.number = deep.number.get(), "it was in a block that is no more");
            }
            let answer = self.ctx.store.unlearn(&self.fence, &self.ctx.worker, deep.number, &gone).await?;
            let unlearned = Self::fenced(answer)?;
            for record in &unlearned.unreadable {
                tracing::error!(record, "it cannot be read, so nobody can take it back");
            }
            self.ctx.metrics.undone.inc_by(unlearned.taken);
            taken += unlearned.taken;
        }
        crash_point!("after_unlearn");
        Ok((taken, is_sure))
    }

    async fn remember_final(&mut self, deep: Head, is_compared: bool) -> Result<(), RoundError> {
        let compared = if is_compared { Some(deep.number) } else { self.compared };
        if self.last_final != Some((deep.number, deep.hash)) || self.compared != compared {
            if !self.ctx.store.set_final(&self.fence, deep.number, deep.hash, is_compared).await? {
                return Err(RoundError::Fenced);
            }
            crash_point!("after_final");
            (self.last_final, self.compared) = (Some((deep.number, deep.hash)), compared);
            self.last_replayed = self.last_replayed.filter(|(number, _)| *number > deep.number);
        }
        Ok(())
    }

    /// Opens the nonces again that are not consumed any more; otherwise everything above them would wait for ever.
    async fn reopen(&mut self, deep: Head) -> Result<u64, RoundError> {
        let (lowest, _) = self.consumed(deep).await?;
        let count = self.next.get().saturating_sub(lowest.get()).min(MOST_REOPENED);
        Self::fenced(self.ctx.store.reopen(&self.fence, self.ctx.signer(), lowest, count).await?)
    }

    /// Takes back every job that is done by its record and not by the chain at `deep`: newest first, until a whole slice
    /// stands. Returns how many, and whether that is all: endpoints may contradict each other about some.
    async fn undo(&mut self, deep: Head) -> Result<(u64, bool), RoundError> {
        let (mut offset, mut undone, mut is_sure) = (0, 0, true);
        loop {
            let ids = self.ctx.store.done(offset).await?;
            let jobs: Vec<Brief> = self.ctx.store.briefs(&ids).await?.into_iter().flatten().collect();
            let settled = self.settled(&jobs, deep).await?;
            is_sure &= !settled.contains(&Settled::Undecided);
            let gone = jobs.iter().zip(&settled).filter(|(_, settled)| **settled == Settled::Not);
            let gone: Vec<JobId> = gone.map(|(job, _)| job.id).collect();
            if gone.is_empty() {
                return Ok((undone, is_sure));
            }
            for job in &gone {
                tracing::error!(job.id = %job, "it was done in a block that is no more");
            }
            super::watch::unfenced(&self.ctx.store.undo(&self.fence, deep.number, &gone).await?)?;
            self.ctx.metrics.undone.inc_by(gone.len() as u64);
            undone += gone.len() as u64;
            offset += ids.len() - gone.len();
        }
    }
}
