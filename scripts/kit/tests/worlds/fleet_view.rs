//! The fleet as `GET /api/fleet` shows it, with two real relayers of which one dies.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kit::world::contracts::RELAYER;
use kit::world::process::until;
use kit::world::{Client, Relayer, Signal};
use serde_json::{Value, json};

use crate::support::{LIMIT, all_paid_once, pay, quick, registered};

async fn fleet(client: &Client) -> Result<Value> {
    Ok(client.get("/api/fleet").await?.expect(&[200])?.body)
}

/// The relayer of this process, as shown.
fn of_pid(fleet: &Value, pid: u32) -> Option<&Value> {
    fleet["relayers"].as_array()?.iter().find(|relayer| relayer["pid"] == pid)
}

fn leaders(fleet: &Value) -> Vec<&Value> {
    fleet["relayers"].as_array().into_iter().flatten().filter(|r| r["role"] == "leader").collect()
}

/// Waits until the view names the process `pid` as the only leader.
async fn led_by(client: &Client, pid: u32) -> Result<Value> {
    until(&format!("the view to show process {pid} as the leader"), LIMIT, || async {
        let fleet = fleet(client).await?;
        let leaders = leaders(&fleet);
        ensure!(leaders.len() == 1 && leaders[0]["pid"] == pid, "{fleet:#}");
        Ok(Some(fleet))
    })
    .await
}

#[tokio::test]
async fn the_view_names_both_relayers_and_follows_the_lease_when_one_dies() -> Result<()> {
    let mut world = quick().relayers(2).start().await?;
    let client = world.client()?;
    let leader = world.leader(LIMIT).await?;
    let pid = |relayer: &mut Relayer| relayer.process().pid().as_raw().cast_unsigned();
    let (dead, heir) = (pid(world.relayer(leader)?), pid(world.relayer(1 - leader)?));

    let fleet = led_by(&client, dead).await?;
    let (first, second) =
        (of_pid(&fleet, dead).context("leader")?, of_pid(&fleet, heir).context("follower")?);
    ensure!(fleet["relayers"].as_array().is_some_and(|all| all.len() == 2), "{fleet:#}");
    ensure!(first["alive"] == true && second["alive"] == true, "{fleet:#}");
    ensure!(second["role"] == "follower" && second.get("term").is_none(), "{fleet:#}");
    let (boot, term) = world.lease().await?.context("the lease")?;
    ensure!(fleet["lease"]["holder"] == boot && fleet["lease"]["relayer"] == first["name"], "{fleet:#}");
    ensure!(fleet["lease"]["term"] == term && first["term"] == term, "{fleet:#}");
    ensure!(first["name"].as_str().is_some_and(|name| name.ends_with(&boot)), "{fleet:#}");
    ensure!(fleet["sync"]["synced"] == true && fleet["sync"].get("replay").is_none(), "{fleet:#}");

    // What it has done is shown within two heartbeats.
    let (child, _) = registered(&client).await?;
    let jobs = pay(&client, &child, 5, "before").await?;
    all_paid_once(&world, &client, &jobs).await?;
    until("the heartbeats to tell what was claimed", LIMIT, || async {
        let fleet = self::fleet(&client).await?;
        let relayers = fleet["relayers"].as_array().context("relayers")?;
        let claimed: u64 = relayers.iter().filter_map(|relayer| relayer["claimed"].as_u64()).sum();
        let idle = relayers.iter().all(|relayer| relayer["claims"] == 0);
        let heads = relayers.iter().all(|relayer| relayer["head"].as_u64() > Some(0));
        ensure!(claimed == 6 && idle && heads, "{fleet:#}");
        Ok(Some(()))
    })
    .await?;

    world.kill_relayer(leader, Signal::SIGKILL).await?;
    let fleet = led_by(&client, heir).await?;
    ensure!(fleet["lease"]["term"].as_u64() > Some(term), "{fleet:#}");
    let fleet = until("the dead relayer to be shown as dead", LIMIT, || async {
        let fleet = self::fleet(&client).await?;
        let gone = of_pid(&fleet, dead).context("it is remembered")?;
        ensure!(gone["alive"] == false, "{fleet:#}");
        Ok(Some(fleet))
    })
    .await?;
    let gone = of_pid(&fleet, dead).context("it is remembered")?;
    ensure!(gone["role"] == "follower" && leaders(&fleet).len() == 1, "{fleet:#}");
    ensure!(of_pid(&fleet, heir).context("heir")?["alive"] == true, "{fleet:#}");
    let jobs = pay(&client, &child, 2, "after").await?;
    all_paid_once(&world, &client, &jobs).await?;

    // One that stops in good order leaves the list, and the lease with it.
    world.kill_relayer(1 - leader, Signal::SIGTERM).await?;
    let fleet = self::fleet(&client).await?;
    ensure!(of_pid(&fleet, heir).is_none() && fleet.get("lease").is_none(), "{fleet:#}");
    Ok(())
}

