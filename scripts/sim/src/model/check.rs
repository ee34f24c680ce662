//! Runs checks and says what they came to.

use std::fmt;
use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model};

use super::ghosts::{Promise, Sight};
use super::moves::Checking;
use super::mutants::Mutant;
use super::settings::{Setting, Size, settings};
use super::space::describe;

/// A broken promise, and how it comes to that.
#[derive(Debug, Clone)]
pub struct Finding {
    pub promise: &'static str,
    pub path: Vec<String>,
}

/// What one configuration came to.
#[derive(Debug, Clone)]
pub struct Checked {
    pub name: &'static str,
    /// Different states.
    pub unique: usize,
    /// Transitions.
    pub total: usize,
    /// The longest path.
    pub depth: usize,
    pub took: Duration,
    pub findings: Vec<Finding>,
    /// What happened at least once.
    pub seen: Vec<Sight>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<12} {:>9} states, {:>10} transitions, depth {:>3}, {:>6.1} s, {} violations",
            self.name,
            self.unique,
            self.total,
            self.depth,
            self.took.as_secs_f64(),
            self.findings.len()
        )?;
        for finding in &self.findings {
            write!(f, "\n  VIOLATION of {}", finding.promise)?;
            for (n, step) in finding.path.iter().enumerate() {
                write!(f, "\n    {:>3}. {step}", n + 1)?;
            }
        }
        Ok(())
    }
}

/// Transitions after which a configuration ends that is too large for the test suite; a large check goes to its end.
const SUITE: usize = 320_000;

/// What is checked, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Also configurations that take long.
    pub large: bool,
    /// Only the configuration of this name.
    pub only: Option<String>,
    /// How many threads search; none is one.
    pub threads: usize,
    /// Each configuration ends after so many transitions.
    pub most: Option<usize>,
}

/// Checks every configuration that `options` choose.
pub fn check_all(options: &Options, mut tell: impl FnMut(&Checked)) -> Vec<Checked> {
    let chosen = settings().into_iter().filter(|setting| match &options.only {
        Some(name) => setting.name == name,
        None => options.large || setting.size != Size::Large,
    });
    let mut all = Vec::new();
    for setting in chosen {
        let checked = check(setting, None, options);
        tell(&checked);
        all.push(checked);
    }
    all
}

/// Looks for what `mutant` breaks.
pub fn check_mutant(mutant: &Mutant, options: &Options) -> Checked {
    let Some(setting) = settings().into_iter().find(|setting| setting.name == mutant.setting) else {
        panic!("{}: there is no configuration {}", mutant.name, mutant.setting)
    };
    check(setting, Some(mutant), options)
}

fn check(setting: Setting, mutant: Option<&Mutant>, options: &Options) -> Checked {
    let began = Instant::now();
    let (name, setting_size) = (setting.name, setting.size);
    let model = Checking::new(setting, mutant);
    let mut builder =
        model.checker().threads(options.threads.max(1)).finish_when(HasDiscoveries::AnyFailures);
    let suite = (setting_size == Size::Suite && !options.large).then_some(SUITE);
    if let Some(most) = options.most.or(suite) {
        builder = builder.target_state_count(most);
    }
    // Breadth first finds the shortest way to a defect, depth first needs little memory.
    match mutant {
        Some(_) => sum_up(name, began, &builder.spawn_bfs().join()),
        None => sum_up(name, began, &builder.spawn_dfs().join()),
    }
}

fn sum_up(name: &'static str, began: Instant, checker: &impl Checker<Checking>) -> Checked {
    let took = began.elapsed();
    let discoveries = checker.discoveries();
    let model = checker.model();
    let findings = Promise::ALL
        .iter()
        .filter_map(|promise| {
            let path = discoveries.get(promise.text())?.clone().into_vec();
            let steps = path.windows(2).filter_map(|pair| Some(describe(&pair[0].0, pair[0].1?, &pair[1].0)));
            Some(Finding { promise: promise.text(), path: steps.collect() })
        })
        .collect();
    Checked {
        name,
        unique: checker.unique_state_count(),
        total: checker.state_count(),
        depth: checker.max_depth(),
        took,
        findings,
        seen: Sight::ALL.into_iter().filter(|sight| model.rules.sights.has(*sight)).collect(),
    }
}
