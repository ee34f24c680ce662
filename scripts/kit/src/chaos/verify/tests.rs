//! The verifier finds everything that it is there for: each test breaks one thing.

use alloy::primitives::{Address, U256};

use super::compare::{commission, payment_id};
use super::*;
use crate::chaos::ledger::{Ledger, Paid, Registration, TakenBack};

const TERMS: Terms = Terms {
    commission_bps: 1_000,
    hybrid_sge_bps: 2_500,
    sge_units_per_usdc: 12_500_000_000_000_000_000,
    confirmations: 3,
};

fn child() -> Address {
    Address::repeat_byte(0xc0)
}

fn referrer() -> Address {
    Address::repeat_byte(0xa0)
}

/// One registration and one payment of 10.00, both as they should be.
struct Scene {
    ledger: Ledger,
    facts: Facts,
    watched: Watched,
    forgets: bool,
}

fn scene() -> Scene {
    let ledger = Ledger {
        registrations: vec![Registration {
            child: child().to_string(),
            referrer: referrer().to_string(),
            job: "r".into(),
        }],
        payments: vec![Paid {
            id: "one".into(),
            child: child().to_string(),
            referrer: referrer().to_string(),
            units: 10_000_000,
            hybrid: false,
            doomed: None,
            decision: "due".into(),
            job: Some("p".into()),
            back: Vec::new(),
        }],
        surprises: Vec::new(),
    };
    let amount = U256::from(1_000_000);
    let mut facts = Facts { head: 10, mined: 2, pending: 2, ..Facts::default() };
    facts.paid.push(Event {
        payment: payment_id("payments", "one"),
        referrer: referrer(),
        child: child(),
        usdc: amount,
        sge: U256::ZERO,
        block: 7,
    });
    facts.referrals.push(Referral { child: child(), referrer: referrer(), block: 5 });
    facts.balances.insert(referrer(), (amount, U256::ZERO));
    facts.outflow = facts.balances.clone();
    facts.owed.insert("one".into(), Owed::default());
    for job in ["r", "p"] {
        facts.jobs.insert(job.into(), Some(job_in("done")));
    }
    Scene { ledger, facts, watched: Watched::from([("p".into(), 10)]), forgets: false }
}

fn job_in(state: &str) -> JobFact {
    JobFact { state: state.into(), stage: state.into(), class: String::new() }
}

impl Scene {
    fn verdict(&self) -> Verdict {
        check(&self.ledger, &self.facts, &self.watched, &TERMS, self.forgets)
    }

    /// What is wrong after `break_it`.
    fn after(break_it: impl FnOnce(&mut Self)) -> Vec<Wrong> {
        let mut scene = scene();
        break_it(&mut scene);
        let mut found: Vec<Wrong> = scene.verdict().findings.iter().map(|finding| finding.wrong).collect();
        found.sort();
        found.dedup();
        found
    }

    fn set_job(&mut self, job: &str, state: &str) {
        self.facts.jobs.insert(job.into(), Some(job_in(state)));
    }

    /// The referrer has got so much USDC.
    fn hold(&mut self, usdc: u64) {
        self.facts.balances.insert(referrer(), (U256::from(usdc), U256::ZERO));
        self.facts.outflow = self.facts.balances.clone();
    }

    /// As if it had never been paid.
    fn unpay(&mut self) {
        self.facts.paid.clear();
        self.facts.balances.clear();
        self.facts.outflow.clear();
    }
}

#[test]
fn what_is_as_it_should_be_passes() {
    let verdict = scene().verdict();
    assert_eq!(verdict.findings, []);
    assert_eq!((verdict.accepted, verdict.paid, verdict.not_paid, verdict.registered), (2, 1, 0, 1));
}

#[test]
fn ids_and_amounts_are_those_of_the_contract_and_the_programme() {
    use alloy::sol_types::SolValue as _;
    for id in ["pay_1001", "", "x", "exactly-thirty-two-bytes-long-id", &"long".repeat(30)] {
        let encoded = ("payments", id).abi_encode_params();
        assert_eq!(payment_id("payments", id), alloy::primitives::keccak256(encoded), "{id}");
    }
    assert_eq!(commission(10_000_009, false, &TERMS), (U256::from(1_000_000), U256::ZERO));
    let sge = U256::from(250_000u64) * U256::from(12_500_000_000_000u64);
    assert_eq!(commission(10_000_000, true, &TERMS), (U256::from(750_000), sge));
}

#[test]
fn a_payment_that_never_came_is_lost() {
    assert_eq!(Scene::after(|scene| scene.unpay()), [Wrong::Lost]);
    assert_eq!(Scene::after(|scene| _ = scene.facts.jobs.remove("p")), [Wrong::Lost]);
    let failed = |scene: &mut Scene| {
        scene.unpay();
        scene.set_job("p", "failed");
    };
    assert_eq!(Scene::after(failed), [Wrong::Lost]);
    let undue = |scene: &mut Scene| {
        scene.unpay();
        (scene.ledger.payments[0].decision, scene.ledger.payments[0].job) = ("unknown_wallet".into(), None);
    };
    assert_eq!(Scene::after(undue), [Wrong::Lost]);
}

#[test]
fn a_second_payment_is_doubled_and_so_is_one_that_nobody_accepted() {
    let twice = |scene: &mut Scene| {
        let event = scene.facts.paid[0].clone();
        scene.facts.paid.push(event);
        scene.hold(2_000_000);
    };
    assert_eq!(Scene::after(twice), [Wrong::Doubled]);
    assert_eq!(Scene::after(|scene| scene.ledger.payments.clear()), [Wrong::Doubled]);
}

