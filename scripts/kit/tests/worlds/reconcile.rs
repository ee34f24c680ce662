//! Chain and Redis against each other: what differs is found, settled where the chain alone decides, and stops signing where
//! only people can.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use kit::world::contracts::RELAYER_KEY;
use kit::world::process::until;
use kit::world::{Client, Fault, Mining, Node, World, metric, paths};
use serde_json::Value;

use crate::support::{LIMIT, all_paid_once, at_stage, pay, quick, registered, settled_once};

/// Runs `affiliate-relayer reconcile --json` as an operator would, with the settings of the first relayer.
fn reconcile(world: &World) -> Result<(Output, Value)> {
    let mut command = Command::new(paths::binary("affiliate-relayer")?);
    command
        .env_clear()
        .envs(world.common_env())
        .env("RELAYER_PRIVATE_KEY", RELAYER_KEY)
        .args(["reconcile", "--json"]);
    let output = command.output().context("run reconcile")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text)
        .with_context(|| format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output, report))
}

async fn closed(client: &Client, gate: &str) -> Result<Option<Value>> {
    let stats = client.get("/api/stats").await?.expect(&[200])?.body;
    let gates = stats["closed_gates"].as_array().context("gates")?.clone();
    Ok(gates.into_iter().find(|closed| closed["gate"] == gate))
}

/// Also where the only endpoint serves no ranges of events from then on.
#[tokio::test]
async fn a_reorganisation_deeper_than_the_confirmations_freezes_signing_and_what_it_undid_is_paid_once_again()
-> Result<()> {
    let world = quick().confirmations(2).endpoints(&[Node::Proxy(Fault::Pass)]).start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let jobs = pay(&client, &child, 3, "undone").await?;
    all_paid_once(&world, &client, &jobs).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let first = world.contracts.paid().await?.iter().map(|paid| paid.block).min().context("paid")?;
    let depth = world.anvil.block_number().await? + 1 - first;
    ensure!(depth > 2, "not deep enough to be final: {depth}");
    // The leader has to have seen the last final block before it is taken back.
    world.proxies[0].set(Fault::NarrowLogs(0));
    world.anvil.reorg(depth).await?;
    ensure!(world.contracts.paid().await?.is_empty(), "still paid");
    world.anvil.mine(4).await?;

    let gate =
        until("signing to be frozen", LIMIT, || async { closed(&client, "lane:reconcile").await }).await?;
    ensure!(gate["reason"].as_str().is_some_and(|text| text.contains("deeper than")), "{gate}");
    until("three jobs to be taken back", LIMIT, || async {
        let undone = metric(&world.relayers[0].metrics().await?, "ail_jobs_undone_total");
        ensure!(undone == Some(3.0), "{undone:?} undone");
        Ok(Some(()))
    })
    .await?;
    for job in &jobs {
        let record = client.job(job).await?;
        ensure!(record["state"] != "done", "it says that it is done: {record:#}");
    }
    world.anvil.set_mining(Mining::Every(1)).await?;
    client.resume("reconcile", "the fork is understood").await?.expect(&[200])?;
    for job in &jobs {
        client.wait_for(job, &["done"], LIMIT).await?;
    }
    settled_once(&world, &client, &jobs, 3).await?;
    let (output, report) = reconcile(&world)?;
    ensure!(output.status.code() == Some(0), "{report:#}");
    Ok(())
}

#[tokio::test]
async fn what_chain_and_redis_differ_in_is_named_and_what_the_chain_decides_is_settled() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let jobs = pay(&client, &child, 4, "compared").await?;
    all_paid_once(&world, &client, &jobs).await?;
    let (output, report) = reconcile(&world)?;
    ensure!(output.status.code() == Some(0), "{report:#}");
    ensure!(report["findings"] == Value::Array(Vec::new()), "{report:#}");
    let sums = (&report["chain"], &report["redis"]);
    ensure!(sums.0["payouts"] == 4 && sums.0 == sums.1, "{report:#}");

    // A hand in Redis: one paid less, one failed. The leader looks within 64 blocks: what the chain decides it settles, and
    // what only people can explain stops signing.
    let payment = |record: &Value| record["payment"]["id"].as_str().unwrap_or_default().to_owned();
    let (less, lost) = (payment(&client.job(&jobs[0]).await?), payment(&client.job(&jobs[1]).await?));
    ensure!(lost.starts_with("0x"), "{lost}");
    set(&world, &format!("payment:{less}"), &[("usdc", "1")]).await?;
    let failed = &jobs[2];
    set(&world, &format!("job:{failed}"), &[("stage", "failed"), ("state", "failed")]).await?;
    world.anvil.mine(70).await?;
    at_stage(&client, failed, "done").await?;
    let gate =
        until("signing to be frozen", LIMIT, || async { closed(&client, "lane:reconcile").await }).await?;
    ensure!(gate["reason"].to_string().contains("usdc is"), "{gate}");

    // Another one: a payment never happened, and a job is done that nobody ever paid.
    world.redis.cli(&["DEL", &world.key(&format!("payment:{lost}"))]).await?;
    let unpaid = pay(&client, &child, 1, "never").await?.remove(0);
    at_stage(&client, &unpaid, "ready").await?;
    set(&world, &format!("job:{unpaid}"), &[("stage", "done"), ("state", "done")]).await?;
    world.redis.cli(&["ZADD", &world.key("by:done"), "9999999999999", &unpaid]).await?;
    let (output, report) = reconcile(&world)?;
    ensure!(output.status.code() == Some(1), "{report:#}");
    let findings = report["findings"].as_array().context("findings")?;
    for (code, about) in [("unknown_payment", &lost), ("other_amounts", &less), ("done_but_unpaid", &unpaid)]
    {
        let named =
            |finding: &&Value| finding["code"] == code && finding.to_string().contains(about.as_str());
        ensure!(findings.iter().find(named).is_some(), "no {code} about {about}: {report:#}");
    }
    ensure!(findings.len() == 3, "{report:#}");
    Ok(())
}

/// Writes into a hash behind everybody's back.
async fn set(world: &World, key: &str, fields: &[(&str, &str)]) -> Result<()> {
    let key = world.key(key);
    let fields = fields.iter().flat_map(|(field, value)| [*field, *value]);
    let command: Vec<&str> = ["HSET", &key].into_iter().chain(fields).collect();
    world.redis.cli(&command).await.map(drop)
}
