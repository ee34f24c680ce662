//! The journal as people read it: complete, newest first, and found by any hash.

use alloy::primitives::Address;
use shared::ids::{BlockNumber, Nonce};
use shared::store::{JobFilter, Journaled, NewTx, TxCursor, TxFilter, TxRef, TxView};
use shared::tx::{Held, Inclusion};
use shared::tx_state::TxState;

use crate::support;
use crate::support::{MAX_OPEN, SIGNER, World, attempt, cancelling, filler};

const OTHER: Address = Address::repeat_byte(0x77);

/// Closes the nonce after a filler, so that any number of them fits.
async fn spend(world: &World, signer: Address) -> Nonce {
    let nonce = world.store.next_nonce(signer).await.unwrap().unwrap();
    let (intent, attempt) = (filler(), attempt(world.serial()));
    let tx = NewTx { signer, nonce, intent: &intent, attempt: &attempt, max_open: MAX_OPEN };
    world.store.journal(&world.fence, &tx).await.unwrap();
    let hash = Some(attempt.hash);
    assert!(world.store.close_nonce(&world.fence, signer, nonce, "ours", hash).await.unwrap());
    nonce
}

async fn pages(world: &World, filter: &TxFilter, limit: usize) -> Vec<Vec<TxView>> {
    let (mut out, mut cursor) = (Vec::new(), None::<TxCursor>);
    loop {
        // As it travels.
        let given = cursor.map(|cursor| cursor.to_string().parse().unwrap());
        let page = world.store.txs(filter, given.as_ref(), limit).await.unwrap();
        assert!(page.txs.len() <= limit);
        out.push(page.txs);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return out,
        }
    }
}

async fn list(world: &World, filter: &TxFilter, limit: usize) -> Vec<(Address, u64)> {
    let pages = pages(world, filter, limit).await;
    pages.iter().flatten().map(|view| (view.signer, view.tx.nonce.get())).collect()
}

#[tokio::test]
async fn pages_hold_every_transaction_once_newest_first() {
    let (_redis, world) = support::start().await;
    for _ in 0..25 {
        spend(&world, SIGNER).await;
    }
    let expected: Vec<_> = (0..25).rev().map(|nonce| (SIGNER, nonce)).collect();
    for limit in [1, 7, 10, 100] {
        assert_eq!(list(&world, &TxFilter::default(), limit).await, expected, "{limit} per page");
    }
    let sizes: Vec<_> = pages(&world, &TxFilter::default(), 5).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [5; 5], "a last page that is full has no next one");
}

#[tokio::test]
async fn transactions_of_two_signers_are_merged_by_time() {
    let (_redis, world) = support::start().await;
    assert!(world.store.set_next_nonce(&world.fence, OTHER, None, Nonce::new(500)).await.unwrap());
    let mut expected = Vec::new();
    for n in 0..12 {
        let signer = if n % 3 == 0 { OTHER } else { SIGNER };
        expected.insert(0, (signer, spend(&world, signer).await.get()));
        // Times are milliseconds; equal ones have no order.
        let now = world.store.now().await.unwrap();
        while world.store.now().await.unwrap() == now {}
    }
    for limit in [1, 5, 100] {
        assert_eq!(list(&world, &TxFilter::default(), limit).await, expected, "{limit} per page");
    }
    let only = TxFilter { signer: Some(OTHER), ..Default::default() };
    assert_eq!(list(&world, &only, 2).await, [(OTHER, 503), (OTHER, 502), (OTHER, 501), (OTHER, 500)]);
    let nobody = TxFilter { signer: Some(Address::repeat_byte(1)), ..Default::default() };
    assert_eq!(list(&world, &nobody, 2).await, []);
}

#[tokio::test]
async fn a_list_begins_at_the_first_journaled_nonce_and_skips_nonces_of_strangers() {
    let (_redis, world) = support::start().await;
    // An account with a long life before us, and with one that somebody else used meanwhile.
    let first = Nonce::new(1_000_000);
    assert!(world.store.set_next_nonce(&world.fence, OTHER, None, first).await.unwrap());
    spend(&world, OTHER).await;
    let jump = Nonce::new(1_009_000);
    assert!(world.store.set_next_nonce(&world.fence, OTHER, Some(first.next()), jump).await.unwrap());
    spend(&world, OTHER).await;
    let pages = pages(&world, &TxFilter::default(), 10).await;
    let found: Vec<_> = pages.iter().flatten().map(|view| view.tx.nonce).collect();
    assert_eq!(found, [jump, first]);
    assert!((2..=4).contains(&pages.len()), "{} calls, each bounded", pages.len());
}

