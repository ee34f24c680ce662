//! An encrypted JSON keystore file (Web3 Secret Storage, version 3), as `cast wallet import` writes it.

use std::fmt;
use std::path::Path;

use alloy::consensus::TxEip1559;
use alloy::primitives::{Address, Signature};
use alloy::signers::local::PrivateKeySigner;
use async_trait::async_trait;
use shared::env::Secret;

use super::{KeyError, RawKey, SignerKey};

/// A key that was decrypted at start; wiped when dropped.
#[derive(Clone)]
pub struct KeystoreKey(RawKey);

impl KeystoreKey {
    /// Decrypts `path`. Takes about a second of one core, by design of the format: call it once, before serving.
    pub fn open(path: &Path, password: &Secret) -> Result<Self, KeyError> {
        let shown = path.display().to_string();
        // Opened first, so that a missing file is not reported as a wrong password.
        std::fs::File::open(path)
            .map_err(|source| KeyError::UnreadableKeystore { path: shown.clone(), source })?;
        PrivateKeySigner::decrypt_keystore(path, password.expose())
            .map(|signer| Self(RawKey::from_signer(signer)))
            .map_err(|_| KeyError::Locked { path: shown })
    }
}

impl fmt::Debug for KeystoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeystoreKey({})", self.address())
    }
}

#[async_trait]
impl SignerKey for KeystoreKey {
    fn address(&self) -> Address {
        self.0.address()
    }

    async fn sign_transaction(&self, tx: &TxEip1559) -> Result<Signature, KeyError> {
        self.0.sign_transaction(tx).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the Web3 Secret Storage definition: password `testpassword`.
    const PBKDF2_VECTOR: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2",
        "kdfparams":{"c":262144,"dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;

    fn file(content: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn the_published_vector_opens_with_its_password_only() {
        let file = file(PBKDF2_VECTOR);
        let key = KeystoreKey::open(file.path(), &Secret::new("testpassword")).unwrap();
        assert_eq!(key.address().to_string().to_lowercase(), "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b");
        assert_eq!(format!("{key:?}"), format!("KeystoreKey({})", key.address()));
        let error = KeystoreKey::open(file.path(), &Secret::new("wrong-password")).unwrap_err();
        assert!(matches!(error, KeyError::Locked { .. }));
        assert!(!format!("{error} {error:?}").contains("wrong-password"));
    }

    #[test]
    fn a_missing_file_and_a_damaged_one_are_told_apart() {
        let password = Secret::new("x");
        let missing = KeystoreKey::open(Path::new("/nowhere/key.json"), &password);
        assert!(matches!(missing, Err(KeyError::UnreadableKeystore { .. })));
        let damaged = file("{}");
        assert!(matches!(KeystoreKey::open(damaged.path(), &password), Err(KeyError::Locked { .. })));
    }
}
