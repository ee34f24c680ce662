//! What would become of items if they were sent now: one `eth_call` for many, and a further one for each item whose
//! reason only its own call tells.
//!
//! Invariant: an item's verdict is evidence about that item. Items that would disturb each other inside one call (the
//! same payment id, the same child, a pair that refer each other) are asked about in separate calls.

use std::collections::HashMap;

use alloy::primitives::{Address, Bytes};
use alloy::sol_types::SolCall;
use futures::{StreamExt, TryStreamExt, stream};
use shared::ids::{Hash32, Wallet};
use shared::job::{FailureClass, Payout, Register};

use super::bindings::contracts::{
    IAffiliatePayout, IAffiliateRegistry, Payout as Item, PayoutOutcome, Referral, RegistrationOutcome,
};
use super::classify::Revert;
use super::decode::{self, Contracts};
use super::limits::Budget;
use super::reader::Reader;
use super::waves::{registration_keys, waves};
use super::{ChainError, Verdict};

/// Items of one call: well below what any node lets one call burn.
pub const ITEMS_PER_CALL: usize = 100;
/// Gas of one simulated batch: the cap on a transaction, which nodes grant any call.
pub const BATCH_CALL_GAS: u64 = 16_777_216;
/// Gas of one simulated lone payout; the signer's gas limit for a lone payout is not below it.
pub const LONE_CALL_GAS: u64 = 400_000;
/// Reasons asked for at a time.
const REASONS_AT_ONCE: usize = 8;

