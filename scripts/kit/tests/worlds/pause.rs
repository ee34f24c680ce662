//! Pauses, by the operator and by the contract: nothing is signed, nobody is charged, and all goes on afterwards.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kit::world::contracts::RELAYER;
use kit::world::process::until;
use kit::world::{Client, Signal, World};

use crate::support::{LIMIT, all_paid_once, at_stage, pay, quick, registered};

/// The next nonce of the journal.
async fn next_nonce(world: &World) -> Result<u64> {
    let signer = world.key(&format!("signer:{RELAYER:#x}"));
    world.redis.cli(&["HGET", &signer, "next"]).await?.parse().context("the next nonce")
}

/// All jobs wait at `ready`, and no nonce is given out for three blocks.
async fn nothing_is_signed(world: &World, client: &Client, jobs: &[String], nonce: u64) -> Result<()> {
    for job in jobs {
        at_stage(client, job, "ready").await?;
    }
    let head = world.anvil.block_number().await?;
    world.anvil.until_block(head + 3, LIMIT).await?;
    ensure!(next_nonce(world).await? == nonce, "a nonce was given out while signing is paused");
    ensure!(world.contracts.relayer_nonce().await? == nonce, "a transaction was sent");
    for job in jobs {
        let record = client.job(job).await?;
        ensure!(record["stage"] == "ready" && record["attempts"] == 0, "{record:#}");
    }
    Ok(())
}

#[tokio::test]
async fn while_signing_is_paused_no_nonce_is_given_out_and_resuming_pays_all() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    client.pause("signing", "test").await?.expect(&[200])?;
    let nonce = next_nonce(&world).await?;
    let jobs = pay(&client, &child, 3, "paused").await?;
    nothing_is_signed(&world, &client, &jobs, nonce).await?;
    client.resume("signing", "test").await?.expect(&[200])?;
    all_paid_once(&world, &client, &jobs).await
}

#[tokio::test]
async fn a_pause_of_signing_survives_a_restart_of_the_relayer() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    client.pause("signing", "test").await?.expect(&[200])?;
    let nonce = next_nonce(&world).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    let jobs = pay(&client, &child, 2, "restart").await?;
    world.restart_relayer(0, &BTreeMap::new())?;
    world.leader(LIMIT).await?;
    nothing_is_signed(&world, &client, &jobs, nonce).await?;
    client.resume("signing", "test").await?.expect(&[200])?;
    all_paid_once(&world, &client, &jobs).await
}

#[tokio::test]
async fn a_paused_contract_closes_a_gate_charges_nobody_and_unpausing_pays_all() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let payout = world.contracts.payout();
    world.contracts.as_owner(payout.pause()).await?;
    let jobs = pay(&client, &child, 3, "gated").await?;
    for job in &jobs {
        let record = at_stage(&client, job, "gated").await?;
        ensure!(record["attempts"] == 0 && record["gate"] == "lane:payout_paused", "{record:#}");
    }
    until("the gate to be listed with three parked jobs", LIMIT, || async {
        let stats = client.get("/api/stats").await?.expect(&[200])?.body;
        let gates = stats["closed_gates"].as_array().cloned().unwrap_or_default();
        let gate = gates.iter().find(|gate| gate["gate"] == "lane:payout_paused");
        Ok(gate.filter(|gate| gate["parked"] == 3).map(drop))
    })
    .await?;

    // Also for a relayer that was not there when the gate closed.
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.restart_relayer(0, &BTreeMap::new())?;
    world.leader(LIMIT).await?;
    let head = world.anvil.block_number().await?;
    world.anvil.until_block(head + 2, LIMIT).await?;
    for job in &jobs {
        let record = at_stage(&client, job, "gated").await?;
        ensure!(record["attempts"] == 0, "{record:#}");
    }
    world.contracts.as_owner(payout.unpause()).await?;
    all_paid_once(&world, &client, &jobs).await
}
