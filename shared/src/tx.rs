//! Transactions as the journal holds them: one intent per nonce, and every signed attempt to get it mined.

use alloy::primitives::{Address, Bytes, U256};
use serde::{Deserialize, Serialize};

use crate::ids::{BlockNumber, Epoch, FencingTerm, Hash32, JobId, Nonce};
use crate::tx_state::TxState;

/// What a nonce is spent on. Fixed for ever once journaled (G3).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Intent {
    pub kind: IntentKind,
    pub to: Address,
    pub data: Bytes,
    pub value: U256,
    pub jobs: Vec<Held>,
}

/// A job held by a nonce, at the claim epoch at which it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Held {
    pub job: JobId,
    pub epoch: Epoch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntentKind {
    Register,
    Payout,
    /// A self-transfer that closes a hole in the nonce sequence after a takeover.
    Filler,
}

impl IntentKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Payout => "payout",
            Self::Filler => "filler",
        }
    }
}

/// EIP-1559 fees in wei per gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fees {
    pub max_fee: u128,
    pub max_priority_fee: u128,
}

/// One signed transaction for a nonce. Journaled before it is broadcast (G4).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempt {
    pub hash: Hash32,
    /// The signed, EIP-2718 encoded transaction: what is broadcast, byte for byte.
    pub raw: Bytes,
    pub gas_limit: u64,
    // Not flattened: serde cannot read a u128 back out of a flattened field.
    pub fees: Fees,
    /// A self-transfer that replaces the intent; irrevocable once journaled.
    pub cancel: bool,
    /// The fencing term that signed it.
    pub term: FencingTerm,
    /// The chain head when it was signed: bumps count blocks from here.
    pub head: BlockNumber,
    /// Unix milliseconds of the Redis clock; filled in by the journal script.
    #[serde(default)]
    pub at: u64,
}

/// A nonce and all that was ever signed for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TxRecord {
    pub nonce: Nonce,
    pub intent: Intent,
    pub state: TxState,
    /// In the order they were journaled; never empty.
    pub attempts: Vec<Attempt>,
    pub inclusion: Option<Inclusion>,
    pub created_at: u64,
}

/// Where a transaction was seen in the canonical chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inclusion {
    pub hash: Hash32,
    pub block: BlockNumber,
}

impl TxRecord {
    /// The attempt that pays most: the one to rebroadcast and to bump from.
    pub fn latest(&self) -> Option<&Attempt> {
        self.attempts.last()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_read_back_as_it_was_written_whatever_its_fees() {
        let attempt = Attempt {
            hash: alloy::primitives::B256::ZERO.into(),
            raw: Bytes::from_static(&[2]),
            gas_limit: 21_000,
            fees: Fees { max_fee: u128::MAX, max_priority_fee: 1 },
            cancel: true,
            term: FencingTerm::new(u64::MAX),
            head: BlockNumber::new(1),
            at: 5,
        };
        let text = serde_json::to_string(&attempt).unwrap();
        assert_eq!(serde_json::from_str::<Attempt>(&text).unwrap(), attempt, "{text}");
    }
}
