//! The gates a relayer closes and opens: their names in Redis, and when a closed one may open again.

use shared::job::{Failure, FailureClass};
pub use shared::store::{BASE_FEE, GAS_MONEY, RECONCILE};

use crate::chain::{Conditions, Gate};

/// No node answers. Closed by whoever notices, opened by whoever reads the chain again.
pub const CHAIN: &str = "lane:chain";

impl Gate {
    pub const ALL: [Self; 8] = [
        Self::RegistryPaused,
        Self::PayoutPaused,
        Self::UsdcFloat,
        Self::SgeFloat,
        Self::UsdcWindow,
        Self::SgeWindow,
        Self::UsdcPaused,
        Self::SgePaused,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::RegistryPaused => "lane:registry_paused",
            Self::PayoutPaused => "lane:payout_paused",
            Self::UsdcFloat => "token:usdc:float",
            Self::SgeFloat => "token:sge:float",
            Self::UsdcWindow => "token:usdc:window",
            Self::SgeWindow => "token:sge:window",
            Self::UsdcPaused => "token:usdc:paused",
            Self::SgePaused => "token:sge:paused",
        }
    }

    /// What the condition amounts to right now; more is better. A gate opens when this has grown since it closed.
    pub fn level(self, conditions: &Conditions) -> u128 {
        match self {
            Self::RegistryPaused => u128::from(!conditions.registry_paused),
            Self::PayoutPaused => u128::from(!conditions.payout_paused),
            Self::UsdcFloat => conditions.usdc.funds.base_units(),
            Self::SgeFloat => conditions.sge.funds.base_units(),
            Self::UsdcWindow => conditions.usdc.window_left.base_units(),
            Self::SgeWindow => conditions.sge.window_left.base_units(),
            // The contracts do not tell whether a token is paused; only trying does.
            Self::UsdcPaused | Self::SgePaused => 0,
        }
    }
}

/// Why a job is parked under `gate`, in the form stored with it.
pub fn parked_for(reason: impl Into<String>) -> Failure {
    Failure::new(FailureClass::GateClosed, reason)
}

/// How often a gate whose condition cannot be read, or has not grown, is opened for a try. Where it closes again at once, it
/// is shown as closed since it closed first (`gate_close.lua`).
pub const TRY_EVERY_BLOCKS: u64 = 30;

/// Whether a gate that closed at `level` and `block` may open now.
pub fn may_open(gate: Gate, closed: (u128, u64), now: &Conditions, block: u64) -> bool {
    let (level, since) = closed;
    match gate {
        Gate::RegistryPaused | Gate::PayoutPaused => gate.level(now) == 1,
        // A cap of zero closes a token whatever its window has left.
        Gate::UsdcWindow if now.usdc.cap.is_zero() => false,
        Gate::SgeWindow if now.sge.cap.is_zero() => false,
        _ => gate.level(now) > level || block >= since + TRY_EVERY_BLOCKS,
    }
}
