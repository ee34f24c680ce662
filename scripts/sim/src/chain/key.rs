//! A signing key that costs nothing: its signature names the account instead of proving anything.

use std::hash::{DefaultHasher, Hash, Hasher};

use alloy::consensus::TxEip1559;
use alloy::primitives::{Address, Signature, U256};
use async_trait::async_trait;
use worker::keys::{KeyError, SignerKey};

/// In front of the account in a signature's `r`.
const MARK: [u8; 12] = *b"\0sim-account";

/// The key of a simulated account. Deterministic: the same transaction gets the same signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CheapKey(pub Address);

#[async_trait]
impl SignerKey for CheapKey {
    fn address(&self) -> Address {
        self.0
    }

    async fn sign_transaction(&self, tx: &TxEip1559) -> Result<Signature, KeyError> {
        let mut r = [0; 32];
        r[..12].copy_from_slice(&MARK);
        r[12..].copy_from_slice(self.0.as_slice());
        let mut digest = DefaultHasher::new();
        tx.hash(&mut digest);
        // Never zero, which is no signature.
        let s = U256::from(digest.finish()) + U256::from(1);
        Ok(Signature::new(U256::from_be_bytes(r), s, false))
    }

    fn has_signed(&self, _: &TxEip1559, signature: &Signature) -> bool {
        account_of(signature) == Some(self.0)
    }
}

/// Who made `signature`, if a [`CheapKey`] did.
pub(super) fn account_of(signature: &Signature) -> Option<Address> {
    let r: [u8; 32] = signature.r().to_be_bytes();
    r.starts_with(&MARK).then(|| Address::from_slice(&r[12..]))
}
