//! What is known from the chain alone, in a block that a reorganisation took back: nothing else would bring it about again.

use std::ops::RangeInclusive;
use std::time::Duration;

use shared::ids::{BlockNumber, JobId};
use shared::job::{Payload, Register};
use shared::job_state::Stage;
use shared::money::{Commission, Usdc};
use shared::store::{Accepted, Deed, Exit, PaidPayment, Payment, RECONCILE, UNDOABLE, Unlearned};

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{World, decision, hash, id_of, payment, refund_of};

const AT: u64 = 42;
/// What the newest entry of a stream says was done, and on what.
const LAST_AUDIT: &str = "local fields = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1][2] \
    local of = {} for i = 1, #fields, 2 do of[fields[i]] = fields[i + 1] end return of.what .. ' ' .. of.on";
const COMMISSION: Commission =
    Commission { usdc: Usdc::from_base_units(9_999_999), sge: shared::money::Sge::ZERO };

fn blocks(from: u64, to: u64) -> RangeInclusive<BlockNumber> {
    BlockNumber::new(from)..=BlockNumber::new(to)
}

async fn learned(world: &World) -> Vec<Deed> {
    world.store.learned(blocks(0, 1_000)).await.unwrap()
}

async fn unlearn(world: &World, learned: &[Deed]) -> Option<Unlearned> {
    world.store.unlearn(&world.fence, "leader", BlockNumber::new(AT), learned).await.unwrap()
}

async fn taken(world: &World, learned: &[Deed]) -> u64 {
    let unlearned = unlearn(world, learned).await.unwrap();
    assert!(unlearned.unreadable.is_empty(), "{unlearned:?}");
    unlearned.taken
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

#[tokio::test]
async fn a_payment_that_the_chain_alone_knew_gets_a_job_in_the_amounts_that_were_paid() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, true).await;
    let known = learned(&world).await;
    assert!(known.contains(&Deed::Paid(id_of(&payment))), "{known:?}");
    assert_eq!(taken(&world, &known).await, known.len() as u64);
    let job = job_of(&world, &payment).await.unwrap();
    let Payload::Payout(payout) = world.brief(job).await.payload else { panic!("no payout") };
    assert_eq!((payout.commission, payout.external_id), (COMMISSION, payment.external_id.clone()));
    assert_eq!((payout.payment_id, payout.child), (id_of(&payment), payment.wallet));
    assert_eq!(taken(&world, &known).await, 0, "again");
    assert!(learned(&world).await.is_empty());
    assert!(matches!(world.accept(&payment).await, Accepted::Decided { repeated: true, job: Some(_), .. }));
    assert_consistent(&world).await;
}

#[tokio::test]
async fn one_that_was_never_delivered_is_forgotten_and_accepted_when_it_is() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, false).await;
    world.store.close_gate(RECONCILE, "a deep reorganisation", "leader").await.unwrap();
    assert_eq!(taken(&world, &[Deed::Paid(id_of(&payment))]).await, 1);
    assert!(world.store.payment(id_of(&payment)).await.unwrap().is_none());
    // People are told, after what they were told before.
    let closed = world.store.closed_gates().await.unwrap();
    let gate = closed.iter().find(|gate| gate.gate == RECONCILE).unwrap();
    assert!(
        gate.reason.starts_with("a deep reorganisation; of payments in blocks that are no more"),
        "{}",
        gate.reason
    );
    assert!(gate.reason.ends_with(&format!("the first is {}", id_of(&payment))), "{}", gate.reason);
    let audit: String = world.raw(redis::cmd("EVAL").arg(LAST_AUDIT).arg(1).arg(world.key("audit"))).await;
    assert_eq!(audit, format!("unlearned {}", id_of(&payment)));
    assert_eq!(decision(&world.accept(&payment).await), "due");
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_refund_that_came_before_the_payment_outlives_what_the_chain_took_back() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, false).await;
    world.refund(&refund_of(&payment, 1, "100")).await;
    assert_eq!(taken(&world, &[Deed::Paid(id_of(&payment))]).await, 1);
    assert_eq!(decision(&world.accept(&payment).await), "refunded");
    assert_consistent(&world).await;
}

#[tokio::test]
async fn one_that_was_refunded_in_full_meanwhile_is_cancelled_and_nothing_is_owed() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, true).await;
    world.refund(&refund_of(&payment, 1, "100")).await;
    assert_eq!(taken(&world, &[Deed::Paid(id_of(&payment))]).await, 1);
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
    let known = Deed::Registered(Register { child, referrer });
    assert_eq!(world.store.learned(blocks(AT, AT)).await.unwrap().as_slice(), std::slice::from_ref(&known));
    assert_eq!(taken(&world, std::slice::from_ref(&known)).await, 1);
    let referral = world.store.referral(child).await.unwrap().unwrap();
    assert_eq!((referral.status.as_str(), referral.referrer), ("registering", Some(referrer)));
    assert_eq!(world.stage(referral.job.unwrap()).await, Stage::Queued);
    let (_, payout) = world.paid_by(child).await;
    assert_eq!(world.stage(payout).await, Stage::Waiting);
    assert_eq!(taken(&world, &[known]).await, 0, "again");
    assert_consistent(&world).await;
}

