//! What each new block means for what is open: confirmations first, then inclusion, then rebroadcasts, bumps and gates.

use std::collections::BTreeMap;

use shared::ids::{BlockNumber, Nonce, PaymentId, Wallet};
use shared::job::{Kind, Payload};
use shared::store::{Applied, Brief, Refusal};

use super::confirm::{self, Evidence, Outcome};
use super::leader::{Leader, RoundError};
use crate::chain::{ChainError, ChainEvent, ChainEventKind, Head, ReceiptView};
use crate::gates;
use crate::metrics::ByKind;

/// The most settled jobs looked at per block.
const SETTLING: usize = 256;

/// Per job: the block in which the contract's state became what the job wants.
type Settled = Vec<Option<BlockNumber>>;

impl Leader {
    /// Everything that a new head asks for.
    pub(super) async fn on_head(&mut self, head: Head) -> Result<(), RoundError> {
        self.ctx.metrics.head.set(i64::try_from(head.number.get()).unwrap_or(i64::MAX));
        self.refresh_tip().await;
        // The head may come from another node than the state: depth counts from the lower of the two.
        let seen = self.ctx.chain.head().await?.number.min(head.number);
        if let Some(deep) = seen.below(self.ctx.config.confirmations) {
            let deep = self.ctx.chain.block_at(deep).await?;
            self.confirm(deep).await?;
            self.finish_settled(deep).await?;
        }
        let latest = self.note_inclusions(head).await?;
        self.push_stuck(head, latest).await?;
        self.open_gates(head).await
    }

