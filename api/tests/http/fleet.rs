//! The fleet as operators see it.

use std::time::Duration;

use serde_json::{Value, json};
use shared::ids::{BlockNumber, FencingTerm, Nonce};
use shared::store::{Heartbeat, Replay};

use crate::support::*;

/// `boot` is part of the name, as relayers' own names are made.
async fn beat(server: &Server, host: &str, boot: &str) {
    let worker = format!("{host}-7-{boot}");
    let beat = Heartbeat {
        worker: &worker,
        host,
        pid: 7,
        version: "1.2.3",
        boot,
        term: Some(FencingTerm::new(1)),
        up: Duration::from_secs(1),
        claims: 3,
        claimed: 40,
        head: Some(BlockNumber::new(900)),
    };
    server.store.heartbeat(&beat).await.unwrap();
}

async fn fleet(server: &Server) -> Value {
    let answer = Answer::of(server.get("/api/fleet")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn relayer<'a>(fleet: &'a Value, name: &str) -> &'a Value {
    let found = fleet["relayers"].as_array().unwrap().iter().find(|relayer| relayer["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {fleet:#}"))
}

#[tokio::test]
async fn a_relayer_that_tells_is_alive_and_one_that_went_silent_is_not() {
    let server = Server::start().await;
    // The server's own lease has the boot `test`.
    beat(&server, "box-1", "test").await;
    beat(&server, "box-2", "other").await;
    let silent_since = server.store.now().await.unwrap() - 16_000;
    server.redis_cli(&["ZADD", "ail:{main}:fleet", &silent_since.to_string(), "box-2-7-other"]);

    let fleet = fleet(&server).await;
    let leader = relayer(&fleet, "box-1-7-test");
    let told = json!({"host": "box-1", "pid": 7, "version": "1.2.3", "role": "leader", "term": 1, "claims": 3,
        "claimed": 40, "head": 900, "alive": true});
    for (field, value) in told.as_object().unwrap() {
        assert_eq!(&leader[field], value, "{field} of {leader:#}");
    }
    let dead = relayer(&fleet, "box-2-7-other");
    assert_eq!((&dead["alive"], &dead["last_heartbeat"]), (&json!(false), &json!(silent_since)));
    assert_eq!(dead["role"], "follower", "whatever it said of itself");
    assert!(dead.get("term").is_none());
    let lease = &fleet["lease"];
    let holder = (&lease["holder"], &lease["relayer"], &lease["term"]);
    assert_eq!(holder, (&json!("test"), &json!("box-1-7-test"), &json!(1)));
    assert!(lease["ms_left"].as_u64().unwrap() > 500_000);

    assert!(server.store.leave_fleet("box-1-7-test").await.unwrap());
    let fleet = self::fleet(&server).await;
    assert_eq!(fleet["relayers"].as_array().unwrap().len(), 1);
    assert!(fleet["lease"].get("relayer").is_none(), "{fleet:#}");

    assert!(server.store.release_lease(&server.fence).await.unwrap());
    assert!(self::fleet(&server).await.get("lease").is_none());
}

#[tokio::test]
async fn consumers_gates_nonces_and_queues_are_part_of_it() {
    let server = Server::start().await;
    server.refer(&wallet(1), &wallet(2)).await;
    for n in 0..3 {
        let event = payment(&format!("pay_{n}"), &wallet(1), "10");
        assert_eq!(Answer::of(server.deliver(&format!("evt_{n}"), &event)).await.status, 202);
    }
    beat(&server, "box-1", "test").await;
    // The registration and a payout.
    let mut claims = server.store.claims("box-1-7-test").await.unwrap();
    assert_eq!(claims.next(2, Duration::from_secs(1)).await.unwrap().len(), 2);
    server.store.close_gate("chain", "no answer", "box-1-7-test").await.unwrap();
    let signer = "0x5151515151515151515151515151515151515151";
    let next = Nonce::new(4);
    assert!(server.store.set_next_nonce(&server.fence, signer.parse().unwrap(), None, next).await.unwrap());

    let fleet = fleet(&server).await;
    let [consumer] = &fleet["consumers"].as_array().unwrap()[..] else { panic!("{fleet:#}") };
    assert_eq!(
        (&consumer["name"], &consumer["pending"], &consumer["alive"]),
        (&json!("box-1-7-test"), &json!(2), &json!(true))
    );
    assert!(consumer["idle_ms"].as_u64().unwrap() < 10_000);
    let queue = &fleet["queue"];
    assert_eq!((&queue["queued"], &queue["pending"], &queue["ready"]), (&json!(4), &json!(2), &json!(0)));
    assert!(queue["oldest_queued_at"].as_u64().unwrap() <= fleet["now"].as_u64().unwrap());
    let gate = &fleet["closed_gates"][0];
    assert_eq!(
        (&gate["gate"], &gate["reason"], &gate["parked"]),
        (&json!("chain"), &json!("no answer"), &json!(0))
    );
    let open = json!([{"signer": signer.parse::<alloy::primitives::Address>().unwrap().to_checksum(None), "open": 0}]);
    assert_eq!(fleet["signers"], open);
    assert_eq!(fleet["sync"], json!({"synced": true, "checkpoint": 1}));
}

#[tokio::test]
async fn a_replay_is_shown_while_it_runs() {
    let server = Server::unsynced().await;
    assert_eq!(fleet(&server).await["sync"], json!({"synced": false}));
    let block = BlockNumber::new;
    let replay = Replay { from: block(7), to: block(40_000), at: Some(block(10_006)), events: 321 };
    assert!(server.store.show_replay(&server.fence, "run", &replay).await.unwrap());
    let shown = json!({"synced": false, "replay": {"from": 7, "to": 40_000, "at": 10_006, "events": 321}});
    assert_eq!(fleet(&server).await["sync"], shown);
    server.sync().await;
    assert_eq!(fleet(&server).await["sync"], json!({"synced": true, "checkpoint": 1}));
}
