//! Everything the relayer is told from outside. Read once; all problems are reported together.

use std::str::FromStr;
use std::time::Duration;

use alloy::primitives::Address;
use shared::env::{Env, Secret};
use shared::ids::{BlockNumber, Wallet};
use shared::lease::LeaseTiming;
use shared::retry::RetryPolicy;
use shared::store::{Durability, Lane, Retention};
use shared::telemetry::LogFormat;

/// A relayer's configuration. README.md's table lists every variable.
#[derive(Debug, Clone)]
pub struct Config {
    pub redis: RedisConfig,
    pub rpc_urls: Vec<Secret>,
    pub wss_url: Option<Secret>,
    pub chain_id: u64,
    pub registry: Address,
    pub payout: Address,
    pub signer: SignerConfig,
    /// How deep a block must be before what it shows is final.
    pub confirmations: u64,
    pub retry: RetryPolicy,
    pub max_open_nonces: usize,
    /// Gas per transaction when there is a backlog.
    pub batch_gas: u64,
    pub lease: LeaseTiming,
    /// The first block with events of our contracts.
    pub start_block: BlockNumber,
    /// Jobs per claim and simulation.
    pub claim_count: usize,
    /// How long a claimed job may rest before another worker takes it over.
    pub claim_min_idle: Duration,
    /// How often the head is asked for where there is no WebSocket.
    pub poll_every: Duration,
    pub rpc_timeout: Duration,
    /// Between two looks at an endpoint's chain id; also the longest pause of one that fails.
    pub rpc_check_every: Duration,
    /// Blocks without inclusion after which fees are raised.
    pub bump_after_blocks: u64,
    /// Wei per gas above which nothing is bid.
    pub max_fee: u128,
    /// Wei per gas above which no endpoint's suggested tip is believed.
    pub max_tip: u128,
    /// How much of what has ended stays in Redis.
    pub retention: Retention,
    pub metrics_listen: std::net::SocketAddr,
    pub log_format: LogFormat,
    pub log_filter: String,
}

/// What `migrate` needs. Neither chain nor key: whoever sets up Redis need not hold what moves money.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    pub url: Secret,
    pub lane: Lane,
    pub durability: Durability,
}

/// More than a takeover looks back at.
const RETAINED_NONCES: u64 = 4_096;

/// Fewer would leave nothing to look into when somebody asks why.
const LEAST_RETAINED: u64 = 1_000;

/// `RETAIN_JOBS` and `RETAIN_DAYS`.
fn retention(env: &mut Env<'_>) -> Retention {
    let days = between(env, "RETAIN_DAYS", 90, 1, 36_500);
    Retention {
        jobs: between(env, "RETAIN_JOBS", 200_000, LEAST_RETAINED, 1_000_000_000),
        age: Duration::from_secs(days * 24 * 60 * 60),
        nonces: RETAINED_NONCES,
    }
}

impl RedisConfig {
    /// Reads it; on failure, every problem there is.
    pub fn read(mut env: Env<'_>) -> Result<Self, Vec<String>> {
        let config = Self::fields(&mut env);
        env.finish()?;
        config.ok_or_else(missing)
    }

    fn fields(env: &mut Env<'_>) -> Option<Self> {
        let url = env.need_secret("REDIS_URL", "the Redis to use, such as redis://127.0.0.1:6379/");
        let lane = env.or("LANE", "main".parse::<Lane>().ok()?);
        let durability = env.or("DURABILITY", Durability::Always);
        Some(Self { url: url?, lane, durability })
    }
}

/// Whether a terminal shall show no colours, whatever it can (<https://no-color.org>).
pub fn wants_no_colours(mut env: Env<'_>) -> bool {
    env.optional::<String>("NO_COLOR").is_some()
}

/// Said where nothing was: without a problem every required field is there.
fn missing() -> Vec<String> {
    vec!["a required variable is missing".to_owned()]
}

/// Where the signing key is.
#[derive(Debug, Clone)]
pub enum SignerConfig {
    /// `RELAYER_PRIVATE_KEY`; for development.
    Raw(Secret),
    /// `SIGNER=keystore:<path>` with `KEYSTORE_PASSWORD`.
    Keystore { path: String, password: Secret },
}

