//! Workers die with jobs in their hands; nobody else pays for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kit::world::contracts::RELAYER;
use kit::world::process::until;
use kit::world::{Client, Env, Mining, Signal, World, metric};

use crate::support::{LIMIT, at_stage, children, flood, pay, quick, registered, settled_once, until_idle};

/// As `quick` has it.
const MIN_IDLE: Duration = Duration::from_millis(2_500);

fn failpoints(text: &str) -> Env {
    BTreeMap::from([("FAILPOINTS".to_owned(), text.to_owned())])
}

/// How many entries are pending for somebody.
async fn pending(world: &World) -> Result<u64> {
    let summary = world.redis.cli(&["XPENDING", &world.key("jobs"), "relayers"]).await?;
    summary.lines().next().context("XPENDING")?.trim().parse().context("XPENDING")
}

#[tokio::test]
async fn a_hundred_jobs_of_a_killed_follower_are_recovered_within_min_idle_and_two_seconds() -> Result<()> {
    let mut world = quick().relayers(2).start().await?;
    let client = world.client()?;
    let children = children(&client, 10).await?;
    // One that stops with everything it claims, and one that is not there while it claims.
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.relayer(1)?.signal(Signal::SIGSTOP)?;
    let jobs = flood(&client, &children, 100, "held").await?;
    world.restart_relayer(0, &failpoints("at_after_claim=print(holding them);after_claim=pause"))?;
    world.until_logged(0, "holding them", LIMIT).await?;
    until("all to be claimed", LIMIT, || async { Ok((pending(&world).await? == 100).then_some(())) }).await?;

    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.relayer(1)?.signal(Signal::SIGCONT)?;
    let killed = Instant::now();
    until("all to be recovered", LIMIT, || async { Ok((pending(&world).await? == 0).then_some(())) }).await?;
    let took = killed.elapsed();
    eprintln!("recovered after {took:?}");
    until_idle(&client, LIMIT).await?;
    settled_once(&world, &client, &jobs, 100).await?;
    ensure!(took <= MIN_IDLE + Duration::from_secs(2), "recovered after {took:?}");
    Ok(())
}

#[tokio::test]
async fn one_poisonous_job_among_a_thousand_is_dead_lettered_alone() -> Result<()> {
    let mut world = quick().relayers(3).start().await?;
    let client = world.client()?;
    let children = children(&client, 20).await?;
    for index in 0..3 {
        world.kill_relayer(index, Signal::SIGKILL).await?;
    }
    let mut jobs = flood(&client, &children, 1_000, "job").await?;
    let poison = jobs.remove(500);
    for index in 0..3 {
        world.restart_relayer(index, &failpoints("poison=return(job_500)"))?;
    }
    // Whoever dies of it is started again, as any supervisor would.
    let (mut deaths, deadline) = (0, Instant::now() + Duration::from_secs(120));
    while client.job(&poison).await?["state"] != "failed" {
        for index in 0..3 {
            if !world.relayer(index)?.is_running() {
                deaths += 1;
                world.restart_relayer(index, &BTreeMap::new())?;
            }
        }
        ensure!(Instant::now() < deadline, "not dead-lettered after {deaths} deaths");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let record = client.job(&poison).await?;
    ensure!(record["error"]["class"] == "poison" && record["attempts"] == 0, "{record:#}");
    // The first death is in a batch; three more, alone, prove that it was this job. The next delivery is not run any more.
    ensure!(deaths == 4, "{deaths} deaths");
    until_idle(&client, LIMIT).await?;
    settled_once(&world, &client, &jobs, 999).await
}

#[tokio::test]
async fn a_job_whose_entry_vanished_is_swept_up_and_paid() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let children = children(&client, 1).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let jobs = flood(&client, &children, 3, "lost").await?;
    for job in &jobs[..2] {
        let entry = world.redis.cli(&["HGET", &world.key(&format!("job:{job}")), "entry"]).await?;
        world.redis.cli(&["XDEL", &world.key("jobs"), &entry]).await?;
    }
    world.restart_relayer(0, &BTreeMap::new())?;
    client.wait_for(&jobs[2], &["done"], LIMIT).await?;
    for job in &jobs {
        client.wait_for(job, &["done"], Duration::from_secs(60)).await?;
    }
    let record = client.job(&jobs[0]).await?;
    let timeline = record["timeline"].as_array().context("a timeline")?;
    ensure!(timeline.iter().any(|line| line["event"] == "rebuild"), "{record:#}");
    settled_once(&world, &client, &jobs, 3).await
}

