//! What the two contracts do, step by step as in `contracts/src`. Calldata, reverts and outcomes are the real ones; gas is
//! rough.

mod payout;
mod registry;
mod window;

use std::collections::BTreeSet;

use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::sol_types::{SolCall, SolError};
use worker::chain::ChainEventKind;
use worker::chain::contracts::{PayoutOutcome, RegistrationOutcome};

use self::errors::Inherited;
use super::gas::Meter;
use super::state::State;

pub use payout::PayoutContract;
pub use registry::Registry;
pub use window::{Limits, Window};

mod errors {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    alloy::sol! {
        interface Inherited {
            error AccessControlUnauthorizedAccount(address account, bytes32 neededRole);
            error EnforcedPause();
        }
    }
}

/// One log. Only those count that the relayer reads; the others take a place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Log {
    Ours(ChainEventKind),
    Other,
}

/// Why a call was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Halt {
    Revert(Bytes),
    OutOfGas,
}

impl Halt {
    /// A revert without data.
    pub(super) fn bare() -> Self {
        Self::Revert(Bytes::new())
    }

    fn with(error: &impl SolError) -> Self {
        Self::Revert(error.abi_encode().into())
    }
}

fn revert<T>(error: &impl SolError) -> Result<T, Halt> {
    Err(Halt::with(error))
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Returned {
    Nothing,
    Payouts(Vec<PayoutOutcome>),
    Registrations(Vec<RegistrationOutcome>),
}

/// A message to a contract.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) from: Address,
    pub(super) value: U256,
    pub(super) data: &'a [u8],
    /// The block it runs in.
    pub(super) number: u64,
    pub(super) now: u64,
}

impl Call<'_> {
    fn selector(&self) -> Option<[u8; 4]> {
        self.data.first_chunk().copied()
    }

    fn decoded<C: SolCall>(&self) -> Result<C, Halt> {
        C::abi_decode(self.data).map_err(|_| Halt::bare())
    }
}

/// Which of the two contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Contract {
    Registry,
    Payout,
}

/// Runs `call` on `state`, which is half changed where it fails.
pub(super) fn run(
    state: &mut State,
    contract: Contract,
    call: &Call<'_>,
    meter: &mut Meter,
) -> Result<(Returned, Vec<Log>), Halt> {
    if !call.value.is_zero() {
        return Err(Halt::bare());
    }
    match contract {
        Contract::Registry => state.registry.call(call, meter),
        Contract::Payout => payout::call(state, call, meter),
    }
}

/// `onlyRole(RELAYER_ROLE)` and `whenNotPaused`.
fn check_caller(relayers: &BTreeSet<Address>, paused: bool, from: Address) -> Result<(), Halt> {
    if !relayers.contains(&from) {
        let needed_role = keccak256("RELAYER_ROLE");
        return revert(&Inherited::AccessControlUnauthorizedAccount {
            account: from,
            neededRole: needed_role,
        });
    }
    if paused {
        return revert(&Inherited::EnforcedPause {});
    }
    Ok(())
}
