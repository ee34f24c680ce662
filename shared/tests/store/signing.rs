//! The journal: only the living lease writes, all of it or nothing, and a lost reply is re-asked, never re-signed.

use shared::ids::{BlockNumber, Nonce};
use shared::job::FailureClass;
use shared::job_state::Stage;
use shared::money::{Commission, Sge, Usdc};
use shared::store::{
    Departure, Exit, Fence, FinishedJob, JournalOutcome, Journaled, NewTx, Noted, Ready, RefundOutcome,
    Refunded, Refusal, SIGNING, SettledJob,
};
use shared::tx::{Held, Inclusion, TxRecord};
use shared::tx_state::TxState;

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{
    MAX_OPEN, SIGNER, World, attempt, cancelling, filler, hash, intent, refund_of, take_lease,
};

fn nonce(n: u64) -> Nonce {
    Nonce::new(n)
}

/// What is open, all of it readable.
async fn open(world: &World) -> Vec<TxRecord> {
    let index = world.store.open_nonces(SIGNER).await.unwrap();
    let (readable, unreadable) = world.store.open_txs(SIGNER, &index).await.unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    readable
}

fn seen(block: u64) -> Inclusion {
    Inclusion { hash: hash(block), block: BlockNumber::new(block) }
}

/// Asserts that none of the signer's writes goes through under `fence`, and that none writes anything.
async fn assert_fenced(world: &World, fence: &Fence) {
    let (store, before) = (&world.store, world.dump().await);
    let (a, intent) = (attempt(900), filler());
    let tx = NewTx { signer: SIGNER, nonce: nonce(1), intent: &intent, attempt: &a, max_open: MAX_OPEN };
    assert_eq!(store.journal(fence, &tx).await.unwrap(), JournalOutcome::Fenced);
    let said = store.journal_attempt(fence, SIGNER, nonce(0), 1, &attempt(901)).await.unwrap();
    assert_eq!(said, Journaled::Fenced);
    assert_eq!(store.include(fence, SIGNER, nonce(0), Some(seen(110))).await.unwrap(), Noted::Fenced);
    assert!(!store.close_nonce(fence, SIGNER, nonce(0), "ours", None).await.unwrap());
    assert!(!store.set_next_nonce(fence, SIGNER, Some(nonce(1)), nonce(9)).await.unwrap());
    assert!(!store.read_ready(fence, &mut Ready::default(), 10).await.unwrap());
    let referral = (support::wallet(1), support::wallet(2), BlockNumber::new(1));
    assert!(!store.registered(fence, &[referral]).await.unwrap());
    let state = store.sync_state().await.unwrap();
    assert!(!store.set_synced(fence, &state.run_id, BlockNumber::new(999)).await.unwrap());
    let paid = shared::store::PaidPayment {
        payment: shared::ids::PaymentId::derive("payments", "x"),
        block: BlockNumber::new(1),
        hash: hash(1),
        referrer: support::wallet(1),
        child: support::wallet(2),
        commission: Commission::default(),
    };
    assert_eq!(store.mark_paid(fence, "leader", &[paid]).await.unwrap(), None);
    for brief in jobs_in_the_leaders_hands(world).await {
        let finished =
            FinishedJob { job: brief.job, epoch: brief.epoch, block: BlockNumber::new(1), event: None };
        assert_eq!(store.finish(fence, &[finished]).await.unwrap(), [Err(Refusal::Fenced)]);
        for fence in [Some(fence), None] {
            let departure = Departure {
                job: brief.job,
                epoch: brief.epoch,
                nonce: None,
                pack_max: None,
                exit: support::back_off(),
            };
            assert_eq!(store.leave("zombie", fence, &[departure]).await.unwrap(), [Err(Refusal::Fenced)]);
        }
    }
    assert!(world.dump().await == before, "a fenced write changed something");
    assert!(world.store.stats().await.unwrap().totals["fenced_writes"] > 0, "nobody counted");
}

