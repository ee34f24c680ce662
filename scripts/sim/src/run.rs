//! `sim run`.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use sim::fleet::{self, Asked, Faults, Mutant, Report, Size};

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
    /// Break the product on purpose, one mutant at a time, and see that each is found within `--seeds`
    #[arg(long)]
    mutants: bool,
}

/// The exit code is 1 where a seed breaks a promise.
pub(crate) fn run(run: &Run) -> ExitCode {
    if let Some(filter) = &run.log {
        shared::telemetry::start(shared::telemetry::LogFormat::Text, filter);
    }
    let size = Size { relayers: run.relayers, jobs: run.jobs };
    if run.mutants { mutate(run, size) } else { simulate(run, size) }
}

fn simulate(run: &Run, size: Size) -> ExitCode {
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
                    let report = fleet::run(seed, size);
                    if run.verbose || !report.violations.is_empty() {
                        println!("{report}");
                    }
                    totals.lock().unwrap_or_else(PoisonError::into_inner).add(&report);
                }
            });
        }
    });
    let totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.print(run.seed, began.elapsed().as_secs_f64());
    if totals.violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The exit code is 1 where a mutant survives.
fn mutate(run: &Run, size: Size) -> ExitCode {
    let mut survived = 0;
    for mutant in fleet::mutants() {
        match found(run, size, &mutant) {
            Some((seed, violation)) => println!("{}: found by seed {seed}: {violation}", mutant.name),
            None => {
                survived += 1;
                println!("{}: SURVIVED {} seeds", mutant.name, run.seeds);
            }
        }
    }
    if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn found(run: &Run, size: Size, mutant: &Mutant) -> Option<(u64, String)> {
    let seeds = run.seed..run.seed.saturating_add(run.seeds);
    seeds.into_iter().find_map(|seed| mutant.shown_by(seed, size).map(|violation| (seed, violation)))
}

#[derive(Default)]
struct Totals {
    seeds: u64,
    jobs: u64,
    paid: u64,
    registered: u64,
    failed: u64,
    cancelled: u64,
    faults: Faults,
    /// The fewest of one seed.
    fewest: Option<u64>,
    asked: Asked,
    zombie_writes: u64,
    told: u64,
    violations: u64,
    /// Virtual seconds.
    lasted: f64,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.jobs += report.sums.jobs;
        self.paid += report.sums.paid;
        self.registered += report.sums.registered;
        self.failed += report.sums.failed;
        self.cancelled += report.sums.cancelled;
        for (fault, count) in &report.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        let faults: u64 = report.faults.values().sum();
        self.fewest = Some(self.fewest.map_or(faults, |fewest| fewest.min(faults)));
        self.asked.add(&report.asked);
        self.zombie_writes += report.zombie_writes;
        self.told += report.told;
        self.violations += report.violations.len() as u64;
        self.lasted += report.lasted.as_secs_f64();
    }

    fn print(&self, first: u64, seconds: f64) {
        println!("{:38} {:>12}", "fault", "injected");
        for (fault, count) in &self.faults {
            println!("{fault:38} {count:>12}");
        }
        let Asked { repeated, refunds, refunds_cancelled, deletions, deletions_granted, retries, .. } =
            self.asked;
        println!(
            "asked for at random moments: {refunds} refunds ({refunds_cancelled} cancelled), {deletions} deletions \
             ({deletions_granted} granted), {retries} retries ({} granted), {repeated} deliveries again",
            self.asked.retries_granted
        );
        println!(
            "{} paid, {} registered, {} failed for good reason, {} cancelled, {} writes of zombies refused, {} times people \
             were told to look",
            self.paid, self.registered, self.failed, self.cancelled, self.zombie_writes, self.told
        );
        println!("{seconds:.0} s, {:.1} s of virtual time a seed", self.lasted / self.seeds.max(1) as f64);
        println!(
            "{} seeds from {first}, {} jobs, {} faults, at least {} a seed: {} violations",
            self.seeds,
            self.jobs,
            self.faults.values().sum::<u64>(),
            self.fewest.unwrap_or(0),
            self.violations
        );
    }
}
