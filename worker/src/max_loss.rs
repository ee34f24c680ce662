//! What a stolen relayer key can spend at the worst, from the limits that the contract enforces.

use std::fmt;

use shared::money::{Sge, Usdc};

use crate::chain::{Conditions, TokenRoom};

/// The bound per token, in base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxLoss {
    /// Until somebody reacts within the window: what the window has left, or the funds where they are less.
    pub usdc_now: Usdc,
    pub sge_now: Sge,
    /// In every further window, if nobody reacts.
    pub usdc_per_window: Usdc,
    pub sge_per_window: Sge,
    pub usdc_window_seconds: u64,
    pub sge_window_seconds: u64,
    pub gas_wei: u128,
}

impl From<&Conditions> for MaxLoss {
    fn from(conditions: &Conditions) -> Self {
        let per_window = |limit: u128, funds: u128| limit.min(funds);
        let (usdc, sge) = (&conditions.usdc, &conditions.sge);
        Self {
            usdc_now: now(usdc),
            sge_now: now(sge),
            usdc_per_window: Usdc::from_base_units(per_window(
                usdc.window_limit.base_units(),
                usdc.funds.base_units(),
            )),
            sge_per_window: Sge::from_base_units(per_window(
                sge.window_limit.base_units(),
                sge.funds.base_units(),
            )),
            usdc_window_seconds: usdc.window_seconds,
            sge_window_seconds: sge.window_seconds,
            gas_wei: conditions.signer_balance,
        }
    }
}

fn now<T: Copy + Ord>(room: &TokenRoom<T>) -> T {
    room.funds.min(room.window_left)
}

impl fmt::Display for MaxLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "A stolen relayer key can spend at most, and only to recorded referrers:")?;
        writeln!(
            f,
            "  USDC {:>24} now, {:>24} per further {} s",
            self.usdc_now.to_decimal(),
            self.usdc_per_window.to_decimal(),
            self.usdc_window_seconds
        )?;
        writeln!(
            f,
            "  SGE  {:>24} now, {:>24} per further {} s",
            self.sge_now.to_decimal(),
            self.sge_per_window.to_decimal(),
            self.sge_window_seconds
        )?;
        writeln!(f, "  gas  {:>24} wei", self.gas_wei)?;
        write!(f, "Stop it at once with PAUSER_ROLE, tighten with LIMITER_ROLE, then revoke RELAYER_ROLE.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_the_window_or_the_float_whichever_is_less() {
        let room = |funds, left| TokenRoom {
            funds: Usdc::from_base_units(funds),
            window_left: Usdc::from_base_units(left),
            cap: Usdc::ZERO,
            window_limit: Usdc::from_base_units(1_000),
            window_seconds: 60,
        };
        assert_eq!(now(&room(500, 900)).base_units(), 500);
        assert_eq!(now(&room(5_000, 900)).base_units(), 900);
    }
}
