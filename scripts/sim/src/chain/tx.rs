//! Signed transactions: raw bytes in, what the chain needs of them out.

use std::hash::{Hash, Hasher};

use alloy::consensus::transaction::SignerRecoverable;
use alloy::consensus::{Transaction, TxEnvelope};
use alloy::eips::eip2718::Decodable2718;
use alloy::primitives::{Address, Bytes, TxKind, U256};
use shared::ids::Hash32;

use super::key;

/// How the sender of bytes is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recovery {
    /// From the signature, as a node does it.
    Real,
    /// From a signature of a [`super::CheapKey`], which names its account.
    Cheap,
    /// Everybody signs for this account: nothing is checked.
    Always(Address),
}

/// A decoded transaction. Two with the same hash are the same.
#[derive(Debug, Clone)]
pub struct Tx {
    pub hash: Hash32,
    pub from: Address,
    pub chain_id: u64,
    pub nonce: u64,
    /// `None`: it creates a contract.
    pub to: Option<Address>,
    pub value: U256,
    pub data: Bytes,
    pub gas_limit: u64,
    /// Wei per gas.
    pub max_fee: u128,
    pub max_priority_fee: u128,
    /// The length of the signed bytes.
    pub bytes: usize,
}

impl PartialEq for Tx {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Tx {}

impl Hash for Tx {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

impl Tx {
    /// Reads what a node reads out of `raw`; an error says in its words why it would not.
    pub(super) fn decode(raw: &Bytes, recovery: Recovery) -> Result<Self, &'static str> {
        let mut rest = raw.as_ref();
        let envelope = TxEnvelope::decode_2718(&mut rest).map_err(|_| "rlp: malformed transaction")?;
        if !rest.is_empty() {
            return Err("rlp: trailing bytes");
        }
        let tx = envelope.as_eip1559().ok_or("transaction type not supported")?;
        let from = match recovery {
            Recovery::Real => envelope.recover_signer().map_err(|_| "invalid sender")?,
            Recovery::Cheap => key::account_of(tx.signature()).ok_or("invalid sender")?,
            Recovery::Always(account) => account,
        };
        let hash = Hash32::from(*envelope.tx_hash());
        let tx = tx.tx();
        Ok(Self {
            hash,
            from,
            chain_id: tx.chain_id,
            nonce: tx.nonce,
            to: match tx.to {
                TxKind::Call(to) => Some(to),
                TxKind::Create => None,
            },
            value: tx.value(),
            data: tx.input.clone(),
            gas_limit: tx.gas_limit,
            max_fee: tx.max_fee_per_gas,
            max_priority_fee: tx.max_priority_fee_per_gas,
            bytes: raw.len(),
        })
    }

    /// The most that it may cost, in wei.
    pub(super) fn dearest(&self) -> U256 {
        U256::from(self.gas_limit) * U256::from(self.max_fee) + self.value
    }

    /// Wei per gas above `base_fee`, where it pays that.
    pub(super) fn tip(&self, base_fee: u128) -> Option<u128> {
        self.max_fee.checked_sub(base_fee).map(|room| room.min(self.max_priority_fee))
    }
}
