//! What the binaries are told, in one place: addresses, the programme, keys and limits of this world.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::contracts::Addresses;

/// Environment variables by name.
pub type Env = BTreeMap<String, String>;

/// The secret that webhooks of the source `payments` are signed with, and an older one that still counts.
pub const WEBHOOK_SECRET: &str = "whsec_a2l0LXdlYmhvb2stc2VjcmV0LW9mLXRoaXMtd29ybGQh";
pub const OLD_WEBHOOK_SECRET: &str = "whsec_a2l0LW9sZGVyLXNlY3JldC1zdGlsbC1hY2NlcHRlZCEh";

/// The API keys of this world by role.
pub const VIEWER_KEY: &str = "kit-viewer-key-0001";
pub const MERCHANT_KEY: &str = "kit-merchant-key-0001";
pub const OPERATOR_KEY: &str = "kit-operator-key-0001";

/// What share of a payment is due, and in which tokens.
#[derive(Debug, Clone)]
pub struct Programme {
    pub commission_bps: u32,
    pub hybrid_sge_bps: u32,
    /// A decimal number of SGE for one USDC.
    pub sge_per_usdc: String,
}

impl Default for Programme {
    fn default() -> Self {
        Self { commission_bps: 1_000, hybrid_sge_bps: 2_500, sge_per_usdc: String::from("12.5") }
    }
}

/// The settings that all binaries share.
#[derive(Debug, Clone)]
pub struct Settings {
    pub programme: Programme,
    pub confirmations: u64,
    pub max_attempts: u32,
    pub lease_ttl: Duration,
    pub lane: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            programme: Programme::default(),
            confirmations: 2,
            max_attempts: 5,
            lease_ttl: Duration::from_secs(3),
            lane: String::from("main"),
        }
    }
}

impl Settings {
    /// What both binaries need.
    pub(super) fn common(&self, redis: &str, rpc: &str, addresses: &Addresses) -> Env {
        let programme = &self.programme;
        env([
            ("REDIS_URL", redis.to_owned()),
            ("ETH_RPC_HTTPS", rpc.to_owned()),
            ("CHAIN_ID", addresses.chain_id.to_string()),
            ("AFFILIATE_REGISTRY_ADDRESS", addresses.registry.to_string()),
            ("AFFILIATE_PAYOUT_ADDRESS", addresses.payout.to_string()),
            ("START_BLOCK", addresses.block.to_string()),
            ("CONFIRMATIONS", self.confirmations.to_string()),
            ("MAX_ATTEMPTS", self.max_attempts.to_string()),
            ("LEASE_TTL_MS", self.lease_ttl.as_millis().to_string()),
            ("LANE", self.lane.clone()),
            ("DURABILITY", String::from("always")),
            ("COMMISSION_BPS", programme.commission_bps.to_string()),
            ("HYBRID_SGE_BPS", programme.hybrid_sge_bps.to_string()),
            ("SGE_PER_USDC", programme.sge_per_usdc.clone()),
            ("LOG_FORMAT", String::from("json")),
        ])
    }
}

/// What only the API needs.
pub fn api(port: u16) -> Env {
    env([
        ("API_LISTEN", format!("127.0.0.1:{port}")),
        ("API_KEYS", api_keys()),
        ("WEBHOOK_SECRETS", format!("payments={WEBHOOK_SECRET}|{OLD_WEBHOOK_SECRET}")),
    ])
}

fn api_keys() -> String {
    let keys = [("viewer", VIEWER_KEY), ("merchant", MERCHANT_KEY), ("operator", OPERATOR_KEY)];
    let entry = |(role, key): (&str, &str)| {
        let digest = Sha256::digest(key.as_bytes());
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("kit-{role}:{role}:{hex}")
    };
    keys.map(entry).join(",")
}

pub(super) fn env<const N: usize>(pairs: [(&str, String); N]) -> Env {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_passed_on_as_its_digest_only() {
        let keys = api_keys();
        assert!(!keys.contains(VIEWER_KEY) && !keys.contains(OPERATOR_KEY));
        for entry in keys.split(',') {
            let parts: Vec<&str> = entry.split(':').collect();
            assert_eq!((parts.len(), parts[2].len()), (3, 64));
        }
    }

    #[test]
    fn both_webhook_secrets_can_sign() {
        for secret in [WEBHOOK_SECRET, OLD_WEBHOOK_SECRET] {
            let webhook = standardwebhooks::Webhook::new(secret).unwrap();
            assert!(webhook.sign("msg", 1, b"{}").unwrap().starts_with("v1,"));
        }
    }
}
