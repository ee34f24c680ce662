//! Redis loses everything. The chain has not, and is asked before anything is accepted again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kit::world::client::payment;
use kit::world::contracts::DEPLOYER;
use kit::world::process::until;
use kit::world::{Delivery, Mining, Signal};
use serde_json::Value;

use crate::support::{
    LIMIT, at_once, at_stage, children, count_in, quick, registered, settled_once, until_idle, wallet,
};

const PAID: usize = 1_000;
const UNPAID: usize = 200;

fn deliveries(children: &[String], name: &str, count: usize) -> Vec<Delivery> {
    let event =
        |n: usize| payment("succeeded", &format!("{name}_{n}"), &children[n % children.len()], "10.00");
    (0..count).map(|n| Delivery::now(&event(n))).collect()
}

#[tokio::test]
async fn an_emptied_redis_is_synced_from_the_chain_and_nothing_is_paid_twice() -> Result<()> {
    let mut world = quick().relayers(2).start().await?;
    let client = world.client()?;
    let children = children(&client, 50).await?;
    let paid = deliveries(&children, "paid", PAID);
    at_once(paid.iter().map(|delivery| async { client.deliver(delivery).await?.expect(&[202]) })).await?;
    until_idle(&client, Duration::from_secs(60)).await?;
    client.pause("signing", "so that some stay unpaid").await?.expect(&[200])?;
    let unpaid = deliveries(&children, "unpaid", UNPAID);
    at_once(unpaid.iter().map(|delivery| async { client.deliver(delivery).await?.expect(&[202]) })).await?;
    ensure!(world.contracts.paid().await?.len() == PAID, "not what this test begins with");

    // With nobody to sync it, the emptied Redis takes nothing: it must not say "nothing due" to a wallet it forgot.
    for index in 0..2 {
        world.relayer(index)?.signal(Signal::SIGSTOP)?;
    }
    world.redis.cli(&["FLUSHALL"]).await?;
    let emptied = Instant::now();
    let refused = client.deliver(&unpaid[0]).await?;
    ensure!(refused.status == 503 && refused.text("code") == Some("not_synced"), "{refused:?}");
    ensure!(refused.retry_after.is_some(), "{refused:?}");
    let registration = client.register(&children[0], None).await?;
    ensure!(registration.status == 503, "{registration:?}");
    let ready = client.get("/readyz").await?;
    ensure!(ready.status == 503 && ready.body.to_string().contains("not_synced"), "{ready:?}");

    for index in 0..2 {
        world.relayer(index)?.signal(Signal::SIGCONT)?;
    }
    client.until_ready(Duration::from_secs(60)).await?;
    eprintln!("synced {:?} after it was emptied", emptied.elapsed());
    ensure!(emptied.elapsed() <= Duration::from_secs(60), "synced after {:?}", emptied.elapsed());

    let again = at_once(paid.iter().map(|delivery| client.deliver(delivery))).await?;
    for answer in &again {
        ensure!(answer.status == 200 && answer.text("decision") == Some("paid_on_chain"), "{answer:?}");
    }
    let answers = at_once(unpaid.iter().map(|delivery| client.deliver(delivery))).await?;
    let jobs: Vec<String> =
        answers.into_iter().map(|answer| answer.expect(&[202])?.job_id()).collect::<Result<_>>()?;
    until_idle(&client, Duration::from_secs(60)).await?;
    settled_once(&world, &client, &jobs, PAID + UNPAID).await?;
    ensure!(
        count_in(&client, "done").await? == UNPAID as u64,
        "a payment of the first thousand has a job again"
    );
    Ok(())
}

#[tokio::test]
async fn a_payment_that_is_not_deep_yet_when_redis_is_emptied_may_still_be_undone_and_is_then_paid_again()
-> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let shallow = deliveries(&[child], "shallow", 1).remove(0);
    let job = client.deliver(&shallow).await?.expect(&[202])?.job_id()?;
    at_stage(&client, &job, "submitted").await?;
    until("the payment in a block", LIMIT, || async {
        world.anvil.mine(1).await?;
        Ok((world.contracts.paid().await?.len() == 1).then_some(()))
    })
    .await?;

    world.redis.cli(&["FLUSHALL"]).await?;
    client.until_ready(LIMIT).await?;
    let depth = world.anvil.block_number().await? + 1 - world.contracts.paid().await?[0].block;
    world.anvil.reorg(depth).await?;
    ensure!(world.contracts.paid().await?.is_empty(), "still there");
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    world.restart_relayer(0, &std::collections::BTreeMap::new())?;

    let answer = client.deliver(&shallow).await?;
    let job = answer.expect(&[202])?.job_id()?;
    client.wait_for(&job, &["done"], LIMIT).await?;
    settled_once(&world, &client, &[job], 1).await
}

