//! What a new block means for transactions that are not final: whether they are in a block, whether they need a push, and
//! which gates open. Nothing here decides about money.

use shared::ids::{BlockNumber, Nonce};
use shared::tx::Inclusion;
use shared::tx_state::TxState;

use super::fees;
use super::leader::Leader;
use super::recover;
use super::round_error::RoundError;
use crate::chain::{ChainEventKind, Gate, Head, NonceRange, ReceiptView};
use crate::gates;

impl Leader {
    /// Shows which open transactions are in a block. Display and release of waiting payouts only: no money is decided.
    /// Returns the account nonce at the head, below which everything is consumed whichever endpoint is asked.
    pub(super) async fn note_inclusions(&mut self, head: Head) -> Result<Nonce, RoundError> {
        let reorganised = self.last_head.is_some_and(|last| {
            head.number <= last.number || (head.number == last.number.next() && head.parent != last.hash)
        });
        let NonceRange { lowest, highest } = self.ctx.chain.nonce_latest(self.ctx.signer()).await?;
        let open: Vec<Nonce> = self.open.keys().copied().collect();
        for nonce in open {
            let known = self.open[&nonce].record.inclusion;
            // Where endpoints differ, receipts tell: one endpoint may be behind, or wrong.
            if nonce >= highest {
                if known.is_some() {
                    self.note(nonce, None).await?;
                }
                continue;
            }
            if known.is_some() && !reorganised {
                continue;
            }
            let hashes: Vec<_> =
                self.open[&nonce].record.attempts.iter().rev().map(|attempt| attempt.hash).collect();
            let mut found = false;
            for hash in hashes {
                if let Some(receipt) = self.ctx.chain.receipt(hash).await? {
                    self.on_receipt(nonce, known, &receipt).await?;
                    found = true;
                    break;
                }
            }
            if known.is_some() && !found && nonce >= lowest {
                self.note(nonce, None).await?;
            }
        }
        Ok(lowest)
    }

    async fn on_receipt(
        &mut self,
        nonce: Nonce,
        known: Option<Inclusion>,
        receipt: &ReceiptView,
    ) -> Result<(), RoundError> {
        if known == Some(receipt.inclusion) {
            return Ok(());
        }
        let at = self.note(nonce, Some(receipt.inclusion)).await?;
        if known.is_none() {
            for job in &self.open[&nonce].jobs {
                self.ctx.metrics.to_inclusion.observe(at.saturating_sub(job.created_at) as f64 / 1000.0);
            }
        }
        let referrals: Vec<_> = receipt
            .events
            .iter()
            .filter_map(|event| match event.kind {
                ChainEventKind::Registered { child, referrer } => Some((child, referrer, event.block)),
                _ => None,
            })
            .collect();
        crash_point!("after_inclusion");
        self.let_go(&referrals).await
    }

    async fn note(&mut self, nonce: Nonce, seen: Option<Inclusion>) -> Result<u64, RoundError> {
        let answer = self.ctx.store.include(&self.fence, self.ctx.signer(), nonce, seen).await?;
        let at = Self::fenced(answer)?;
        if let Some(tx) = self.open.get_mut(&nonce) {
            tx.record.inclusion = seen;
        }
        Ok(at)
    }

