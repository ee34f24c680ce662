//! Each gate against the real contracts: it closes with five hundred jobs waiting, charges nobody, costs a bounded number
//! of commands, opens by itself, and all are paid.

use std::time::Duration;

use alloy::primitives::U256;
use alloy::primitives::aliases::{U48, U208};
use anyhow::{Context as _, Result, ensure};
use kit::idle::commands;
use kit::world::contracts::{DEPLOYER, RELAYER};
use kit::world::process::until;
use kit::world::{Client, Mining, Signal, World};

use crate::support::{LIMIT, at_once, children, quick, seen_by_leader, settled_once, until_idle, wallet};

const JOBS: usize = 500;
/// The most commands, those inside scripts included, that a parked job may cost from acceptance to done.
const MOST_COMMANDS: u64 = 400;

struct Gates {
    world: World,
    client: Client,
    children: Vec<String>,
    jobs: Vec<String>,
    round: usize,
}

impl Gates {
    /// Five hundred payments while `gate` is closed; all of them end up under it, and it says why.
    async fn fill(&mut self, gate: &str) -> Result<u64> {
        let before = self.pay().await?;
        self.until_parked(gate, JOBS as u64).await?;
        Ok(before)
    }

    /// Five hundred payments; how many commands had been run before.
    async fn pay(&mut self) -> Result<u64> {
        self.round += 1;
        let round = self.round;
        let before = commands(&self.world).await?;
        let (client, children) = (&self.client, &self.children);
        let jobs = at_once((0..JOBS).map(|n| async move {
            let id = format!("gate_{round}_{n}");
            client.pay(&id, &children[n % children.len()], "10.00").await?.expect(&[202])?.job_id()
        }))
        .await?;
        self.jobs.extend(jobs);
        Ok(before)
    }

    /// Waits until at least `least` jobs wait for `gate`, and reads what it says.
    async fn until_parked(&self, gate: &str, least: u64) -> Result<()> {
        let shown = until(&format!("{least} jobs under {gate}"), LIMIT, || async {
            let stats = self.client.get("/api/stats").await?.expect(&[200])?.body;
            let gates = stats["closed_gates"].as_array().context("gates")?.clone();
            let found = gates.iter().find(|closed| closed["gate"] == gate);
            ensure!(
                found.is_some_and(|closed| closed["parked"].as_u64() >= Some(least)),
                "{gates:?}, {}",
                stats["states"]
            );
            Ok(found.cloned())
        })
        .await
        .with_context(|| self.world.logs(0).lines().rev().take(20).collect::<Vec<_>>().join("\n"))?;
        ensure!(shown["reason"].as_str().is_some_and(|reason| reason.len() > 10), "{shown}");
        ensure!(shown["since"].as_u64().is_some_and(|since| since > 0), "{shown}");
        Ok(())
    }

    /// The condition is over: the gate opens by itself, all are paid, nobody was charged.
    async fn drain(&mut self, gate: &str, before: u64) -> Result<()> {
        until_idle(&self.client, Duration::from_secs(90)).await.context(gate.to_owned())?;
        let each = (commands(&self.world).await? - before) / JOBS as u64;
        eprintln!("{gate}: {each} commands per job, from acceptance to done");
        let paid = self.jobs.len();
        settled_once(&self.world, &self.client, &self.jobs[paid - JOBS..], paid).await?;
        let stats = self.client.get("/api/stats").await?.expect(&[200])?.body;
        ensure!(stats["closed_gates"].as_array().is_some_and(Vec::is_empty), "{gate} is closed: {stats}");
        ensure!(each <= MOST_COMMANDS, "{gate}: {each} commands per job");
        Ok(())
    }
}

impl Gates {
    /// What was changed without a transaction is in the state of the next block.
    async fn after_the_next_block(&mut self) -> Result<()> {
        let next = self.world.anvil.block_number().await? + 1;
        self.world.anvil.until_block(next, LIMIT).await?;
        seen_by_leader(&mut self.world, next).await
    }
}

async fn start(gwei: u64) -> Result<Gates> {
    let world = quick().relayers(2).relayer_env("MAX_FEE_GWEI", gwei).start().await?;
    let client = world.client()?;
    let children = children(&client, 20).await?;
    Ok(Gates { world, client, children, jobs: Vec::new(), round: 0 })
}

