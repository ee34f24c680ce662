//! Verdicts about items, as the relayer gets them from one endpoint: the same calls, in the same groups, on the state after a
//! block, and its own rules for what they mean.

use alloy::primitives::{Address, Bytes};
use shared::job::{FailureClass, Payout, Register};
use worker::chain::contracts::{PayoutOutcome, RegistrationOutcome};
use worker::chain::rules::{self, Budget, Revert};
use worker::chain::{LONE_CALL_GAS, Verdict};

use super::block::{Block, Message, execute};
use super::contracts::{Call, Halt, Returned};
use super::sight::conditions;

/// Calls on top of one block, as if sent by the relayer.
pub(super) struct Simulator<'a> {
    pub(super) block: &'a Block,
    pub(super) relayer: Address,
}

impl Simulator<'_> {
    fn run(&self, to: Address, data: &[u8], gas: u64) -> Result<Returned, Revert> {
        let mut state = self.block.state.clone();
        let call = Call {
            from: self.relayer,
            value: alloy::primitives::U256::ZERO,
            data,
            number: self.block.number(),
            now: self.block.head.timestamp,
        };
        execute(&mut state, &Message { call, to: Some(to), gas }).result.map_err(|halt| match halt {
            Halt::Revert(data) => Revert { data, message: "execution reverted".to_owned() },
            Halt::OutOfGas => Revert { data: Bytes::new(), message: "out of gas".to_owned() },
        })
    }

    /// Why a call reverts.
    pub(super) fn revert(&self, to: Address, data: &[u8], gas: u64) -> Option<Verdict> {
        let revert = self.run(to, data, gas).err()?;
        Some(rules::call_revert(&revert, to, &self.block.state.contracts, None))
    }

    pub(super) fn payouts(&self, items: &[Payout]) -> Vec<Verdict> {
        let waves = rules::waves(items.iter().map(|item| vec![item.payment_id]));
        self.in_groups(items, waves, self.block.state.contracts.payout, |chosen| {
            let data = rules::batch_call(chosen);
            match self.run(self.block.state.contracts.payout, &data, rules::BATCH_CALL_GAS)? {
                Returned::Payouts(outcomes) => Ok(self.explain(chosen, &outcomes)),
                _ => Ok(Vec::new()),
            }
        })
    }

    pub(super) fn registrations(&self, items: &[Register]) -> Vec<Verdict> {
        let waves = rules::waves(items.iter().map(rules::registration_keys));
        let registry = self.block.state.contracts.registry;
        self.in_groups(items, waves, registry, |chosen| {
            match self.run(registry, &rules::registration_call(chosen), rules::BATCH_CALL_GAS)? {
                Returned::Registrations(outcomes) => Ok(chosen
                    .iter()
                    .zip(outcomes)
                    .map(|(item, outcome)| self.registered(item, outcome))
                    .collect()),
                _ => Ok(Vec::new()),
            }
        })
    }

    fn registered(&self, item: &Register, outcome: RegistrationOutcome) -> Verdict {
        let recorded = match outcome {
            RegistrationOutcome::ReferrerConflict => {
                self.block.state.registry.referrer_of(item.child.address())
            }
            _ => None,
        };
        rules::registration(outcome, recorded)
            .unwrap_or_else(|| rules::fails(FailureClass::UnclearRevert, format!("{outcome:?}")))
    }

    /// Asks about items in groups that do not disturb each other; a group whose call reverts for a reason that may be one
    /// item's is halved.
    fn in_groups<I>(
        &self,
        items: &[I],
        waves: Vec<Vec<usize>>,
        to: Address,
        ask: impl Fn(&[&I]) -> Result<Vec<Verdict>, Revert>,
    ) -> Vec<Verdict> {
        let mut verdicts = vec![Verdict::OutOfTime; items.len()];
        for wave in waves {
            for chunk in wave.chunks(rules::ITEMS_PER_CALL) {
                let mut todo = vec![chunk];
                while let Some(part) = todo.pop() {
                    let chosen: Vec<&I> = part.iter().map(|at| &items[*at]).collect();
                    let found = match ask(&chosen) {
                        Ok(found) => found,
                        Err(revert) => {
                            let contracts = &self.block.state.contracts;
                            let Some(verdict) = rules::of_all(part.len(), &revert, to, contracts) else {
                                let (left, right) = part.split_at(part.len() / 2);
                                todo.extend([right, left]);
                                continue;
                            };
                            vec![verdict; part.len()]
                        }
                    };
                    for (at, verdict) in part.iter().zip(found) {
                        verdicts[*at] = verdict;
                    }
                }
            }
        }
        verdicts
    }

    /// Outcomes as verdicts: what the outcomes alone do not say follows from the limits, the registry, and calls of one item.
    fn explain(&self, items: &[&Payout], outcomes: &[PayoutOutcome]) -> Vec<Verdict> {
        use PayoutOutcome as Outcome;
        let mut budget = Budget::new(&conditions(self.block, self.relayer));
        let verdict = |(item, outcome): (&&Payout, &Outcome)| match outcome {
            Outcome::Paid => {
                budget.spend(item);
                Verdict::Fine
            }
            Outcome::AlreadyPaid => Verdict::AlreadyDone,
            Outcome::ZeroAmount => rules::fails(FailureClass::ZeroAmount, "both amounts are zero"),
            Outcome::NotRegistered => Verdict::NotRegistered,
            Outcome::WrongReferrer => {
                rules::wrong_referrer(self.block.state.registry.referrer_of(item.child.address()))
            }
            Outcome::AboveCap | Outcome::WindowExhausted | Outcome::FundsLow => {
                budget.stops(item).unwrap_or_else(|| rules::unexplained(*outcome))
            }
            Outcome::TransferFailed => self.lone(item),
            Outcome::__Invalid => rules::unexplained(*outcome),
        };
        items.iter().zip(outcomes).map(verdict).collect()
    }

    fn lone(&self, item: &Payout) -> Verdict {
        let contracts = self.block.state.contracts;
        match self.run(contracts.payout, &rules::lone_call(item), LONE_CALL_GAS) {
            Ok(_) => Verdict::Fine,
            Err(revert) => {
                let recipient = Some(item.referrer.address());
                rules::call_revert(&revert, contracts.payout, &contracts, recipient)
            }
        }
    }
}
