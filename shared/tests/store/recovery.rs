//! What brings jobs back that a dead worker, a rollback or a hand in Redis left behind.

use std::time::Duration;

use shared::ids::{BlockNumber, JobId};
use shared::job::FailureClass;
use shared::job_state::Stage;
use shared::store::{Brief, Cancelled, Departure, MOST_REDELIVERIES, SettledJob, SweepCursor};

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{MIN_IDLE, World};

async fn field(world: &World, job: JobId, name: &str) -> Option<String> {
    world.raw(redis::cmd("HGET").arg(world.key(&format!("job:{job}"))).arg(name)).await
}

#[tokio::test]
async fn a_job_whose_workers_keep_dying_is_dead_lettered_and_its_neighbours_are_not_even_counted() {
    let (_redis, world) = support::start().await;
    let jobs = world.payouts(5).await;
    assert_eq!(MOST_REDELIVERIES, 3, "the runbook and docs/redis.md tell operators what `poison` proves");
    // All five die with their first worker; from then on each is alone, and only one keeps killing.
    assert_eq!(world.claim().await.len(), 5);
    let killer = jobs[2];
    for death in 1..=MOST_REDELIVERIES {
        let back = world.reclaim(Duration::ZERO).await;
        assert_eq!(back.len(), if death == 1 { 5 } else { 1 });
        for brief in back.iter().filter(|brief| brief.id != killer) {
            assert_eq!(world.store.pass("other", &[(brief.id, brief.epoch)]).await.unwrap(), [Ok(())]);
        }
        assert_eq!(field(&world, killer, "redelivered").await, Some(death.to_string()));
    }
    let last = world.store.reclaim("other", Duration::ZERO, "0-0").await.unwrap();
    assert_eq!((last.poisoned, last.job.is_none()), (Some(killer), true));
    let dead = world.job(killer).await;
    assert_eq!((dead.state.stage(), dead.attempts), (Stage::Failed, 0));
    assert_eq!(dead.last_failure.unwrap().class, FailureClass::Poison);
    for job in jobs.iter().filter(|job| **job != killer) {
        assert_eq!((world.stage(*job).await, world.job(*job).await.attempts), (Stage::Ready, 0));
        // What was counted is forgotten once the job is in good hands.
        assert_eq!(field(&world, *job, "redelivered").await, None);
    }
    assert!(world.reclaim(Duration::ZERO).await.is_empty());
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_is_read_again_by_a_living_worker_does_not_count_as_a_death() {
    let (_redis, world) = support::start().await;
    let (_, job) = world.payout().await;
    for _ in 0..10 {
        let epoch = world.claim_job(job).await;
        world.store.hand_back("worker", &[(job, epoch)]).await.unwrap();
    }
    world.claim_job(job).await;
    assert_eq!(world.reclaim(Duration::ZERO).await.len(), 1);
}

#[tokio::test]
async fn a_registration_that_kills_its_workers_fails_with_the_payouts_that_wait_for_it() {
    let (_redis, world) = support::start().await;
    let (child, registration) = world.registering().await;
    let (_, payout) = world.paid_by(child).await;
    world.claim().await;
    for _ in 0..=MOST_REDELIVERIES {
        world.reclaim(Duration::ZERO).await;
    }
    assert_eq!(world.stage(registration).await, Stage::Failed);
    while world.store.unblock(child).await.unwrap() > 0 {}
    let failed = world.job(payout).await;
    assert_eq!(failed.last_failure.unwrap().class, FailureClass::RegistrationFailed);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn pending_entries_that_are_gone_are_told_and_their_jobs_rebuilt() {
    let (_redis, world) = support::start().await;
    let (_, job, epoch) = world.checking().await;
    let entry = field(&world, job, "entry").await.unwrap();
    let _: i64 = world.raw(redis::cmd("XDEL").arg(world.key("jobs")).arg(entry)).await;
    let found = world.store.reclaim("other", Duration::ZERO, "0-0").await.unwrap();
    assert_eq!((found.deleted, found.job.is_none()), (1, true));
    assert_eq!(world.store.stats().await.unwrap().totals["deleted_entries"], 1);
    assert_eq!(world.sweep().await, [(job, Stage::Checking)]);
    assert_eq!(world.stage(job).await, Stage::Queued);
    // Its dead worker is not heard, even if it lives.
    assert!(world.store.pass("worker", &[(job, epoch)]).await.unwrap()[0].is_err());
    assert_eq!(world.claim_job(job).await, epoch.next());
    assert_eq!(world.job(job).await.attempts, 0);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_sweep_of_a_healthy_lane_touches_nothing() {
    let (_redis, world) = support::start().await;
    let (child, _) = world.registering().await;
    world.paid_by(child).await;
    world.submitted().await;
    world.ready().await;
    for exit in [support::back_off(), support::park("float"), support::fail()] {
        let (_, job, _) = world.checking().await;
        world.leave(job, exit).await.unwrap();
    }
    world.checking().await;
    assert!(world.sweep().await.is_empty());
    assert_consistent(&world).await;
    world.payout().await;
    // Read by a worker that has not claimed it yet.
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg("relayers").arg("slow").arg("STREAMS").arg(world.key("jobs")).arg(">");
    let _: redis::Value = world.raw(&mut read).await;
    world.payout().await;
    assert!(world.sweep().await.is_empty());
}

#[tokio::test]
async fn a_settled_job_that_lost_its_place_is_finished_all_the_same() {
    let (_redis, world) = support::start().await;
    let (_, job, epoch) = world.checking().await;
    let settled = SettledJob { job, epoch, block: BlockNumber::new(90) };
    assert_eq!(world.store.settle("worker", None, &[settled]).await.unwrap(), [Ok(())]);
    world.lose_place(job).await;
    assert!(world.store.settling(BlockNumber::new(95), 10).await.unwrap().is_empty());
    assert_eq!(world.sweep().await, [(job, Stage::Confirming)]);
    assert_eq!(world.store.settling(BlockNumber::new(95), 10).await.unwrap(), [job]);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_parked_job_that_lost_the_name_of_its_gate_is_queued_again() {
    let (_redis, world) = support::start().await;
    let (_, job, _) = world.checking().await;
    world.leave(job, support::park("float")).await.unwrap();
    let parked = world.key("parked:float");
    let _: i64 = world.raw(redis::cmd("HDEL").arg(world.key(&format!("job:{job}"))).arg("gate")).await;
    let _: i64 = world.raw(redis::cmd("ZREM").arg(parked).arg(job.to_string())).await;
    assert_eq!(world.sweep().await, [(job, Stage::Gated)]);
    assert_eq!(world.stage(job).await, Stage::Queued);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn payouts_whose_call_was_lost_after_the_registration_are_called_again() {
    let (_redis, world) = support::start().await;
    let (child, _) = world.registering().await;
    let (_, job) = world.paid_by(child).await;
    world.refer(child, world.wallet()).await;
    let _: i64 = world.raw(redis::cmd("DEL").arg(world.key("unblock"))).await;
    assert_eq!(world.sweep().await, [(job, Stage::Waiting)]);
    assert_eq!(world.to_unblock().await, [child]);
    world.store.unblock(child).await.unwrap();
    assert_eq!(world.stage(job).await, Stage::Queued);
}

#[tokio::test]
async fn a_record_that_cannot_be_read_keeps_no_other_from_being_rebuilt() {
    let (_redis, world) = support::start().await;
    let (child, _) = world.registering().await;
    let (_, broken) = world.paid_by(child).await;
    let (_, lost) = world.paid_by(child).await;
    let mut spoil = redis::cmd("HSET");
    spoil.arg(world.key(&format!("job:{broken}"))).arg("payload").arg("not JSON");
    let _: i64 = world.raw(&mut spoil).await;
    world.lose_place(lost).await;
    let swept = world.store.sweep("sweeper", "pending", &SweepCursor::default()).await.unwrap();
    assert_eq!(swept.rebuilt, [(lost, Stage::Waiting)]);
    assert_eq!(swept.unreadable.iter().map(|(job, _)| *job).collect::<Vec<_>>(), [broken]);
}

#[tokio::test]
async fn only_consumers_that_are_silent_and_hold_nothing_are_removed() {
    let (_redis, world) = support::start().await;
    world.payout().await;
    world.claim().await;
    let mut create = redis::cmd("XGROUP");
    create.arg("CREATECONSUMER").arg(world.key("jobs")).arg("relayers").arg("gone");
    let _: i64 = world.raw(&mut create).await;
    assert!(world.store.drop_dead_consumers(Duration::from_secs(60)).await.unwrap().is_empty());
    assert_eq!(world.store.drop_dead_consumers(Duration::ZERO).await.unwrap(), ["gone"]);
    assert_eq!(world.reclaim(Duration::ZERO).await.len(), 1);
}

#[tokio::test]
async fn one_relayer_at_a_time_has_the_turn_and_another_gets_it_when_that_one_is_gone() {
    let (_redis, world) = support::start().await;
    assert!(world.store.take_turn("a").await.unwrap());
    assert!(!world.store.take_turn("b").await.unwrap());
    assert!(world.store.chores("b", MIN_IDLE).await.unwrap().is_none());
    assert!(world.store.chores("a", MIN_IDLE).await.unwrap().is_some());
    let _: i64 = world.raw(redis::cmd("DEL").arg(world.key("turn"))).await;
    assert!(world.store.take_turn("b").await.unwrap());
    assert!(world.store.chores("a", MIN_IDLE).await.unwrap().is_none());
}

#[tokio::test]
async fn the_chores_tell_of_a_worker_that_holds_a_job_and_says_nothing() {
    let (_redis, world) = support::start().await;
    world.payout().await;
    let silent = async |after| world.store.chores("a", after).await.unwrap().unwrap().silent;
    assert!(!silent(Duration::ZERO).await, "nobody holds it yet");
    world.claim().await;
    assert!(!silent(MIN_IDLE).await);
    assert!(silent(Duration::ZERO).await);
}

/// Slices of a sweep of what is pending, and what they rebuilt.
async fn slices(world: &World) -> (usize, Vec<(JobId, Stage)>) {
    let (mut cursor, mut slices, mut rebuilt) = (SweepCursor::default(), 0, Vec::new());
    loop {
        let swept = world.store.sweep("sweeper", "pending", &cursor).await.unwrap();
        slices += 1;
        rebuilt.extend(swept.rebuilt);
        match swept.next {
            Some(next) => cursor = next,
            None => return (slices, rebuilt),
        }
    }
}

#[tokio::test]
async fn jobs_that_entries_name_are_swept_many_at_once_and_the_others_slice_by_slice() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let mut jobs = Vec::new();
    for _ in 0..200 {
        jobs.push(world.paid_by(child).await.1);
    }
    assert_eq!(slices(&world).await, (1, vec![]), "a queue of two hundred is one slice");
    let (child, _) = world.registering().await;
    for _ in 0..200 {
        jobs.push(world.paid_by(child).await.1);
    }
    let (healthy, rebuilt) = slices(&world).await;
    assert!(healthy >= 4 && rebuilt.is_empty(), "{healthy} slices for those that wait");
    let lost: Vec<_> = jobs.into_iter().step_by(7).collect();
    for job in &lost {
        world.lose_place(*job).await;
    }
    let (_, rebuilt) = slices(&world).await;
    assert_eq!(rebuilt.iter().map(|(job, _)| *job).collect::<Vec<_>>(), lost, "each once, the oldest first");
    assert_eq!(slices(&world).await.1, []);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_sweep_misses_no_job_because_others_leave_meanwhile() {
    let (_redis, world) = support::start().await;
    world.payouts(200).await;
    let claimed = world.claim().await;
    let mut jobs: Vec<JobId> = claimed.iter().map(|job| job.id).collect();
    let park = |job: &Brief| Departure {
        job: job.id,
        epoch: job.epoch,
        nonce: None,
        pack_max: None,
        exit: support::park("float"),
    };
    let departures: Vec<Departure> = claimed.iter().map(park).collect();
    // By one script, so at one time: within it they are in the order of their ids.
    let left = world.store.leave("worker", None, &departures).await.unwrap();
    assert!(left.len() == 200 && left.iter().all(Result::is_ok));
    jobs.sort_by_key(ToString::to_string);
    let first = world.store.sweep("sweeper", "pending", &SweepCursor::default()).await.unwrap();
    assert_eq!(first.rebuilt, []);
    let lost = jobs[64];
    world.lose_place(lost).await;
    // What was looked at leaves: counted, the lost one would be among them.
    for job in &jobs[..64] {
        let left = world.store.cancel(*job, "op", "test").await.unwrap();
        assert!(matches!(left, Cancelled::Cancelled { .. }), "{left:?}");
    }
    let mut cursor = first.next;
    let mut rebuilt = Vec::new();
    while let Some(from) = cursor {
        let swept = world.store.sweep("sweeper", "pending", &from).await.unwrap();
        rebuilt.extend(swept.rebuilt);
        cursor = swept.next;
    }
    assert_eq!(rebuilt, [(lost, Stage::Gated)]);
}

#[tokio::test]
async fn a_job_that_moved_under_a_clock_that_was_ahead_is_swept() {
    let (_redis, world) = support::start().await;
    let (child, _) = world.registering().await;
    let (_, job) = world.paid_by(child).await;
    let mut ahead = redis::cmd("ZADD");
    ahead.arg(world.key("by:pending")).arg("99999999999999").arg(job.to_string());
    let _: i64 = world.raw(&mut ahead).await;
    world.lose_place(job).await;
    assert_eq!(world.sweep().await, [(job, Stage::Waiting)]);
}

#[tokio::test]
async fn a_signed_job_that_lost_its_signer_keeps_no_other_from_being_rebuilt() {
    let (_redis, world) = support::start().await;
    let (_, broken, _) = world.submitted().await;
    let (_, strange, _) = world.submitted().await;
    let (_, lost, _) = world.submitted().await;
    let key = |job: JobId| world.key(&format!("job:{job}"));
    let _: i64 = world.raw(redis::cmd("HDEL").arg(key(broken.job)).arg("signer")).await;
    let _: i64 =
        world.raw(redis::cmd("HSET").arg(key(strange.job)).arg("stage").arg("of a later version")).await;
    world.lose_place(lost.job).await;
    let swept = world.store.sweep("sweeper", "processing", &SweepCursor::default()).await.unwrap();
    assert_eq!(swept.rebuilt, [(lost.job, Stage::Submitted)]);
    let unreadable: Vec<JobId> = swept.unreadable.iter().map(|(job, _)| *job).collect();
    assert_eq!((unreadable, swept.next), (vec![broken.job, strange.job], None));
}

#[tokio::test]
async fn a_job_whose_entry_is_gone_though_another_names_it_is_rebuilt_once_that_one_is_dropped() {
    let (_redis, world) = support::start().await;
    let (_, job) = world.payout().await;
    let entry = field(&world, job, "entry").await.unwrap();
    world.lose_place(job).await;
    let made_then = format!("{}-999", entry.split_once('-').unwrap().0);
    let mut add = redis::cmd("XADD");
    add.arg(world.key("jobs")).arg(made_then).arg("job").arg(job.to_string()).arg("epoch").arg("7");
    let _: String = world.raw(&mut add).await;
    assert_eq!(world.sweep().await, [], "somebody will look at the other entry");
    assert!(world.claim().await.is_empty(), "and drop it");
    assert_eq!(world.sweep().await, [(job, Stage::Queued)]);
    world.claim_job(job).await;
    assert_consistent(&world).await;
}

#[tokio::test]
async fn an_emptied_redis_has_no_chores_and_nobody_is_refused_the_turn_for_it() {
    let (_redis, world) = support::start().await;
    world.checking().await;
    let _: () = world.raw(&mut redis::cmd("FLUSHALL")).await;
    for _ in 0..2 {
        let chores = world.store.chores("a", Duration::ZERO).await.unwrap().expect("our turn");
        assert!(!chores.silent && chores.next_due.is_none() && chores.gates.is_empty());
        // The stream is there with the first job, its group only once a relayer makes sure of it.
        let _: String =
            world.raw(redis::cmd("XADD").arg(world.key("jobs")).arg("*").arg("job").arg("x")).await;
    }
    let _: () = world.raw(redis::cmd("DEL").arg(world.key("jobs"))).await;
    let _: () = world.raw(redis::cmd("SET").arg(world.key("jobs")).arg("no stream")).await;
    assert!(world.store.chores("a", Duration::ZERO).await.is_err(), "any other error is told");
}
