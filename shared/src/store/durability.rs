//! What "accepted" means: how durable a write must be before anybody is told that it happened (G9).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::FromRedisValue;
use thiserror::Error;

use super::Store;
use super::error::StoreError;
use super::script::{Args, Script};

/// The policy, from `DURABILITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// AOF with `appendfsync always`: the reply comes after the fsync.
    Always,
    /// As `Always`, and this many replicas have the write.
    Replicas(u32),
    /// `WAITAOF` with these counts of local and replica fsyncs (Redis 7.2 or newer).
    WaitAof { local: u32, replicas: u32 },
    /// Nothing is asked. For development.
    None,
    /// As `Always`, but Redis is not asked: for managed servers that hide `CONFIG`.
    Trust,
}

impl FromStr for Durability {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "`{text}` is not a policy: expected always, replicas:<n>, waitaof:<local>,<replicas>, none or trust"
            )
        };
        match text {
            "always" => Ok(Self::Always),
            "none" => Ok(Self::None),
            "trust" => Ok(Self::Trust),
            _ => {
                if let Some(count) = text.strip_prefix("replicas:") {
                    return count.parse().map(Self::Replicas).map_err(|_| bad());
                }
                let (local, replicas) =
                    text.strip_prefix("waitaof:").and_then(|rest| rest.split_once(',')).ok_or_else(bad)?;
                match (local.parse(), replicas.parse()) {
                    (Ok(local @ 0..=1), Ok(replicas)) => Ok(Self::WaitAof { local, replicas }),
                    _ => Err(bad()),
                }
            }
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Replicas(count) => write!(f, "replicas:{count}"),
            Self::WaitAof { local, replicas } => write!(f, "waitaof:{local},{replicas}"),
            Self::None => f.write_str("none"),
            Self::Trust => f.write_str("trust"),
        }
    }
}

/// Why this Redis does not provide the policy.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DurabilityProblem {
    #[error("appendonly is `{0}`: DURABILITY needs `appendonly yes`")]
    NoAof(String),
    #[error("appendfsync is `{0}`: DURABILITY needs `appendfsync always`")]
    Fsync(String),
    #[error("maxmemory-policy is `{0}`: keys could be evicted; set `maxmemory-policy noeviction`")]
    Eviction(String),
    #[error("the server is a {0}, not a primary")]
    Role(String),
    #[error("{wanted} replicas are asked for, {connected} are connected")]
    Replicas { wanted: u32, connected: u32 },
    #[error("WAITAOF needs Redis 7.2, the server has {0}")]
    Version(String),
    #[error(
        "CONFIG GET is refused ({0}); set DURABILITY=trust if the provider guarantees an fsync per write"
    )]
    Hidden(String),
}

/// How long a write may wait for replicas or for an fsync.
const WAIT: Duration = Duration::from_secs(2);

impl Store {
    /// Everything that keeps this Redis from providing the configured policy; empty when it does.
    pub async fn check_durability(&self) -> Result<Vec<DurabilityProblem>, StoreError> {
        Ok(self.server().await?.problems(self.durability))
    }

    /// The policy that this store was opened with.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Runs a script whose effect is promised to somebody, and returns only when it is as durable as the policy says.
    /// The wait travels in the same pipeline, so it covers this write on this connection.
    pub(super) async fn run_durably<T: FromRedisValue>(
        &self,
        script: &Script,
        args: Args,
    ) -> Result<T, StoreError> {
        let wait = match self.durability {
            Durability::Always | Durability::None | Durability::Trust => return self.run(script, args).await,
            Durability::Replicas(count) => redis::cmd("WAIT").arg(count).arg(WAIT.as_millis() as u64).clone(),
            Durability::WaitAof { local, replicas } => {
                redis::cmd("WAITAOF").arg(local).arg(replicas).arg(WAIT.as_millis() as u64).clone()
            }
        };
        let failed = |source| StoreError::Redis { operation: script.name, source };
        let mut connection = self.link.hot();
        let mut pipe = redis::pipe();
        pipe.add_command(script.command(self.keys.prefix(), &args)).add_command(wait);
        let (reply, reached): (redis::Value, redis::Value) = match pipe.query_async(&mut connection).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                script.load(&mut connection).await?;
                pipe.query_async(&mut connection).await.map_err(failed)?
            }
            other => other.map_err(failed)?,
        };
        let parse = |value| redis::from_redis_value::<Vec<u32>>(value).map_err(|error| failed(error.into()));
        let (got, wanted) = match self.durability {
            Durability::WaitAof { local, replicas } => (parse(reached)?, vec![local, replicas]),
            Durability::Replicas(count) => (parse(redis::Value::Array(vec![reached]))?, vec![count]),
            _ => (Vec::new(), Vec::new()),
        };
        if got.iter().zip(&wanted).any(|(got, wanted)| got < wanted) || got.len() < wanted.len() {
            return Err(StoreError::NotDurable {
                operation: script.name,
                detail: format!("{wanted:?} asked for, {got:?} reached within {WAIT:?}"),
            });
        }
        redis::from_redis_value(reply).map_err(|error| failed(error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        for text in ["always", "replicas:2", "waitaof:1,0", "none", "trust"] {
            assert_eq!(text.parse::<Durability>().unwrap().to_string(), text);
        }
        for text in ["", "Always", "replicas", "replicas:x", "waitaof:2,0", "waitaof:1"] {
            assert!(text.parse::<Durability>().is_err(), "{text}");
        }
    }
}
