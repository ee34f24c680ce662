//! The scripts against the pure machines: every stage (state) and event, through the store's own methods.

use std::time::Duration;

use shared::ids::{BlockNumber, JobId, Nonce};
use shared::job::FailureClass;
use shared::job_state::{self, JobEvent, Stage};
use shared::store::{Cancelled, Exit, FinishedJob, Journaled, Retried, SLICE, SettledJob};
use shared::testing::TestRedis;
use shared::tx::{Held, Inclusion};
use shared::tx_state::{self, TxEvent, TxState};

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{SIGNER, World};

const GATE: &str = "float";

/// A job that was put where the test wants it.
struct Subject {
    payment: shared::store::Payment,
    job: JobId,
    nonce: Option<Nonce>,
    registration: Option<JobId>,
}

/// Why no store method can fire this event at a job in this stage; `None` where one can.
fn inexpressible(stage: Stage, event: JobEvent) -> Option<&'static str> {
    use Stage::*;
    match (event, stage) {
        (JobEvent::Include | JobEvent::Exclude, Submitted | Confirming) => None,
        (JobEvent::Include | JobEvent::Exclude, _) => {
            Some("an inclusion names a nonce; signing.rs shows that it leaves alone the jobs that left it")
        }
        (JobEvent::Requeue, Submitted | Confirming | Done) => None,
        (JobEvent::Requeue, _) => Some("only a job that a nonce holds can lose its transaction"),
        (JobEvent::Await, Delayed) => Some("promoting is one method, and what is delayed always promotes"),
        (JobEvent::CancelUnpaid, Submitted | Confirming | Done | Cancelled) => None,
        (JobEvent::CancelUnpaid, _) => Some(
            "a full refund of a job that is not journaled cancels it at once, so no such job carries one",
        ),
        _ => None,
    }
}

async fn put(world: &World, stage: Stage, event: JobEvent) -> Subject {
    let stranded = stage == Stage::Failed && event == JobEvent::Release;
    let unregistered =
        stage == Stage::Waiting || stranded || (stage == Stage::Held && event == JobEvent::Await);
    let (child, registration) = if unregistered {
        let (child, job) = world.registering().await;
        (child, Some(job))
    } else {
        (world.referred().await, None)
    };
    let payment = support::payment("pay_subject", child, "100");
    let hold = u64::from(stage == Stage::Held);
    let job = support::due(&world.accept_held(&payment, hold).await);
    let mut subject = Subject { payment, job, nonce: None, registration };
    if stranded {
        cancel_registration(world, &subject).await;
    } else if !matches!(stage, Stage::Queued | Stage::Waiting | Stage::Held) {
        advance(world, stage, &mut subject).await;
    }
    subject
}

async fn advance(world: &World, stage: Stage, subject: &mut Subject) {
    let job = subject.job;
    if stage == Stage::Cancelled {
        assert!(matches!(world.store.cancel(job, "op", "test").await.unwrap(), Cancelled::Cancelled { .. }));
        return;
    }
    let epoch = world.claim_job(job).await;
    match stage {
        Stage::Checking => return,
        Stage::Delayed => return world.leave(job, support::back_off()).await.unwrap(),
        Stage::Gated => return world.leave(job, support::park(GATE)).await.unwrap(),
        Stage::Failed => return world.leave(job, support::fail()).await.unwrap(),
        Stage::Retrying => {
            world.leave(job, support::fail()).await.unwrap();
            return assert_eq!(world.store.retry(job, "op", "test").await.unwrap(), Retried::Queued);
        }
        _ => world.store.pass("worker", &[(job, epoch)]).await.unwrap()[0].unwrap(),
    }
    if stage == Stage::Ready {
        return;
    }
    let nonce = world.sign(&[Held { job, epoch }]).await;
    subject.nonce = Some(nonce);
    match stage {
        Stage::Confirming => include(world, nonce, 110).await,
        Stage::Done => world.finish(job).await.unwrap(),
        _ => {}
    }
}

async fn include(world: &World, nonce: Nonce, block: u64) {
    let seen = Inclusion { hash: support::hash(9), block: BlockNumber::new(block) };
    world.see(nonce, Some(seen)).await;
}

async fn cancel_registration(world: &World, subject: &Subject) {
    let Some(registration) = subject.registration else { return };
    world.store.cancel(registration, "op", "test").await.unwrap();
    while world.store.unblock(subject.payment.wallet).await.unwrap() > 0 {}
}