#[tokio::test]
async fn payments_are_found_by_their_transactions() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let jobs = pay(&client, &child, 3, "seen").await?;
    all_paid_once(&world, &client, &jobs).await?;

    let page = client.get("/api/transactions?limit=100&state=closed").await?.expect(&[200])?.body;
    let transactions = page["transactions"].as_array().context("transactions")?;
    let nonces: Vec<_> = transactions.iter().filter_map(|tx| tx["nonce"].as_u64()).collect();
    ensure!(nonces.len() >= 2 && nonces.is_sorted_by(|a, b| a > b) && page["next"].is_null(), "{page:#}");
    ensure!(transactions.last().context("a first")?["kind"] == "register", "{page:#}");
    for tx in transactions {
        ensure!(tx["signer"] == RELAYER.to_checksum(None) && tx["ended"]["consumed_by"] == "ours", "{tx:#}");
        let held = tx["jobs"].as_array().context("jobs")?;
        for attempt in tx["attempts"].as_array().context("attempts")? {
            let hash = attempt["hash"].as_str().context("hash")?;
            let one = client.get(&format!("/api/transactions/{hash}")).await?.expect(&[200])?.body;
            ensure!(one == *tx, "{one:#}");
            let found = client.jobs(&format!("tx={hash}")).await?.expect(&[200])?.body;
            let found = found["jobs"].as_array().context("jobs")?.iter().map(|job| job["id"].clone());
            ensure!(found.collect::<Vec<_>>() == *held, "{tx:#}");
        }
    }
    let paid: Vec<&Value> = transactions.iter().flat_map(|tx| tx["jobs"].as_array()).flatten().collect();
    ensure!(jobs.iter().all(|job| paid.contains(&&json!(job))), "{page:#}");
    Ok(())
}

#[tokio::test]
async fn a_replay_is_shown_while_it_runs_and_goes_on_where_it_was_cut_short() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    registered(&client).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.redis.restart().await?;
    world.anvil.mine(30).await?;
    let point = "after_replayed_span";
    let failpoints = format!("replay_span=return(10);at_{point}=print(reached {point});{point}=pause");
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), failpoints)]))?;
    world.until_logged(0, &format!("reached {point}"), LIMIT).await?;

    let fleet = self::fleet(&client).await?;
    let (sync, replay) = (&fleet["sync"], &fleet["sync"]["replay"]);
    ensure!(sync["synced"] == false && replay["from"].as_u64() <= replay["to"].as_u64(), "{fleet:#}");
    let (at, to) = (replay["at"].as_u64().context("at")?, replay["to"].as_u64().context("to")?);
    ensure!(at >= 9 && at < to && to >= 30, "{fleet:#}");
    let ready = until("readiness to tell of the replay", LIMIT, || async {
        let ready = client.get("/readyz").await?.body;
        let told = ready["reasons"][0]["detail"].as_str().is_some_and(|text| text.contains("being replayed"));
        ensure!(told, "{ready:#}");
        Ok(Some(ready))
    })
    .await?;
    ensure!(ready["reasons"][0]["code"] == "not_synced", "{ready:#}");

    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), String::new())]))?;
    client.until_ready(LIMIT).await?;
    let fleet = self::fleet(&client).await?;
    ensure!(fleet["sync"]["synced"] == true && fleet["sync"].get("replay").is_none(), "{fleet:#}");
    // What had been replayed was not replayed again.
    let logs = world.logs(0);
    let begins: Vec<u64> = logs
        .lines()
        .filter(|line| line.contains("replaying contract events"))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["from"].as_u64())
        .collect();
    let [first, again] = begins.last_chunk().context("two replays")?;
    ensure!(again > first && (at - 10..=at).contains(again), "{begins:?}, it was at {at}");
    Ok(())
}
