use shared::ids::{BlockNumber, JobId, Nonce};
use shared::store::BASE_FEE;

use super::super::report::Status;
use super::*;

fn sync(synced: bool, replay: Option<Replay>) -> SyncState {
    SyncState {
        run_id: "r".into(),
        checkpoint: Some(BlockNumber::new(7)),
        synced,
        replay,
        resume: None,
        last_final: None,
        compared: None,
        last_replayed: None,
    }
}

#[test]
fn a_replay_tells_how_far_it_is_and_an_unsynced_redis_who_mends_it() {
    let question = || Question::new("lane.synced", "");
    let block = BlockNumber::new;
    assert_eq!(sync_state(question(), &sync(true, None)).status, Status::Ok);
    let replay = Replay { from: block(100), to: block(299), at: Some(block(149)), events: 1 };
    let running = sync_state(question(), &sync(false, Some(replay)));
    assert_eq!(running.status, Status::Warning);
    assert_eq!(running.found, "replaying blocks 100 to 299: 25% done, 1 event");
    let begun = Replay { at: None, ..replay };
    assert!(sync_state(question(), &sync(false, Some(begun))).found.contains(" 0% done"));
    assert_eq!(sync_state(question(), &sync(false, None)).status, Status::Warning);
}

fn gate(name: &str) -> ClosedGate {
    ClosedGate {
        gate: name.into(),
        reason: "why".into(),
        by: "w".into(),
        since: 1_000,
        parked: 3,
        block: None,
    }
}

#[test]
fn a_closed_gate_is_a_warning_and_a_payment_that_does_not_match_its_job_a_failure() {
    let of = |gates: &[ClosedGate]| closed_gates(Question::new("lane.gates", ""), gates, 61_000);
    assert_eq!(of(&[]).status, Status::Ok);
    let closed = of(&[gate(BASE_FEE)]);
    assert_eq!(closed.status, Status::Warning);
    assert_eq!(closed.found, "lane:base_fee for 60 s, 3 jobs waiting: why");
    assert_eq!(of(&[gate(BASE_FEE), gate(RECONCILE)]).status, Status::Failed);
}

fn journal(next: Option<u64>, open: &[u64]) -> Journal {
    let nonces = open.iter().copied().map(Nonce::new).collect();
    Journal { next: next.map(Nonce::new), open: nonces, unreadable: Vec::new() }
}

#[test]
fn the_journal_knows_every_nonce_between_the_chain_and_its_own_next_one() {
    let of = |next, open: &[u64], chain: u64, age: Option<u64>| {
        let range = NonceRange { lowest: Nonce::new(chain), highest: Nonce::new(chain) };
        let age = age.map(Duration::from_secs);
        nonces(&Fact::Known(journal(next, open)), &Fact::Known(range), age).status
    };
    assert_eq!(of(None, &[], 5, None), Status::Ok, "nobody ever led");
    assert_eq!(of(Some(5), &[], 5, None), Status::Ok);
    assert_eq!(of(Some(7), &[4, 5, 6], 5, Some(900)), Status::Ok, "4 waits for its confirmations");
    assert_eq!(of(Some(7), &[6], 5, None), Status::Warning, "5 is missing");
    assert_eq!(of(Some(7), &[5, 6], 5, Some(901)), Status::Warning, "stuck");
    assert_eq!(of(Some(5), &[], 6, None), Status::Failed, "a stranger's");
}

#[test]
fn without_the_chain_nonces_are_not_judged() {
    let skipped = nonces(&Fact::Known(journal(Some(5), &[])), &Fact::NotAsked("no chain"), None);
    assert_eq!(skipped.status, Status::Skipped);
}

fn checkup() -> Checkup {
    Checkup { has_group: true, failed: 9, failed_lately: 0, looked_at: 4, unreadable: Vec::new() }
}

#[test]
fn old_failures_are_no_news() {
    let of = |lately| failures(&Fact::Known(Checkup { failed_lately: lately, ..checkup() })).status;
    assert_eq!((of(0), of(1)), (Status::Ok, Status::Warning));
}

#[test]
fn what_cannot_be_read_is_named_up_to_a_bound() {
    let of = |jobs: usize, nonces: &[u64]| {
        let unreadable = (0..jobs).map(|_| "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse::<JobId>().unwrap()).collect();
        let unreadable_nonces = nonces.iter().copied().map(Nonce::new).collect();
        let journal = Journal { unreadable: unreadable_nonces, ..journal(Some(9), nonces) };
        records(&Fact::Known(Checkup { unreadable, ..checkup() }), &Fact::Known(journal))
    };
    assert_eq!(of(0, &[]).status, Status::Ok);
    let one = of(0, &[7]);
    assert_eq!((one.status, one.found.as_str()), (Status::Failed, "1 cannot be read: nonce 7"));
    let many = of(6, &[]);
    assert!(many.found.starts_with("6 cannot") && many.found.ends_with(", …"), "{}", many.found);
}
