//! `sim model`.

use std::process::ExitCode;

use sim::model;

#[derive(clap::Args)]
pub(crate) struct Model {
    /// Also the configurations that take long
    #[arg(long)]
    large: bool,
    /// Only this one
    #[arg(long)]
    only: Option<String>,
    /// Break the product on purpose, one mutant at a time, and see that each is found
    #[arg(long)]
    mutants: bool,
    /// How many threads search
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// End each configuration after so many transitions
    #[arg(long)]
    most: Option<usize>,
}

/// The exit code is 1 where a promise is broken, or a mutant survives.
pub(crate) fn check(arguments: &Model) -> ExitCode {
    let options = model::Options {
        large: arguments.large,
        only: arguments.only.clone(),
        threads: arguments.threads,
        most: arguments.most,
    };
    if arguments.mutants {
        let mut survived = 0;
        for mutant in model::mutants() {
            if arguments.only.as_deref().is_some_and(|only| only != mutant.name) {
                continue;
            }
            let checked = model::check_mutant(&mutant, &options);
            let found = mutant.is_found_by(&checked);
            survived += u32::from(!found);
            println!("{}: {} {checked}", mutant.name, if found { "found" } else { "SURVIVED" });
        }
        return if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let all = model::check_all(&options, |checked| {
        println!("{checked}\n    seen: {:?}", checked.seen);
    });
    let states: usize = all.iter().map(|checked| checked.unique).sum();
    let seconds: f64 = all.iter().map(|checked| checked.took.as_secs_f64()).sum();
    let violations: usize = all.iter().map(|checked| checked.findings.len()).sum();
    println!(
        "{} configurations, {states} different states, {seconds:.0} s: {violations} violations",
        all.len()
    );
    if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
