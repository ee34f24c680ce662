//! The pool of transactions that wait for a block: admission and replacement as nodes have them.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy::primitives::{Address, U256};
use shared::ids::Hash32;
use worker::chain::SendOutcome;
use worker::signer::gas::{MAX_TRANSACTION_BYTES, MAX_TRANSACTION_GAS};

use super::gas;
use super::state::Account;
use super::tx::Tx;

/// Where nodes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rules {
    /// How many per cent both fees must rise for a replacement.
    pub bump_percent: u128,
    /// The least tip, in wei per gas.
    pub min_tip: u128,
    /// Whether a fee cap below the base fee is refused.
    pub refuses_below_base_fee: bool,
    /// Whether all that an account has waiting must be covered by its balance.
    pub counts_all_costs: bool,
    /// Transactions of one account.
    pub slots: usize,
    /// Whether a nonce that is too low is noticed before anything else that is wrong.
    pub looks_at_nonce_first: bool,
    /// Whether one that a block cannot take is thrown away, instead of waiting for another block.
    pub drops_what_does_not_fit: bool,
}

impl Rules {
    /// As geth has them.
    pub const GETH: Self = Self {
        bump_percent: 10,
        min_tip: 1,
        refuses_below_base_fee: false,
        counts_all_costs: true,
        slots: 80,
        looks_at_nonce_first: false,
        drops_what_does_not_fit: false,
    };

    /// As Anvil has them, but for the bump, which there is any.
    pub const ANVIL: Self = Self {
        bump_percent: 10,
        min_tip: 0,
        refuses_below_base_fee: true,
        counts_all_costs: false,
        slots: usize::MAX,
        looks_at_nonce_first: true,
        drops_what_does_not_fit: true,
    };
}

/// The transactions at one nonce of one account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Slot {
    /// What the pool would put into a block.
    current: Option<Arc<Tx>>,
    /// What it replaced or forgot, and others may still hold.
    elsewhere: Vec<Arc<Tx>>,
}

/// What waits, by account and nonce.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Pool {
    slots: Arc<BTreeMap<(Address, u64), Slot>>,
}

/// What a node looks at when it is handed a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gatekeeper {
    pub(super) rules: Rules,
    pub(super) chain_id: u64,
    pub(super) block_gas: u64,
    /// Of the next block.
    pub(super) base_fee: u128,
    pub(super) account: Account,
}

impl Pool {
    fn slot(&self, account: Address, nonce: u64) -> Option<&Slot> {
        self.slots.get(&(account, nonce))
    }

    fn slot_mut(&mut self, tx: &Tx) -> &mut Slot {
        Arc::make_mut(&mut self.slots).entry((tx.from, tx.nonce)).or_default()
    }

    fn of(&self, account: Address) -> impl Iterator<Item = &Arc<Tx>> {
        let range = (account, 0)..=(account, u64::MAX);
        self.slots.range(range).filter_map(|(_, slot)| slot.current.as_ref())
    }

