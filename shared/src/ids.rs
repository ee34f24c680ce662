//! Names and numbers that identify things. Each is parsed once, at the edge, into a type with private fields, so that
//! no other file asks again whether an address or an id is well-formed.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::{Address, B256, keccak256};
use alloy::sol_types::SolValue;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// What is wrong with an identifier. The offending value is part of the message, cut to 80 characters.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum IdError {
    #[error("`{0}` is not a wallet: expected 0x followed by 40 hex digits")]
    MalformedWallet(String),
    #[error("`{0}` fails its EIP-55 checksum: copy it again, or give it in lower case")]
    Checksum(String),
    #[error("the zero address is nobody's wallet")]
    ZeroWallet,
    #[error("`{0}` is not a 32-byte hex value: expected 0x followed by 64 hex digits")]
    MalformedHash(String),
    #[error("`{0}` is not a job id: expected a ULID of 26 characters")]
    MalformedJobId(String),
    #[error("`{value}` is not a {what}: expected {expected}")]
    Malformed { what: &'static str, value: String, expected: &'static str },
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// An account address that is not zero. Displayed with its EIP-55 checksum; stored in lower case (see [`Wallet::key`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wallet(Address);

impl Wallet {
    /// The form used in Redis keys and fields: `0x` and 40 lower-case hex digits.
    pub fn key(&self) -> String {
        format!("{:#x}", self.0)
    }

    pub fn address(&self) -> Address {
        self.0
    }
}

impl TryFrom<Address> for Wallet {
    type Error = IdError;
    fn try_from(address: Address) -> Result<Self, IdError> {
        if address.is_zero() { Err(IdError::ZeroWallet) } else { Ok(Self(address)) }
    }
}

impl FromStr for Wallet {
    type Err = IdError;
    /// Mixed case must carry a right EIP-55 checksum; all-lower and all-upper digits are taken as they are.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let malformed = || IdError::MalformedWallet(cut(text));
        let digits = text.strip_prefix("0x").ok_or_else(malformed)?;
        if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(malformed());
        }
        let address: Address = text.to_ascii_lowercase().parse().map_err(|_| malformed())?;
        let mixed = digits.bytes().any(|b| b.is_ascii_lowercase() && b.is_ascii_alphabetic())
            && digits.bytes().any(|b| b.is_ascii_uppercase());
        if mixed && address.to_checksum(None) != text {
            return Err(IdError::Checksum(cut(text)));
        }
        Self::try_from(address)
    }
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_checksum(None))
    }
}

/// The stored form, see [`Wallet::key`]: scripts build keys from it.
impl Serialize for Wallet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.key())
    }
}
impl<'de> Deserialize<'de> for Wallet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The on-chain identity of a payment: `keccak256(abi.encode(source, externalId))`, never normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PaymentId(B256);

impl PaymentId {
    pub fn derive(source: &str, external_id: &str) -> Self {
        Self(keccak256((source, external_id).abi_encode_params()))
    }

    pub fn hash(&self) -> B256 {
        self.0
    }
}

/// A transaction or block hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash32(B256);

impl Hash32 {
    pub fn b256(&self) -> B256 {
        self.0
    }
}

macro_rules! hash_type {
    ($name:ident) => {
        impl From<B256> for $name {
            fn from(hash: B256) -> Self {
                Self(hash)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                if !text.starts_with("0x") || text.len() != 66 {
                    return Err(IdError::MalformedHash(cut(text)));
                }
                text.parse().map(Self).map_err(|_| IdError::MalformedHash(cut(text)))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        text_serde!($name);
    };
}
hash_type!(PaymentId);
hash_type!(Hash32);

/// A job's id: a ULID, so ids sort by the time they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(ulid::Ulid);

impl JobId {
    /// A new id. Unique without coordination; the order within one millisecond is not defined.
    pub fn generate() -> Self {
        Self(ulid::Ulid::new())
    }

    /// The id with the number `number`, for simulations that give the same ids each time.
    pub const fn numbered(number: u64) -> Self {
        Self(ulid::Ulid(number as u128))
    }
}

impl FromStr for JobId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        ulid::Ulid::from_string(text).map(Self).map_err(|_| IdError::MalformedJobId(cut(text)))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
text_serde!(JobId);

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            pub const fn get(self) -> u64 {
                self.0
            }

            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self).map_err(|_| IdError::Malformed {
                    what: stringify!($name),
                    value: cut(text),
                    expected: "a decimal number below 2^64",
                })
            }
        }
    };
}

number_type!(
    /// The account nonce of one transaction intent.
    Nonce
);
number_type!(
    /// Grows by one at each claim of a job; a worker whose epoch is not the stored one changes nothing.
    Epoch
);
number_type!(
    /// The fencing term of a lease: strictly rising, one holder each.
    FencingTerm
);
number_type!(
    /// A block height.
    BlockNumber
);

impl BlockNumber {
    /// The block `depth` below this one, if the chain is that long.
    pub fn below(self, depth: u64) -> Option<Self> {
        self.0.checked_sub(depth).map(Self)
    }
}

/// The name a merchant's payment processor is known by; part of the payment id, so it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source(String);

impl Source {
    /// The canonical source, whose events come as Standard Webhooks.
    pub const PAYMENTS: &'static str = "payments";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Source {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fine = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Malformed {
                what: "source",
                value: cut(text),
                expected: "1 to 32 characters of a-z, 0-9 and -",
            })
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_serde!(Source);

/// An id that another system gave (payment id, webhook delivery id). Taken byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ExternalId(String);

impl ExternalId {
    pub const MAX_BYTES: usize = 256;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExternalId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > Self::MAX_BYTES || text.chars().any(char::is_control) {
            return Err(IdError::Malformed {
                what: "external id",
                value: cut(text),
                expected: "1 to 256 bytes without control characters",
            });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
text_serde!(ExternalId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_with_a_wrong_checksum_is_refused() {
        let good = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(good.parse::<Wallet>().unwrap().to_string(), good);
        assert!(good.to_lowercase().parse::<Wallet>().is_ok());
        let bad = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(bad.parse::<Wallet>(), Err(IdError::Checksum(bad.into())));
    }

    #[test]
    fn the_zero_address_is_no_wallet() {
        assert_eq!(format!("0x{}", "0".repeat(40)).parse::<Wallet>(), Err(IdError::ZeroWallet));
    }

    #[test]
    fn a_wallet_of_the_wrong_length_or_alphabet_is_refused() {
        for text in
            ["", "0x", "0x12", "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", &format!("0x{}", "g".repeat(40))]
        {
            assert!(matches!(text.parse::<Wallet>(), Err(IdError::MalformedWallet(_))), "{text}");
        }
    }

    #[test]
    fn a_payment_id_is_the_hash_of_two_abi_encoded_strings() {
        // cast keccak $(cast abi-encode "f(string,string)" payments pay_1001)
        let id = PaymentId::derive("payments", "pay_1001");
        assert_eq!(id.to_string(), "0x5ad7fbd6ac8f672b5f1cd69447611c59b3f6720ecd43b5824634599c0aff1e5b");
        assert_ne!(PaymentId::derive("payments", "a"), PaymentId::derive("payment", "sa"));
    }

    #[test]
    fn control_characters_never_enter_an_external_id() {
        assert!("pay_1\n".parse::<ExternalId>().is_err());
        assert!("".parse::<ExternalId>().is_err());
        assert!("x".repeat(257).parse::<ExternalId>().is_err());
    }
}