#[test]
fn a_refund_or_a_deletion_that_was_granted_stays_granted() {
    for back in [TakenBack::Refunded("cancelled".into()), TakenBack::Deleted(true)] {
        let granted = |scene: &mut Scene| scene.ledger.payments[0].back.push(back.clone());
        assert!(Scene::after(granted).contains(&Wrong::Doubled));
        let kept = |scene: &mut Scene| {
            scene.ledger.payments[0].back.push(back.clone());
            scene.unpay();
            scene.set_job("p", "cancelled");
        };
        assert_eq!(Scene::after(kept), []);
    }
    for back in [TakenBack::Refunded("owed".into()), TakenBack::Deleted(false), TakenBack::Retried(true)] {
        let refused = |scene: &mut Scene| {
            scene.ledger.payments[0].back.push(back.clone());
            scene.unpay();
            scene.set_job("p", "cancelled");
        };
        assert_eq!(Scene::after(refused), [Wrong::Lost]);
    }
    let owed = |usdc: u64| {
        move |scene: &mut Scene| {
            scene.ledger.payments[0].back.push(TakenBack::Refunded("owed".into()));
            scene.facts.owed.insert("one".into(), Owed { usdc: U256::from(usdc), sge: U256::ZERO });
        }
    };
    assert_eq!(Scene::after(owed(1_000_000)), []);
    assert_eq!(Scene::after(owed(999_999)), [Wrong::Untruthful]);
}

#[test]
fn what_the_api_says_must_be_so() {
    for state in ["failed", "cancelled"] {
        assert_eq!(Scene::after(|scene| scene.set_job("p", state)), [Wrong::Untruthful], "{state}");
    }
    assert_eq!(Scene::after(|scene| scene.set_job("p", "processing")), [Wrong::Unfinished]);
    assert_eq!(Scene::after(|scene| scene.facts.head = 9), [Wrong::Untruthful], "not deep enough");
    assert_eq!(Scene::after(|scene| _ = scene.watched.insert("p".into(), 9)), [Wrong::Untruthful]);
    assert_eq!(Scene::after(|scene| scene.facts.referrals.clear()), [Wrong::Untruthful]);
    assert_eq!(Scene::after(|scene| scene.facts.paid[0].child = referrer()), [Wrong::Untruthful]);
    let one_less = |scene: &mut Scene| {
        scene.facts.paid[0].usdc -= U256::from(1);
        scene.hold(999_999);
    };
    assert_eq!(Scene::after(one_less), [Wrong::Untruthful]);
    assert_eq!(Scene::after(|scene| scene.facts.balances.clear()), [Wrong::Untruthful]);
    let elsewhere = |scene: &mut Scene| _ = scene.facts.outflow.insert(child(), (U256::from(1), U256::ZERO));
    assert_eq!(Scene::after(elsewhere), [Wrong::Untruthful]);
    let unasked = |scene: &mut Scene| {
        scene.facts.referrals.push(Referral { child: referrer(), referrer: child(), block: 5 });
    };
    assert_eq!(Scene::after(unasked), [Wrong::Untruthful]);
    assert_eq!(Scene::after(|scene| scene.ledger.surprises.push("422".into())), [Wrong::Untruthful]);
}

#[test]
fn a_refused_recipient_fails_truthfully_and_is_never_paid() {
    let refused = |scene: &mut Scene| {
        scene.ledger.payments[0].doomed = Some("recipient_refused");
        scene.unpay();
        scene
            .facts
            .jobs
            .insert("p".into(), Some(JobFact { class: "recipient_refused".into(), ..job_in("failed") }));
    };
    assert_eq!(Scene::after(refused), []);
    let otherwise = |scene: &mut Scene| {
        refused(scene);
        scene.set_job("p", "failed");
    };
    assert_eq!(Scene::after(otherwise), [Wrong::Lost]);
    let doomed = |scene: &mut Scene| scene.ledger.payments[0].doomed = Some("recipient_refused");
    assert_eq!(Scene::after(doomed), [Wrong::Untruthful]);
}

#[test]
fn nonces_and_gates_must_be_settled() {
    assert_eq!(Scene::after(|scene| scene.facts.pending = 3), [Wrong::Nonce]);
    assert_eq!(Scene::after(|scene| scene.facts.stuck = 1), [Wrong::Nonce]);
    assert_eq!(Scene::after(|scene| scene.facts.open_nonces = 1), [Wrong::Nonce]);
    let gate = |scene: &mut Scene| scene.facts.closed_gates.push("lane:reconcile".into());
    assert_eq!(Scene::after(gate), [Wrong::Unfinished]);
}

#[test]
fn a_registration_that_ended_otherwise_is_lost_and_one_that_did_not_end_is_unfinished() {
    let unwritten = |state: &'static str| {
        move |scene: &mut Scene| {
            scene.facts.referrals.clear();
            scene.set_job("r", state);
        }
    };
    assert_eq!(Scene::after(unwritten("failed")), [Wrong::Lost]);
    assert_eq!(Scene::after(unwritten("pending")), [Wrong::Unfinished]);
    assert_eq!(Scene::after(|scene| _ = scene.facts.jobs.insert("r".into(), None)), [Wrong::Lost]);
}

#[test]
fn what_an_emptied_redis_finds_in_the_chain_counts_as_paid() {
    let found = |scene: &mut Scene| {
        (scene.ledger.payments[0].decision, scene.ledger.payments[0].job) = ("paid_on_chain".into(), None);
        scene.forgets = true;
    };
    assert_eq!(Scene::after(found), []);
    let missing = |scene: &mut Scene| {
        found(scene);
        scene.unpay();
    };
    assert_eq!(Scene::after(missing), [Wrong::Lost]);
}
