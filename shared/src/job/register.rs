use serde::{Deserialize, Serialize};

use crate::ids::Wallet;

/// Record on-chain that `child` was brought by `referrer`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Register {
    pub child: Wallet,
    pub referrer: Wallet,
}

impl Register {
    pub const NAME: &'static str = "register";
}
