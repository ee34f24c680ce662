//! The takeover, in the order that keeps money safe: sync, then the journal's open attempts to the nodes, then holes. The
//! decisions are in [`super::recover`].

use shared::ids::{BlockNumber, Nonce};
use shared::job::Payload;
use shared::store::{JournalOutcome, NewTx, StoreError};
use shared::tx::{Fees, Intent, IntentKind, TxRecord};
use shared::tx_state::TxState;

use super::holes::Holes;
use super::leader::{Leader, OpenTx, Wants};
use super::recover::{self, Found};
use super::round_error::RoundError;
use super::sync;
use crate::chain::Head;

/// Nonces looked at, from the newest down, for one that is closed: more than can be open or missing at once.
const LOOK_BACK: usize = 2_048;

impl Leader {
    /// Rebuilds memory from the journal and brings chain and journal together. Safe to repeat.
    pub(super) async fn take_over(&mut self) -> Result<(), RoundError> {
        sync::ensure(&self.ctx, &self.fence, false).await?;
        self.last_final = None;
        let signer = self.ctx.signer();
        let expected = self.ctx.store.next_nonce(signer).await?;
        let mut unreadable = self.remember_open().await?;
        let head = self.ctx.chain.head().await?.number;
        let deep = head.below(self.ctx.config.confirmations).unwrap_or(BlockNumber::new(0));
        let pinned = match self.agreed_block(deep).await? {
            Some(block) => Some(self.ctx.chain.nonce_at(signer, block.hash).await?),
            None => None,
        };
        let counts = self.ctx.chain.takeover_nonces(signer).await?;
        let lowest = counts.iter().map(|count| count.latest).min().unwrap_or(Nonce::new(0));
        let closed_below = self.closed_below(expected, lowest, &mut unreadable).await?;
        let open = self.open.keys().copied().chain(unreadable.iter().copied()).collect();
        let found = Found { next: expected, open, counts, deep, pinned, closed_below };
        let plan = match recover::plan(&found, self.ctx.config.max_open_nonces as u64) {
            Ok(plan) => plan,
            Err(unsure) => {
                self.ctx.metrics.rpc_undecided.inc();
                tracing::warn!(
                    nonce.journal = found.next.map(Nonce::get), counts = ?found.counts, pinned = ?found.pinned,
                    "endpoints contradict each other about the account, or only one answers; no nonce is given out"
                );
                return Err(unsure.into());
            }
        };
        tracing::info!(
            nonce.journal = found.next.map(Nonce::get),
            counts = ?found.counts,
            open = found.open.len(),
            fill = plan.fill.len(),
            "taking over"
        );
        if plan.chain_is_ahead {
            self.ctx.metrics.nonce_errors.inc();
            tracing::error!(
                "the chain has consumed nonces that the journal never gave out; replaying events first"
            );
            sync::ensure(&self.ctx, &self.fence, true).await?;
        }
        // A write of our own before any broadcast, also where nothing changes: once it is as durable as the policy asks, so is
        // everything in the journal before it, whose writer may have died before it was.
        let next = plan.set_next.or(expected).unwrap_or(Nonce::new(0));
        if !self.ctx.store.set_next_nonce(&self.fence, signer, expected, next).await? {
            return Err(RoundError::Fenced);
        }
        crash_point!("after_next_nonce");
        self.next = next;
        self.broadcast(&plan.rebroadcast, head).await?;
        crash_point!("after_takeover_broadcast");
        self.holes = Holes::found(plan.fill, unreadable, found.closed_below);
        Ok(())
    }

    /// Rebuilds what is open from the journal. Returns the nonces whose record cannot be read: they must not keep the others
    /// from being looked after.
    async fn remember_open(&mut self) -> Result<Vec<Nonce>, RoundError> {
        self.open.clear();
        let (store, signer) = (&self.ctx.store, self.ctx.signer());
        let index = store.open_nonces(signer).await?;
        let (records, mut unreadable) = store.open_txs(signer, &index).await?;
        let mut closed = Vec::new();
        for record in records {
            let nonce = record.nonce;
            if record.state == TxState::Closed {
                // It is taken out of the index with the next nonce.
                closed.push(nonce);
                continue;
            }
            match self.open_tx(record).await {
                Ok(tx) => _ = self.open.insert(nonce, tx),
                Err(RoundError::Store(error)) if error.is_of_one_record() => unreadable.push((nonce, error)),
                Err(error) => return Err(error),
            }
        }
        let is_stray = |nonce: &Nonce| !self.open.contains_key(nonce) && !closed.contains(nonce);
        self.strays = index.into_iter().filter(is_stray).collect();
        self.ctx.metrics.unreadable_nonces.set(self.strays.len() as i64);
        for nonce in &self.strays {
            match unreadable.iter().find(|(of, _)| of == nonce) {
                Some((_, error)) => tracing::error!(
                    nonce = nonce.get(), %error,
                    "an open nonce cannot be read, so nobody looks after it and its jobs: deploy the version that wrote it"
                ),
                None => tracing::error!(
                    nonce = nonce.get(),
                    "it is among the open ones and nothing is open there by its record, which cannot be read if it is gone"
                ),
            }
        }
        Ok(unreadable.into_iter().map(|(nonce, _)| nonce).collect())
    }

