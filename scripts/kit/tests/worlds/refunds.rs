//! A full refund against a payout at each stage: what is not journaled is never paid, what is journaled is recorded as
//! owed, and a redelivery of the payment pays nothing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kit::world::process::until;
use kit::world::{Client, Mining, Signal, World};
use serde_json::Value;

use crate::support::{LIMIT, at_stage, pay, quick, registered, seen_by_leader};

/// The commission of 10 % on a payment of 10.00, in base units.
const COMMISSION: &str = "1000000";

async fn payment(client: &Client, id: &str) -> Result<Value> {
    Ok(client.get(&format!("/api/payments/payments:{id}")).await?.expect(&[200])?.body)
}

/// Refunds the whole payment and gives the outcome.
async fn refund(client: &Client, id: &str, child: &str) -> Result<String> {
    let answer = client.refund(id, child, "10.00").await?.expect(&[202])?;
    Ok(answer.text("outcome").unwrap_or_default().to_owned())
}

/// A redelivery of the refunded payment, and one of another payment after it, which alone is paid. What the relayer
/// had in hand before, it would have paid by then.
async fn only_another_is_paid(world: &World, client: &Client, child: &str, refunded: &str) -> Result<()> {
    client.pay(refunded, child, "10.00").await?.expect(&[200, 202])?;
    let other = pay(client, child, 1, "other").await?.remove(0);
    let done = client.wait_for(&other, &["done"], LIMIT).await?;
    let paid = world.contracts.paid().await?;
    let ids: Vec<String> = paid.iter().map(|event| event.payment_id.to_string()).collect();
    ensure!(ids == [done["payment"]["id"].as_str().unwrap_or_default()], "paid: {paid:?}");
    let owed = &payment(client, refunded).await?["owed"];
    ensure!(owed["usdc"] == "0" && owed["sge"] == "0", "owed for what was never paid: {owed}");
    Ok(())
}

/// Done, paid once, and the commission recorded as owed, also after the payment came again.
async fn paid_and_owed(world: &World, client: &Client, child: &str, id: &str, job: &str) -> Result<()> {
    client.wait_for(job, &["done"], LIMIT).await?;
    client.pay(id, child, "10.00").await?.expect(&[200, 202])?;
    let view = until("the commission to be owed", LIMIT, || async {
        let view = payment(client, id).await?;
        ensure!(view["owed"]["usdc"] == COMMISSION, "owed: {}", view["owed"]);
        Ok(Some(view))
    })
    .await?;
    ensure!(view["refunded"] == "10000000", "{view:#}");
    let other = pay(client, child, 1, "other").await?.remove(0);
    client.wait_for(&other, &["done"], LIMIT).await?;
    let paid = world.contracts.paid().await?;
    let times = paid.iter().filter(|event| event.payment_id.to_string() == view["id"]).count();
    ensure!(times == 1 && paid.len() == 2, "paid {times} times: {paid:?}");
    Ok(())
}

#[tokio::test]
async fn a_refund_of_a_claimed_payout_cancels_it_and_the_worker_that_goes_on_pays_nothing() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    // The worker holds its claim for as long as this takes, then goes on as if nothing had happened.
    let slow = BTreeMap::from([("FAILPOINTS".to_owned(), "after_claim=1*sleep(5000)->off".to_owned())]);
    world.restart_relayer(0, &slow)?;
    world.leader(LIMIT).await?;

    let job = pay(&client, &child, 1, "claimed").await?.remove(0);
    at_stage(&client, &job, "checking").await?;
    assert_eq!(refund(&client, "claimed_0", &child).await?, "cancelled");
    world.until_logged(0, "verdict dropped", LIMIT).await?;
    only_another_is_paid(&world, &client, &child, "claimed_0").await?;
    assert_eq!(client.job(&job).await?["state"], "cancelled");
    Ok(())
}

#[tokio::test]
async fn a_refund_of_a_ready_payout_cancels_it_and_it_is_never_signed() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    client.pause("signing", "hold it at ready").await?.expect(&[200])?;
    let job = pay(&client, &child, 1, "ready").await?.remove(0);
    at_stage(&client, &job, "ready").await?;
    assert_eq!(refund(&client, "ready_0", &child).await?, "cancelled");
    client.resume("signing", "go on").await?.expect(&[200])?;
    only_another_is_paid(&world, &client, &child, "ready_0").await?;
    assert_eq!(client.job(&job).await?["state"], "cancelled");
    Ok(())
}

#[tokio::test]
async fn a_refund_of_a_journaled_payout_is_requested_and_owed_once_it_is_paid() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let job = pay(&client, &child, 1, "journaled").await?.remove(0);
    at_stage(&client, &job, "submitted").await?;
    assert_eq!(refund(&client, "journaled_0", &child).await?, "refund_requested");
    assert_eq!(client.job(&job).await?["refund_requested"], true);
    world.anvil.set_mining(Mining::Every(1)).await?;
    paid_and_owed(&world, &client, &child, "journaled_0", &job).await
}

#[tokio::test]
async fn a_refund_of_a_journaled_payout_cancels_it_when_the_chain_refuses_to_pay() -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, referrer) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let job = pay(&client, &child, 1, "refused").await?.remove(0);
    at_stage(&client, &job, "submitted").await?;
    assert_eq!(refund(&client, "refused_0", &child).await?, "refund_requested");

    // Pays more for its place in the block than the payout does, and so comes first.
    let usdc = world.contracts.usdc();
    let block = usdc.setBlocklisted(referrer.parse()?, true).from(kit::world::contracts::DEPLOYER);
    let dear = block.max_fee_per_gas(900_000_000_000).max_priority_fee_per_gas(90_000_000_000);
    let sent = dear.send().await?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    ensure!(sent.get_receipt().await?.status(), "not blocklisted");
    client.wait_for(&job, &["cancelled"], LIMIT).await?;

    let receipt = world.contracts.as_owner(usdc.setBlocklisted(referrer.parse()?, false)).await?;
    // Payouts are checked on top of the newest block that the relayer has seen.
    let unblocked = receipt.block_number.context("its block")?;
    seen_by_leader(&mut world, unblocked).await?;
    only_another_is_paid(&world, &client, &child, "refused_0").await?;
    assert_eq!(client.job(&job).await?["state"], "cancelled");
    Ok(())
}

#[tokio::test]
async fn a_refund_of_a_mined_payout_is_requested_and_owed_once_it_is_final() -> Result<()> {
    let world = quick().confirmations(4).start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let job = pay(&client, &child, 1, "mined").await?.remove(0);
    at_stage(&client, &job, "submitted").await?;
    until("the transaction in the pool", LIMIT, || async {
        Ok((world.anvil.pool().await?.0 > 0).then_some(()))
    })
    .await?;
    world.anvil.mine(1).await?;
    at_stage(&client, &job, "confirming").await?;
    assert_eq!(refund(&client, "mined_0", &child).await?, "refund_requested");
    world.anvil.set_mining(Mining::Every(1)).await?;
    paid_and_owed(&world, &client, &child, "mined_0", &job).await
}

#[tokio::test]
async fn a_refund_of_a_paid_payout_is_owed() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let job = pay(&client, &child, 1, "done").await?.remove(0);
    client.wait_for(&job, &["done"], LIMIT).await?;
    assert_eq!(refund(&client, "done_0", &child).await?, "owed");
    paid_and_owed(&world, &client, &child, "done_0", &job).await
}