impl Reader {
    pub(super) async fn payout_verdicts(
        &self,
        items: &[Payout],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError> {
        let contracts = self.contracts;
        let mut verdicts = Verdicts::new(items.len());
        for wave in waves(items.iter().map(|item| vec![item.payment_id])) {
            for chunk in wave.chunks(ITEMS_PER_CALL) {
                // A stack instead of recursion: a call that reverts as a whole is halved.
                let mut todo = vec![chunk.to_vec()];
                while let Some(part) = todo.pop() {
                    let chosen: Vec<&Payout> = part.iter().map(|index| &items[*index]).collect();
                    match self.simulate_batch(&chosen, at, &contracts).await? {
                        Ok(found) => verdicts.put(&part, found),
                        Err(revert) => split_or_settle(
                            &mut todo,
                            part,
                            &mut verdicts,
                            &revert,
                            contracts.payout,
                            &contracts,
                        ),
                    }
                }
            }
        }
        verdicts.finish()
    }

    /// The verdicts of a batch that ran, or the revert of the whole call.
    async fn simulate_batch(
        &self,
        items: &[&Payout],
        at: Hash32,
        contracts: &Contracts,
    ) -> Result<Result<Vec<Verdict>, Revert>, ChainError> {
        let (data, asked) = (batch_call(items), items.len());
        let decode = move |returned: &Bytes| {
            let outcomes = IAffiliatePayout::payAffiliateBatchCall::abi_decode_returns(returned)
                .map_err(|error| error.to_string())?;
            let known = |outcome: &PayoutOutcome| *outcome != PayoutOutcome::__Invalid;
            whole(outcomes, asked, known)
        };
        let outcomes = match self.call_at(contracts.payout, data, BATCH_CALL_GAS, at, decode).await? {
            Ok(outcomes) => outcomes,
            Err(revert) => return Ok(Err(revert)),
        };
        self.explain(items, &outcomes, at, contracts).await.map(Ok)
    }

    /// Turns outcomes into verdicts, reading what the outcomes alone do not say.
    async fn explain(
        &self,
        items: &[&Payout],
        outcomes: &[PayoutOutcome],
        at: Hash32,
        contracts: &Contracts,
    ) -> Result<Vec<Verdict>, ChainError> {
        use PayoutOutcome as Outcome;
        let limited = |outcome: &Outcome| {
            matches!(outcome, Outcome::AboveCap | Outcome::WindowExhausted | Outcome::FundsLow)
        };
        let mut budget = match outcomes.iter().any(limited) {
            true => Some(Budget::new(&self.conditions(self.site.relayer, at).await?)),
            false => None,
        };
        let recorded = self.recorded_referrers(items, outcomes, at).await?;
        let refusals = self.transfer_refusals(items, outcomes, at, contracts).await?;

        let mut verdicts = Vec::with_capacity(items.len());
        for (index, (item, outcome)) in items.iter().zip(outcomes).enumerate() {
            verdicts.push(match outcome {
                Outcome::Paid => {
                    if let Some(budget) = budget.as_mut() {
                        budget.spend(item);
                    }
                    Verdict::Fine
                }
                Outcome::AlreadyPaid => Verdict::AlreadyDone,
                Outcome::ZeroAmount => decode::fails(FailureClass::ZeroAmount, "both amounts are zero"),
                Outcome::NotRegistered => Verdict::NotRegistered,
                Outcome::WrongReferrer => decode::wrong_referrer(recorded.get(&item.child).copied()),
                Outcome::AboveCap | Outcome::WindowExhausted | Outcome::FundsLow => {
                    let stopped = budget.as_ref().and_then(|budget| budget.stops(item));
                    stopped.unwrap_or_else(|| unexplained(*outcome))
                }
                Outcome::TransferFailed => {
                    refusals.get(&index).cloned().unwrap_or_else(|| unexplained(*outcome))
                }
                // Refused when it was decoded.
                Outcome::__Invalid => unexplained(*outcome),
            });
        }
        Ok(verdicts)
    }

    async fn recorded_referrers(
        &self,
        items: &[&Payout],
        outcomes: &[PayoutOutcome],
        at: Hash32,
    ) -> Result<HashMap<Wallet, Address>, ChainError> {
        let wrong =
            items.iter().zip(outcomes).filter(|(_, outcome)| **outcome == PayoutOutcome::WrongReferrer);
        self.recorded(wrong.map(|(item, _)| item.child).collect(), at).await
    }

    /// Asks each item whose transfer was refused on its own, because only the single call reverts with the reason.
    async fn transfer_refusals(
        &self,
        items: &[&Payout],
        outcomes: &[PayoutOutcome],
        at: Hash32,
        contracts: &Contracts,
    ) -> Result<HashMap<usize, Verdict>, ChainError> {
        let refused = (0..items.len()).filter(|index| outcomes[*index] == PayoutOutcome::TransferFailed);
        let questions: Vec<_> =
            refused.map(|index| self.transfer_refusal(index, items[index], at, contracts)).collect();
        stream::iter(questions).buffer_unordered(REASONS_AT_ONCE).try_collect().await
    }

    async fn transfer_refusal(
        &self,
        index: usize,
        item: &Payout,
        at: Hash32,
        contracts: &Contracts,
    ) -> Result<(usize, Verdict), ChainError> {
        Ok(match self.call_at(contracts.payout, lone_call(item), LONE_CALL_GAS, at, |_| Ok(())).await? {
            // A lone transfer gets more gas than one in a batch: it may well pass.
            Ok(()) => (index, Verdict::Fine),
            Err(revert) => {
                let recipient = Some(item.referrer.address());
                (index, decode::call_revert(&revert, contracts.payout, contracts, recipient))
            }
        })
    }

    pub(super) async fn registration_verdicts(
        &self,
        items: &[Register],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError> {
        let contracts = self.contracts;
        let mut verdicts = Verdicts::new(items.len());
        for wave in waves(items.iter().map(registration_keys)) {
            for chunk in wave.chunks(ITEMS_PER_CALL) {
                let mut todo = vec![chunk.to_vec()];
                while let Some(part) = todo.pop() {
                    let chosen: Vec<&Register> = part.iter().map(|index| &items[*index]).collect();
                    match self.simulate_referrals(&chosen, at, &contracts).await? {
                        Ok(found) => verdicts.put(&part, found),
                        Err(revert) => split_or_settle(
                            &mut todo,
                            part,
                            &mut verdicts,
                            &revert,
                            contracts.registry,
                            &contracts,
                        ),
                    }
                }
            }
        }
        verdicts.finish()
    }

    async fn simulate_referrals(
        &self,
        items: &[&Register],
        at: Hash32,
        contracts: &Contracts,
    ) -> Result<Result<Vec<Verdict>, Revert>, ChainError> {
        let (data, asked) = (registration_call(items), items.len());
        let decode = move |returned: &Bytes| {
            let outcomes = IAffiliateRegistry::registerReferralBatchCall::abi_decode_returns(returned)
                .map_err(|error| error.to_string())?;
            let known = |outcome: &RegistrationOutcome| *outcome != RegistrationOutcome::__Invalid;
            whole(outcomes, asked, known)
        };
        let outcomes = match self.call_at(contracts.registry, data, BATCH_CALL_GAS, at, decode).await? {
            Ok(outcomes) => outcomes,
            Err(revert) => return Ok(Err(revert)),
        };
        let conflicts =
            items.iter().zip(&outcomes).filter(|(_, o)| **o == RegistrationOutcome::ReferrerConflict);
        let recorded = self.recorded(conflicts.map(|(item, _)| item.child).collect(), at).await?;
        let verdicts = items.iter().zip(outcomes).map(|(item, outcome)| {
            // One that the interface does not name was refused when it was decoded.
            decode::registration(outcome, recorded.get(&item.child).copied())
                .unwrap_or_else(|| decode::fails(FailureClass::UnclearRevert, format!("{outcome:?}")))
        });
        Ok(Ok(verdicts.collect()))
    }
}

/// Outcomes, if there is one that the interface names for each item.
fn whole<O>(outcomes: Vec<O>, asked: usize, known: impl Fn(&O) -> bool) -> Result<Vec<O>, String> {
    if outcomes.len() != asked {
        return Err(format!("{} outcomes for {asked} items", outcomes.len()));
    }
    if !outcomes.iter().all(known) {
        return Err("an outcome that the interface does not name".to_owned());
    }
    Ok(outcomes)
}

/// An outcome that the limits, read beside it, do not explain. Windows and funds move with every block: the two answers are
/// of two moments, and the job is asked about again.
pub fn unexplained(outcome: PayoutOutcome) -> Verdict {
    if matches!(outcome, PayoutOutcome::WindowExhausted | PayoutOutcome::FundsLow) {
        return Verdict::OutOfTime;
    }
    decode::fails(
        FailureClass::UnclearRevert,
        format!("the contract answered {outcome:?}, and its limits do not say why"),
    )
}

/// A whole call of `items` reverted. The verdict on each of them; `None` where fewer items might pass, and both halves are to be
/// asked again.
pub fn of_all(items: usize, revert: &Revert, to: Address, contracts: &Contracts) -> Option<Verdict> {
    let verdict = decode::call_revert(revert, to, contracts, None);
    let of_all = matches!(verdict, Verdict::Gate { .. } | Verdict::OutOfTime);
    let concerns_all = of_all && !decode::wants_fewer_items(revert);
    (items == 1 || concerns_all).then_some(verdict)
}

fn split_or_settle(
    todo: &mut Vec<Vec<usize>>,
    part: Vec<usize>,
    verdicts: &mut Verdicts,
    revert: &Revert,
    to: Address,
    contracts: &Contracts,
) {
    match of_all(part.len(), revert, to, contracts) {
        Some(verdict) => {
            let same = vec![verdict; part.len()];
            verdicts.put(&part, same);
        }
        None => {
            let (left, right) = part.split_at(part.len() / 2);
            todo.push(right.to_vec());
            todo.push(left.to_vec());
        }
    }
}

/// The call of a batch of payouts.
pub fn batch_call(items: &[&Payout]) -> Bytes {
    let payouts = items.iter().map(|item| batch_item(item)).collect();
    IAffiliatePayout::payAffiliateBatchCall { payouts }.abi_encode().into()
}

/// The call of a batch of registrations.
pub fn registration_call(items: &[&Register]) -> Bytes {
    let referral =
        |item: &&Register| Referral { child: item.child.address(), referrer: item.referrer.address() };
    let referrals = items.iter().map(referral).collect();
    IAffiliateRegistry::registerReferralBatchCall { referrals }.abi_encode().into()
}

fn batch_item(item: &Payout) -> Item {
    Item {
        paymentId: item.payment_id.hash(),
        child: item.child.address(),
        referrer: item.referrer.address(),
        usdcAmount: item.commission.usdc.u256(),
        sgeAmount: item.commission.sge.u256(),
    }
}

/// The plain call of one payout.
pub fn lone_call(item: &Payout) -> Bytes {
    let Item { paymentId, child, referrer, usdcAmount, sgeAmount } = batch_item(item);
    if sgeAmount.is_zero() {
        IAffiliatePayout::payAffiliateUSDCCall { paymentId, child, referrer, usdcAmount }.abi_encode().into()
    } else {
        IAffiliatePayout::payAffiliateHybridCall { paymentId, child, referrer, usdcAmount, sgeAmount }
            .abi_encode()
            .into()
    }
}

/// Verdicts that arrive out of order.
struct Verdicts(Vec<Option<Verdict>>);

impl Verdicts {
    fn new(len: usize) -> Self {
        Self(vec![None; len])
    }

    fn put(&mut self, part: &[usize], found: Vec<Verdict>) {
        for (index, verdict) in part.iter().zip(found) {
            self.0[*index] = Some(verdict);
        }
    }

    fn finish(self) -> Result<Vec<Verdict>, ChainError> {
        let missing = || ChainError::Garbage {
            endpoint: "simulation".to_owned(),
            method: "eth_call",
            detail: "an item was left without an outcome".to_owned(),
        };
        self.0.into_iter().map(|verdict| verdict.ok_or_else(missing)).collect()
    }
}
