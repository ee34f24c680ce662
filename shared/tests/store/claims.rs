//! Claims: the stream is transport, the epoch decides who may speak for a job.

use std::time::Duration;

use shared::ids::{BlockNumber, Wallet};
use shared::job_state::Stage;
use shared::store::{Departure, Exit, Refusal, SLICE, StoreError};

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{MIN_IDLE, SIGNER, SOON, World};

async fn stream_length(world: &World) -> u64 {
    world.raw(redis::cmd("XLEN").arg(world.key("jobs"))).await
}

async fn pending(world: &World) -> u64 {
    let mut command = redis::cmd("XPENDING");
    let summary: Vec<redis::Value> = world.raw(command.arg(world.key("jobs")).arg("relayers")).await;
    redis::from_redis_value(summary.into_iter().next().unwrap()).unwrap()
}

async fn inject(world: &World, job: &str) {
    let mut command = redis::cmd("XADD");
    let _: String =
        world.raw(command.arg(world.key("jobs")).arg("*").arg("job").arg(job).arg("epoch").arg(0)).await;
}

#[tokio::test]
async fn an_entry_that_its_job_does_not_name_is_acknowledged_and_deleted() {
    let (_redis, world) = support::start().await;
    let (_, job) = world.payout().await;
    inject(&world, &job.to_string()).await;
    inject(&world, &shared::ids::JobId::generate().to_string()).await;
    let claimed = world.claim().await;
    assert_eq!(claimed.iter().map(|brief| brief.id).collect::<Vec<_>>(), [job]);
    assert_eq!((stream_length(&world).await, pending(&world).await), (1, 1));
    assert_eq!(world.events(job).await, ["accept", "claim"]);
    assert_eq!(world.store.stats().await.unwrap().totals["stale_entries"], 2);
}

#[tokio::test]
async fn while_jobs_wait_they_are_read_and_claimed_at_once_and_then_waited_for() {
    let (_redis, world) = support::start().await;
    let jobs = world.payouts(5).await;
    inject(&world, &shared::ids::JobId::generate().to_string()).await;
    let mut claims = world.store.claims("worker").await.unwrap();
    let mut claimed = Vec::new();
    for expected in [2, 2, 1, 0] {
        let some = claims.next(2, SOON).await.unwrap();
        assert_eq!(some.len(), expected);
        claimed.extend(some.into_iter().map(|brief| brief.id));
    }
    assert_eq!(claimed, jobs);
    assert_eq!((stream_length(&world).await, pending(&world).await), (5, 5));
    assert_eq!(world.store.stats().await.unwrap().totals["stale_entries"], 1);
    let late = world.payout().await.1;
    assert_eq!(claims.next(2, SOON).await.unwrap()[0].id, late);
}

#[tokio::test]
async fn more_is_claimed_without_waiting_and_only_after_jobs_were_found() {
    let (_redis, world) = support::start().await;
    let jobs = world.payouts(3).await;
    let mut claims = world.store.claims("worker").await.unwrap();
    assert!(claims.more(2).await.unwrap().is_empty(), "nobody knows of jobs yet");
    let mut claimed = claims.next(1, SOON).await.unwrap();
    claimed.extend(claims.more(5).await.unwrap());
    assert_eq!(claimed.iter().map(|brief| brief.id).collect::<Vec<_>>(), jobs);
    assert!(claims.more(5).await.unwrap().is_empty());
    let late = world.payout().await.1;
    assert!(claims.more(5).await.unwrap().is_empty(), "the last time there were none");
    assert_eq!(claims.next(5, SOON).await.unwrap()[0].id, late);
}

