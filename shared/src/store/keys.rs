//! Every key of a lane, spelled once. The braces make the whole lane one Redis Cluster slot, so that each script stays
//! on one shard. ARCHITECTURE.md's key table explains what each holds.

use std::str::FromStr;

use alloy::primitives::Address;

use crate::ids::{ExternalId, Hash32, IdError, JobId, Nonce, PaymentId, Source, Wallet};

/// The name of a lane: one signer, one pair of contracts, one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane(String);

impl FromStr for Lane {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let fine = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Malformed {
                what: "lane",
                value: text.chars().take(80).collect(),
                expected: "1 to 32 characters of a-z, 0-9 and -",
            })
        }
    }
}

/// Builds the keys of one lane.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(lane: &Lane) -> Self {
        Self { prefix: format!("ail:{{{}}}:", lane.0) }
    }

    /// What every script gets as `KEYS[1]`.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    pub(super) fn jobs(&self) -> String {
        self.key("jobs")
    }

    pub(super) fn ready(&self) -> String {
        self.key("ready")
    }

    pub(super) fn delayed(&self) -> String {
        self.key("delayed")
    }

    pub(super) fn job(&self, id: JobId) -> String {
        self.key(&format!("job:{id}"))
    }

    pub(super) fn by_state(&self, state: &str) -> String {
        self.key(&format!("by:{state}"))
    }

    pub(super) fn jobs_of_wallet(&self, wallet: Wallet) -> String {
        self.key(&format!("wallet:{}", wallet.key()))
    }

    pub(super) fn referral(&self, child: Wallet) -> String {
        self.key(&format!("referral:{}", child.key()))
    }

    pub(super) fn affiliate(&self, referrer: Wallet) -> String {
        self.key(&format!("affiliate:{}", referrer.key()))
    }

    pub(super) fn owing(&self, referrer: Wallet) -> String {
        self.key(&format!("owing:{}", referrer.key()))
    }

    pub(super) fn unblock(&self) -> String {
        self.key("unblock")
    }

    pub(super) fn parked(&self, gate: &str) -> String {
        self.key(&format!("parked:{gate}"))
    }

    pub(super) fn payment(&self, id: PaymentId) -> String {
        self.key(&format!("payment:{id}"))
    }

    pub(super) fn event(&self, source: &Source, event: &ExternalId) -> String {
        self.key(&format!("event:{source}:{event}"))
    }

    pub(super) fn lease(&self) -> String {
        self.key("lease")
    }

    pub(super) fn lease_changes(&self) -> String {
        self.key("lease:changes")
    }

    pub(super) fn signer(&self, signer: Address) -> String {
        self.key(&format!("signer:{signer:#x}"))
    }

    pub(super) fn tx(&self, signer: Address, nonce: Nonce) -> String {
        self.key(&format!("tx:{signer:#x}:{nonce}"))
    }

    pub(super) fn open(&self, signer: Address) -> String {
        self.key(&format!("open:{signer:#x}"))
    }

    pub(super) fn signers(&self) -> String {
        self.key("signers")
    }

    pub(super) fn tx_of_hash(&self, hash: Hash32) -> String {
        self.key(&format!("hash:{hash}"))
    }

    pub(super) fn settling(&self) -> String {
        self.key("settling")
    }

    pub(super) fn learned(&self) -> String {
        self.key("learned")
    }

    pub(super) fn gate(&self) -> String {
        self.key("gate")
    }

    pub(super) fn synced(&self) -> String {
        self.key("synced")
    }

    pub(super) fn events(&self) -> String {
        self.key("events")
    }

    pub(super) fn fleet(&self) -> String {
        self.key("fleet")
    }

    pub(super) fn relayer(&self, worker: &str) -> String {
        self.key(&format!("fleet:{worker}"))
    }

    pub(super) fn turn(&self) -> String {
        self.key("turn")
    }

    pub(super) fn stats(&self) -> String {
        self.key("stats")
    }
}