#[tokio::test]
async fn one_that_a_payout_found_to_be_unregistered_before_gets_its_job_all_the_same() {
    let (_redis, world) = support::start().await;
    let (child, referrer) = (world.wallet(), world.wallet());
    let block = BlockNumber::new(AT);
    assert!(world.store.registered(&world.fence, &[(child, referrer, block)]).await.unwrap());
    let (_, payout) = world.paid_by(child).await;
    world.claim_job(payout).await;
    let exit = Exit::Unregistered { delay: Duration::ZERO, block: BlockNumber::new(AT + 100) };
    world.leave(payout, exit).await.unwrap();
    assert_eq!(world.stage(payout).await, Stage::Failed);
    let known = Deed::Registered(Register { child, referrer });
    assert_eq!(taken(&world, std::slice::from_ref(&known)).await, 1);
    let registration = world.store.referral(child).await.unwrap().unwrap().job.unwrap();
    assert_eq!(world.stage(registration).await, Stage::Queued);
    assert_eq!(taken(&world, &[known]).await, 0, "again");
    assert!(world.store.registered(&world.fence, &[(child, referrer, block)]).await.unwrap());
    world.store.unblock(child).await.unwrap();
    assert_eq!(world.stage(payout).await, Stage::Queued);
    assert_consistent(&world).await;
}

#[tokio::test]
async fn a_payout_whose_child_this_redis_does_not_know_is_checked_and_does_not_wait_for_ever() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, true).await;
    let child = world.key(&format!("referral:{}", payment.wallet.key()));
    let _: i64 = world.raw(redis::cmd("DEL").arg(child)).await;
    assert_eq!(taken(&world, &[Deed::Paid(id_of(&payment))]).await, 1);
    assert_eq!(world.stage(job_of(&world, &payment).await.unwrap()).await, Stage::Queued);
}

#[tokio::test]
async fn what_cannot_be_read_keeps_nothing_else_from_being_taken_back() {
    let (_redis, world) = support::start().await;
    let (broken, whole) = (paid_before(&world, true).await, paid_before(&world, true).await);
    let key = world.key(&format!("payment:{}", id_of(&broken)));
    let _: i64 = world.raw(redis::cmd("HDEL").arg(&key).arg("referrer")).await;
    for nonsense in ["nonsense", "referral:0x00000000000000000000000000000000000000ee"] {
        let _: i64 = world.raw(redis::cmd("ZADD").arg(world.key("learned")).arg(AT).arg(nonsense)).await;
    }
    let other_type = world.key("referral:0x00000000000000000000000000000000000000ee");
    let _: String = world.raw(redis::cmd("SET").arg(other_type).arg("no hash")).await;
    let before: Vec<String> = world.raw(redis::cmd("HGETALL").arg(&key)).await;
    let known = learned(&world).await;
    assert!(known.contains(&Deed::Paid(id_of(&broken))), "{known:?}");
    let unlearned = unlearn(&world, &known).await.unwrap();
    assert_eq!(unlearned.unreadable, [format!("payment:{}", id_of(&broken))]);
    assert_eq!(unlearned.taken, known.len() as u64 - 1);
    assert_eq!(world.raw::<Vec<String>>(redis::cmd("HGETALL").arg(&key)).await, before, "half taken back");
    assert!(job_of(&world, &whole).await.is_some() && job_of(&world, &broken).await.is_none());
}

#[tokio::test]
async fn what_a_job_may_yet_bring_about_is_not_the_chains_alone_until_that_failed() {
    let (_redis, world) = support::start().await;
    let (child, registering) = world.registering().await;
    let referrer = world.store.referral(child).await.unwrap().unwrap().referrer.unwrap();
    let block = BlockNumber::new(AT);
    assert!(world.store.registered(&world.fence, &[(child, referrer, block)]).await.unwrap());
    assert!(!learned(&world).await.contains(&Deed::Registered(Register { child, referrer })));
    assert_eq!(world.stage(registering).await, Stage::Queued);
    // Without success: now the chain alone says so.
    world.claim_job(registering).await;
    world.leave(registering, support::fail()).await.unwrap();
    assert_eq!(world.stage(registering).await, Stage::Failed);
    assert!(learned(&world).await.contains(&Deed::Registered(Register { child, referrer })));
    assert_consistent(&world).await;
}

#[tokio::test]
async fn what_is_learned_late_is_held_against_the_next_final_block() {
    let (_redis, world) = support::start().await;
    let early = paid_before(&world, true).await;
    world.is_final(AT + 10).await;
    let late = paid_before(&world, true).await;
    let of = |payment: &Payment| Deed::Paid(id_of(payment));
    let next = world.store.learned(blocks(AT + 11, AT + 11)).await.unwrap();
    assert!(next.contains(&of(&late)) && !next.contains(&of(&early)), "{next:?}");
    // Paid in another block after all.
    let referrer = world.store.referral(early.wallet).await.unwrap().unwrap().referrer.unwrap();
    let again = PaidPayment {
        payment: id_of(&early),
        block: BlockNumber::new(AT + 1),
        hash: hash(6),
        referrer,
        child: early.wallet,
        commission: COMMISSION,
    };
    world.store.mark_paid(&world.fence, "leader", &[again]).await.unwrap().unwrap();
    assert!(world.store.learned(blocks(AT + 11, AT + 11)).await.unwrap().contains(&of(&early)));
    let view = world.store.payment(id_of(&early)).await.unwrap().unwrap();
    assert_eq!(view.paid.map(|(block, _)| block), Some(BlockNumber::new(AT + 1)));
}

#[tokio::test]
async fn deep_enough_it_is_watched_no_more_and_a_former_leader_takes_nothing_back() {
    let (_redis, world) = support::start().await;
    let payment = paid_before(&world, true).await;
    let paid = Deed::Paid(id_of(&payment));
    let final_at = async |block: u64| {
        world.is_final(block).await;
        world.store.learned(blocks(0, AT)).await.unwrap().contains(&paid)
    };
    assert!(final_at(AT + UNDOABLE - 1).await);
    assert!(!final_at(AT + UNDOABLE).await);
    assert!(world.store.release_lease(&world.fence).await.unwrap());
    assert_eq!(unlearn(&world, &[paid]).await, None);
    assert_eq!(job_of(&world, &payment).await, None);
}
