//! The workspace's own tools. The scripts beside this crate are their entry points.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use kit::{bench, chaos, demo, idle, inspect, mutants, tidy, world};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(about = "Tools of the workspace; started by scripts/*")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure speed, gas, memory and growth beside their bounds and peers.
    Bench(bench::Options),
    /// Disturb real parts in every way there is, and verify that nothing is lost or doubled.
    Chaos(Box<chaos::Options>),
    /// Answer webhooks with what they say: started by `bench intake`.
    #[command(hide = true)]
    Echo { port: u16 },
    /// Play the demo on real parts.
    Demo(demo::Options),
    /// Write the demo's input files.
    Data {
        /// Default: scripts/data.
        folder: Option<PathBuf>,
    },
    /// Measure what a fleet costs while nothing happens, and how soon it wakes up.
    Idle(idle::Options),
    /// Ask Redis what docs/redis.md asks, and print the answers.
    Inspect(inspect::Options),
    /// Break the code on purpose, and expect the tests to notice.
    Mutants(mutants::Options),
    /// Check the rules of the house.
    Tidy,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Bench(options) => until_signal(bench::run(options)).await,
        Command::Chaos(options) => until_signal(chaos::run(*options)).await,
        Command::Echo { port } => bench::serve_echo(port).await.map(|()| ExitCode::SUCCESS),
        Command::Demo(options) => until_signal(demo::run(options)).await,
        Command::Idle(options) => until_signal(idle::run(options)).await,
        Command::Inspect(options) => until_signal(inspect::run(options)).await,
        Command::Mutants(options) => until_signal(mutants::run(options)).await,
        Command::Tidy => tidy::run(&world::paths::root()),
        Command::Data { folder } => {
            let folder = folder.unwrap_or_else(|| world::paths::root().join("scripts/data"));
            demo::data::generate().store(&folder)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs `work`, or drops it, and with it every child process, when the process is told to end.
async fn until_signal(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = hangup.recv() => Ok(ExitCode::from(129)),
    }
}