#[tokio::test]
async fn states_narrow_the_list() {
    let (_redis, world) = support::start().await;
    let closed = spend(&world, SIGNER).await;
    let (_, _, open) = world.submitted().await;
    let (_, _, cancelled) = world.submitted().await;
    let cancel = cancelling(world.serial());
    let journaled = world.store.journal_attempt(&world.fence, SIGNER, cancelled, 1, &cancel).await.unwrap();
    assert!(matches!(journaled, Journaled::Journaled { .. }));
    for (state, expected) in
        [(TxState::Closed, closed), (TxState::Open, open), (TxState::Cancelling, cancelled)]
    {
        let filter = TxFilter { state: Some(state), ..Default::default() };
        assert_eq!(list(&world, &filter, 1).await, [(SIGNER, expected.get())], "{state:?}");
    }
}

#[tokio::test]
async fn a_transaction_is_found_by_any_attempts_hash_and_by_its_place() {
    let (_redis, world) = support::start().await;
    let (_, held) = world.ready().await;
    let first = attempt(world.serial());
    let nonce = world.store.next_nonce(SIGNER).await.unwrap().unwrap();
    world.journal(nonce, &support::intent(&[held]), &first).await;
    let second = attempt(world.serial());
    world.store.journal_attempt(&world.fence, SIGNER, nonce, 1, &second).await.unwrap();
    // Another signer's same nonce must not be taken for it.
    assert!(world.store.set_next_nonce(&world.fence, OTHER, None, nonce).await.unwrap());
    spend(&world, OTHER).await;

    let by_place = world.store.find_tx(TxRef::Nonce(SIGNER, nonce)).await.unwrap().unwrap();
    assert_eq!(by_place.tx.attempts.iter().map(|a| a.hash).collect::<Vec<_>>(), [first.hash, second.hash]);
    for hash in [first.hash, second.hash] {
        assert_eq!(world.store.find_tx(TxRef::Hash(hash)).await.unwrap(), Some(by_place.clone()));
    }
    assert!(by_place.end.is_none() && by_place.tx.inclusion.is_none());
    assert_eq!(world.store.find_tx(TxRef::Hash(support::hash(1))).await.unwrap(), None);
    assert_eq!(world.store.find_tx(TxRef::Nonce(SIGNER, nonce.next())).await.unwrap(), None);

    let seen = Inclusion { hash: second.hash, block: BlockNumber::new(120) };
    world.see(nonce, Some(seen)).await;
    world.finish(held.job).await.unwrap();
    assert!(world.store.close_nonce(&world.fence, SIGNER, nonce, "ours", Some(second.hash)).await.unwrap());
    let ended = world.store.find_tx(TxRef::Hash(first.hash)).await.unwrap().unwrap();
    let end = ended.end.unwrap();
    assert_eq!((&*end.consumed_by, end.hash, ended.tx.inclusion), ("ours", Some(second.hash), Some(seen)));
    assert!(end.at >= ended.tx.created_at);
}

#[tokio::test]
async fn jobs_are_found_by_the_transaction_that_was_to_settle_them() {
    let (_redis, world) = support::start().await;
    let mut held: Vec<Held> = Vec::new();
    for _ in 0..5 {
        held.push(world.ready().await.1);
    }
    let nonce = world.sign(&held[..4]).await;
    let hash = world.store.tx(SIGNER, nonce).await.unwrap().unwrap().attempts[0].hash;
    let (mut found, mut cursor, mut pages) = (Vec::new(), None, 0);
    let filter = JobFilter { tx: Some(hash), ..Default::default() };
    loop {
        let page = world.store.jobs(&filter, cursor.as_ref(), 2).await.unwrap();
        found.extend(page.jobs.iter().map(|job| job.id));
        pages += 1;
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!((found, pages), (held[..4].iter().map(|held| held.job).collect(), 2));
    let none = JobFilter { state: Some("done".into()), ..filter.clone() };
    assert!(world.store.jobs(&none, None, 10).await.unwrap().jobs.is_empty());
    let unknown = JobFilter { tx: Some(support::hash(9)), ..Default::default() };
    assert!(world.store.jobs(&unknown, None, 10).await.unwrap().jobs.is_empty());
}