#[tokio::test]
async fn a_stopped_worker_hands_back_what_it_holds_and_charges_nobody() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let children = children(&client, 1).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let jobs = flood(&client, &children, 20, "back").await?;
    world.restart_relayer(0, &failpoints("at_after_claim=print(holding them);after_claim=1*sleep(1500)"))?;
    world.until_logged(0, "holding them", LIMIT).await?;
    at_stage(&client, &jobs[0], "checking").await?;
    world.kill_relayer(0, Signal::SIGTERM).await?;
    world.restart_relayer(0, &failpoints(""))?;
    until_idle(&client, LIMIT).await?;
    settled_once(&world, &client, &jobs, 20).await
}

/// How often jobs moved by this event.
async fn moved_by(world: &World, event: &str) -> Result<u64> {
    let count = world.redis.cli(&["HGET", &world.key("stats"), &format!("event:{event}")]).await?;
    Ok(count.trim().parse().unwrap_or(0))
}

#[tokio::test]
async fn a_worker_that_is_stopped_while_it_checks_claims_no_more() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let children = children(&client, 1).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let before = moved_by(&world, "claim").await?;
    let jobs = flood(&client, &children, 20, "stop").await?;
    // For less than a check may take.
    let mut env = failpoints("at_after_claim=print(holding them);after_claim=1*sleep(500)");
    env.insert("CLAIM_COUNT".into(), "5".into());
    world.restart_relayer(0, &env)?;
    world.until_logged(0, "holding them", LIMIT).await?;
    world.kill_relayer(0, Signal::SIGTERM).await?;
    let claims = moved_by(&world, "claim").await? - before;
    ensure!(claims == 5, "{claims} claims");
    world.restart_relayer(0, &failpoints(""))?;
    until_idle(&client, LIMIT).await?;
    settled_once(&world, &client, &jobs, 20).await
}

#[tokio::test]
async fn what_was_claimed_while_verdicts_failed_to_be_stored_is_handed_back() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let children = children(&client, 1).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let jobs = flood(&client, &children, 10, "lost").await?;
    let mut env = failpoints("after_ready=1*return");
    env.insert("CLAIM_COUNT".into(), "5".into());
    world.restart_relayer(0, &env)?;
    until_idle(&client, LIMIT).await?;
    let handed_back = moved_by(&world, "hand_back").await?;
    ensure!(handed_back == 5, "{handed_back} handed back");
    settled_once(&world, &client, &jobs, 10).await
}

#[tokio::test]
async fn an_open_nonce_that_cannot_be_read_holds_up_no_other_and_ends_once_it_can() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let broken = pay(&client, &child, 1, "broken").await?.remove(0);
    at_stage(&client, &broken, "submitted").await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let nonce = world.contracts.relayer_nonce().await?;
    let record = world.key(&format!("tx:{RELAYER:#x}:{nonce}"));
    let intent = world.redis.cli(&["HGET", &record, "intent"]).await?;
    world.redis.cli(&["HSET", &record, "intent", "{"]).await?;

    world.restart_relayer(0, &BTreeMap::new())?;
    let unreadable = async |world: &World| -> Result<Option<f64>> {
        Ok(metric(&world.relayers[0].metrics().await?, "ail_unreadable_nonces"))
    };
    until("the takeover", LIMIT, || async { Ok((unreadable(&world).await? == Some(1.0)).then_some(())) })
        .await?;
    let jobs = pay(&client, &child, 3, "others").await?;
    at_stage(&client, &jobs[0], "submitted").await?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    for job in &jobs {
        client.wait_for(job, &["done"], LIMIT).await?;
    }
    let stage = world.redis.cli(&["HGET", &world.key(&format!("job:{broken}")), "stage"]).await?;
    ensure!(stage == "submitted", "nobody was to look after it: {stage}");

    world.redis.cli(&["HSET", &record, "intent", &intent]).await?;
    let all: Vec<String> = jobs.into_iter().chain([broken]).collect();
    for job in &all {
        client.wait_for(job, &["done"], LIMIT).await?;
    }
    settled_once(&world, &client, &all, 4).await?;
    ensure!(unreadable(&world).await? == Some(0.0), "still unreadable");
    // Nor is anything held up by what stands among the open nonces and is none, or is closed.
    let open = world.key(&format!("open:{RELAYER:#x}"));
    world.redis.cli(&["ZADD", &open, "0", "no nonce", &nonce.to_string(), &nonce.to_string()]).await?;
    world.kill_relayer(0, Signal::SIGTERM).await?;
    world.restart_relayer(0, &BTreeMap::new())?;
    let after = pay(&client, &child, 1, "after").await?;
    client.wait_for(&after[0], &["done"], LIMIT).await?;
    until("nothing to be open", LIMIT, || async {
        Ok((world.redis.cli(&["ZCARD", &open]).await? == "0").then_some(()))
    })
    .await
}

