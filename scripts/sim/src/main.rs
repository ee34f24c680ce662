//! `sim`: the relayer under simulated faults, and under a model checker.

mod check;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    about = "Puts the relayer to the test without a network: in simulated storms, and in every order of few faults"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Simulate many seeds; the exit code is 1 where one of them breaks a promise
    Run(run::Run),
    /// Check every order of a few processes, faults and blocks; the exit code is 1 where one of them breaks a promise
    Model(check::Model),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Model(arguments) => check::check(&arguments),
    }
}
