//! A relayer killed with SIGKILL at each step between two durable effects. After its restart every payment is on-chain
//! exactly once and every job says so truthfully.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kit::world::{Client, Mining, Signal, World};
use serde_json::json;

use crate::support::{LIMIT, all_paid_once, journaled, pay, price_out, quick, registered, wallet};

/// Where the first job that gets that far stands when the relayer stops.
struct Stop {
    point: &'static str,
    stage: &'static str,
    /// How many nonces the journal has given out for these jobs, and how many transactions the nodes have seen.
    journaled: u64,
    broadcast: u64,
}

/// Stops the relayer, which finds a registration, a payout that waits for it and four other payouts, at one point; kills
/// it there, and starts it again.
async fn killed_at(stop: Stop) -> Result<()> {
    let point = stop.point;
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let (signed, sent) = (number(&journaled(&world).await?)?, seen(&world).await?);

    // All jobs are there before the relayer is, so that it meets them together.
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let mut jobs = pay(&client, &child, 4, point).await?;
    let late = wallet(0xc0, 1);
    jobs.push(client.register(&late, Some(&wallet(0xaf, 1))).await?.expect(&[202])?.job_id()?);
    jobs.extend(pay(&client, &late, 1, "waiting").await?);
    if point == "after_check" {
        // Only the worker that checks stops there; the leader beside it would go on.
        client.pause("signing", "to meet them at ready").await?.expect(&[200])?;
    }
    if stop.broadcast > 0 && stop.stage == "submitted" {
        world.anvil.set_mining(Mining::Manual).await?;
    }
    let failpoints = format!("at_{point}=print(reached {point});{point}=pause");
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), failpoints)]))?;
    world.until_logged(0, &format!("reached {point}"), LIMIT).await?;

    let stages = stages(&client, &jobs).await?;
    ensure!(stages.iter().any(|stage| stage == stop.stage), "nobody is {}: {stages:?}", stop.stage);
    ensure!(number(&journaled(&world).await?)? - signed >= stop.journaled, "not journaled");
    if stop.journaled <= 1 {
        ensure!(number(&journaled(&world).await?)? - signed == stop.journaled, "it went on");
        ensure!(seen(&world).await? - sent == stop.broadcast, "not {} broadcast", stop.broadcast);
    }
    world.kill_relayer(0, Signal::SIGKILL).await?;

    world.anvil.set_mining(Mining::Every(1)).await?;
    if point == "after_check" {
        client.resume("signing", "go on").await?.expect(&[200])?;
    }
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), String::new())]))?;
    let verdict = all_paid_once(&world, &client, &jobs).await;
    ensure!(verdict.is_ok(), "{verdict:?}\n{}", world.all_logs(60));
    let paid = world.contracts.paid().await?.len();
    ensure!(paid == 5, "{paid} paid\n{}", world.all_logs(60));
    Ok(())
}

#[tokio::test]
async fn killed_between_the_journal_and_the_broadcast_of_a_bump_it_is_paid_once() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let failpoints = "at_after_journal_attempt=print(reached it);after_journal_attempt=pause";
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), failpoints.to_owned())]))?;
    let job = pay(&client, &child, 1, "bump").await?.remove(0);
    price_out(&world, &client, &job).await?;
    world.until_logged(0, "reached it", LIMIT).await?;

    let record = client.job(&job).await?;
    let attempts = record["tx"]["attempts"].as_array().cloned().unwrap_or_default();
    ensure!(attempts.len() == 2, "not bumped: {record:#}");
    let second = world.anvil.rpc("eth_getTransactionByHash", json!([attempts[1]["hash"]])).await?;
    ensure!(second.is_null(), "it was broadcast already: {second}");
    world.kill_relayer(0, Signal::SIGKILL).await?;

    world.anvil.set_mining(Mining::Every(1)).await?;
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), String::new())]))?;
    all_paid_once(&world, &client, std::slice::from_ref(&job)).await.with_context(|| world.all_logs(60))?;
    let paid = world.contracts.paid().await?;
    ensure!(paid.len() == 1, "paid more than once: {paid:?}");
    ensure!(attempts[0]["hash"] != json!(paid[0].tx), "the first attempt was too cheap");
    Ok(())
}

fn number(text: &str) -> Result<u64> {
    Ok(text.parse()?)
}

/// How many transactions of the relayer the node has, mined or not.
async fn seen(world: &World) -> Result<u64> {
    let (pending, queued) = world.anvil.pool().await?;
    Ok(world.contracts.relayer_nonce().await? + pending + queued)
}

async fn stages(client: &Client, jobs: &[String]) -> Result<Vec<String>> {
    let mut stages = Vec::new();
    for job in jobs {
        stages.push(client.job(job).await?["stage"].as_str().unwrap_or_default().to_owned());
    }
    Ok(stages)
}

#[tokio::test]
async fn killed_after_claim_every_job_is_paid_once() -> Result<()> {
    killed_at(Stop { point: "after_claim", stage: "checking", journaled: 0, broadcast: 0 }).await
}

#[tokio::test]
async fn killed_after_check_every_job_is_paid_once() -> Result<()> {
    killed_at(Stop { point: "after_check", stage: "ready", journaled: 0, broadcast: 0 }).await
}

#[tokio::test]
async fn killed_after_sign_every_job_is_paid_once() -> Result<()> {
    killed_at(Stop { point: "after_sign", stage: "ready", journaled: 0, broadcast: 0 }).await
}

#[tokio::test]
async fn killed_after_journal_every_job_is_paid_once() -> Result<()> {
    killed_at(Stop { point: "after_journal", stage: "submitted", journaled: 1, broadcast: 0 }).await
}

#[tokio::test]
async fn killed_after_broadcast_every_job_is_paid_once() -> Result<()> {
    killed_at(Stop { point: "after_broadcast", stage: "submitted", journaled: 1, broadcast: 1 }).await
}

#[tokio::test]
async fn killed_after_inclusion_every_job_is_paid_once() -> Result<()> {
    killed_at(Stop { point: "after_inclusion", stage: "confirming", journaled: 2, broadcast: 2 }).await
}

#[tokio::test]
async fn killed_after_finish_every_job_is_paid_once() -> Result<()> {
    killed_at(Stop { point: "after_finish", stage: "done", journaled: 2, broadcast: 2 }).await
}
