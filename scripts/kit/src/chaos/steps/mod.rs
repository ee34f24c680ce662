//! Every step between two durable effects, and a relayer that dies, stands still or loses a reply at it.
//!
//! The list is held against the code: a step that is in the worker and not here, or here and not in the worker, is an error
//! of its own ([`missing`]).

mod scenes;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::faults::{Action, Armed};
use super::ledger::Ledger;
use super::schedule::{places, terms, world};
use super::settle;
use super::traffic::Traffic;
use super::verify::{self, Verdict, Watched};
use super::work::Work;
use crate::world::process::until;
use crate::world::{Env, World};
use scenes::Scene;

/// A step, by the name it has in the worker's code, and a scene in which it is reached.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub point: &'static str,
    scene: Scene,
}

const fn step(point: &'static str, scene: Scene) -> Step {
    Step { point, scene }
}

/// All of them.
pub const CRASH_POINTS: &[Step] = &[
    // Claims and checks.
    step("after_claim", Scene::Work),
    step("after_ready", Scene::Work),
    step("after_check", Scene::Work),
    step("after_verdict_gate", Scene::Paused),
    step("after_leave", Scene::Paused),
    step("after_settle", Scene::PaidByOthers),
    step("after_chain_gate", Scene::NoChain),
    step("after_park", Scene::NoChain),
    step("after_hand_back", Scene::Stopped),
    step("after_reclaim", Scene::Orphan),
    // Chores.
    step("after_sweep", Scene::Sweep),
    step("after_promote", Scene::Held),
    step("after_unblock", Scene::LateUnblock),
    step("after_release", Scene::Paused),
    step("after_retain", Scene::Work),
    // Becoming the leader.
    step("after_acquire", Scene::Work),
    step("after_replayed_span", Scene::Sync),
    step("after_referrals", Scene::Sync),
    step("after_synced", Scene::Sync),
    step("after_next_nonce", Scene::Work),
    step("after_takeover_broadcast", Scene::Work),
    step("after_filler_sign", Scene::Hole),
    step("after_filler_journal", Scene::Hole),
    // Signing.
    step("after_pack", Scene::ReadyThenPaused),
    step("after_sign", Scene::Work),
    step("after_journal", Scene::Work),
    step("after_broadcast", Scene::Work),
    step("after_replacement_sign", Scene::PricedOut),
    step("after_journal_attempt", Scene::PricedOut),
    // Confirming.
    step("after_inclusion", Scene::Work),
    step("after_registered", Scene::Work),
    step("after_finish", Scene::Work),
    step("after_departures", Scene::Refused),
    step("after_close_nonce", Scene::Work),
    step("after_finish_settled", Scene::PaidByOthers),
    step("after_gate_opened", Scene::Paused),
    step("after_followed", Scene::ManyBlocks),
    step("after_final", Scene::Work),
    // A block that was final and is no more.
    step("after_reorg_gate", Scene::DeepReorg),
    step("after_undo", Scene::DeepReorg),
    step("after_reopen", Scene::DeepReorg),
    step("after_unlearn", Scene::DeepReorg),
    step("after_rewind", Scene::DeepReorg),
];

/// Those of ordinary work, which any schedule comes by.
pub const ORDINARY: &[&str] = &[
    "after_claim",
    "after_ready",
    "after_check",
    "after_sign",
    "after_journal",
    "after_broadcast",
    "after_inclusion",
    "after_registered",
    "after_finish",
    "after_close_nonce",
];

/// How long it may take until a step is reached, and until everything has ended afterwards.
const REACHED_WITHIN: Duration = Duration::from_secs(60);
const SETTLED_WITHIN: Duration = Duration::from_secs(100);

/// The names of all `crash_point!`s in the Rust files below `folder`.
pub fn in_code(folder: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(in_code(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            let names = text.split("crash_point!(\"").skip(1).filter_map(|rest| rest.split('"').next());
            found.extend(names.map(str::to_owned));
        }
    }
    Ok(found)
}

/// What is in the code and not in the list, or in the list and not in the code.
pub fn missing(in_code: &BTreeSet<String>) -> Vec<String> {
    let listed: BTreeSet<String> = CRASH_POINTS.iter().map(|step| step.point.to_owned()).collect();
    in_code.symmetric_difference(&listed).cloned().collect()
}

