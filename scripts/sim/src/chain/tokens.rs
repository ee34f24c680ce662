//! USDC and SGE as `contracts/test-tokens` have them: balances, the payout contract's allowances, blocklist and pause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolError;

use self::errors::Refusal;

mod errors {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    alloy::sol! {
        interface Refusal {
            error Blocklisted(address account);
            error EnforcedPause();
            error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
            error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
        }
    }
}

/// A map that is copied when it is changed while somebody else holds it.
pub type Table<K, V> = Arc<BTreeMap<K, V>>;

/// Which of the two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coin {
    Usdc,
    Sge,
}

/// One token. SGE has neither blocklist nor pause: they stay empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Token {
    pub balances: Table<Address, U256>,
    /// By owner: what the payout contract may take.
    pub allowances: Table<Address, U256>,
    pub paused: bool,
    pub blocklist: Arc<BTreeSet<Address>>,
    /// By recipient: what a transfer burns besides its own work.
    pub burned_gas: Table<Address, u64>,
}

/// A transfer that the payout contract asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    pub(super) from: Address,
    pub(super) to: Address,
    pub(super) amount: U256,
    /// The payout contract, where it takes from somebody else under an allowance.
    pub(super) spender: Option<Address>,
}

impl Token {
    pub fn balance(&self, account: Address) -> U256 {
        self.balances.get(&account).copied().unwrap_or_default()
    }

    pub fn allowance(&self, owner: Address) -> U256 {
        self.allowances.get(&owner).copied().unwrap_or_default()
    }

    pub(super) fn burns(&self, recipient: Address) -> u64 {
        self.burned_gas.get(&recipient).copied().unwrap_or_default()
    }

    pub fn set_balance(&mut self, account: Address, amount: U256) {
        Arc::make_mut(&mut self.balances).insert(account, amount);
    }

    pub fn set_allowance(&mut self, owner: Address, amount: U256) {
        Arc::make_mut(&mut self.allowances).insert(owner, amount);
    }

    /// What the token reverts with, in its own order of checks.
    pub(super) fn refusal(&self, transfer: &Transfer) -> Option<Bytes> {
        let Transfer { from, to, amount, spender } = *transfer;
        if let Some(spender) = spender {
            let allowance = self.allowance(from);
            if allowance < amount {
                let needed = amount;
                return data(&Refusal::ERC20InsufficientAllowance { spender, allowance, needed });
            }
        }
        if self.paused {
            return data(&Refusal::EnforcedPause {});
        }
        if let Some(account) = [from, to].into_iter().find(|account| self.blocklist.contains(account)) {
            return data(&Refusal::Blocklisted { account });
        }
        let balance = self.balance(from);
        if balance < amount {
            return data(&Refusal::ERC20InsufficientBalance { sender: from, balance, needed: amount });
        }
        None
    }

    /// Moves what [`Self::refusal`] does not refuse.
    pub(super) fn apply(&mut self, transfer: &Transfer) {
        let Transfer { from, to, amount, spender } = *transfer;
        if spender.is_some() {
            let allowance = self.allowance(from);
            // An allowance without end is not used up.
            if allowance != U256::MAX {
                self.set_allowance(from, allowance.saturating_sub(amount));
            }
        }
        let balances = Arc::make_mut(&mut self.balances);
        let payer = balances.entry(from).or_default();
        *payer = payer.saturating_sub(amount);
        let payee = balances.entry(to).or_default();
        *payee = payee.saturating_add(amount);
    }
}

fn data(error: &impl SolError) -> Option<Bytes> {
    Some(error.abi_encode().into())
}