/// Fires `event`, in every way the store has to do so.
async fn fire(world: &World, event: JobEvent, subject: &Subject) {
    let (store, fence, job) = (&world.store, &world.fence, subject.job);
    let child = subject.payment.wallet;
    let epoch = world.brief(job).await.epoch;
    match event {
        JobEvent::Claim => {
            // An entry that a rollback might have left behind is in the stream as well.
            let mut stale = redis::cmd("XADD");
            stale.arg(world.key("jobs")).arg("*").arg("job").arg(job.to_string()).arg("epoch").arg("0");
            let _: String = world.raw(&mut stale).await;
            world.claim().await;
            world.reclaim(Duration::ZERO).await;
        }
        JobEvent::HandBack => {
            let _ = store.hand_back("worker", &[(job, epoch)]).await.unwrap();
        }
        JobEvent::Pass => {
            let _ = store.pass("worker", &[(job, epoch)]).await.unwrap();
        }
        JobEvent::BackOff => {
            let _ = world.leave(job, support::back_off()).await;
        }
        JobEvent::Park => {
            let _ = world.leave(job, support::park(GATE)).await;
        }
        JobEvent::Fail => {
            let failure = support::failure(FailureClass::RegistrationFailed);
            let _ = world.leave(job, Exit::Fail { failure, charge: true }).await;
            cancel_registration(world, subject).await;
        }
        JobEvent::Settle => {
            let settled = SettledJob { job, epoch, block: BlockNumber::new(90) };
            store.settle("worker", Some(fence), &[settled]).await.unwrap();
        }
        JobEvent::Journal => {
            let next = store.next_nonce(SIGNER).await.unwrap().unwrap();
            let intent = support::intent(&[Held { job, epoch }]);
            world.journal(next, &intent, &support::attempt(world.serial())).await;
        }
        JobEvent::Include => include(world, subject.nonce.unwrap(), 111).await,
        JobEvent::Exclude => world.see(subject.nonce.unwrap(), None).await,
        JobEvent::Finish => {
            let _ = world.finish(job).await;
        }
        JobEvent::Promote | JobEvent::Await => {
            // A hold lasts at least a millisecond of the Redis clock.
            tokio::time::sleep(Duration::from_millis(2)).await;
            store.promote().await.unwrap();
            if event == JobEvent::Await {
                let referral = world.key(&format!("referral:{}", child.key()));
                let _: i64 =
                    world.raw(redis::cmd("HSET").arg(referral).arg("status").arg("registering")).await;
                let gone = Exit::Unregistered { delay: Duration::ZERO, block: BlockNumber::new(1) };
                let _ = world.leave(job, gone).await;
            }
        }
        JobEvent::Release => {
            world.refer(child, support::wallet(u64::MAX)).await;
            while store.unblock(child).await.unwrap() > 0 {}
            store.release_parked(GATE, SLICE).await.unwrap();
        }
        JobEvent::Retry => {
            let _ = store.retry(job, "op", "test").await.unwrap();
        }
        JobEvent::Cancel => {
            let _ = store.cancel(job, "op", "test").await.unwrap();
        }
        JobEvent::Rebuild => {
            world.lose_place(job).await;
            world.sweep().await;
        }
        JobEvent::Requeue => {
            let tx = world.key(&format!("tx:{SIGNER:#x}:{}", subject.nonce.unwrap()));
            let _: i64 = world.raw(redis::cmd("DEL").arg(tx)).await;
            if world.stage(job).await == Stage::Done {
                store.undo(fence, BlockNumber::new(90), &[job]).await.unwrap();
                return;
            }
            world.lose_place(job).await;
            world.sweep().await;
        }
        JobEvent::Undo => {
            store.undo(fence, BlockNumber::new(90), &[job]).await.unwrap();
        }
        JobEvent::CancelUnpaid => {
            world.refund(&support::refund_of(&subject.payment, 1, "100")).await;
            let _ = world.leave(job, support::back_off()).await;
        }
    }
}

#[tokio::test]
async fn every_stage_and_event_comes_out_as_the_pure_machine_says() {
    let redis = TestRedis::start().await;
    let (mut fired, mut skipped) = (0, 0);
    for stage in Stage::ALL.iter().copied() {
        for event in JobEvent::ALL.iter().copied() {
            let pure = job_state::apply(stage, event);
            let what = format!("`{}` on a job that is {}", event.name(), stage.name());
            if inexpressible(stage, event).is_some() {
                assert!(pure.is_err(), "{what} is an edge, so some method must express it");
                skipped += 1;
                continue;
            }
            let lane = format!("l{fired}");
            let world = World::open(redis.url(), &lane).await;
            let subject = put(&world, stage, event).await;
            assert_eq!(world.stage(subject.job).await, stage, "{what}: not where it should begin");
            let before = world.store.timeline(subject.job).await.unwrap().len();
            fire(&world, event, &subject).await;
            let lines = world.events(subject.job).await.split_off(before);
            let accepted = lines.iter().any(|line| line == event.name());
            assert_eq!(accepted, pure.is_ok(), "{what}: {lines:?}");
            assert_eq!(world.stage(subject.job).await, pure.unwrap_or(stage), "{what}: {lines:?}");
            // There the journal itself is taken away.
            if event != JobEvent::Requeue {
                assert_consistent(&world).await;
            }
            fired += 1;
        }
    }
    assert_eq!(fired + skipped, Stage::ALL.len() * JobEvent::ALL.len());
    assert_eq!(skipped, 11 * 2 + 10 + 1 + 9, "update the list of what cannot be expressed");
}

