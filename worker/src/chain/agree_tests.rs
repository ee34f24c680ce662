use super::*;

use shared::ids::{Hash32, PaymentId, Wallet};
use shared::money::{Sge, Usdc};

use super::super::ChainEventKind;

const DEEP: BlockNumber = BlockNumber::new(100);

fn said<T>(endpoint: &str, answer: T) -> Said<T> {
    Said { endpoint: endpoint.into(), answer }
}

fn two<T>(one: T, other: T) -> Answers<T> {
    Answers::Two(said("one", one), said("other", other))
}

fn nonces(one: u64, other: u64) -> Answers<Nonce> {
    two(Nonce::new(one), Nonce::new(other))
}

fn seen(receipts: &[(u64, u64)]) -> Vec<(Nonce, BlockNumber)> {
    receipts.iter().map(|(nonce, block)| (Nonce::new(*nonce), BlockNumber::new(*block))).collect()
}

fn names(refuted: &[Arc<str>]) -> Vec<&str> {
    refuted.iter().map(|name| &**name).collect()
}

/// Below which nonce all are consumed, from which on none is, and who is refuted.
fn judged(answers: &Answers<Nonce>, receipts: &[(u64, u64)]) -> (u64, u64, String) {
    let judged = consumed(answers, &seen(receipts), DEEP);
    (judged.verdict.below.get(), judged.verdict.free_from.get(), names(&judged.refuted).join(" "))
}

#[test]
fn equal_nonces_and_a_lone_nonce_count_as_they_are() {
    assert_eq!(judged(&nonces(7, 7), &[]), (7, 7, String::new()));
    assert_eq!(judged(&Answers::Only(said("one", Nonce::new(7))), &[]), (7, 7, String::new()));
    assert_eq!(judged(&Answers::Alone(said("one", Nonce::new(7))), &[]), (7, 7, String::new()));
}

#[test]
fn a_nonce_that_one_alone_calls_consumed_is_not_and_not_free_either() {
    assert_eq!(judged(&nonces(9, 7), &[]), (7, 9, String::new()));
    assert_eq!(judged(&nonces(7, 9), &[]), (7, 9, String::new()));
}

#[test]
fn a_receipt_at_or_below_the_deep_block_proves_its_nonce_and_all_below_and_refutes_the_lower_answer() {
    assert_eq!(judged(&nonces(5, 9), &[(7, 100)]), (8, 9, "one".into()));
    assert_eq!(judged(&nonces(9, 5), &[(8, 90), (6, 80)]), (9, 9, "other".into()));
}

#[test]
fn a_receipt_above_the_deep_block_proves_nothing_consumed_and_refutes_the_higher_answer() {
    assert_eq!(judged(&nonces(7, 9), &[(7, 101)]), (7, 7, "other".into()));
    assert_eq!(judged(&nonces(7, 9), &[(8, 101)]), (7, 8, "other".into()));
    // Of a nonce that nobody called consumed it proves nothing against anybody.
    assert_eq!(judged(&nonces(7, 9), &[(9, 101)]), (7, 9, String::new()));
}

#[test]
fn both_can_be_refuted_at_once() {
    assert_eq!(judged(&nonces(5, 9), &[(6, 100), (7, 101)]), (7, 7, "one other".into()));
}

fn claims(one: Option<u64>, other: Option<u64>) -> Answers<Option<BlockNumber>> {
    two(one.map(BlockNumber::new), other.map(BlockNumber::new))
}

fn decided(answers: &Answers<Option<BlockNumber>>, proven: Option<u64>) -> (Settled, Vec<String>) {
    let judged = settled(answers, proven.map(BlockNumber::new));
    (judged.verdict, names(&judged.refuted).into_iter().map(str::to_owned).collect())
}

#[test]
fn what_both_say_about_a_payment_counts() {
    assert_eq!(decided(&claims(Some(90), Some(90)), None), (Settled::In(BlockNumber::new(90)), vec![]));
    assert_eq!(decided(&claims(None, None), None), (Settled::Not, vec![]));
    assert!(!needs_proof(&claims(None, None)) && !needs_proof(&claims(Some(9), Some(9))));
}

