//! What merchants bring is accepted once, decided once, and refunds end well in every order.

use shared::ids::{BlockNumber, JobId, Wallet};
use shared::job::{FailureClass, Payload, PayoutMode};
use shared::job_state::Stage;
use shared::money::{Commission, Sge, Usdc};
use shared::store::{
    Accepted, Exit, INTAKE, Intake, Payment, RefundOutcome, Refunded, Registered, SettledJob,
};

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{World, decision, due, id_of, payment, refund_of, registration, rules};

fn usdc(units: u128) -> Commission {
    Commission { usdc: Usdc::from_base_units(units), sge: Sge::ZERO }
}

async fn outcome(world: &World, payment: &Payment, nth: u32, amount: &str) -> RefundOutcome {
    match world.refund(&refund_of(payment, nth, amount)).await {
        Refunded::Applied { outcome, repeated: false, .. } => outcome,
        other => panic!("{other:?}"),
    }
}

async fn owed(world: &World, payment: &Payment) -> Commission {
    world.store.payment(id_of(payment)).await.unwrap().unwrap().owed
}

async fn refund_outcome(world: &World, payment: &Payment) -> String {
    world.store.payment(id_of(payment)).await.unwrap().unwrap().refund_outcome.unwrap()
}

// --- dedupe

#[tokio::test]
async fn a_redelivery_and_a_second_delivery_id_answer_as_the_first_did() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let first = payment("pay_1", child, "129.90");
    let job = due(&world.accept(&first).await);
    let other_delivery = Payment { event_id: "evt_other".parse().unwrap(), ..first.clone() };
    for again in [&first, &other_delivery, &other_delivery] {
        let expected = Accepted::Decided { decision: "due".into(), job: Some(job), repeated: true };
        assert_eq!(world.accept(again).await, expected);
    }
    assert_eq!(world.job(job).await.duplicates, 3);
    assert_eq!(world.claim().await.len(), 1);
}

