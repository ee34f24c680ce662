//! A server process that was not synced takes nothing, and what the chain paid is never paid again.

use shared::ids::BlockNumber;
use shared::job::FailureClass;
use shared::job_state::Stage;
use shared::money::{Commission, Sge, Usdc};
use shared::store::{
    Accepted, Compared, Exit, Intake, PaidPayment, Payment, RECONCILE, RefundOutcome, Refunded, Refusal,
};
use shared::tx_state::TxState;

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{SIGNER, World, decision, hash, id_of, payment, refund_of, rules};

const COMMISSION: Commission =
    Commission { usdc: Usdc::from_base_units(8_000_000), sge: Sge::from_base_units(5) };

async fn mark(world: &World, payment: &Payment) -> u64 {
    let paid = PaidPayment {
        payment: id_of(payment),
        block: BlockNumber::new(42),
        hash: hash(5),
        referrer: support::wallet(500),
        child: payment.wallet,
        commission: COMMISSION,
    };
    world.store.mark_paid(&world.fence, "leader", &[paid]).await.unwrap().unwrap().marked
}

/// What the chain says was paid for a payment that has a job, in the amounts of the job but for `more` USDC.
async fn compare(world: &World, payment: &Payment, more: u128) -> Compared {
    let view = world.store.payment(id_of(payment)).await.unwrap().unwrap();
    let usdc = Usdc::from_base_units(view.commission.usdc.base_units() + more);
    let paid = PaidPayment {
        payment: id_of(payment),
        block: BlockNumber::new(42),
        hash: hash(5),
        referrer: view.referrer.unwrap(),
        child: payment.wallet,
        commission: Commission { usdc, ..view.commission },
    };
    world.store.mark_paid(&world.fence, "leader", &[paid]).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_job_that_failed_and_is_paid_on_the_chain_is_settled() {
    let (_redis, world) = support::start().await;
    let (payment, job, _) = world.checking().await;
    let failure = support::failure(FailureClass::RegistrationFailed);
    world.leave(job, Exit::Fail { failure, charge: true }).await.unwrap();
    assert_eq!(compare(&world, &payment, 0).await, Compared { settled: 1, ..Compared::default() });
    assert_eq!(world.stage(job).await, Stage::Confirming);
    assert_eq!(compare(&world, &payment, 0).await, Compared::default(), "again");
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_job_that_no_transaction_of_ours_carries_is_settled_wherever_it_waits() {
    let (_redis, world) = support::start().await;
    let queued = world.payout().await;
    let (payment, gated, _) = world.checking().await;
    world.leave(gated, support::park("float")).await.unwrap();
    let gated = (payment, gated);
    let (payment, held) = world.ready().await;
    let ready = (payment, held.job);
    for (payment, job) in [&queued, &gated, &ready] {
        assert_eq!(compare(&world, payment, 0).await, Compared { settled: 1, ..Compared::default() });
        assert_eq!(world.stage(*job).await, Stage::Confirming);
        // What is paid is not cancelled any more: the refund is owed once it is done.
        let refunded = world.refund(&refund_of(payment, 1, "100")).await;
        assert!(
            matches!(refunded, Refunded::Applied { outcome: RefundOutcome::RefundRequested, .. }),
            "{refunded:?}"
        );
    }
    // One that a transaction of ours carries is that one's.
    let (payment, held, _) = world.submitted().await;
    assert_eq!(compare(&world, &payment, 0).await, Compared::default());
    assert_eq!(world.stage(held.job).await, Stage::Submitted);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_was_paid_though_cancelled_or_in_other_amounts_is_told_once() {
    let (_redis, world) = support::start().await;
    let (payment, job) = world.payout().await;
    world.store.cancel(job, "op", "test").await.unwrap();
    let (other, other_job) = world.payout().await;
    let told = compare(&world, &payment, 0).await.disagreements;
    assert_eq!(told.len(), 1);
    assert!(told[0].0 == id_of(&payment) && told[0].1.contains(&job.to_string()), "{told:?}");
    assert!(told[0].1.contains("cancelled"), "{told:?}");
    let told = compare(&world, &other, 1).await.disagreements;
    let words = "usdc is 10000001 on the chain and 10000000 in its job";
    assert_eq!(told, [(id_of(&other), format!("{words} {other_job}"))]);
    for (payment, more) in [(&payment, 0), (&other, 1)] {
        assert_eq!(compare(&world, payment, more).await, Compared::default(), "again");
    }
    let gates = world.store.closed_gates().await.unwrap();
    assert!(
        gates.len() == 1 && gates[0].gate == RECONCILE && gates[0].reason.contains("usdc is"),
        "{gates:?}"
    );
}

#[tokio::test]
async fn a_done_job_whose_block_is_no_more_is_held_by_its_nonce_again_or_checked_again() {
    let (_redis, world) = support::start().await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        let (payment, held, nonce) = world.submitted().await;
        world.finish(held.job).await.unwrap();
        assert!(world.store.close_nonce(&world.fence, SIGNER, nonce, "ours", None).await.unwrap());
        jobs.push((payment, held.job, nonce));
    }
    // Two were refunded meanwhile, and of two the journal was lost.
    for at in [1, 3] {
        world.refund(&refund_of(&jobs[at].0, 1, "100")).await;
    }
    for at in [2, 3] {
        let tx = world.key(&format!("tx:{SIGNER:#x}:{}", jobs[at].2));
        let _: i64 = world.raw(redis::cmd("DEL").arg(tx)).await;
    }
    let ids: Vec<_> = jobs.iter().map(|(_, job, _)| *job).collect();
    let gone = BlockNumber::new(42);
    assert!(world.store.release_lease(&world.fence).await.unwrap());
    assert_eq!(world.store.undo(&world.fence, gone, &ids).await.unwrap(), [Err(Refusal::Fenced); 4]);
    let fence = support::take_lease(&world.store, "boot-b").await;
    assert_eq!(world.store.undo(&fence, gone, &ids).await.unwrap(), [Ok(()); 4]);
    assert_eq!(world.store.undo(&fence, gone, &ids).await.unwrap(), [Err(Refusal::WrongStage); 4], "again");

    let wanted = [Stage::Submitted, Stage::Submitted, Stage::Queued, Stage::Cancelled];
    let outcomes = [None, Some("refund_requested"), None, Some("cancelled")];
    for ((payment, job, nonce), (stage, outcome)) in jobs.iter().zip(wanted.into_iter().zip(outcomes)) {
        assert_eq!(world.stage(*job).await, stage);
        assert_eq!(world.brief(*job).await.refund_requested, outcome == Some("refund_requested"));
        let view = world.store.payment(id_of(payment)).await.unwrap().unwrap();
        assert_eq!(
            (view.paid, view.owed, view.refund_outcome.as_deref()),
            (None, Commission::default(), outcome)
        );
        let tx = world.store.tx(SIGNER, *nonce).await.unwrap();
        assert_eq!(tx.map(|tx| tx.state), (stage == Stage::Submitted).then_some(TxState::Open));
    }
    assert_eq!(world.store.open_nonces(SIGNER).await.unwrap(), [jobs[0].2, jobs[1].2]);
}

#[tokio::test]
async fn after_a_restart_nothing_is_accepted_until_the_new_process_is_synced() {
    let (mut redis, world) = support::start().await;
    let (known, job) = world.payout().await;
    let before = world.store.sync_state().await.unwrap();
    assert!(before.synced);
    if !redis.restart() {
        eprintln!("a container backs this Redis, so it is not restarted");
        return;
    }
    let world = World::reopen(world).await;
    let after = world.store.sync_state().await.unwrap();
    assert_ne!(after.run_id, before.run_id);
    assert_eq!((after.synced, after.checkpoint), (false, Some(BlockNumber::new(100))));
    let again = world.store.accept_payment(&known, &rules(), 0).await.unwrap();
    assert_eq!(again, Intake::NotSynced);
    // The data are all there, and a replay that began on the process of before does not count.
    assert_eq!(world.stage(job).await, Stage::Queued);
    let block = BlockNumber::new(150);
    assert!(!world.store.set_synced(&world.fence, &before.run_id, block).await.unwrap());
    assert!(!world.store.sync_state().await.unwrap().synced);
    assert!(world.store.set_synced(&world.fence, &after.run_id, block).await.unwrap());
    assert_eq!(world.store.sync_state().await.unwrap().checkpoint, Some(block));
    assert!(matches!(world.accept(&known).await, Accepted::Decided { repeated: true, .. }));
    assert_eq!(world.claim().await.len(), 1);
}

#[tokio::test]
async fn an_emptied_redis_knows_nothing_and_says_so() {
    let (redis, world) = support::start().await;
    let (paid, _) = world.payout().await;
    let _: () = world.raw(&mut redis::cmd("FLUSHALL")).await;
    let state = world.store.sync_state().await.unwrap();
    assert_eq!((state.synced, state.checkpoint), (false, None));
    assert_eq!(world.store.accept_payment(&paid, &rules(), 0).await.unwrap(), Intake::NotSynced);
    let world = World::open_unsynced(redis.url(), "main").await;
    // What the replay finds on the chain.
    world.refer(paid.wallet, support::wallet(500)).await;
    assert_eq!(mark(&world, &paid).await, 1);
    world.sync().await;
    assert_eq!(decision(&world.accept(&paid).await), "paid_on_chain");
    assert!(world.claim().await.is_empty());
}

#[tokio::test]
async fn a_payment_that_the_chain_shows_as_paid_makes_no_job_and_says_where_it_was_paid() {
    let (_redis, world) = support::start().await;
    let paid = payment("pay_1", world.referred().await, "100");
    assert_eq!((mark(&world, &paid).await, mark(&world, &paid).await), (1, 0));
    let expected = |repeated| Accepted::Decided { decision: "paid_on_chain".into(), job: None, repeated };
    assert_eq!(world.accept(&paid).await, expected(false));
    assert_eq!(world.accept(&paid).await, expected(true));
    let view = world.store.payment(id_of(&paid)).await.unwrap().unwrap();
    assert_eq!(view.paid, Some((BlockNumber::new(42), Some(hash(5)))));
    assert_eq!((view.commission, view.amount), (COMMISSION, Some(paid.amount)));
    assert!(world.claim().await.is_empty());
}

#[tokio::test]
async fn marking_leaves_alone_what_is_on_its_way() {
    let (_redis, world) = support::start().await;
    let (paid, job) = world.payout().await;
    assert_eq!(mark(&world, &paid).await, 0);
    // The check looks at the chain and settles it.
    assert_eq!(world.stage(job).await, Stage::Queued);
    assert_eq!(decision(&world.accept(&paid).await), "due");
}

#[tokio::test]
async fn a_refund_of_a_payment_that_the_chain_paid_is_owed_in_either_order() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let half = Commission { usdc: Usdc::from_base_units(4_000_000), sge: Sge::from_base_units(2) };
    let owed = async |payment: &Payment| {
        let view = world.store.payment(id_of(payment)).await.unwrap().unwrap();
        (view.owed, view.refund_outcome)
    };
    let after = payment("pay_after", child, "100");
    mark(&world, &after).await;
    world.accept(&after).await;
    let answer = world.refund(&refund_of(&after, 1, "50")).await;
    assert!(matches!(answer, Refunded::Applied { outcome: RefundOutcome::Owed, .. }));
    assert_eq!(owed(&after).await, (half, Some("owed".into())));

    for (id, mark_first) in [("pay_tomb_1", true), ("pay_tomb_2", false)] {
        let before = payment(id, child, "100");
        if mark_first {
            mark(&world, &before).await;
        }
        let answer = world.refund(&refund_of(&before, 1, "50")).await;
        assert!(matches!(answer, Refunded::Applied { outcome: RefundOutcome::Tombstone, .. }));
        if !mark_first {
            mark(&world, &before).await;
        }
        assert_eq!(decision(&world.accept(&before).await), "paid_on_chain");
        assert_eq!(owed(&before).await, (half, Some("owed".into())), "{id}");
    }
}

#[tokio::test]
async fn a_lane_that_a_newer_program_wrote_is_refused() {
    let (_redis, world) = support::start().await;
    assert_eq!(world.store.schema().await.unwrap(), Some(1));
    assert!(!world.store.migrate().await.unwrap());
    let _: () = world.raw(redis::cmd("SET").arg(world.key("schema")).arg(2)).await;
    use shared::store::StoreError::NewerSchema;
    assert!(matches!(world.store.migrate().await, Err(NewerSchema { stored: 2, known: 1 })));
    assert!(matches!(world.store.schema().await, Err(NewerSchema { .. })));
}