    /// Below which nonce the journal itself says that all are consumed: an endpoint that says less is behind. Remembers what it
    /// meets on the way that is open by its record and missing from the index.
    async fn closed_below(
        &mut self,
        next: Option<Nonce>,
        latest: Nonce,
        unreadable: &mut Vec<Nonce>,
    ) -> Result<Nonce, RoundError> {
        let next = next.map_or(0, Nonce::get);
        for nonce in (latest.get()..next).rev().take(LOOK_BACK).map(Nonce::new) {
            if self.open.contains_key(&nonce) || unreadable.contains(&nonce) {
                continue;
            }
            let found = match self.ctx.store.tx(self.ctx.signer(), nonce).await {
                Ok(Some(record)) if record.state == TxState::Closed => return Ok(nonce.next()),
                Ok(Some(record)) => self.open_tx(record).await,
                Ok(None) => continue,
                Err(error) => Err(error.into()),
            };
            match found {
                Ok(tx) => {
                    tracing::error!(
                        nonce = nonce.get(),
                        "it is open by its record, and missing among the open nonces"
                    );
                    self.open.insert(nonce, tx);
                }
                // It may be open.
                Err(RoundError::Store(error)) if error.is_of_one_record() => {
                    tracing::error!(
                        nonce = nonce.get(), %error,
                        "it cannot be read and is missing among the open nonces: it may be open, and nothing is filled there"
                    );
                    unreadable.push(nonce);
                    self.strays.insert(nonce);
                    self.ctx.metrics.unreadable_nonces.set(self.strays.len() as i64);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Nonce::new(0))
    }

    /// Closes the holes that takeover found; `false` while some are left, because the base fee is above the cap.
    pub(super) async fn fill_holes(&mut self, head: Head) -> Result<bool, RoundError> {
        while let Some(nonce) = self.holes.to_fill.first().copied() {
            let Some(fees) = self.fees(&head).await? else { return Ok(false) };
            self.fill(nonce, fees, &head).await?;
            self.holes.to_fill.remove(&nonce);
        }
        Ok(true)
    }

    /// A journaled transaction with its jobs' present records.
    async fn open_tx(&self, record: TxRecord) -> Result<OpenTx, RoundError> {
        let ids: Vec<_> = record.intent.jobs.iter().map(|held| held.job).collect();
        let jobs: Result<Vec<_>, StoreError> = self.ctx.store.each_brief(&ids).await?.into_iter().collect();
        // A job that already left this nonce is none of its concern any more.
        let jobs = jobs?.into_iter().flatten().filter(|job| job.nonce == Some(record.nonce)).collect();
        Ok(OpenTx { record, jobs, sent_at: None, wants: Wants::default(), unseen_since: None })
    }

    /// Whether what could not be read at the takeover can be read by now.
    pub(super) async fn is_mended(&self, stray: Nonce) -> Result<bool, RoundError> {
        let read = match self.ctx.store.tx(self.ctx.signer(), stray).await {
            Ok(Some(record)) if record.state != TxState::Closed => self.open_tx(record).await.map(drop),
            Ok(_) => return Ok(false),
            Err(error) => Err(error.into()),
        };
        match read {
            Ok(()) => Ok(true),
            Err(RoundError::Store(error)) if error.is_of_one_record() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Closes a hole with a self-transfer, journaled like everything else.
    async fn fill(&mut self, nonce: Nonce, fees: Fees, head: &Head) -> Result<(), RoundError> {
        let intent = Intent {
            kind: IntentKind::Filler,
            to: self.ctx.signer(),
            data: Default::default(),
            value: Default::default(),
            jobs: Vec::new(),
        };
        let attempt = self.sign(nonce, &intent, super::gas::TRANSFER, fees, head, false).await?;
        crash_point!("after_filler_sign");
        let tx = NewTx {
            signer: self.ctx.signer(),
            nonce,
            intent: &intent,
            attempt: &attempt,
            max_open: self.ctx.config.max_open_nonces,
        };
        match self.ctx.store.journal(&self.fence, &tx).await? {
            JournalOutcome::Journaled { .. } | JournalOutcome::Already => {}
            JournalOutcome::Fenced => return Err(RoundError::Fenced),
            other => return Err(RoundError::Outdated(format!("filler at nonce {nonce}: {other:?}"))),
        }
        tracing::warn!(nonce = nonce.get(), tx.hash = %attempt.hash, "closing a hole in the nonces");
        crash_point!("after_filler_journal");
        self.remember(nonce, intent, attempt, Vec::new());
        self.broadcast(&[nonce], head.number).await.map(drop)
    }
}

/// The kind of intent that jobs with this payload share.
pub(super) fn intent_kind(payload: &Payload) -> IntentKind {
    match payload {
        Payload::Register(_) => IntentKind::Register,
        Payload::Payout(_) => IntentKind::Payout,
    }
}
