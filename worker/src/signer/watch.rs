//! What each new block means for what is open: confirmations first, then inclusion, then rebroadcasts, bumps and gates.

use std::collections::BTreeMap;

use shared::ids::{BlockNumber, Hash32, Nonce, Wallet};
use shared::job::{Kind, Payload};
use shared::store::{Applied, Brief, Refusal};

use super::confirm::{self, Evidence, Outcome};
use super::leader::Leader;
use super::receipts::{AT_ONCE, Carrier};
use super::round_error::RoundError;
use super::sync::SyncError;
use crate::chain::agree::Settled;
use crate::chain::{ChainError, ChainEvent, Head, ReceiptView};
use crate::gates;
use crate::metrics::ByKind;

/// The most settled jobs looked at per block.
const SETTLING: usize = 256;

impl Leader {
    /// Everything that a new head asks for.
    pub(super) async fn on_head(&mut self, head: Head) -> Result<(), RoundError> {
        self.ctx.metrics.head.set(i64::try_from(head.number.get()).unwrap_or(i64::MAX));
        self.refresh_tips().await;
        // The head may come from another node than the state: depth counts from the lower of the two.
        let seen = self.ctx.chain.head().await?.number.min(head.number);
        if let Some(deep) = seen.below(self.ctx.config.confirmations)
            && let Some(deep) = self.agreed_block(deep).await?
        {
            // Nothing is done above the block that is remembered as final: nobody would notice that it was taken back.
            if self.watch_final(deep).await? {
                self.confirm(deep, head).await?;
                self.finish_settled(deep).await?;
                self.follow(deep.number).await?;
            }
        }
        let latest = self.note_inclusions(head).await?;
        if latest > self.next {
            return Err(RoundError::Outdated(format!(
                "the account has sent {latest} transactions, the journal has given out {} nonces",
                self.next
            )));
        }
        self.watch_hole(latest, head.number)?;
        self.watch_journal().await?;
        self.push_stuck(head, latest).await?;
        self.open_gates(head).await
    }

