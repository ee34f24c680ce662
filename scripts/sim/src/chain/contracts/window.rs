//! The rolling window as `RateLimiter.SlidingWindow` has it, over `Checkpoints.Trace208`, and the cap beside it.

use std::sync::Arc;

use alloy::primitives::U256;

/// The limits of one token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The most per payout.
    pub cap: U256,
    pub window: Window,
}

/// What may leave within so many seconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Window {
    /// [`Window::OFF`]: no bound, and nothing is recorded.
    pub limit: U256,
    pub seconds: u64,
    /// When something left, and all that had left by then.
    trace: Arc<Vec<(u64, U256)>>,
}

/// The clock ran backwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::chain) struct Unordered;

impl Window {
    /// `type(uint208).max`.
    pub const OFF: U256 = U256::MAX.wrapping_shr(48);

    pub fn new(limit: U256, seconds: u64) -> Self {
        Self { limit, seconds, trace: Arc::default() }
    }

    /// Changes how the history is read, not the history.
    pub fn set(&mut self, limit: U256, seconds: u64) {
        (self.limit, self.seconds) = (limit, seconds);
    }

    /// What left in the window that ends at `now`.
    fn used(&self, now: u64) -> U256 {
        let Some((_, latest)) = self.trace.last() else { return U256::ZERO };
        let before = now.saturating_sub(self.seconds.max(1));
        let known = self.trace.partition_point(|(at, _)| *at <= before);
        let then = known.checked_sub(1).map_or(U256::ZERO, |at| self.trace[at].1);
        latest.saturating_sub(then)
    }

    pub fn left(&self, now: u64) -> U256 {
        if self.limit == Self::OFF { U256::MAX } else { self.limit.saturating_sub(self.used(now)) }
    }

    /// Records that `amount` leaves, of which somebody made sure that it may.
    pub(in crate::chain) fn consume(&mut self, amount: U256, now: u64) -> Result<(), Unordered> {
        if self.limit == Self::OFF || amount.is_zero() {
            return Ok(());
        }
        let empty = self.used(now).is_zero();
        let trace = Arc::make_mut(&mut self.trace);
        if empty {
            trace.clear();
        }
        match trace.last_mut() {
            Some((at, _)) if *at > now => return Err(Unordered),
            Some((at, total)) if *at == now => *total = total.saturating_add(amount),
            last => {
                let total = last.map_or(U256::ZERO, |(_, total)| *total).saturating_add(amount);
                trace.push((now, total));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(amount: u64) -> U256 {
        U256::from(amount)
    }

    #[test]
    fn what_left_comes_back_when_its_second_leaves_the_window() {
        let mut window = Window::new(of(10), 60);
        window.consume(of(4), 100).unwrap();
        window.consume(of(3), 130).unwrap();
        assert_eq!(window.left(159), of(3));
        assert_eq!(window.left(160), of(7), "the window is half open: (now - 60, now]");
        assert_eq!(window.left(190), of(10));
    }

    #[test]
    fn a_window_that_is_off_has_no_bound_and_no_memory() {
        let mut window = Window::new(Window::OFF, 60);
        window.consume(of(4), 100).unwrap();
        assert_eq!(window.left(100), U256::MAX);
        window.set(of(10), 60);
        assert_eq!(window.left(100), of(10));
    }

    #[test]
    fn an_expired_history_is_forgotten_at_the_next_payment() {
        let mut window = Window::new(of(10), 60);
        window.consume(of(4), 100).unwrap();
        window.consume(of(1), 200).unwrap();
        window.set(of(10), 1_000);
        assert_eq!(window.left(200), of(9), "what left at 100 is gone");
    }
}