    /// An error where the account has long been waiting for a nonce below ours that nothing is open at: another's transaction
    /// was there, or one of ours that Redis forgot, and a reorganisation lost it. Only a takeover fills holes, because only
    /// there more than one count is weighed.
    pub(super) fn watch_hole(&mut self, latest: Nonce, head: BlockNumber) -> Result<(), RoundError> {
        let is_hole = latest < self.next && !self.open.contains_key(&latest) && !self.holes.contains(&latest);
        let known = self.hole_since.filter(|(nonce, _)| *nonce == latest);
        self.hole_since = is_hole.then(|| known.unwrap_or((latest, head)));
        match self.hole_since {
            Some((nonce, since)) if recover::is_hole_proven(since, head) => {
                Err(RoundError::Outdated(format!(
                    "the account has been waiting for nonce {nonce} since block {since}, and nothing is open there"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Rebroadcasts, bumps and cancels what is not included.
    /// What is below `latest` is consumed: nothing is left to push there, whether or not its receipt was found.
    pub(super) async fn push_stuck(&mut self, head: Head, latest: Nonce) -> Result<(), RoundError> {
        let waiting: Vec<Nonce> = self
            .open
            .range(latest..)
            .filter(|(_, tx)| tx.record.inclusion.is_none())
            .map(|(nonce, _)| *nonce)
            .collect();
        for (position, nonce) in waiting.into_iter().enumerate() {
            let tx = &self.open[&nonce];
            let Some(latest) = tx.record.latest() else { continue };
            let cancels = tx.wants.cancel || tx.record.state == TxState::Cancelling;
            // Whatever stands behind the first waiting nonce waits for it, not for better fees of its own.
            let patience = if position == 0 { self.ctx.config.bump_after_blocks } else { u64::MAX };
            let due = fees::wants_bump(latest.fees, latest.head, head.number, head.base_fee, patience);
            if tx.wants.bump || tx.wants.cancel || due {
                self.replace(nonce, &head, cancels).await?;
            } else if tx.sent_at.is_none_or(|sent| head.number.get() > sent.get() + 1) {
                self.broadcast(nonce).await?;
            }
        }
        Ok(())
    }

    /// Opens the gates whose condition is over, as this block shows.
    pub(super) async fn open_gates(&mut self, head: Head) -> Result<(), RoundError> {
        let closed = self.ctx.store.closed_gates().await?;
        if closed.is_empty() {
            return Ok(());
        }
        let (_, conditions) = self.conditions_at(head).await?;
        for gate in closed {
            let name = gate.gate.as_str();
            let open = match Gate::ALL.into_iter().find(|known| known.name() == name) {
                Some(known) => {
                    let since = self.closed_at(known, gate.block).await?;
                    let open = gates::may_open(known, since, &conditions, head.number.get());
                    if open {
                        self.closed.remove(&known);
                    }
                    open
                }
                // Reading this head and the conditions was the probe.
                None if name == gates::CHAIN => true,
                None if name == gates::BASE_FEE => head.base_fee <= self.ctx.config.max_fee,
                None if name == gates::GAS_MONEY => match self.fees(&head).await? {
                    Some(fees) => {
                        let is_refused = self.open.values().any(|tx| tx.wants.money);
                        !is_refused && !self.is_short_of_gas_money(fees, &conditions)
                    }
                    None => false,
                },
                None => false,
            };
            let why = "the condition is over";
            if open && self.ctx.store.open_gate_at(name, why, &self.ctx.worker, head.number).await? {
                tracing::info!(gate = name, block = head.number.get(), "gate opened");
                crash_point!("after_gate_opened");
            }
        }
        Ok(())
    }

    /// At which level and block a gate closed. Whoever closed it told the block; the level is what the contracts say there,
    /// and as good as nothing where no node knows any more: then the gate is tried at once.
    async fn closed_at(&mut self, gate: Gate, block: Option<BlockNumber>) -> Result<(u128, u64), RoundError> {
        // Closed without a block: nobody knows what it was then, so it is tried.
        let Some(block) = block else { return Ok((0, 0)) };
        if let Some(known) = self.closed.get(&gate).filter(|(_, since)| *since == block.get()) {
            return Ok(*known);
        }
        let conditions = async {
            let then = self.ctx.chain.block_at(block).await?;
            self.ctx.chain.conditions(self.ctx.signer(), then.hash).await
        };
        let level = match conditions.await {
            Ok(conditions) => gate.level(&conditions),
            Err(error) => {
                tracing::debug!(gate = gate.name(), block = block.get(), %error, "the level at its closing is not known");
                0
            }
        };
        self.closed.insert(gate, (level, block.get()));
        Ok((level, block.get()))
    }
}