#[tokio::test]
async fn what_only_the_chain_knew_is_brought_about_again_once_a_deep_reorganisation_took_it_back()
-> Result<()> {
    let world = quick().confirmations(2).start().await?;
    let client = world.client()?;
    let before = world.anvil.block_number().await?;
    let (child, referrer) = registered(&client).await?;
    let paid = deliveries(std::slice::from_ref(&child), "forgotten", 3);
    at_once(paid.iter().map(|delivery| async { client.deliver(delivery).await?.expect(&[202]) })).await?;
    until_idle(&client, LIMIT).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    world.redis.cli(&["FLUSHALL"]).await?;
    client.until_ready(LIMIT).await?;
    // Two are delivered again before the chain takes them back, and one after.
    for delivery in &paid[..2] {
        let answer = client.deliver(delivery).await?;
        ensure!(answer.text("decision") == Some("paid_on_chain"), "{answer:?}");
    }
    let final_block = async || world.redis.cli(&["HGET", &world.key("synced"), "final_block"]).await;
    until("a final block", LIMIT, || async { Ok((!final_block().await?.trim().is_empty()).then_some(())) })
        .await?;
    world.anvil.reorg(world.anvil.block_number().await? - before).await?;
    ensure!(world.contracts.paid().await?.is_empty(), "still paid");
    ensure!(world.contracts.referrer_of(child.parse()?).await?.is_zero(), "still registered");
    world.anvil.mine(4).await?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    // First the freeze, then all that was taken back: who resumes in between is told again of the third.
    until("people to be told of the third", LIMIT, || async {
        let stats = client.get("/api/stats").await?.expect(&[200])?.body;
        Ok(stats["closed_gates"].to_string().contains("never got the webhooks (1)").then_some(()))
    })
    .await?;
    client.resume("reconcile", "the fork is understood").await?.expect(&[200])?;
    let last = client.deliver(&paid[2]).await?;
    ensure!([200, 202].contains(&last.status), "{last:?}");
    until("all three to be paid again", LIMIT, || async {
        Ok((world.contracts.paid().await?.len() == 3).then_some(()))
    })
    .await?;
    until_idle(&client, LIMIT).await?;
    ensure!(count_in(&client, "done").await? == 4, "a registration and three payouts");
    let affiliate = client.get(&format!("/api/affiliates/{referrer}")).await?.expect(&[200])?.body;
    ensure!(affiliate["payouts"]["done"] == 3, "{affiliate:#}");
    Ok(())
}

#[tokio::test]
async fn what_other_hands_registered_becomes_known_and_the_checkpoint_follows_the_chain() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, referrer) = (wallet(0xc9, 1), wallet(0xa9, 1));
    let checkpoint = async || -> Result<u64> {
        Ok(world.redis.cli(&["HGET", &world.key("synced"), "block"]).await?.parse()?)
    };
    let before = checkpoint().await?;
    world.contracts.let_register(DEPLOYER).await?;
    let registry = world.contracts.registry();
    world.contracts.as_owner(registry.registerReferral(child.parse()?, referrer.parse()?)).await?;
    let nothing = client.pay("too_soon", &child, "10.00").await?;
    ensure!(nothing.status == 200, "known before anybody could know: {nothing:?}");

    world.anvil.mine(80).await?;
    until("the checkpoint to follow", LIMIT, || async {
        Ok((checkpoint().await? >= before + 64).then_some(()))
    })
    .await?;
    let job = client.pay("known", &child, "10.00").await?.expect(&[202])?.job_id()?;
    client.wait_for(&job, &["done"], LIMIT).await?;
    settled_once(&world, &client, &[job], 1).await
}

#[tokio::test]
async fn a_restarted_redis_is_synced_in_moments_and_the_work_goes_on() -> Result<()> {
    let mut world = quick().relayers(2).start().await?;
    let client = world.client()?;
    let children = children(&client, 5).await?;
    client.pause("signing", "so that some are on their way").await?.expect(&[200])?;
    let before = deliveries(&children, "before", 20);
    let answers = at_once(before.iter().map(|delivery| client.deliver(delivery))).await?;
    let jobs: Vec<String> =
        answers.into_iter().map(|answer| answer.expect(&[202])?.job_id()).collect::<Result<_>>()?;

    world.redis.restart().await?;
    let restarted = Instant::now();
    client.until_ready(LIMIT).await?;
    eprintln!("synced {:?} after the restart", restarted.elapsed());
    client.resume("signing", "go on").await?.expect(&[200])?;
    until_idle(&client, Duration::from_secs(60)).await?;
    settled_once(&world, &client, &jobs, 20).await?;
    let synced = until("the checkpoint", LIMIT, || async {
        Ok(Some(world.redis.cli(&["HGET", &world.key("synced"), "block"]).await?))
    })
    .await?;
    ensure!(synced.parse::<u64>().context("a block")? > 0, "{synced}");
    let gates = client.get("/api/stats").await?.body["closed_gates"].clone();
    ensure!(gates == Value::Array(Vec::new()), "{gates}");
    Ok(())
}
