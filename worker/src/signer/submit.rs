//! From ready jobs to broadcast transactions: pack, reserve, sign, journal, and only then broadcast.

use std::collections::HashSet;

use shared::ids::{JobId, Nonce};
use shared::job::{Kind, Payload};
use shared::store::{Brief, JournalOutcome, NewTx, Ready, SLICE};
use shared::tx::{Attempt, Fees, Intent, TxRecord};
use shared::tx_state::TxState;

use super::calls::{self, Contracts};
use super::fees::Tips;
use super::gas::{PayoutMix, Tokens};
use super::leader::{Leader, OpenTx, Wants};
use super::pack::{self, Budget, Packed};
use super::round_error::RoundError;
use super::sending::Sending;
use super::takeover::intent_kind;
use super::{fees, gas};
use crate::chain::{Conditions, Head};
use crate::gates;
use crate::keys::{Unsigned, sign_eip1559};

/// Batches are priced for tokens that behave: a batch that meets worse reverts wholly, is halved, and its last single is
/// priced for the worst.
fn gas_limit(kind: Kind, items: &[Brief]) -> u64 {
    let count = items.len() as u64;
    match kind {
        Kind::Register => gas::registrations(count, &[]),
        Kind::Payout => {
            let hybrid =
                |item: &&Brief| matches!(&item.payload, Payload::Payout(p) if !p.commission.sge.is_zero());
            let hybrid = items.iter().filter(hybrid).count() as u64;
            let tokens = if count == 1 { Tokens::Worst } else { Tokens::Expected };
            gas::payouts(PayoutMix { single: count - hybrid, hybrid }, tokens, &[])
        }
    }
}

/// What signing and journaling came to.
enum Submitted {
    At(Nonce),
    /// Nothing more can be signed in this round.
    Stop,
    /// Some of its jobs may not be signed any more: read again and pack again.
    Repack,
}

impl Leader {
    /// Signs what is ready, as long as nonces, money and lease allow, and hands it to the nodes.
    pub(super) async fn sign_ready(&mut self, head: Head) -> Result<(), RoundError> {
        let mut sending = Sending::new(self.ctx.chain.clone());
        let signed = self.sign_and_send(head, &mut sending).await;
        // What is under way is journaled: what nodes say of it counts also where the rest was cut short.
        let heard = self.hear_all(&mut sending, head).await;
        signed.and(heard)
    }

    async fn hear_all(&mut self, sending: &mut Sending, head: Head) -> Result<(), RoundError> {
        let sent = sending.all().await;
        if sent.is_empty() {
            return Ok(());
        }
        self.hear(sent, head.number).await?;
        crash_point!("after_broadcast");
        Ok(())
    }

    async fn sign_and_send(&mut self, head: Head, sending: &mut Sending) -> Result<(), RoundError> {
        // What does not fit into this pass's transactions is the beginning of the next: the journal refuses whatever is not ready
        // any more by then.
        let (mut ready, mut has_waited) = (Ready::default(), false);
        loop {
            let free = self.ctx.config.max_open_nonces.saturating_sub(self.open.len());
            if free == 0 {
                return Ok(());
            }
            self.may_sign()?;
            let more = SLICE - ready.jobs.len();
            if more > 0
                && !sending.meanwhile(self.ctx.store.read_ready(&self.fence, &mut ready, more)).await?
            {
                return Err(RoundError::Fenced);
            }
            if ready.jobs.is_empty() {
                return Ok(());
            }
            let (at, conditions) = sending.meanwhile(self.conditions_at(head)).await?;
            let Some(gas) = sending.meanwhile(self.affordable_gas(&head, &conditions)).await? else {
                return Ok(());
            };
            let plan = self.pack(&ready.jobs, free, gas, &head, &at, &conditions);
            for (gate, reason) in &plan.close {
                self.close_gate(*gate, reason).await?;
            }
            let progressed = !plan.departures.is_empty();
            if progressed {
                self.ctx.metrics.count_departures(&plan.departures);
                self.ctx.store.leave(&self.ctx.worker, Some(&self.fence), &plan.departures).await?;
                crash_point!("after_pack");
            }
            let mut gone: HashSet<JobId> = plan.departures.iter().map(|departure| departure.job).collect();
            if plan.txs.is_empty() && !progressed {
                return Ok(());
            }
            // Once: where one kind keeps coming, the other would never have its turn.
            let may_wait = !std::mem::take(&mut has_waited);
            for packed in plan.txs {
                // A batch with room left waits for those under way: what becomes ready meanwhile makes it cheaper.
                if may_wait && !packed.is_full && !sending.is_idle() {
                    self.hear_all(sending, head).await?;
                    has_waited = true;
                    break;
                }
                // What was just signed is to be paid for as well: the rest is packed again, to what is left.
                if self.affordable_gas(&head, &conditions).await?.is_none_or(|gas| packed.gas_limit > gas) {
                    break;
                }
                let jobs: Vec<JobId> = packed.items.iter().map(|job| job.id).collect();
                match sending.meanwhile(self.journal(packed, &head)).await? {
                    Submitted::At(nonce) => {
                        gone.extend(jobs);
                        self.begin(sending, nonce).await;
                    }
                    Submitted::Stop => return Ok(()),
                    Submitted::Repack => {
                        ready = Ready::default();
                        break;
                    }
                }
            }
            ready.jobs.retain(|job| !gone.contains(&job.id));
        }
    }

