//! `kit chaos`: real processes, disturbed in every way there is, and a verifier that shares no code with them.
//!
//! A schedule is a world of its own (Redis, a node, the contracts, the API, three relayers, with a disturbable way between
//! any two), 20 jobs, and two to four faults while they flow. Then everything is healed, and must come to rest within a
//! bound. What is disturbed, how and when comes from the seed and the schedule's number alone, as precisely as processes on
//! a busy machine allow.

pub mod faults;
pub mod kinds;
pub mod ledger;
pub mod plan;
pub mod report;
pub mod schedule;
pub mod settle;
pub mod steps;
pub mod traffic;
pub mod verify;
pub mod work;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use futures::StreamExt as _;

use kinds::Kind;
use plan::Schedule;
use schedule::Outcome;

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How many schedules.
    #[arg(long, default_value_t = 10)]
    pub schedules: u64,
    /// What everything is drawn from. Default: another one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Only the schedule of this number.
    #[arg(long)]
    pub only: Option<u64>,
    /// Only faults of these kinds, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub kinds: Vec<Kind>,
    /// Schedules at a time: most of the time each waits for blocks.
    #[arg(long, default_value_t = 2)]
    pub parallel: usize,
    /// Names every kind of fault, and does nothing.
    #[arg(long)]
    pub list: bool,
    /// Where logs of failing schedules are kept.
    #[arg(long)]
    pub logs: Option<PathBuf>,
}

/// Runs what was asked for; the exit code is 0 when nothing was lost, doubled, untruthful or stuck.
pub async fn run(options: Options) -> Result<ExitCode> {
    if options.list {
        for kind in Kind::ALL {
            println!("{:<18}{}", kind.name(), kind.about());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}");
    let outcomes = schedules(&options, seed).await;
    println!("\n{}", report::table(&outcomes));
    let sums = report::total(&outcomes);
    println!("{} paid, {} otherwise wrong", sums.paid, sums.other);
    println!("{}", sums.line());
    Ok(if sums.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the schedules of `seed` that the options ask for, and tells of each as it ends.
pub async fn schedules(options: &Options, seed: u64) -> Vec<Outcome> {
    let kinds = if options.kinds.is_empty() { Kind::ALL } else { &options.kinds[..] };
    let numbers = match options.only {
        Some(number) => number..number + 1,
        None => 0..options.schedules,
    };
    let logs = options.logs.clone().unwrap_or_else(|| std::env::temp_dir().join("ail-chaos"));
    let runs = numbers.map(|number| {
        let schedule = Schedule::draw(seed, number, kinds);
        let keep = logs.join(format!("seed-{seed}-{number}"));
        async move {
            let outcome = schedule::run(&schedule, &keep).await;
            tell(seed, &schedule, &outcome);
            outcome
        }
    });
    futures::stream::iter(runs).buffer_unordered(options.parallel.max(1)).collect().await
}

/// What a schedule was and how it ended, for people.
fn tell(seed: u64, schedule: &Schedule, outcome: &Outcome) {
    let verdict = &outcome.verdict;
    let mark = if outcome.is_good() { "ok" } else { "WRONG" };
    println!(
        "\nschedule {} of seed {seed}: {mark} after {:.1} s: {} accepted, {} registered, {} paid, {} truthfully not",
        schedule.number,
        outcome.took.as_secs_f64(),
        verdict.accepted,
        verdict.registered,
        verdict.paid,
        verdict.not_paid
    );
    for fault in &schedule.faults {
        println!("  planned {fault}");
    }
    for line in &outcome.told {
        println!("  {line}");
    }
    for finding in &verdict.findings {
        println!("  WRONG: {finding}");
    }
    if let Some(logs) = &outcome.logs {
        println!("  logs: {}; again: scripts/chaos --seed {seed} --only {}", logs.display(), schedule.number);
    }
}
