//! Simulations: everything that one verdict takes is asked of one endpoint, and what is not fine of a second.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use alloy::primitives::{Address, Bytes};
use async_trait::async_trait;
use shared::ids::{Hash32, Wallet};
use shared::job::{Payout, Register};
use tokio::time::Instant;

use super::alloy::AlloyChain;
use super::classify::Revert;
use super::decode::{self, Contracts};
use super::endpoint::{At, Call, Endpoint};
use super::questions::Site;
use super::{ChainError, Conditions, Verdict};

/// Asks one endpoint.
pub(super) struct Reader {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) site: Site,
    pub(super) contracts: Contracts,
}

impl Reader {
    /// Runs a call on top of a block, as if sent by the relayer: what `decode` makes of its return data, or how it was
    /// undone.
    pub(super) async fn call_at<T>(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
        decode: impl Fn(&Bytes) -> Result<T, String>,
    ) -> Result<Result<T, Revert>, ChainError> {
        let call = Call { from: self.site.relayer, to, data, gas };
        self.endpoint.run(&call, At::Hash(at), decode).await
    }

    pub(super) async fn conditions(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError> {
        self.endpoint.conditions(self.site.relayer, &self.contracts, signer, at).await
    }

    /// Who is recorded as the referrer of each of `children`, where somebody is.
    pub(super) async fn recorded(
        &self,
        children: Vec<Wallet>,
        at: Hash32,
    ) -> Result<HashMap<Wallet, Address>, ChainError> {
        if children.is_empty() {
            return Ok(HashMap::new());
        }
        let referrers = self.endpoint.referrers(self.site, &children, at).await?;
        Ok(children
            .into_iter()
            .zip(referrers)
            .filter_map(|(child, known)| Some((child, known?.address())))
            .collect())
    }
}

/// What can be simulated, many at a time.
#[async_trait]
pub(super) trait Simulated: Clone + Send + Sync + 'static {
    async fn verdicts(reader: &Reader, items: &[Self], at: Hash32) -> Result<Vec<Verdict>, ChainError>;
}

#[async_trait]
impl Simulated for Payout {
    async fn verdicts(reader: &Reader, items: &[Self], at: Hash32) -> Result<Vec<Verdict>, ChainError> {
        reader.payout_verdicts(items, at).await
    }
}

#[async_trait]
impl Simulated for Register {
    async fn verdicts(reader: &Reader, items: &[Self], at: Hash32) -> Result<Vec<Verdict>, ChainError> {
        reader.registration_verdicts(items, at).await
    }
}

/// Since when no second endpoint could be asked about what the first refuses, and when that was so last.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(Option<(Instant, Instant)>);

impl Unconfirmed {
    /// Whether a refusal counts that nobody confirms: once it has been like this for `patience`, nobody will come back soon.
    /// One that comes so long after the last one begins anew: what was in between nobody asked.
    fn counts(&mut self, now: Instant, patience: Duration) -> bool {
        let going_on = self.0.filter(|(_, last)| now.duration_since(*last) < patience);
        let since = going_on.map_or(now, |(since, _)| since);
        self.0 = Some((since, now));
        now.duration_since(since) >= patience
    }
}

impl AlloyChain {
    fn reader(&self, endpoint: Arc<Endpoint>, contracts: Contracts) -> Reader {
        Reader { endpoint, site: self.site, contracts }
    }