async fn jobs_in_the_leaders_hands(world: &World) -> Vec<Held> {
    let all = shared::store::JobFilter { state: Some("processing".into()), ..Default::default() };
    let page = world.store.jobs(&all, None, 100).await.unwrap();
    let ids: Vec<_> = page.jobs.iter().map(|job| job.id).collect();
    let briefs = world.store.briefs(&ids).await.unwrap();
    let held: Vec<_> = briefs.into_iter().flatten().map(|b| Held { job: b.id, epoch: b.epoch }).collect();
    assert_eq!(held.len(), 1);
    held
}

#[tokio::test]
async fn what_was_read_of_the_ready_ones_is_not_read_again() {
    let (_redis, world) = support::start().await;
    let mut jobs = Vec::new();
    for _ in 0..5 {
        jobs.push(world.ready().await.1.job);
    }
    let (mut ready, ids) =
        (Ready::default(), |ready: &Ready| ready.jobs.iter().map(|job| job.id).collect::<Vec<_>>());
    for (more, so_far) in [(2, 2), (2, 4), (9, 5), (9, 5)] {
        assert!(world.store.read_ready(&world.fence, &mut ready, more).await.unwrap());
        assert_eq!(ids(&ready), jobs[..so_far]);
    }
    jobs.push(world.ready().await.1.job);
    assert!(world.store.read_ready(&world.fence, &mut ready, 9).await.unwrap());
    assert_eq!(ids(&ready), jobs, "and what became ready since comes behind");

    // A new entry of one that is held already.
    world.lose_place(jobs[0]).await;
    assert_eq!(world.sweep().await, [(jobs[0], Stage::Ready)]);
    assert!(world.store.read_ready(&world.fence, &mut ready, 9).await.unwrap());
    assert_eq!(ids(&ready), jobs);

    // One that cannot be read is told where no other is held.
    let broken = world.ready().await.1.job;
    let key = world.key(&format!("job:{broken}"));
    let _: i64 = world.raw(redis::cmd("HSET").arg(key).arg("payload").arg("not JSON")).await;
    assert!(world.store.read_ready(&world.fence, &mut ready, 9).await.unwrap());
    assert_eq!(ids(&ready), jobs);
    ready.jobs.clear();
    assert!(world.store.read_ready(&world.fence, &mut ready, 9).await.is_err());
}

#[tokio::test]
async fn an_expired_lease_writes_nothing() {
    let (_redis, world) = support::start().await;
    world.submitted().await;
    // Expiry is Redis's doing; deleting the key is what it does.
    let _: i64 = world.raw(redis::cmd("DEL").arg(world.key("lease"))).await;
    assert_fenced(&world, &world.fence).await;
}

#[tokio::test]
async fn a_predecessor_writes_nothing_once_another_holds_the_lease() {
    let (_redis, world) = support::start().await;
    world.submitted().await;
    assert!(world.store.release_lease(&world.fence).await.unwrap());
    take_lease(&world.store, "boot-b").await;
    assert_fenced(&world, &world.fence).await;
}

#[tokio::test]
async fn the_same_term_given_again_to_another_boot_does_not_open_the_fence() {
    let (_redis, world) = support::start().await;
    world.submitted().await;
    assert!(world.store.release_lease(&world.fence).await.unwrap());
    // A failover forgot the last term.
    let _: () = world.raw(redis::cmd("SET").arg(world.key("term")).arg(0)).await;
    let other = take_lease(&world.store, "boot-b").await;
    assert_eq!(other.term(), world.fence.term());
    assert_fenced(&world, &world.fence).await;
}

// --- the journal's eight answers

