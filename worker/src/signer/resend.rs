//! Journaled bytes to the nodes, and better paid ones for those that are stuck: sign, journal, broadcast, in that order.

use shared::ids::Nonce;
use shared::store::Journaled;
use shared::tx_state::TxState;

use super::leader::{Leader, Wants};
use super::round_error::RoundError;
use super::send::{self, SendAction, SendGate};
use super::{fees, gas};
use crate::chain::{Head, SendOutcome};
use crate::gates;

impl Leader {
    /// Hands the newest journaled attempt at `nonce` to the nodes, and notes what their answer asks for.
    pub(super) async fn broadcast(&mut self, nonce: Nonce) -> Result<(), RoundError> {
        let Some(tx) = self.open.get_mut(&nonce) else { return Ok(()) };
        let Some(attempt) = tx.record.latest() else { return Ok(()) };
        let answer = self.ctx.chain.broadcast(&attempt.raw).await;
        let action = send::action(&answer, tx.wants.refusals);
        let outcome = crate::metrics::ByOutcome { outcome: send::name(&answer) };
        self.ctx.metrics.broadcasts.get_or_create(&outcome).inc();
        if !matches!(answer, Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown)) {
            tracing::warn!(nonce = nonce.get(), tx.hash = %attempt.hash, ?answer, ?action, "broadcast");
        }
        if matches!(answer, Ok(SendOutcome::NonceTooLow)) {
            self.ctx.metrics.nonce_errors.inc();
        }
        tx.wants.refusals = if send::is_refusal(&answer) { tx.wants.refusals + 1 } else { 0 };
        if matches!(answer, Ok(SendOutcome::Accepted | SendOutcome::AlreadyKnown)) {
            // A cancel that is journaled stays one.
            tx.wants.cancel = false;
        }
        tx.wants.money = matches!(action, SendAction::CloseGate(SendGate::GasMoneyLow));
        match action {
            SendAction::Known => tx.sent_at = self.last_head.map(|head| head.number).or(Some(attempt.head)),
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

    /// Journals and broadcasts a better paid attempt, or a cancel, at an open nonce.
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
            self.fees(head).await?;
            return self.broadcast(nonce).await;
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
            let refusals = if cancel { 0 } else { tx.wants.refusals };
            tx.wants = Wants { refusals, ..Wants::default() };
        }
        self.broadcast(nonce).await
    }
}
