//! What a chain begins with.

use std::collections::BTreeSet;
use std::sync::Arc;

use alloy::primitives::{Address, U256, address};
use worker::chain::rules::Contracts;

use super::contracts::{Limits, PayoutContract, Registry, Window};
use super::pool::Rules;
use super::state::State;
use super::tokens::Token;
use super::tx::Recovery;

/// One USDC in base units.
pub const USDC: u128 = 1_000_000;
/// One SGE in base units.
pub const SGE: u128 = 1_000_000_000_000_000_000;
const GWEI: u128 = 1_000_000_000;
/// The chain id of development chains.
pub const CHAIN_ID: u64 = 31_337;

/// The first block, and how nodes behave.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Genesis {
    pub chain_id: u64,
    /// The signer: who simulated calls come from.
    pub relayer: Address,
    pub rules: Rules,
    pub recovery: Recovery,
    pub number: u64,
    /// Unix seconds.
    pub timestamp: u64,
    pub gas_limit: u64,
    /// Wei per gas.
    pub base_fee: u128,
    pub state: State,
}

impl Genesis {
    /// Contracts as `scripts/deploy` makes them, with a million of each token, and a relayer with 10,000 ETH.
    pub fn development(relayer: Address) -> Self {
        let contracts = Contracts {
            registry: address!("00000000000000000000000000000000000000a1"),
            payout: address!("00000000000000000000000000000000000000a2"),
            usdc: address!("00000000000000000000000000000000000000a3"),
            sge: address!("00000000000000000000000000000000000000a4"),
        };
        let mut state = deployed(contracts, relayer);
        state.usdc.set_balance(contracts.payout, U256::from(1_000_000 * USDC));
        state.sge.set_balance(contracts.payout, U256::from(1_000_000 * SGE));
        state.account_mut(relayer).balance = U256::from(10_000 * SGE);
        Self {
            chain_id: CHAIN_ID,
            relayer,
            rules: Rules::GETH,
            recovery: Recovery::Cheap,
            number: 0,
            timestamp: 1_750_000_000,
            gas_limit: 30_000_000,
            base_fee: GWEI,
            state,
        }
    }
}

/// The state after `scripts/deploy`, with its defaults: nobody has anything.
pub fn deployed(contracts: Contracts, relayer: Address) -> State {
    let relayers = Arc::new(BTreeSet::from([relayer]));
    let limits = |unit: u128, cap: u128| Limits {
        cap: U256::from(cap * unit),
        window: Window::new(U256::from(10 * cap * unit), 86_400),
    };
    State {
        contracts,
        registry: Registry { relayers: relayers.clone(), ..Registry::default() },
        payout: PayoutContract {
            paid_at: Arc::default(),
            pays_again: false,
            paused: false,
            treasury: Address::ZERO,
            usdc: limits(USDC, 1_000),
            sge: limits(SGE, 10_000),
            relayers,
        },
        usdc: Token::default(),
        sge: Token::default(),
        accounts: Arc::default(),
    }
}