/// A relayer that is dead, and whose only open nonce is missing from the index. Returns the job that it carries, in a block
/// (`confirming`) or not (`submitted`), and the index.
async fn lost_from_the_index(stage: &str) -> Result<(World, Client, String, String)> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let lost = pay(&client, &child, 1, "lost").await?.remove(0);
    at_stage(&client, &lost, "submitted").await?;
    if stage == "confirming" {
        world.anvil.mine(1).await?;
        at_stage(&client, &lost, stage).await?;
    }
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let open = world.key(&format!("open:{RELAYER:#x}"));
    world.redis.cli(&["DEL", &open]).await?;
    Ok((world, client, lost, open))
}

/// The leader in office took over while the nonce was not among the open ones; the sweep puts it back behind its back.
#[tokio::test]
async fn an_open_nonce_that_was_lost_from_the_index_is_put_back_and_confirmed_by_the_leader_in_office()
-> Result<()> {
    let (mut world, client, lost, open) = lost_from_the_index("confirming").await?;
    world.restart_relayer(0, &BTreeMap::new())?;
    until("the sweep", Duration::from_secs(60), || async {
        Ok((world.redis.cli(&["ZCARD", &open]).await? == "1").then_some(()))
    })
    .await?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    world.until_logged(0, "is open in the journal again", LIMIT).await?;
    client.wait_for(&lost, &["done"], LIMIT).await?;
    settled_once(&world, &client, &[lost], 1).await
}

#[tokio::test]
async fn an_open_nonce_that_is_lost_from_the_index_and_from_the_nodes_is_sent_again_by_the_next_leader()
-> Result<()> {
    let (mut world, client, lost, _) = lost_from_the_index("submitted").await?;
    world.anvil.drop_all_transactions().await?;
    world.restart_relayer(0, &BTreeMap::new())?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    // Before the first sweep, half a minute after the start.
    client.wait_for(&lost, &["done"], Duration::from_secs(20)).await?;
    settled_once(&world, &client, &[lost], 1).await
}

#[tokio::test]
async fn a_job_that_cannot_be_read_holds_up_its_own_nonce_and_no_other() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let broken = pay(&client, &child, 1, "broken").await?.remove(0);
    at_stage(&client, &broken, "submitted").await?;
    let other = pay(&client, &child, 1, "other").await?.remove(0);
    at_stage(&client, &other, "submitted").await?;
    let record = world.key(&format!("job:{broken}"));
    let aside = world.key("aside");
    world.redis.cli(&["RENAME", &record, &aside]).await?;
    world.redis.cli(&["SET", &record, "no hash"]).await?;

    // Both are in one block: what closes them together fails.
    world.anvil.set_mining(Mining::Every(1)).await?;
    client.wait_for(&other, &["done"], LIMIT).await?;
    ensure!(world.redis.cli(&["GET", &record]).await? == "no hash", "the broken record was written to");

    world.redis.cli(&["RENAME", &aside, &record]).await?;
    client.wait_for(&broken, &["done"], LIMIT).await?;
    settled_once(&world, &client, &[broken, other], 2).await
}
