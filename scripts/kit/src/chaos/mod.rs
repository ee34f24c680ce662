//! `kit chaos`: real processes, disturbed in every way there is, and a verifier that shares no code with them.
//!
//! A schedule is a world of its own (Redis, a node, the contracts, the API, three relayers, with a disturbable way between
//! any two), 20 jobs, and two to four faults while they flow. Then everything is healed, and must come to rest within a
//! bound. What is disturbed, how and when comes from the seed and the schedule's number alone, as precisely as processes on
//! a busy machine allow.

pub mod faults;
pub mod kinds;
pub mod ledger;
pub mod modes;
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

use faults::Action;
use kinds::Kind;
use plan::Schedule;
use report::Run;
use schedule::{Outcome, Setting};
use steps::CRASH_POINTS;
use verify::{Finding, Wrong};

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
    /// Instead of schedules: every step between two durable effects, killed, paused and with its reply lost.
    #[arg(long)]
    pub crash_points: bool,
    /// Only these steps, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub points: Vec<String>,
    #[command(flatten)]
    pub modes: modes::Wanted,
    /// Names every kind of fault and every step, and does nothing.
    #[arg(long)]
    pub list: bool,
    /// Appends what came of it to this page.
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Where logs of what went wrong are kept.
    #[arg(long)]
    pub logs: Option<PathBuf>,
}

/// Runs what was asked for; the exit code is 0 when nothing was lost, doubled, untruthful or stuck.
pub async fn run(options: Options) -> Result<ExitCode> {
    if options.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let seed = options.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("seed {seed}");
    let modes = options.modes.modes();
    let mut good = true;
    for (mode, count) in &modes {
        let name = format!("--{} {count} --seed {seed}", mode.name());
        let outcome = modes::run(*mode, *count, seed, &logs(&options).join(mode.name())).await?;
        tell(&name, &outcome);
        good &= conclude(&options, &Run { name, outcomes: vec![outcome] })?;
    }
    if options.crash_points {
        let outcomes = crash_points(&options).await;
        good &= conclude(&options, &Run { name: "--crash-points".to_owned(), outcomes })?;
    } else if modes.is_empty() {
        let outcomes = schedules(&options, seed).await;
        let name = format!("--schedules {} --seed {seed}", options.schedules);
        good &= conclude(&options, &Run { name, outcomes })?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what a run came to, and the line that counts last. Returns whether nothing is wrong.
fn conclude(options: &Options, run: &Run) -> Result<bool> {
    println!("\n{}", run.text());
    if let Some(page) = &options.report {
        report::append(page, run)?;
    }
    let sums = report::total(&run.outcomes);
    println!("{}", sums.line());
    Ok(sums.is_good())
}

fn list() {
    for kind in Kind::ALL {
        println!("{:<18}{}", kind.name(), kind.about());
    }
    for step in CRASH_POINTS {
        println!("{}", step.point);
    }
}

fn logs(options: &Options) -> PathBuf {
    options.logs.clone().unwrap_or_else(|| std::env::temp_dir().join("ail-chaos"))
}

/// Runs the schedules of `seed` that the options ask for, and tells of each as it ends.
pub async fn schedules(options: &Options, seed: u64) -> Vec<Outcome> {
    let kinds = if options.kinds.is_empty() { Kind::ALL } else { &options.kinds[..] };
    let numbers = match options.only {
        Some(number) => number..number + 1,
        None => 0..options.schedules,
    };
    let setting = Setting::default();
    let runs = numbers.map(|number| {
        let schedule = Schedule::draw(seed, number, kinds);
        let keep = logs(options).join(format!("seed-{seed}-{number}"));
        let setting = &setting;
        async move {
            let outcome = schedule::run(&schedule, setting, &keep).await;
            tell(&format!("--seed {seed} --only {number}"), &outcome);
            for fault in &schedule.faults {
                println!("  planned {fault}");
            }
            outcome
        }
    });
    futures::stream::iter(runs).buffer_unordered(options.parallel.max(1)).collect().await
}

/// Runs every step that the options ask for with every action, and tells of each as it ends.
pub async fn crash_points(options: &Options) -> Vec<Outcome> {
    let wanted = |point: &str| options.points.is_empty() || options.points.iter().any(|name| name == point);
    let all = CRASH_POINTS.iter().filter(|step| wanted(step.point));
    let runs = all.flat_map(|step| Action::ALL.map(|action| (*step, action))).map(|(step, action)| {
        let keep = logs(options).join(format!("{}-{}", step.point, action.name()));
        async move {
            let begun = std::time::Instant::now();
            let mut outcome = Outcome::empty(0);
            match steps::run(step, action, &keep).await {
                Ok(verdict) => {
                    outcome.verdict = verdict;
                    outcome.injected.push(action.kind());
                }
                Err(error) => {
                    outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, format!("{error:#}")));
                }
            }
            outcome.took = begun.elapsed();
            outcome.logs = (!outcome.is_good()).then_some(keep);
            tell(&format!("--crash-points --points {} ({})", step.point, action.name()), &outcome);
            outcome
        }
    });
    let runs: Vec<_> = runs.collect();
    futures::stream::iter(runs).buffer_unordered(options.parallel.max(1)).collect().await
}

/// How a run ended, for people.
fn tell(what: &str, outcome: &Outcome) {
    let verdict = &outcome.verdict;
    println!(
        "\n{} scripts/chaos {what}: {:.1} s, {} accepted, {} registered, {} paid, {} truthfully not",
        if outcome.is_good() { "ok" } else { "WRONG" },
        outcome.took.as_secs_f64(),
        verdict.accepted,
        verdict.registered,
        verdict.paid,
        verdict.not_paid
    );
    for line in &outcome.told {
        println!("  {line}");
    }
    if let Some(summary) = &outcome.summary {
        println!("  {summary}");
    }
    for finding in verdict.findings.iter().take(SHOWN) {
        println!("  WRONG: {finding}");
    }
    if verdict.findings.len() > SHOWN {
        println!("  and {} more", verdict.findings.len() - SHOWN);
    }
    if let Some(logs) = &outcome.logs {
        println!("  logs: {}", logs.display());
    }
}

/// Findings that are shown of one run.
const SHOWN: usize = 20;
