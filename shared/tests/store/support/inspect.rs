//! Whether all indexes of a lane agree with the hashes, which are the record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redis::streams::{StreamPendingCountReply, StreamRangeReply};
use shared::job_state::Stage;
use shared::tx::Intent;

use super::World;

type Fields = HashMap<String, String>;

/// Everything of a lane that indexes are about, read once.
struct Lane {
    jobs: BTreeMap<String, Fields>,
    txs: BTreeMap<String, Fields>,
    payments: BTreeMap<String, Fields>,
    /// Sorted sets and sets by key: member to score (0 in sets).
    sets: BTreeMap<String, BTreeMap<String, f64>>,
    jobs_stream: BTreeMap<String, String>,
    ready_stream: BTreeMap<String, String>,
    pending: BTreeSet<String>,
}

/// Panics at the first disagreement, naming the job and the index.
pub async fn assert_consistent(world: &World) {
    let lane = read(world).await;
    let mut expected = Expected::default();
    for (id, job) in &lane.jobs {
        check_job(&lane, id, job, &mut expected);
    }
    for (payment, fields) in &lane.payments {
        if fields.contains_key("owed_usdc") {
            expected.member("owed", payment);
            if let Some(referrer) = fields.get("referrer") {
                expected.member(&format!("owing:{referrer}"), payment);
            }
        }
    }
    for (tx, fields) in &lane.txs {
        if fields["state"] != "closed" {
            let (signer, nonce) = tx.split_once(':').unwrap();
            expected.member(&format!("open:{signer}"), nonce);
        }
    }
    assert_eq!(expected.jobs_stream, lane.jobs_stream, "entries of `jobs` against the jobs that name them");
    assert_eq!(
        expected.ready_stream, lane.ready_stream,
        "entries of `ready` against the jobs that name them"
    );
    assert_eq!(expected.pending, lane.pending, "the pending list against the jobs in somebody's hands");
    let found: BTreeMap<_, BTreeSet<_>> =
        lane.sets.iter().map(|(key, members)| (key.clone(), members.keys().cloned().collect())).collect();
    let parking = found.get("parking").cloned().unwrap_or_default();
    for gate in expected.sets.keys().filter_map(|key| key.strip_prefix("parked:")) {
        assert!(parking.contains(gate), "jobs are parked under {gate}, which `parking` does not name");
    }
    for key in expected.sets.keys().chain(found.keys()).filter(|key| *key != "parking") {
        let none = BTreeSet::new();
        let (expected, found) = (expected.sets.get(key).unwrap_or(&none), found.get(key).unwrap_or(&none));
        assert_eq!(expected, found, "members of `{key}`: what the hashes say against what it holds");
    }
}

#[derive(Default)]
struct Expected {
    sets: BTreeMap<String, BTreeSet<String>>,
    jobs_stream: BTreeMap<String, String>,
    ready_stream: BTreeMap<String, String>,
    pending: BTreeSet<String>,
}

impl Expected {
    fn member(&mut self, key: &str, member: &str) {
        self.sets.entry(key.to_owned()).or_default().insert(member.to_owned());
    }
}