/// A relayer must be done with a claim in less than half of the time after which others take it over.
const HANDLER_SHARE: u32 = 2;

impl Config {
    /// Reads everything; on failure, every problem there is.
    pub fn read(mut env: Env<'_>) -> Result<Self, Vec<String>> {
        let config = Self::fields(&mut env);
        env.finish()?;
        config.ok_or_else(missing)
    }

    fn fields(env: &mut Env<'_>) -> Option<Self> {
        let redis = RedisConfig::fields(env);
        let rpc_urls =
            env.need_secret("ETH_RPC_HTTPS", "one or several JSON-RPC endpoints, separated by commas");
        let wss_url = env.secret("ETH_RPC_WSS");
        let chain_id = env.need("CHAIN_ID", "1");
        let registry = env.need::<ContractAddress>(
            "AFFILIATE_REGISTRY_ADDRESS",
            "0x5FbDB2315678afecb367f032d93F642f64180aa3",
        );
        let payout = env.need::<ContractAddress>(
            "AFFILIATE_PAYOUT_ADDRESS",
            "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512",
        );
        let signer = Self::signer(env);
        let max_attempts = u32::try_from(between(env, "MAX_ATTEMPTS", 5, 1, 100)).unwrap_or(u32::MAX);
        let lease_ttl = Duration::from_millis(between(env, "LEASE_TTL_MS", 5_000, 300, 600_000));
        let claim_min_idle = Duration::from_millis(env.or("CLAIM_MIN_IDLE_MS", 30_000u64));
        let rpc_timeout = Duration::from_millis(env.or("RPC_TIMEOUT_MS", 5_000u64));
        let rpc_check_every = Duration::from_millis(between(env, "RPC_CHECK_MS", 30_000, 1_000, 600_000));
        let confirmations = between(env, "CONFIRMATIONS", 5, 1, 10_000);
        let max_open_nonces = between(env, "MAX_OPEN_NONCES", 16, 1, 1_000) as usize;
        let claim_count = between(env, "CLAIM_COUNT", 100, 1, 256) as usize;
        let batch_gas = between(env, "BATCH_GAS", 5_500_000, 600_000, 16_777_216);
        let start_block = BlockNumber::new(env.or("START_BLOCK", 0u64));
        let poll_every = Duration::from_millis(between(env, "POLL_MS", 500, 10, 60_000));
        let bump_after_blocks = env.or("BUMP_AFTER_BLOCKS", 3u64);
        let max_fee = u128::from(env.or("MAX_FEE_GWEI", 500u64)) * 1_000_000_000;
        let max_tip = u128::from(between(env, "MAX_TIP_GWEI", 50, 1, 1_000_000)) * 1_000_000_000;
        let retention = retention(env);
        let metrics_listen = env.or("METRICS_LISTEN", std::net::SocketAddr::from(([127, 0, 0, 1], 9464)));
        let log_format = env.or("LOG_FORMAT", LogFormat::Text);
        let log_filter = env.or("RUST_LOG", "info".to_owned());
        refuse_failpoints(env);
        if rpc_timeout * 2 >= claim_min_idle / HANDLER_SHARE {
            env.problem(format!(
                "RPC_TIMEOUT_MS={} leaves a claimed job no time: twice of it must be below half of CLAIM_MIN_IDLE_MS={}",
                rpc_timeout.as_millis(),
                claim_min_idle.as_millis()
            ));
        }
        let rpc_urls = rpc_urls.map(|urls| split(env, urls.expose()));
        Some(Self {
            redis: redis?,
            rpc_urls: rpc_urls?,
            wss_url,
            chain_id: chain_id?,
            registry: registry?.0,
            payout: payout?.0,
            signer: signer?,
            confirmations,
            retry: RetryPolicy::new(max_attempts),
            max_open_nonces,
            batch_gas,
            lease: LeaseTiming::new(lease_ttl),
            start_block,
            claim_count,
            claim_min_idle,
            poll_every,
            rpc_timeout,
            rpc_check_every,
            bump_after_blocks,
            max_fee,
            max_tip,
            retention,
            metrics_listen,
            log_format,
            log_filter,
        })
    }

