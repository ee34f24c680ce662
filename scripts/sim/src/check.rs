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
    /// Another budget than the configuration has, as in `--budget blocks=3`
    #[arg(long, value_parser = budget)]
    budget: Vec<(String, u8)>,
}

fn budget(text: &str) -> Result<(String, u8), String> {
    let (fault, times) = text.split_once('=').ok_or("a fault, `=`, and how often it may happen")?;
    let times = times.parse().map_err(|error| format!("{times}: {error}"))?;
    Ok((fault.to_owned(), times))
}

/// The exit code is 1 where a promise is broken, or a mutant survives.
pub(crate) fn check(arguments: &Model) -> ExitCode {
    let options = model::Options {
        large: arguments.large,
        only: arguments.only.clone(),
        threads: arguments.threads,
        most: arguments.most,
        budget: arguments.budget.clone(),
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
            let how = checked.findings.first().map_or("by nothing", |finding| finding.promise);
            let (verdict, states) = (if found { "found" } else { "SURVIVED" }, checked.unique);
            println!("{}: {verdict} in `{}` after {states} states, by: {how}", mutant.name, checked.name);
            if arguments.only.is_some() || !found {
                println!("{checked}");
            }
        }
        return if survived == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let all = model::check_all(&options, |checked| {
        println!("{checked}\n    seen: {:?}", checked.seen);
    });
    let summary = model::Summary::of(&all);
    println!("{summary}");
    // One configuration alone, or a part of each, need not show everything.
    let is_all = arguments.only.is_none() && arguments.most.is_none();
    let is_good = summary.violations == 0 && (!is_all || summary.unseen.is_empty());
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
