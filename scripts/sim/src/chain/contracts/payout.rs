//! `AffiliatePayout`: each payment once, within cap, window and funds.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::{SolCall, SolError};
use shared::ids::Wallet;
use shared::money::{Sge, Usdc};
use worker::chain::contracts::{IAffiliatePayout as P, Payout as Item, PayoutOutcome as Outcome};
use worker::chain::{ChainEventKind, rules};

use super::window::Limits;
use super::{Call, Halt, Log, Returned, check_caller, revert};
use crate::chain::gas::Meter;
use crate::chain::state::State;
use crate::chain::tokens::{Coin, Table, Token, Transfer};

/// Constants of the contract.
const ITEM_GAS: u64 = 135_000;
const HYBRID_ITEM_GAS: u64 = 240_000;
const TRANSFER_GAS: u64 = 100_000;
const FUNDS_GAS: u64 = 65_000;

const BASE_GAS: u64 = 18_000;
const OPEN_GAS: u64 = 18_000;
const RECORD_GAS: u64 = 7_000;
const CHECK_GAS: u64 = 7_000;
const STORE_GAS: u64 = 22_200;
const TRANSFER_COST: u64 = 11_000;
const NEW_BALANCE_GAS: u64 = 17_100;

/// The payout contract's storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PayoutContract {
    /// By payment id: the block it was paid in.
    pub paid_at: Table<B256, u64>,
    /// A defect that the real contract does not have: it pays what it has paid.
    pub pays_again: bool,
    pub paused: bool,
    /// Where the money comes from; the zero address: from the contract's own balance.
    pub treasury: Address,
    pub usdc: Limits,
    pub sge: Limits,
    /// Who holds `RELAYER_ROLE`.
    pub relayers: Arc<BTreeSet<Address>>,
}

impl PayoutContract {
    pub fn limits(&self, coin: Coin) -> &Limits {
        match coin {
            Coin::Usdc => &self.usdc,
            Coin::Sge => &self.sge,
        }
    }

    pub fn limits_mut(&mut self, coin: Coin) -> &mut Limits {
        match coin {
            Coin::Usdc => &mut self.usdc,
            Coin::Sge => &mut self.sge,
        }
    }
}

/// What may still leave of one token during one call. Opened on first need.
#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    opened: bool,
    cap: U256,
    left: U256,
    funds: U256,
    spent: U256,
}

impl Budget {
    fn spend(&mut self, amount: U256) {
        self.left = self.left.saturating_sub(amount);
        self.funds = self.funds.saturating_sub(amount);
        self.spent = self.spent.saturating_add(amount);
    }
}

/// Why an item is not paid.
type Refused = (Outcome, Bytes);

fn refused<T>(outcome: Outcome, error: &impl SolError) -> Result<T, Refused> {
    Err((outcome, error.abi_encode().into()))
}

struct Paying<'a> {
    state: &'a mut State,
    call: &'a Call<'a>,
    meter: &'a mut Meter,
    usdc: Budget,
    sge: Budget,
    logs: Vec<Log>,
}

pub(super) fn call(
    state: &mut State,
    call: &Call<'_>,
    meter: &mut Meter,
) -> Result<(Returned, Vec<Log>), Halt> {
    let (lone, batch) = match call.selector() {
        Some(P::payAffiliateUSDCCall::SELECTOR) => {
            let P::payAffiliateUSDCCall { paymentId, child, referrer, usdcAmount } = call.decoded()?;
            (Some(Item { paymentId, child, referrer, usdcAmount, sgeAmount: U256::ZERO }), Vec::new())
        }
        Some(P::payAffiliateHybridCall::SELECTOR) => {
            let item: P::payAffiliateHybridCall = call.decoded()?;
            let P::payAffiliateHybridCall { paymentId, child, referrer, usdcAmount, sgeAmount } = item;
            (Some(Item { paymentId, child, referrer, usdcAmount, sgeAmount }), Vec::new())
        }
        Some(P::payAffiliateBatchCall::SELECTOR) => {
            (None, call.decoded::<P::payAffiliateBatchCall>()?.payouts)
        }
        // The relayer calls nothing else, and nothing else is open to it.
        _ => return Err(Halt::bare()),
    };
    meter.spend(BASE_GAS)?;
    check_caller(&state.payout.relayers, state.payout.paused, call.from)?;
    let mut paying =
        Paying { state, call, meter, usdc: Budget::default(), sge: Budget::default(), logs: Vec::new() };
    let returned = match lone {
        Some(item) => paying.lone(&item)?,
        None => paying.batch(&batch)?,
    };
    Ok((returned, paying.logs))
}