    /// What would go into a block, by account and nonce.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<Tx>> {
        self.slots.values().filter_map(|slot| slot.current.as_ref())
    }

    /// Everything that anybody might still put into a block.
    pub fn known(&self) -> impl Iterator<Item = &Arc<Tx>> {
        self.slots.values().flat_map(|slot| slot.elsewhere.iter().chain(&slot.current))
    }

    pub(super) fn find(&self, hash: Hash32) -> Option<&Arc<Tx>> {
        self.known().find(|tx| tx.hash == hash)
    }

    pub(super) fn at(&self, account: Address, nonce: u64) -> Option<&Arc<Tx>> {
        self.slot(account, nonce)?.current.as_ref()
    }

    /// The account's next nonce, from `latest` on without a gap.
    pub fn pending(&self, account: Address, latest: u64) -> u64 {
        (latest..).find(|nonce| self.at(account, *nonce).is_none()).unwrap_or(latest)
    }

    /// What a node answers; it keeps the transaction where that is [`SendOutcome::Accepted`].
    pub(super) fn admit(&self, tx: &Tx, keeper: &Gatekeeper) -> SendOutcome {
        if self.at(tx.from, tx.nonce).is_some_and(|known| known.hash == tx.hash) {
            return SendOutcome::AlreadyKnown;
        }
        if tx.chain_id != keeper.chain_id {
            return SendOutcome::Refused("invalid chain id for signer".to_owned());
        }
        let stale = (tx.nonce < keeper.account.nonce).then_some(SendOutcome::NonceTooLow);
        let (first, second) = match keeper.rules.looks_at_nonce_first {
            true => (stale, by_itself(tx, keeper)),
            false => (by_itself(tx, keeper), stale),
        };
        if let Some(refusal) = first.or(second) {
            return refusal;
        }
        if tx.dearest() > keeper.account.balance {
            return SendOutcome::InsufficientFunds;
        }
        let replaced = self.at(tx.from, tx.nonce);
        if keeper.rules.counts_all_costs {
            let others = self.of(tx.from).filter(|other| other.nonce != tx.nonce);
            let all = others.map(|other| other.dearest()).fold(tx.dearest(), U256::saturating_add);
            if all > keeper.account.balance {
                return SendOutcome::InsufficientFunds;
            }
        }
        match replaced {
            Some(replaced) if !outbids(tx, replaced, keeper.rules.bump_percent) => {
                SendOutcome::ReplacementUnderpriced
            }
            None if self.of(tx.from).count() >= keeper.rules.slots => SendOutcome::PoolFull,
            _ => SendOutcome::Accepted,
        }
    }

    pub(super) fn insert(&mut self, tx: Arc<Tx>) {
        let slot = self.slot_mut(&tx);
        slot.elsewhere.retain(|known| known.hash != tx.hash);
        slot.elsewhere.extend(slot.current.replace(tx));
    }

    /// Out of this pool, but others may hold it.
    pub(super) fn hide(&mut self, tx: Arc<Tx>) {
        let slot = self.slot_mut(&tx);
        if slot.current.as_ref().is_some_and(|current| current.hash == tx.hash) {
            slot.current = None;
        }
        if !slot.elsewhere.contains(&tx) {
            slot.elsewhere.push(tx);
        }
    }

    /// Nobody holds it any more.
    pub(super) fn forget(&mut self, hash: Hash32) -> bool {
        let Some(tx) = self.find(hash).cloned() else { return false };
        let slot = self.slot_mut(&tx);
        slot.elsewhere.retain(|known| known.hash != hash);
        if slot.current.as_ref().is_some_and(|current| current.hash == hash) {
            slot.current = None;
        }
        if slot.current.is_none() && slot.elsewhere.is_empty() {
            Arc::make_mut(&mut self.slots).remove(&(tx.from, tx.nonce));
        }
        true
    }

    /// Without what is below the accounts' nonces.
    pub(super) fn prune(&mut self, nonce_of: impl Fn(Address) -> u64) {
        if self.slots.keys().any(|(account, nonce)| *nonce < nonce_of(*account)) {
            Arc::make_mut(&mut self.slots).retain(|(account, nonce), _| *nonce >= nonce_of(*account));
        }
    }
}

/// What can be said about a transaction without the state.
fn by_itself(tx: &Tx, keeper: &Gatekeeper) -> Option<SendOutcome> {
    if tx.bytes > MAX_TRANSACTION_BYTES || tx.gas_limit > keeper.block_gas.min(MAX_TRANSACTION_GAS) {
        return Some(SendOutcome::TooLarge);
    }
    if tx.max_priority_fee > tx.max_fee {
        return Some(SendOutcome::Refused("max priority fee per gas higher than max fee per gas".to_owned()));
    }
    if tx.gas_limit < gas::least(&tx.data) {
        return Some(SendOutcome::GasTooLow);
    }
    let below_base = keeper.rules.refuses_below_base_fee && tx.max_fee < keeper.base_fee;
    (tx.max_priority_fee < keeper.rules.min_tip || below_base).then_some(SendOutcome::FeeTooLow)
}

/// Whether both fees are higher by at least `percent`, and by something.
pub(super) fn outbids(tx: &Tx, replaced: &Tx, percent: u128) -> bool {
    let over = |new: u128, old: u128| new > old && new * 100 >= old * (100 + percent);
    over(tx.max_fee, replaced.max_fee) && over(tx.max_priority_fee, replaced.max_priority_fee)
}
