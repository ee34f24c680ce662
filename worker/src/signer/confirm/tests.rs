use super::*;

use shared::ids::{Epoch, JobId, PaymentId, Wallet};
use shared::job::Payout;
use shared::job_state::Stage;
use shared::money::{Commission, Sge, Usdc};
use shared::tx::Inclusion;

const NONCE: Nonce = Nonce::new(5);

fn wallet(n: u8) -> Wallet {
    format!("0x{n:040x}").parse().unwrap()
}

fn job(n: u8) -> Brief {
    Brief {
        id: JobId::generate(),
        epoch: Epoch::new(1),
        payload: Payload::Payout(Payout {
            payment_id: PaymentId::derive("payments", &n.to_string()),
            source: "payments".parse().unwrap(),
            external_id: "pay".parse().unwrap(),
            child: wallet(1),
            referrer: wallet(2),
            commission: Commission { usdc: Usdc::from_base_units(u128::from(n)), sge: Sge::ZERO },
        }),
        attempts: 0,
        pack_max: 0,
        refund_requested: false,
        created_at: 0,
        stage: Stage::Submitted,
        nonce: Some(NONCE),
    }
}

fn event(kind: ChainEventKind) -> ChainEvent {
    let hash = Hash32::from(alloy::primitives::B256::repeat_byte(7));
    ChainEvent { block: BlockNumber::new(40), tx_hash: hash, log_index: 3, kind }
}

fn paid(n: u8, usdc: u128) -> ChainEvent {
    event(ChainEventKind::Paid {
        payment: PaymentId::derive("payments", &n.to_string()),
        referrer: wallet(2),
        child: wallet(1),
        usdc: Usdc::from_base_units(usdc),
        sge: Sge::ZERO,
    })
}

fn failed(n: u8, verdict: Verdict) -> ChainEvent {
    event(ChainEventKind::PayoutFailed { payment: PaymentId::derive("payments", &n.to_string()), verdict })
}

fn receipt(succeeded: bool, events: &[ChainEvent]) -> ReceiptView {
    let hash = Hash32::from(alloy::primitives::B256::repeat_byte(7));
    ReceiptView {
        inclusion: Inclusion { hash, block: BlockNumber::new(40) },
        block_hash: hash,
        to: None,
        succeeded,
        gas_used: 1,
        effective_gas_price: 1,
        events: events.to_vec(),
    }
}

fn evidence(settled: &[Option<u64>], receipt: Option<ReceiptView>) -> Evidence {
    let events = receipt.as_ref().map(|receipt| receipt.events.clone()).unwrap_or_default();
    Evidence {
        settled: settled.iter().map(|block| block.map(BlockNumber::new)).collect(),
        receipt,
        ours: None,
        cancelled: false,
        revert: None,
        events,
    }
}

fn verdict_on(jobs: &[Brief], evidence: &Evidence) -> Outcome {
    decide(NONCE, jobs, evidence, &RetryPolicy::new(3), 0.5)
}

#[test]
fn a_paid_job_is_done_even_when_no_node_has_its_receipt() {
    let outcome = verdict_on(&[job(1)], &evidence(&[Some(40)], None));
    assert_eq!((outcome.finished.len(), outcome.departures.len()), (1, 0));
    assert_eq!(outcome.consumed_by, "stranger");
}

#[test]
fn an_event_of_our_own_attempt_stands_for_its_receipt() {
    let paid = paid(1, 1);
    let found = Evidence { ours: Some(paid.tx_hash), events: vec![paid], ..evidence(&[Some(40)], None) };
    let outcome = verdict_on(&[job(1)], &found);
    assert_eq!((outcome.consumed_by, outcome.hash, outcome.finished.len()), ("ours", found.ours, 1));
}

#[test]
fn a_consumed_nonce_without_a_receipt_is_waited_for_and_not_for_ever() {
    let at = |deep, is_alone| is_past_hope(BlockNumber::new(40), BlockNumber::new(deep), is_alone);
    assert!(!at(40, false) && !at(39 + RECEIPT_PATIENCE, false));
    assert!(at(40 + RECEIPT_PATIENCE, false));
}

#[test]
fn what_one_endpoint_alone_calls_consumed_is_no_strangers_however_long_it_says_so() {
    assert!(!is_past_hope(BlockNumber::new(40), BlockNumber::new(40 + 100 * RECEIPT_PATIENCE), true));
}

#[test]
fn a_successful_receipt_alone_makes_nothing_done() {
    let outcome = verdict_on(&[job(1)], &evidence(&[None], Some(receipt(true, &[paid(1, 1)]))));
    assert!(outcome.finished.is_empty());
    assert!(matches!(outcome.departures[0].exit, Exit::BackOff { charge: false, .. }));
}