impl Paying<'_> {
    fn lone(&mut self, item: &Item) -> Result<Returned, Halt> {
        self.meter.spend(CHECK_GAS)?;
        if let Err((_, reason)) = self.check(item)? {
            return Err(Halt::Revert(reason));
        }
        self.require_gas(item_gas(item))?;
        self.meter.spend(STORE_GAS)?;
        self.store(item.paymentId);
        self.logs.push(paid(item));
        self.record(Coin::Usdc, item.usdcAmount)?;
        self.record(Coin::Sge, item.sgeAmount)?;
        for (coin, amount) in amounts(item) {
            let stipend = self.meter.left() - self.meter.left() / 64;
            if let Err(reason) = self.send(&[(coin, amount)], item.referrer, stipend)? {
                let token = self.address(coin);
                return revert(&P::TransferFailed { token, reason });
            }
        }
        Ok(Returned::Nothing)
    }

    fn batch(&mut self, items: &[Item]) -> Result<Returned, Halt> {
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            outcomes.push(match self.pay(item)? {
                Ok(()) => Outcome::Paid,
                Err((outcome, reason)) => {
                    self.logs.push(self.failed(item, outcome, &reason));
                    outcome
                }
            });
        }
        self.record(Coin::Usdc, self.usdc.spent)?;
        self.record(Coin::Sge, self.sge.spent)?;
        Ok(Returned::Payouts(outcomes))
    }

    /// Pays one item of a batch, or changes nothing and says why.
    fn pay(&mut self, item: &Item) -> Result<Result<(), Refused>, Halt> {
        self.meter.spend(CHECK_GAS)?;
        if let Err(refused) = self.check(item)? {
            return Ok(Err(refused));
        }
        self.require_gas(item_gas(item))?;
        self.meter.spend(STORE_GAS)?;
        let sends: Vec<(Coin, U256)> = amounts(item).collect();
        if let Err(reason) = self.send(&sends, item.referrer, TRANSFER_GAS)? {
            return Ok(Err((Outcome::TransferFailed, reason)));
        }
        self.store(item.paymentId);
        self.usdc.spend(item.usdcAmount);
        self.sge.spend(item.sgeAmount);
        self.logs.push(paid(item));
        Ok(Ok(()))
    }

    /// Whether this payment may be made at all, and then whether its amounts fit.
    fn check(&mut self, item: &Item) -> Result<Result<(), Refused>, Halt> {
        if let Err(refused) = self.identity(item) {
            return Ok(Err(refused));
        }
        for (coin, _) in amounts(item) {
            self.open(coin)?;
        }
        Ok(self.fits(item))
    }

    fn identity(&self, item: &Item) -> Result<(), Refused> {
        let (child, given) = (item.child, item.referrer);
        let paid_at = self.state.payout.paid_at.get(&item.paymentId);
        if let Some(block) = paid_at.filter(|_| !self.state.payout.pays_again) {
            let block_number = U256::from(*block);
            let error = P::AlreadyPaid { paymentId: item.paymentId, blockNumber: block_number };
            return refused(Outcome::AlreadyPaid, &error);
        }
        if item.usdcAmount.is_zero() && item.sgeAmount.is_zero() {
            return refused(Outcome::ZeroAmount, &P::ZeroAmount {});
        }
        match self.state.registry.referrer_of(child) {
            None => refused(Outcome::NotRegistered, &P::NotRegistered { child }),
            Some(recorded) if recorded != given => {
                refused(Outcome::WrongReferrer, &P::WrongReferrer { child, recorded, given })
            }
            Some(_) => Ok(()),
        }
    }

    fn fits(&self, item: &Item) -> Result<(), Refused> {
        let both = [(Coin::Usdc, item.usdcAmount, self.usdc), (Coin::Sge, item.sgeAmount, self.sge)];
        let above = |bound: fn(&Budget) -> U256| {
            let over = both.iter().find(|(_, amount, budget)| *amount > bound(budget));
            over.map(|(coin, amount, budget)| (self.address(*coin), *amount, bound(budget)))
        };
        if let Some((token, amount, cap)) = above(|budget| budget.cap) {
            return refused(Outcome::AboveCap, &P::AboveCap { token, amount, cap });
        }
        if let Some((token, amount, left)) = above(|budget| budget.left) {
            return refused(Outcome::WindowExhausted, &P::WindowExhausted { token, amount, left });
        }
        if let Some((token, amount, funds)) = above(|budget| budget.funds) {
            return refused(Outcome::FundsLow, &P::FundsLow { token, amount, funds });
        }
        Ok(())
    }

    fn open(&mut self, coin: Coin) -> Result<(), Halt> {
        let opened = match coin {
            Coin::Usdc => self.usdc.opened,
            Coin::Sge => self.sge.opened,
        };
        if opened {
            return Ok(());
        }
        self.require_gas(FUNDS_GAS)?;
        self.meter.spend(OPEN_GAS)?;
        let limits = self.state.payout.limits(coin);
        let (cap, left) = (limits.cap, limits.window.left(self.call.now));
        let budget = Budget { opened: true, cap, left, funds: self.state.funds(coin), spent: U256::ZERO };
        match coin {
            Coin::Usdc => self.usdc = budget,
            Coin::Sge => self.sge = budget,
        }
        Ok(())
    }

    /// All of `sends` or none; what the refusing token answered, where one does.
    fn send(&mut self, sends: &[(Coin, U256)], to: Address, stipend: u64) -> Result<Result<(), Bytes>, Halt> {
        let own = self.state.contracts.payout;
        let treasury = self.state.payout.treasury;
        let (from, spender) = if treasury.is_zero() { (own, None) } else { (treasury, Some(own)) };
        let transfer = |amount| Transfer { from, to, amount, spender };
        for (coin, amount) in sends {
            let token = self.state.token(*coin);
            let cost = token.burns(to).saturating_add(cost(token, to));
            if cost > stipend {
                // All that it was given is gone, and there is no answer.
                self.meter.spend(stipend)?;
                return Ok(Err(Bytes::new()));
            }
            self.meter.spend(cost)?;
            if let Some(reason) = token.refusal(&transfer(*amount)) {
                return Ok(Err(reason));
            }
        }
        for (coin, amount) in sends {
            self.state.token_mut(*coin).apply(&transfer(*amount));
            self.logs.push(Log::Other);
        }
        Ok(Ok(()))
    }

    fn store(&mut self, payment: B256) {
        Arc::make_mut(&mut self.state.payout.paid_at).insert(payment, self.call.number);
    }

    fn record(&mut self, coin: Coin, amount: U256) -> Result<(), Halt> {
        if amount.is_zero() {
            return Ok(());
        }
        self.meter.spend(RECORD_GAS)?;
        self.state.payout.limits_mut(coin).window.consume(amount, self.call.now);
        Ok(())
    }

    fn require_gas(&self, required: u64) -> Result<(), Halt> {
        let left = self.meter.left();
        if left < required {
            return revert(&P::InsufficientGas { left: U256::from(left), required: U256::from(required) });
        }
        Ok(())
    }

    fn address(&self, coin: Coin) -> Address {
        self.state.address(coin)
    }

    fn failed(&self, item: &Item, outcome: Outcome, reason: &Bytes) -> Log {
        let payment = item.paymentId.into();
        let verdict = rules::payout_failed(outcome as u8, reason, &self.state.contracts);
        verdict.map_or(Log::Other, |verdict| Log::Ours(ChainEventKind::PayoutFailed { payment, verdict }))
    }
}

