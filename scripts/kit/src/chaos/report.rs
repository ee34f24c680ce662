//! What came of many schedules: a table per kind of fault, and the one line that counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::kinds::Kind;
use super::schedule::Outcome;
use super::verify::Wrong;

/// Sums over schedules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub schedules: usize,
    pub jobs: usize,
    pub paid: usize,
    pub faults: usize,
    pub lost: usize,
    pub doubled: usize,
    /// Everything else that is wrong.
    pub other: usize,
}

impl Sums {
    fn add(&mut self, outcome: &Outcome, faults: usize) {
        let verdict = &outcome.verdict;
        self.schedules += 1;
        self.jobs += verdict.accepted;
        self.paid += verdict.paid;
        self.faults += faults;
        // What has not ended is lost as long as it has not.
        let lost = verdict.count(Wrong::Lost) + verdict.count(Wrong::Unfinished);
        self.lost += lost;
        self.doubled += verdict.count(Wrong::Doubled);
        self.other += verdict.findings.len() - lost - verdict.count(Wrong::Doubled);
    }

    pub fn is_good(&self) -> bool {
        self.lost + self.doubled + self.other == 0
    }

    /// The line that counts.
    pub fn line(&self) -> String {
        let Self { schedules, jobs, faults, lost, doubled, .. } = self;
        format!("{schedules} schedules, {jobs} jobs, {faults} faults: {lost} lost, {doubled} doubled")
    }
}

/// All together.
pub fn total(outcomes: &[Outcome]) -> Sums {
    let mut sums = Sums::default();
    for outcome in outcomes {
        sums.add(outcome, outcome.injected.len());
    }
    sums
}

/// By kind: a schedule counts, with its jobs, for every kind that was injected in it.
pub fn by_kind(outcomes: &[Outcome]) -> BTreeMap<Kind, Sums> {
    let mut table: BTreeMap<Kind, Sums> = BTreeMap::new();
    for outcome in outcomes {
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        for kind in &outcome.injected {
            *counts.entry(*kind).or_default() += 1;
        }
        for (kind, count) in counts {
            table.entry(kind).or_default().add(outcome, count);
        }
    }
    table
}

/// The table as Markdown.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "| fault | schedules | injected | jobs | lost | doubled | otherwise wrong |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for (kind, sums) in by_kind(outcomes) {
        let Sums { schedules, faults, jobs, lost, doubled, other, .. } = sums;
        let name = kind.name();
        writeln!(text, "| `{name}` | {schedules} | {faults} | {jobs} | {lost} | {doubled} | {other} |").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chaos::verify::{Finding, Verdict};

    fn outcome(injected: &[Kind], wrong: &[Wrong]) -> Outcome {
        let findings = wrong.iter().map(|wrong| Finding::new(*wrong, "it")).collect();
        Outcome {
            number: 0,
            injected: injected.to_vec(),
            told: Vec::new(),
            verdict: Verdict { accepted: 20, paid: 17, not_paid: 3, registered: 0, findings },
            took: Duration::ZERO,
            logs: None,
        }
    }

    #[test]
    fn what_is_unfinished_counts_as_lost_and_nothing_that_is_wrong_goes_uncounted() {
        let outcomes = [
            outcome(&[Kind::KillApi, Kind::KillApi, Kind::RpcHang], &[]),
            outcome(&[Kind::KillApi], &[Wrong::Unfinished, Wrong::Lost, Wrong::Doubled, Wrong::Nonce]),
        ];
        let all = total(&outcomes);
        assert_eq!(all.line(), "2 schedules, 40 jobs, 4 faults: 2 lost, 1 doubled");
        assert_eq!(all.other, 1);
        assert!(!all.is_good());
        assert!(total(&outcomes[..1]).is_good());
        let kinds = by_kind(&outcomes);
        assert_eq!((kinds[&Kind::KillApi].schedules, kinds[&Kind::KillApi].faults), (2, 3));
        assert_eq!((kinds[&Kind::RpcHang].jobs, kinds[&Kind::RpcHang].lost), (20, 0));
        assert!(table(&outcomes).contains("| `kill-api` | 2 | 3 | 40 | 2 | 1 | 1 |"));
    }
}
