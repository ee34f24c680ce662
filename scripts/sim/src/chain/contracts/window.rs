//! The rolling window as `contracts/src/libraries/RollingWindow.sol` has it, and the cap beside it.

use alloy::primitives::U256;

const PIECES: usize = 5;
/// Of a limit in units.
const LIMIT_BITS: usize = 39;
const COUNT_BITS: usize = 40;

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
    counts: Counts,
}

/// What left in the present piece of a window and in those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Counts {
    /// A unit has so many bits of base units less than one.
    shift: usize,
    /// The number of the present piece.
    piece: u64,
    /// The present one first, in units, rounded up.
    units: [u64; PIECES],
}

impl Counts {
    fn at(self, piece: u64) -> Self {
        if piece <= self.piece {
            return self;
        }
        let gone = usize::try_from(piece - self.piece).unwrap_or(PIECES).min(PIECES);
        let mut units = [0; PIECES];
        units[gone..].copy_from_slice(&self.units[..PIECES - gone]);
        Self { piece, units, ..self }
    }

    fn used(self) -> U256 {
        U256::from(self.units.iter().sum::<u64>()) << self.shift
    }
}

impl Window {
    /// `type(uint208).max`.
    pub const OFF: U256 = U256::MAX.wrapping_shr(48);

    /// As a contract has it that was made so long ago that time began.
    pub fn new(limit: U256, seconds: u64) -> Self {
        let mut window = Self { limit: U256::ZERO, seconds: 0, counts: Counts::default() };
        window.set(limit, seconds, 0);
        window
    }

    /// What counts keeps counting, from `now` on where the length changes.
    pub fn set(&mut self, limit: U256, seconds: u64, now: u64) {
        let before = if limit == Self::OFF { Counts::default() } else { self.at(now) };
        let shift = excess(limit, LIMIT_BITS).max(excess(before.used(), COUNT_BITS));
        let mut units = before.units;
        if piece_length(seconds) != piece_length(self.seconds) {
            units = [units.iter().sum(), 0, 0, 0, 0];
        }
        (self.limit, self.seconds) = (limit, seconds);
        let units = units.map(|units| in_units(U256::from(units) << before.shift, shift));
        self.counts = Counts { shift, piece: now / piece_length(seconds), units };
    }

    fn at(&self, now: u64) -> Counts {
        self.counts.at(now / piece_length(self.seconds))
    }

    pub fn left(&self, now: u64) -> U256 {
        if self.limit == Self::OFF { U256::MAX } else { self.limit.saturating_sub(self.at(now).used()) }
    }

    /// Records that `amount` leaves, of which somebody made sure that it may.
    pub(in crate::chain) fn consume(&mut self, amount: U256, now: u64) {
        if self.limit == Self::OFF {
            return;
        }
        self.counts = self.at(now);
        self.counts.units[0] += in_units(amount, self.counts.shift);
    }
}

/// A quarter of the window, in whole seconds.
fn piece_length(seconds: u64) -> u64 {
    seconds.div_ceil(PIECES as u64 - 1).max(1)
}

/// Rounded up.
fn in_units(amount: U256, shift: usize) -> u64 {
    (amount + (U256::from(1) << shift) - U256::from(1)).wrapping_shr(shift).to()
}

/// By how many bits `value` is longer than `bits`.
fn excess(value: U256, bits: usize) -> usize {
    value.bit_len().saturating_sub(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(amount: u64) -> U256 {
        U256::from(amount)
    }

    #[test]
    fn what_left_counts_for_the_window_and_at_most_a_quarter_longer() {
        let mut window = Window::new(of(10), 60);
        window.consume(of(4), 104);
        window.consume(of(3), 130);
        assert_eq!(window.left(164), of(3));
        assert_eq!(window.left(165), of(7), "what left in [90, 105) is over");
        assert_eq!(window.left(194), of(7));
        assert_eq!(window.left(195), of(10));
    }

    #[test]
    fn a_window_that_is_off_has_no_bound_and_no_memory() {
        let mut window = Window::new(of(10), 60);
        window.consume(of(4), 100);
        window.set(Window::OFF, 60, 100);
        window.consume(of(4), 100);
        assert_eq!(window.left(100), U256::MAX);
        window.set(of(10), 60, 100);
        assert_eq!(window.left(100), of(10));
    }

    #[test]
    fn another_length_counts_from_now_on_and_a_lower_limit_forgets_nothing() {
        let mut window = Window::new(of(10), 60);
        window.consume(of(4), 100);
        window.set(of(10), 100, 164);
        assert_eq!((window.left(274), window.left(275)), (of(6), of(10)));
        let unit = U256::from(1) << 60;
        let mut window = Window::new(of(1_000) * unit, 60);
        window.consume(of(900) * unit, 100);
        window.set(of(1), 60, 100);
        window.set(of(1_000) * unit, 60, 100);
        assert_eq!(window.left(100), of(100) * unit);
    }
}
