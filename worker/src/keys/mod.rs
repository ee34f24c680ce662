//! Signing keys, one file per backend. What is signed is decided elsewhere; here it only gets a signature.
//!
//! Invariants: no secret is printed, logged or part of an error, and key material is wiped when dropped. A signature
//! that does not recover to the key's own address never leaves this folder.

mod keystore;
mod raw;

use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::eips::eip2718::Encodable2718;
use alloy::eips::eip2930::AccessList;
use alloy::primitives::{Address, Bytes, Signature, TxKind, U256};
use async_trait::async_trait;
use shared::ids::{Hash32, Nonce};
use shared::tx::Fees;
use thiserror::Error;

pub use keystore::KeystoreKey;
pub use raw::RawKey;

/// Why there is no key or no signature. Never repeats a secret.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("the private key is not 0x followed by 64 hex digits of a valid secp256k1 key")]
    MalformedPrivateKey,
    #[error("cannot read the keystore {path}")]
    UnreadableKeystore {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the keystore {path} does not open: the password is wrong, or the file is damaged")]
    Locked { path: String },
    #[error("the signing backend failed: {0}")]
    Backend(String),
    #[error("the signature is not by {expected}")]
    WrongSigner { expected: Address },
}

/// A key that signs for one account. Asynchronous, because some keys live in another machine.
#[async_trait]
pub trait SignerKey: Send + Sync + 'static {
    fn address(&self) -> Address;
    async fn sign_transaction(&self, tx: &TxEip1559) -> Result<Signature, KeyError>;
    /// Whether `signature` is by this key's account. Only a key of an account on no real chain may decide otherwise.
    fn has_signed(&self, tx: &TxEip1559, signature: &Signature) -> bool {
        signature.recover_address_from_prehash(&tx.signature_hash()).ok() == Some(self.address())
    }
}

/// A transaction to sign: every field explicit, nothing is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsigned {
    pub chain_id: u64,
    pub nonce: Nonce,
    pub to: Address,
    pub value: U256,
    pub data: Bytes,
    pub gas_limit: u64,
    pub fees: Fees,
}

/// EIP-2718 bytes, ready to broadcast, and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTransaction {
    pub raw: Bytes,
    pub hash: Hash32,
}

/// Signs. The same input gives the same bytes with a local key (RFC 6979).
pub async fn sign_eip1559(key: &dyn SignerKey, unsigned: Unsigned) -> Result<SignedTransaction, KeyError> {
    let tx = TxEip1559 {
        chain_id: unsigned.chain_id,
        nonce: unsigned.nonce.get(),
        gas_limit: unsigned.gas_limit,
        max_fee_per_gas: unsigned.fees.max_fee,
        max_priority_fee_per_gas: unsigned.fees.max_priority_fee,
        to: TxKind::Call(unsigned.to),
        value: unsigned.value,
        access_list: AccessList::default(),
        input: unsigned.data,
    };
    let signature = key.sign_transaction(&tx).await?;
    // A remote backend may answer with another key's signature, or with a wrong parity.
    if !key.has_signed(&tx, &signature) {
        return Err(KeyError::WrongSigner { expected: key.address() });
    }
    let signed = tx.into_signed(signature);
    Ok(SignedTransaction { raw: signed.encoded_2718().into(), hash: (*signed.hash()).into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::TxEnvelope;
    use alloy::consensus::transaction::Transaction;
    use alloy::eips::eip2718::Decodable2718;
    use shared::env::Secret;

    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    fn unsigned() -> Unsigned {
        Unsigned {
            chain_id: 31337,
            nonce: Nonce::new(7),
            to: Address::with_last_byte(9),
            value: U256::ZERO,
            data: Bytes::from_static(&[1, 2, 3]),
            gas_limit: 21_000,
            fees: Fees { max_fee: 30, max_priority_fee: 2 },
        }
    }

    #[tokio::test]
    async fn the_bytes_carry_what_was_asked_for_and_the_signer() {
        let key = RawKey::new(&Secret::new(KEY)).unwrap();
        let signed = sign_eip1559(&key, unsigned()).await.unwrap();
        let decoded = TxEnvelope::decode_2718(&mut signed.raw.as_ref()).unwrap();
        let inner = decoded.as_eip1559().unwrap();
        let signer = inner.signature().recover_address_from_prehash(&inner.signature_hash());
        assert_eq!(signer.unwrap(), key.address());
        assert_eq!(Hash32::from(*decoded.tx_hash()), signed.hash);
        assert_eq!((decoded.nonce(), decoded.chain_id(), decoded.gas_limit()), (7, Some(31337), 21_000));
        assert_eq!((decoded.max_fee_per_gas(), decoded.max_priority_fee_per_gas()), (30, Some(2)));
    }

    #[tokio::test]
    async fn signing_twice_gives_the_same_bytes() {
        let key = RawKey::new(&Secret::new(KEY)).unwrap();
        assert_eq!(
            sign_eip1559(&key, unsigned()).await.unwrap(),
            sign_eip1559(&key, unsigned()).await.unwrap()
        );
    }

    struct Impostor(RawKey);

    #[async_trait]
    impl SignerKey for Impostor {
        fn address(&self) -> Address {
            Address::with_last_byte(1)
        }

        async fn sign_transaction(&self, tx: &TxEip1559) -> Result<Signature, KeyError> {
            self.0.sign_transaction(tx).await
        }
    }

    #[tokio::test]
    async fn a_signature_by_another_key_is_refused() {
        let impostor = Impostor(RawKey::new(&Secret::new(KEY)).unwrap());
        assert!(matches!(sign_eip1559(&impostor, unsigned()).await, Err(KeyError::WrongSigner { .. })));
    }
}
