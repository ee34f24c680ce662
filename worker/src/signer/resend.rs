//! Journaled bytes to the nodes, and better paid ones for those that are stuck: sign, journal, broadcast, in that order.

use shared::ids::{BlockNumber, Hash32, Nonce};
use shared::store::Journaled;
use shared::tx_state::TxState;

use super::leader::{Leader, OpenTx, Wants};
use super::round_error::RoundError;
use super::send::{self, Refusals, SendAction, SendGate};
use super::sending::{Sending, Sent};
use super::{fees, gas};
use crate::chain::{ChainError, Head, SendOutcome};
use crate::gates;

impl Leader {
    /// Hands the newest journaled attempts at these nonces to the nodes, in their order and some at once, and notes what the
    /// answers ask for. Returns whether a node took one that it had not had.
    pub(super) async fn broadcast(
        &mut self,
        nonces: &[Nonce],
        head: BlockNumber,
    ) -> Result<bool, RoundError> {
        let mut sending = Sending::new(self.ctx.chain.clone());
        for nonce in nonces {
            self.begin(&mut sending, *nonce).await;
        }
        self.hear(sending.all().await, head).await
    }

    /// Begins to hand the newest journaled attempt at `nonce` to the nodes.
    pub(super) async fn begin(&self, sending: &mut Sending, nonce: Nonce) {
        if let Some(attempt) = self.open.get(&nonce).and_then(|tx| tx.record.latest()) {
            sending.begin(nonce, attempt).await;
        }
    }

    /// Notes what the nodes' answers ask for, given at `head`. Returns whether one took what it had not had.
    pub(super) async fn hear(&mut self, sent: Vec<Sent>, head: BlockNumber) -> Result<bool, RoundError> {
        let mut is_news = false;
        for Sent { nonce, hash, answer, .. } in sent {
            is_news |= matches!(answer, Ok(SendOutcome::Accepted));
            self.hear_one(nonce, hash, &answer, head).await?;
        }
        Ok(is_news)
    }

    async fn hear_one(
        &mut self,
        nonce: Nonce,
        hash: Hash32,
        answer: &Result<SendOutcome, ChainError>,
        head: BlockNumber,
    ) -> Result<(), RoundError> {
        let is_latest = |tx: &&mut OpenTx| tx.record.latest().is_some_and(|latest| latest.hash == hash);
        let Some(tx) = self.open.get_mut(&nonce).filter(is_latest) else { return Ok(()) };
        tx.wants.refusals = tx.wants.refusals.and(answer, head);
        let action = send::action(answer, tx.wants.refusals);
        let outcome = crate::metrics::ByOutcome { outcome: send::name(answer) };
        self.ctx.metrics.broadcasts.get_or_create(&outcome).inc();
        let is_known = matches!(answer, Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown));
        // A node once took this transaction or an attempt before it, so a block has the nonce by now.
        let is_mined = matches!(answer, Ok(SendOutcome::NonceTooLow)) && tx.sent_at.is_some();
        if is_known {
            // A cancel that is journaled stays one.
            tx.wants.cancel = false;
        } else if !is_mined {
            tracing::warn!(nonce = nonce.get(), tx.hash = %hash, ?answer, ?action, "broadcast");
        }
        if matches!(answer, Ok(SendOutcome::NonceTooLow)) && !is_mined {
            self.ctx.metrics.nonce_errors.inc();
        }
        tx.wants.money = matches!(action, SendAction::CloseGate(SendGate::GasMoneyLow));
        match action {
            SendAction::Known => tx.sent_at = Some(head),
            SendAction::Bump => tx.wants.bump = true,
            SendAction::RaiseGas => (tx.wants.bump, tx.wants.more_gas) = (true, true),
            SendAction::Cancel => tx.wants.cancel = true,
            SendAction::CloseGate(SendGate::GasMoneyLow) => {
                let reason =
                    format!("a node says that the balance does not cover the transaction at nonce {nonce}");
                self.ctx.store.close_gate(gates::GAS_MONEY, &reason, &self.ctx.worker).await?;
            }
            SendAction::Retry => {}
        }
        Ok(())
    }

    /// Journals a better paid attempt, or a cancel, at an open nonce; what is journaled is to be broadcast then.
    pub(super) async fn replace(
        &mut self,
        nonce: Nonce,
        head: &Head,
        cancel: bool,
    ) -> Result<(), RoundError> {
        let Some(tx) = self.open.get(&nonce) else { return Ok(()) };
        let Some(latest) = tx.record.latest() else { return Ok(()) };
        let cancel = cancel || tx.record.state == TxState::Cancelling;
        let cap = self.ctx.config.max_fee;
        let tip = self.tips.again(head.base_fee, self.ctx.config.max_tip);
        let Some(fees) = fees::bump(latest.fees, fees::initial(head.base_fee, tip, cap), cap) else {
            // The bytes we have stay the best we may bid: keep them in the pools. Whether new nonces make sense is for the
            // base fee alone to say, or the gate would close and open at each block.
            tracing::warn!(
                nonce = nonce.get(),
                cap,
                block.base_fee = head.base_fee,
                "a better paid attempt would cost more than MAX_FEE_GWEI allows; sending the last one again"
            );
            return self.fees(head).await.map(drop);
        };
        let gas_limit = match (cancel, tx.wants.more_gas) {
            (true, _) => gas::TRANSFER,
            (false, false) => latest.gas_limit,
            (false, true) => {
                let most = head.gas_limit.min(gas::MAX_TRANSACTION_GAS).max(latest.gas_limit);
                (latest.gas_limit + latest.gas_limit / 2).min(most)
            }
        };
        let so_far = tx.record.attempts.len();
        let attempt = self.sign(nonce, &tx.record.intent, gas_limit, fees, head, cancel).await?;
        crash_point!("after_replacement_sign");
        let answer =
            self.ctx.store.journal_attempt(&self.fence, self.ctx.signer(), nonce, so_far, &attempt).await?;
        match answer {
            Journaled::Journaled { .. } | Journaled::Already => {}
            Journaled::Fenced => return Err(RoundError::Fenced),
            other => return Err(RoundError::Outdated(format!("attempt at nonce {nonce}: {other:?}"))),
        }
        tracing::info!(
            nonce = nonce.get(), tx.hash = %attempt.hash, max_fee = fees.max_fee, cancel, attempt = so_far + 1,
            "journaled a replacement"
        );
        crash_point!("after_journal_attempt");
        if cancel { &self.ctx.metrics.cancels } else { &self.ctx.metrics.bumps }.inc();
        if let Some(tx) = self.open.get_mut(&nonce) {
            tx.record.attempts.push(attempt);
            tx.record.state = if cancel { TxState::Cancelling } else { tx.record.state };
            // A refusal for good is not about fees: a bump in between must not put the cancel off for ever.
            let refusals = if cancel { Refusals::default() } else { tx.wants.refusals };
            tx.wants = Wants { refusals, ..Wants::default() };
        }
        Ok(())
    }
}
