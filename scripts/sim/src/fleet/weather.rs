//! What goes wrong, drawn from the seed: rates of small faults at every command and question, and gusts at moments.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

/// Probabilities per command or question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    /// A Redis command or its reply is lost.
    pub(super) redis_lost: f64,
    /// A question to the chain or its answer is lost.
    pub(super) chain_lost: f64,
    /// It takes up to a second and a half.
    pub(super) late: f64,
    /// The process dies, before or after it is executed.
    pub(super) crash: f64,
    /// Per incarnation: it is stopped gracefully.
    pub(super) stop: f64,
}

impl Rates {
    pub(super) const NONE: Self =
        Self { redis_lost: 0.0, chain_lost: 0.0, late: 0.0, crash: 0.0, stop: 0.0 };

    /// Each kind is in three of four storms, at its own rate.
    fn draw(dice: &mut StdRng) -> Self {
        let mut rate = |most: f64| if dice.random_bool(0.75) { most * dice.random::<f64>() } else { 0.0 };
        Self {
            redis_lost: rate(0.01),
            chain_lost: rate(0.05),
            late: rate(0.02),
            crash: rate(0.01),
            stop: rate(0.6),
        }
    }
}

/// One thing that goes wrong, for a while where it has a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gust {
    Kill { who: usize },
    /// `suspended`: the machine's clock stands still as well.
    Freeze { who: usize, lasts: Duration, suspended: bool },
    CutRedis { who: usize, lasts: Duration },
    /// The process sees the chain through bad endpoints; `kind` says how bad.
    BadView { who: usize, lasts: Duration, kind: u8 },
    RedisDown { lasts: Duration },
    /// Redis comes back with what it knew so long ago.
    Rollback { by: Duration },
    Emptied,
    Full { lasts: Duration },
    Reorg { depth: u64, txs_are_lost: bool },
    Evict,
    BaseFee { lasts: Duration },
    Paused { lasts: Duration, registry: bool },
    NoFloat { lasts: Duration },
    NoWindow { lasts: Duration },
    NoGasMoney { lasts: Duration },
    Blocklist { referrer: usize },
    /// Somebody else signs with our key.
    Stranger,
}

/// A storm: its rates, and its gusts by the time they come.
#[derive(Debug, Clone)]
pub(super) struct Storm {
    pub(super) rates: Rates,
    pub(super) gusts: Vec<(Duration, Gust)>,
}

/// How long things go wrong.
pub(super) const STORM: Duration = Duration::from_secs(20);

impl Storm {
    /// Draws one for `relayers`. At least five gusts, and at most fourteen.
    pub(super) fn draw(dice: &mut StdRng, relayers: usize) -> Self {
        let rates = Rates::draw(dice);
        let count = dice.random_range(5..=14);
        let mut gusts: Vec<_> = (0..count).map(|_| (moment(dice, 500, 18_000), gust(dice, relayers))).collect();
        gusts.sort_by_key(|(at, _)| *at);
        Self { rates, gusts }
    }
}

fn moment(dice: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.random_range(from..to))
}

fn gust(dice: &mut StdRng, relayers: usize) -> Gust {
    let who = dice.random_range(0..relayers);
    let lasts = moment(dice, 200, 8_000);
    let kinds: [u8; 21] = [0, 0, 1, 1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 13, 14, 15];
    match kinds.choose(dice).copied().unwrap_or_default() {
        0 => Gust::Kill { who },
        1 => Gust::Freeze { who, lasts, suspended: dice.random_bool(0.3) },
        2 => Gust::CutRedis { who, lasts },
        3 => Gust::BadView { who, lasts, kind: dice.random() },
        4 => Gust::RedisDown { lasts: lasts / 4 },
        5 => Gust::Rollback { by: moment(dice, 10, 4_000) },
        6 if dice.random_bool(0.3) => Gust::Emptied,
        7 => Gust::Full { lasts: lasts / 2 },
        8 => Gust::Reorg { depth: dice.random_range(1..3), txs_are_lost: dice.random_bool(0.5) },
        9 => Gust::Evict,
        10 => Gust::BaseFee { lasts },
        11 => Gust::Paused { lasts, registry: dice.random_bool(0.5) },
        12 => Gust::NoFloat { lasts },
        13 => Gust::NoWindow { lasts },
        14 => Gust::Blocklist { referrer: dice.random_range(0..4) },
        15 => Gust::Stranger,
        _ => Gust::NoGasMoney { lasts },
    }
}