#[tokio::test]
async fn every_transaction_state_and_event_comes_out_as_the_pure_machine_says() {
    let (_redis, world) = support::start().await;
    for (nonce, (state, event)) in
        TxState::ALL.iter().flat_map(|s| TxEvent::ALL.iter().map(move |e| (*s, *e))).enumerate()
    {
        let (nonce, what) = (Nonce::new(nonce as u64), format!("`{}` when {}", event.name(), state.name()));
        world.journal(nonce, &support::filler(), &support::attempt(world.serial())).await;
        match state {
            TxState::Open => {}
            TxState::Cancelling => assert!(further(&world, nonce, true).await),
            TxState::Closed => assert!(close(&world, nonce).await),
        }
        assert_eq!(tx_state(&world, nonce).await, state);
        let accepted = match event {
            TxEvent::Bump => further(&world, nonce, false).await,
            TxEvent::Cancel => further(&world, nonce, true).await,
            TxEvent::Close => close(&world, nonce).await,
            TxEvent::Reopen | TxEvent::ReopenCancelled => {
                if event == TxEvent::ReopenCancelled && state == TxState::Closed {
                    world.store.reopen(&world.fence, SIGNER, nonce, 1).await.unwrap();
                    assert!(further(&world, nonce, true).await && close(&world, nonce).await);
                }
                world.store.reopen(&world.fence, SIGNER, nonce, 1).await.unwrap() == Some(1)
            }
        };
        let pure = tx_state::apply(state, event);
        assert_eq!(accepted, pure.is_ok(), "{what}");
        assert_eq!(tx_state(&world, nonce).await, pure.unwrap_or(state), "{what}");
    }
}

async fn tx_state(world: &World, nonce: Nonce) -> TxState {
    world.store.tx(SIGNER, nonce).await.unwrap().unwrap().state
}

async fn further(world: &World, nonce: Nonce, cancel: bool) -> bool {
    let so_far = world.store.tx(SIGNER, nonce).await.unwrap().unwrap().attempts.len();
    let n = world.serial();
    let attempt = if cancel { support::cancelling(n) } else { support::attempt(n) };
    let said = world.store.journal_attempt(&world.fence, SIGNER, nonce, so_far, &attempt).await.unwrap();
    matches!(said, Journaled::Journaled { .. })
}

async fn close(world: &World, nonce: Nonce) -> bool {
    world.store.close_nonce(&world.fence, SIGNER, nonce, "ours", None).await.unwrap()
}

/// Jobs of one run may share the line of the timeline, which is encoded once; never another's.
#[tokio::test]
async fn jobs_that_move_in_one_run_each_get_the_line_that_is_their_own() {
    let (_redis, world) = support::start().await;
    let newest = async |job, fields: &[&str]| -> Vec<String> {
        let line = world.store.timeline(job).await.unwrap().pop().unwrap();
        let detail = |field: &&str| line.detail.get(*field).map_or(String::new(), |value| value.to_string());
        std::iter::once(line.event).chain(fields.iter().map(detail)).collect()
    };
    let (_, again, _) = world.checking().await;
    world.leave(again, support::fail()).await.unwrap();
    assert_eq!(world.store.retry(again, "op", "test").await.unwrap(), Retried::Queued);
    let jobs: Vec<JobId> = world.payouts(4).await.into_iter().chain([again]).collect();
    let claimed = world.claim().await;
    assert_eq!(claimed.len(), jobs.len());
    for job in &jobs {
        let from = if *job == again { r#""retrying""# } else { r#""queued""# };
        assert_eq!(newest(*job, &["from"]).await, ["claim", from]);
    }

    let epoch = |job| claimed.iter().find(|brief| brief.id == job).unwrap().epoch;
    let block = |n: usize| BlockNumber::new([90, 91, 90, 91, 92][n]);
    let settled = jobs.iter().enumerate();
    let settled = settled.map(|(n, job)| SettledJob { job: *job, epoch: epoch(*job), block: block(n) });
    let settled: Vec<SettledJob> = settled.collect();
    assert_eq!(world.store.settle("worker", None, &settled).await.unwrap(), [Ok(()); 5]);
    // The first two by one transaction; the others' nobody knows.
    let event = |n: usize| (n < 2).then(|| (support::hash(7), n as u64));
    let at = |n: usize| if n < 2 { block(0) } else { block(n) };
    let finished = jobs.iter().enumerate();
    let finished =
        finished.map(|(n, job)| FinishedJob { job: *job, epoch: epoch(*job), block: at(n), event: event(n) });
    let finished: Vec<FinishedJob> = finished.collect();
    for (n, job) in jobs.iter().enumerate() {
        assert_eq!(newest(*job, &["block"]).await, ["settle".to_owned(), format!("\"{}\"", block(n))]);
    }
    assert_eq!(world.store.finish(&world.fence, &finished).await.unwrap(), [Ok(()); 5]);
    for (n, job) in jobs.iter().enumerate() {
        let hash = event(n).map_or(String::new(), |(hash, _)| hash.to_string());
        let told = ["finish".to_owned(), format!("\"{}\"", at(n)), format!("\"{hash}\""), String::new()];
        assert_eq!(newest(*job, &["block", "hash", "nonce"]).await, told);
    }
}
