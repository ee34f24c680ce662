//! What may happen to a chain, and random schedules of it.

use std::fmt;

use alloy::primitives::{Address, U256, address};
use kit::world::contracts::RELAYER;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use shared::ids::{Epoch, ExternalId, JobId, PaymentId, Source, Wallet};
use shared::job::{Payload, Payout, Register};
use shared::job_state::Stage;
use shared::money::{Commission, Sge, Usdc};
use shared::store::Brief;
use sim::chain::{Action, Coin, Contract, SGE, USDC, Window};
use worker::chain::contracts::{IAffiliatePayout, Payout as Item};

pub(super) const GWEI: u128 = 1_000_000_000;
/// An account of Anvil's that may be the treasury.
pub(super) const TREASURY: Address = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
const WALLETS: u8 = 14;
const PAYMENTS: u32 = 90;

/// What a transaction of the signer's account does.
#[derive(Clone)]
pub(super) enum Deed {
    /// Alone where there is one, in a batch otherwise.
    Register(Vec<Register>),
    Pay(Vec<Payout>),
    /// A batch even if there is one.
    PayBatch(Vec<Payout>),
    Cancel,
    /// Somebody else holds the key: money goes to a wallet.
    Drain(Wallet),
    /// Calldata that the contract does not know.
    Nonsense(Contract),
}

impl fmt::Debug for Deed {
    /// Wallets by the byte they repeat, amounts in whole tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |wallet: Wallet| format!("{:x}", wallet.address()[0]);
        let register = |item: &Register| format!("{}>{}", name(item.child), name(item.referrer));
        let pay = |item: &Payout| {
            let Commission { usdc, sge } = item.commission;
            let (usdc, sge) = (usdc.to_decimal(), sge.to_decimal());
            format!("{} {}>{} {usdc}+{sge}", item.external_id, name(item.child), name(item.referrer))
        };
        match self {
            Self::Register(items) => {
                write!(f, "Register{:?}", items.iter().map(register).collect::<Vec<_>>())
            }
            Self::Pay(items) => write!(f, "Pay{:?}", items.iter().map(pay).collect::<Vec<_>>()),
            Self::PayBatch(items) => write!(f, "PayBatch{:?}", items.iter().map(pay).collect::<Vec<_>>()),
            Self::Cancel => f.write_str("Cancel"),
            Self::Drain(wallet) => write!(f, "Drain({})", name(*wallet)),
            Self::Nonsense(contract) => write!(f, "Nonsense({contract:?})"),
        }
    }
}

/// Where a transaction's nonce is.
#[derive(Debug, Clone, Copy)]
pub(super) enum At {
    /// The next that the pool has not.
    Next,
    /// The next that is in no block.
    Latest,
    /// The last that is in a block.
    Consumed,
    /// So many beyond the next.
    Gap(u64),
}

/// Its gas limit.
#[derive(Debug, Clone, Copy)]
pub(super) enum Gas {
    /// The signer's.
    Table,
    /// Far too low to pay with, or to record with.
    Starving,
    BelowIntrinsic,
    AboveBlock,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Send {
        deed: Deed,
        at: At,
        gas: Gas,
        max_fee: u128,
        tip: u128,
    },
    /// With fees higher by as many per cent, of whatever is at the lowest nonce in the pool.
    Replace {
        deed: Deed,
        percent: u128,
    },
    /// The same bytes again: of the so-manieth transaction ever sent.
    Again(usize),
    /// A block after so many seconds.
    Mine {
        seconds: u64,
    },
    /// In a block of its own.
    Act(Action),
    /// All blocks that are that young are replaced by empty ones.
    Reorg {
        depth: u64,
    },
    /// The last transaction that waits is dropped.
    Drop,
    BaseFee(u128),
    /// The signer's balance from the next block on, in wei.
    Balance(u128),
}

pub(super) fn wallet(number: u8) -> Wallet {
    Wallet::try_from(Address::from([0xb0 + number; 20])).unwrap()
}

pub(super) fn wallets() -> Vec<Wallet> {
    (0..WALLETS).map(wallet).collect()
}

pub(super) fn payments() -> Vec<PaymentId> {
    (0..PAYMENTS).map(|n| PaymentId::derive(Source::PAYMENTS, &format!("pay_{n}"))).collect()
}

fn any_wallet(random: &mut StdRng) -> Wallet {
    wallet(random.random_range(0..WALLETS))
}

pub(super) fn register(random: &mut StdRng) -> Register {
    let child = any_wallet(random);
    // Mostly the same referrer for a child, so that later payouts find it.
    let usual = wallet((child.address()[0] - 0xb0 + 5) % WALLETS);
    let referrer = if random.random_bool(0.75) { usual } else { any_wallet(random) };
    Register { child, referrer }
}

pub(super) fn payout(random: &mut StdRng) -> Payout {
    let Register { child, referrer } = register(random);
    let id = format!("pay_{}", random.random_range(0..PAYMENTS));
    let usdc = *[0, 1, 25, 300, 900, 1_000, 1_001].choose(random).unwrap();
    let sge = *[0, 0, 0, 2, 4_000, 10_000, 10_001].choose(random).unwrap();
    let commission =
        Commission { usdc: Usdc::from_base_units(usdc * USDC), sge: Sge::from_base_units(sge * SGE) };
    Payout {
        payment_id: PaymentId::derive(Source::PAYMENTS, &id),
        source: Source::PAYMENTS.parse().unwrap(),
        external_id: id.parse::<ExternalId>().unwrap(),
        child,
        referrer,
        commission,
    }
}