    /// Closes every nonce that is consumed at `deep`.
    async fn confirm(&mut self, deep: Head) -> Result<(), RoundError> {
        if self.open.is_empty() {
            return Ok(());
        }
        let consumed = self.ctx.chain.nonce_at(self.ctx.signer(), deep.hash).await?;
        let closing: Vec<Nonce> = self.open.range(..consumed).map(|(nonce, _)| *nonce).collect();
        if closing.is_empty() {
            return Ok(());
        }
        let jobs: Vec<Brief> = closing.iter().flat_map(|nonce| self.open[nonce].jobs.clone()).collect();
        let mut settled = self.settled(&jobs, deep).await?.into_iter();
        for nonce in closing {
            let jobs = self.open[&nonce].jobs.clone();
            let settled: Settled = settled.by_ref().take(jobs.len()).collect();
            let evidence = match self.evidence(nonce, &jobs, settled, deep.number).await {
                Ok(evidence) => evidence,
                // What cannot be read about one nonce holds up no other; it is asked again at the next block.
                Err(error @ (RoundError::Chain(_) | RoundError::Unexplained(_))) => {
                    self.ctx.metrics.rpc_errors.inc();
                    tracing::warn!(nonce = nonce.get(), %error, "a consumed nonce cannot be explained yet");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let policy = self.ctx.config.retry;
            let outcome = confirm::decide(nonce, &jobs, &evidence, &policy, rand::random());
            self.close(nonce, &jobs, outcome).await?;
        }
        Ok(())
    }

    /// What the contracts' state at `deep` says about `jobs`.
    async fn settled(&self, jobs: &[Brief], deep: Head) -> Result<Settled, RoundError> {
        let mut payments: Vec<PaymentId> = Vec::new();
        let mut children: Vec<Wallet> = Vec::new();
        for job in jobs {
            match &job.payload {
                Payload::Payout(payout) => payments.push(payout.payment_id),
                Payload::Register(register) => children.push(register.child),
            }
        }
        let (paid, referrers) = tokio::try_join!(
            self.ctx.chain.paid_at(&payments, deep.hash),
            self.ctx.chain.referrers(&children, deep.hash),
        )?;
        let (mut paid, mut referrers) = (paid.into_iter(), referrers.into_iter());
        Ok(jobs
            .iter()
            .map(|job| match &job.payload {
                Payload::Payout(_) => paid.next().flatten(),
                Payload::Register(register) => referrers
                    .next()
                    .flatten()
                    .filter(|found| *found == register.referrer)
                    .map(|_| deep.number),
            })
            .collect())
    }

    /// Collects what explains a consumed nonce. A missing receipt is simply not known; a missing event of a payment is an
    /// error for a while, because without it the amounts cannot be compared.
    async fn evidence(
        &self,
        nonce: Nonce,
        jobs: &[Brief],
        settled: Settled,
        deep: BlockNumber,
    ) -> Result<Evidence, RoundError> {
        let tx = &self.open[&nonce];
        let mut found: Option<(ReceiptView, bool)> = None;
        for attempt in tx.record.attempts.iter().rev() {
            if let Some(receipt) = self.ctx.chain.receipt(attempt.hash).await? {
                found = Some((receipt, attempt.cancel));
                break;
            }
        }
        let mut events = found.as_ref().map(|(receipt, _)| receipt.events.clone()).unwrap_or_default();
        self.add_events_elsewhere(jobs, &settled, &mut events).await?;
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
        Ok(Evidence { settled, receipt: found.map(|(receipt, _)| receipt), cancelled, revert, events })
    }

    /// Payments that another transaction made have their event in the block the contract names.
    async fn add_events_elsewhere(
        &self,
        jobs: &[Brief],
        settled: &[Option<BlockNumber>],
        events: &mut Vec<ChainEvent>,
    ) -> Result<(), RoundError> {
        for (job, block) in jobs.iter().zip(settled) {
            let (Payload::Payout(payout), Some(block)) = (&job.payload, block) else { continue };
            let is_paid = |event: &ChainEvent| matches!(&event.kind, ChainEventKind::Paid { payment, .. } if *payment == payout.payment_id);
            if !events.iter().any(is_paid) {
                events.extend(self.ctx.chain.events(*block, *block).await?);
            }
        }
        Ok(())
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

    /// Stores the verdicts on a nonce's jobs, then closes it.
    async fn close(&mut self, nonce: Nonce, jobs: &[Brief], outcome: Outcome) -> Result<(), RoundError> {
        for text in &outcome.disagreements {
            self.ctx.metrics.disagreements.inc();
            tracing::error!(gate = gates::RECONCILE, detail = text, "chain and Redis disagree");
            self.ctx.store.close_gate(gates::RECONCILE, text, &self.ctx.worker).await?;
        }
        for (gate, reason) in &outcome.close {
            self.close_gate(*gate, reason).await?;
        }
        self.finish(jobs, &outcome.finished).await?;
        crash_point!("after_finish");
        if !outcome.departures.is_empty() {
            self.ctx.metrics.count_departures(&outcome.departures);
            let applied =
                self.ctx.store.leave(&self.ctx.worker, Some(&self.fence), &outcome.departures).await?;
            unfenced(&applied)?;
        }
        if outcome.consumed_by == "stranger" {
            self.ctx.metrics.nonce_errors.inc();
            tracing::error!(nonce = nonce.get(), "a transaction that is not ours consumed this nonce");
        }
        let signer = self.ctx.signer();
        let closed =
            self.ctx.store.close_nonce(&self.fence, signer, nonce, outcome.consumed_by, outcome.hash).await?;
        if !closed {
            return Err(RoundError::Outdated(format!("nonce {nonce} could not be closed")));
        }
        tracing::info!(
            nonce = nonce.get(),
            by = outcome.consumed_by,
            done = outcome.finished.len(),
            left = outcome.departures.len(),
            "nonce closed"
        );
        self.open.remove(&nonce);
        self.ctx.metrics.open_nonces.set(self.open.len() as i64);
        Ok(())
    }

    async fn finish(
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
        for (child, _, _) in referrals {
            self.ctx.store.unblock(*child).await?;
        }
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
        let mut events = Vec::new();
        self.add_events_elsewhere(&jobs, &settled, &mut events).await?;
        // One without its event is asked about again at the next block.
        let (jobs, settled): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .zip(settled)
            .filter(|(job, settled)| confirm::is_explained(job, *settled, &events, deep.number))
            .unzip();
        let evidence = Evidence { settled, receipt: None, cancelled: false, revert: None, events };
        let policy = self.ctx.config.retry;
        // No nonce holds these jobs, so none is named when they leave.
        let outcome = confirm::decide(Nonce::new(0), &jobs, &evidence, &policy, rand::random());
        for text in &outcome.disagreements {
            self.ctx.metrics.disagreements.inc();
            self.ctx.store.close_gate(gates::RECONCILE, text, &self.ctx.worker).await?;
        }
        self.finish(&jobs, &outcome.finished).await?;
        let mut departures = outcome.departures;
        departures.iter_mut().for_each(|departure| departure.nonce = None);
        let applied = self.ctx.store.leave(&self.ctx.worker, Some(&self.fence), &departures).await?;
        unfenced(&applied)
    }
}

fn unfenced(applied: &[Applied]) -> Result<(), RoundError> {
    if applied.contains(&Err(Refusal::Fenced)) { Err(RoundError::Fenced) } else { Ok(()) }
}
