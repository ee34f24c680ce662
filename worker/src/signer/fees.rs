//! EIP-1559 fees, pure: what a first attempt offers, what a replacement must offer, and when one is wanted.
//!
//! Invariants: what endpoints suggest as a tip is believed within bounds only; no fee exceeds the cap; a priority fee
//! never exceeds its max fee; a replacement raises both fields by at least 12.5 %, which every node takes (they ask for
//! 10 %), or there is no replacement at all.

use shared::ids::BlockNumber;
use shared::tx::Fees;

/// The least that is ever tipped, in wei per gas: what nodes ask for unless they are told otherwise.
const LEAST_TIP: u128 = 1_000_000;
/// A replacement tips at least this part of the base fee: what it replaces was not enough.
const AGAIN: u128 = 8;

/// Tips as endpoints suggest them, in wei per gas: none of them may be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tips {
    /// For a first attempt: one that suggests too much would make every transaction pay for it.
    low: u128,
    /// For a replacement: one that suggests too little must not keep it out of blocks for ever.
    high: u128,
}

impl Tips {
    /// Where no node ever told: what most chains take.
    pub const USUAL: Self = Self { low: 1_000_000_000, high: 1_000_000_000 };

    /// `None` where nobody suggested anything. `most`: no suggestion above it is believed.
    pub fn of(suggested: &[u128], most: u128) -> Option<Self> {
        let within = |tip: &u128| (*tip).max(LEAST_TIP).min(most);
        Some(Self { low: within(suggested.iter().min()?), high: within(suggested.iter().max()?) })
    }

    pub fn first(self) -> u128 {
        self.low
    }

    /// Reached at once, long before the max fee comes to its cap: there, a tip that is too low could never be mended.
    pub fn again(self, base_fee: u128, most: u128) -> u128 {
        self.high.max(base_fee / AGAIN).min(most)
    }
}

/// Fees of a first attempt: the base fee may double before it stops being includable. `None`: the cap is below the base
/// fee, so nothing that may be offered would be included now.
pub fn initial(base_fee: u128, tip: u128, cap: u128) -> Option<Fees> {
    if cap < base_fee {
        return None;
    }
    let max_fee = base_fee.saturating_mul(2).saturating_add(tip).min(cap);
    Some(Fees { max_fee, max_priority_fee: tip.min(max_fee) })
}

/// Fees that replace an attempt at `previous`: the larger of the least a node takes and `fresh`, what a first attempt
/// would offer now, under the cap. `None`: the cap forbids a valid replacement.
pub fn bump(previous: Fees, fresh: Option<Fees>, cap: u128) -> Option<Fees> {
    let least =
        Fees { max_fee: raised(previous.max_fee), max_priority_fee: raised(previous.max_priority_fee) };
    if least.max_fee > cap {
        return None;
    }
    let fresh = fresh.unwrap_or(least);
    let max_fee = least.max_fee.max(fresh.max_fee).min(cap);
    let max_priority_fee = least.max_priority_fee.max(fresh.max_priority_fee).min(max_fee);
    // Only where the previous priority fee was (against the rules) above its max fee.
    (max_priority_fee >= least.max_priority_fee).then_some(Fees { max_fee, max_priority_fee })
}

/// At least 12.5 % more, rounded up, and at least 1 wei more: nodes refuse an equal fee, even of zero.
fn raised(fee: u128) -> u128 {
    fee.saturating_add(fee.div_ceil(8).max(1))
}

