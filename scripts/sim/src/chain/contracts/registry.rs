//! `AffiliateRegistry`: each child's referrer, written once.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy::primitives::Address;
use alloy::sol_types::SolCall;
use shared::ids::Wallet;
use worker::chain::contracts::{IAffiliateRegistry as R, Referral, RegistrationOutcome as Outcome};
use worker::chain::{ChainEventKind, rules};

use super::{Call, Halt, Log, Returned, check_caller, revert};
use crate::chain::gas::Meter;
use crate::chain::tokens::Table;

const BASE_GAS: u64 = 5_000;
const RECORDED_GAS: u64 = 26_900;
const REJECTED_GAS: u64 = 6_000;

/// The registry's storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Registry {
    pub referrers: Table<Address, Address>,
    pub paused: bool,
    /// Who holds `RELAYER_ROLE`.
    pub relayers: Arc<BTreeSet<Address>>,
}

impl Registry {
    pub fn referrer_of(&self, child: Address) -> Option<Address> {
        self.referrers.get(&child).copied()
    }

    pub(super) fn call(&mut self, call: &Call<'_>, meter: &mut Meter) -> Result<(Returned, Vec<Log>), Halt> {
        match call.selector() {
            Some(R::registerReferralCall::SELECTOR) => self.lone(call, meter),
            Some(R::registerReferralBatchCall::SELECTOR) => self.batch(call, meter),
            // The relayer calls nothing else, and nothing else is open to it.
            _ => Err(Halt::bare()),
        }
    }

    fn lone(&mut self, call: &Call<'_>, meter: &mut Meter) -> Result<(Returned, Vec<Log>), Halt> {
        let item: R::registerReferralCall = call.decoded()?;
        meter.spend(BASE_GAS)?;
        check_caller(&self.relayers, self.paused, call.from)?;
        let (child, referrer) = (item.child, item.referrer);
        match self.register(child, referrer, meter)? {
            Outcome::Registered => Ok((Returned::Nothing, vec![registered(child, referrer)])),
            Outcome::AlreadyRegistered => Ok((Returned::Nothing, Vec::new())),
            Outcome::ZeroAddress => revert(&R::ZeroAddress {}),
            Outcome::SelfReferral => revert(&R::SelfReferral { child }),
            Outcome::ReferralCycle => revert(&R::ReferralCycle { child, referrer }),
            Outcome::ReferrerConflict => {
                let recorded = self.referrer_of(child).unwrap_or_default();
                revert(&R::ReferrerConflict { child, recorded })
            }
            Outcome::__Invalid => Err(Halt::bare()),
        }
    }

    fn batch(&mut self, call: &Call<'_>, meter: &mut Meter) -> Result<(Returned, Vec<Log>), Halt> {
        let R::registerReferralBatchCall { referrals } = call.decoded()?;
        meter.spend(BASE_GAS)?;
        check_caller(&self.relayers, self.paused, call.from)?;
        let (mut outcomes, mut logs) = (Vec::with_capacity(referrals.len()), Vec::new());
        for Referral { child, referrer } in referrals {
            let outcome = self.register(child, referrer, meter)?;
            logs.push(match outcome {
                Outcome::Registered => registered(child, referrer),
                _ => rejected(child, referrer, outcome),
            });
            outcomes.push(outcome);
        }
        Ok((Returned::Registrations(outcomes), logs))
    }

    fn register(&mut self, child: Address, referrer: Address, meter: &mut Meter) -> Result<Outcome, Halt> {
        let outcome = self.outcome(child, referrer);
        if outcome == Outcome::Registered {
            meter.spend(RECORDED_GAS)?;
            Arc::make_mut(&mut self.referrers).insert(child, referrer);
        } else {
            meter.spend(REJECTED_GAS)?;
        }
        Ok(outcome)
    }

    fn outcome(&self, child: Address, referrer: Address) -> Outcome {
        if child.is_zero() || referrer.is_zero() {
            return Outcome::ZeroAddress;
        }
        if child == referrer {
            return Outcome::SelfReferral;
        }
        match self.referrer_of(child) {
            Some(recorded) if recorded == referrer => Outcome::AlreadyRegistered,
            Some(_) => Outcome::ReferrerConflict,
            None if self.referrer_of(referrer) == Some(child) => Outcome::ReferralCycle,
            None => Outcome::Registered,
        }
    }
}

/// The event, as the relayer reads it. Of the zero address, which is no wallet, it can read none.
fn event(child: Address, referrer: Address, kind: impl Fn(Wallet, Wallet) -> Option<ChainEventKind>) -> Log {
    let wallets = Wallet::try_from(child).ok().zip(Wallet::try_from(referrer).ok());
    wallets.and_then(|(child, referrer)| kind(child, referrer)).map_or(Log::Other, Log::Ours)
}

fn registered(child: Address, referrer: Address) -> Log {
    event(child, referrer, |child, referrer| Some(ChainEventKind::Registered { child, referrer }))
}

fn rejected(child: Address, referrer: Address, outcome: Outcome) -> Log {
    event(child, referrer, |child, referrer| {
        let verdict = rules::registration(outcome, None)?;
        Some(ChainEventKind::RegistrationRejected { child, referrer, verdict })
    })
}
