//! Seeds of the simulation, a few of very many: `sim run --seeds 100000` runs more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sim::fleet::{Asked, Faults, Report, Size, mutants, run, run_mutant, second_copies};

const SEEDS: u64 = 2_000;
const THREADS: usize = 2;

/// Every kind of fault that there is.
const KINDS: [&str; 39] = [
    "all endpoints away",
    "all pools full",
    "blocklist",
    "clock of Redis ahead",
    "clock of Redis back",
    "contract paused",
    "crash",
    "deep reorganisation",
    "delay",
    "duplicate",
    "endpoint away",
    "endpoint behind",
    "endpoint on an abandoned branch",
    "endpoint that takes no transaction",
    "endpoint with another pool",
    "endpoint with false records",
    "endpoint with false simulations",
    "endpoint without receipts or logs",
    "entry lost",
    "eviction",
    "fee spike",
    "graceful stop",
    "limit: no float",
    "limit: window used up",
    "lost reply",
    "lost request",
    "no gas money",
    "nonce ahead",
    "partition from Redis",
    "partition from the chain",
    "pause of a machine",
    "pause of a process",
    "Redis emptied",
    "Redis full",
    "Redis restarted",
    "Redis rolled back",
    "reorganisation",
    "stale nonce",
    "stranger at a nonce",
];

/// Runs the seeds, and gives their reports in the order of the seeds.
fn simulate(seeds: std::ops::Range<u64>, size: Size) -> Vec<Report> {
    let (next, reports) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| seeds.contains(seed))
                {
                    let report = run(seed, size);
                    reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap_or_else(PoisonError::into_inner);
    reports.sort_by_key(|report| report.seed);
    reports
}

#[test]
fn whatever_goes_wrong_every_job_ends_as_the_chain_says_and_is_paid_once() {
    let reports = simulate(1..SEEDS + 1, Size::default());
    let failed: Vec<String> =
        reports.iter().filter(|report| !report.violations.is_empty()).map(Report::to_string).collect();
    assert!(
        failed.is_empty(),
        "run `sim run --seeds 1 --seed N --log info` for one of them:\n{}",
        failed.join("\n")
    );
    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    // Otherwise nothing was put to the test.
    let faults_of = |report: &Report| report.faults.values().sum::<u64>();
    assert!(reports.iter().all(|report| faults_of(report) >= 5), "every storm has at least five faults");
    let (mut faults, mut asked) = (Faults::new(), Asked::default());
    for report in &reports {
        asked.add(&report.asked);
        for (fault, count) in &report.faults {
            *faults.entry(fault).or_default() += count;
        }
    }
    let missing: Vec<_> = KINDS.iter().filter(|kind| !faults.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "faults that never happened: {missing:?}");
    assert!(asked.refunds + asked.deletions + asked.retries > SEEDS * 5, "{asked:?}");
    assert!(asked.refunds_cancelled > 0 && asked.deletions_granted > 0 && asked.retries_granted > 0);
    assert!(sum(|report| report.sums.paid) > SEEDS * 20, "most of what is due is paid");
    assert!(sum(|report| report.zombie_writes) > 0, "some leader wrote after its lease was over");
    assert!(sum(|report| report.sums.cancelled) > 0 && sum(|report| report.sums.failed) > 0);
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let size = Size { relayers: 3, jobs: 20 };
    let (one, other) = (run(77, size), run(77, size));
    assert_eq!(
        (one.sums, one.faults, one.asked, one.lasted),
        (other.sums, other.faults, other.asked, other.lasted)
    );
}

/// Seeds beyond those that each found a defect of the product, which its mutant in `scripts/mutants.d` brings back.
const FOUND: [u64; 6] = [13_812, 20_666, 45_223, 97_982, 101_253, 103_282];

#[test]
fn what_a_seed_has_found_stays_mended() {
    for seed in FOUND {
        let report = run(seed, Size::default());
        assert!(report.violations.is_empty(), "{report}");
    }
}

/// The first that shows the mutant is 271.
const COPIED: u64 = 300;

/// Seed 87805 found it once, by a copy that comes rarely.
#[test]
fn what_is_taken_back_is_looked_after_whatever_the_reply_says() {
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let seed @ 1..=COPIED = next.fetch_add(1, Ordering::Relaxed) {
                    let report = run_mutant(seed, Size::default(), Some(&second_copies()));
                    assert!(report.violations.is_empty(), "{report}");
                }
            });
        }
    });
}

/// Seeds within which each mutant must show.
const MUTANT_SEEDS: u64 = 100;

#[test]
fn what_is_broken_on_purpose_is_found() {
    let (mutants, next) = (mutants(), AtomicU64::new(0));
    let survived = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let at = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
                    let Some(mutant) = mutants.get(at) else { return };
                    if !(1..MUTANT_SEEDS + 1).any(|seed| mutant.shown_by(seed, Size::default()).is_some()) {
                        survived.lock().unwrap_or_else(PoisonError::into_inner).push(mutant.name);
                    }
                }
            });
        }
    });
    let survived = survived.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(survived.is_empty(), "these survive {MUTANT_SEEDS} seeds: {survived:?}");
}
