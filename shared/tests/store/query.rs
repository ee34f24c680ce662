//! Views for people: complete, without duplicates, and the sums are right.

use std::collections::BTreeSet;

use shared::ids::{JobId, Wallet};
use shared::job::{FailureClass, Kind, PayoutMode};
use shared::money::{Commission, Sge, Usdc};
use shared::store::{Departure, JobCursor, JobFilter};
use shared::tx::Held;

use crate::support;
use crate::support::{World, id_of, payment, refund_of};

/// All pages of a list.
async fn list(world: &World, filter: &JobFilter, limit: usize) -> Vec<JobId> {
    let (mut out, mut cursor) = (Vec::new(), None);
    loop {
        let page = world.store.jobs(filter, cursor.as_ref(), limit).await.unwrap();
        assert!(page.jobs.len() <= limit);
        out.extend(page.jobs.iter().map(|job| job.id));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return out,
        }
    }
}

async fn set(world: &World, filter: JobFilter) -> BTreeSet<JobId> {
    list(world, &filter, 100).await.into_iter().collect()
}

fn usdc(units: u128) -> Commission {
    Commission { usdc: Usdc::from_base_units(units), sge: Sge::ZERO }
}

/// Queued payouts of 10 each.
async fn payouts(world: &World, child: Wallet, count: usize) -> Vec<JobId> {
    let mut jobs = Vec::new();
    for _ in 0..count {
        jobs.push(world.paid_by(child).await.1);
    }
    jobs
}

