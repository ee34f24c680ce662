//! Time, injected. Decisions take instants as arguments; only shells hold a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point of the monotonic clock, in milliseconds since the process started counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(u64);

impl Monotonic {
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// The machine's clocks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clock {
    start: Instant,
    /// In milliseconds: what a simulation makes the monotonic clock differ by.
    shift: Option<Arc<AtomicI64>>,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now(), shift: None }
    }

    /// A clock whose monotonic time is off by `shift` milliseconds: a machine that was suspended, or a checker that makes all
    /// time itself. Whoever changes `shift` keeps it from running backwards.
    pub fn shifted(shift: Arc<AtomicI64>) -> Self {
        Self { start: Instant::now(), shift: Some(shift) }
    }

    pub fn monotonic(&self) -> Monotonic {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let shift = self.shift.as_ref().map_or(0, |shift| shift.load(Ordering::Relaxed));
        Monotonic(elapsed.saturating_add_signed(shift))
    }

    /// Seconds since 1970 by the wall clock; for signatures of others and for logs, never for leases.
    #[allow(clippy::disallowed_methods, reason = "this is the one home of the wall clock")]
    pub fn unix_seconds(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// Milliseconds since 1970 by the wall clock; to compare it with other clocks.
    #[allow(clippy::disallowed_methods, reason = "this is the one home of the wall clock")]
    pub fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
