//! What is asked of the system during a schedule: who registers, who pays, what comes twice, what is taken back.

use alloy::primitives::Address;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng, SeedableRng as _};

/// Commission is due to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referrer {
    pub wallet: String,
    /// A part of the commission is paid in SGE.
    pub hybrid: bool,
    /// Nobody can pay it: the token refuses to.
    pub blocked: bool,
}

/// They pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    pub wallet: String,
    /// Which of the referrers brought it.
    pub referrer: usize,
    /// When it registers, in milliseconds since the work began; before that, and for good, where none.
    pub registers_at: Option<u64>,
}

/// How a payment is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeBack {
    Refund,
    /// An operator deletes its job.
    Delete,
    /// An operator retries its job, which takes nothing back and comes at the worst moment.
    Retry,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id at the source.
    pub id: String,
    pub child: usize,
    /// Base units, six decimals.
    pub units: u128,
    /// When it is delivered first, in milliseconds since the work began.
    pub at: u64,
    /// Further deliveries, each so many milliseconds after the first was answered.
    pub again: Vec<u64>,
    /// And how it is taken back, each so many milliseconds after the first was answered.
    pub back: Vec<(u64, TakeBack)>,
    /// Whoever looks at it dies.
    pub deadly: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub referrers: Vec<Referrer>,
    pub children: Vec<Child>,
    pub payments: Vec<Payment>,
}

/// Over which work is spread, in milliseconds.
const SPREAD: u64 = 8_000;
/// Children that are registered before anything goes wrong, and those that register in the middle of it.
const EARLY: usize = 3;
const LATE: usize = 3;

impl Work {
    /// Work of `jobs` jobs. Where Redis `forgets`, nobody registers meanwhile and nothing is taken back: what was forgotten
    /// before the chain knew it is decided anew, and rightly otherwise.
    pub fn draw(rng: &mut impl Rng, jobs: usize, forgets: bool) -> Self {
        let referrers = vec![
            Referrer { wallet: wallet(0xa0, rng), hybrid: false, blocked: false },
            Referrer { wallet: wallet(0xa1, rng), hybrid: true, blocked: false },
            Referrer { wallet: wallet(0xa2, rng), hybrid: rng.random(), blocked: true },
        ];
        let late = if forgets { 0 } else { LATE };
        let children: Vec<Child> = (0..EARLY + late)
            .map(|n| Child {
                wallet: wallet(0xc0, rng),
                referrer: if n < EARLY { n } else { n % 2 },
                registers_at: (n >= EARLY).then(|| rng.random_range(0..SPREAD / 2)),
            })
            .collect();
        let mut payments: Vec<Payment> = (0..jobs.saturating_sub(children.len()))
            .map(|n| Payment {
                id: format!("pay_{n}_{:08x}", rng.random::<u32>()),
                // One is for the blocked referrer; the others get theirs.
                child: if n == 0 { 2 } else { [0, 1, 3, 4, 5][rng.random_range(0..2 + late)] },
                units: rng.random_range(1_000_000..500_000_000),
                at: rng.random_range(0..SPREAD),
                again: (0..rng.random_range(0..3)).map(|_| rng.random_range(0..4_000)).collect(),
                back: Vec::new(),
                deadly: false,
            })
            .collect();
        if !forgets {
            for n in 1..payments.len().min(4) {
                let how = if n == 3 { TakeBack::Delete } else { TakeBack::Refund };
                payments[n].back.push((rng.random_range(0..5_000), how));
            }
        }
        payments.shuffle(rng);
        Self { referrers, children, payments }
    }

    /// Many payments of `children` children that are there from the beginning, spread over `spread` milliseconds. What comes
    /// twice and what is taken back is the caller's to add.
    pub fn flood(rng: &mut impl Rng, children: usize, payments: usize, spread: u64) -> Self {
        let referrers = vec![
            Referrer { wallet: wallet(0xa0, rng), hybrid: false, blocked: false },
            Referrer { wallet: wallet(0xa1, rng), hybrid: true, blocked: false },
            Referrer { wallet: wallet(0xa2, rng), hybrid: false, blocked: true },
        ];
        let children: Vec<Child> = (0..children)
            .map(|n| Child { wallet: wallet(0xc0, rng), referrer: n % 2, registers_at: None })
            .collect();
        let payments = (0..payments)
            .map(|n| Payment {
                id: format!("flood_{n}_{:08x}", rng.random::<u32>()),
                child: n % children.len(),
                units: rng.random_range(1_000_000..50_000_000),
                at: rng.random_range(0..spread.max(1)),
                again: Vec::new(),
                back: Vec::new(),
                deadly: false,
            })
            .collect();
        Self { referrers, children, payments }
    }

    /// A little of everything that ordinary work has, all at once, the same each time: a child that is there and one that
    /// registers, payouts of the one and one that waits for the other.
    pub fn small() -> Self {
        let mut rng = StdRng::seed_from_u64(1);
        let referrers = vec![
            Referrer { wallet: wallet(0xa0, &mut rng), hybrid: false, blocked: false },
            Referrer { wallet: wallet(0xa1, &mut rng), hybrid: true, blocked: false },
        ];
        let child = |rng: &mut StdRng, referrer, registers_at| Child {
            wallet: wallet(0xc0, rng),
            referrer,
            registers_at,
        };
        let children = vec![child(&mut rng, 0, None), child(&mut rng, 1, Some(0))];
        let payment = |n: usize, child| Payment {
            id: format!("small_{n}"),
            child,
            units: 10_000_000 + n as u128,
            at: 0,
            again: Vec::new(),
            back: Vec::new(),
            deadly: false,
        };
        let payments = vec![payment(0, 0), payment(1, 0), payment(2, 0), payment(3, 1)];
        Self { referrers, children, payments }
    }

    /// How many jobs all of this makes.
    pub fn jobs(&self) -> usize {
        self.children.len() + self.payments.len()
    }

    pub fn referrer_of(&self, child: usize) -> &Referrer {
        &self.referrers[self.children[child].referrer]
    }
}

/// A wallet that nobody has the key of.
pub fn wallet(kind: u8, rng: &mut impl Rng) -> String {
    let mut bytes: [u8; 20] = rng.random();
    bytes[0] = kind;
    Address::from(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_has_everything_that_can_be_asked_unless_redis_forgets() {
        let mut rng = StdRng::seed_from_u64(1);
        let whole = Work::draw(&mut rng, 20, false);
        assert_eq!((whole.jobs(), whole.children.len()), (20, EARLY + LATE));
        for back in [TakeBack::Refund, TakeBack::Delete] {
            assert!(whole.payments.iter().any(|payment| payment.back.iter().any(|(_, how)| *how == back)));
        }
        assert!(whole.payments.iter().any(|payment| !payment.again.is_empty()));
        let blocked = whole.payments.iter().filter(|payment| whole.referrer_of(payment.child).blocked);
        assert_eq!(blocked.count(), 1);
        let careful = Work::draw(&mut rng, 20, true);
        assert_eq!((careful.jobs(), careful.children.len()), (20, EARLY));
        assert!(careful.payments.iter().all(|payment| payment.back.is_empty()));
    }
}