#[tokio::test]
async fn paused_contracts_and_tokens_park_and_release_five_hundred_jobs() -> Result<()> {
    let mut gates = start(500).await?;
    let (payout, registry, usdc) =
        (gates.world.contracts.payout(), gates.world.contracts.registry(), gates.world.contracts.usdc());
    gates.world.contracts.as_owner(payout.pause()).await?;
    let before = gates.fill("lane:payout_paused").await?;
    gates.world.contracts.as_owner(payout.unpause()).await?;
    gates.drain("lane:payout_paused", before).await?;

    gates.world.contracts.as_owner(usdc.pause()).await?;
    let before = gates.fill("token:usdc:paused").await?;
    gates.world.contracts.as_owner(usdc.unpause()).await?;
    // Nobody can ask a token whether it is paused, so it is tried now and then: let the blocks for that go by.
    gates.world.anvil.mine(30).await?;
    gates.drain("token:usdc:paused", before).await?;

    gates.world.contracts.as_owner(registry.pause()).await?;
    let before = commands(&gates.world).await?;
    let client = &gates.client;
    let jobs = at_once((0..JOBS as u16).map(|n| async move {
        client.register(&wallet(0xc7, n), Some(&wallet(0xb7, n))).await?.expect(&[202])?.job_id()
    }))
    .await?;
    gates.until_parked("lane:registry_paused", JOBS as u64).await?;
    gates.world.contracts.as_owner(registry.unpause()).await?;
    until_idle(&gates.client, Duration::from_secs(60)).await?;
    let each = (commands(&gates.world).await? - before) / JOBS as u64;
    eprintln!("lane:registry_paused: {each} commands per job");
    ensure!(each <= MOST_COMMANDS, "{each} commands per job");
    settled_once(&gates.world, &gates.client, &jobs, gates.jobs.len()).await
}

#[tokio::test]
async fn money_that_runs_out_parks_and_releases_five_hundred_jobs() -> Result<()> {
    let mut gates = start(500).await?;
    let (payout, addresses) = (gates.world.contracts.payout(), gates.world.contracts.addresses.clone());
    let all = gates.world.contracts.balances(addresses.payout).await?;
    gates.world.contracts.as_owner(payout.withdraw(addresses.usdc, DEPLOYER, all.0)).await?;
    let before = gates.fill("token:usdc:float").await?;
    gates.world.contracts.fund(all.0, U256::ZERO).await?;
    gates.drain("token:usdc:float", before).await?;

    // Closed by its cap; the window stands for both.
    gates.world.contracts.as_owner(payout.setPayoutCap(addresses.usdc, U256::ZERO)).await?;
    let before = gates.fill("token:usdc:window").await?;
    gates.world.contracts.as_owner(payout.setPayoutCap(addresses.usdc, U256::MAX)).await?;
    gates.drain("token:usdc:window", before).await?;

    // A window through which a hundred and fifty pass at a time: it opens by itself, again and again, as it rolls.
    let window = |limit| payout.setWindow(addresses.usdc, U208::from(limit), U48::from(4));
    gates.world.contracts.as_owner(window(150_000_000u64)).await?;
    let before = gates.pay().await?;
    gates.until_parked("token:usdc:window", 100).await?;
    gates.drain("token:usdc:window", before).await?;
    gates.world.contracts.as_owner(window(u64::MAX)).await?;

    for n in 0..20 {
        gates.client.set_mode(&wallet(0xb1, n), "hybrid").await?.expect(&[200])?;
    }
    gates.world.contracts.as_owner(payout.withdraw(addresses.sge, DEPLOYER, all.1)).await?;
    let before = gates.fill("token:sge:float").await?;
    gates.world.contracts.fund(U256::ZERO, all.1).await?;
    gates.drain("token:sge:float", before).await
}

#[tokio::test]
async fn a_chain_out_of_reach_or_too_dear_holds_five_hundred_jobs_and_lets_them_go() -> Result<()> {
    let mut gates = start(50).await?;
    gates.world.anvil.signal(Signal::SIGSTOP)?;
    // Whoever meets it claims nothing more: a few are parked, the others wait in the queue.
    let before = gates.pay().await?;
    gates.until_parked("lane:chain", 1).await?;
    gates.world.anvil.signal(Signal::SIGCONT)?;
    gates.drain("lane:chain", before).await?;

    gates.world.anvil.set_balance(RELAYER, U256::ZERO).await?;
    gates.after_the_next_block().await?;
    let before = gates.fill("lane:gas_money").await?;
    gates.world.anvil.set_balance(RELAYER, U256::from(10).pow(U256::from(21))).await?;
    gates.drain("lane:gas_money", before).await?;

    gates.world.anvil.set_mining(Mining::Manual).await?;
    gates.world.anvil.set_next_base_fee(100_000_000_000).await?;
    gates.world.anvil.mine(1).await?;
    let head = gates.world.anvil.block_number().await?;
    seen_by_leader(&mut gates.world, head).await?;
    let before = gates.fill("lane:base_fee").await?;
    gates.world.anvil.mine(20).await?;
    gates.world.anvil.set_mining(Mining::Every(1)).await?;
    gates.drain("lane:base_fee", before).await
}