#[tokio::test]
async fn an_open_nonce_that_cannot_be_read_hides_no_other() {
    let (_redis, world) = support::start().await;
    for n in 0..2 {
        let (_, held) = world.ready().await;
        let answer = world.journal(nonce(n), &intent(&[held]), &attempt(n)).await;
        assert!(matches!(answer, JournalOutcome::Journaled { .. }));
    }
    let broken = world.key(&format!("tx:{SIGNER:#x}:0"));
    let _: i64 = world.raw(redis::cmd("HSET").arg(&broken).arg("intent").arg("{")).await;
    let (readable, unreadable) = world.store.open_txs(SIGNER, &[nonce(0), nonce(1)]).await.unwrap();
    assert_eq!(readable.iter().map(|tx| tx.nonce).collect::<Vec<_>>(), [nonce(1)]);
    assert_eq!(unreadable.len(), 1);
    assert_eq!(unreadable[0].0, nonce(0));
    assert!(unreadable[0].1.to_string().contains(&broken), "{}", unreadable[0].1);
}

#[tokio::test]
async fn a_journaled_transaction_is_read_back_whole_and_holds_its_jobs() {
    let (_redis, world) = support::start().await;
    let (_, held) = world.ready().await;
    let (wanted, first) = (intent(&[held]), attempt(1));
    let JournalOutcome::Journaled { at } = world.journal(nonce(0), &wanted, &first).await else {
        panic!("not journaled")
    };
    let tx = world.store.tx(SIGNER, nonce(0)).await.unwrap().unwrap();
    assert_eq!((tx.state, &tx.intent, tx.inclusion), (TxState::Open, &wanted, None));
    assert_eq!(tx.attempts, [shared::tx::Attempt { at, ..first }]);
    assert_eq!(open(&world).await, [tx]);
    assert_eq!(world.store.next_nonce(SIGNER).await.unwrap(), Some(nonce(1)));
    assert_eq!(world.stage(held.job).await, Stage::Submitted);
    assert_eq!(world.brief(held.job).await.nonce, Some(nonce(0)));
    assert!(world.read_ready().await.unwrap().is_empty());
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_lost_reply_is_re_asked_and_another_transaction_at_the_nonce_is_refused() {
    let (_redis, world) = support::start().await;
    let (_, held) = world.ready().await;
    let wanted = intent(&[held]);
    world.journal(nonce(0), &wanted, &attempt(1)).await;
    let before = world.dump().await;
    assert_eq!(world.journal(nonce(0), &wanted, &attempt(1)).await, JournalOutcome::Already);
    let other = world.journal(nonce(0), &wanted, &attempt(2)).await;
    assert_eq!(other, JournalOutcome::WrongNonce { next: Some(nonce(1)) });
    let beyond = world.journal(nonce(5), &wanted, &attempt(3)).await;
    assert_eq!(beyond, JournalOutcome::WrongNonce { next: Some(nonce(1)) });
    assert!(world.dump().await == before, "a refusal wrote something");
}

#[tokio::test]
async fn a_signer_without_a_nonce_is_told_so() {
    let (redis, _) = support::start().await;
    let world = World::open_unsynced(redis.url(), "other").await;
    world.sync().await;
    let before = world.dump().await;
    for intent in [intent(&[]), filler()] {
        let said = world.journal(nonce(0), &intent, &attempt(1)).await;
        assert_eq!(said, JournalOutcome::WrongNonce { next: None });
    }
    assert!(world.dump().await == before, "a refusal wrote something");
}

#[tokio::test]
async fn a_pause_stops_new_nonces_but_neither_fillers_nor_bumps() {
    let (_redis, world) = support::start().await;
    let (_, first) = world.ready().await;
    world.sign(&[first]).await;
    let (_, second) = world.ready().await;
    world.store.pause(SIGNING, "test", "op").await.unwrap();
    let before = world.dump().await;
    let said = world.journal(nonce(1), &intent(&[second]), &attempt(50)).await;
    assert_eq!(said, JournalOutcome::SigningPaused);
    assert!(world.dump().await == before, "a refusal wrote something");
    let bump = world.store.journal_attempt(&world.fence, SIGNER, nonce(0), 1, &attempt(51)).await.unwrap();
    assert!(matches!(bump, Journaled::Journaled { .. }));
    let hole = world.journal(nonce(1), &filler(), &attempt(52)).await;
    assert!(matches!(hole, JournalOutcome::Journaled { .. }));
    world.store.resume(SIGNING, "test", "op").await.unwrap();
    world.sign(&[second]).await;
}

#[tokio::test]
async fn no_more_nonces_are_open_than_nodes_keep() {
    let (_redis, world) = support::start().await;
    let (_, held) = world.ready().await;
    for n in 0..MAX_OPEN as u64 {
        world.journal(nonce(n), &filler(), &attempt(n)).await;
    }
    let (next, before) = (nonce(MAX_OPEN as u64), world.dump().await);
    let said = world.journal(next, &intent(&[held]), &attempt(90)).await;
    assert_eq!(said, JournalOutcome::TooManyOpen);
    assert!(world.dump().await == before, "a refusal wrote something");
    assert!(world.store.close_nonce(&world.fence, SIGNER, nonce(3), "ours", None).await.unwrap());
    assert_eq!(world.sign(&[held]).await, next);
}

#[tokio::test]
async fn nothing_is_signed_before_the_sync_not_even_a_filler() {
    let (_redis, world) = support::start().await;
    let (_, held) = world.ready().await;
    let _: i64 = world.raw(redis::cmd("DEL").arg(world.key("synced"))).await;
    let before = world.dump().await;
    for intent in [intent(&[held]), filler()] {
        assert_eq!(world.journal(nonce(0), &intent, &attempt(1)).await, JournalOutcome::NotSynced);
    }
    assert!(world.dump().await == before, "a refusal wrote something");
}

#[tokio::test]
async fn one_job_that_may_not_be_signed_keeps_the_whole_transaction_out_and_is_named() {
    let (_redis, world) = support::start().await;
    let (_, good) = world.ready().await;
    let (refunded_payment, refunded) = world.ready().await;
    world.refund(&refund_of(&refunded_payment, 1, "100")).await;
    let (_, checking, epoch) = world.checking().await;
    let (_, stale) = world.ready().await;
    let stale = Held { epoch: stale.epoch.next(), ..stale };
    let gone = Held { job: shared::ids::JobId::generate(), epoch };
    let bad = [refunded, Held { job: checking, epoch }, stale, gone];
    let before = world.dump().await;
    // One that is named twice would be paid twice, but for the contract.
    let twice = world.journal(nonce(0), &intent(&[good, good]), &attempt(1)).await;
    assert_eq!(twice, JournalOutcome::Offenders(vec![good.job]));
    for offender in bad {
        let said = world.journal(nonce(0), &intent(&[good, offender]), &attempt(1)).await;
        assert_eq!(said, JournalOutcome::Offenders(vec![offender.job]));
    }
    assert!(world.dump().await == before, "a refusal wrote something");
    assert_eq!(world.sign(&[good]).await, nonce(0));
}

#[tokio::test]
async fn a_payout_whose_refund_is_requested_is_not_signed_even_if_it_is_ready() {
    let (_redis, world) = support::start().await;
    let (_, held) = world.ready().await;
    // No script leaves a ready job with this mark; the journal does not rely on that.
    let job = world.key(&format!("job:{}", held.job));
    let _: i64 = world.raw(redis::cmd("HSET").arg(job).arg("refund_requested").arg(1)).await;
    let before = world.dump().await;
    let said = world.journal(nonce(0), &intent(&[held]), &attempt(1)).await;
    assert_eq!(said, JournalOutcome::Offenders(vec![held.job]));
    assert!(world.dump().await == before, "a refusal wrote something");
}

#[tokio::test]
async fn a_filler_closes_a_hole_below_the_next_nonce_and_nothing_else_does() {
    let (_redis, world) = support::start().await;
    // A rollback forgot nonces 0 and 1; the chain says 2 is next.
    assert!(world.store.set_next_nonce(&world.fence, SIGNER, Some(nonce(0)), nonce(2)).await.unwrap());
    let (_, held) = world.ready().await;
    let said = world.journal(nonce(1), &intent(&[held]), &attempt(1)).await;
    assert_eq!(said, JournalOutcome::WrongNonce { next: Some(nonce(2)) });
    assert!(matches!(
        world.journal(nonce(1), &filler(), &attempt(2)).await,
        JournalOutcome::Journaled { .. }
    ));
    assert_eq!(world.store.next_nonce(SIGNER).await.unwrap(), Some(nonce(2)));
    let tx = world.store.tx(SIGNER, nonce(1)).await.unwrap().unwrap();
    assert!(tx.intent.jobs.is_empty());
    assert!(matches!(
        world.journal(nonce(3), &filler(), &attempt(3)).await,
        JournalOutcome::WrongNonce { .. }
    ));
    assert!(world.store.close_nonce(&world.fence, SIGNER, nonce(1), "ours", Some(hash(1))).await.unwrap());
}

#[tokio::test]
async fn the_next_nonce_never_goes_below_an_open_one() {
    let (_redis, world) = support::start().await;
    let (store, fence) = (&world.store, &world.fence);
    world.journal(nonce(0), &filler(), &attempt(1)).await;
    assert!(!store.set_next_nonce(fence, SIGNER, Some(nonce(1)), nonce(0)).await.unwrap());
    assert!(!store.set_next_nonce(fence, SIGNER, Some(nonce(0)), nonce(7)).await.unwrap());
    assert!(store.set_next_nonce(fence, SIGNER, Some(nonce(1)), nonce(7)).await.unwrap());
    // Its second copy finds what the first one wrote.
    assert!(store.set_next_nonce(fence, SIGNER, Some(nonce(1)), nonce(7)).await.unwrap());
    assert_eq!(store.next_nonce(SIGNER).await.unwrap(), Some(nonce(7)));
}

// --- further attempts

#[tokio::test]
async fn a_further_attempt_gets_one_of_six_answers() {
    let (_redis, world) = support::start().await;
    world.journal(nonce(0), &filler(), &attempt(1)).await;
    let ask = async |n: u64, so_far: usize, attempt: &shared::tx::Attempt| {
        world.store.journal_attempt(&world.fence, SIGNER, nonce(n), so_far, attempt).await.unwrap()
    };
    assert!(matches!(ask(0, 1, &attempt(2)).await, Journaled::Journaled { .. }));
    let before = world.dump().await;
    assert_eq!(ask(0, 1, &attempt(2)).await, Journaled::Already);
    assert_eq!(ask(0, 1, &attempt(3)).await, Journaled::Overtaken);
    assert_eq!(ask(0, 7, &attempt(3)).await, Journaled::Overtaken);
    assert_eq!(ask(4, 1, &attempt(3)).await, Journaled::NotOpen);
    assert!(world.dump().await == before, "a refusal wrote something");
    assert!(matches!(ask(0, 2, &cancelling(4)).await, Journaled::Journaled { .. }));
    assert_eq!(ask(0, 3, &attempt(5)).await, Journaled::Cancelling);
    assert!(matches!(ask(0, 3, &cancelling(6)).await, Journaled::Journaled { .. }));
    let tx = world.store.tx(SIGNER, nonce(0)).await.unwrap().unwrap();
    assert_eq!(tx.state, TxState::Cancelling);
    let hashes: Vec<_> = tx.attempts.iter().map(|attempt| attempt.hash).collect();
    assert_eq!(hashes, [1, 2, 4, 6].map(|n| attempt(n).hash));
    assert!(world.store.close_nonce(&world.fence, SIGNER, nonce(0), "cancel", None).await.unwrap());
    assert_eq!(ask(0, 4, &cancelling(7)).await, Journaled::NotOpen);
    let late = world.store.include(&world.fence, SIGNER, nonce(0), Some(seen(110))).await.unwrap();
    assert_eq!(late, Noted::NotOpen);
    // The sixth, fenced, is part of every fencing test.
}

// --- inclusion, and the end

#[tokio::test]
async fn an_inclusion_comes_goes_and_moves_to_another_block() {
    let (_redis, world) = support::start().await;
    let (_, held, n) = world.submitted().await;
    let see = async |seen| world.see(n, seen).await;
    let confirming_in = async || match world.job(held.job).await.state {
        shared::job_state::JobState::Processing {
            step: shared::job_state::Processing::Confirming { block, nonce },
            ..
        } => (block.get(), nonce),
        other => panic!("{other:?}"),
    };
    see(Some(seen(110))).await;
    assert_eq!(confirming_in().await, (110, Some(n)));
    let lines = world.events(held.job).await.len();
    see(Some(seen(110))).await;
    see(Some(seen(112))).await;
    assert_eq!(confirming_in().await, (112, Some(n)));
    assert_eq!(world.events(held.job).await.len(), lines);
    see(None).await;
    assert_eq!(world.stage(held.job).await, Stage::Submitted);
    assert_eq!(world.store.tx(SIGNER, n).await.unwrap().unwrap().inclusion, None);
    see(Some(seen(113))).await;
    assert_eq!(world.store.tx(SIGNER, n).await.unwrap().unwrap().inclusion, Some(seen(113)));
    assert_consistent(&world).await;
}

#[tokio::test]
async fn an_inclusion_leaves_alone_the_jobs_that_left_its_nonce() {
    let (_redis, world) = support::start().await;
    let (_, first) = world.ready().await;
    let (_, second) = world.ready().await;
    let old = world.sign(&[first, second]).await;
    // The first failed alone and is held by a later nonce by now.
    world.leave(first.job, support::back_off()).await.unwrap();
    world.store.promote().await.unwrap();
    let epoch = world.claim_job(first.job).await;
    world.store.pass("worker", &[(first.job, epoch)]).await.unwrap()[0].unwrap();
    let new = world.sign(&[Held { job: first.job, epoch }]).await;
    world.see(old, Some(seen(110))).await;
    assert_eq!(world.stage(first.job).await, Stage::Submitted);
    assert_eq!(world.stage(second.job).await, Stage::Confirming);
    // Nor does a verdict about the old nonce, or about the old epoch, touch it.
    let about = |held: Held, nonce| Departure {
        job: held.job,
        epoch: held.epoch,
        nonce: Some(nonce),
        pack_max: None,
        exit: support::fail(),
    };
    assert_eq!(world.leave_at(about(Held { job: first.job, epoch }, old)).await, Err(Refusal::Stale));
    assert_eq!(world.leave_at(about(first, new)).await, Err(Refusal::Stale));
    let block = BlockNumber::new(120);
    let finished = FinishedJob { job: first.job, epoch: first.epoch, block, event: None };
    assert_eq!(world.store.finish(&world.fence, &[finished]).await.unwrap(), [Err(Refusal::Stale)]);
    assert_eq!(world.stage(first.job).await, Stage::Submitted);
}

#[tokio::test]
async fn a_nonce_is_not_closed_while_it_holds_a_job() {
    let (_redis, world) = support::start().await;
    let (_, first) = world.ready().await;
    let (_, second) = world.ready().await;
    let n = world.sign(&[first, second]).await;
    let close = async || world.store.close_nonce(&world.fence, SIGNER, n, "ours", None).await.unwrap();
    assert!(!close().await);
    world.finish(first.job).await.unwrap();
    assert!(!close().await);
    world.leave(second.job, support::back_off()).await.unwrap();
    assert!(close().await);
    assert!(!close().await);
    assert!(open(&world).await.is_empty());
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_job_is_finished_once_and_forgets_its_failures() {
    let (_redis, world) = support::start().await;
    let (payment, job, _) = world.checking().await;
    world.leave(job, support::back_off()).await.unwrap();
    world.store.promote().await.unwrap();
    let epoch = world.claim_job(job).await;
    world.store.pass("worker", &[(job, epoch)]).await.unwrap()[0].unwrap();
    world.sign(&[Held { job, epoch }]).await;
    assert!(world.job(job).await.last_failure.is_some());
    world.finish(job).await.unwrap();
    assert_eq!(world.finish(job).await, Err(Refusal::WrongStage));
    let done = world.job(job).await;
    assert_eq!((done.last_failure, done.last_nonce, done.attempts), (None, Some(Nonce::new(0)), 1));
    let paid = world.store.payment(support::id_of(&payment)).await.unwrap().unwrap().paid;
    assert_eq!(paid, Some((BlockNumber::new(120), Some(hash(7)))));
}

#[tokio::test]
async fn a_job_settled_from_the_chain_needs_no_nonce_and_waits_for_its_depth() {
    let (_redis, world) = support::start().await;
    let (_, job, epoch) = world.checking().await;
    let settled = SettledJob { job, epoch, block: BlockNumber::new(90) };
    assert_eq!(world.store.settle("worker", None, &[settled]).await.unwrap(), [Ok(())]);
    assert!(world.store.settling(BlockNumber::new(89), 10).await.unwrap().is_empty());
    assert_eq!(world.store.settling(BlockNumber::new(90), 10).await.unwrap(), [job]);
    world.finish(job).await.unwrap();
    assert!(world.store.settling(BlockNumber::new(999), 10).await.unwrap().is_empty());
    // In the leader's hands it takes the lease.
    let (_, held) = world.ready().await;
    let settled = SettledJob { job: held.job, epoch: held.epoch, block: BlockNumber::new(90) };
    assert_eq!(world.store.settle("worker", None, &[settled]).await.unwrap(), [Err(Refusal::Fenced)]);
}

// --- a refund that meets a journaled payout

async fn refunded_when_journaled(world: &World) -> (shared::store::Payment, Held, Nonce) {
    let (payment, held, n) = world.submitted().await;
    world.refund(&refund_of(&payment, 1, "30")).await;
    let answer = world.refund(&refund_of(&payment, 2, "70")).await;
    let outcome = RefundOutcome::RefundRequested;
    assert_eq!(answer, Refunded::Applied { outcome, job: Some(held.job), repeated: false });
    assert_eq!(world.stage(held.job).await, Stage::Submitted);
    assert!(world.brief(held.job).await.refund_requested);
    (payment, held, n)
}

#[tokio::test]
async fn a_refunded_payout_that_was_paid_all_the_same_is_owed_whole() {
    let (_redis, world) = support::start().await;
    let (payment, held, _) = refunded_when_journaled(&world).await;
    world.finish(held.job).await.unwrap();
    let view = world.store.payment(support::id_of(&payment)).await.unwrap().unwrap();
    assert_eq!(view.owed, Commission { usdc: Usdc::from_base_units(10_000_000), sge: Sge::ZERO });
    assert_eq!(view.refund_outcome.as_deref(), Some("owed"));
    assert!(world.events(held.job).await.contains(&"owed".to_owned()));
}

#[tokio::test]
async fn a_refunded_payout_that_the_chain_says_is_unpaid_is_cancelled_however_it_leaves() {
    let (_redis, world) = support::start().await;
    let poison = Exit::Fail { failure: support::failure(FailureClass::RecipientRefused), charge: true };
    for exit in [support::back_off(), support::park("float"), support::fail(), poison] {
        let (payment, held, n) = refunded_when_journaled(&world).await;
        world.leave(held.job, exit).await.unwrap();
        assert_eq!(world.stage(held.job).await, Stage::Cancelled);
        let view = world.store.payment(support::id_of(&payment)).await.unwrap().unwrap();
        assert_eq!((view.owed, view.decision.as_deref()), (Commission::default(), Some("refunded")));
        assert_eq!(view.refund_outcome.as_deref(), Some("cancelled"));
        assert!(world.store.close_nonce(&world.fence, SIGNER, n, "ours", None).await.unwrap());
    }
    assert_consistent(&world).await;
}