    /// Lets Redis know what other hands did to the contracts. An endpoint that has no events keeps nothing else up.
    async fn follow(&mut self, deep: BlockNumber) -> Result<(), RoundError> {
        match super::sync::follow(&self.ctx, &self.fence, self.checkpoint, deep).await {
            Ok(checkpoint) => self.checkpoint = checkpoint,
            Err(SyncError::Chain(error)) => {
                self.ctx.metrics.rpc_errors.inc();
                tracing::warn!(%error, "the newest events cannot be read; asking at the next block");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Closes every nonce that is consumed at `deep`.
    async fn confirm(&mut self, deep: Head, head: Head) -> Result<(), RoundError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let (consumed, is_alone) = self.consumed(deep).await?;
        for (_, tx) in self.open.range_mut(consumed..) {
            // Somebody once said that it was: that time does not count.
            tx.unseen_since = None;
        }
        let closing: Vec<Nonce> = self.open.range(..consumed).map(|(nonce, _)| *nonce).collect();
        if closing.is_empty() {
            return Ok(());
        }
        let jobs: Vec<Brief> = closing.iter().flat_map(|nonce| self.open[nonce].jobs.clone()).collect();
        let mut settled = self.settled(&jobs, deep).await?.into_iter();
        let mut decided = Vec::with_capacity(closing.len());
        for nonce in closing {
            let settled: Vec<_> = settled.by_ref().take(self.open[&nonce].jobs.len()).collect();
            if !settled.contains(&Settled::Undecided) {
                decided.push((nonce, settled.into_iter().map(Settled::block).collect()));
            }
        }
        // What is known of some is stored before the next are asked about.
        for (at, some) in decided.chunks(AT_ONCE).enumerate() {
            // What became ready meanwhile would wait for all of a block full of ours.
            if at > 0 && self.holes.to_fill.is_empty() {
                self.sign_ready(head).await?;
            }
            let explained = self.explain(some, deep.number, is_alone).await?;
            self.close(explained).await?;
        }
        Ok(())
    }

    /// What became of consumed nonces, but of those that cannot be explained yet.
    async fn explain(
        &mut self,
        decided: &[(Nonce, Vec<Option<BlockNumber>>)],
        deep: BlockNumber,
        is_alone: bool,
    ) -> Result<Vec<(Nonce, Vec<Brief>, Outcome)>, RoundError> {
        let nonces: Vec<Nonce> = decided.iter().map(|(nonce, _)| *nonce).collect();
        let receipts = self.receipts(&nonces).await;
        let mut explained = Vec::with_capacity(decided.len());
        for ((nonce, settled), receipt) in decided.iter().zip(receipts) {
            let jobs = self.open[nonce].jobs.clone();
            let evidence = match receipt {
                Ok(carrier) => self.evidence(*nonce, &jobs, settled.clone(), carrier, deep, is_alone).await,
                Err(error) => Err(error.into()),
            };
            let evidence = match evidence {
                Ok(evidence) => evidence,
                // What cannot be read about one nonce holds up no other; it is asked again at the next block.
                Err(
                    error @ (RoundError::Chain(_) | RoundError::Unexplained(_) | RoundError::NoReceipt(_)),
                ) => {
                    self.ctx.metrics.rpc_errors.inc();
                    tracing::warn!(nonce = nonce.get(), %error, "a consumed nonce cannot be explained yet");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let policy = self.ctx.config.retry;
            let outcome = confirm::decide(*nonce, &jobs, &evidence, &policy, self.ctx.dice.roll());
            explained.push((*nonce, jobs, outcome));
        }
        Ok(explained)
    }

    /// Collects what explains a consumed nonce. A receipt that nobody has is an error for a while, and so is a missing event of
    /// a payment, because without it the amounts cannot be compared.
    async fn evidence(
        &mut self,
        nonce: Nonce,
        jobs: &[Brief],
        settled: Vec<Option<BlockNumber>>,
        found: Carrier,
        deep: BlockNumber,
        is_alone: bool,
    ) -> Result<Evidence, RoundError> {
        let attempts: Vec<Hash32> =
            self.open[&nonce].record.attempts.iter().map(|attempt| attempt.hash).collect();
        let mut events = found.as_ref().map(|(receipt, _)| receipt.events.clone()).unwrap_or_default();
        self.add_events_elsewhere(jobs, &settled, &mut events).await;
        let own = |event: &ChainEvent| attempts.contains(&event.tx_hash);
        let ours = events.iter().find(|event| own(event)).map(|event| event.tx_hash);
        self.patience(nonce, found.is_some() || ours.is_some(), deep, is_alone)?;
        if let Some((job, _)) = jobs
            .iter()
            .zip(&settled)
            .find(|(job, settled)| !confirm::is_explained(job, **settled, &events, deep))
        {
            return Err(RoundError::Unexplained(job.id));
        }
        let revert = match &found {
            Some((receipt, false)) if !receipt.succeeded => self.why_reverted(nonce, receipt).await?,
            _ => None,
        };
        let cancelled = found.as_ref().is_some_and(|(_, cancel)| *cancel);
        Ok(Evidence { settled, receipt: found.map(|(receipt, _)| receipt), ours, cancelled, revert, events })
    }

    /// An error for the first blocks in which nobody shows what consumed the nonce: a node may not have its receipts yet.
    fn patience(
        &mut self,
        nonce: Nonce,
        seen: bool,
        deep: BlockNumber,
        is_alone: bool,
    ) -> Result<(), RoundError> {
        let Some(tx) = self.open.get_mut(&nonce) else { return Ok(()) };
        if seen {
            tx.unseen_since = None;
            return Ok(());
        }
        let since = *tx.unseen_since.get_or_insert(deep);
        if confirm::is_past_hope(since, deep, is_alone) { Ok(()) } else { Err(RoundError::NoReceipt(nonce)) }
    }

    /// Asks why a transaction reverts as a whole, on top of the block before the one it was included in.
    async fn why_reverted(
        &self,
        nonce: Nonce,
        receipt: &ReceiptView,
    ) -> Result<Option<crate::chain::Verdict>, RoundError> {
        let record = &self.open[&nonce].record;
        let attempt = record.attempts.iter().find(|attempt| attempt.hash == receipt.inclusion.hash);
        let Some(gas_limit) = attempt.map(|attempt| attempt.gas_limit) else { return Ok(None) };
        let block = self.ctx.chain.block_at(receipt.inclusion.block).await?;
        let (to, data) = (record.intent.to, record.intent.data.clone());
        match self.ctx.chain.simulate_call(to, data, gas_limit, block.parent).await {
            Ok(verdict) => Ok(verdict),
            // A node that has forgotten the state of an old block will not remember it: the reason stays unknown.
            Err(error @ (ChainError::Node { .. } | ChainError::UnknownBlock { .. })) => {
                tracing::warn!(nonce = nonce.get(), %error, "why the transaction reverted cannot be read");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn finish(
        &mut self,
        jobs: &[Brief],
        finished: &[shared::store::FinishedJob],
    ) -> Result<(), RoundError> {
        if finished.is_empty() {
            return Ok(());
        }
        let by_id: BTreeMap<_, _> = jobs.iter().map(|job| (job.id, job)).collect();
        let referrals: Vec<_> = finished
            .iter()
            .filter_map(|done| match &by_id.get(&done.job)?.payload {
                Payload::Register(register) => Some((register.child, register.referrer, done.block)),
                Payload::Payout(_) => None,
            })
            .collect();
        self.let_go(&referrals).await?;
        let applied = self.ctx.store.finish(&self.fence, finished).await?;
        unfenced(&applied)?;
        let now = self.ctx.store.now().await?;
        for (done, applied) in finished.iter().zip(&applied) {
            let (Some(job), Ok(())) = (by_id.get(&done.job), applied) else { continue };
            let kind: Kind = job.payload.kind();
            self.ctx.metrics.jobs_done.get_or_create(&ByKind { kind: kind.name() }).inc();
            self.ctx.metrics.to_done.observe(now.saturating_sub(job.created_at) as f64 / 1000.0);
        }
        Ok(())
    }

    /// Records referrals that the chain shows, and queues the payouts that waited for them.
    pub(super) async fn let_go(&self, referrals: &[(Wallet, Wallet, BlockNumber)]) -> Result<(), RoundError> {
        if referrals.is_empty() {
            return Ok(());
        }
        if !self.ctx.store.registered(&self.fence, referrals).await? {
            return Err(RoundError::Fenced);
        }
        crash_point!("after_registered");
        // At once: one after the other, each would wait for its own fsync.
        let released = referrals.iter().map(|(child, _, _)| self.ctx.store.unblock(*child));
        futures::future::try_join_all(released).await?;
        Ok(())
    }

    /// Finishes jobs that were settled from the chain and are deep enough now, or sends them back to be checked again.
    async fn finish_settled(&mut self, deep: Head) -> Result<(), RoundError> {
        let ids = self.ctx.store.settling(deep.number, SETTLING).await?;
        if ids.is_empty() {
            return Ok(());
        }
        let jobs: Vec<Brief> = self.ctx.store.briefs(&ids).await?.into_iter().flatten().collect();
        let settled = self.settled(&jobs, deep).await?;
        // One that endpoints contradict each other about is asked about again at the next block, ...
        let (jobs, settled): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .zip(settled)
            .filter(|(_, settled)| *settled != Settled::Undecided)
            .map(|(job, settled)| (job, settled.block()))
            .unzip();
        let mut events = Vec::new();
        self.add_events_elsewhere(&jobs, &settled, &mut events).await;
        // ... and so is one without its event.
        let (jobs, settled): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .zip(settled)
            .filter(|(job, settled)| confirm::is_explained(job, *settled, &events, deep.number))
            .unzip();
        let evidence =
            Evidence { settled, receipt: None, ours: None, cancelled: false, revert: None, events };
        let policy = self.ctx.config.retry;
        // No nonce holds these jobs, so none is named when they leave.
        let outcome = confirm::decide(Nonce::new(0), &jobs, &evidence, &policy, self.ctx.dice.roll());
        for text in &outcome.disagreements {
            self.ctx.metrics.disagreements.inc();
            self.ctx.store.close_gate(gates::RECONCILE, text, &self.ctx.worker).await?;
        }
        self.finish(&jobs, &outcome.finished).await?;
        crash_point!("after_finish_settled");
        let mut departures = outcome.departures;
        departures.iter_mut().for_each(|departure| departure.nonce = None);
        let applied = self.ctx.store.leave(&self.ctx.worker, Some(&self.fence), &departures).await?;
        unfenced(&applied)
    }
}

pub(super) fn unfenced(applied: &[Applied]) -> Result<(), RoundError> {
    if applied.contains(&Err(Refusal::Fenced)) { Err(RoundError::Fenced) } else { Ok(()) }
}