#[tokio::test]
async fn the_same_payment_or_delivery_with_other_content_is_a_conflict_that_the_job_shows() {
    let (_redis, world) = support::start().await;
    let first = payment("pay_1", world.referred().await, "100");
    let job = due(&world.accept(&first).await);
    let (delivery, other) = ("evt_2".parse().unwrap(), world.referred().await);
    let others = [
        payment("pay_1", first.wallet, "101"),
        Payment { event_id: delivery, ..payment("pay_1", first.wallet, "100.000001") },
        payment("pay_1", other, "100"),
        Payment { currency: "EUR".into(), ..first.clone() },
    ];
    for other in &others {
        assert_eq!(world.accept(other).await, Accepted::Conflict { job: Some(job) }, "{other:?}");
    }
    let reused = Payment { event_id: first.event_id.clone(), ..payment("pay_2", first.wallet, "100") };
    assert_eq!(decision(&world.accept(&reused).await), "conflict");
    let events = world.events(job).await;
    assert_eq!(events.iter().filter(|event| *event == "conflict").count(), others.len());
    assert!(world.store.payment(id_of(&reused)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_flood_of_redeliveries_leaves_a_short_timeline_and_an_exact_count() {
    let (_redis, world) = support::start().await;
    let (first, job) = world.payout().await;
    for _ in 0..40 {
        world.accept(&first).await;
    }
    assert_eq!(world.job(job).await.duplicates, 40);
    assert!(world.events(job).await.len() <= 10);
}

#[tokio::test]
async fn a_hundred_copies_at_once_make_one_job() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let copies: Vec<Payment> = (0..100)
        .map(|n| Payment {
            event_id: format!("evt_{}", n % 7).parse().unwrap(),
            ..payment("pay_1", child, "5")
        })
        .collect();
    let answers = futures::future::join_all(copies.iter().map(|copy| world.accept(copy))).await;
    let jobs: std::collections::BTreeSet<JobId> = answers.iter().map(due).collect();
    assert_eq!(jobs.len(), 1);
    let news = answers.iter().filter(|a| matches!(a, Accepted::Decided { repeated: false, .. })).count();
    assert_eq!(news, 1);
    assert_eq!(world.claim().await.len(), 1);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn two_sources_may_use_the_same_ids() {
    let (_redis, world) = support::start().await;
    let first = payment("pay_1", world.referred().await, "5");
    let other = Payment { source: "shop".parse().unwrap(), ..first.clone() };
    assert_ne!(due(&world.accept(&first).await), due(&world.accept(&other).await));
}

#[tokio::test]
async fn awkward_external_ids_come_back_byte_for_byte() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    for id in ["}", "\"}%1\\", "päy/1:ü", "{\"referrer\":\"0x\"}", "%s%%"] {
        let odd = payment(id, child, "5");
        let job = due(&world.accept(&odd).await);
        let Payload::Payout(payout) = world.job(job).await.payload else { panic!("no payout") };
        assert_eq!((payout.external_id.as_str(), payout.payment_id), (id, id_of(&odd)));
    }
}

#[tokio::test]
async fn the_largest_payment_keeps_every_digit() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let largest = payment("pay_max", child, "79228162514264337593543.950336");
    let job = due(&world.accept(&largest).await);
    let Payload::Payout(payout) = world.job(job).await.payload else { panic!("no payout") };
    assert_eq!(payout.commission, rules().usdc(largest.amount));
    assert_eq!(outcome(&world, &largest, 1, "79228162514264337593543.950335").await, RefundOutcome::Owed);
    assert_eq!(outcome(&world, &largest, 2, "0.000001").await, RefundOutcome::Cancelled);
}

// --- decisions

#[tokio::test]
async fn a_payment_is_decided_by_what_is_known_of_its_wallet_and_the_decision_stays() {
    let (_redis, world) = support::start().await;
    let (stranger, unreferred) = (world.wallet(), world.wallet());
    let answer = world.store.register(&registration(unreferred, None)).await.unwrap();
    assert_eq!(answer, Intake::Open(Registered::WithoutReferrer));
    let tiny = payment("pay_tiny", world.referred().await, "0.000009");
    let cases = [
        (payment("pay_a", stranger, "5"), "unknown_wallet"),
        (payment("pay_b", unreferred, "5"), "no_referrer"),
        (tiny, "nothing_due"),
    ];
    for (payment, expected) in &cases {
        assert_eq!(decision(&world.accept(payment).await), *expected);
    }
    world.refer(stranger, world.wallet()).await;
    world.register(unreferred, world.wallet()).await;
    for (payment, expected) in &cases {
        let repeated = Accepted::Decided { decision: (*expected).into(), job: None, repeated: true };
        assert_eq!(world.accept(payment).await, repeated);
    }
}

#[tokio::test]
async fn a_payout_waits_for_its_registration_and_is_queued_after_it() {
    let (_redis, world) = support::start().await;
    let (child, registration) = world.registering().await;
    let (_, job) = world.paid_by(child).await;
    assert_eq!(world.stage(job).await, Stage::Waiting);
    // Finishing the registration is enough: nobody has to say a second time that it is on-chain.
    let epoch = world.claim_job(registration).await;
    let settled = SettledJob { job: registration, epoch, block: BlockNumber::new(90) };
    world.store.settle("worker", None, &[settled]).await.unwrap()[0].unwrap();
    world.finish(registration).await.unwrap();
    assert_eq!(world.to_unblock().await, [child]);
    while world.store.unblock(child).await.unwrap() > 0 {}
    assert_eq!(world.stage(job).await, Stage::Queued);
    assert_eq!(world.stage(world.paid_by(child).await.1).await, Stage::Queued);
    assert!(world.to_unblock().await.is_empty());
}

#[tokio::test]
async fn a_held_payout_is_not_queued_before_its_time() {
    let (_redis, world) = support::start().await;
    let held = payment("pay_1", world.referred().await, "5");
    let job = due(&world.accept_held(&held, 60_000).await);
    assert_eq!(world.stage(job).await, Stage::Held);
    let (promoted, next) = world.store.promote().await.unwrap();
    assert_eq!(promoted, 0);
    assert!(next.unwrap() > std::time::Duration::from_secs(50), "{next:?}");
    assert!(world.claim().await.is_empty());
}

#[tokio::test]
async fn a_hybrid_referrer_is_paid_in_both_tokens_from_the_next_payment_on() {
    let (_redis, world) = support::start().await;
    let (child, referrer) = (world.wallet(), world.wallet());
    world.refer(child, referrer).await;
    let (_, before) = world.paid_by(child).await;
    let mode = world.store.set_payout_mode(referrer, PayoutMode::Hybrid, "op").await.unwrap();
    assert_eq!(mode, PayoutMode::Usdc);
    let (after_payment, after) = world.paid_by(child).await;
    let commission = async |job| match world.job(job).await.payload {
        Payload::Payout(payout) => payout.commission,
        Payload::Register(_) => panic!("no payout"),
    };
    assert_eq!(commission(before).await, usdc(10_000_000));
    let hybrid = rules().hybrid(after_payment.amount).unwrap();
    assert_eq!(commission(after).await, hybrid);
    assert_eq!(hybrid.sge.base_units(), 31_250_000_000_000_000_000);
    assert_eq!(outcome(&world, &after_payment, 1, "50").await, RefundOutcome::Owed);
    let half = Commission {
        usdc: Usdc::from_base_units(hybrid.usdc.base_units() / 2),
        sge: Sge::from_base_units(hybrid.sge.base_units() / 2),
    };
    assert_eq!(owed(&world, &after_payment).await, half);
}

// --- registrations

#[tokio::test]
async fn a_referrer_is_recorded_once_and_may_be_added_later() {
    let (_redis, world) = support::start().await;
    let (child, referrer, other) = (world.wallet(), world.wallet(), world.wallet());
    let ask = async |referrer| match world.store.register(&registration(child, referrer)).await.unwrap() {
        Intake::Open(answer) => answer,
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(None).await, Registered::WithoutReferrer);
    let Registered::Accepted { job } = ask(Some(referrer)).await else { panic!("refused") };
    assert_eq!(ask(Some(referrer)).await, Registered::Known { job: Some(job), referrer });
    assert_eq!(ask(None).await, Registered::Known { job: Some(job), referrer });
    assert_eq!(ask(Some(other)).await, Registered::Conflict { recorded: referrer });
    let back = world.store.register(&registration(referrer, Some(child))).await.unwrap();
    assert_eq!(back, Intake::Open(Registered::Cycle));
}

#[tokio::test]
async fn a_hundred_registrations_at_once_make_one_job() {
    let (_redis, world) = support::start().await;
    let ask = registration(world.wallet(), Some(world.wallet()));
    let answers = futures::future::join_all((0..100).map(|_| world.store.register(&ask))).await;
    let accepted =
        answers.iter().filter(|a| matches!(a, Ok(Intake::Open(Registered::Accepted { .. })))).count();
    assert_eq!(accepted, 1);
    assert_eq!(world.claim().await.len(), 1);
}

#[tokio::test]
async fn payouts_fail_with_their_registration_and_the_next_one_picks_them_up() {
    let (_redis, world) = support::start().await;
    let (child, first) = world.registering().await;
    // More than one slice, so that failing them has to come to its end by itself.
    let mut jobs = Vec::new();
    for _ in 0..300 {
        jobs.push(world.paid_by(child).await.1);
    }
    world.store.cancel(first, "op", "test").await.unwrap();
    let mut rounds = 0;
    while world.store.unblock(child).await.unwrap() > 0 {
        rounds += 1;
        assert!(rounds < 10, "unblock never ends");
    }
    assert!(world.to_unblock().await.is_empty());
    jobs.push(world.paid_by(child).await.1);
    for job in [jobs[0], jobs[299], jobs[300]] {
        let job = world.job(job).await;
        assert_eq!(job.state.stage(), Stage::Failed);
        assert_eq!(job.last_failure.unwrap().class, FailureClass::RegistrationFailed);
    }
    assert_consistent(&world).await;

    let referrer = world.wallet();
    let second = world.register(child, referrer).await;
    jobs.push(world.paid_by(child).await.1);
    assert!(matches!(
        world.store.retry(first, "op", "test").await.unwrap(),
        shared::store::Retried::NotFailed { .. }
    ));
    world.refer(child, referrer).await;
    while world.store.unblock(child).await.unwrap() > 0 {}
    for job in &jobs {
        assert_eq!(world.stage(*job).await, Stage::Queued);
    }
    assert_eq!(world.stage(second).await, Stage::Queued);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_the_chain_shows_of_a_wallet_survives_the_end_of_our_own_registration() {
    let (_redis, world) = support::start().await;
    let status = async |child: Wallet| world.store.referral(child).await.unwrap().unwrap().status;
    // Cancelled by hand after the chain showed it.
    let (child, job) = world.registering().await;
    let (_, payout) = world.paid_by(child).await;
    let referrer = world.store.referral(child).await.unwrap().unwrap().referrer.unwrap();
    world.refer(child, referrer).await;
    world.store.cancel(job, "op", "test").await.unwrap();
    assert_eq!(status(child).await, "registered");
    while world.store.unblock(child).await.unwrap() > 0 {}
    assert_eq!(world.stage(payout).await, Stage::Queued);
    // Failed, because the chain holds another referrer.
    let (child, job) = world.registering().await;
    world.refer(child, world.wallet()).await;
    world.claim_job(job).await;
    let failure = support::failure(FailureClass::ReferrerConflict);
    world.leave(job, Exit::Fail { failure, charge: false }).await.unwrap();
    assert_eq!(status(child).await, "registered");
    world.store.retry(job, "op", "test").await.unwrap();
    assert_eq!(status(child).await, "registered");
}

// --- refunds

#[tokio::test]
async fn a_full_refund_cancels_whatever_is_not_journaled() {
    let (_redis, world) = support::start().await;
    let mut cases = Vec::new();
    let (child, _) = world.registering().await;
    cases.push(world.paid_by(child).await);
    let held = payment("pay_held", world.referred().await, "100");
    let job = due(&world.accept_held(&held, 60_000).await);
    cases.push((held, job));
    let (paid, job, _) = world.checking().await;
    world.leave(job, support::park("float")).await.unwrap();
    cases.push((paid, job));
    let (paid, job, _) = world.checking().await;
    world.leave(job, support::back_off()).await.unwrap();
    cases.push((paid, job));
    let (paid, job, _) = world.checking().await;
    world.leave(job, support::fail()).await.unwrap();
    cases.push((paid, job));
    let (paid, job, _) = world.checking().await;
    cases.push((paid, job));
    let (paid, held) = world.ready().await;
    cases.push((paid, held.job));
    cases.push(world.payout().await);
    for (payment, job) in &cases {
        let before = world.stage(*job).await;
        // In two parts: the first is owed until the second makes it whole.
        assert_eq!(outcome(&world, payment, 1, "40").await, RefundOutcome::Owed, "{before:?}");
        assert_eq!(owed(&world, payment).await, usdc(4_000_000));
        assert_eq!(outcome(&world, payment, 2, "60").await, RefundOutcome::Cancelled, "{before:?}");
        assert_eq!(world.stage(*job).await, Stage::Cancelled);
        assert_eq!(owed(&world, payment).await, Commission::default());
        assert_eq!(decision(&world.accept(payment).await), "refunded");
        let refused = world.store.retry(*job, "op", "test").await.unwrap();
        assert!(!matches!(refused, shared::store::Retried::Queued), "{refused:?}");
    }
    assert!(world.claim().await.is_empty());
    assert!(world.read_ready().await.unwrap().is_empty());
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_full_refund_of_a_paid_payout_is_owed_whole() {
    let (_redis, world) = support::start().await;
    let (paid, held, _) = world.submitted().await;
    world.finish(held.job).await.unwrap();
    assert_eq!(outcome(&world, &paid, 1, "25").await, RefundOutcome::Owed);
    assert_eq!(owed(&world, &paid).await, usdc(2_500_000));
    assert_eq!(outcome(&world, &paid, 2, "75").await, RefundOutcome::Owed);
    assert_eq!(owed(&world, &paid).await, usdc(10_000_000));
    assert_eq!(world.stage(held.job).await, Stage::Done);
}

#[tokio::test]
async fn nobody_owes_for_a_partly_refunded_payout_that_is_then_cancelled_by_hand() {
    let (_redis, world) = support::start().await;
    let (paid, job) = world.payout().await;
    assert_eq!(outcome(&world, &paid, 1, "25").await, RefundOutcome::Owed);
    world.store.cancel(job, "op", "test").await.unwrap();
    assert_eq!(owed(&world, &paid).await, Commission::default());
    assert_eq!(outcome(&world, &paid, 2, "25").await, RefundOutcome::Cancelled);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_refund_that_comes_first_is_applied_to_the_payment_that_follows() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    let (whole, part) = (payment("pay_whole", child, "100"), payment("pay_part", child, "100"));
    assert_eq!(outcome(&world, &whole, 1, "30").await, RefundOutcome::Tombstone);
    assert_eq!(outcome(&world, &whole, 2, "70").await, RefundOutcome::Tombstone);
    assert_eq!(decision(&world.accept(&whole).await), "refunded");
    assert_eq!(outcome(&world, &part, 1, "30").await, RefundOutcome::Tombstone);
    let job = due(&world.accept(&part).await);
    assert_eq!(owed(&world, &part).await, usdc(3_000_000));
    assert_eq!(outcome(&world, &part, 2, "70").await, RefundOutcome::Cancelled);
    assert_eq!(world.stage(job).await, Stage::Cancelled);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_is_owed_for_a_refund_that_came_first_is_of_the_mode_that_the_payment_is_paid_by() {
    let (_redis, world) = support::start().await;
    let (child, referrer) = (world.wallet(), world.wallet());
    world.refer(child, referrer).await;
    world.store.set_payout_mode(referrer, PayoutMode::Hybrid, "op").await.unwrap();
    let paid = payment("pay_part", child, "100");
    assert_eq!(outcome(&world, &paid, 1, "50").await, RefundOutcome::Tombstone);
    due(&world.accept(&paid).await);
    let hybrid = rules().hybrid(paid.amount).unwrap();
    let half = Commission {
        usdc: Usdc::from_base_units(hybrid.usdc.base_units() / 2),
        sge: Sge::from_base_units(hybrid.sge.base_units() / 2),
    };
    assert_eq!(owed(&world, &paid).await, half);
}

#[tokio::test]
async fn a_refund_is_applied_once_per_delivery_and_never_beyond_what_was_paid() {
    let (_redis, world) = support::start().await;
    let (paid, job) = world.payout().await;
    let first = refund_of(&paid, 1, "30");
    assert_eq!(outcome(&world, &paid, 1, "30").await, RefundOutcome::Owed);
    let again = Refunded::Applied { outcome: RefundOutcome::Owed, job: Some(job), repeated: true };
    assert_eq!(world.refund(&first).await, again);
    assert_eq!(owed(&world, &paid).await, usdc(3_000_000));
    assert_eq!(world.refund(&refund_of(&paid, 1, "31")).await, Refunded::Conflict { job: Some(job) });
    let beyond = Refunded::TooMuch { paid: paid.amount, refunded: first.amount };
    assert_eq!(world.refund(&refund_of(&paid, 2, "70.000001")).await, beyond);
    assert_eq!(world.stage(job).await, Stage::Queued);
    assert_eq!(outcome(&world, &paid, 3, "70").await, RefundOutcome::Cancelled);
}

#[tokio::test]
async fn a_refund_of_another_wallet_is_a_conflict_in_either_order() {
    let (_redis, world) = support::start().await;
    let (paid, job) = world.payout().await;
    let mut wrong = refund_of(&paid, 1, "100");
    wrong.wallet = world.wallet();
    assert_eq!(world.refund(&wrong).await, Refunded::Conflict { job: Some(job) });
    assert_eq!(world.stage(job).await, Stage::Queued);
    assert!(world.events(job).await.contains(&"conflict".to_owned()));

    let later = payment("pay_later", world.referred().await, "100");
    let mut wrong = refund_of(&later, 1, "100");
    wrong.wallet = world.wallet();
    world.refund(&wrong).await;
    assert_eq!(world.accept(&later).await, Accepted::Conflict { job: None });
}

#[tokio::test]
async fn a_refund_of_a_payment_on_which_nothing_was_due_changes_nothing() {
    let (_redis, world) = support::start().await;
    let unknown = payment("pay_1", world.wallet(), "100");
    world.accept(&unknown).await;
    assert_eq!(outcome(&world, &unknown, 1, "100").await, RefundOutcome::NothingPaid);
    assert_eq!(owed(&world, &unknown).await, Commission::default());
}

#[tokio::test]
async fn a_payment_and_its_refunds_at_once_end_as_in_any_order() {
    let (_redis, world) = support::start().await;
    let child = world.referred().await;
    for round in 0..48 {
        let whole = payment(&format!("pay_whole_{round}"), child, "100");
        let part = payment(&format!("pay_part_{round}"), child, "100");
        let refunds = [
            refund_of(&whole, 1, "60"),
            refund_of(&whole, 2, "40"),
            refund_of(&part, 1, "20"),
            refund_of(&part, 2, "30"),
        ];
        // A refund reads before it writes: the payments come a few round trips later, so that each round they meet
        // the refunds at another point.
        let accept = async |payment: &Payment| {
            for _ in 0..round % 8 {
                world.store.ping().await.unwrap();
            }
            world.accept(payment).await
        };
        let (accepted, partly, ..) = tokio::join!(
            accept(&whole),
            accept(&part),
            world.refund(&refunds[0]),
            world.refund(&refunds[1]),
            world.refund(&refunds[2]),
            world.refund(&refunds[3]),
        );
        if let Accepted::Decided { job: Some(job), .. } = accepted {
            assert_eq!(world.stage(job).await, Stage::Cancelled);
        }
        assert_eq!(owed(&world, &whole).await, Commission::default());
        assert_eq!(world.stage(due(&partly)).await, Stage::Queued);
        assert_eq!(owed(&world, &part).await, usdc(5_000_000), "{}", refund_outcome(&world, &part).await);
    }
    assert_consistent(&world).await;
}

// --- closed doors

#[tokio::test]
async fn before_the_sync_and_during_a_pause_nothing_is_accepted_and_nothing_is_written() {
    let (_redis, world) = support::start().await;
    let (known, job) = world.payout().await;
    let child = world.referred().await;
    let refused = async |paused: bool| {
        fn closed<T>(paused: bool) -> Intake<T> {
            if paused { Intake::Paused } else { Intake::NotSynced }
        }
        let before = world.dump().await;
        let registration = registration(support::wallet(77), Some(child));
        assert_eq!(world.store.register(&registration).await.unwrap(), closed(paused));
        for payment in [&payment("pay_new", child, "5"), &known] {
            let answer = world.store.accept_payment(payment, &rules(), 0).await.unwrap();
            assert_eq!(answer, closed(paused));
        }
        assert_eq!(world.store.refund(&refund_of(&known, 1, "100")).await.unwrap(), closed(paused));
        assert!(world.dump().await == before, "something was written");
    };
    world.store.pause(INTAKE, "test", "op").await.unwrap();
    refused(true).await;
    world.store.resume(INTAKE, "test", "op").await.unwrap();
    let _: i64 = world.raw(redis::cmd("DEL").arg(world.key("synced"))).await;
    refused(false).await;
    let before = world.dump().await;
    let answer = world.store.cancel(job, "op", "test").await.unwrap();
    assert_eq!(answer, shared::store::Cancelled::NotSynced);
    assert!(world.dump().await == before, "something was written");
    world.sync().await;
    assert_eq!(outcome(&world, &known, 1, "100").await, RefundOutcome::Cancelled);
}

#[tokio::test]
async fn a_payment_whose_job_cannot_be_made_keeps_no_other_out_and_is_accepted_once_it_can() {
    let (_redis, world) = support::start().await;
    let (child, _) = world.registering().await;
    let waiting = world.key(&format!("waiting:{}", child.key()));
    let _: String = world.raw(redis::cmd("SET").arg(&waiting).arg("no set")).await;
    let broken = payment("broken", child, "10.00");
    let others: Vec<Payment> = {
        let paid_by = world.referred().await;
        (0..20).map(|n| payment(&format!("other_{n}"), paid_by, "10.00")).collect()
    };
    let rules = rules();
    let accept = |payment| world.store.accept_payment(payment, &rules, 0);
    for _ in 0..2 {
        let (refused, accepted) =
            tokio::join!(accept(&broken), futures::future::join_all(others.iter().map(accept)));
        let error = refused.expect_err("its job cannot be made").to_string();
        assert!(error.contains("cannot be read") && error.contains("WRONGTYPE"), "{error}");
        assert!(accepted.iter().all(Result::is_ok), "{accepted:?}");
    }
    let _: i64 = world.raw(redis::cmd("DEL").arg(&waiting)).await;
    let job = support::due(&world.accept(&broken).await);
    assert_eq!(world.stage(job).await, Stage::Waiting);
    assert_eq!(support::due(&world.accept(&broken).await), job);
}
