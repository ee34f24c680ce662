//! Reads of certain endpoints in a certain order, and the second opinion on simulations.

use std::collections::HashMap;
use std::sync::Arc;

use alloy::primitives::{Address, Bytes};
use async_trait::async_trait;
use shared::ids::{Hash32, Wallet};
use shared::job::{Payout, Register};

use super::alloy::AlloyChain;
use super::classify::Revert;
use super::decode::Contracts;
use super::endpoint::{At, Call, Endpoint};
use super::health::Rank;
use super::pool::Pool;
use super::questions::Site;
use super::{ChainError, Conditions, Verdict};

/// Asks certain endpoints, in a certain order.
pub(super) struct Reader<'a> {
    pub(super) pool: &'a Pool,
    pub(super) order: Vec<Arc<Endpoint>>,
    pub(super) site: Site,
    pub(super) contracts: Contracts,
}

impl Reader<'_> {
    /// Runs a call on top of a block, as if sent by the relayer: what `decode` makes of its return data, or how it was
    /// undone.
    pub(super) async fn call_at<T: Send + 'static>(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
        decode: impl Fn(&Bytes) -> Result<T, String> + Clone + Send + 'static,
    ) -> Result<Result<T, Revert>, ChainError> {
        let call = Call { from: self.site.relayer, to, data, gas };
        let ask = |endpoint: Arc<Endpoint>| {
            let (call, decode) = (call.clone(), decode.clone());
            async move { endpoint.run(&call, At::Hash(at), decode).await }
        };
        self.pool.first_answer(&self.order, ask).await
    }

    pub(super) async fn conditions(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError> {
        let (from, contracts) = (self.site.relayer, self.contracts);
        let ask =
            |endpoint: Arc<Endpoint>| async move { endpoint.conditions(from, &contracts, signer, at).await };
        self.pool.first_answer(&self.order, ask).await
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
        let (site, asked) = (self.site, Arc::<[Wallet]>::from(children.as_slice()));
        let ask = |endpoint: Arc<Endpoint>| {
            let asked = asked.clone();
            async move { endpoint.referrers(site, &asked, at).await }
        };
        let referrers = self.pool.first_answer(&self.order, ask).await?;
        Ok(children
            .into_iter()
            .zip(referrers)
            .filter_map(|(child, known)| Some((child, known?.address())))
            .collect())
    }
}

/// What can be simulated, many at a time.
#[async_trait]
pub(super) trait Simulated: Clone + Send + Sync + Sized {
    async fn verdicts(reader: &Reader<'_>, items: &[Self], at: Hash32) -> Result<Vec<Verdict>, ChainError>;
}

#[async_trait]
impl Simulated for Payout {
    async fn verdicts(reader: &Reader<'_>, items: &[Self], at: Hash32) -> Result<Vec<Verdict>, ChainError> {
        reader.payout_verdicts(items, at).await
    }
}

#[async_trait]
impl Simulated for Register {
    async fn verdicts(reader: &Reader<'_>, items: &[Self], at: Hash32) -> Result<Vec<Verdict>, ChainError> {
        reader.registration_verdicts(items, at).await
    }
}

impl AlloyChain {
    pub(super) async fn reader(&self, order: Vec<Arc<Endpoint>>) -> Result<Reader<'_>, ChainError> {
        Ok(Reader { pool: &self.pool, order, site: self.site, contracts: self.contracts().await? })
    }

    /// Simulates by the best endpoint, and by the second what the first does not call fine.
    pub(super) async fn judged<I: Simulated>(
        &self,
        items: &[I],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError> {
        let order = self.pool.order();
        let second =
            order.get(1).filter(|endpoint| endpoint.rank().is_some_and(|rank| rank <= Rank::Behind)).cloned();
        let mut found = I::verdicts(&self.reader(order).await?, items, at).await?;
        let doubted: Vec<usize> =
            (0..found.len().min(items.len())).filter(|item| found[*item] != Verdict::Fine).collect();
        let (Some(second), false) = (second, doubted.is_empty()) else { return Ok(found) };
        let again: Vec<I> = doubted.iter().map(|item| items[*item].clone()).collect();
        match I::verdicts(&self.reader(vec![second]).await?, &again, at).await {
            Ok(others) => {
                for (item, other) in doubted.into_iter().zip(others) {
                    found[item] = kinder(found[item].clone(), other);
                }
            }
            Err(error) => tracing::debug!(%error, "no second opinion on what would not succeed"),
        }
        Ok(found)
    }
}

/// Of two endpoints' verdicts on one item at one block, which should be the same: the one that does the job less harm. A
/// wrong "fine" costs gas and is caught by the contract; a wrong refusal would end or park a good job.
pub(super) fn kinder(one: Verdict, other: Verdict) -> Verdict {
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
