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
    /// Whether every state that can be reached was.
    pub is_whole: bool,
    pub findings: Vec<Finding>,
    /// What happened at least once.
    pub seen: Vec<Sight>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<12} {:>9} states, {:>10} transitions, depth {:>3}, {:>6.1} s, {}, {} violations",
            self.name,
            self.unique,
            self.total,
            self.depth,
            self.took.as_secs_f64(),
            if self.is_whole { "walked to its end" } else { "not walked to its end" },
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

/// What several configurations came to.
#[derive(Debug, Clone)]
pub struct Summary {
    pub configurations: usize,
    /// How many of them were walked to their end.
    pub whole: usize,
    /// Different states of all together.
    pub unique: usize,
    pub total: usize,
    pub took: Duration,
    pub violations: usize,
    /// What happened nowhere: nothing is known about it.
    pub unseen: Vec<Sight>,
}

impl Summary {
    pub fn of(all: &[Checked]) -> Self {
        let is_seen = |sight: &Sight| all.iter().any(|checked| checked.seen.contains(sight));
        Self {
            configurations: all.len(),
            whole: all.iter().filter(|checked| checked.is_whole).count(),
            unique: all.iter().map(|checked| checked.unique).sum(),
            total: all.iter().map(|checked| checked.total).sum(),
            took: all.iter().map(|checked| checked.took).sum(),
            violations: all.iter().map(|checked| checked.findings.len()).sum(),
            unseen: Sight::ALL.iter().copied().filter(|sight| !is_seen(sight)).collect(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sight in &self.unseen {
            writeln!(f, "never happened: {}", sight.text())?;
        }
        write!(
            f,
            "{} configurations ({} walked to their end), {} states, {} transitions, {:.0} s: {} violations, {} of {} sights seen",
            self.configurations,
            self.whole,
            self.unique,
            self.total,
            self.took.as_secs_f64(),
            self.violations,
            Sight::ALL.len() - self.unseen.len(),
            Sight::ALL.len()
        )
    }
}

/// Transitions after which a large configuration ends that does not end before, ...
const LARGE: usize = 1_500_000;
/// ... and one in which every question is a step: such steps cost little.
const LARGE_FINE: usize = 24_000_000;

/// What is checked, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Also configurations that take long.
    pub large: bool,
    /// Only the configuration of this name.
    pub only: Option<String>,
    /// How many threads search; none is one.
    pub threads: usize,
    /// Each configuration ends after so many transitions; large ones end anyway.
    pub most: Option<usize>,
    /// Other budgets than the configurations have: faults by name, and how often each may happen.
    pub budget: Vec<(String, u8)>,
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

fn check(mut setting: Setting, mutant: Option<&Mutant>, options: &Options) -> Checked {
    let began = Instant::now();
    let name = setting.name;
    let large = if setting.fine { LARGE_FINE } else { LARGE };
    let most = options.most.or((setting.size == Size::Large).then_some(large));
    for (fault, times) in &options.budget {
        assert!(setting.budget.set(fault, *times), "there is no fault {fault}");
    }
    let model = Checking::new(setting, mutant);
    let mut builder =
        model.checker().threads(options.threads.max(1)).finish_when(HasDiscoveries::AnyFailures);
    if let Some(most) = most {
        builder = builder.target_state_count(most);
    }
    // Breadth first finds the shortest way to a defect; depth first keeps nothing of a state it has seen but its hash.
    let mut checked = match mutant {
        Some(_) => sum_up(name, &builder.spawn_bfs().join()),
        None => sum_up(name, &builder.spawn_dfs().join()),
    };
    checked.is_whole &= most.is_none_or(|most| checked.total < most);
    checked.took = began.elapsed();
    checked
}

fn sum_up(name: &'static str, checker: &impl Checker<Checking>) -> Checked {
    let model = checker.model();
    // One path at most: it ends where a promise breaks, perhaps more than one of them.
    let mut findings = Vec::new();
    for path in checker.discoveries().into_values() {
        let broken = path.last_state().ghosts.broken & model.rules.wanted;
        let path = path.into_vec();
        let steps = path.windows(2).filter_map(|pair| Some(describe(&pair[0].0, pair[0].1?, &pair[1].0)));
        let steps: Vec<String> = steps.collect();
        for promise in Promise::ALL.iter().filter(|promise| broken & promise.bit() != 0) {
            findings.push(Finding { promise: promise.text(), path: steps.clone() });
        }
    }
    Checked {
        name,
        unique: checker.unique_state_count(),
        total: checker.state_count(),
        depth: checker.max_depth(),
        took: Duration::ZERO,
        is_whole: findings.is_empty(),
        findings,
        seen: Sight::ALL.iter().copied().filter(|sight| model.rules.sights.has(*sight)).collect(),
    }
}
