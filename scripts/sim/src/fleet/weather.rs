//! What goes wrong, drawn from the seed: rates of small faults at every command and question, and gusts at moments.

use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::gusts;
use super::settings::CONFIRMATIONS;

/// Probabilities per command or question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    /// A Redis command or its reply is lost.
    pub(super) redis_lost: f64,
    /// A question to the chain or its answer is lost.
    pub(super) chain_lost: f64,
    /// It takes up to a second and a half.
    pub(super) late: f64,
    /// A command, or signed bytes, arrive twice: whoever carries them did not hear that they had arrived.
    pub(super) twice: f64,
    /// The process dies, before or after it is executed.
    pub(super) crash: f64,
    /// Per incarnation: it is stopped gracefully.
    pub(super) stop: f64,
}

impl Rates {
    pub(super) const NONE: Self =
        Self { redis_lost: 0.0, chain_lost: 0.0, late: 0.0, twice: 0.0, crash: 0.0, stop: 0.0 };

    /// Each kind is in three of four storms, at its own rate.
    fn draw(dice: &mut StdRng) -> Self {
        let mut rate = |most: f64| if dice.random_bool(0.75) { most * dice.random::<f64>() } else { 0.0 };
        Self {
            redis_lost: rate(0.01),
            chain_lost: rate(0.05),
            late: rate(0.02),
            twice: rate(0.02),
            crash: rate(0.01),
            stop: rate(0.6),
        }
    }
}

/// One thing that goes wrong, for a while where it has a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gust {
    Kill {
        who: usize,
    },
    /// `suspended`: the machine's clock stands still as well.
    Freeze {
        who: usize,
        lasts: Duration,
        suspended: bool,
    },
    CutRedis {
        who: usize,
        lasts: Duration,
    },
    CutChain {
        who: usize,
        lasts: Duration,
    },
    /// The process sees the chain through bad endpoints; `kind` says how bad.
    BadView {
        who: usize,
        lasts: Duration,
        kind: u8,
    },
    RedisDown {
        lasts: Duration,
    },
    /// Redis comes back with what it knew so long ago.
    Rollback {
        by: Duration,
    },
    Emptied,
    Full {
        lasts: Duration,
    },
    /// Redis's clock jumps, forward or backward, and stays off.
    Clock {
        millis: i64,
    },
    /// A hand in Redis takes what should bring a job on: its entry, or its due time.
    Hand,
    /// Deeper than `CONFIRMATIONS`, it takes back what was final.
    Reorg {
        depth: u64,
        txs_are_lost: bool,
    },
    Evict,
    BaseFee {
        lasts: Duration,
    },
    Paused {
        lasts: Duration,
        registry: bool,
    },
    NoFloat {
        lasts: Duration,
    },
    NoWindow {
        lasts: Duration,
    },
    NoGasMoney {
        lasts: Duration,
    },
    Blocklist {
        referrer: usize,
    },
    /// Somebody else signs with our key.
    Stranger,
}

/// A storm: its rates, and its gusts by the time they come.
#[derive(Debug, Clone)]
pub(super) struct Storm {
    pub(super) rates: Rates,
    pub(super) gusts: Vec<(Duration, Gust)>,
}

impl Gust {
    /// What it is counted as.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Kill { .. } => "crash",
            Self::Freeze { suspended: false, .. } => "pause of a process",
            Self::Freeze { .. } => "pause of a machine",
            Self::CutRedis { .. } => "partition from Redis",
            Self::CutChain { .. } => "partition from the chain",
            Self::BadView { kind, .. } => gusts::view_name(*kind),
            Self::RedisDown { .. } => "Redis restarted",
            Self::Rollback { .. } => "Redis rolled back",
            Self::Emptied => "Redis emptied",
            Self::Full { .. } => "Redis full",
            Self::Clock { millis } if *millis < 0 => "clock of Redis back",
            Self::Clock { .. } => "clock of Redis ahead",
            Self::Hand => "entry lost",
            Self::Reorg { depth, .. } if *depth <= CONFIRMATIONS => "reorganisation",
            Self::Reorg { .. } => "deep reorganisation",
            Self::Evict => "eviction",
            Self::BaseFee { .. } => "fee spike",
            Self::Paused { .. } => "contract paused",
            Self::NoFloat { .. } => "limit: no float",
            Self::NoWindow { .. } => "limit: window used up",
            Self::NoGasMoney { .. } => "no gas money",
            Self::Blocklist { .. } => "blocklist",
            Self::Stranger => "stranger at a nonce",
        }
    }

    /// Whether it does something whenever it comes.
    pub(super) fn is_sure(&self) -> bool {
        !matches!(self, Self::Evict | Self::Stranger | Self::Hand)
    }
}

