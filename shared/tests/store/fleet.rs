//! Heartbeats, and the look at the fleet.

use std::time::Duration;

use shared::ids::{BlockNumber, FencingTerm, Nonce};
use shared::store::{Fleet, Heartbeat, RelayerView, Replay};

use crate::support;
use crate::support::{SIGNER, World, take_lease};

fn beat(worker: &str) -> Heartbeat<'_> {
    Heartbeat {
        worker,
        host: "host",
        pid: 7,
        version: "1.2.3",
        boot: worker.rsplit('-').next().unwrap(),
        term: None,
        up: Duration::from_secs(60),
        claims: 2,
        claimed: 40,
        head: Some(BlockNumber::new(900)),
    }
}

async fn fleet(world: &World) -> Fleet {
    world.store.fleet().await.unwrap()
}

fn names(fleet: &Fleet) -> Vec<(&str, bool)> {
    let mut names: Vec<_> = fleet.relayers.iter().map(|r| (r.worker.as_str(), r.alive)).collect();
    names.sort_unstable();
    names
}

/// Lets a relayer have been heard of last that long ago.
async fn silent_for(world: &World, worker: &str, seconds: u64) {
    let at = world.store.now().await.unwrap() - seconds * 1000;
    let _: i64 = world.raw(redis::cmd("ZADD").arg(world.key("fleet")).arg(at).arg(worker)).await;
}

#[tokio::test]
async fn a_relayer_is_shown_as_it_told_of_itself() {
    let (_redis, world) = support::start().await;
    assert_eq!(world.store.heartbeat(&beat("host-7-aa")).await.unwrap(), 0);
    let now = world.store.now().await.unwrap();
    let fleet = fleet(&world).await;
    let [relayer] = &fleet.relayers[..] else { panic!("{fleet:?}") };
    let RelayerView { worker, host, pid, version, boot, .. } = relayer;
    assert_eq!((&**worker, &**host, *pid, &**version, &**boot), ("host-7-aa", "host", 7, "1.2.3", "aa"));
    assert_eq!((relayer.claims, relayer.claimed, relayer.head), (2, 40, Some(BlockNumber::new(900))));
    assert!(relayer.alive && relayer.last_heartbeat <= now && relayer.last_heartbeat + 10_000 > now);
    assert!(relayer.started_at.abs_diff(now - 60_000) < 10_000, "{relayer:?}");
    let first = relayer.started_at;

    // It leads now: its record has a field more, and still began when it did.
    let term = Some(FencingTerm::new(3));
    let later = Heartbeat { up: Duration::from_secs(90), claims: 0, head: None, term, ..beat("host-7-aa") };
    world.store.heartbeat(&later).await.unwrap();
    let relayer = self::fleet(&world).await.relayers.remove(0);
    assert_eq!((relayer.started_at, relayer.claims, relayer.head), (first, 0, None));
}

#[tokio::test]
async fn a_silent_relayer_is_shown_as_dead_and_forgotten_after_ten_minutes() {
    let (_redis, world) = support::start().await;
    for worker in ["a-1-aa", "b-1-bb", "c-1-cc"] {
        world.store.heartbeat(&beat(worker)).await.unwrap();
    }
    silent_for(&world, "a-1-aa", 14).await;
    silent_for(&world, "b-1-bb", 20).await;
    assert_eq!(names(&fleet(&world).await), [("a-1-aa", true), ("b-1-bb", false), ("c-1-cc", true)]);

    silent_for(&world, "b-1-bb", 601).await;
    assert_eq!(world.store.heartbeat(&beat("c-1-cc")).await.unwrap(), 1);
    assert_eq!(names(&fleet(&world).await), [("a-1-aa", true), ("c-1-cc", true)]);
    let left: i64 = world.raw(redis::cmd("PTTL").arg(world.key("fleet:a-1-aa"))).await;
    assert!((590_000..=600_000).contains(&left), "{left}: its hash goes by itself");
}