    fn signer(env: &mut Env<'_>) -> Option<SignerConfig> {
        let raw = env.secret("RELAYER_PRIVATE_KEY");
        let signer: Option<String> = env.optional("SIGNER");
        match (raw, signer) {
            (Some(_), Some(_)) => {
                env.problem("RELAYER_PRIVATE_KEY and SIGNER are both set: keep one");
                None
            }
            (Some(key), None) => Some(SignerConfig::Raw(key)),
            (None, Some(text)) => match text.strip_prefix("keystore:") {
                Some(path) if !path.is_empty() => {
                    let password =
                        env.need_secret("KEYSTORE_PASSWORD", "the password of the keystore file")?;
                    Some(SignerConfig::Keystore { path: path.to_owned(), password })
                }
                _ => {
                    env.problem(format!(
                        "SIGNER={text}: expected keystore:<path of an encrypted JSON keystore>"
                    ));
                    None
                }
            },
            (None, None) => {
                env.problem(
                    "no signing key: set SIGNER=keystore:<path> with KEYSTORE_PASSWORD, or RELAYER_PRIVATE_KEY for development",
                );
                None
            }
        }
    }

    /// How long a worker may take over one claim.
    pub fn handler_deadline(&self) -> Duration {
        self.claim_min_idle / HANDLER_SHARE
    }
}

/// A build without failpoints stops nowhere: who asks it to would believe that it was seen to.
fn refuse_failpoints(env: &mut Env<'_>) {
    let failpoints = env.or("FAILPOINTS", String::new());
    if !cfg!(feature = "failpoints") && !failpoints.is_empty() {
        env.problem(format!(
            "FAILPOINTS={failpoints}: this build has none; build with `--features ail-worker/failpoints`, or unset it"
        ));
    }
}

/// A number within bounds.
fn between(env: &mut Env<'_>, name: &str, default: u64, least: u64, most: u64) -> u64 {
    let value = env.or(name, default);
    if !(least..=most).contains(&value) {
        env.problem(format!("{name}={value}: expected {least} to {most}"));
    }
    value
}

fn split(env: &mut Env<'_>, urls: &str) -> Vec<Secret> {
    let urls: Vec<&str> = urls.split(',').map(str::trim).filter(|url| !url.is_empty()).collect();
    for (n, url) in urls.iter().enumerate() {
        if urls[..n].contains(url) {
            // Two answers of one node are no two opinions.
            env.problem(format!("ETH_RPC_HTTPS: endpoint {} is there twice", n + 1));
        }
        if !url.starts_with("http://") && !url.starts_with("https://") {
            env.problem(format!("ETH_RPC_HTTPS: endpoint {} does not begin with http:// or https://", n + 1));
        }
    }
    urls.into_iter().map(Secret::new).collect()
}

/// An address that is not zero, with a right checksum where it has one.
struct ContractAddress(Address);

impl FromStr for ContractAddress {
    type Err = shared::ids::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Wallet>().map(|wallet| Self(wallet.address()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_listed_at_once() {
        let env = Env::new(|name| match name {
            "CHAIN_ID" => Some("mainnet".into()),
            "CONFIRMATIONS" => Some("0".into()),
            "MAX_TIP_GWEI" => Some("0".into()),
            "SIGNER" => Some("aws".into()),
            _ => None,
        });
        let problems = Config::read(env).unwrap_err().join("\n");
        let wanted = [
            "REDIS_URL",
            "ETH_RPC_HTTPS",
            "CHAIN_ID=mainnet",
            "AFFILIATE_REGISTRY_ADDRESS",
            "CONFIRMATIONS=0",
            "MAX_TIP_GWEI=0",
            "SIGNER=aws",
        ];
        for name in wanted {
            assert!(problems.contains(name), "{name} is missing in:\n{problems}");
        }
    }

    #[test]
    fn a_handler_that_others_could_overtake_is_refused() {
        let env = Env::new(|name| (name == "CLAIM_MIN_IDLE_MS").then(|| "9000".to_owned()));
        let problems = Config::read(env).unwrap_err().join("\n");
        assert!(problems.contains("CLAIM_MIN_IDLE_MS=9000"), "{problems}");
    }
}