/// The fewest faults of a storm.
pub(super) const LEAST: usize = 5;
/// In milliseconds: no gust comes later.
const LAST_GUST: u64 = 18_000;
/// How long things go wrong.
pub(super) const STORM: Duration = Duration::from_secs(20);

impl Storm {
    /// Draws one for `relayers`. Five to fourteen gusts that are sure to find something to blow at, and some that may not.
    pub(super) fn draw(dice: &mut StdRng, relayers: usize) -> Self {
        let rates = Rates::draw(dice);
        let count = dice.random_range(LEAST..=14);
        let mut gusts = Vec::new();
        while gusts.iter().filter(|(_, gust): &&(Duration, Gust)| gust.is_sure()).count() < count {
            gusts.push((moment(dice, 500, LAST_GUST), gust(dice, relayers)));
        }
        gusts.sort_by_key(|(at, _)| *at);
        Self { rates, gusts }
    }
}

fn moment(dice: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.random_range(from..to))
}

/// The kinds of gusts, in proportion to how often each is wanted.
const WEIGHTS: [(u8, u32); 21] = [
    (0, 6),  // kill
    (1, 9),  // freeze
    (2, 3),  // cut off from Redis
    (3, 6),  // bad view
    (4, 3),  // Redis is down
    (5, 3),  // rollback
    (6, 1),  // emptied
    (7, 3),  // full
    (8, 5),  // reorganisation
    (9, 3),  // eviction
    (10, 3), // fee spike
    (11, 3), // contract paused
    (12, 3), // no float
    (13, 3), // window used up
    (14, 3), // blocklist
    (15, 3), // stranger
    (16, 2), // no gas money
    (17, 2), // cut off from the chain
    (18, 2), // clock
    (19, 1), // deep reorganisation
    (20, 1), // a hand in Redis
];

fn gust(dice: &mut StdRng, relayers: usize) -> Gust {
    let who = dice.random_range(0..relayers);
    let lasts = moment(dice, 200, 8_000);
    let kind = WEIGHTS.choose_weighted(dice, |(_, weight)| *weight).map_or(0, |(kind, _)| *kind);
    match kind {
        0 => Gust::Kill { who },
        1 => Gust::Freeze { who, lasts, suspended: dice.random_bool(0.3) },
        2 => Gust::CutRedis { who, lasts },
        3 => Gust::BadView { who, lasts, kind: dice.random() },
        4 => Gust::RedisDown { lasts: lasts / 4 },
        5 => Gust::Rollback { by: moment(dice, 10, 4_000) },
        6 => Gust::Emptied,
        7 => Gust::Full { lasts: lasts / 2 },
        8 => Gust::Reorg { depth: dice.random_range(1..=CONFIRMATIONS), txs_are_lost: dice.random_bool(0.5) },
        9 => Gust::Evict,
        10 => Gust::BaseFee { lasts },
        11 => Gust::Paused { lasts, registry: dice.random_bool(0.5) },
        12 => Gust::NoFloat { lasts },
        13 => Gust::NoWindow { lasts },
        14 => Gust::Blocklist { referrer: dice.random_range(0..4) },
        15 => Gust::Stranger,
        16 => Gust::NoGasMoney { lasts },
        17 => Gust::CutChain { who, lasts },
        18 => Gust::Clock { millis: dice.random_range(-4_000..4_000) },
        19 => Gust::Reorg {
            depth: dice.random_range(CONFIRMATIONS + 1..=2 * CONFIRMATIONS + 2),
            txs_are_lost: dice.random_bool(0.5),
        },
        _ => Gust::Hand,
    }
}
