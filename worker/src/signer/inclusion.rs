//! What a new block means for transactions that are not final: whether they are in a block, whether they need a push, and
//! which gates open. Nothing here decides about money.

use shared::ids::{BlockNumber, Nonce};
use shared::store::Noted;
use shared::tx::{Attempt, Inclusion};
use shared::tx_state::TxState;

use super::fees;
use super::leader::Leader;
use super::round_error::{RoundError, broke_off};
use super::sending::Sending;
use crate::chain::{ChainEventKind, Gate, Head, NonceRange};
use crate::gates;

impl Leader {
    /// Shows which open transactions are in a block. Display and release of waiting payouts only: no money is decided.
    /// Returns the account nonce at the head, below which everything is consumed whichever endpoint is asked.
    pub(super) async fn note_inclusions(&mut self, head: Head) -> Result<Nonce, RoundError> {
        let reorganised = self.last_head.is_some_and(|last| {
            head.number <= last.number || (head.number == last.number.next() && head.parent != last.hash)
        });
        let NonceRange { lowest, highest } = self.ctx.chain.nonce_latest(self.ctx.signer()).await?;
        // Where endpoints differ, receipts tell: one endpoint may be behind, or wrong.
        let known = |nonce: &Nonce| self.open[nonce].record.inclusion;
        let gone: Vec<Nonce> = self
            .open
            .range(highest..)
            .map(|(nonce, _)| *nonce)
            .filter(|nonce| known(nonce).is_some())
            .collect();
        let asked: Vec<Nonce> = self
            .open
            .range(..highest)
            .map(|(nonce, _)| *nonce)
            .filter(|nonce| known(nonce).is_none() || reorganised)
            .collect();
        let mut seen: Vec<(Nonce, Option<Inclusion>)> = gone.into_iter().map(|nonce| (nonce, None)).collect();
        let (mut referrals, mut unread) = (Vec::new(), None);
        for (nonce, receipt) in asked.iter().zip(self.receipts(&asked).await) {
            let known = self.open[nonce].record.inclusion;
            match receipt {
                // What was read counts, so that a node that answers now and then brings it to an end.
                Err(error) => _ = unread.get_or_insert(error),
                Ok(Some((receipt, _))) if known == Some(receipt.inclusion) => {}
                Ok(Some((receipt, _))) => {
                    seen.push((*nonce, Some(receipt.inclusion)));
                    referrals.extend(receipt.events.iter().filter_map(|event| match event.kind {
                        ChainEventKind::Registered { child, referrer } => {
                            Some((child, referrer, event.block))
                        }
                        _ => None,
                    }));
                }
                Ok(None) if known.is_some() && *nonce >= lowest => seen.push((*nonce, None)),
                Ok(None) => {}
            }
        }
        if !seen.is_empty() {
            self.note(&seen).await?;
            crash_point!("after_inclusion");
            self.let_go(&referrals).await?;
        }
        unread.map_or(Ok(lowest), |error| Err(error.into()))
    }

    /// Records in which block each of these is now, all at once.
    async fn note(&mut self, seen: &[(Nonce, Option<Inclusion>)]) -> Result<(), RoundError> {
        let (store, fence, signer) = (&self.ctx.store, &self.fence, self.ctx.signer());
        let notes = seen.iter().map(|(nonce, seen)| store.include(fence, signer, *nonce, *seen));
        for ((nonce, seen), answer) in seen.iter().zip(futures::future::join_all(notes).await) {
            let at = match answer {
                Ok(Noted::At(at)) => at,
                Ok(Noted::Fenced) => return Err(RoundError::Fenced),
                Ok(Noted::NotOpen) => {
                    return Err(RoundError::Outdated(format!("nonce {nonce} is not open in the journal")));
                }
                Err(error) if error.is_of_the_script() => {
                    broke_off("include", *nonce, &error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some(tx) = self.open.get_mut(nonce) else { continue };
            let is_new = tx.record.inclusion.is_none();
            tx.record.inclusion = *seen;
            for job in tx.jobs.iter().filter(|_| is_new && seen.is_some()) {
                self.ctx.metrics.to_inclusion.observe(at.saturating_sub(job.created_at) as f64 / 1000.0);
            }
        }
        Ok(())
    }

    /// An error where the account has long been waiting for a nonce that nothing is open at.
    pub(super) fn watch_hole(&mut self, latest: Nonce, head: BlockNumber) -> Result<(), RoundError> {
        let is_open = latest >= self.next || self.open.contains_key(&latest);
        match self.holes.watch(latest, is_open, head) {
            Some(since) => Err(RoundError::Outdated(format!(
                "the account has been waiting for nonce {latest} since block {since}, and nothing is open there"
            ))),
            None => Ok(()),
        }
    }

    /// An error where a nonce is open by the journal and not in memory: somebody put back what was missing from the index, or
    /// mended a record, and nobody would look after it.
    pub(super) async fn watch_journal(&self) -> Result<(), RoundError> {
        let open = self.ctx.store.open_nonces(self.ctx.signer()).await?;
        for nonce in open.into_iter().filter(|nonce| !self.open.contains_key(nonce)) {
            if !self.strays.contains(&nonce) || self.is_mended(nonce).await? {
                return Err(RoundError::Outdated(format!("nonce {nonce} is open in the journal again")));
            }
        }
        Ok(())
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
        let mut sending = Sending::new(self.ctx.chain.clone());
        let pushed = self.push(waiting, head, &mut sending).await;
        // What is under way is journaled: what nodes say of it counts also where the rest was cut short.
        let heard = self.hear(sending.all().await, head.number).await;
        pushed.and(heard.map(drop))
    }

    async fn push(
        &mut self,
        waiting: Vec<Nonce>,
        head: Head,
        sending: &mut Sending,
    ) -> Result<(), RoundError> {
        // All others wait for the first, and nodes that forget some forget the last: one that takes either as new had lost it, and
        // most likely others.
        let ends: Vec<Nonce> = waiting
            .iter()
            .enumerate()
            .filter(|(position, _)| *position == 0 || *position + 1 == waiting.len())
            .filter(|(position, nonce)| !self.is_due(*position, **nonce, &head))
            .map(|(_, nonce)| *nonce)
            .filter(|nonce| self.open[nonce].blocks_since_sent(&head) > 0)
            .collect();
        let is_lost = self.broadcast(&ends, head.number).await?;
        for (position, nonce) in waiting.into_iter().enumerate().filter(|(_, nonce)| !ends.contains(nonce)) {
            let tx = &self.open[&nonce];
            if self.is_due(position, nonce, &head) {
                let cancels = tx.wants.cancel || tx.record.state == TxState::Cancelling;
                sending.meanwhile(self.replace(nonce, &head, cancels)).await?;
                self.begin(sending, nonce).await;
            } else if is_lost || tx.blocks_since_sent(&head) > 1 {
                self.begin(sending, nonce).await;
            }
        }
        Ok(())
    }

    /// Whether the transaction that waits at this position is to be replaced.
    fn is_due(&self, position: usize, nonce: Nonce, head: &Head) -> bool {
        let tx = &self.open[&nonce];
        // Whatever stands behind the first waiting nonce waits for it, not for better fees of its own.
        let patience = if position == 0 { self.ctx.config.bump_after_blocks } else { u64::MAX };
        let is_low = |latest: &Attempt| {
            fees::wants_bump(latest.fees, latest.head, head.number, head.base_fee, patience)
        };
        tx.wants.bump || tx.wants.cancel || tx.record.latest().is_some_and(is_low)
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
