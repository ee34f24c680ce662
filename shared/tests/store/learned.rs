//! What is known from the chain alone, in a block that a reorganisation took back: nothing else would bring it about again.

use std::ops::RangeInclusive;
use std::time::Duration;

use shared::ids::{BlockNumber, JobId};
use shared::job::{Payload, Register};
use shared::job_state::Stage;
use shared::money::{Commission, Usdc};
use shared::store::{Accepted, Learned, PaidPayment, Payment, Retention};
use shared::tx::Held;

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{SIGNER, World, decision, hash, id_of, payment, refund_of};

const AT: u64 = 42;
const COMMISSION: Commission =
    Commission { usdc: Usdc::from_base_units(9_999_999), sge: shared::money::Sge::ZERO };

fn blocks(from: u64, to: u64) -> RangeInclusive<BlockNumber> {
    BlockNumber::new(from)..=BlockNumber::new(to)
}

async fn learned(world: &World) -> Vec<Learned> {
    world.store.learned(blocks(0, 1_000)).await.unwrap()
}

async fn unlearn(world: &World, learned: &[Learned]) -> Option<u64> {
    world.store.unlearn(&world.fence, "leader", BlockNumber::new(AT), learned).await.unwrap()
}

/// The chain shows that a payment was paid that this Redis does not know; then it is delivered.
async fn paid_before(world: &World, deliver: bool) -> Payment {
    let child = world.referred().await;
    let payment = payment(&format!("before_{}", world.serial()), child, "100");
    let referrer = world.store.referral(child).await.unwrap().unwrap().referrer.unwrap();
    let paid = PaidPayment {
        payment: id_of(&payment),
        block: BlockNumber::new(AT),
        hash: hash(5),
        referrer,
        child,
        commission: COMMISSION,
    };
    assert_eq!(world.store.mark_paid(&world.fence, "leader", &[paid]).await.unwrap().unwrap().marked, 1);
    if deliver {
        assert_eq!(decision(&world.accept(&payment).await), "paid_on_chain");
    }
    payment
}

async fn job_of(world: &World, payment: &Payment) -> Option<JobId> {
    world.store.payment(id_of(payment)).await.unwrap().unwrap().job
}

/// A payout that is done, and that retention has removed.
async fn removed(world: &World) -> (Payment, JobId) {
    let (payment, job) = world.payout().await;
    let epoch = world.claim_job(job).await;
    world.store.pass("worker", &[(job, epoch)]).await.unwrap()[0].unwrap();
    let nonce = world.sign(&[Held { job, epoch }]).await;
    world.finish(job).await.unwrap();
    assert!(world.store.close_nonce(&world.fence, SIGNER, nonce, "ours", None).await.unwrap());
    let nothing = Retention { jobs: 0, age: Duration::from_secs(86_400), nonces: 0 };
    while world.store.retain(&nothing).await.unwrap().more {}
    assert!(world.store.job(job).await.unwrap().is_none());
    (payment, job)
}

#[tokio::test]
async fn a_payment_that_the_chain_alone_knew_gets_a_job_in_the_amounts_that_were_paid() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, true).await;
    let known = learned(&world).await;
    assert!(known.contains(&Learned::Paid(id_of(&payment))), "{known:?}");
    assert_eq!(unlearn(&world, &known).await, Some(known.len() as u64));
    let job = job_of(&world, &payment).await.unwrap();
    let Payload::Payout(payout) = world.brief(job).await.payload else { panic!("no payout") };
    assert_eq!((payout.commission, payout.external_id), (COMMISSION, payment.external_id.clone()));
    assert_eq!((payout.payment_id, payout.child), (id_of(&payment), payment.wallet));
    assert_eq!(unlearn(&world, &known).await, Some(0), "again");
    assert!(learned(&world).await.is_empty());
    assert!(matches!(world.accept(&payment).await, Accepted::Decided { repeated: true, job: Some(_), .. }));
    assert_consistent(&world).await;
}

