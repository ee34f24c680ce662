//! What was measured: a table for people, JSON for everything else, and the figures that are kept.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What may get lost between two runs before it counts.
const TOLERATED: f64 = 0.2;

/// What a figure is to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One figure: the median of its rounds, and their spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) goal: Option<Goal>,
    /// It was taken against something in the same run, so that it can be compared with that of another run.
    pub(crate) is_ratio: bool,
}

impl Figure {
    /// Of the same thing measured several times.
    pub(crate) fn of(name: &str, unit: &str, rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted.first().copied(), sorted.last().copied());
        Self {
            name: name.to_owned(),
            unit: unit.to_owned(),
            median: percentile(&sorted, 50.0),
            low: low.unwrap_or(f64::NAN),
            high: high.unwrap_or(f64::NAN),
            goal: None,
            is_ratio: false,
        }
    }

    pub(crate) fn at_least(mut self, least: f64) -> Self {
        self.goal = Some(Goal::AtLeast(least));
        self
    }

    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.goal = Some(Goal::AtMost(most));
        self
    }

    pub(crate) fn ratio(mut self) -> Self {
        self.is_ratio = true;
        self
    }

    /// By how much it is worse than `before`, as a share; negative where it is better, `None` where it has no direction.
    fn loss(&self, before: &Self) -> Option<f64> {
        match self.goal? {
            Goal::AtLeast(_) => Some(1.0 - self.median / before.median),
            Goal::AtMost(_) => Some(self.median / before.median - 1.0),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<58}{:>12} {:<6}", self.name, short(self.median), self.unit)?;
        if self.low < self.high {
            write!(f, " {} to {}", short(self.low), short(self.high))?;
        }
        match self.goal {
            Some(goal) => {
                let (sign, bound) = match goal {
                    Goal::AtLeast(least) => ("≥", least),
                    Goal::AtMost(most) => ("≤", most),
                };
                let met = if goal.is_met(self.median) { "met" } else { "NOT MET" };
                write!(f, "  goal {sign} {}: {met}", short(bound))
            }
            None => Ok(()),
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// The value below which `percent` of the sorted values are.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let at = ((sorted.len() as f64) * percent / 100.0).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The figures of one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) subject: String,
    /// What was done, in a sentence.
    pub(crate) about: String,
    pub(crate) figures: Vec<Figure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.about)?;
        self.figures.iter().try_for_each(|figure| write!(f, "\n  {figure}"))
    }
}

/// What is kept from earlier runs, by subject.
#[derive(Debug, Default)]
pub(crate) struct Kept(BTreeMap<String, Report>);

impl Kept {
    pub(crate) fn load(path: &Path) -> Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self(serde_json::from_slice(&bytes).context("docs/performance.json")?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).context("docs/performance.json"),
        }
    }

    pub(crate) fn store(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(&self.0)? + "\n").context("docs/performance.json")
    }

    pub(crate) fn replace(&mut self, report: Report) {
        self.0.insert(report.subject.clone(), report);
    }

    /// The ratios that were better, by more than is tolerated, and those that are measured no more; and the goals that were met
    /// and are not.
    pub(crate) fn losses(&self, report: &Report) -> Vec<String> {
        let before = self.0.get(&report.subject).map_or(&[][..], |kept| &kept.figures);
        let is_measured = |kept: &&Figure| report.figures.iter().any(|figure| figure.name == kept.name);
        let gone = before.iter().filter(|kept| kept.is_ratio && !is_measured(kept));
        let gone = gone.map(|kept| format!("{}: {}: not measured any more", report.subject, kept.name));
        let of = |figure: &Figure| {
            let kept = before.iter().find(|kept| kept.name == figure.name)?;
            let (name, now, then) = (&figure.name, short(figure.median), short(kept.median));
            let missed =
                figure.goal.is_some_and(|goal| !goal.is_met(figure.median) && goal.is_met(kept.median));
            if missed {
                return Some(format!("{}: {name}: {now} misses a goal that {then} met", report.subject));
            }
            let percent = figure.loss(kept).filter(|loss| kept.is_ratio && *loss > TOLERATED)? * 100.0;
            Some(format!("{}: {name}: {now} instead of {then}, {percent:.0}% worse", report.subject))
        };
        report.figures.iter().filter_map(of).chain(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(figure: Figure) -> Report {
        Report { subject: "queue".into(), about: "jobs".into(), figures: vec![figure] }
    }

    #[test]
    fn a_figure_is_the_median_of_its_rounds_and_says_whether_it_is_what_it_should_be() {
        let figure = Figure::of("jobs", "/s", &[30.0, 10.0, 20.0]).at_least(25.0);
        assert_eq!((figure.low, figure.median, figure.high), (10.0, 20.0, 30.0));
        assert!(figure.to_string().ends_with("10.0 to 30.0  goal ≥ 25.0: NOT MET"), "{figure}");
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50.0), percentile(&hundred, 99.0)), (50.0, 99.0));
    }

    #[test]
    fn ratios_that_became_worse_by_more_than_a_fifth_or_are_gone_and_goals_that_are_missed_now_are_losses() {
        let mut kept = Kept::default();
        kept.replace(report(Figure::of("against a peer", "", &[2.0]).at_least(1.0).ratio()));
        let now = |value: f64| report(Figure::of("against a peer", "", &[value]).at_least(1.0).ratio());
        assert!(kept.losses(&now(1.61)).is_empty() && kept.losses(&now(3.0)).is_empty());
        assert_eq!(kept.losses(&now(1.5)), ["queue: against a peer: 1.500 instead of 2.000, 25% worse"]);
        let other = report(Figure::of("against another", "", &[9.0]).ratio());
        assert_eq!(kept.losses(&other), ["queue: against a peer: not measured any more"]);
        kept.replace(report(Figure::of("p99", "ms", &[2.0]).at_most(9.0).ratio()));
        let slower = report(Figure::of("p99", "ms", &[2.5]).at_most(9.0).ratio());
        assert_eq!(kept.losses(&slower).len(), 1);
        kept.replace(report(Figure::of("p99", "ms", &[2.0]).at_most(9.0)));
        assert!(kept.losses(&slower).is_empty(), "not a ratio");
        let missed = report(Figure::of("p99", "ms", &[9.5]).at_most(9.0));
        assert_eq!(kept.losses(&missed), ["queue: p99: 9.500 misses a goal that 2.000 met"]);
        kept.replace(missed.clone());
        assert!(kept.losses(&missed).is_empty(), "missed before as well");
    }
}
