//! What the chain says N deep, asked of two endpoints where two can be asked. The decisions are in [`crate::chain::agree`];
//! here is what they need: answers, and the proofs that settle contradictions.
//!
//! A proof is something that the chain itself recorded: a receipt of one of our attempts, or an event of our contracts, in a
//! block that both endpoints call canonical.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::store::{Brief, Deed};

use super::leader::Leader;
use super::round_error::RoundError;
use crate::chain::agree::{self, Consumed, Settled};
use crate::chain::{Answers, ChainEvent, ChainEventKind, Head, NonceRange, Said};

/// What the chain says about a deed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Opinion {
    pub(super) settled: Settled,
    /// One of several endpoints alone says so.
    pub(super) is_alone: bool,
}

/// How far back the event of a disputed registration is looked for. One call.
const SEARCH: u64 = 5_000;

/// Who says of one deed that it is done, and in which block. For registrations, whose state names no block, the deep one.
type Claims = Answers<Option<BlockNumber>>;
/// The events of a canonical block, as each endpoint shows them.
type Shown = Vec<Said<Vec<ChainEvent>>>;

impl Leader {
    /// The canonical block at `number`, unless two endpoints see different ones: then nothing below is decided yet.
    pub(super) async fn agreed_block(&self, number: BlockNumber) -> Result<Option<Head>, RoundError> {
        let block = self.ctx.chain.agreed_block(number).await?;
        if block.is_none() {
            self.ctx.metrics.rpc_undecided.inc();
            tracing::warn!(
                block.number = number.get(),
                "endpoints see different blocks at this height; waiting"
            );
        }
        Ok(block)
    }

    /// Below which nonce every nonce is consumed at `deep`, and whether one of several endpoints alone says so.
    pub(super) async fn consumed(&self, deep: Head) -> Result<(Nonce, bool), RoundError> {
        let answers = self.ctx.chain.nonce_at(self.ctx.signer(), deep.hash).await?;
        let range = NonceRange::of(answers.iter().map(|said| said.answer));
        let Some(NonceRange { lowest, highest }) = range.filter(|range| range.lowest < range.highest) else {
            let below = agree::consumed(&answers, &[], deep.number).verdict.below;
            return Ok((below, answers.is_alone()));
        };
        let seen = self.receipts_between(lowest, highest).await;
        let judged = agree::consumed(&answers, &seen, deep.number);
        self.blame(&judged.refuted, "the account's nonce at a deep block");
        let Consumed { below, free_from } = judged.verdict;
        if self.open.range(below..free_from).next().is_some() {
            self.ctx.metrics.rpc_undecided.inc();
            tracing::warn!(
                block.number = deep.number.get(), said = %who_said(&answers), nonce = below.get(),
                "endpoints contradict each other about the account's nonce; what only one calls consumed stays open"
            );
        }
        Ok((below, false))
    }

    /// In which canonical blocks our own attempts at the open nonces of `from..to` are. What cannot be read is not there.
    async fn receipts_between(&self, from: Nonce, to: Nonce) -> Vec<(Nonce, BlockNumber)> {
        let mut seen = Vec::new();
        for (nonce, tx) in self.open.range(from..to) {
            for attempt in tx.record.attempts.iter().rev() {
                let Ok(Some(receipt)) = self.ctx.chain.receipt(attempt.hash).await else { continue };
                let block = receipt.inclusion.block;
                if self.canonical(block).await == Some(receipt.block_hash) {
                    seen.push((*nonce, block));
                    break;
                }
            }
        }
        seen
    }

    /// The hash that both endpoints give for the block at this height.
    async fn canonical(&self, number: BlockNumber) -> Option<Hash32> {
        Some(self.ctx.chain.agreed_block(number).await.ok()??.hash)
    }

    /// What the contracts' state at `deep` says about each of `jobs`.
    pub(super) async fn settled(&self, jobs: &[Brief], deep: Head) -> Result<Vec<Settled>, RoundError> {
        let opinions = self.judged(jobs.iter().map(Deed::from), deep).await?;
        Ok(opinions.into_iter().map(|opinion| opinion.settled).collect())
    }

    /// What the contracts' state at `deep` says about each of `deeds`.
    pub(super) async fn judged(
        &self,
        deeds: impl IntoIterator<Item = Deed>,
        deep: Head,
    ) -> Result<Vec<Opinion>, RoundError> {
        let deeds: Vec<Deed> = deeds.into_iter().collect();
        let claims = self.claims(&deeds, deep).await?;
        let mut proofs = Proofs::default();
        let mut opinions = Vec::with_capacity(deeds.len());
        for (deed, claims) in deeds.iter().zip(&claims) {
            let proven = match agree::needs_proof(claims) {
                true => self.proven(deed, claims, deep, &mut proofs).await,
                false => None,
            };
            let judged = agree::settled(claims, proven);
            self.blame(&judged.refuted, "the contracts' state at a deep block");
            if judged.verdict == Settled::Undecided {
                self.ctx.metrics.rpc_undecided.inc();
                tracing::warn!(
                    %deed, block.number = deep.number.get(), said = %who_said(claims),
                    "endpoints contradict each other about it, or one alone calls it done, and no event tells; asking again"
                );
            }
            opinions.push(Opinion { settled: judged.verdict, is_alone: claims.is_alone() });
        }
        Ok(opinions)
    }

