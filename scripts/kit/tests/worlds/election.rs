//! One leader at a time, and the next one soon: leaders are killed, stopped and frozen while payments flow.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kit::world::contracts::RELAYER;
use kit::world::process::until;
use kit::world::rpc_proxy::{Fault, RpcProxy};
use kit::world::{Client, Mining, Signal, World};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{
    LIMIT, all_paid_once, children, count_in, flood, journaled, lease_changes, pay, price_out, quick,
    redis_now, registered, settled_once, until_idle,
};

const LEASE: Duration = Duration::from_secs(1);
const TIMES: usize = 20;
/// Payouts that flow while leaders come and go.
const PAYOUTS: usize = 2_000;

/// Terms strictly rise, each is one boot's, and nothing is acquired before the last holder is gone.
async fn elections_are_in_order(world: &World) -> Result<()> {
    let mut last = 0;
    let mut holder: Option<String> = None;
    for (_, event, value) in lease_changes(world).await? {
        if event == "released" {
            ensure!(holder.take().as_ref() == Some(&value), "{value} released what it did not hold");
            continue;
        }
        let term: u64 = value.rsplit_once(':').context("a term")?.1.parse()?;
        ensure!(term > last, "term {term} after {last}");
        (last, holder) = (term, Some(value));
    }
    Ok(())
}

/// Each nonce was journaled under a term that is not below that of the nonce before.
async fn nonces_follow_terms(world: &World) -> Result<()> {
    let mut last = 0;
    for nonce in 0..world.contracts.relayer_nonce().await? {
        let key = world.key(&format!("tx:{RELAYER:#x}:{nonce}"));
        let fence = world.redis.cli(&["HGET", &key, "fence"]).await?;
        let term: u64 = fence.rsplit_once(':').with_context(|| format!("{key}: {fence}"))?.1.parse()?;
        ensure!(term >= last, "nonce {nonce} under term {term}, the one before under {last}");
        last = term;
    }
    Ok(())
}

/// Payments at a steady rate, so that there is always something to sign.
async fn flow(client: &Client, children: &[String]) -> Result<Vec<String>> {
    let mut jobs = Vec::new();
    for round in 0..PAYOUTS / 20 {
        jobs.extend(flood(client, children, 20, &format!("flow_{round}")).await?);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    Ok(jobs)
}

async fn until_signed_after(world: &World, before: &str, from: Instant) -> Result<Duration> {
    until("another nonce to be journaled", LIMIT, || async {
        Ok((journaled(world).await? != before).then(|| from.elapsed()))
    })
    .await
}

#[tokio::test]
async fn twenty_killed_leaders_are_followed_within_the_lease_and_two_seconds() -> Result<()> {
    let mut world = quick().lease_ttl(LEASE).relayers(3).start().await?;
    let client = world.client()?;
    let children = children(&client, 50).await?;
    let seed: u64 = rand::random();
    eprintln!("the seed of this run: {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let killing = async {
        let mut slowest = Duration::ZERO;
        for n in 0..TIMES {
            let leader = world.leader(LIMIT).await?;
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..1_200))).await;
            world.kill_relayer(leader, Signal::SIGKILL).await?;
            let (before, killed) = (journaled(&world).await?, Instant::now());
            let took = until_signed_after(&world, &before, killed).await?;
            eprintln!("kill {n}: signed again after {took:?}");
            slowest = slowest.max(took);
            world.restart_relayer(leader, &BTreeMap::new())?;
        }
        anyhow::Ok(slowest)
    };
    let (slowest, jobs) = tokio::try_join!(killing, flow(&client, &children))?;
    until_idle(&client, LIMIT).await?;
    settled_once(&world, &client, &jobs, PAYOUTS).await?;
    elections_are_in_order(&world).await?;
    nonces_follow_terms(&world).await?;
    ensure!(slowest <= LEASE + Duration::from_secs(2), "the slowest takeover took {slowest:?}");
    Ok(())
}

#[tokio::test]
async fn twenty_stopped_leaders_hand_over_within_300_ms_and_charge_nobody() -> Result<()> {
    let mut world = quick().lease_ttl(Duration::from_secs(5)).relayers(3).start().await?;
    let client = world.client()?;
    let children = children(&client, 20).await?;
    let jobs = flood(&client, &children, 400, "before").await?;
    let mut slowest = 0;
    for n in 0..TIMES {
        let leader = world.leader(LIMIT).await?;
        let (_, term) = world.lease().await?.context("a lease")?;
        let asked = redis_now(&world).await?;
        world.kill_relayer(leader, Signal::SIGTERM).await?;
        until("another term", LIMIT, || async { Ok(world.lease().await?.filter(|(_, now)| *now > term)) })
            .await?;
        let changes = lease_changes(&world).await?;
        let next = changes.iter().find(|(at, event, _)| *at >= asked && event == "acquired");
        let took = next.context("nobody acquired the lease")?.0 - asked;
        eprintln!("stop {n}: handed over after {took} ms");
        slowest = slowest.max(took);
        world.restart_relayer(leader, &BTreeMap::new())?;
    }
    until_idle(&client, LIMIT).await?;
    settled_once(&world, &client, &jobs, 400).await?;
    elections_are_in_order(&world).await?;
    ensure!(slowest <= 300, "the slowest hand-over took {slowest} ms");
    Ok(())
}