#[tokio::test]
async fn pages_are_complete_and_without_duplicates_over_many_slices_and_states() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let jobs = payouts(&world, child, 600).await;
    for job in &jobs[..40] {
        world.store.cancel(*job, "op", "test").await.unwrap();
    }
    world.claim().await;
    for (filter, expected) in [
        (JobFilter::default(), 600),
        (JobFilter { wallet: Some(child), ..Default::default() }, 600),
        (JobFilter { state: Some("cancelled".into()), ..Default::default() }, 40),
        (JobFilter { state: Some("processing".into()), ..Default::default() }, 256),
        (JobFilter { state: Some("pending".into()), wallet: Some(child), ..Default::default() }, 304),
        (JobFilter { state: Some("failed".into()), ..Default::default() }, 0),
    ] {
        for limit in [60, 256, 1000] {
            let found = list(&world, &filter, limit).await;
            let unique: BTreeSet<_> = found.iter().collect();
            assert_eq!((found.len(), unique.len()), (expected, expected), "{filter:?} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_list_shows_the_newest_change_first() {
    let (_redis, world) = support::start().await;
    payouts(&world, world.referred().await, 20).await;
    let filter = JobFilter { state: Some("pending".into()), ..Default::default() };
    let page = world.store.jobs(&filter, None, 100).await.unwrap();
    let times: Vec<u64> = page.jobs.iter().map(|job| job.updated_at).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}

#[tokio::test]
async fn filters_narrow_and_combine() {
    let (_redis, world) = support::start().await;
    let (child, registration) = world.registering().await;
    let referrer = world.store.referral(child).await.unwrap().unwrap().referrer.unwrap();
    let (_, waiting) = world.paid_by(child).await;
    let (paid, failed, _) = world.checking().await;
    world.leave(failed, support::fail()).await.unwrap();
    let none = JobFilter::default;
    let only = |jobs: &[JobId]| jobs.iter().copied().collect::<BTreeSet<_>>();
    assert_eq!(set(&world, JobFilter { kind: Some(Kind::Register), ..none() }).await, only(&[registration]));
    for wallet in [child, referrer] {
        let of_wallet = JobFilter { wallet: Some(wallet), ..none() };
        assert_eq!(set(&world, of_wallet).await, only(&[registration, waiting]));
    }
    let payouts_of = JobFilter { wallet: Some(referrer), kind: Some(Kind::Payout), ..none() };
    assert_eq!(set(&world, payouts_of).await, only(&[waiting]));
    let class = |class| JobFilter { error_class: Some(class), ..none() };
    assert_eq!(set(&world, class(FailureClass::AboveCap)).await, only(&[failed]));
    assert!(set(&world, class(FailureClass::Poison)).await.is_empty());
    let of_payment = JobFilter { payment: Some(id_of(&paid)), ..none() };
    assert_eq!(set(&world, of_payment.clone()).await, only(&[failed]));
    let of_another_state = JobFilter { state: Some("done".into()), ..of_payment };
    assert!(set(&world, of_another_state).await.is_empty());
    let at = world.job(failed).await.updated_at;
    let within = |from, to| JobFilter { changed_from: Some(from), changed_to: Some(to), ..none() };
    assert!(set(&world, within(at, at)).await.contains(&failed));
    assert!(!set(&world, within(at + 1, u64::MAX >> 11)).await.contains(&failed));
    assert!(set(&world, JobFilter { wallet: Some(referrer), ..within(0, 1) }).await.is_empty());
}

#[tokio::test]
async fn an_affiliates_sums_tell_paid_pending_failed_and_owed_apart() {
    let (_redis, world) = support::start().await;
    let (child, referrer) = (world.wallet(), world.wallet());
    let registration = world.register(child, referrer).await;
    world.refer(child, referrer).await;
    // More than the newest hundred, so that what is owed on older ones counts too.
    let oldest = payment("pay_oldest", child, "100");
    world.accept(&oldest).await;
    world.refund(&refund_of(&oldest, 1, "50")).await;
    payouts(&world, child, 120).await;
    let claimed = world.claim().await;
    let ours: Vec<_> = claimed.iter().filter(|brief| brief.id != registration).collect();
    let (done, failed, cancelled) = (ours[1].id, ours[2].id, ours[3].id);
    world.store.pass("worker", &[(done, ours[1].epoch)]).await.unwrap()[0].unwrap();
    world.sign(&[Held { job: done, epoch: ours[1].epoch }]).await;
    world.finish(done).await.unwrap();
    world.leave(failed, support::fail()).await.unwrap();
    world.store.cancel(cancelled, "op", "test").await.unwrap();
    world.store.set_payout_mode(referrer, PayoutMode::Hybrid, "op").await.unwrap();

    let view = world.store.affiliate(referrer).await.unwrap();
    assert_eq!((view.mode, view.children, view.truncated), (PayoutMode::Hybrid, 1, false));
    assert_eq!((view.paid, view.failed), (usdc(10_000_000), usdc(10_000_000)));
    assert_eq!(view.pending, usdc(118 * 10_000_000));
    assert_eq!(view.owed, usdc(5_000_000));
    let counts: Vec<_> = view.payouts.into_iter().collect();
    assert_eq!(counts, [("cancelled", 1), ("done", 1), ("failed", 1), ("processing", 118)]);
    assert_eq!(view.recent.len(), 100);
    // The child earned nothing by being one.
    let view = world.store.affiliate(child).await.unwrap();
    assert_eq!((view.paid, view.pending, view.owed), Default::default());
    assert!(view.recent.is_empty() && view.payouts.is_empty());
}

#[tokio::test]
async fn stats_count_every_state_and_tell_what_is_queued_from_what_is_in_hand() {
    let (_redis, world) = support::start().await;
    let empty = world.store.stats().await.unwrap();
    assert!(empty.states.iter().all(|state| (state.count, state.oldest) == (0, None)));
    assert_eq!((empty.queued, empty.oldest_queued), (0, None));
    let (first, second) = (world.ready().await, world.checking().await);
    world.payout().await;
    let held = payment("pay_held", world.referred().await, "100");
    world.accept_held(&held, 60_000).await;
    let stats = world.store.stats().await.unwrap();
    let count = |name| stats.states.iter().find(|state| state.state == name).unwrap();
    assert_eq!((count("pending").count, count("processing").count, count("done").count), (2, 2, 0));
    let oldest = world.job(first.1.job).await.updated_at.min(world.job(second.1).await.updated_at);
    assert_eq!(count("processing").oldest, Some(oldest));
    assert_eq!((stats.queued, stats.ready, stats.delayed), (2, 1, 1));
    assert!(stats.oldest_queued.is_some_and(|at| at <= stats.now));
    assert_eq!(stats.totals["event:claim"], 2);
    assert_eq!(stats.totals["intake:due"], 4);
}

#[tokio::test]
async fn operators_actions_are_on_record_with_who_and_why() {
    let (_redis, world) = support::start().await;
    let (_, job) = world.payout().await;
    world.store.cancel(job, "alice", "a test").await.unwrap();
    world.store.pause(shared::store::SIGNING, "maintenance", "bob").await.unwrap();
    world.store.pause(shared::store::SIGNING, "still", "bob").await.unwrap();
    world.store.close_gate("float", "low", "worker").await.unwrap();
    let gates = world.store.closed_gates().await.unwrap();
    let shown: Vec<_> =
        gates.iter().map(|gate| (gate.gate.as_str(), gate.reason.as_str(), gate.by.as_str())).collect();
    assert_eq!(shown, [("float", "low", "worker"), ("signing", "still", "bob")]);
    let audit: redis::streams::StreamRangeReply =
        world.raw(redis::cmd("XRANGE").arg(world.key("audit")).arg("-").arg("+")).await;
    let lines: Vec<[String; 3]> =
        audit.ids.iter().map(|entry| ["who", "what", "why"].map(|field| entry.get(field).unwrap())).collect();
    let expected =
        [["alice", "cancel", "a test"], ["bob", "pause", "maintenance"], ["bob", "pause", "still"]];
    assert_eq!(lines, expected.map(|line| line.map(str::to_owned)));
}

/// The jobs of a page, and the cursor behind it.
async fn page(
    world: &World,
    filter: &JobFilter,
    cursor: Option<&JobCursor>,
    limit: usize,
) -> (Vec<JobId>, Option<JobCursor>) {
    let page = world.store.jobs(filter, cursor, limit).await.unwrap();
    (page.jobs.iter().map(|job| job.id).collect(), page.next)
}

#[tokio::test]
async fn jobs_that_leave_a_list_after_their_page_do_not_make_the_next_one_skip_any() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let jobs: BTreeSet<JobId> = payouts(&world, child, 120).await.into_iter().collect();
    for brief in world.claim().await {
        let exit = support::fail();
        let departure = Departure { job: brief.id, epoch: brief.epoch, nonce: None, pack_max: None, exit };
        assert_eq!(world.store.leave("worker", None, &[departure]).await.unwrap(), [Ok(())]);
    }
    let failed = JobFilter { state: Some("failed".into()), ..Default::default() };
    // An operator reads a page, retries all of it, and asks for the next.
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let (ids, next) = page(&world, &failed, cursor.as_ref(), 50).await;
        for id in ids {
            assert!(seen.insert(id), "{id} twice");
            world.store.retry(id, "op", "test").await.unwrap();
        }
        pages += 1;
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!((seen, pages), (jobs, 3));
}

#[tokio::test]
async fn jobs_that_changed_in_the_same_millisecond_are_listed_once_each_whatever_leaves_meanwhile() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let all = payouts(&world, child, 600).await;
    // Three groups of one score each; the middle one is larger than a slice.
    let key = world.key("by:pending");
    for (n, job) in all.iter().enumerate() {
        let score = match n {
            0..100 => 3_000,
            100..500 => 2_000,
            _ => 1_000,
        };
        let _: i64 = world.raw(redis::cmd("ZADD").arg(&key).arg(score).arg(job.to_string())).await;
    }
    let pending = JobFilter { state: Some("pending".into()), ..Default::default() };
    let (mut seen, mut cursor): (Vec<JobId>, Option<JobCursor>) = (Vec::new(), None);
    loop {
        let (ids, next) = page(&world, &pending, cursor.as_ref(), 37).await;
        // Of what was shown leaves all, or only the very job that the cursor names.
        let stay = if seen.len() % 2 == 0 { 0 } else { ids.len().saturating_sub(1) };
        for id in &ids[stay..] {
            let _: i64 = world.raw(redis::cmd("ZREM").arg(&key).arg(id.to_string())).await;
        }
        seen.extend(ids);
        match next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let unique: BTreeSet<_> = seen.iter().copied().collect();
    assert_eq!((seen.len(), unique), (600, all.into_iter().collect()));
}