    async fn claims(&self, deeds: &[Deed], deep: Head) -> Result<Vec<Claims>, RoundError> {
        let mut payments: Vec<PaymentId> = Vec::new();
        let mut children: Vec<Wallet> = Vec::new();
        for deed in deeds {
            match deed {
                Deed::Paid(payment) => payments.push(*payment),
                Deed::Registered(register) => children.push(register.child),
            }
        }
        let paid = async {
            match payments.is_empty() {
                true => Ok(None),
                false => self.ctx.chain.paid_at(&payments, deep.hash).await.map(Some),
            }
        };
        let referrers = async {
            match children.is_empty() {
                true => Ok(None),
                false => self.ctx.chain.referrers(&children, deep.hash).await.map(Some),
            }
        };
        let (paid, referrers) = tokio::try_join!(paid, referrers)?;
        let (mut payment, mut child) = (0.., 0..);
        let claims = deeds.iter().map(|deed| match deed {
            Deed::Paid(_) => {
                let at = payment.next()?;
                Some(paid.as_ref()?.map(|blocks| blocks.get(at).copied().flatten()))
            }
            Deed::Registered(register) => {
                let at = child.next()?;
                let wanted = Some(Some(register.referrer));
                Some(
                    referrers
                        .as_ref()?
                        .map(|found| (found.get(at).copied() == wanted).then_some(deep.number)),
                )
            }
        });
        // There is an answer for each question that was asked: nothing may be left out, or answers would shift.
        let claims: Option<Vec<Claims>> = claims.collect();
        claims.ok_or_else(|| RoundError::Outdated("a question to the contracts without an answer".to_owned()))
    }

    /// The block with the event that settles a dispute about `deed`, in the form of its claims.
    async fn proven(
        &self,
        deed: &Deed,
        claims: &Claims,
        deep: Head,
        proofs: &mut Proofs,
    ) -> Option<BlockNumber> {
        let blocks: BTreeSet<BlockNumber> = match deed {
            Deed::Paid(_) => claims.iter().filter_map(|said| said.answer).collect(),
            Deed::Registered(_) => {
                let recent = self.recent(deep, proofs).await;
                recent.iter().filter(|event| settles(event, deed)).map(|event| event.block).collect()
            }
        };
        for block in blocks.into_iter().filter(|block| *block <= deep.number) {
            let shown = self.shown_in(block, proofs).await;
            if shown.iter().flat_map(|said| &said.answer).any(|event| settles(event, deed)) {
                return Some(if matches!(deed, Deed::Paid(_)) { block } else { deep.number });
            }
        }
        None
    }

    async fn recent<'a>(&self, deep: Head, proofs: &'a mut Proofs) -> &'a [ChainEvent] {
        if proofs.recent.is_none() {
            let from = BlockNumber::new(deep.number.get().saturating_sub(SEARCH));
            proofs.recent = self.ctx.chain.events(from, deep.number).await.ok();
        }
        proofs.recent.as_deref().unwrap_or_default()
    }

    /// The events of the canonical block at this height. What cannot be read is not there.
    async fn shown_in<'a>(&self, block: BlockNumber, proofs: &'a mut Proofs) -> &'a Shown {
        match proofs.shown.entry(block) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(match self.canonical(block).await {
                Some(hash) => self.ctx.chain.events_in(hash).await.unwrap_or_default(),
                None => Shown::default(),
            }),
        }
    }

    /// Adds the events of payments that the contract names a block for and that `events` lacks: another transaction made
    /// them, or a node has lost its logs. Whoever leaves out what another shows is blamed.
    pub(super) async fn add_events_elsewhere(
        &self,
        jobs: &[Brief],
        settled: &[Option<BlockNumber>],
        events: &mut Vec<ChainEvent>,
    ) {
        let mut proofs = Proofs::default();
        for (job, block) in jobs.iter().zip(settled) {
            let (deed @ Deed::Paid(_), Some(block)) = (Deed::from(job), block) else { continue };
            if events.iter().any(|event| settles(event, &deed)) {
                continue;
            }
            let shown = self.shown_in(*block, &mut proofs).await;
            self.blame(&agree::omitted_by(shown, |event| settles(event, &deed)), "the events of a block");
            events.extend(agree::union(shown.iter().map(|said| said.answer.clone())));
        }
    }

    fn blame(&self, refuted: &[Arc<str>], about: &str) {
        for endpoint in refuted {
            self.ctx.chain.blame(endpoint, about);
        }
    }
}

/// What was read to settle disputes about the jobs of one round.
#[derive(Default)]
struct Proofs {
    shown: BTreeMap<BlockNumber, Shown>,
    recent: Option<Vec<ChainEvent>>,
}

/// Whether `event` says that `deed` was done.
fn settles(event: &ChainEvent, deed: &Deed) -> bool {
    match (&event.kind, deed) {
        (ChainEventKind::Paid { payment, .. }, Deed::Paid(wanted)) => payment == wanted,
        (ChainEventKind::Registered { child, referrer }, Deed::Registered(wanted)) => {
            (*child, *referrer) == (wanted.child, wanted.referrer)
        }
        _ => false,
    }
}

/// For the log: each answer with who gave it.
fn who_said<T: std::fmt::Debug>(answers: &Answers<T>) -> String {
    let said = answers.iter().map(|said| format!("{}: {:?}", said.endpoint, said.answer));
    said.collect::<Vec<_>>().join(", ")
}
