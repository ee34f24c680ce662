//! A chain in memory: blocks, a pool, accounts, and what the two contracts do.
//!
//! [`SimChain`] is one canonical chain as plain data. [`View`] is how the relayer's endpoints see it: late, forgetful, or
//! wrong. [`Asking`] is the production trait `Chain` over a [`Port`], which turns every method into a [`Question`]; whoever
//! runs a simulation answers it by [`SimChain::ask`] and [`SimChain::broadcast`]. What reverts, limits and several answers
//! come to is decided by the relayer's own rules. `scripts/differential` holds all of it against Anvil and the real contracts.

mod answers;
mod ask;
mod block;
mod contracts;
mod gas;
mod genesis;
mod key;
mod pool;
mod sight;
mod sim;
mod simulate;
mod state;
mod tokens;
mod tx;
mod view;

pub use ask::{Answer, Asking, Port, Question};
pub use block::{Block, Included};
pub use contracts::{Contract, Limits, PayoutContract, Registry, Window};
pub use genesis::{CHAIN_ID, Genesis, SGE, USDC, deployed};
pub use key::CheapKey;
pub use pool::{Pool, Rules};
pub use sim::{Fate, SimChain};
pub use state::{Account, Action, State};
pub use tokens::{Coin, Table, Token};
pub use tx::{Recovery, Tx};
pub use view::{Eye, Fault, Mood, PoolSight, Records, TIP, View};
