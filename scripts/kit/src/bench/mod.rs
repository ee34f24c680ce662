//! `kit bench`: how fast, how cheap and how large, each figure beside its bound or a peer that was measured in the same run:
//! rates alone say more about the machine than about the program.

mod bare;
mod echo;
mod figures;
mod gas;
mod growth;
mod intake;
mod lane;
mod latency;
mod load;
mod memory;
mod queue;
mod saturate;
mod scale;

use std::process::ExitCode;

use anyhow::Result;

use crate::world::paths;
pub use echo::serve as serve_echo;
use figures::{Kept, Report};

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    /// Writes the figures to docs/performance.json, in the place of those that were kept before; by `check`, only those
    /// of a subject in which it found no loss.
    #[arg(long, global = true, conflicts_with = "quick")]
    keep: bool,
    /// Prints JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// A tenth of the work: shows that it runs, not how fast.
    #[arg(long, global = true)]
    quick: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
enum What {
    /// Webhooks taken per second, against an echo and against the script alone.
    Intake,
    /// Jobs through the whole job machine, against BullMQ.
    Queue,
    /// From a webhook's 2xx until the node holds the transaction: alone, and under load.
    Latency,
    /// A backlog against full blocks, and against a bare loop that sends the same batches.
    Saturate,
    /// Gas per payout over a bare batch transfer.
    Gas,
    /// Redis per job, and the processes under load.
    Memory,
    /// What a job costs while few wait and while very many do.
    Growth,
    /// Checks per second with more relayers, over a slow node.
    Scale,
    /// All of them against the kept figures: a loss of more than a fifth, or of a goal, is an error.
    Check,
}

const ALL: [What; 8] = [
    What::Intake,
    What::Queue,
    What::Latency,
    What::Saturate,
    What::Gas,
    What::Memory,
    What::Growth,
    What::Scale,
];

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    is_quick: bool,
}

impl Size {
    /// `full`, or a tenth of it.
    pub(crate) fn of(self, full: usize) -> usize {
        if self.is_quick { full.div_ceil(10) } else { full }
    }
}

/// Measures and prints. The exit code is 1 where `check` finds a loss.
pub async fn run(options: Options) -> Result<ExitCode> {
    let size = Size { is_quick: options.quick };
    let kept_at = paths::root().join("docs/performance.json");
    let mut kept = Kept::load(&kept_at)?;
    if options.what != What::Check {
        let report = measure(options.what, size).await?;
        print(&report, options.json)?;
        if options.keep {
            kept.replace(report);
            kept.store(&kept_at)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (mut losses, mut is_whole) = (Vec::new(), true);
    for what in ALL {
        let report = match measure(what, size).await {
            Ok(report) => report,
            Err(error) => {
                eprintln!("{what:?} could not be measured: {error:?}");
                is_whole = false;
                continue;
            }
        };
        print(&report, options.json)?;
        let lost = kept.losses(&report);
        if options.keep && lost.is_empty() {
            kept.replace(report);
            kept.store(&kept_at)?;
        }
        losses.extend(lost);
    }
    losses.iter().for_each(|loss| eprintln!("lost: {loss}"));
    eprintln!(
        "{} figures are worse than the kept ones by more than a fifth, or miss a goal that was met",
        losses.len()
    );
    Ok(if losses.is_empty() && is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report, as_json: bool) -> Result<()> {
    let text = if as_json { serde_json::to_string_pretty(report)? } else { report.to_string() };
    println!("{text}");
    Ok(())
}

async fn measure(what: What, size: Size) -> Result<Report> {
    match what {
        What::Intake => intake::measure(size).await,
        What::Queue => queue::measure(size).await,
        What::Latency => latency::measure(size).await,
        What::Saturate => saturate::measure(size).await,
        What::Gas => gas::measure().await,
        What::Memory => memory::measure(size).await,
        What::Growth => growth::measure(size).await,
        What::Scale => scale::measure(size).await,
        What::Check => unreachable!("is made of the others"),
    }
}