/// Freezes the leader for three lives of its lease at one point, and lets it go on when another has done its work.
async fn frozen_at(world: &mut World, client: &Client, child: &str, point: &str) -> Result<()> {
    for index in 0..2 {
        world.kill_relayer(index, Signal::SIGKILL).await?;
    }
    // It stays at the point long enough to be frozen there, and goes on from there at once when it is thawed.
    let failpoints = format!("at_{point}=1*print(frozen at {point});{point}=1*sleep(700)");
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), failpoints)]))?;
    ensure!(world.leader(LIMIT).await? == 0, "the other leads");
    world.restart_relayer(1, &BTreeMap::new())?;
    let paid_before = world.contracts.paid().await?.len();
    let bumps = point == "after_journal_attempt";
    if bumps {
        world.anvil.set_mining(Mining::Manual).await?;
    }
    let jobs = pay(client, child, 3, point).await?;
    if bumps {
        price_out(world, client, &jobs[0]).await?;
    }
    world.until_logged(0, &format!("frozen at {point}"), LIMIT).await?;
    world.relayer(0)?.signal(Signal::SIGSTOP)?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    let (frozen, (holder, term)) = (Instant::now(), world.lease().await?.context("a lease")?);

    let next = until("another leader", LIMIT, || async {
        Ok(world.lease().await?.filter(|(boot, now)| *boot != holder && *now > term))
    })
    .await?;
    all_paid_once(world, client, &jobs).await?;
    tokio::time::sleep((LEASE * 3).saturating_sub(frozen.elapsed())).await;
    world.relayer(0)?.signal(Signal::SIGCONT)?;
    until("the thawed leader to notice", LIMIT, || async {
        let mut lines = world.logs(0).lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
        // Of this boot: what was logged since it stood at the point.
        let mark = format!("frozen at {point}");
        Ok(lines.any(|line| line.contains(&mark)) && lines.any(|line| line.contains("leading no more")))
            .map(|noticed| noticed.then_some(()))
    })
    .await?;

    let more = pay(client, child, 2, &format!("{point}_after")).await?;
    all_paid_once(world, client, &more).await?;
    let paid = world.contracts.paid().await?.len();
    ensure!(paid == paid_before + jobs.len() + more.len(), "{point}: {paid} paid, {paid_before} before");
    ensure!(world.lease().await?.is_some_and(|(_, now)| now >= next.1), "{point}: an earlier term holds");
    Ok(())
}

#[tokio::test]
async fn a_leader_frozen_at_any_step_for_three_leases_writes_nothing_when_it_wakes() -> Result<()> {
    let mut world = quick().lease_ttl(LEASE).relayers(2).start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let points = [
        "after_sign",
        "after_journal",
        "after_broadcast",
        "after_journal_attempt",
        "after_inclusion",
        "after_finish",
    ];
    for point in points {
        frozen_at(&mut world, &client, &child, point)
            .await
            .with_context(|| format!("frozen {point}\n{}", world.all_logs(40)))?;
    }
    elections_are_in_order(&world).await?;
    nonces_follow_terms(&world).await?;
    // What a zombie tried is refused, and counted.
    let refused = world.redis.cli(&["HGET", &world.key("stats"), "fenced_writes"]).await?;
    ensure!(refused.parse::<u64>().is_ok_and(|refused| refused > 0), "no write was refused: `{refused}`");
    ensure!(count_in(&client, "failed").await? == 0, "a job failed");
    Ok(())
}

#[tokio::test]
async fn a_leader_that_lost_the_chain_gives_the_lease_to_one_that_has_it() -> Result<()> {
    let mut world = quick().lease_ttl(LEASE).relayers(1).start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    // The first relayer's way to the chain can be cut; the second has one of its own.
    let way = RpcProxy::start(&world.anvil.url())?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.restart_relayer(0, &BTreeMap::from([("ETH_RPC_HTTPS".to_owned(), way.url())]))?;
    ensure!(world.leader(LIMIT).await? == 0, "nobody else is there");
    world.add_relayer(&BTreeMap::new())?;

    way.set(Fault::Down);
    let cut = Instant::now();
    let jobs = pay(&client, &child, 3, "elsewhere").await?;
    let deadline = Instant::now() + LIMIT;
    while world.leads_now().await != Some(1) {
        ensure!(Instant::now() < deadline, "the other does not lead\n{}", world.all_logs(30));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    eprintln!("the other leads {:?} after the first lost the chain", cut.elapsed());
    world.until_logged(0, "gave the lease up", LIMIT).await?;
    all_paid_once(&world, &client, &jobs).await?;

    // Once it sees the chain again it is as good as any.
    way.set(Fault::Pass);
    world.kill_relayer(1, Signal::SIGTERM).await?;
    ensure!(world.leader(LIMIT).await? == 0, "it stands aside for ever");
    let jobs = pay(&client, &child, 2, "back").await?;
    all_paid_once(&world, &client, &jobs).await?;
    elections_are_in_order(&world).await
}