#[test]
fn another_amount_than_the_jobs_is_a_disagreement() {
    let outcome = verdict_on(&[job(9)], &evidence(&[Some(40)], Some(receipt(true, &[paid(9, 8)]))));
    assert_eq!((outcome.finished.len(), outcome.disagreements.len()), (1, 1));
}

#[test]
fn a_failed_item_leaves_with_the_reason_of_its_event_and_its_neighbour_is_done() {
    let blocked = Verdict::Fails(Failure::new(FailureClass::RecipientRefused, "blocklisted"));
    let found = evidence(&[Some(40), None], Some(receipt(true, &[paid(1, 1), failed(2, blocked)])));
    let outcome = verdict_on(&[job(1), job(2)], &found);
    assert_eq!(outcome.finished.len(), 1);
    assert!(
        matches!(&outcome.departures[0].exit, Exit::Fail { failure, .. } if failure.reason == "blocklisted")
    );
}

#[test]
fn an_item_that_met_an_exhausted_window_is_parked_without_charge() {
    let verdict = Verdict::Gate { gate: Gate::UsdcWindow, reason: "used up".into() };
    let outcome = verdict_on(&[job(1)], &evidence(&[None], Some(receipt(true, &[failed(1, verdict)]))));
    assert!(matches!(&outcome.departures[0].exit, Exit::Park { gate, .. } if gate == "token:usdc:window"));
    assert_eq!(outcome.close.len(), 1);
}

#[test]
fn a_reverted_batch_is_halved_and_nobody_in_it_is_charged() {
    let jobs: Vec<Brief> = (1..=5).map(job).collect();
    let mut found = evidence(&[None; 5], Some(receipt(false, &[])));
    found.revert = Some(Verdict::Fails(Failure::new(FailureClass::UnclearRevert, "InsufficientGas")));
    let outcome = verdict_on(&jobs, &found);
    assert!(outcome.departures.iter().all(|left| left.pack_max == Some(3)));
    assert!(outcome.departures.iter().all(|left| matches!(left.exit, Exit::BackOff { charge: false, .. })));
}

#[test]
fn a_single_that_reverts_is_charged() {
    let outcome = verdict_on(&[job(1)], &evidence(&[None], Some(receipt(false, &[]))));
    assert!(matches!(outcome.departures[0].exit, Exit::BackOff { charge: true, .. }));
}

#[test]
fn a_batch_that_reverts_because_the_contract_is_paused_is_parked_and_not_halved() {
    let mut found = evidence(&[None, None], Some(receipt(false, &[])));
    found.revert = Some(Verdict::Gate { gate: Gate::PayoutPaused, reason: "paused".into() });
    let outcome = verdict_on(&[job(1), job(2)], &found);
    assert!(outcome.departures.iter().all(|left| left.pack_max.is_none()));
    assert!(outcome.departures.iter().all(|left| matches!(left.exit, Exit::Park { .. })));
}

#[test]
fn a_cancelled_batch_is_halved_without_charge_and_a_cancelled_single_is_charged() {
    let mut found = evidence(&[None, None], Some(receipt(true, &[])));
    found.cancelled = true;
    let outcome = verdict_on(&[job(1), job(2)], &found);
    assert_eq!(outcome.consumed_by, "cancel");
    assert!(outcome.departures.iter().all(|left| left.pack_max == Some(1)));
    assert!(outcome.departures.iter().all(|left| matches!(left.exit, Exit::BackOff { charge: false, .. })));
    let alone = verdict_on(&[job(1)], &found);
    assert!(matches!(alone.departures[0].exit, Exit::BackOff { charge: true, .. }));
}

#[test]
fn a_departure_names_the_nonce_it_leaves() {
    let outcome = verdict_on(&[job(1)], &evidence(&[None], None));
    assert_eq!(outcome.departures[0].nonce, Some(NONCE));
}

#[test]
fn a_payment_without_its_event_is_asked_about_again_until_nodes_may_have_pruned_it() {
    let (job, paid_in) = (job(1), Some(BlockNumber::new(40)));
    let at = |deep| is_explained(&job, paid_in, &[], BlockNumber::new(deep));
    assert!(!at(40) && !at(40 + EVENT_PATIENCE));
    assert!(at(41 + EVENT_PATIENCE));
    assert!(is_explained(&job, paid_in, &[paid(1, 1)], BlockNumber::new(40)));
    assert!(!is_explained(&job, paid_in, &[paid(2, 1)], BlockNumber::new(40)));
    // What is not paid has no event to wait for.
    assert!(is_explained(&job, None, &[], BlockNumber::new(40)));
}
