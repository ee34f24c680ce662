//! Retention: what has ended leaves, what it came to stays.

use std::time::Duration;

use shared::ids::{BlockNumber, JobId, Nonce, Wallet};
use shared::job::PayoutMode;
use shared::job_state::Stage;
use shared::store::{Accepted, RefundOutcome, Refunded, Removed, Retention, UNDOABLE};
use shared::tx::Held;

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{DONE_AT, SIGNER, World, hash, id_of, payment, refund_of};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Keeps no ended job.
const NOTHING: Retention = Retention { jobs: 0, age: DAY, nonces: 0 };

/// Removes what need not stay, in a lane whose final block no reorganisation of a job's reaches.
async fn retain(world: &World, retention: Retention) -> Removed {
    world.is_final(DONE_AT + UNDOABLE).await;
    let mut all = Removed::default();
    loop {
        let removed = world.store.retain(&retention).await.unwrap();
        all = Removed {
            jobs: all.jobs + removed.jobs,
            nonces: all.nonces + removed.nonces,
            unreadable: removed.unreadable,
            more: false,
        };
        if !removed.more {
            return all;
        }
    }
}

async fn is_there(world: &World, job: JobId) -> bool {
    world.store.job(job).await.unwrap().is_some()
}

/// A payout of `child`, done at the next nonce.
async fn done(world: &World, child: Wallet) -> (shared::store::Payment, JobId) {
    let (payment, job) = world.paid_by(child).await;
    let epoch = world.claim_job(job).await;
    world.store.pass("worker", &[(job, epoch)]).await.unwrap()[0].unwrap();
    let nonce = world.sign(&[Held { job, epoch }]).await;
    world.finish(job).await.unwrap();
    assert!(world.store.close_nonce(&world.fence, SIGNER, nonce, "ours", None).await.unwrap());
    (payment, job)
}

#[tokio::test]
async fn the_oldest_beyond_the_count_leave_and_the_newest_stay() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(done(&world, child).await.1);
    }
    let kept = Retention { jobs: 2, ..NOTHING };
    assert_eq!(retain(&world, kept).await.jobs, 3);
    assert_eq!(retain(&world, kept).await.jobs, 0, "again");
    let mut left = Vec::new();
    for job in &jobs {
        left.push(is_there(&world, *job).await);
    }
    assert_eq!(left, [false, false, false, true, true]);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_a_reorganisation_may_still_undo_stays_whatever_the_count_and_the_age() {
    let (_redis, world) = support::start().await;
    let (_, job) = done(&world, world.referred().await).await;
    let at_once = Retention { age: Duration::ZERO, ..NOTHING };
    assert_eq!(world.store.retain(&at_once).await.unwrap(), Removed::default(), "no block is final");
    world.is_final(DONE_AT + UNDOABLE - 1).await;
    assert_eq!(world.store.retain(&at_once).await.unwrap(), Removed::default());
    world.is_final(DONE_AT + UNDOABLE).await;
    assert_eq!(world.store.retain(&at_once).await.unwrap().jobs, 1);
    assert!(!is_there(&world, job).await);
}

#[tokio::test]
async fn what_ended_long_enough_ago_leaves_whatever_the_count() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let (old, young) = (done(&world, child).await.1, done(&world, child).await.1);
    let by = world.key("by:done");
    let long_ago = world.store.now().await.unwrap() - 2 * DAY.as_millis() as u64;
    let _: i64 = world.raw(redis::cmd("ZADD").arg(&by).arg(long_ago).arg(old.to_string())).await;
    assert_eq!(retain(&world, Retention { jobs: 1_000, ..NOTHING }).await.jobs, 1);
    assert!(!is_there(&world, old).await && is_there(&world, young).await);
}

