//! Gas, roughly: the figures of `contracts/gas.md`, so that limits which are far too low starve a call as they would on a
//! chain, and blocks fill up. No figure is exact.

use worker::signer::gas::calldata_floor;

use super::contracts::Halt;

/// A plain transfer.
const TRANSFER: u64 = 21_000;

/// What is charged before anything runs.
pub(super) fn intrinsic(data: &[u8]) -> u64 {
    let zeros = data.iter().filter(|byte| **byte == 0).count() as u64;
    TRANSFER + zeros * 4 + (data.len() as u64 - zeros) * 16
}

/// The least gas limit that a node takes.
pub(super) fn least(data: &[u8]) -> u64 {
    intrinsic(data).max(calldata_floor(data))
}

/// The gas that a call has left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meter(u64);

impl Meter {
    pub(super) fn new(gas: u64) -> Self {
        Self(gas)
    }

    pub(super) fn left(self) -> u64 {
        self.0
    }

    pub(super) fn spend(&mut self, gas: u64) -> Result<(), Halt> {
        match self.0.checked_sub(gas) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => {
                self.0 = 0;
                Err(Halt::OutOfGas)
            }
        }
    }
}
