//! `sim run`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sim::fleet::{self, Report, Size};

#[derive(clap::Args)]
pub(crate) struct Run {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many, from the first on
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    #[arg(long, default_value_t = 50)]
    jobs: usize,
    #[arg(long, default_value_t = 3)]
    relayers: usize,
    /// Show what each relayer logs, filtered like RUST_LOG; for a single seed
    #[arg(long)]
    log: Option<String>,
    /// Show every seed's storm, not only those of seeds that fail
    #[arg(long)]
    verbose: bool,
}

/// The exit code is 1 where a seed breaks a promise.
pub(crate) fn run(run: &Run) -> ExitCode {
    if let Some(filter) = &run.log {
        shared::telemetry::start(shared::telemetry::LogFormat::Text, filter);
    }
    let began = Instant::now();
    let totals = Mutex::new(Totals::default());
    let next = AtomicU64::new(run.seed);
    let end = run.seed.saturating_add(run.seeds);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = fleet::run(seed, Size { relayers: run.relayers, jobs: run.jobs });
                    if run.verbose || !report.violations.is_empty() {
                        println!("{report}");
                    }
                    totals.lock().unwrap_or_else(PoisonError::into_inner).add(&report);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!(
        "{} paid, {} registered, {} failed for good reason, {} cancelled, {} writes of zombies refused, {:.0} s",
        totals.paid,
        totals.registered,
        totals.failed,
        totals.cancelled,
        totals.zombie_writes,
        began.elapsed().as_secs_f64()
    );
    println!(
        "{} seeds from {}, {} jobs, {} faults: {} violations",
        totals.seeds, run.seed, totals.jobs, totals.faults, totals.violations
    );
    if totals.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[derive(Default)]
struct Totals {
    seeds: u64,
    jobs: u64,
    paid: u64,
    registered: u64,
    failed: u64,
    cancelled: u64,
    faults: u64,
    zombie_writes: u64,
    violations: u64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.jobs += report.sums.jobs;
        self.paid += report.sums.paid;
        self.registered += report.sums.registered;
        self.failed += report.sums.failed;
        self.cancelled += report.sums.cancelled;
        self.faults += report.faults;
        self.zombie_writes += report.zombie_writes;
        self.violations += report.violations.len() as u64;
    }
}
