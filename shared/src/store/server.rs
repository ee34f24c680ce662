//! The Redis server as it describes itself: what durability rests on, and what an operator looks at first.

use redis::InfoDict;

use super::Store;
use super::durability::{Durability, DurabilityProblem};
use super::error::StoreError;

/// One look at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerView {
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// Replicas that are connected now.
    pub replicas: u32,
    /// What happens when memory is full, as `INFO` says it.
    pub eviction: String,
    pub memory: Memory,
    pub settings: Settings,
}

/// What Redis uses of its memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    pub used: u64,
    /// `maxmemory`; 0 where there is no limit.
    pub max: u64,
}

/// What `CONFIG GET` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settings {
    Told {
        appendonly: String,
        appendfsync: String,
        eviction: String,
    },
    /// Refused, with the error's code.
    Hidden(String),
    /// The policy promises nothing that rests on them.
    NotAsked,
}

/// The oldest Redis whose streams do what is needed: from 7.0 on `XAUTOCLAIM` names entries that were deleted.
pub const OLDEST_REDIS: (u32, u32) = (7, 0);

impl ServerView {
    /// Whether the server's version is `wanted` or newer.
    pub fn is_at_least(&self, wanted: (u32, u32)) -> bool {
        let mut parts = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= wanted
    }

    /// Everything that keeps this server from providing `durability`; empty when it does.
    pub fn problems(&self, durability: Durability) -> Vec<DurabilityProblem> {
        let mut problems = Vec::new();
        if self.role != "master" {
            problems.push(DurabilityProblem::Role(self.role.clone()));
        }
        let (appendonly, appendfsync, eviction) = match &self.settings {
            Settings::Told { appendonly, appendfsync, eviction } => (appendonly, appendfsync, eviction),
            Settings::Hidden(code) => {
                problems.push(DurabilityProblem::Hidden(code.clone()));
                return problems;
            }
            Settings::NotAsked => return problems,
        };
        if appendonly != "yes" {
            problems.push(DurabilityProblem::NoAof(appendonly.clone()));
        }
        if appendfsync != "always" && !matches!(durability, Durability::WaitAof { .. }) {
            problems.push(DurabilityProblem::Fsync(appendfsync.clone()));
        }
        if eviction != "noeviction" {
            problems.push(DurabilityProblem::Eviction(eviction.clone()));
        }
        match durability {
            Durability::Replicas(wanted) | Durability::WaitAof { replicas: wanted, .. }
                if self.replicas < wanted =>
            {
                problems.push(DurabilityProblem::Replicas { wanted, connected: self.replicas });
            }
            _ => {}
        }
        if matches!(durability, Durability::WaitAof { .. }) && !self.is_at_least((7, 2)) {
            problems.push(DurabilityProblem::Version(self.version.clone()));
        }
        problems
    }
}

fn memory(info: &InfoDict) -> Memory {
    Memory { used: info.get("used_memory").unwrap_or(0), max: info.get("maxmemory").unwrap_or(0) }
}

impl Store {
    pub async fn memory(&self) -> Result<Memory, StoreError> {
        Ok(memory(&self.read("memory", redis::cmd("INFO").arg("memory")).await?))
    }

    /// Looks at the server. Its settings are asked for only where the policy rests on them.
    pub async fn server(&self) -> Result<ServerView, StoreError> {
        let info: InfoDict = self.read("info", redis::cmd("INFO").arg("everything")).await?;
        let text = |name: &str| info.get::<String>(name).unwrap_or_default();
        Ok(ServerView {
            version: text("redis_version"),
            role: text("role"),
            replicas: info.get("connected_slaves").unwrap_or(0),
            eviction: text("maxmemory_policy"),
            memory: memory(&info),
            settings: match self.durability {
                Durability::None | Durability::Trust => Settings::NotAsked,
                _ => self.settings().await?,
            },
        })
    }

    async fn settings(&self) -> Result<Settings, StoreError> {
        let mut values = Vec::new();
        for name in ["appendonly", "appendfsync", "maxmemory-policy"] {
            match self.read::<Vec<String>>("config", redis::cmd("CONFIG").arg("GET").arg(name)).await {
                Ok(pair) => values.push(pair.into_iter().nth(1).unwrap_or_default()),
                Err(StoreError::Redis { source, .. }) if source.code().is_some() => {
                    return Ok(Settings::Hidden(source.code().unwrap_or_default().to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        let mut values = values.into_iter();
        let mut next = || values.next().unwrap_or_default();
        Ok(Settings::Told { appendonly: next(), appendfsync: next(), eviction: next() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str) -> ServerView {
        ServerView {
            version: version.to_owned(),
            role: "master".to_owned(),
            replicas: 1,
            eviction: "noeviction".to_owned(),
            memory: Memory { used: 1, max: 0 },
            settings: Settings::Told {
                appendonly: "yes".to_owned(),
                appendfsync: "everysec".to_owned(),
                eviction: "noeviction".to_owned(),
            },
        }
    }

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(server("7.10.1").is_at_least((7, 2)));
        assert!(!server("7.0.15").is_at_least((7, 2)));
        assert!(!server("6.2.14").is_at_least(OLDEST_REDIS));
        assert!(server("10.0.0").is_at_least(OLDEST_REDIS));
    }

    #[test]
    fn a_wait_for_the_disk_stands_in_for_an_fsync_of_each_write() {
        let fsync = DurabilityProblem::Fsync("everysec".to_owned());
        assert_eq!(server("7.2.0").problems(Durability::Always), [fsync]);
        assert_eq!(server("7.2.0").problems(Durability::WaitAof { local: 1, replicas: 1 }), []);
        let old = DurabilityProblem::Version("7.0.15".to_owned());
        assert_eq!(server("7.0.15").problems(Durability::WaitAof { local: 1, replicas: 1 }), [old]);
    }
}
