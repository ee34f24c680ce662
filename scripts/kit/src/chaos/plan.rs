//! What a schedule does, drawn from a seed and its number alone: the work, the faults, and when.

use std::fmt;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use super::kinds::{Kind, Seat};
use super::work::Work;

/// Jobs of one schedule.
pub const JOBS: usize = 20;
/// Faults of one schedule.
const FAULTS: std::ops::RangeInclusive<usize> = 2..=4;
/// When faults begin and how long they last, in milliseconds since the work began.
const BEGINS: std::ops::Range<u64> = 300..7_000;
const LASTS: std::ops::Range<u64> = 300..4_000;

/// One fault that is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    pub kind: Kind,
    /// Milliseconds since the work began.
    pub at: u64,
    /// Milliseconds until it is healed.
    pub lasts: u64,
    /// What else it needs to know, such as whom it befalls and how bad it is: a fault takes it apart as it likes.
    pub salt: u64,
}

impl Planned {
    /// A number below `below`, the `n`th that is drawn from the salt.
    pub fn pick(&self, n: u64, below: u64) -> u64 {
        StdRng::seed_from_u64(self.salt.wrapping_add(n)).next_u64() % below.max(1)
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasts) = (self.at as f64 / 1_000.0, self.lasts as f64 / 1_000.0);
        write!(f, "at {at:.1} s for {lasts:.1} s: {}, {}", self.kind.name(), self.kind.about())
    }
}

/// One schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub number: u64,
    pub work: Work,
    /// By their beginning.
    pub faults: Vec<Planned>,
}

impl Schedule {
    /// The schedule `number` of `seed`, with faults of `kinds` only. The first fault goes round: as many schedules as there are
    /// kinds have each at least once.
    pub fn draw(seed: u64, number: u64, kinds: &[Kind]) -> Self {
        let mut order = kinds.to_vec();
        order.shuffle(&mut StdRng::seed_from_u64(seed));
        let mut rng = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut chosen = Vec::new();
        if let Some(first) = order.get((number % order.len().max(1) as u64) as usize) {
            chosen.push(*first);
        }
        let wanted = rng.random_range(FAULTS);
        let mut others = order;
        others.shuffle(&mut rng);
        for kind in others {
            if chosen.len() < wanted && chosen.iter().all(|taken| go_together(*taken, kind)) {
                chosen.push(kind);
            }
        }
        let mut faults: Vec<Planned> = chosen
            .into_iter()
            .map(|kind| Planned {
                kind,
                at: rng.random_range(BEGINS),
                lasts: rng.random_range(LASTS),
                salt: rng.next_u64(),
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        let forgets = faults.iter().any(|fault| fault.kind.forgets());
        Self { number, work: Work::draw(&mut rng, JOBS, forgets), faults }
    }

    /// Whether Redis loses what it had acknowledged.
    pub fn forgets(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.forgets())
    }
}

/// Whether two faults may be in one schedule: they befall different parts, and a reorganisation that undoes what was final
/// does not meet a Redis that has forgotten it, because nothing is left then that could know.
fn go_together(one: Kind, other: Kind) -> bool {
    let relayers = [Seat::Leader, Seat::Relayer, Seat::Point];
    let both = |kind: Kind| relayers.contains(&kind.seat());
    let blind = |deep: Kind, forgets: Kind| deep == Kind::ReorgDeep && forgets.forgets();
    let is_one_part = one.seat() == other.seat() || (both(one) && both(other));
    !is_one_part && !blind(one, other) && !blind(other, one)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_and_a_number_say_everything() {
        for number in 0..20 {
            let (one, same) = (Schedule::draw(7, number, Kind::ALL), Schedule::draw(7, number, Kind::ALL));
            assert_eq!(format!("{one:?}"), format!("{same:?}"));
            let other = Schedule::draw(8, number, Kind::ALL);
            assert_ne!(format!("{one:?}"), format!("{other:?}"));
        }
    }

    #[test]
    fn every_kind_is_reached_and_no_part_is_befallen_twice_in_one_schedule() {
        let count = Kind::ALL.len() as u64;
        let mut reached = BTreeSet::new();
        for number in 0..count {
            let schedule = Schedule::draw(3, number, Kind::ALL);
            assert!(FAULTS.contains(&schedule.faults.len()), "{schedule:?}");
            let seats: BTreeSet<_> = schedule.faults.iter().map(|fault| fault.kind.seat()).collect();
            assert_eq!(seats.len(), schedule.faults.len(), "{schedule:?}");
            assert!(schedule.faults.is_sorted_by_key(|fault| fault.at));
            assert_eq!(schedule.work.jobs(), JOBS);
            reached.extend(schedule.faults.iter().map(|fault| fault.kind));
        }
        assert_eq!(reached.len(), Kind::ALL.len());
    }

    #[test]
    fn only_what_is_asked_for_is_drawn() {
        let wanted = [Kind::KillApi, Kind::ReorgDeep];
        for number in 0..10 {
            let schedule = Schedule::draw(1, number, &wanted);
            assert!(schedule.faults.iter().all(|fault| wanted.contains(&fault.kind)));
            assert_eq!(schedule.faults.len(), 2);
        }
    }
}
