//! When to try again: exponential backoff with full jitter, bounded. Pure; the caller brings the randomness.

use std::time::Duration;

/// How attempts are spaced, and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// The bound of the first delay.
    pub base: Duration,
    /// The bound of every delay.
    pub most: Duration,
    /// Charged attempts after which a job is dead-lettered.
    pub max_attempts: u32,
}

impl RetryPolicy {
    pub fn new(max_attempts: u32) -> Self {
        Self { base: Duration::from_secs(1), most: Duration::from_secs(300), max_attempts }
    }

    /// The delay before the attempt after `attempts` charged ones. `draw` is uniform in `0.0..1.0`.
    pub fn delay(&self, attempts: u32, draw: f64) -> Duration {
        let bound =
            self.base.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(16))).min(self.most);
        bound.mul_f64(draw.clamp(0.0, 1.0))
    }

    pub fn is_exhausted(&self, attempts: u32) -> bool {
        attempts >= self.max_attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_and_ends() {
        let policy = RetryPolicy::new(5);
        let bounds: Vec<_> = (1..=4).map(|attempts| policy.delay(attempts, 1.0).as_secs()).collect();
        assert_eq!(bounds, [1, 2, 4, 8]);
        assert_eq!(policy.delay(60, 1.0), policy.most);
        assert_eq!(policy.delay(3, 0.0), Duration::ZERO);
    }
}