#[tokio::test]
async fn a_reclaimed_job_has_a_new_epoch_and_its_old_claimant_is_refused_whatever_it_says() {
    let (_redis, world) = support::start().await;
    let (_, job, old) = world.checking().await;
    let reclaimed = world.reclaim(Duration::ZERO).await;
    assert_eq!(
        reclaimed.iter().map(|brief| (brief.id, brief.epoch)).collect::<Vec<_>>(),
        [(job, old.next())]
    );
    let (store, stale) = (&world.store, [Err(Refusal::Stale)]);
    let lines = world.events(job).await;
    assert_eq!(store.pass("worker", &[(job, old)]).await.unwrap(), stale);
    assert_eq!(store.hand_back("worker", &[(job, old)]).await.unwrap(), stale);
    for exit in [support::back_off(), support::park("float"), support::fail()] {
        let departure = Departure { job, epoch: old, nonce: None, pack_max: None, exit };
        assert_eq!(store.leave("worker", None, &[departure]).await.unwrap(), stale);
    }
    let settled = shared::store::SettledJob { job, epoch: old, block: shared::ids::BlockNumber::new(1) };
    assert_eq!(store.settle("worker", None, &[settled]).await.unwrap(), stale);
    assert_eq!(world.events(job).await, lines);
    assert_eq!(store.pass("other", &[(job, old.next())]).await.unwrap(), [Ok(())]);
    // Even the new claimant is heard once only.
    let late = store.pass("other", &[(job, old.next())]).await.unwrap();
    assert_eq!(late, [Err(Refusal::WrongStage)]);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_reclaim_takes_nothing_that_is_young_and_goes_on_where_it_stopped() {
    let (_redis, world) = support::start().await;
    for _ in 0..5 {
        world.payout().await;
    }
    assert_eq!(world.claim().await.len(), 5);
    assert!(world.reclaim(Duration::from_secs(3600)).await.is_empty());
    let first = world.store.reclaim("other", Duration::ZERO, "0-0").await.unwrap();
    let second = world.store.reclaim("other", Duration::ZERO, &first.cursor).await.unwrap();
    let ids: Vec<_> = [&first, &second].iter().map(|found| found.job.as_ref().unwrap().id).collect();
    assert_ne!(ids[0], ids[1]);
    assert_ne!(first.cursor, second.cursor);
    assert_eq!(world.reclaim(Duration::ZERO).await.len(), 5);
}

#[tokio::test]
async fn what_was_read_but_never_claimed_is_found_again() {
    let (_redis, world) = support::start().await;
    let (_, job) = world.payout().await;
    // A worker that died between the read and the claim.
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP").arg("relayers").arg("dead").arg("STREAMS").arg(world.key("jobs")).arg(">");
    let _: redis::Value = world.raw(&mut read).await;
    assert_eq!(world.stage(job).await, Stage::Queued);
    assert!(world.claim().await.is_empty());
    let found = world.reclaim(Duration::ZERO).await;
    assert_eq!(found[0].id, job);
    assert_eq!(world.stage(job).await, Stage::Checking);
}

#[tokio::test]
async fn handing_back_charges_nothing_and_queues_again() {
    let (_redis, world) = support::start().await;
    let (_, job, epoch) = world.checking().await;
    assert_eq!(world.store.hand_back("worker", &[(job, epoch)]).await.unwrap(), [Ok(())]);
    assert_eq!((world.job(job).await.attempts, pending(&world).await), (0, 0));
    assert_eq!(world.claim_job(job).await, epoch.next());
}

#[tokio::test]
async fn a_backoff_charges_when_it_says_so_and_a_gate_never() {
    let (_redis, world) = support::start().await;
    let (_, job, _) = world.checking().await;
    world.leave(job, support::back_off()).await.unwrap();
    assert_eq!(world.job(job).await.attempts, 1);
    assert_eq!(world.store.promote().await.unwrap().0, 1);
    world.claim_job(job).await;
    world.leave(job, support::park("float")).await.unwrap();
    assert_eq!(world.job(job).await.attempts, 1);
    assert_eq!(world.store.release_parked("float", SLICE).await.unwrap(), Some(1));
    world.claim_job(job).await;
    world.leave(job, support::fail()).await.unwrap();
    world.store.retry(job, "op", "test").await.unwrap();
    assert_eq!(world.job(job).await.attempts, 0);
}

/// Adds `count` payouts of one child, and takes all that is queued out of hand by `exit`.
async fn send_away(world: &World, count: usize, exit: &shared::store::Exit) {
    let child = world.referred().await;
    for _ in 0..count {
        world.paid_by(child).await;
    }
    loop {
        let claimed = world.claim().await;
        if claimed.is_empty() {
            break;
        }
        let departures: Vec<_> = claimed
            .iter()
            .map(|brief| Departure {
                job: brief.id,
                epoch: brief.epoch,
                nonce: None,
                pack_max: None,
                exit: exit.clone(),
            })
            .collect();
        let left = world.store.leave("worker", None, &departures).await.unwrap();
        assert!(left.iter().all(Result::is_ok));
    }
}

#[tokio::test]
async fn six_hundred_jobs_come_back_from_gates_and_delays_in_bounded_slices() {
    let (_redis, world) = support::start().await;
    send_away(&world, 600, &support::park("float")).await;
    world.store.close_gate("float", "test", "worker").await.unwrap();
    assert_eq!(world.store.release_parked("float", SLICE).await.unwrap(), None);
    assert_eq!(world.store.closed_gates().await.unwrap()[0].parked, 600);
    world.store.open_gate("float", "test", "worker").await.unwrap();
    for expected in [SLICE, SLICE, 600 - 2 * SLICE, 0] {
        assert_eq!(world.store.release_parked("float", SLICE).await.unwrap(), Some(expected));
    }
    assert!(world.store.chores("worker", MIN_IDLE).await.unwrap().unwrap().gates.is_empty());
    send_away(&world, 0, &support::back_off()).await;
    for expected in [SLICE, SLICE, 600 - 2 * SLICE, 0] {
        let (promoted, next) = world.store.promote().await.unwrap();
        assert_eq!(promoted, expected);
        assert_eq!(next, (expected == SLICE).then_some(Duration::ZERO));
    }
    assert_eq!(stream_length(&world).await, 600);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_payload_that_does_not_parse_is_an_error_and_holds_up_nobody_else() {
    let (_redis, world) = support::start().await;
    let (_, poisoned) = world.payout().await;
    let mut spoil = redis::cmd("HSET");
    spoil.arg(world.key(&format!("job:{poisoned}"))).arg("payload").arg("{\"kind\":\"from the future\"}");
    let _: i64 = world.raw(&mut spoil).await;
    let mut claims = world.store.claims("worker").await.unwrap();
    let alone = claims.next(10, SOON).await;
    assert!(matches!(alone, Err(StoreError::Corrupt { field: "payload", .. })), "{alone:?}");
    assert!(matches!(world.store.job(poisoned).await, Err(StoreError::Corrupt { .. })));
    let (_, good) = world.payout().await;
    assert_eq!(world.claim().await.len(), 1);
    let reclaimed = world.reclaim(Duration::ZERO).await;
    assert_eq!(reclaimed.iter().map(|brief| brief.id).collect::<Vec<_>>(), [good]);
}

#[tokio::test]
async fn a_long_timeline_keeps_its_first_and_its_newest_lines() {
    let (_redis, world) = support::start().await;
    let (_, job) = world.payout().await;
    for _ in 0..150 {
        let epoch = world.claim_job(job).await;
        world.store.hand_back("worker", &[(job, epoch)]).await.unwrap();
    }
    world.claim_job(job).await;
    world.leave(job, support::fail()).await.unwrap();
    let events = world.events(job).await;
    assert_eq!(events.len(), 128);
    let first: [&str; 15] = std::array::from_fn(|n| ["claim", "hand_back"][n % 2]);
    assert_eq!((&events[0][..], &events[1..16]), ("accept", &first.map(str::to_owned)[..]));
    assert_eq!(events[126..], ["claim", "fail"]);
    let at: Vec<u64> = world.store.timeline(job).await.unwrap().iter().map(|line| line.at).collect();
    assert!(at.is_sorted());
    world.store.retry(job, "operator", "again").await.unwrap();
    assert_eq!(world.events(job).await[125..], ["claim", "fail", "retry"]);
}

#[tokio::test]
async fn a_condition_seen_before_the_block_that_opened_the_gate_does_not_close_it_again() {
    let (_redis, world) = support::start().await;
    let block = shared::ids::BlockNumber::new;
    let close = |at: u64| world.store.close_gate_at("float", "low", "worker", block(at));
    assert!(close(10).await.unwrap());
    assert!(!close(11).await.unwrap());
    assert_eq!(world.store.closed_gates().await.unwrap()[0].block, Some(block(10)));
    assert!(world.store.open_gate_at("float", "funded", "leader", block(12)).await.unwrap());
    assert!(!close(11).await.unwrap());
    assert!(world.store.closed_gates().await.unwrap().is_empty());
    assert!(close(12).await.unwrap());
}

#[tokio::test]
async fn a_gate_that_closed_without_a_block_learns_it_from_the_next_who_sees_its_condition() {
    let (_redis, world) = support::start().await;
    assert!(world.store.close_gate("float", "low", "leader").await.unwrap());
    assert_eq!(world.store.closed_gates().await.unwrap()[0].block, None);
    let block = shared::ids::BlockNumber::new(7);
    assert!(!world.store.close_gate_at("float", "low", "worker", block).await.unwrap());
    assert_eq!(world.store.closed_gates().await.unwrap()[0].block, Some(block));
}

#[tokio::test]
async fn a_payout_whose_child_the_chain_does_not_know_waits_or_fails_as_the_registration_stands() {
    let (_redis, world) = support::start().await;
    let gone = |block| Exit::Unregistered { delay: Duration::ZERO, block: BlockNumber::new(block) };
    let status = async |child: Wallet, status: &str, block: u64| {
        let mut set = redis::cmd("HSET");
        set.arg(world.key(&format!("referral:{}", child.key()))).arg("status").arg(status);
        let _: i64 = world.raw(set.arg("block").arg(block)).await;
    };
    for (known, recorded_at, wanted) in [
        ("registered", 11, Stage::Delayed),
        ("registering", 0, Stage::Waiting),
        ("registered", 10, Stage::Failed),
        ("failed", 11, Stage::Failed),
    ] {
        let (payment, job, _) = world.checking().await;
        status(payment.wallet, known, recorded_at).await;
        world.leave(job, gone(10)).await.unwrap();
        assert_eq!(world.stage(job).await, wanted, "{known} at {recorded_at}");
        assert_eq!(world.job(job).await.attempts, 0, "{known} at {recorded_at}: charged");
        if wanted == Stage::Delayed {
            continue;
        }
        // A registration that comes in the end lets it go, whichever way it took.
        world.refer(payment.wallet, support::wallet(7)).await;
        while world.store.unblock(payment.wallet).await.unwrap() > 0 {}
        assert_eq!(world.stage(job).await, Stage::Queued, "{known} at {recorded_at}");
        world.claim_job(job).await;
        world.leave(job, support::fail()).await.unwrap();
    }
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_refunded_job_that_lost_its_nonce_is_cancelled_at_the_check_and_never_waits_for_the_leader() {
    let (_redis, world) = support::start().await;
    let (payment, held, nonce) = world.submitted().await;
    world.refund(&support::refund_of(&payment, 1, "100")).await;
    let tx = world.key(&format!("tx:{SIGNER:#x}:{nonce}"));
    let _: i64 = world.raw(redis::cmd("DEL").arg(tx)).await;
    world.lose_place(held.job).await;
    world.sweep().await;
    assert_eq!(world.stage(held.job).await, Stage::Queued);
    let epoch = world.claim_job(held.job).await;
    world.store.pass("worker", &[(held.job, epoch)]).await.unwrap()[0].unwrap();
    assert_eq!(world.stage(held.job).await, Stage::Cancelled);
    assert!(world.read_ready().await.unwrap().is_empty());
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_claim_whose_reply_is_seconds_late_is_not_given_up() {
    let (_redis, world) = support::start().await;
    let (_, job) = world.payout().await;
    let mut claims = world.store.claims("worker").await.unwrap();
    // As a disk that is slow to sync holds every reply back.
    let _: () = world.raw(redis::cmd("CLIENT").arg("PAUSE").arg(2_500).arg("ALL")).await;
    let found = claims.next(10, support::SOON).await.unwrap();
    assert_eq!(found.iter().map(|brief| brief.id).collect::<Vec<_>>(), [job]);
}

/// Since when the gate `float` is closed.
async fn since(world: &support::World) -> u64 {
    world.store.closed_gates().await.unwrap()[0].since
}

/// Lets the last opening of `float`, and the closing before it, be `ms` longer ago.
async fn age_opening(world: &support::World, ms: u64) {
    let key = world.key("gate:opened");
    let last: String = world.raw(redis::cmd("HGET").arg(&key).arg("since:float")).await;
    let (since, at) = last.split_once(':').unwrap();
    let older = |time: &str| time.parse::<u64>().unwrap() - ms;
    let aged = format!("{}:{}", older(since), older(at));
    let _: i64 = world.raw(redis::cmd("HSET").arg(&key).arg("since:float").arg(aged)).await;
}

#[tokio::test]
async fn a_gate_that_is_opened_for_a_try_counts_as_closed_since_it_closed_first() {
    let (_redis, world) = support::start().await;
    let block = shared::ids::BlockNumber::new;
    assert!(world.store.close_gate_at("float", "low", "worker", block(10)).await.unwrap());
    let mut first = since(&world).await;
    // Tried again and again, for longer than one opening is remembered.
    for n in 1..=3 {
        assert!(world.store.open_gate_at("float", "a try", "leader", block(10 + n)).await.unwrap());
        age_opening(&world, 100_000).await;
        first -= 100_000;
        assert!(world.store.close_gate_at("float", "low", "worker", block(10 + n)).await.unwrap());
        assert_eq!(
            (since(&world).await, world.store.closed_gates().await.unwrap()[0].block),
            (first, Some(block(10 + n)))
        );
    }
    // An opening that lasted is one.
    assert!(world.store.open_gate_at("float", "funded", "leader", block(20)).await.unwrap());
    age_opening(&world, 121_000).await;
    assert!(world.store.close_gate_at("float", "low", "worker", block(21)).await.unwrap());
    assert!(since(&world).await >= first + 300_000, "closed anew");
}

#[tokio::test]
async fn what_an_operator_opens_was_open() {
    let (_redis, world) = support::start().await;
    assert!(world.store.close_gate("float", "mismatch", "leader").await.unwrap());
    let first = since(&world).await;
    assert!(world.store.resume("float", "explained", "alice").await.unwrap());
    while world.store.now().await.unwrap() <= first {}
    assert!(world.store.close_gate("float", "mismatch", "leader").await.unwrap());
    assert!(since(&world).await > first);
}
