//! How signed transactions get to the nodes: full batches side by side, one with room left after those under way, and what
//! a node forgets again at the next block.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use anyhow::{Context as _, Result, ensure};
use kit::world::process::until;
use kit::world::{Builder, Client, Fault, Mining, Node, World};

use crate::support::{LIMIT, all_paid_once, at_stage, flood, pay, quick, registered, wallet};

/// Registration needs blocks; from then on none is made.
async fn without_blocks(builder: Builder) -> Result<(World, Client, String)> {
    let world = builder.start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    Ok((world, client, child))
}

/// Waits until the node's pool has so many transactions, and no more.
async fn in_the_pool(world: &World, expected: u64) -> Result<()> {
    until("transactions in the pool", LIMIT, || async {
        let (pending, queued) = world.anvil.pool().await?;
        ensure!(pending + queued == expected, "{pending} pending, {queued} queued");
        Ok(Some(()))
    })
    .await
}

/// How many of these jobs each of their transactions carries, in order of the nonces.
async fn sizes(client: &Client, jobs: &[String]) -> Result<Vec<usize>> {
    let mut sizes = BTreeMap::<u64, usize>::new();
    for job in jobs {
        let record = at_stage(client, job, "submitted").await?;
        let nonce = record["tx"]["nonce"].as_u64().with_context(|| format!("no nonce: {record:#}"))?;
        *sizes.entry(nonce).or_default() += 1;
    }
    Ok(sizes.into_values().collect())
}

/// A world whose node has `fault`, with `count` jobs checked that may be signed from now on, eight to a transaction; and their
/// child.
async fn ready(fault: Fault, count: usize) -> Result<(World, Client, String, Vec<String>)> {
    let builder = quick()
        .relayer_env("RPC_TIMEOUT_MS", 10_000)
        .relayer_env("CLAIM_MIN_IDLE_MS", 60_000)
        .relayer_env("BATCH_GAS", 1_000_000)
        .endpoints(&[Node::Proxy(fault)]);
    let (world, client, child) = without_blocks(builder).await?;
    client.pause("signing", "until all are checked").await?.expect(&[200])?;
    let jobs = flood(&client, std::slice::from_ref(&child), count, "first").await?;
    for job in &jobs {
        at_stage(&client, job, "ready").await?;
    }
    client.resume("signing", "all are checked").await?.expect(&[200])?;
    Ok((world, client, child, jobs))
}

#[tokio::test]
async fn full_batches_are_handed_to_a_slow_node_side_by_side() -> Result<()> {
    let late = Duration::from_secs(1);
    let (world, client, _, jobs) = ready(Fault::SlowSend(1_000), 56).await?;
    let began = Instant::now();
    assert_eq!(sizes(&client, &jobs).await?, [8; 7]);
    in_the_pool(&world, 7).await?;
    let took = began.elapsed();
    // The last has room left, and waits for the others; one after the other they take seven.
    assert!(took < late * 5, "seven batches took {took:?}, each answer {late:?}");

    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &jobs).await
}

#[tokio::test]
async fn a_batch_with_room_left_waits_for_those_under_way_and_takes_what_comes_meanwhile() -> Result<()> {
    let (world, client, child, mut jobs) = ready(Fault::SlowSend(5_000), 20).await?;
    in_the_pool(&world, 2).await?;
    jobs.extend(flood(&client, &[child], 3, "next").await?);
    assert_eq!(sizes(&client, &jobs).await?, [8, 8, 7]);

    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &jobs).await
}

#[tokio::test]
async fn a_node_that_takes_no_nonce_above_the_next_has_all_without_another_block() -> Result<()> {
    let (world, client, _, jobs) = ready(Fault::NoGaps, 56).await?;
    assert_eq!(sizes(&client, &jobs).await?, [8; 7]);
    in_the_pool(&world, 7).await?;

    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &jobs).await
}

#[tokio::test]
async fn a_payout_has_its_turn_while_registrations_keep_coming() -> Result<()> {
    let builder = quick()
        .relayer_env("RPC_TIMEOUT_MS", 5_000)
        .relayer_env("CLAIM_MIN_IDLE_MS", 30_000)
        .endpoints(&[Node::Proxy(Fault::SlowSend(1_000))]);
    let (world, client, child) = without_blocks(builder).await?;
    let registering = async {
        for n in 0..40 {
            client.register(&wallet(0xc2, n), Some(&wallet(0xb2, n))).await?.expect(&[202])?;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        anyhow::bail!("all registrations came before the payout was signed")
    };
    let paying = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let jobs = pay(&client, &child, 1, "beside").await?;
        at_stage(&client, &jobs[0], "submitted").await?;
        anyhow::Ok(jobs)
    };
    let jobs = tokio::select! {
        paid = paying => paid?,
        ended = registering => ended?,
    };

    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &jobs).await
}

/// Payouts that are each in a transaction of its own, submitted.
async fn one_by_one(client: &Client, child: &str, count: usize) -> Result<Vec<String>> {
    let mut jobs = Vec::new();
    for n in 0..count {
        let job = pay(client, child, 1, &format!("forgotten_{n}")).await?.remove(0);
        at_stage(client, &job, "submitted").await?;
        jobs.push(job);
    }
    Ok(jobs)
}

/// The only attempt of each of these jobs' transactions.
async fn only_attempts(client: &Client, jobs: &[String]) -> Result<Vec<B256>> {
    let mut hashes = Vec::new();
    for job in jobs {
        let record = client.job(job).await?;
        match record["tx"]["attempts"].as_array().map(Vec::as_slice) {
            Some([attempt]) => hashes.push(serde_json::from_value(attempt["hash"].clone())?),
            _ => anyhow::bail!("not one attempt: {record:#}"),
        }
    }
    Ok(hashes)
}

#[tokio::test]
async fn what_a_node_forgot_is_sent_again_at_the_next_block() -> Result<()> {
    let (world, client, child) = without_blocks(quick()).await?;
    let jobs = one_by_one(&client, &child, 4).await?;
    in_the_pool(&world, 4).await?;
    world.anvil.drop_all_transactions().await?;
    in_the_pool(&world, 0).await?;

    world.anvil.mine(1).await?;
    in_the_pool(&world, 4).await?;
    only_attempts(&client, &jobs).await?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &jobs).await
}

#[tokio::test]
async fn a_node_that_forgot_only_the_last_or_only_the_first_has_it_again_at_the_next_block() -> Result<()> {
    let (world, client, child) = without_blocks(quick().endpoints(&[Node::Proxy(Fault::Pass)])).await?;
    let node = &world.proxies[0];
    node.set(Fault::Holds);
    let jobs = one_by_one(&client, &child, 3).await?;
    let all = only_attempts(&client, &jobs).await?;
    let expected: HashSet<B256> = all.iter().copied().collect();
    let has_all = async || {
        until("all at the node", LIMIT, || async { Ok((node.held() == expected).then_some(())) }).await
    };
    has_all().await?;
    for end in [all[2], all[0]] {
        node.forget(end);
        world.anvil.mine(1).await?;
        has_all().await?;
    }
    assert_eq!(only_attempts(&client, &jobs).await?, all);

    node.set(Fault::Pass);
    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &jobs).await
}
