use serde_json::json;

use super::*;
use crate::demo::data;

const TERMS: Terms = Terms {
    commission_bps: 1_000,
    hybrid_sge_bps: 2_500,
    sge_units_per_usdc: 12_500_000_000_000_000_000,
    usdc_cap: 1_000_000_000,
    sge_cap: 10_000_000_000_000_000_000_000,
};

fn wallet(byte: u8) -> String {
    format!("{:#x}", Address::repeat_byte(byte))
}

fn register(child: u8, referrer: Option<u8>) -> Setup {
    Setup::Register { wallet: wallet(child), referrer: referrer.map(wallet) }
}

fn event(kind: &str, id: &str, from: u8, amount: &str) -> Event {
    let data = json!({"payment_id": id, "wallet": wallet(from), "amount": amount, "currency": "USD"});
    Event {
        id: id.to_owned(),
        sign: Sign::Good,
        body: json!({"type": format!("payment.{kind}"), "data": data}),
    }
}

fn run(setup: Vec<Setup>, events: Vec<Event>) -> Expected {
    expect(&Input { setup, events }, &TERMS).unwrap()
}

fn statuses(verdicts: &[Verdict]) -> Vec<u16> {
    verdicts.iter().map(|verdict| verdict.statuses[0]).collect()
}

#[test]
fn a_tenth_goes_to_the_referrer_rounded_down() {
    let out = run(vec![register(1, Some(9))], vec![event("succeeded", "a", 1, "10.000009")]);
    assert_eq!(out.balances[&Address::repeat_byte(9)], Sum { usdc: 1_000_000, sge: 0 });
    assert_eq!(out.events[0].decision, Some("due"));
}

#[test]
fn a_hybrid_referrer_gets_a_quarter_of_it_in_sge() {
    let mode = Setup::Mode { wallet: wallet(9), mode: "hybrid".into() };
    let out = run(vec![register(1, Some(9)), mode], vec![event("succeeded", "a", 1, "100.00003")]);
    let sum = Sum { usdc: 10_000_003 - 2_500_000, sge: 31_250_000_000_000_000_000 };
    assert_eq!(out.balances[&Address::repeat_byte(9)], sum);
}

#[test]
fn only_the_first_content_of_a_payment_counts() {
    let events = vec![
        event("succeeded", "a", 1, "10"),
        event("succeeded", "a", 1, "10"),
        event("succeeded", "a", 1, "11"),
        event("succeeded", "a", 2, "10"),
    ];
    let out = run(vec![register(1, Some(9))], events);
    assert_eq!(statuses(&out.events), [202, 200, 409, 409]);
    assert_eq!(out.balances[&Address::repeat_byte(9)].usdc, 1_000_000);
}

#[test]
fn a_refund_that_comes_first_spends_the_payment() {
    let events = vec![event("refunded", "a", 1, "10"), event("succeeded", "a", 1, "10")];
    let out = run(vec![register(1, Some(9))], events);
    let decisions: Vec<_> = out.events.iter().map(|verdict| verdict.decision).collect();
    assert_eq!(decisions, [Some("tombstone"), Some("refunded")]);
    assert_eq!(out.balances[&Address::repeat_byte(9)], Sum::default());
}

#[test]
fn a_registration_is_refused_for_self_cycle_and_change() {
    let setup = vec![
        register(1, Some(9)),
        register(1, Some(8)),
        register(9, Some(1)),
        register(7, Some(7)),
        register(0, Some(9)),
        register(1, Some(9)),
        register(5, None),
    ];
    let out = run(setup, vec![]);
    let verdicts: Vec<Verdict> = out.setup.into_iter().flatten().collect();
    assert_eq!(statuses(&verdicts), [202, 409, 409, 422, 422, 200, 200]);
    assert_eq!(out.referrers.len(), 1);
}

#[test]
fn what_cannot_be_paid_is_expected_to_fail_for_its_reason() {
    let setup = vec![register(1, Some(9)), register(2, Some(8)), Setup::Blocklist { wallet: wallet(8) }];
    let events = vec![event("succeeded", "a", 1, "10000.00001"), event("succeeded", "b", 2, "5")];
    let out = run(setup, events);
    assert_eq!(out.payouts["a"], Fate::Fails("above_cap"));
    assert_eq!(out.payouts["b"], Fate::Fails("recipient_refused"));
    assert!(out.balances.values().all(|sum| *sum == Sum::default()));
}

#[test]
fn bad_amounts_and_bad_signatures_are_refused_by_their_codes() {
    let cases = [
        ("0", "amount_not_positive"),
        ("0.00", "amount_not_positive"),
        ("-1", "amount_not_positive"),
        ("1.0000001", "amount_too_precise"),
        ("1.", "malformed_amount"),
        (".5", "malformed_amount"),
        ("1e3", "malformed_amount"),
        ("79228162514264337593543.950337", "amount_too_large"),
    ];
    let mut events: Vec<Event> = cases.map(|(amount, _)| event("succeeded", amount, 1, amount)).into();
    events.push(Event { sign: Sign::Stale, ..event("succeeded", "x", 1, "1") });
    let out = run(vec![register(1, Some(9))], events);
    for ((amount, code), verdict) in cases.iter().zip(&out.events) {
        assert_eq!((verdict.statuses, verdict.code), (&[422][..], Some(*code)), "{amount}");
    }
    assert_eq!(out.events[8], Verdict::refused(&[401], "invalid_signature"));
}

#[test]
fn an_amount_is_read_to_the_sixth_decimal() {
    assert_eq!(units_of("129.9"), Ok(129_900_000));
    assert_eq!(units_of("0.000001"), Ok(1));
    assert_eq!(units_of("79228162514264337593543.950336"), Ok(1 << 96));
}

#[test]
fn the_demo_covers_every_special_case() {
    let out = expect(&data::generate(), &TERMS).unwrap();
    let decisions: BTreeSet<&str> = out.events.iter().filter_map(|verdict| verdict.decision).collect();
    assert_eq!(
        decisions.into_iter().collect::<Vec<_>>(),
        ["due", "no_referrer", "nothing_due", "owed", "refunded", "tombstone", "unknown_wallet"]
    );
    let statuses: BTreeSet<u16> = statuses(&out.events).into_iter().collect();
    assert_eq!(statuses.into_iter().collect::<Vec<_>>(), [200, 202, 401, 409, 422]);
    for class in ["above_cap", "recipient_refused"] {
        assert!(out.payouts.values().any(|fate| *fate == Fate::Fails(class)), "{class}");
    }
    assert!(out.balances.values().filter(|sum| sum.sge > 0).count() >= 3);
    assert!(out.balances.values().filter(|sum| sum.usdc > 0).count() >= 10);
}