#[test]
fn the_only_endpoints_answer_about_a_payment_counts() {
    let only = |answer: Option<u64>| Answers::Only(said("one", answer.map(BlockNumber::new)));
    assert!(!needs_proof(&only(Some(90))));
    assert_eq!(decided(&only(Some(90)), None).0, Settled::In(BlockNumber::new(90)));
    assert_eq!(decided(&only(None), None).0, Settled::Not);
}

#[test]
fn a_lone_paid_of_several_endpoints_takes_its_event_and_a_lone_unpaid_counts() {
    let alone = |answer: Option<u64>| Answers::Alone(said("one", answer.map(BlockNumber::new)));
    assert!(needs_proof(&alone(Some(90))) && !needs_proof(&alone(None)));
    assert_eq!(decided(&alone(Some(90)), None), (Settled::Undecided, vec![]));
    assert_eq!(decided(&alone(Some(90)), Some(90)), (Settled::In(BlockNumber::new(90)), vec![]));
    assert_eq!(decided(&alone(None), None).0, Settled::Not);
}

#[test]
fn a_payment_that_one_alone_calls_paid_is_undecided_in_either_order() {
    for answers in [claims(Some(90), None), claims(None, Some(90))] {
        assert!(needs_proof(&answers));
        assert_eq!(decided(&answers, None), (Settled::Undecided, vec![]));
    }
}

#[test]
fn its_event_decides_a_disputed_payment_and_refutes_who_called_it_unpaid() {
    let paid = Settled::In(BlockNumber::new(90));
    assert_eq!(decided(&claims(Some(90), None), Some(90)), (paid, vec!["other".into()]));
    assert_eq!(decided(&claims(None, Some(90)), Some(90)), (paid, vec!["one".into()]));
}

#[test]
fn two_that_name_different_blocks_agree_that_it_is_paid() {
    assert_eq!(decided(&claims(Some(90), Some(91)), None), (Settled::In(BlockNumber::new(91)), vec![]));
    assert_eq!(
        decided(&claims(Some(90), Some(91)), Some(90)),
        (Settled::In(BlockNumber::new(90)), vec!["other".into()])
    );
}

#[test]
fn a_range_spans_all_answers() {
    let range = NonceRange::of([7, 5, 9].map(Nonce::new)).unwrap();
    assert_eq!((range.lowest, range.highest), (Nonce::new(5), Nonce::new(9)));
    assert_eq!(NonceRange::of([]), None);
}

fn event(log_index: u64) -> ChainEvent {
    let wallet = |n: u8| format!("0x{n:040x}").parse::<Wallet>().unwrap();
    ChainEvent {
        block: BlockNumber::new(90),
        tx_hash: Hash32::from(alloy::primitives::B256::repeat_byte(7)),
        log_index,
        kind: ChainEventKind::Paid {
            payment: PaymentId::derive("payments", &log_index.to_string()),
            referrer: wallet(2),
            child: wallet(1),
            usdc: Usdc::from_base_units(1),
            sge: Sge::ZERO,
        },
    }
}

#[test]
fn who_leaves_out_an_event_that_another_shows_is_named() {
    let shown = [said("full", vec![event(1), event(2)]), said("half", vec![event(1)]), said("empty", vec![])];
    let by = |wanted: u64| names(&omitted_by(&shown, |event| event.log_index == wanted)).join(" ");
    assert_eq!(by(2), "half empty");
    assert_eq!(by(1), "empty");
    assert_eq!(by(3), "", "nobody shows it: nobody is blamed");
}

#[test]
fn a_union_has_each_event_once_in_order() {
    let shown = [vec![event(3)], vec![event(1), event(3)]];
    assert_eq!(union(shown), [event(1), event(3)]);
}

#[test]
fn agreed_is_what_nobody_contradicts() {
    assert_eq!(nonces(7, 7).agreed(), Some(Nonce::new(7)));
    assert_eq!(nonces(7, 8).agreed(), None);
    assert_eq!(Answers::Alone(said("one", 5)).agreed(), Some(5));
    assert_eq!(Answers::Only(said("one", 5)).agreed(), Some(5));
}

#[test]
fn two_equal_answers_outvote_any_other() {
    assert_eq!(pair(&[7, 8]), None);
    assert_eq!(pair(&[7, 8, 7]), Some((0, 2)));
    assert_eq!(pair(&[8, 7, 7]), Some((1, 2)));
    assert_eq!(pair(&[7, 7, 8]), Some((0, 1)));
    assert_eq!(pair::<u64>(&[]), None);
}
