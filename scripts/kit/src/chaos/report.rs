//! What came of many schedules: a table per kind of fault, and the one line that counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::kinds::Kind;
use super::schedule::Outcome;
use super::verify::Wrong;

/// Sums over schedules.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub schedules: usize,
    pub jobs: usize,
    pub paid: usize,
    pub not_paid: usize,
    pub registered: usize,
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
        self.not_paid += verdict.not_paid;
        self.registered += verdict.registered;
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

/// What one command ran.
pub struct Run {
    /// Its options, by which it can be run again.
    pub name: String,
    pub outcomes: Vec<Outcome>,
}

impl Run {
    /// Everything about it, as Markdown.
    pub fn text(&self) -> String {
        let sums = total(&self.outcomes);
        let told = match &self.outcomes[..] {
            // Of a single long run the last line says what it was about.
            [outcome] => {
                outcome.told.last().filter(|_| self.outcomes.len() == 1).cloned().unwrap_or_default()
            }
            _ => String::new(),
        };
        let Sums { paid, not_paid, registered, other, .. } = sums;
        let mut text = format!("### `scripts/chaos {}`\n\n", self.name);
        writeln!(
            text,
            "{}: {registered} registered, {paid} paid, {not_paid} truthfully not paid, {other} otherwise wrong. {told}\n",
            sums.line()
        )
        .ok();
        if sums.faults > 0 {
            text.push_str(&table(&self.outcomes));
        }
        text
    }
}

/// Where a page's generated part ends: what is appended goes in front of it.
pub const END: &str = "<!-- end of what `scripts/chaos --report` wrote -->";

/// Appends a run to the generated part of a page.
pub fn append(page: &Path, run: &Run) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    let at = text.find(END).with_context(|| format!("no `{END}` in {}", page.display()))?;
    let written = format!("{}{}\n{}", &text[..at], run.text(), &text[at..]);
    std::fs::write(page, written).with_context(|| format!("write {}", page.display()))
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
            summary: None,
            taken_back: None,
            sends: (0, 0),
            verdict: Verdict { accepted: 20, paid: 17, not_paid: 3, registered: 0, findings },
            took: Duration::ZERO,
            logs: None,
        }
    }

    #[test]
    fn a_run_is_appended_to_the_generated_part_of_a_page_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        std::fs::write(&page, format!("before\n{END}\nafter\n")).unwrap();
        let run = |name: &str| Run { name: name.to_owned(), outcomes: vec![outcome(&[Kind::KillApi], &[])] };
        append(&page, &run("--seed 1")).unwrap();
        append(&page, &run("--seed 2")).unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.starts_with("before\n### `scripts/chaos --seed 1`"), "{text}");
        assert!(text.ends_with(&format!("{END}\nafter\n")), "{text}");
        assert!(text.find("--seed 1") < text.find("--seed 2"));
        std::fs::write(&page, "no place\n").unwrap();
        assert!(append(&page, &run("--seed 3")).is_err());
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