/// One relayer does the work of the step's scene until it stands at the step; then `action`. Gives what the verifier says at
/// the end. An error, with the ends of all logs, when the step is never reached or something does not end.
pub async fn run(step: Step, action: Action, keep: &Path) -> Result<Verdict> {
    let mut world = step.scene.prepare(world().relayers(1)).start().await?;
    let mut ledger = Ledger::default();
    let verdict = at_step(&mut world, step, action, &mut ledger).await;
    if verdict.as_ref().map_or(true, |verdict| !verdict.findings.is_empty()) {
        std::fs::create_dir_all(keep)?;
        crate::demo::play::keep_logs(&world, keep)?;
        std::fs::write(keep.join("ledger.txt"), format!("{ledger:#?}"))?;
    }
    verdict.with_context(|| format!("{} at {}; logs: {}", action.name(), step.point, keep.display()))
}

async fn at_step(world: &mut World, step: Step, action: Action, ledger: &mut Ledger) -> Result<Verdict> {
    let client = world.client()?;
    let at = places(world)?;
    let work = Work::small();
    let mut traffic = Traffic::new(&client, &work, Duration::from_secs(60));
    traffic.set_up().await?;
    let armed = Armed::new(step.point, action, 0);
    let mut env = armed.env();
    if let Some(helper) = step.scene.helper()
        && let Some(text) = env.get_mut("FAILPOINTS")
    {
        text.push_str(helper);
    }
    step.scene.before(world, &mut traffic, &env).await.context("before the step")?;
    let reached = async |world: &mut World| -> Result<()> {
        until(&format!("relayer 0 to have {}", armed.mark()), REACHED_WITHIN, || async {
            Ok(world.logs(0).contains(armed.mark()).then_some(()))
        })
        .await
    };
    reached(world).await?;
    act(world, action).await?;
    step.scene.after(world, &client).await.context("after the step")?;
    settle::until_settled(&client, SETTLED_WITHIN, step.scene.resumes()).await?;
    *ledger = traffic.ledger();
    let facts = verify::read(&at, ledger.jobs(), ledger.payments.iter().map(|paid| paid.id.as_str())).await?;
    let verdict = verify::check(ledger, &facts, &Watched::new(), &terms(world)?, step.scene.forgets());
    ensure!(verdict.accepted > 0, "nothing was accepted");
    Ok(verdict)
}

/// The relayer stands at the step.
async fn act(world: &mut World, action: Action) -> Result<()> {
    match action {
        Action::Kill => {
            world.kill_relayer(0, Signal::SIGKILL).await?;
            world.restart_relayer(0, &unarmed())
        }
        Action::Pause => {
            // One that is about to end may be gone once it is let go on.
            world.relayer(0)?.signal(Signal::SIGSTOP)?;
            world.add_relayer(&Env::new())?;
            tokio::time::sleep(world.settings.lease_ttl * 3).await;
            world.relayer(0)?.signal(Signal::SIGCONT)
        }
        Action::Error => Ok(()),
    }
}

fn unarmed() -> Env {
    Env::from([("FAILPOINTS".to_owned(), String::new())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::paths;

    #[test]
    fn the_list_is_that_of_the_code() {
        let found = in_code(&paths::root().join("worker/src")).unwrap();
        assert!(found.len() > 30, "{found:?}");
        assert_eq!(missing(&found), Vec::<String>::new(), "not in the list, or not in the code");
    }

    #[test]
    fn a_step_that_is_missing_on_either_side_is_named() {
        let mut found: BTreeSet<String> = CRASH_POINTS.iter().map(|step| step.point.to_owned()).collect();
        found.insert("after_something_new".to_owned());
        found.remove("after_sign");
        assert_eq!(missing(&found), ["after_sign", "after_something_new"]);
    }

    #[test]
    fn no_step_is_listed_twice_and_the_ordinary_ones_are_listed() {
        let names: BTreeSet<_> = CRASH_POINTS.iter().map(|step| step.point).collect();
        assert_eq!(names.len(), CRASH_POINTS.len());
        assert!(ORDINARY.iter().all(|point| names.contains(point)));
    }
}