#[tokio::test]
async fn nothing_unfinished_and_nothing_that_failed_ever_leaves() {
    let (_redis, world) = support::start().await;
    let (_, queued) = world.payout().await;
    let (_, checking, _) = world.checking().await;
    let failed = {
        let (_, job, _) = world.checking().await;
        world.leave(job, support::fail()).await.unwrap();
        job
    };
    let (_, delayed, _) = world.checking().await;
    world.leave(delayed, support::back_off()).await.unwrap();
    let (_, gated, _) = world.checking().await;
    world.leave(gated, support::park("float")).await.unwrap();
    let (_, ready) = world.ready().await;
    let (_, submitted, _) = world.submitted().await;
    let (child, registering) = world.registering().await;
    let (_, waiting) = world.paid_by(child).await;

    assert_eq!(retain(&world, NOTHING).await, Removed::default());
    for job in [queued, checking, failed, delayed, gated, ready.job, submitted.job, registering, waiting] {
        assert!(is_there(&world, job).await, "{}", world.stage(job).await.name());
    }
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_an_affiliate_earned_and_owes_stays_to_the_base_unit() {
    let (_redis, world) = support::start().await;
    let (child, referrer) = (world.wallet(), world.wallet());
    world.refer(child, referrer).await;
    world.store.set_payout_mode(referrer, PayoutMode::Hybrid, "op").await.unwrap();
    // More SGE than a signed 64-bit number of base units holds, or a Lua number holds exactly.
    let mut payments = Vec::new();
    for _ in 0..7 {
        payments.push(done(&world, child).await);
    }
    let owed = refund_of(&payments[0].0, 1, "10");
    world.refund(&owed).await;
    let cancelled = world.paid_by(child).await.1;
    world.store.cancel(cancelled, "op", "test").await.unwrap();
    let before = world.store.affiliate(referrer).await.unwrap();
    assert!(before.paid.sge.base_units() > u128::from(u64::MAX), "{:?}", before.paid);
    assert!(before.owed.usdc.base_units() > 0);

    // In several steps: sums are added up more than once.
    for jobs in [5, 2, 0] {
        retain(&world, Retention { jobs, ..NOTHING }).await;
        let after = world.store.affiliate(referrer).await.unwrap();
        assert_eq!((after.paid, after.owed), (before.paid, before.owed), "{jobs} kept");
        assert_eq!((&after.payouts, after.children), (&before.payouts, before.children), "{jobs} kept");
    }
    assert!(world.store.affiliate(referrer).await.unwrap().recent.is_empty());

    world.refund(&refund_of(&payments[1].0, 1, "10")).await;
    let after = world.store.affiliate(referrer).await.unwrap();
    assert_eq!(after.owed.usdc.base_units(), 2 * before.owed.usdc.base_units(), "a refund that came later");
}

#[tokio::test]
async fn sums_are_right_whatever_their_lengths() {
    let (_redis, world) = support::start().await;
    let lib = include_str!("../../src/store/lua/lib/base.lua");
    let add = lib.split("\n\n").find(|part| part.contains("local function add(")).unwrap();
    let script = format!(
        "{add}\nlocal out = {{}}\nfor i = 1, #ARGV, 2 do out[#out + 1] = add(ARGV[i], ARGV[i + 1]) end\nreturn out"
    );
    let numbers = (0..20).flat_map(|zeros| [1, 2, 9].map(|digit| digit * 10_u128.pow(zeros)));
    let numbers: Vec<u128> = numbers.flat_map(|number| [number - 1, number]).collect();
    let pairs: Vec<(u128, u128)> =
        numbers.iter().flat_map(|one| numbers.iter().map(move |other| (*one, *other))).collect();
    for some in pairs.chunks(500) {
        let args: Vec<String> =
            some.iter().flat_map(|(one, other)| [one.to_string(), other.to_string()]).collect();
        let sums: Vec<String> = world.raw(redis::cmd("EVAL").arg(&script).arg(0).arg(args)).await;
        let wanted: Vec<String> = some.iter().map(|(one, other)| (one + other).to_string()).collect();
        assert_eq!(sums, wanted);
    }
}

#[tokio::test]
async fn a_payment_whose_job_is_gone_is_spent_and_its_refund_is_settled() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let (paid, job) = done(&world, child).await;
    let (refused, never_paid) = world.paid_by(child).await;
    world.store.cancel(never_paid, "op", "test").await.unwrap();
    // While the job is there, it says where it paid; afterwards the payment does.
    let paid_at =
        async |of: &shared::store::Payment| world.store.payment(id_of(of)).await.unwrap().unwrap().paid;
    assert_eq!(paid_at(&paid).await, Some((BlockNumber::new(DONE_AT), Some(hash(7)))));
    assert_eq!(paid_at(&refused).await, None);
    assert_eq!(retain(&world, NOTHING).await.jobs, 2);

    match world.accept(&paid).await {
        Accepted::Decided { decision, job: Some(known), repeated: true } => {
            assert_eq!((decision.as_str(), known), ("due", job));
        }
        other => panic!("{other:?}"),
    }
    let mut other = payment(paid.external_id.as_str(), child, "7");
    other.event_id = "evt_other".parse().unwrap();
    assert!(matches!(world.accept(&other).await, Accepted::Conflict { .. }));
    assert!(!is_there(&world, job).await, "a delivery brought back a part of it");
    for (of, wanted) in [(&paid, RefundOutcome::Owed), (&refused, RefundOutcome::Cancelled)] {
        match world.refund(&refund_of(of, 1, "100")).await {
            Refunded::Applied { outcome, .. } => assert_eq!(outcome, wanted),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(paid_at(&paid).await, Some((BlockNumber::new(DONE_AT), Some(hash(7)))));
    assert_eq!(paid_at(&refused).await, None);
    let view = world.store.payment(id_of(&paid)).await.unwrap().unwrap();
    assert!(view.owed.usdc.base_units() > 0, "{view:?}");
    assert!(!is_there(&world, job).await && !is_there(&world, never_paid).await);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_registration_that_is_gone_still_is_the_wallets() {
    let (_redis, world) = support::start().await;
    let (child, registration) = world.registering().await;
    let epoch = world.claim_job(registration).await;
    world.store.pass("worker", &[(registration, epoch)]).await.unwrap()[0].unwrap();
    world.sign(&[Held { job: registration, epoch }]).await;
    world.finish(registration).await.unwrap();
    assert_eq!(retain(&world, NOTHING).await.jobs, 1);
    let referral = world.store.referral(child).await.unwrap().unwrap();
    assert_eq!((referral.status.as_str(), referral.job), ("registered", None));
    let (_, job) = world.paid_by(child).await;
    assert_eq!(world.stage(job).await, Stage::Queued);
}

#[tokio::test]
async fn transactions_leave_once_no_job_of_theirs_is_left_and_the_newest_nonces_stay() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    for _ in 0..6 {
        done(&world, child).await;
    }
    let (_, open, _) = world.submitted().await;
    assert_eq!(retain(&world, Retention { jobs: 1_000, ..NOTHING }).await.nonces, 0, "their jobs are there");
    let removed = retain(&world, Retention { nonces: 3, ..NOTHING }).await;
    assert_eq!((removed.jobs, removed.nonces), (6, 4));
    assert_eq!(retain(&world, NOTHING).await.nonces, 2, "all but the open one");
    assert!(world.store.tx(SIGNER, Nonce::new(5)).await.unwrap().is_none());
    assert!(world.store.tx(SIGNER, Nonce::new(6)).await.unwrap().is_some());
    assert_eq!(world.stage(open.job).await, Stage::Submitted);
    let page = world.store.txs(&Default::default(), None, 100).await.unwrap();
    assert_eq!(page.txs.iter().map(|view| view.tx.nonce).collect::<Vec<_>>(), [Nonce::new(6)]);
    let hashes: Vec<String> = world.raw(redis::cmd("KEYS").arg(world.key("hash:*"))).await;
    assert_eq!(hashes.len(), 1, "{hashes:?}");
}

#[tokio::test]
async fn a_job_that_failed_keeps_no_transaction_and_one_that_cannot_be_read_keeps_no_job() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let (_, failed, nonce) = world.submitted().await;
    world.leave(failed.job, support::fail()).await.unwrap();
    assert!(world.store.close_nonce(&world.fence, SIGNER, nonce, "ours", None).await.unwrap());
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(done(&world, child).await.1);
    }
    let broken = world.key(&format!("job:{}", jobs[0]));
    let _: i64 = world.raw(redis::cmd("HSET").arg(&broken).arg("payload").arg("{")).await;
    let removed = retain(&world, NOTHING).await;
    assert_eq!((removed.jobs, removed.unreadable), (2, 1));
    // The unreadable one still shows its transaction; the failed one, which is older, does not.
    assert_eq!(removed.nonces, 1);
    assert_eq!(world.stage(failed.job).await, Stage::Failed);
    let state: String = world.raw(redis::cmd("HGET").arg(&broken).arg("state")).await;
    assert_eq!(state, "done");
    let referrer = world.store.referral(child).await.unwrap().unwrap().referrer.unwrap();
    let sums = async || -> Vec<String> {
        let key = world.key(&format!("affiliate:{}", referrer.key()));
        world.raw(redis::cmd("HMGET").arg(key).arg(&["past_done", "past_usdc"])).await
    };
    assert_eq!(sums().await, ["2", "20000000"]);
    retain(&world, NOTHING).await;
    assert_eq!(sums().await, ["2", "20000000"], "counted again");
}
