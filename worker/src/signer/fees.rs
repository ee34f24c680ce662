//! EIP-1559 fees, pure: what a first attempt offers, what a replacement must offer, and when one is wanted.
//!
//! Invariants: no fee exceeds the cap; a priority fee never exceeds its max fee; a replacement raises both fields by at
//! least 12.5 %, which every node takes (they ask for 10 %), or there is no replacement at all.

use shared::ids::BlockNumber;
use shared::tx::Fees;

/// Wei per gas, where no node ever told: what most chains take.
pub const DEFAULT_TIP: u128 = 1_000_000_000;

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
