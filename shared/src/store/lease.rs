//! The lease in Redis. What its holder may believe, and for how long, is in [`crate::lease`].

use std::fmt;
use std::time::Duration;

use super::error::StoreError;
use super::script::{self, Args};
use super::wire::Connection;
use super::{Store, codec};
use crate::ids::FencingTerm;

/// The lease's whole value, `boot-uuid:term`. Every signer script compares all of it: after a rollback a term may be
/// given again, a boot uuid is not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence(String);

impl Fence {
    pub(super) fn of_stored(value: &str) -> Self {
        Self(value.to_owned())
    }

    pub(super) fn value(&self) -> &str {
        &self.0
    }

    pub fn boot(&self) -> Option<&str> {
        self.0.rsplit_once(':').map(|(boot, _)| boot)
    }

    pub fn term(&self) -> Option<FencingTerm> {
        self.0.rsplit_once(':').and_then(|(_, term)| term.parse().ok())
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What became of an attempt to take the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquisition {
    Taken { fence: Fence, term: FencingTerm },
    HeldBy { value: String, remaining: Duration },
}

impl Store {
    pub async fn acquire_lease(&self, boot: &str, ttl: Duration) -> Result<Acquisition, StoreError> {
        let args = Args::new().arg(boot).arg(ttl.as_millis());
        let reply: Vec<redis::Value> = self.run(&script::LEASE_ACQUIRE, args).await?;
        let unknown = || StoreError::UnknownReply { script: "lease_acquire", value: format!("{reply:?}") };
        let text = |at: usize| -> Result<String, StoreError> {
            reply.get(at).and_then(|value| redis::from_redis_value_ref(value).ok()).ok_or_else(unknown)
        };
        if text(0)? == "1" {
            let fence = Fence(text(1)?);
            let term = fence.term().ok_or_else(unknown)?;
            return Ok(Acquisition::Taken { fence, term });
        }
        let remaining: i64 = codec::parse("lease", "pttl", &text(2)?, "milliseconds")?;
        let remaining = Duration::from_millis(u64::try_from(remaining).unwrap_or(0));
        Ok(Acquisition::HeldBy { value: text(1)?, remaining })
    }

    /// For how much longer the lease is held; `None` when nobody holds it. One plain command: followers ask often.
    pub async fn lease_remaining(&self) -> Result<Option<Duration>, StoreError> {
        let remaining: i64 = redis::cmd("PTTL")
            .arg(self.keys.lease())
            .query_async(&mut self.link.hot())
            .await
            .map_err(|source| StoreError::Redis { operation: "lease remaining", source })?;
        Ok(u64::try_from(remaining).ok().map(Duration::from_millis))
    }

    /// Extends the lease; `false` when it is not ours any more.
    pub async fn renew_lease(&self, fence: &Fence, ttl: Duration) -> Result<bool, StoreError> {
        let args = Args::new().arg(fence).arg(ttl.as_millis());
        Ok(self.run::<i64>(&script::LEASE_RENEW, args).await? == 1)
    }

    /// Gives the lease up and wakes the followers; `false` when it was not ours.
    pub async fn release_lease(&self, fence: &Fence) -> Result<bool, StoreError> {
        Ok(self.run::<i64>(&script::LEASE_RELEASE, Args::new().arg(fence)).await? == 1)
    }

    /// Who holds the lease now, and for how much longer.
    pub async fn lease_holder(&self) -> Result<Option<(String, Duration)>, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("GET").arg(self.keys.lease()).cmd("PTTL").arg(self.keys.lease());
        let (value, remaining): (Option<String>, i64) = self.pipe("lease", &pipe).await?;
        Ok(value.map(|value| (value, Duration::from_millis(u64::try_from(remaining).unwrap_or(0)))))
    }

    /// A watch on changes of the lease, from now on.
    pub async fn watch_lease(&self) -> Result<LeaseWatch, StoreError> {
        let key = self.keys.lease_changes();
        let last = self.newest_entry("watch lease", &key).await?;
        Ok(LeaseWatch { connection: self.blocking("watch lease").await?, key, last })
    }
}

/// Waits for the lease to change hands, on a connection of its own.
pub struct LeaseWatch {
    connection: Connection,
    key: String,
    last: String,
}

impl LeaseWatch {
    /// Returns when the lease changed or `patience` is over.
    pub async fn changed(&mut self, patience: Duration) -> Result<(), StoreError> {
        super::stream::wait_for_entry(
            &mut self.connection,
            &self.key,
            &mut self.last,
            patience,
            "watch lease",
        )
        .await
        .map(|_| ())
    }
}
