//! Long runs that are a schedule of many jobs.

use std::path::Path;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use super::Mode;
use crate::chaos::kinds::Kind;
use crate::chaos::plan::{Planned, Schedule};
use crate::chaos::schedule::{self, Outcome, Setting, world};
use crate::chaos::verify::{Finding, Wrong};
use crate::chaos::work::{TakeBack, Work};
use crate::world::{Fault, Node};

/// Between two rollbacks of Redis, in milliseconds: a fleet is back at work by then.
const ROLLBACK_EVERY: u64 = 8_000;
/// Payments of each.
const PER_ROLLBACK: usize = 20;
/// How often each payment of a storm is delivered.
const DELIVERIES: usize = 100;
/// One in so many payments is poison.
const POISON_EVERY: usize = 100;
/// How payments are called that are poison.
const POISON: &str = "poison_";
const CHILDREN: usize = 10;

pub(super) async fn run(mode: Mode, count: u64, seed: u64, keep: &Path) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let many = usize::try_from(count).unwrap_or(usize::MAX);
    let setting = setting(mode);
    let (work, faults) = match mode {
        Mode::Refunds => (taken_back(&mut rng, many), Vec::new()),
        Mode::OldAof => rolled_back(&mut rng, count, Kind::RedisOld),
        Mode::Replica => rolled_back(&mut rng, count, Kind::RedisPromote),
        Mode::Storm => (stormy(&mut rng, many), Vec::new()),
        Mode::Poison => (poisoned(&mut rng, many), Vec::new()),
        _ => (Work::flood(&mut rng, CHILDREN, many, 20_000 + count * 10), Vec::new()),
    };
    let schedule = Schedule { number: 0, work, faults };
    let mut outcome = schedule::run(&schedule, &setting, keep).await;
    outcome.summary = match mode {
        Mode::LostReplies => {
            let (sent, unanswered) = outcome.sends;
            if unanswered == 0 {
                let what = "every send was answered: this run shows nothing";
                outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, what));
            }
            Some(format!("{unanswered} of {sent} sends were accepted and never answered"))
        }
        _ => outcome.taken_back.take(),
    };
    outcome
}

fn setting(mode: Mode) -> Setting {
    let long = Setting {
        answered_within: Duration::from_secs(900),
        settled_within: Duration::from_secs(900),
        ..Setting::default()
    };
    let builder = match mode {
        // One endpoint, so that nobody else has told; and small transactions, so that there are many.
        Mode::LostReplies => {
            let one = world().endpoints(&[Node::Proxy(Fault::Pass)]);
            let many = one.relayer_env("BATCH_GAS", 1_200_000).relayer_env("MAX_OPEN_NONCES", 100);
            many.relayer_env("RPC_TIMEOUT_MS", 200)
        }
        Mode::Poison => world().relayer_env("FAILPOINTS", format!("poison=return({POISON})")),
        // Held for a second, so that this stage is met as well.
        Mode::Refunds => world().api_env("HOLD_SECONDS", 1),
        _ => world(),
    };
    let usual = if mode == Mode::LostReplies { Fault::SwallowSome(30) } else { Fault::Pass };
    Setting { builder, keeps_failpoints: mode == Mode::Poison, usual, ..long }
}

/// Each payment is refunded, deleted or retried, or several of that, at any moment of its life; some are refused by the token,
/// so that there are failed ones.
fn taken_back(rng: &mut StdRng, count: usize) -> Work {
    let mut work = Work::flood(rng, CHILDREN, count, 30_000);
    // The last child's referrer is the blocked one.
    if let Some(child) = work.children.last_mut() {
        child.referrer = 2;
    }
    for payment in &mut work.payments {
        for _ in 0..rng.random_range(1..=3) {
            let how = [TakeBack::Refund, TakeBack::Delete, TakeBack::Retry][rng.random_range(0..3)];
            payment.back.push((rng.random_range(0..8_000), how));
        }
    }
    work
}

fn rolled_back(rng: &mut StdRng, count: u64, kind: Kind) -> (Work, Vec<Planned>) {
    let payments = PER_ROLLBACK * usize::try_from(count).unwrap_or(1);
    let work = Work::flood(rng, CHILDREN, payments, count * ROLLBACK_EVERY);
    let faults = (0..count).map(|n| Planned {
        kind,
        at: n * ROLLBACK_EVERY + rng.random_range(1_000..4_000),
        lasts: rng.random_range(200..2_500),
        salt: rng.next_u64(),
    });
    let faults = faults.collect();
    (work, faults)
}

fn stormy(rng: &mut StdRng, count: usize) -> Work {
    let spread = 5_000 + count as u64 * 60;
    let mut work = Work::flood(rng, CHILDREN, count, spread);
    for payment in &mut work.payments {
        payment.again = (1..DELIVERIES).map(|_| rng.random_range(0..spread / 2)).collect();
    }
    work
}

fn poisoned(rng: &mut StdRng, count: usize) -> Work {
    let mut work = Work::flood(rng, CHILDREN, count, 10_000);
    for payment in work.payments.iter_mut().step_by(POISON_EVERY) {
        payment.id = format!("{POISON}{}", payment.id);
        payment.deadly = true;
    }
    work
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_long_run_has_what_it_is_about() {
        let mut rng = StdRng::seed_from_u64(1);
        let work = taken_back(&mut rng, 500);
        assert!(work.payments.len() == 500 && work.payments.iter().all(|payment| !payment.back.is_empty()));
        let (work, faults) = rolled_back(&mut rng, 20, Kind::RedisOld);
        assert_eq!((work.payments.len(), faults.len()), (400, 20));
        let apart = faults.windows(2).all(|pair| pair[0].at + pair[0].lasts < pair[1].at);
        assert!(apart, "two at once: {faults:?}");
        let work = stormy(&mut rng, 10);
        assert!(work.payments.iter().all(|payment| payment.again.len() + 1 == DELIVERIES));
        let work = poisoned(&mut rng, 1_000);
        assert_eq!(work.payments.iter().filter(|payment| payment.deadly).count(), 10);
    }
}