    fn pack(
        &self,
        ready: &[Brief],
        free: usize,
        affordable: u64,
        head: &Head,
        at: &Head,
        conditions: &Conditions,
    ) -> pack::Plan {
        let most = self.ctx.config.batch_gas.min(head.gas_limit).min(gas::MAX_TRANSACTION_GAS);
        let budget = Budget {
            gas_per_tx: most.min(affordable),
            txs: free,
            usdc: conditions.usdc,
            sge: conditions.sge,
            reserved: self.reserved(at.number),
            registry_paused: conditions.registry_paused,
            payout_paused: conditions.payout_paused,
            is_all: ready.len() < SLICE,
        };
        pack::plan(ready, &budget, gas_limit)
    }

    /// The contracts' conditions at the newest block they were read at; read again when the head moved.
    pub(super) async fn conditions_at(&mut self, head: Head) -> Result<(Head, Conditions), RoundError> {
        if let Some((at, conditions)) = self.conditions
            && at.hash == head.hash
        {
            return Ok((at, conditions));
        }
        let conditions = self.ctx.chain.conditions(self.ctx.signer(), head.hash).await?;
        self.ctx.metrics.set_conditions(&conditions);
        self.conditions = Some((head, conditions));
        Ok((head, conditions))
    }

    /// How much gas one more transaction may have, so that the signer's balance covers it on top of what is open; `None`
    /// while that is not even enough for a single item. The gate closes where it would not be without open ones either.
    async fn affordable_gas(
        &mut self,
        head: &Head,
        conditions: &Conditions,
    ) -> Result<Option<u64>, RoundError> {
        let Some(fees) = self.fees(head).await? else { return Ok(None) };
        if self.is_short_of_gas_money(fees, conditions) {
            let reason = format!(
                "{} has {} wei; one payout may cost {}: send gas money",
                self.ctx.signer(),
                conditions.signer_balance,
                u128::from(gas::lone()).saturating_mul(fees.max_fee)
            );
            if self.ctx.store.close_gate(gates::GAS_MONEY, &reason, &self.ctx.worker).await? {
                tracing::error!(gate = gates::GAS_MONEY, reason, "gate closed");
            }
            return Ok(None);
        }
        let open: u128 = self
            .open
            .values()
            // What is in a block was paid for in the balance we read.
            .filter(|tx| tx.record.inclusion.is_none())
            .filter_map(|tx| tx.record.latest())
            .map(|attempt| u128::from(attempt.gas_limit).saturating_mul(attempt.fees.max_fee))
            .sum();
        let left = conditions.signer_balance.saturating_sub(open) / fees.max_fee.max(1);
        let gas = u64::try_from(left).unwrap_or(u64::MAX);
        Ok((gas >= gas::lone()).then_some(gas))
    }

    /// Whether the balance does not cover a single payout.
    pub(super) fn is_short_of_gas_money(&self, fees: Fees, conditions: &Conditions) -> bool {
        conditions.signer_balance < u128::from(gas::lone()).saturating_mul(fees.max_fee)
    }

    /// Asks for the usual tips; those known before are good enough when no node answers.
    pub(super) async fn refresh_tips(&mut self) {
        match self.ctx.chain.priority_fees().await {
            Ok(suggested) => {
                self.tips = Tips::of(&suggested, self.ctx.config.max_tip).unwrap_or(self.tips);
            }
            Err(error) => {
                self.ctx.metrics.rpc_errors.inc();
                tracing::warn!(%error, tips = ?self.tips, "no priority fee; keeping the last one");
            }
        }
    }

    /// The fees to begin with at `head`; `None` (and a closed gate) while the base fee is above the cap.
    pub(super) async fn fees(&mut self, head: &Head) -> Result<Option<Fees>, RoundError> {
        let cap = self.ctx.config.max_fee;
        let fees = fees::initial(head.base_fee, self.tips.first(), cap);
        if fees.is_none() {
            let reason = format!("the base fee is {} wei, MAX_FEE_GWEI allows {cap}", head.base_fee);
            if self.ctx.store.close_gate(gates::BASE_FEE, &reason, &self.ctx.worker).await? {
                tracing::warn!(gate = gates::BASE_FEE, reason, "gate closed");
            }
        }
        Ok(fees)
    }

