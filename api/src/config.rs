//! What the environment says. Read once; every problem is reported, and none of them shows a secret.

use std::net::SocketAddr;

use shared::env::{Env, Secret};
use shared::money::{BasisPoints, CommissionRules, SgeRate};
use shared::store::{Durability, Lane};
use shared::tasks::half_of_the_cores;
use shared::telemetry::LogFormat;

use crate::auth::ApiKeys;
use crate::webhook::Webhooks;

/// Each field names its variable. `REDIS_URL`, `API_KEYS` and `WEBHOOK_SECRETS` also come from files (`..._FILE`).
#[derive(Debug)]
pub struct Config {
    /// `REDIS_URL`: `redis://` or `rediss://`, with user and password where there are some. Required.
    pub redis_url: Secret,
    /// `LANE`: the lane's name; default `main`.
    pub lane: Lane,
    /// `DURABILITY`: `always` (default), `replicas:<n>`, `waitaof:<local>,<replicas>`, `none` or `trust`.
    pub durability: Durability,
    /// `API_LISTEN`: address and port; default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// `API_THREADS`: threads that serve; default half of the cores, at least one; from 1 to 1024.
    pub threads: usize,
    /// `API_KEYS`: `name:role:sha256hex,...`; roles viewer, merchant, operator. Required.
    pub(crate) keys: ApiKeys,
    /// `WEBHOOK_SECRETS`: `payments=whsec_a|whsec_b,...`; all secrets of a source are live. Required.
    pub(crate) webhooks: Webhooks,
    /// `COMMISSION_BPS` (required), `HYBRID_SGE_BPS` (default 0), `SGE_PER_USDC` (default 1).
    pub rules: CommissionRules,
    /// `HOLD_SECONDS`: how long a payout is held before it is checked, in seconds; default 0, at most 366 days.
    pub hold_seconds: u64,
    /// `MAX_BODY_BYTES`: the largest request body in bytes; default 65536, from 1024 to 16 MiB.
    pub max_body_bytes: usize,
    /// `MAX_EVENT_STREAMS`: how many clients may watch the live feed at once; default 256, from 1 to 10000.
    pub max_event_streams: usize,
    /// `MEMORY_WATERMARK`: percent of Redis's `maxmemory` from which nothing new is taken; default 90, from 50 to 99.
    pub memory_watermark: u64,
    /// `LOG_FORMAT`: `text` (default) or `json`.
    pub log_format: LogFormat,
    /// `RUST_LOG`: what is logged; default `info`.
    pub log_filter: String,
}

const HOLD_MAX: u64 = 366 * 24 * 3600;
const BODY_MIN: usize = 1024;
const BODY_MAX: usize = 16 * 1024 * 1024;
const THREADS_MAX: usize = 1024;
const STREAMS_MAX: usize = 10_000;

impl Config {
    /// Reads everything, or says everything that is wrong.
    pub fn read(mut env: Env<'_>) -> Result<Self, Vec<String>> {
        let redis_url = env.need_secret("REDIS_URL", "the Redis to use, such as redis://127.0.0.1:6379/");
        if let Some(url) = &redis_url
            && !["redis://", "rediss://"].iter().any(|scheme| url.expose().starts_with(scheme))
        {
            env.problem("REDIS_URL: it must begin with redis:// or rediss://");
        }
        let lane = env.optional("LANE").or_else(|| "main".parse().ok());
        let durability = env.or("DURABILITY", Durability::Always);
        let listen = env.or("API_LISTEN", SocketAddr::from(([127, 0, 0, 1], 8080)));
        let threads = env.or("API_THREADS", half_of_the_cores());
        if !(1..=THREADS_MAX).contains(&threads) {
            env.problem(format!("API_THREADS={threads}: expected 1 to {THREADS_MAX}"));
        }
        let keys = env.need_secret("API_KEYS", "the API keys, as name:role:sha256hex,...");
        let keys = parse(&mut env, keys, ApiKeys::parse);
        let webhooks = env.need_secret("WEBHOOK_SECRETS", "the webhook secrets, as payments=whsec_...");
        let webhooks = parse(&mut env, webhooks, Webhooks::parse);
        let commission: Option<BasisPoints> = env.need("COMMISSION_BPS", "1000");
        let hybrid_sge = env.optional("HYBRID_SGE_BPS").or_else(|| "0".parse::<BasisPoints>().ok());
        let sge_per_usdc = env.optional("SGE_PER_USDC").or_else(|| "1".parse::<SgeRate>().ok());
        let hold_seconds = env.or("HOLD_SECONDS", 0);
        if hold_seconds > HOLD_MAX {
            env.problem(format!("HOLD_SECONDS={hold_seconds}: at most {HOLD_MAX} (366 days)"));
        }
        let max_body_bytes = env.or("MAX_BODY_BYTES", 64 * 1024);
        if !(BODY_MIN..=BODY_MAX).contains(&max_body_bytes) {
            env.problem(format!("MAX_BODY_BYTES={max_body_bytes}: expected {BODY_MIN} to {BODY_MAX}"));
        }
        let max_event_streams = env.or("MAX_EVENT_STREAMS", 256);
        if !(1..=STREAMS_MAX).contains(&max_event_streams) {
            env.problem(format!("MAX_EVENT_STREAMS={max_event_streams}: expected 1 to {STREAMS_MAX}"));
        }
        let memory_watermark = env.or("MEMORY_WATERMARK", 90);
        if !(50..=99).contains(&memory_watermark) {
            env.problem(format!("MEMORY_WATERMARK={memory_watermark}: expected 50 to 99 (percent)"));
        }
        let log_format = env.or("LOG_FORMAT", LogFormat::Text);
        let log_filter = env.or("RUST_LOG", "info".to_owned());
        env.finish()?;
        let all =
            redis_url.zip(lane).zip(keys).zip(webhooks).zip(commission).zip(hybrid_sge).zip(sge_per_usdc);
        let Some(((((((redis_url, lane), keys), webhooks), commission), hybrid_sge), sge_per_usdc)) = all
        else {
            return Err(vec!["the configuration is incomplete".to_owned()]);
        };
        Ok(Self {
            redis_url,
            lane,
            durability,
            listen,
            threads,
            keys,
            webhooks,
            rules: CommissionRules { commission, hybrid_sge, sge_per_usdc },
            hold_seconds,
            max_body_bytes,
            max_event_streams,
            memory_watermark,
            log_format,
            log_filter,
        })
    }
}

fn parse<T>(
    env: &mut Env<'_>,
    secret: Option<Secret>,
    read: impl FnOnce(&str) -> Result<T, Vec<String>>,
) -> Option<T> {
    match read(secret?.expose()) {
        Ok(value) => Some(value),
        Err(problems) => {
            for problem in problems {
                env.problem(problem);
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let env = Env::new(|name| match name {
            "REDIS_URL" => Some("http://hunter2@host".into()),
            "API_LISTEN" => Some("somewhere".into()),
            "API_THREADS" => Some("0".into()),
            "COMMISSION_BPS" => Some("10001".into()),
            "MAX_BODY_BYTES" => Some("1".into()),
            "MAX_EVENT_STREAMS" => Some("0".into()),
            "MEMORY_WATERMARK" => Some("100".into()),
            "WEBHOOK_SECRETS" => Some("payments=hunter2".into()),
            "LANE" => Some("UPPER".into()),
            _ => None,
        });
        let problems = Config::read(env).unwrap_err();
        assert_eq!(problems.len(), 10, "{problems:#?}");
        assert!(!problems.concat().contains("hunter2"));
    }
}