#[tokio::test]
async fn one_that_was_never_delivered_is_forgotten_and_accepted_when_it_is() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, false).await;
    assert_eq!(unlearn(&world, &[Learned::Paid(id_of(&payment))]).await, Some(1));
    assert!(world.store.payment(id_of(&payment)).await.unwrap().is_none());
    assert_eq!(decision(&world.accept(&payment).await), "due");
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_refund_that_came_before_the_payment_outlives_what_the_chain_took_back() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, false).await;
    world.refund(&refund_of(&payment, 1, "100")).await;
    assert_eq!(unlearn(&world, &[Learned::Paid(id_of(&payment))]).await, Some(1));
    assert_eq!(decision(&world.accept(&payment).await), "refunded");
    assert_consistent(&world).await;
}

#[tokio::test]
async fn one_that_was_refunded_in_full_meanwhile_is_cancelled_and_nothing_is_owed() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, true).await;
    world.refund(&refund_of(&payment, 1, "100")).await;
    assert_eq!(unlearn(&world, &[Learned::Paid(id_of(&payment))]).await, Some(1));
    let view = world.store.payment(id_of(&payment)).await.unwrap().unwrap();
    assert_eq!((view.job, view.decision.as_deref()), (None, Some("refunded")));
    assert_eq!((view.refund_outcome.as_deref(), view.owed), (Some("cancelled"), Commission::default()));
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_registration_that_the_chain_alone_knew_gets_a_job_and_payouts_wait_for_it() {
    let (_redis, world) = support::start().await;
    let (child, referrer) = (world.wallet(), world.wallet());
    let block = BlockNumber::new(AT);
    assert!(world.store.registered(&world.fence, &[(child, referrer, block)]).await.unwrap());
    let known = Learned::Registered(Register { child, referrer });
    assert_eq!(world.store.learned(blocks(AT, AT)).await.unwrap().as_slice(), std::slice::from_ref(&known));
    assert_eq!(unlearn(&world, std::slice::from_ref(&known)).await, Some(1));
    let referral = world.store.referral(child).await.unwrap().unwrap();
    assert_eq!((referral.status.as_str(), referral.referrer), ("registering", Some(referrer)));
    assert_eq!(world.stage(referral.job.unwrap()).await, Stage::Queued);
    let (_, payout) = world.paid_by(child).await;
    assert_eq!(world.stage(payout).await, Stage::Waiting);
    assert_eq!(unlearn(&world, &[known]).await, Some(0), "again");
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_a_job_brought_about_is_the_jobs_until_retention_removes_it() {
    let (_redis, world) = support::start().await;
    let (child, registering) = world.registering().await;
    let referrer = world.store.referral(child).await.unwrap().unwrap().referrer.unwrap();
    let block = BlockNumber::new(AT);
    assert!(world.store.registered(&world.fence, &[(child, referrer, block)]).await.unwrap());
    assert!(!learned(&world).await.contains(&Learned::Registered(Register { child, referrer })));
    assert_eq!(world.stage(registering).await, Stage::Queued);

    let (payment, gone) = removed(&world).await;
    let referrer = world.store.payment(id_of(&payment)).await.unwrap().unwrap().referrer.unwrap();
    let earned = async || world.store.affiliate(referrer).await.unwrap();
    let before = earned().await;
    let known = learned(&world).await;
    assert!(known.contains(&Learned::Paid(id_of(&payment))), "{known:?}");
    assert_eq!(unlearn(&world, &[Learned::Paid(id_of(&payment))]).await, Some(1));
    let job = job_of(&world, &payment).await.unwrap();
    assert_ne!(job, gone);
    let after = earned().await;
    let due = world.store.payment(id_of(&payment)).await.unwrap().unwrap().commission;
    assert_eq!(before.paid.usdc.base_units() - after.paid.usdc.base_units(), due.usdc.base_units());
    assert_consistent(&world).await;
}

#[tokio::test]
async fn deep_enough_it_is_watched_no_more_and_a_former_leader_takes_nothing_back() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, true).await;
    let paid = Learned::Paid(id_of(&payment));
    let final_at = async |block: u64| {
        assert!(world.store.set_final(&world.fence, BlockNumber::new(block), hash(9)).await.unwrap());
        world.store.learned(blocks(0, AT)).await.unwrap().contains(&paid)
    };
    assert!(final_at(AT + 1_023).await);
    assert!(!final_at(AT + 1_024).await);
    assert!(world.store.release_lease(&world.fence).await.unwrap());
    assert_eq!(unlearn(&world, &[paid]).await, None);
    assert_eq!(job_of(&world, &payment).await, None);
}