    /// Signs and journals: what is journaled is to be broadcast then.
    async fn journal(&mut self, packed: Packed, head: &Head) -> Result<Submitted, RoundError> {
        self.may_sign()?;
        let Some(first) = packed.items.first() else { return Ok(Submitted::Stop) };
        let contracts = Contracts { registry: self.ctx.config.registry, payout: self.ctx.config.payout };
        let (to, data) = calls::encode(contracts, packed.kind, &packed.items);
        let held =
            packed.items.iter().map(|job| shared::tx::Held { job: job.id, epoch: job.epoch }).collect();
        let kind = intent_kind(&first.payload);
        let intent = Intent { kind, to, data, value: Default::default(), jobs: held };
        let Some(fees) = self.fees(head).await? else { return Ok(Submitted::Stop) };
        let nonce = self.next;
        let attempt = self.sign(nonce, &intent, packed.gas_limit, fees, head, false).await?;
        if let Err(problem) = gas::check(attempt.gas_limit, attempt.raw.len(), head.gas_limit) {
            return self.refuse(&packed, &problem.to_string()).await;
        }
        crash_point!("after_sign");
        let tx = NewTx {
            signer: self.ctx.signer(),
            nonce,
            intent: &intent,
            attempt: &attempt,
            max_open: self.ctx.config.max_open_nonces,
        };
        let at = match self.ctx.store.journal(&self.fence, &tx).await? {
            JournalOutcome::Journaled { at } => Some(at),
            JournalOutcome::Already => None,
            JournalOutcome::Fenced => return Err(RoundError::Fenced),
            JournalOutcome::Offenders(_) => return Ok(Submitted::Repack),
            JournalOutcome::SigningPaused | JournalOutcome::TooManyOpen => return Ok(Submitted::Stop),
            JournalOutcome::NotSynced => return Err(RoundError::Outdated("Redis is not synced".into())),
            JournalOutcome::WrongNonce { next } => {
                self.ctx.metrics.nonce_errors.inc();
                return Err(RoundError::Outdated(format!(
                    "nonce {nonce} is not next, the journal says {next:?}"
                )));
            }
        };
        tracing::info!(
            nonce = nonce.get(), tx.hash = %attempt.hash, jobs = packed.items.len(), lease.term = %self.keeper.term(),
            "journaled"
        );
        if let Some(at) = at {
            for job in &packed.items {
                self.ctx.metrics.to_broadcast.observe(at.saturating_sub(job.created_at) as f64 / 1000.0);
            }
        }
        crash_point!("after_journal");
        self.next = nonce.next();
        self.remember(nonce, intent, attempt, packed.items);
        Ok(Submitted::At(nonce))
    }

    /// Takes out, before it is journaled, what no node would take: halved where there are several items, else failed.
    async fn refuse(&mut self, packed: &Packed, problem: &str) -> Result<Submitted, RoundError> {
        let departures: Vec<_> = pack::refused(&packed.items, problem);
        tracing::warn!(jobs = departures.len(), problem, "refused before it got a nonce");
        self.ctx.metrics.count_departures(&departures);
        self.ctx.store.leave(&self.ctx.worker, Some(&self.fence), &departures).await?;
        Ok(Submitted::Repack)
    }

    /// Signs an attempt at `nonce`; journals nothing.
    pub(super) async fn sign(
        &self,
        nonce: Nonce,
        intent: &Intent,
        gas_limit: u64,
        fees: Fees,
        head: &Head,
        cancel: bool,
    ) -> Result<Attempt, RoundError> {
        self.may_sign()?;
        let own = self.ctx.signer();
        let (to, value, data) = match cancel {
            true => (own, Default::default(), Default::default()),
            false => (intent.to, intent.value, intent.data.clone()),
        };
        let chain_id = self.ctx.config.chain_id;
        let unsigned = Unsigned { chain_id, nonce, to, value, data, gas_limit, fees };
        let signed = sign_eip1559(&*self.ctx.key, unsigned).await?;
        // A remote key may have taken its time.
        self.may_sign()?;
        Ok(Attempt {
            hash: signed.hash,
            raw: signed.raw,
            gas_limit,
            fees,
            cancel,
            term: self.keeper.term(),
            head: head.number,
            at: 0,
        })
    }

    /// Mirrors in memory what the journal now holds.
    pub(super) fn remember(&mut self, nonce: Nonce, intent: Intent, attempt: Attempt, jobs: Vec<Brief>) {
        let record = TxRecord {
            nonce,
            intent,
            state: TxState::Open,
            created_at: attempt.at,
            attempts: vec![attempt],
            inclusion: None,
        };
        self.open.insert(
            nonce,
            OpenTx { record, jobs, sent_at: None, wants: Wants::default(), unseen_since: None },
        );
        self.ctx.metrics.open_nonces.set(self.open.len() as i64);
    }
}
