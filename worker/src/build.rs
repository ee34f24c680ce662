//! Builds the parts of a relayer from its configuration.

use std::path::Path;
use std::sync::Arc;

use alloy::primitives::Address;
use anyhow::Context as _;

use crate::chain::alloy::{AlloyChain, AlloyChainConfig};
use crate::chain::heads::HeadsConfig;
use crate::config::{Config, SignerConfig};
use crate::keys::{KeystoreKey, RawKey, SignerKey};
use crate::metrics::RpcMetrics;

/// The signing key.
pub fn key(config: &Config) -> anyhow::Result<Arc<dyn SignerKey>> {
    Ok(match &config.signer {
        SignerConfig::Raw(secret) => Arc::new(RawKey::new(secret)?),
        SignerConfig::Keystore { path, password } => Arc::new(KeystoreKey::open(Path::new(path), password)?),
    })
}

/// The chain behind the configured endpoints.
pub fn chain(config: &Config, relayer: Address, metrics: RpcMetrics) -> anyhow::Result<Arc<AlloyChain>> {
    let endpoints: Result<Vec<_>, _> =
        config.rpc_urls.iter().enumerate().map(|(n, url)| parse(url.expose(), "ETH_RPC_HTTPS", n)).collect();
    Ok(Arc::new(AlloyChain::new(&AlloyChainConfig {
        endpoints: endpoints?,
        chain_id: config.chain_id,
        registry: config.registry,
        payout: config.payout,
        relayer,
        deadline: config.rpc_timeout,
        check_every: config.rpc_check_every,
        metrics,
    })?))
}

/// Where new blocks come from.
pub fn heads(config: &Config) -> HeadsConfig {
    // A malformed WebSocket address costs nothing but speed; the configuration refused it already.
    let websocket = config.wss_url.as_ref().and_then(|url| url.expose().parse().ok());
    HeadsConfig {
        websocket,
        chain_id: Some(config.chain_id),
        poll: config.poll_every,
        ..HeadsConfig::default()
    }
}

fn parse(url: &str, name: &str, n: usize) -> anyhow::Result<crate::chain::alloy::Url> {
    url.parse().with_context(|| format!("{name}: endpoint {} is not a URL", n + 1))
}

/// The worker's name, `<host>-<pid>-<uuid>`, and the uuid alone. New at each boot.
pub fn names() -> (Arc<str>, Arc<str>) {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let boot = format!("{:032x}", rand::random::<u128>());
    let worker = format!("{}-{}-{boot}", if host.is_empty() { "host" } else { host }, std::process::id());
    (worker.into(), boot.into())
}