    /// Simulates by the best endpoint, and by a second what the first does not call fine.
    pub(super) async fn judged<I: Simulated>(
        &self,
        items: &[I],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError> {
        let contracts = self.contracts().await?;
        let ask = |items: Arc<[I]>| {
            move |endpoint: Arc<Endpoint>| {
                let (reader, items) = (self.reader(endpoint, contracts), items.clone());
                async move { I::verdicts(&reader, &items, at).await }
            }
        };
        let search = self.pool.search(&self.pool.order(), ask(items.into()), |_| true).await;
        let Some((first, mut found)) = search.found else {
            return Err(search.error.unwrap_or_else(|| self.pool.nobody()));
        };
        let doubted: Vec<usize> =
            (0..found.len().min(items.len())).filter(|item| found[*item] != Verdict::Fine).collect();
        if doubted.is_empty() {
            return Ok(found);
        }
        let others = self.pool.voices_besides(&first);
        let again: Vec<I> = doubted.iter().map(|item| items[*item].clone()).collect();
        let search = self.pool.search(&others, ask(again.into()), |_| true).await;
        match search.found {
            Some((_, others)) => {
                self.confirmed();
                for (item, other) in doubted.into_iter().zip(others) {
                    found[item] = kinder(found[item].clone(), other);
                }
            }
            None => {
                for item in doubted {
                    found[item] = self.unconfirmed(found[item].clone());
                }
            }
        }
        Ok(found)
    }

    /// Why a call reverts as a whole, as two endpoints see it; `None` where one says that it does not.
    pub(super) async fn revert_of(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
    ) -> Result<Option<Verdict>, ChainError> {
        let contracts = self.contracts().await?;
        let ask = |endpoint: Arc<Endpoint>| {
            let (reader, data) = (self.reader(endpoint, contracts), data.clone());
            async move { reader.call_at(to, data, gas, at, |_| Ok(())).await }
        };
        let answers = self.pool.opinions(None, ask).await?;
        let verdict = |revert: Revert| decode::call_revert(&revert, to, &contracts, None);
        let mut verdicts = answers.into_iter().map(|(_, answer)| answer.err().map(verdict));
        match (verdicts.next().flatten(), verdicts.next()) {
            (Some(one), None) => Ok(Some(self.unconfirmed(one))),
            (one, second) => {
                if second.is_some() {
                    self.confirmed();
                }
                Ok(one.zip(second.flatten()).map(|(one, other)| kinder(one, other)))
            }
        }
    }

    fn confirmed(&self) {
        *self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner) = Unconfirmed::default();
    }

    /// What the verdict of one endpoint is worth that no other confirms. What may end a job is put off while others may come
    /// back; all else mends itself.
    fn unconfirmed(&self, verdict: Verdict) -> Verdict {
        if !may_end_a_job(&verdict) || self.pool.all().len() == 1 {
            return verdict;
        }
        let mut unconfirmed = self.unconfirmed.lock().unwrap_or_else(PoisonError::into_inner);
        if !unconfirmed.counts(Instant::now(), self.refusal_patience) {
            return Verdict::OutOfTime;
        }
        self.pool.note_lone();
        verdict
    }
}

/// Whether a job may end for good by this verdict: by a refusal, or for want of its registration.
pub fn may_end_a_job(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Fails(_) | Verdict::NotRegistered)
}

/// Of two endpoints' verdicts on one item at one block, which should be the same: the one that does the job less harm. A
/// wrong "fine" costs gas and is caught by the contract; a wrong refusal would end or park a good job.
pub fn kinder(one: Verdict, other: Verdict) -> Verdict {
    let harm = |verdict: &Verdict| match verdict {
        Verdict::Fine => 0,
        Verdict::AlreadyDone => 1,
        Verdict::NotRegistered => 2,
        Verdict::OutOfTime => 3,
        Verdict::Gate { .. } => 4,
        Verdict::Fails(_) => 5,
    };
    if harm(&other) < harm(&one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::super::{Gate, decode};
    use super::*;
    use shared::job::FailureClass;

    #[test]
    fn a_refusal_that_nobody_confirms_counts_only_after_a_while_without_a_second_endpoint() {
        let (mut unconfirmed, now, patience) =
            (Unconfirmed::default(), Instant::now(), Duration::from_secs(60));
        assert!(!unconfirmed.counts(now, patience));
        assert!(!unconfirmed.counts(now + patience - Duration::from_millis(1), patience));
        assert!(unconfirmed.counts(now + patience, patience));
        assert!(unconfirmed.counts(now + patience + patience / 2, patience), "still alone");
        let weeks_later = now + patience * 10_000;
        assert!(!unconfirmed.counts(weeks_later, patience), "what was in between nobody asked");
    }

    #[test]
    fn the_verdict_that_does_less_harm_counts_whoever_gave_it() {
        let ranked = [
            Verdict::Fine,
            Verdict::AlreadyDone,
            Verdict::NotRegistered,
            Verdict::OutOfTime,
            decode::gate(Gate::PayoutPaused, "paused"),
            decode::fails(FailureClass::RecipientRefused, "blocklisted"),
        ];
        for (at, kind) in ranked.iter().enumerate() {
            for harsh in &ranked[at..] {
                assert_eq!(kinder(kind.clone(), harsh.clone()), *kind);
                assert_eq!(kinder(harsh.clone(), kind.clone()), *kind);
            }
        }
    }
}
