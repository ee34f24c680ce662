//! The journal over HTTP.

use alloy::primitives::{Address, Bytes, U256};
use serde_json::{Value, json};
use shared::ids::{BlockNumber, FencingTerm, Hash32, Nonce};
use shared::store::{JournalOutcome, Journaled, NewTx, Noted};
use shared::tx::{Attempt, Fees, Inclusion, Intent, IntentKind};

use crate::support::*;

const SIGNER: Address = Address::repeat_byte(0x51);
const FIRST: u64 = 40;

fn attempt(nonce: u64, n: u8) -> Attempt {
    let hash: Hash32 = format!("0x{nonce:062x}{n:02x}").parse().unwrap();
    Attempt {
        hash,
        raw: Bytes::from_static(&[2, 0x5e, 0xc2, 0xe7]),
        gas_limit: 21_000,
        fees: Fees { max_fee: 30_000_000_000, max_priority_fee: 1_000_000_000 },
        cancel: n > 0,
        term: FencingTerm::new(1),
        head: BlockNumber::new(9),
        at: 0,
    }
}

/// Journals that many fillers and closes all but the newest.
async fn fillers(server: &Server, count: u64) {
    let first = Nonce::new(FIRST);
    assert!(server.store.set_next_nonce(&server.fence, SIGNER, None, first).await.unwrap());
    for nonce in FIRST..FIRST + count {
        let intent = Intent {
            kind: IntentKind::Filler,
            to: SIGNER,
            data: Bytes::new(),
            value: U256::ZERO,
            jobs: vec![],
        };
        let attempt = attempt(nonce, 0);
        let n = Nonce::new(nonce);
        let tx = NewTx { signer: SIGNER, nonce: n, intent: &intent, attempt: &attempt, max_open: 16 };
        let outcome = server.store.journal(&server.fence, &tx).await.unwrap();
        assert!(matches!(outcome, JournalOutcome::Journaled { .. }), "{outcome:?}");
        if nonce + 1 < FIRST + count {
            let hash = Some(attempt.hash);
            assert!(server.store.close_nonce(&server.fence, SIGNER, n, "ours", hash).await.unwrap());
        }
    }
}

fn nonces(page: &Value) -> Vec<u64> {
    let txs = page["transactions"].as_array().unwrap_or_else(|| panic!("{page:#}"));
    txs.iter().map(|tx| tx["nonce"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn pages_hold_every_transaction_once_newest_first() {
    let server = Server::start().await;
    let empty = Answer::of(server.get("/api/transactions")).await;
    assert_eq!((empty.status, empty.body), (200, json!({"transactions": [], "next": null})));
    fillers(&server, 25).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let next = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = Answer::of(server.get(&format!("/api/transactions?limit=10{next}"))).await.body;
        seen.extend(nonces(&page));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!((seen, pages), ((FIRST..FIRST + 25).rev().collect(), 3));
    let page = Answer::of(server.get("/api/transactions")).await.body;
    assert_eq!(nonces(&page).len(), 20);
}

#[tokio::test]
async fn filters_narrow_and_what_is_none_is_refused() {
    let server = Server::start().await;
    fillers(&server, 3).await;
    for (query, expected) in [
        ("state=open".to_owned(), vec![42]),
        ("state=closed".to_owned(), vec![41, 40]),
        ("state=cancelling".to_owned(), vec![]),
        (format!("signer={SIGNER:#x}&state=closed"), vec![41, 40]),
        (format!("signer={}", wallet(1)), vec![]),
    ] {
        let page = Answer::of(server.get(&format!("/api/transactions?{query}"))).await.body;
        assert_eq!(nonces(&page), expected, "{query}");
    }
    for (query, field, value) in
        [("state=mined", "state", "mined"), ("cursor=12", "cursor", "12"), ("limit=101", "limit", "101")]
    {
        let answer = Answer::of(server.get(&format!("/api/transactions?{query}"))).await;
        answer.is_problem(422, "invalid_value").at(field, value);
    }
    let answer = Answer::of(server.get("/api/transactions?signer=0x12")).await;
    answer.is_problem(422, "malformed_wallet").at("signer", "0x12");
}

#[tokio::test]
async fn a_transaction_is_read_by_any_attempts_hash_and_by_its_place() {
    let server = Server::start().await;
    fillers(&server, 1).await;
    let (first, cancel) = (attempt(FIRST, 0), attempt(FIRST, 1));
    let nonce = Nonce::new(FIRST);
    let journaled = server.store.journal_attempt(&server.fence, SIGNER, nonce, 1, &cancel).await.unwrap();
    assert!(matches!(journaled, Journaled::Journaled { .. }), "{journaled:?}");
    let read =
        async |reference: String| Answer::of(server.get(&format!("/api/transactions/{reference}"))).await;
    let place = read(format!("{SIGNER:#x}:{FIRST}")).await;
    let view = &place.body;
    assert_eq!((place.status, &view["kind"], &view["state"]), (200, &json!("filler"), &json!("cancelling")));
    assert_eq!((&view["signer"], &view["nonce"]), (&json!(SIGNER.to_checksum(None)), &json!(FIRST)));
    let attempts = view["attempts"].as_array().unwrap();
    let (hashes, cancels): (Vec<_>, Vec<_>) = attempts.iter().map(|a| (&a["hash"], &a["cancel"])).unzip();
    assert_eq!(hashes, [&json!(first.hash.to_string()), &json!(cancel.hash.to_string())]);
    assert_eq!(cancels, [&json!(false), &json!(true)]);
    assert_eq!((&attempts[0]["term"], &attempts[0]["max_fee_wei"]), (&json!(1), &json!("30000000000")));
    assert!(attempts[0]["at"].as_u64().unwrap() > 0);
    assert!(!place.text.contains("5ec2e7"), "signed bytes stay inside");
    assert!(view.get("ended").is_none() && view.get("included").is_none());
    for hash in [first.hash, cancel.hash] {
        assert_eq!(read(hash.to_string()).await.body, *view);
    }

    let seen = Inclusion { hash: cancel.hash, block: BlockNumber::new(12) };
    let said = server.store.include(&server.fence, SIGNER, nonce, Some(seen)).await.unwrap();
    assert!(matches!(said, Noted::At(_)), "{said:?}");
    let hash = Some(cancel.hash);
    assert!(server.store.close_nonce(&server.fence, SIGNER, nonce, "cancel", hash).await.unwrap());
    let view = read(first.hash.to_string()).await.body;
    assert_eq!(view["included"], json!({"hash": cancel.hash.to_string(), "block": 12}));
    assert_eq!((&view["state"], &view["ended"]["consumed_by"]), (&json!("closed"), &json!("cancel")));
    assert_eq!(view["ended"]["hash"], cancel.hash.to_string());

    read(format!("{SIGNER:#x}:41")).await.is_problem(404, "not_found");
    read(format!("0x{}", "ab".repeat(32))).await.is_problem(404, "not_found");
    for none in ["7", "0x12", &format!("{SIGNER:#x}:"), &format!("{SIGNER:#x}:x")] {
        read(none.to_owned()).await.is_problem(422, "invalid_value").at("reference", none);
    }
    read("0x12:7".to_owned()).await.is_problem(422, "malformed_wallet").at("reference", "0x12:7");
}
