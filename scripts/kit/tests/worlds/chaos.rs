//! A selection of what `scripts/chaos` does: ten schedules that between them disturb every part, and some of the steps at which
//! a relayer may lose a reply. The long forms are in docs/reliability.md.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, stream};
use kit::chaos::faults::Action;
use kit::chaos::kinds::{Kind, Seat};
use kit::chaos::plan::Schedule;
use kit::chaos::schedule::{self, Outcome, Setting};
use kit::chaos::steps::{self, CRASH_POINTS};

/// Schedules, and steps, at a time.
const AT_ONCE: usize = 2;
/// These ten schedules are the same each time, as far as processes are.
const SEED: u64 = 2_026;
const SCHEDULES: u64 = 10;

fn schedules() -> Vec<Schedule> {
    (0..SCHEDULES).map(|number| Schedule::draw(SEED, number, Kind::ALL)).collect()
}

#[test]
fn the_ten_schedules_disturb_every_part_of_the_system() {
    let schedules = schedules();
    let faults: Vec<_> = schedules.iter().flat_map(|schedule| &schedule.faults).collect();
    let seats: BTreeSet<_> = faults.iter().map(|fault| fault.kind.seat()).collect();
    let all: BTreeSet<Seat> = Kind::ALL.iter().map(|kind| kind.seat()).collect();
    assert_eq!(seats, all);
    let kinds: BTreeSet<_> = faults.iter().map(|fault| fault.kind).collect();
    assert!(kinds.len() >= 18, "{kinds:?}");
    assert!(kinds.iter().any(|kind| kind.forgets()), "Redis never forgets");
}

#[tokio::test]
async fn ten_disturbed_schedules_lose_nothing_double_nothing_and_tell_the_truth() -> Result<()> {
    let setting = Setting::default();
    let folder = std::env::temp_dir().join("ail-chaos-test");
    let runs = schedules().into_iter().map(|schedule| {
        let (setting, keep) = (&setting, folder.join(format!("{}", schedule.number)));
        async move { schedule::run(&schedule, setting, &keep).await }
    });
    let outcomes: Vec<Outcome> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    let injected = outcomes.iter().map(|outcome| outcome.injected.len()).sum::<usize>();
    for outcome in &outcomes {
        ensure!(
            outcome.is_good(),
            "schedule {} (scripts/chaos --seed {SEED} --only {}), logs {:?}:\n{}\n{:#?}",
            outcome.number,
            outcome.number,
            outcome.logs,
            outcome.told.join("\n"),
            outcome.verdict.findings
        );
        let verdict = &outcome.verdict;
        let ended = verdict.registered + verdict.paid + verdict.not_paid;
        ensure!(ended == verdict.accepted && verdict.paid >= 8, "{verdict:?}");
    }
    ensure!(injected >= 15, "only {injected} faults could be injected");
    Ok(())
}

/// Steps that no other test comes by with a lost reply, of each kind one: a verdict, the journal, a replacement, and the end of
/// a nonce. `scripts/chaos --crash-points` takes all.
const LOST_REPLIES: [&str; 4] =
    ["after_ready", "after_journal", "after_journal_attempt", "after_close_nonce"];

#[tokio::test]
async fn a_relayer_whose_replies_are_lost_pays_everything_once() -> Result<()> {
    let folder = std::env::temp_dir().join("ail-chaos-test");
    let chosen = CRASH_POINTS.iter().filter(|step| LOST_REPLIES.contains(&step.point));
    let runs = chosen.map(|step| {
        let keep = folder.join(step.point);
        async move { (step.point, steps::run(*step, Action::Error, &keep).await) }
    });
    let verdicts: Vec<_> = stream::iter(runs).buffer_unordered(AT_ONCE).collect().await;
    ensure!(verdicts.len() == LOST_REPLIES.len(), "a step is not in the list");
    for (point, verdict) in verdicts {
        let verdict = verdict?;
        ensure!(verdict.findings.is_empty(), "{point}: {:#?}", verdict.findings);
        ensure!(verdict.paid == 4 && verdict.registered == 2, "{point}: {verdict:?}");
    }
    Ok(())
}