fn check_job(lane: &Lane, id: &str, job: &Fields, expected: &mut Expected) {
    let stage = Stage::from_name(&job["stage"]).unwrap_or_else(|| panic!("{id}: {job:?}"));
    assert_eq!(job["state"], stage.state(), "{id}");
    expected.member(&format!("by:{}", stage.state()), id);
    let score = lane.sets[&format!("by:{}", stage.state())].get(id).copied();
    assert_eq!(score, job["updated_at"].parse().ok(), "{id}: its time in by:{}", stage.state());
    let payload: serde_json::Value = serde_json::from_str(&job["payload"]).unwrap();
    let child = payload["child"].as_str().unwrap();
    let only_in = |field: &str, stages: &[Stage]| {
        assert!(
            !job.contains_key(field) || stages.contains(&stage),
            "{id} is {}, with `{field}`",
            stage.name()
        );
    };
    use Stage::*;
    only_in("entry", &[Queued, Retrying, Checking, Ready]);
    only_in("due", &[Delayed, Held]);
    only_in("gate", &[Gated]);
    only_in("worker", &[Checking]);
    only_in("redelivered", &[Checking]);
    only_in("nonce", &[Submitted, Confirming]);
    only_in("signer", &[Submitted, Confirming]);
    match stage {
        Queued | Retrying => drop(expected.jobs_stream.insert(job["entry"].clone(), id.to_owned())),
        Checking => {
            expected.jobs_stream.insert(job["entry"].clone(), id.to_owned());
            expected.pending.insert(job["entry"].clone());
        }
        Ready => drop(expected.ready_stream.insert(job["entry"].clone(), id.to_owned())),
        Delayed | Held => {
            expected.member("delayed", id);
            let due = lane.sets["delayed"].get(id).copied();
            assert_eq!(due, job["due"].parse().ok(), "{id}: when it is due");
        }
        Gated => expected.member(&format!("parked:{}", job["gate"]), id),
        Waiting => expected.member(&format!("waiting:{child}"), id),
        Confirming if !job.contains_key("nonce") => expected.member("settling", id),
        Submitted | Confirming => {
            let tx = &lane.txs[&format!("{}:{}", job["signer"], job["nonce"])];
            assert_ne!(tx["state"], "closed", "{id} is held by a closed nonce");
            let intent: Intent = serde_json::from_str(&tx["intent"]).unwrap();
            let held = intent.jobs.iter().find(|held| held.job.to_string() == id);
            assert_eq!(
                held.map(|held| held.epoch.to_string()).as_ref(),
                job.get("epoch"),
                "{id}: its nonce's list"
            );
        }
        Done | Failed | Cancelled => {}
    }
    let class = job.get("error").map(|error| serde_json::from_str::<serde_json::Value>(error).unwrap());
    let of_registration = class.is_some_and(|error| error["class"] == "registration_failed");
    if stage == Failed && job["kind"] == "payout" && of_registration {
        expected.member(&format!("stranded:{child}"), id);
    }
}

async fn read(world: &World) -> Lane {
    let mut lane = Lane {
        jobs: BTreeMap::new(),
        txs: BTreeMap::new(),
        payments: BTreeMap::new(),
        sets: BTreeMap::new(),
        jobs_stream: entries(world, "jobs").await,
        ready_stream: entries(world, "ready").await,
        pending: BTreeSet::new(),
    };
    let keys: Vec<String> = world.raw(redis::cmd("KEYS").arg(world.key("*"))).await;
    for key in keys.iter().filter_map(|key| key.strip_prefix(&world.key(""))) {
        match key.split(':').next().unwrap() {
            "by" | "delayed" | "parked" | "settling" | "open" | "owed" => {
                let mut command = redis::cmd("ZRANGE");
                command.arg(world.key(key)).arg(0).arg(-1).arg("WITHSCORES");
                let members: Vec<(String, f64)> = world.raw(&mut command).await;
                lane.sets.insert(key.to_owned(), members.into_iter().collect());
            }
            "waiting" | "stranded" | "owing" | "parking" => {
                let members: Vec<String> = world.raw(redis::cmd("SMEMBERS").arg(world.key(key))).await;
                lane.sets.insert(key.to_owned(), members.into_iter().map(|member| (member, 0.0)).collect());
            }
            _ => {}
        }
    }
    lane.jobs = hashes(world, &keys, "job:").await;
    lane.txs = hashes(world, &keys, "tx:").await;
    lane.payments = hashes(world, &keys, "payment:").await;
    let mut command = redis::cmd("XPENDING");
    command.arg(world.key("jobs")).arg("relayers").arg("-").arg("+").arg(1_000_000);
    let pending: StreamPendingCountReply = world.raw(&mut command).await;
    lane.pending = pending.ids.into_iter().map(|entry| entry.id).collect();
    lane
}

/// The hashes below `kind`, by the rest of their key.
async fn hashes(world: &World, keys: &[String], kind: &str) -> BTreeMap<String, Fields> {
    let prefix = world.key("");
    let keys = keys.iter().filter_map(|key| key.strip_prefix(&prefix));
    let keys: Vec<&str> = keys.filter(|key| key.starts_with(kind)).collect();
    let names = keys.iter().map(|key| key[kind.len()..].to_owned());
    names.zip(world.hashes(&keys).await).collect()
}

async fn entries(world: &World, stream: &str) -> BTreeMap<String, String> {
    let mut command = redis::cmd("XRANGE");
    command.arg(world.key(stream)).arg("-").arg("+");
    let range: StreamRangeReply = world.raw(&mut command).await;
    range.ids.iter().map(|entry| (entry.id.clone(), entry.get("job").unwrap())).collect()
}
