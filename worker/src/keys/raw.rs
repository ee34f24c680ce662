//! A private key given as text: for development. Whoever reads the environment or the process's memory has it.

use std::fmt;

use alloy::consensus::{SignableTransaction, TxEip1559};
use alloy::primitives::{Address, B256, Signature, hex};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use shared::env::Secret;
use zeroize::Zeroize;

use super::{KeyError, SignerKey};

/// Wiped when dropped, by the signing key inside.
#[derive(Clone)]
pub struct RawKey(PrivateKeySigner);

impl RawKey {
    /// Reads `0x` and 64 hex digits; the prefix may be missing.
    pub fn new(text: &Secret) -> Result<Self, KeyError> {
        let digits = text.expose().trim();
        let mut bytes = B256::ZERO;
        let decoded = hex::decode_to_slice(digits.strip_prefix("0x").unwrap_or(digits), bytes.as_mut_slice());
        let signer = decoded.map_err(drop).and_then(|()| PrivateKeySigner::from_bytes(&bytes).map_err(drop));
        bytes.0.zeroize();
        signer.map(Self).map_err(|()| KeyError::MalformedPrivateKey)
    }

    pub(super) fn from_signer(signer: PrivateKeySigner) -> Self {
        Self(signer)
    }
}

impl fmt::Debug for RawKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawKey({})", self.address())
    }
}

#[async_trait]
impl SignerKey for RawKey {
    fn address(&self) -> Address {
        self.0.address()
    }

    async fn sign_transaction(&self, tx: &TxEip1559) -> Result<Signature, KeyError> {
        self.0.sign_hash_sync(&tx.signature_hash()).map_err(|error| KeyError::Backend(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    #[test]
    fn a_key_is_read_with_and_without_prefix() {
        for text in [KEY.to_owned(), format!("0x{KEY}"), format!(" 0x{KEY}\n")] {
            let key = RawKey::new(&Secret::new(text)).unwrap();
            assert_eq!(key.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
        }
    }

    #[test]
    fn a_malformed_key_is_refused_without_repeating_it() {
        let zeroes = "0".repeat(64);
        for text in ["", "0x", "0x12", &KEY[2..], &KEY.replace('a', "g"), &zeroes, &"f".repeat(64)] {
            let error = RawKey::new(&Secret::new(text)).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, KeyError::MalformedPrivateKey));
            assert!(text.len() < 8 || !shown.contains(&text[..8]), "{shown}");
        }
    }

    #[test]
    fn debug_shows_the_address_only() {
        let shown = format!("{:?}", RawKey::new(&Secret::new(KEY)).unwrap());
        assert_eq!(shown, "RawKey(0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266)");
    }
}