fn several<T>(random: &mut StdRng, of: fn(&mut StdRng) -> T) -> Vec<T> {
    let count = *[1, 1, 2, 4, 9].choose(random).unwrap();
    (0..count).map(|_| of(random)).collect()
}

fn deed(random: &mut StdRng) -> Deed {
    match random.random_range(0..20) {
        0..=6 => Deed::Register(several(random, register)),
        7..=13 => Deed::Pay(several(random, payout)),
        14..=15 => Deed::PayBatch(several(random, payout)),
        16..=17 => Deed::Cancel,
        18 => Deed::Drain(any_wallet(random)),
        _ => Deed::Nonsense(any_contract(random)),
    }
}

fn any_contract(random: &mut StdRng) -> Contract {
    if random.random() { Contract::Registry } else { Contract::Payout }
}

/// Both, but the way back more often than the way there.
fn action(random: &mut StdRng) -> Action {
    let (coin, unit) = if random.random() { (Coin::Usdc, USDC) } else { (Coin::Sge, SGE) };
    let scale = if coin == Coin::Usdc { 1 } else { 10 };
    let amount = |tokens: u128| U256::from(tokens * scale * unit);
    let some = amount(*[0, 100, 999, 2_500, 40_000].choose(random).unwrap());
    match random.random_range(0..28) {
        0 => Action::Mint { coin, to: TREASURY, amount: some },
        1 => Action::Withdraw { coin, to: TREASURY, amount: some },
        2 => Action::Approve { coin, owner: TREASURY, amount: some },
        3 => Action::Approve { coin, owner: TREASURY, amount: U256::MAX },
        4 => Action::SetTreasury(TREASURY),
        5..=6 => Action::SetTreasury(Address::ZERO),
        7 => Action::SetCap { coin, cap: some },
        8..=9 => Action::SetCap { coin, cap: amount(1_000) },
        10 => Action::SetCap { coin, cap: U256::MAX },
        11 => Action::SetWindow { coin, limit: some, seconds: random.random_range(0..5_000) },
        12 => Action::SetWindow { coin, limit: Window::OFF, seconds: 900 },
        13..=14 => Action::SetWindow { coin, limit: amount(4_000), seconds: 600 },
        15 => Action::Pause(any_contract(random)),
        16..=17 => Action::Unpause(any_contract(random)),
        18 => Action::RevokeRole(any_contract(random), RELAYER),
        19..=20 => Action::GrantRole(any_contract(random), RELAYER),
        21 => Action::PauseUsdc,
        22..=23 => Action::UnpauseUsdc,
        24 => Action::SetBlocklisted { account: any_wallet(random).address(), blocked: true },
        25..=26 => Action::SetBlocklisted { account: any_wallet(random).address(), blocked: false },
        // Far below what a batch gives a transfer, between that and what a lone call has, or far above.
        _ => Action::SetBurnedGas {
            recipient: any_wallet(random).address(),
            gas: *[0, 0, 9_000, 130_000, 10_000_000].choose(random).unwrap(),
        },
    }
}

fn sending(random: &mut StdRng) -> Step {
    // Both fees of one are either equal to another's or over 10 % apart: Anvil takes any rise of the fee cap alone.
    let (max_fee, tip) = *[(30, 2), (30, 2), (40, 3), (3, 1)].choose(random).unwrap();
    Step::Send {
        deed: deed(random),
        at: *[At::Next, At::Next, At::Next, At::Next, At::Latest, At::Consumed, At::Gap(1), At::Gap(2)]
            .choose(random)
            .unwrap(),
        gas: match random.random_range(0..24) {
            0 => Gas::Starving,
            1 => Gas::BelowIntrinsic,
            2 => Gas::AboveBlock,
            _ => Gas::Table,
        },
        max_fee: max_fee * GWEI,
        tip: tip * GWEI,
    }
}

pub(super) fn step(random: &mut StdRng) -> Step {
    match random.random_range(0..100) {
        0..=37 => sending(random),
        38..=44 => Step::Replace { deed: deed(random), percent: *[0, 13, 13, 50].choose(random).unwrap() },
        45..=49 => Step::Again(random.random_range(0..1_000)),
        50..=73 => Step::Mine { seconds: *[1, 12, 12, 200, 599, 700].choose(random).unwrap() },
        74..=89 => Step::Act(action(random)),
        90..=92 => Step::Reorg { depth: random.random_range(1..=4) },
        93..=94 => Step::Drop,
        95..=97 => Step::BaseFee(*[1, 1, 5, 35].choose(random).unwrap() * GWEI),
        _ => Step::Balance(*[10_000 * SGE, 10_000 * SGE, SGE / 1_000].choose(random).unwrap()),
    }
}

/// An item as the signer reads it from the store.
pub(super) fn brief(payload: Payload) -> Brief {
    Brief {
        id: JobId::generate(),
        epoch: Epoch::new(1),
        payload,
        attempts: 0,
        pack_max: 0,
        refund_requested: false,
        created_at: 0,
        stage: Stage::Ready,
        nonce: None,
    }
}

pub(super) fn batch(items: &[Payout]) -> IAffiliatePayout::payAffiliateBatchCall {
    let item = |item: &Payout| Item {
        paymentId: item.payment_id.hash(),
        child: item.child.address(),
        referrer: item.referrer.address(),
        usdcAmount: item.commission.usdc.u256(),
        sgeAmount: item.commission.sge.u256(),
    };
    IAffiliatePayout::payAffiliateBatchCall { payouts: items.iter().map(item).collect() }
}
