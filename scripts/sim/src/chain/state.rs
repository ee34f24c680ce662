//! The state after a block, and what the operator of contracts and tokens may change in one.

use std::sync::Arc;

use alloy::primitives::{Address, U256};
use worker::chain::rules::Contracts;

use super::contracts::{Contract, PayoutContract, Registry};
use super::tokens::{Coin, Table, Token};

/// All that a block leaves behind. Cheap to copy: what is not changed is shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// Where they live.
    pub contracts: Contracts,
    pub registry: Registry,
    pub payout: PayoutContract,
    pub usdc: Token,
    pub sge: Token,
    pub accounts: Table<Address, Account>,
}

/// An account that sends transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Account {
    pub nonce: u64,
    /// Wei.
    pub balance: U256,
}

/// What the owner of contracts and tokens does in a block, and what happens to accounts behind the relayer's back. Without
/// effect where the contract would refuse it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Makes tokens; for the payout contract this is its float.
    Mint {
        coin: Coin,
        to: Address,
        amount: U256,
    },
    /// Takes tokens out of the payout contract.
    Withdraw {
        coin: Coin,
        to: Address,
        amount: U256,
    },
    /// Lets the payout contract take as much from `owner`.
    Approve {
        coin: Coin,
        owner: Address,
        amount: U256,
    },
    SetTreasury(Address),
    SetCap {
        coin: Coin,
        cap: U256,
    },
    SetWindow {
        coin: Coin,
        limit: U256,
        seconds: u64,
    },
    Pause(Contract),
    Unpause(Contract),
    GrantRole(Contract, Address),
    RevokeRole(Contract, Address),
    PauseUsdc,
    UnpauseUsdc,
    SetBlocklisted {
        account: Address,
        blocked: bool,
    },
    SetBurnedGas {
        recipient: Address,
        gas: u64,
    },
    /// No transaction: somebody sent gas money, or took it.
    SetBalance {
        account: Address,
        wei: U256,
    },
}

impl State {
    pub fn account(&self, address: Address) -> Account {
        self.accounts.get(&address).copied().unwrap_or_default()
    }

    pub(super) fn account_mut(&mut self, address: Address) -> &mut Account {
        Arc::make_mut(&mut self.accounts).entry(address).or_default()
    }

    pub fn token(&self, coin: Coin) -> &Token {
        match coin {
            Coin::Usdc => &self.usdc,
            Coin::Sge => &self.sge,
        }
    }

    pub fn token_mut(&mut self, coin: Coin) -> &mut Token {
        match coin {
            Coin::Usdc => &mut self.usdc,
            Coin::Sge => &mut self.sge,
        }
    }

    pub fn address(&self, coin: Coin) -> Address {
        match coin {
            Coin::Usdc => self.contracts.usdc,
            Coin::Sge => self.contracts.sge,
        }
    }

    pub fn contract_at(&self, address: Address) -> Option<Contract> {
        if address == self.contracts.registry {
            Some(Contract::Registry)
        } else if address == self.contracts.payout {
            Some(Contract::Payout)
        } else {
            None
        }
    }

    pub fn has_code(&self, address: Address) -> bool {
        let Contracts { registry, payout, usdc, sge } = self.contracts;
        [registry, payout, usdc, sge].contains(&address)
    }

    /// The payout contract's own balance, or the treasury's under its allowance.
    pub fn funds(&self, coin: Coin) -> U256 {
        let (token, treasury) = (self.token(coin), self.payout.treasury);
        if treasury.is_zero() {
            return token.balance(self.contracts.payout);
        }
        token.balance(treasury).min(token.allowance(treasury))
    }

    fn paused_mut(&mut self, contract: Contract) -> &mut bool {
        match contract {
            Contract::Registry => &mut self.registry.paused,
            Contract::Payout => &mut self.payout.paused,
        }
    }

    pub fn relayers(&self, contract: Contract) -> &Arc<std::collections::BTreeSet<Address>> {
        match contract {
            Contract::Registry => &self.registry.relayers,
            Contract::Payout => &self.payout.relayers,
        }
    }

    fn relayers_mut(&mut self, contract: Contract) -> &mut std::collections::BTreeSet<Address> {
        Arc::make_mut(match contract {
            Contract::Registry => &mut self.registry.relayers,
            Contract::Payout => &mut self.payout.relayers,
        })
    }

    /// Does it in a block of time `now`, and says how many logs it leaves.
    pub(super) fn act(&mut self, action: &Action, now: u64) -> u64 {
        match *action {
            Action::Mint { coin, to, amount } => return u64::from(self.mint(coin, to, amount)),
            Action::Withdraw { coin, to, amount } => {
                // One of the contract, one of the token.
                return if self.withdraw(coin, to, amount) { 2 } else { 0 };
            }
            Action::Approve { coin, owner, amount } => self.token_mut(coin).set_allowance(owner, amount),
            Action::SetTreasury(treasury) => self.payout.treasury = treasury,
            Action::SetCap { coin, cap } => self.payout.limits_mut(coin).cap = cap,
            Action::SetWindow { coin, limit, seconds } => {
                self.payout.limits_mut(coin).window.set(limit, seconds, now);
            }
            Action::Pause(contract) => {
                return u64::from(!std::mem::replace(self.paused_mut(contract), true));
            }
            Action::Unpause(contract) => {
                return u64::from(std::mem::replace(self.paused_mut(contract), false));
            }
            Action::GrantRole(contract, account) => {
                return u64::from(self.relayers_mut(contract).insert(account));
            }
            Action::RevokeRole(contract, account) => {
                return u64::from(self.relayers_mut(contract).remove(&account));
            }
            Action::PauseUsdc => return u64::from(!std::mem::replace(&mut self.usdc.paused, true)),
            Action::UnpauseUsdc => return u64::from(std::mem::replace(&mut self.usdc.paused, false)),
            Action::SetBlocklisted { account, blocked } => {
                let blocklist = Arc::make_mut(&mut self.usdc.blocklist);
                _ = if blocked { blocklist.insert(account) } else { blocklist.remove(&account) };
            }
            Action::SetBurnedGas { recipient, gas } => {
                Arc::make_mut(&mut self.usdc.burned_gas).insert(recipient, gas);
                return 0;
            }
            Action::SetBalance { account, wei } => {
                self.account_mut(account).balance = wei;
                return 0;
            }
        }
        1
    }

    fn mint(&mut self, coin: Coin, to: Address, amount: U256) -> bool {
        let token = self.token_mut(coin);
        if token.paused || token.blocklist.contains(&to) {
            return false;
        }
        let balance = token.balance(to);
        token.set_balance(to, balance.saturating_add(amount));
        true
    }

    fn withdraw(&mut self, coin: Coin, to: Address, amount: U256) -> bool {
        let from = self.contracts.payout;
        let token = self.token_mut(coin);
        let transfer = super::tokens::Transfer { from, to, amount, spender: None };
        if to.is_zero() || token.refusal(&transfer).is_some() {
            return false;
        }
        token.apply(&transfer);
        true
    }
}