/// Whether an attempt should be replaced: not included for `patience` blocks since `signed_at`, or priced out.
pub fn wants_bump(
    fees: Fees,
    signed_at: BlockNumber,
    head: BlockNumber,
    base_fee: u128,
    patience: u64,
) -> bool {
    let waited = head.get().saturating_sub(signed_at.get());
    // At least one block must have had the chance to include it, or two signings in one block would race.
    waited >= patience.max(1) || (waited >= 1 && base_fee > fees.max_fee)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    const GWEI: u128 = 1_000_000_000;

    #[test]
    fn a_first_tip_is_the_lower_one_within_bounds_and_a_replacement_takes_the_higher() {
        let tips = |suggested: &[u128]| Tips::of(suggested, 50 * GWEI).unwrap();
        let both = tips(&[3 * GWEI, 2 * GWEI]);
        assert_eq!((both.first(), both.again(GWEI, 50 * GWEI)), (2 * GWEI, 3 * GWEI));
        let greedy = tips(&[9_000 * GWEI]);
        assert_eq!((greedy.first(), greedy.again(GWEI, 50 * GWEI)), (50 * GWEI, 50 * GWEI));
        let zero = tips(&[0]);
        assert_eq!((zero.first(), zero.again(16 * GWEI, 50 * GWEI)), (LEAST_TIP, 2 * GWEI));
        assert_eq!(zero.again(800 * GWEI, 50 * GWEI), 50 * GWEI);
        assert_eq!(Tips::of(&[], 50 * GWEI), None);
    }

    #[test]
    fn whatever_endpoints_suggest_a_replacement_at_the_cap_tips_what_gets_into_blocks() {
        let (cap, most) = (500 * GWEI, 50 * GWEI);
        for suggested in [vec![0], vec![0, 0], vec![0, 2 * GWEI], vec![2 * GWEI], vec![u128::MAX]] {
            for base_fee in [GWEI, 10 * GWEI, 30 * GWEI] {
                let tips = Tips::of(&suggested, most).unwrap();
                let mut fees = initial(base_fee, tips.first(), cap).unwrap();
                assert!(fees.max_priority_fee <= most, "{suggested:?}");
                while let Some(next) = bump(fees, initial(base_fee, tips.again(base_fee, most), cap), cap) {
                    fees = next;
                    assert!(fees.max_priority_fee >= base_fee / AGAIN, "{suggested:?} {base_fee}: {fees:?}");
                }
                assert!(
                    fees.max_priority_fee >= base_fee.min(2 * GWEI),
                    "{suggested:?} {base_fee}: {fees:?}"
                );
            }
        }
    }

    #[test]
    fn a_first_attempt_survives_a_doubled_base_fee() {
        let fees = initial(10 * GWEI, 2 * GWEI, 500 * GWEI).unwrap();
        assert_eq!(fees, Fees { max_fee: 22 * GWEI, max_priority_fee: 2 * GWEI });
    }

    #[test]
    fn the_cap_bounds_both_fields_and_a_base_fee_above_it_yields_nothing() {
        assert_eq!(initial(10, 50, 30), Some(Fees { max_fee: 30, max_priority_fee: 30 }));
        assert_eq!(initial(31, 1, 30), None);
        assert_eq!(initial(0, 0, 0), Some(Fees { max_fee: 0, max_priority_fee: 0 }));
    }

    #[test]
    fn a_bump_follows_the_market_when_it_rose_more() {
        let previous = Fees { max_fee: 100, max_priority_fee: 10 };
        let fresh = Fees { max_fee: 300, max_priority_fee: 40 };
        assert_eq!(bump(previous, Some(fresh), 1_000), Some(fresh));
        assert_eq!(bump(previous, Some(fresh), 200), Some(Fees { max_fee: 200, max_priority_fee: 40 }));
    }

    #[test]
    fn a_bump_under_a_fallen_market_still_replaces() {
        let previous = Fees { max_fee: 1_000, max_priority_fee: 100 };
        assert_eq!(
            bump(previous, Some(Fees { max_fee: 10, max_priority_fee: 1 }), u128::MAX),
            Some(Fees { max_fee: 1_125, max_priority_fee: 113 })
        );
    }

    #[test]
    fn the_cap_forbids_a_replacement_that_no_node_would_take() {
        assert_eq!(bump(Fees { max_fee: 1_000, max_priority_fee: 1 }, None, 1_124), None);
        assert!(bump(Fees { max_fee: 1_000, max_priority_fee: 1 }, None, 1_125).is_some());
        assert_eq!(bump(Fees { max_fee: u128::MAX - 1, max_priority_fee: 1 }, None, u128::MAX - 1), None);
    }

    #[test]
    fn every_bump_is_a_valid_replacement_under_the_cap() {
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..20_000 {
            let magnitude = 1u128 << rng.random_range(0..120);
            let max_fee = rng.random_range(0..=magnitude);
            let previous = Fees { max_fee, max_priority_fee: rng.random_range(0..=max_fee) };
            let cap = rng.random_range(0..=magnitude.saturating_mul(4));
            let fresh = initial(rng.random_range(0..=magnitude), rng.random_range(0..=magnitude), cap);
            let Some(bumped) = bump(previous, fresh, cap) else {
                assert!(cap < raised(previous.max_fee), "{previous:?} under {cap}");
                continue;
            };
            assert!(bumped.max_fee <= cap);
            assert!(bumped.max_priority_fee <= bumped.max_fee);
            for (new, old) in
                [(bumped.max_fee, previous.max_fee), (bumped.max_priority_fee, previous.max_priority_fee)]
            {
                assert!(new > old && new * 8 >= old * 9, "{old} -> {new}");
            }
            if let Some(fresh) = fresh {
                assert!(bumped.max_fee >= fresh.max_fee, "below the market: {bumped:?} {fresh:?}");
                assert!(bumped.max_priority_fee >= fresh.max_priority_fee);
            }
        }
    }

    #[test]
    fn repeated_bumps_end_at_the_cap() {
        let (mut fees, mut count) = (Fees { max_fee: 1, max_priority_fee: 0 }, 0);
        while let Some(next) = bump(fees, None, 1_000 * GWEI) {
            (fees, count) = (next, count + 1);
        }
        assert!(fees.max_fee > 888 * GWEI, "{fees:?}");
        assert!(count < 300);
    }

    #[test]
    fn a_bump_is_wanted_after_patience_or_when_priced_out() {
        let fees = Fees { max_fee: 100, max_priority_fee: 1 };
        let at = BlockNumber::new;
        assert!(!wants_bump(fees, at(10), at(12), 100, 3));
        assert!(wants_bump(fees, at(10), at(13), 100, 3));
        assert!(wants_bump(fees, at(10), at(11), 101, 3));
        assert!(!wants_bump(fees, at(10), at(10), 101, 3), "no block has had the chance to include it");
        assert!(!wants_bump(fees, at(10), at(9), 50, 0), "a head behind the attempt's own proves nothing");
    }
}
