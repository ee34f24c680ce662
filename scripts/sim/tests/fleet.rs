//! Seeds of the simulation, a few of very many: `sim run --seeds 100000` runs more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use sim::fleet::{Report, Size, run};

const SEEDS: u64 = 150;
const THREADS: usize = 2;

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
    assert!(reports.iter().all(|report| report.faults >= 5), "every storm has at least five faults");
    assert!(sum(|report| report.sums.paid) > SEEDS * 20, "most of what is due is paid");
    assert!(sum(|report| report.zombie_writes) > 0, "some leader wrote after its lease was over");
    assert!(sum(|report| report.sums.cancelled) > 0 && sum(|report| report.sums.failed) > 0);
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let size = Size { relayers: 3, jobs: 20 };
    let (one, other) = (run(77, size), run(77, size));
    assert_eq!((one.sums, one.faults, one.lasted), (other.sums, other.faults, other.lasted));
}