#[tokio::test]
async fn a_relayer_that_leaves_is_gone_at_once() {
    let (_redis, world) = support::start().await;
    world.store.heartbeat(&beat("a-1-aa")).await.unwrap();
    assert!(world.store.leave_fleet("a-1-aa").await.unwrap());
    assert!(!world.store.leave_fleet("a-1-aa").await.unwrap());
    assert!(fleet(&world).await.relayers.is_empty());
    let exists: bool = world.raw(redis::cmd("EXISTS").arg(world.key("fleet:a-1-aa"))).await;
    assert!(!exists);
    let feed = world.store.events_after(Some(Default::default())).await.unwrap().events;
    let of: Vec<_> = feed.iter().filter(|e| e.kind == "relayer").map(|e| e.event.as_str()).collect();
    assert_eq!(of, ["joined", "left"]);
}

#[tokio::test]
async fn the_lease_says_who_leads_whatever_relayers_say_of_themselves() {
    let (_redis, world) = support::start().await;
    // The world's own lease, held by a boot that no relayer has.
    let claims_to_lead = Heartbeat { term: Some(FencingTerm::new(9)), ..beat("a-1-aa") };
    world.store.heartbeat(&claims_to_lead).await.unwrap();
    let fleet = self::fleet(&world).await;
    let lease = fleet.lease.unwrap();
    assert_eq!((&*lease.boot, lease.term, lease.worker), ("boot-a", FencingTerm::new(1), None));
    assert_eq!(fleet.relayers[0].leads, None);

    assert!(world.store.release_lease(&world.fence).await.unwrap());
    assert_eq!(self::fleet(&world).await.lease, None);

    world.store.heartbeat(&beat("b-1-bb")).await.unwrap();
    take_lease(&world.store, "bb").await;
    let fleet = self::fleet(&world).await;
    let lease = fleet.lease.clone().unwrap();
    assert_eq!((lease.term, lease.worker.as_deref()), (FencingTerm::new(2), Some("b-1-bb")));
    assert!(lease.remaining > Duration::from_secs(500), "{lease:?}");
    let leaders: Vec<_> = fleet.relayers.iter().filter(|r| r.leads.is_some()).collect();
    assert_eq!(
        leaders.iter().map(|r| (&*r.worker, r.leads)).collect::<Vec<_>>(),
        [("b-1-bb", Some(FencingTerm::new(2)))]
    );
}

#[tokio::test]
async fn consumers_are_joined_to_relayers_and_leftovers_without_work_are_left_out() {
    let (_redis, world) = support::start().await;
    // "worker" and "gone" have pending entries, "empty" and "host-7-aa" have none.
    world.checking().await;
    world.payout().await;
    let took = world.store.claims("gone").await.unwrap().next(1, support::SOON).await.unwrap();
    assert_eq!(took.len(), 1);
    for name in ["empty", "host-7-aa"] {
        let mut create = redis::cmd("XGROUP");
        create.arg("CREATECONSUMER").arg(world.key("jobs")).arg("relayers").arg(name);
        assert!(world.raw::<bool>(&mut create).await);
    }
    world.payout().await;
    world.store.heartbeat(&beat("host-7-aa")).await.unwrap();
    world.store.heartbeat(&beat("worker")).await.unwrap();
    silent_for(&world, "worker", 60).await;
    let fleet = fleet(&world).await;
    let mut found: Vec<_> = fleet.consumers.iter().map(|c| (&*c.name, c.pending, c.alive)).collect();
    found.sort_unstable();
    assert_eq!(found, [("gone", 1, None), ("host-7-aa", 0, Some(true)), ("worker", 1, Some(false))]);
    assert_eq!((fleet.queue.queued, fleet.queue.pending), (3, 2));
    assert!(fleet.queue.oldest_queued.is_some_and(|at| at <= fleet.now && at + 10_000 > fleet.now));
}

