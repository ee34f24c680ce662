//! A block that was final and is no more. What it undid is open again, so that every record is truthful and the very same
//! transactions settle it; nothing new is signed until somebody has looked.

use shared::ids::{BlockNumber, Hash32, JobId, Nonce};
use shared::store::{Brief, Deed, SLICE, StoreError, UNDOABLE};

use super::leader::Leader;
use super::round_error::RoundError;
use crate::chain::Head;
use crate::chain::agree::Settled;
use crate::gates;
use crate::signer::opinions::Opinion;

/// Nonces opened again in one step.
const REOPENED: u64 = 1_024;

/// No reorganisation that undid `number` is held to go below it.
fn lowest(number: BlockNumber) -> BlockNumber {
    BlockNumber::new(number.get().saturating_sub(UNDOABLE))
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
        if let Some((number, hash)) = self.last_final.filter(|(number, _)| deep.number < *number) {
            return self.wait_for(number, hash, deep).await;
        }
        let known = self.last_final.into_iter().chain(self.last_replayed);
        for (number, hash) in known.filter(|(number, _)| *number <= deep.number) {
            let now = match deep.number {
                same if same == number => Some(deep.hash),
                next if next == number.next() => Some(deep.parent),
                _ => self.agreed_block(number).await?.map(|block| block.hash),
            };
            // Endpoints that contradict each other prove nothing.
            let Some(now) = now else { return Ok(false) };
            if now != hash {
                self.freeze(number, hash, &format!("is {now} now")).await?;
                return self.take_back(number, deep).await;
            }
        }
        // What was learned from a block that was not final may have gone with it; it is held against the first final one.
        let above = self.compared.map_or(lowest(deep.number), BlockNumber::next);
        match self.unlearn(above, deep).await? {
            (0, is_sure) => {
                let compared = if is_sure { Some(deep.number) } else { self.compared };
                self.remember_final(deep, compared).await?;
                Ok(true)
            }
            (some, _) => Err(RoundError::Outdated(format!("{some} records of the chain are open again"))),
        }
    }

    /// What a final block is that nobody has: an endpoint is behind, or none will ever have it again.
    async fn wait_for(&mut self, number: BlockNumber, hash: Hash32, deep: Head) -> Result<bool, RoundError> {
        let (_, is_alone) = self.consumed(deep).await?;
        if lowest(number) > deep.number && !is_alone {
            self.freeze(number, hash, "is far above whatever endpoints have now").await?;
            return self.take_back(deep.number, deep).await;
        }
        self.ctx.metrics.rpc_undecided.inc();
        tracing::warn!(
            block.number = number.get(),
            deep = deep.number.get(),
            "the newest final block is below one that was final before; nothing is confirmed until an endpoint has caught up"
        );
        Ok(false)
    }

    /// Lets people know that a block which was final is another one now.
    async fn freeze(&self, number: BlockNumber, was: Hash32, now: &str) -> Result<(), RoundError> {
        let reason = format!(
            "block {number} was final with {} confirmations as {was} and {now}: a reorganisation deeper than \
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
    /// done again, which changes nothing twice. Returns whether it does. `number` is the lowest block that is known to be
    /// another one.
    async fn take_back(&mut self, number: BlockNumber, deep: Head) -> Result<bool, RoundError> {
        let from = lowest(number);
        // Also where a question on the way gets no answer, and whatever the counts below say: a command that arrived twice
        // answers that there was nothing to take back. While endpoints contradict each other, each head costs a takeover.
        self.must_take_over = true;
        let (undone, is_sure) = self.undo(from, deep).await?;
        crash_point!("after_undo");
        let opened = self.reopen(deep).await?;
        crash_point!("after_reopen");
        let (unlearned, is_sure_of_learned) = self.unlearn(from, deep).await?;
        super::sync::rewind(&self.ctx, &self.fence, from).await?;
        self.checkpoint = None;
        crash_point!("after_rewind");
        if is_sure {
            // What could not be decided about what was learned is asked again at the next blocks.
            let before = BlockNumber::new(from.get().saturating_sub(1));
            let compared = if is_sure_of_learned { deep.number } else { before };
            self.remember_final(deep, Some(compared)).await?;
        } else {
            tracing::warn!(
                block.number = deep.number.get(),
                "whether jobs are still done cannot be decided; nothing is confirmed until two endpoints agree"
            );
        }
        match undone + opened + unlearned {
            0 => Ok(is_sure),
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
            for (deed, _) in slice.iter().zip(&judged).filter(|(_, of)| is_open(of)) {
                tracing::warn!(%deed, block.number = deep.number.get(), "only one endpoint says that it is not so; asking again");
            }
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

    async fn remember_final(&mut self, deep: Head, compared: Option<BlockNumber>) -> Result<(), RoundError> {
        if (self.last_final, self.compared) != (Some((deep.number, deep.hash)), compared) {
            if !self.ctx.store.set_final(&self.fence, deep.number, deep.hash, compared).await? {
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
        let (consumed, _) = self.consumed(deep).await?;
        let mut opened = 0;
        for from in (consumed.get()..self.next.get()).step_by(REOPENED as usize) {
            let count = (self.next.get() - from).min(REOPENED);
            let signer = self.ctx.signer();
            let answer = self.ctx.store.reopen(&self.fence, signer, Nonce::new(from), count).await?;
            opened += Self::fenced(answer)?;
        }
        Ok(opened)
    }

    /// Lets people know of a job of which nobody can say whether it is still done.
    async fn cannot_undo(&self, job: JobId, error: &StoreError) -> Result<(), RoundError> {
        tracing::error!(job.id = %job, %error, "it may have been done in a block that is no more, and cannot be read");
        let reason =
            format!("job {job} is done by its index, and its record cannot be read: see whether it still is");
        self.ctx.store.close_gate(gates::RECONCILE, &reason, &self.ctx.worker).await?;
        Ok(())
    }

    /// Takes back every job that is done by its record, in a block from `from` on or in none, and not by the chain at `deep`.
    /// Returns how many, and whether that is all: endpoints may contradict each other about some. Looks at all that are done:
    /// one that was settled today may have been paid long ago, and one paid just now may have been settled before it.
    async fn undo(&mut self, from: BlockNumber, deep: Head) -> Result<(u64, bool), RoundError> {
        let (mut undone, mut is_sure) = (0, true);
        for ids in self.done_from(from).await?.chunks(SLICE) {
            let mut jobs: Vec<Brief> = Vec::with_capacity(ids.len());
            for (id, brief) in ids.iter().zip(self.ctx.store.each_brief(ids).await?) {
                match brief {
                    Ok(brief) => jobs.extend(brief),
                    Err(error) if error.is_of_one_record() => self.cannot_undo(*id, &error).await?,
                    Err(error) => return Err(error.into()),
                }
            }
            let settled = self.settled(&jobs, deep).await?;
            is_sure &= !settled.contains(&Settled::Undecided);
            let gone = jobs.iter().zip(&settled).filter(|(_, settled)| **settled == Settled::Not);
            let gone: Vec<JobId> = gone.map(|(job, _)| job.id).collect();
            for job in &gone {
                tracing::error!(job.id = %job, "it was done in a block that is no more");
            }
            let applied = self.ctx.store.undo(&self.fence, deep.number, &gone).await?;
            super::watch::unfenced(&applied)?;
            // One that is in the wrong index stays there.
            let left = applied.iter().filter(|applied| applied.is_ok()).count() as u64;
            self.ctx.metrics.undone.inc_by(left);
            undone += left;
        }
        Ok((undone, is_sure))
    }

    /// What is done by its index, and by its record in a block from `from` on or in none. All of it is read before any is taken
    /// back: nothing says reliably by how much the index has shrunk, and those behind would be passed over.
    async fn done_from(&self, from: BlockNumber) -> Result<Vec<JobId>, RoundError> {
        let (mut offset, mut ids) = (0, Vec::new());
        loop {
            let done = self.ctx.store.done(offset).await?;
            if done.is_empty() {
                return Ok(ids);
            }
            offset += done.len();
            let in_question = done.iter().filter(|(_, block)| block.is_none_or(|block| block >= from));
            ids.extend(in_question.map(|(id, _)| *id));
        }
    }
}