/// The amounts that are not zero, in the order in which they are sent.
fn amounts(item: &Item) -> impl Iterator<Item = (Coin, U256)> + use<> {
    let both = [(Coin::Usdc, item.usdcAmount), (Coin::Sge, item.sgeAmount)];
    both.into_iter().filter(|(_, amount)| !amount.is_zero())
}

fn item_gas(item: &Item) -> u64 {
    let hybrid = !item.usdcAmount.is_zero() && !item.sgeAmount.is_zero();
    if hybrid { HYBRID_ITEM_GAS } else { ITEM_GAS }
}

fn cost(token: &Token, to: Address) -> u64 {
    TRANSFER_COST + if token.balance(to).is_zero() { NEW_BALANCE_GAS } else { 0 }
}

/// The event, as the relayer reads it; amounts that are no amounts of ours it cannot read.
fn paid(item: &Item) -> Log {
    let kind = || {
        Some(ChainEventKind::Paid {
            payment: item.paymentId.into(),
            referrer: Wallet::try_from(item.referrer).ok()?,
            child: Wallet::try_from(item.child).ok()?,
            usdc: Usdc::try_from(item.usdcAmount).ok()?,
            sge: Sge::try_from(item.sgeAmount).ok()?,
        })
    };
    kind().map_or(Log::Other, Log::Ours)
}