#[tokio::test]
async fn queues_gates_and_open_nonces_are_shown() {
    let (_redis, world) = support::start().await;
    let empty = fleet(&world).await;
    assert_eq!((empty.queue.queued, empty.queue.ready, empty.queue.oldest_queued), (0, 0, None));
    assert!(empty.gates.is_empty() && empty.relayers.is_empty() && empty.consumers.is_empty());
    assert_eq!(
        empty.signers.iter().map(|s| (s.signer, s.open, s.lowest)).collect::<Vec<_>>(),
        [(SIGNER, 0, None)]
    );

    let (_, _, nonce) = world.submitted().await;
    world.submitted().await;
    world.ready().await;
    let (_, job, _) = world.checking().await;
    world.leave(job, support::park("chain")).await.unwrap();
    assert!(world.store.close_gate("chain", "no answer", "a-1-aa").await.unwrap());
    let fleet = fleet(&world).await;
    assert_eq!((fleet.queue.queued, fleet.queue.ready), (0, 1));
    let [gate] = &fleet.gates[..] else { panic!("{fleet:?}") };
    assert_eq!((&*gate.gate, &*gate.reason, &*gate.by, gate.parked), ("chain", "no answer", "a-1-aa", 1));
    assert!(gate.since <= fleet.now);
    let [signer] = &fleet.signers[..] else { panic!("{fleet:?}") };
    assert_eq!((signer.open, signer.lowest.unwrap().0), (2, nonce));
    assert!(signer.lowest.unwrap().1 <= fleet.now && signer.lowest.unwrap().1 + 10_000 > fleet.now);
}

#[tokio::test]
async fn an_empty_redis_has_a_fleet_of_nobody() {
    let redis = shared::testing::TestRedis::start().await;
    let lane = "main".parse().unwrap();
    let store =
        shared::store::Store::connect(redis.url(), &lane, shared::store::Durability::None).await.unwrap();
    let fleet = store.fleet().await.unwrap();
    assert!(fleet.lease.is_none() && fleet.signers.is_empty() && !fleet.sync.synced);
    assert_eq!(fleet.queue.queued, 0);
}

#[tokio::test]
async fn a_replay_shows_how_far_it_has_come_until_it_is_over() {
    let (_redis, world) = support::start().await;
    let run = world.store.sync_state().await.unwrap().run_id;
    let replay = Replay { from: BlockNumber::new(10), to: BlockNumber::new(30_000), at: None, events: 0 };
    assert!(world.store.show_replay(&world.fence, &run, &replay).await.unwrap());
    assert_eq!(world.store.sync_state().await.unwrap().replay, Some(replay));
    let further = Replay { at: Some(BlockNumber::new(10_009)), events: 77, ..replay };
    assert!(world.store.show_replay(&world.fence, &run, &further).await.unwrap());
    assert_eq!(fleet(&world).await.sync.replay, Some(further));
    assert!(fleet(&world).await.sync.synced, "what was synced before stays so");
    assert_eq!(fleet(&world).await.sync.resume, Some(BlockNumber::new(10_009)));
    assert!(world.store.show_replay(&world.fence, "another-process", &further).await.unwrap());
    assert_eq!(fleet(&world).await.sync.resume, None, "this process was told nothing yet");

    world.sync().await;
    assert_eq!(fleet(&world).await.sync.replay, None);
    assert_eq!(fleet(&world).await.sync.checkpoint, Some(BlockNumber::new(100)));

    let old = world.fence.clone();
    assert!(world.store.release_lease(&old).await.unwrap());
    take_lease(&world.store, "boot-b").await;
    assert!(!world.store.show_replay(&old, &run, &further).await.unwrap(), "a zombie shows nothing");
    assert_eq!(fleet(&world).await.sync.replay, None);
}

#[tokio::test]
async fn a_signer_is_listed_before_it_signed_anything() {
    let (_redis, world) = support::start().await;
    let fresh = alloy::primitives::Address::repeat_byte(0x77);
    assert!(world.store.set_next_nonce(&world.fence, fresh, None, Nonce::new(3)).await.unwrap());
    let signers: Vec<_> = fleet(&world).await.signers.iter().map(|view| view.signer).collect();
    assert_eq!(signers, [SIGNER, fresh]);
}
