//! A backlog against the chain: whether blocks are full of ours, whether `done` keeps up, and, where blocks are not the limit,
//! how near the fleet comes to a bare loop that sends the same batches.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alloy::providers::Provider as _;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::Size;
use super::bare;
use super::figures::{Figure, Report};
use super::load::{self, CHILDREN};
use super::memory;
use crate::idle;
use crate::world::contracts::RELAYER;
use crate::world::{AnvilOptions, Builder, Env, Mining, World};

const PAYOUTS: usize = 20_000;
const CONFIRMATIONS: u64 = 2;
/// What blocks may hold where they are to be no limit.
const NO_LIMIT: u64 = 3_000_000_000;
/// Small enough that the last transaction of a block leaves little of it.
const FILLING: u64 = 2_000_000;
/// Transactions of about three blocks, and those that are not final yet: what is signed further ahead is priced out by the base
/// fee, which grows by an eighth with each full block.
const THREE_BLOCKS: usize = 160;
const LARGE: u64 = 5_500_000;
const OPEN_NONCES: usize = 1_000;
const POLL_MS: u64 = 100;
/// Against the bare loop.
const ROUNDS: usize = 3;
const WITHIN: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let payouts = size.of(PAYOUTS);
    let full = against_full_blocks(payouts).await.context("against full blocks")?;
    let mut raced = Vec::new();
    for _ in 0..ROUNDS {
        raced.push(against_a_bare_loop(payouts).await.context("against a bare loop")?);
    }
    let of = |what: fn(&Raced) -> f64| raced.iter().map(what).collect::<Vec<_>>();
    Ok(Report {
        subject: "saturate".into(),
        about: format!(
            "{payouts} payouts queued, then two relayers; blocks of 1 s and 30M gas with BATCH_GAS {FILLING}; then without a \
             limit of gas, BATCH_GAS {LARGE}, {ROUNDS} rounds; POLL_MS {POLL_MS}, MAX_OPEN_NONCES {THREE_BLOCKS} and {OPEN_NONCES}; the least full block was the {}. of {}",
            full.lowest_at, full.blocks
        ),
        figures: vec![
            Figure::of("share of a full block that is ours, lowest", "", &[full.lowest])
                .at_least(0.92)
                .ratio(),
            Figure::of("share of a full block that is ours, mean", "", &[full.mean]).ratio(),
            Figure::of("payouts per second, blocks of 30M gas", "/s", &[full.rate]),
            Figure::of("blocks from inclusion to done, most", "blocks", &[full.lag])
                .at_most((CONFIRMATIONS + 2) as f64),
            Figure::of("payouts per second, no limit of gas", "/s", &of(|raced| raced.ours)),
            Figure::of("payouts per second, a bare loop", "/s", &of(|raced| raced.bare)),
            Figure::of("ours against the bare loop", "", &of(|raced| raced.ours / raced.bare))
                .at_least(0.8)
                .ratio(),
            Figure::of("cores that the node has, ours", "", &of(|raced| raced.node)),
            Figure::of("cores that Redis has, ours", "", &of(|raced| raced.redis)),
            Figure::of("cores that both relayers have, ours", "", &of(|raced| raced.relayers)),
            Figure::of("cores that the node has, a bare loop", "", &of(|raced| raced.node_of_bare)),
            Figure::of("resident, leader, blocks of 30M gas, most", "MB", &[full.resident])
                .at_most(60.0)
                .ratio(),
            Figure::of("resident, leader, no limit of gas, most", "MB", &of(|raced| raced.resident)),
        ],
    })
}

/// What was seen while a backlog was paid.
struct Seen {
    lowest: f64,
    /// Counted from the first that paid.
    lowest_at: usize,
    blocks: usize,
    mean: f64,
    rate: f64,
    lag: f64,
    /// Megabytes of the leader.
    resident: f64,
}

fn world() -> Builder {
    // The checkpoints of a window are part of what is paid for; its limit is not what is measured.
    World::builder()
        .limit("USDC_WINDOW_LIMIT", u64::MAX)
        .relayers(2)
        .confirmations(CONFIRMATIONS)
        .relayer_env("POLL_MS", POLL_MS)
        .relayer_env("RUST_LOG", "warn")
}

/// Blocks of 1 s and 30M gas, batches that fill them, and as many of them under way as fill three.
pub(super) fn in_full_blocks(world: Builder) -> Builder {
    in_blocks(world, 30_000_000, FILLING, THREE_BLOCKS)
}

fn in_blocks(world: Builder, gas_limit: u64, batch_gas: u64, open_nonces: usize) -> Builder {
    world
        .anvil(AnvilOptions { mining: Mining::Every(1), gas_limit, ..AnvilOptions::default() })
        .relayer_env("BATCH_GAS", batch_gas)
        .relayer_env("MAX_OPEN_NONCES", open_nonces)
}

/// Queues payouts while no relayer runs, and starts them again.
async fn queued(world: &mut World, payouts: usize) -> Result<Instant> {
    let client = world.client()?;
    world.leader(Duration::from_secs(60)).await?;
    load::register(&client).await?;
    for index in 0..world.relayers.len() {
        world.kill_relayer(index, Signal::SIGTERM).await?;
    }
    load::at_once(&client, "backlog", payouts).await?;
    let began = Instant::now();
    for index in 0..world.relayers.len() {
        world.restart_relayer(index, &Env::new())?;
    }
    Ok(began)
}

/// Blocks by the head at each look, and how many payouts were done.
type Looks = Vec<(u64, usize)>;

/// Looks on until all payouts are done.
async fn until_done(world: &World, payouts: usize) -> Result<Looks> {
    let (deadline, mut looks) = (Instant::now() + WITHIN, Vec::new());
    loop {
        let done: usize = world.redis.cli(&["ZCARD", &world.key("by:done")]).await?.parse()?;
        let done = done.saturating_sub(CHILDREN);
        let head = world.anvil.block_number().await?;
        looks.push((head, done));
        if done >= payouts {
            return Ok(looks);
        }
        ensure!(Instant::now() < deadline, "{done} of {payouts} payouts are done after {WITHIN:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The blocks that paid.
pub(super) struct Filled {
    /// How many payouts each of them has.
    by_block: BTreeMap<u64, usize>,
    first: u64,
    last: u64,
    /// Which part of each block's gas our payments that succeeded took. The first block was made while the fleet began, the last
    /// one when nothing was left: both are left out.
    pub(super) shares: Vec<f64>,
}

pub(super) async fn filled(world: &World) -> Result<Filled> {
    let mut by_block: BTreeMap<u64, usize> = BTreeMap::new();
    for paid in world.contracts.paid().await? {
        *by_block.entry(paid.block).or_default() += 1;
    }
    let (first, last) =
        by_block.keys().next().copied().zip(by_block.keys().last().copied()).context("paid")?;
    let (mut shares, provider) = (Vec::new(), world.anvil.provider());
    for number in first + 1..last {
        let block = provider.get_block_by_number(number.into()).await?.context("a block")?;
        let receipts = provider.get_block_receipts(number.into()).await?.context("its receipts")?;
        let ours = receipts.iter().filter(|receipt| receipt.from == RELAYER && receipt.status());
        let gas: u64 = ours.map(|receipt| receipt.gas_used).sum();
        shares.push(gas as f64 / block.header.gas_limit as f64);
    }
    ensure!(!shares.is_empty(), "all payouts fitted into two blocks: too few");
    Ok(Filled { by_block, first, last, shares })
}

async fn against_full_blocks(payouts: usize) -> Result<Seen> {
    let mut world = in_full_blocks(world()).start().await?;
    queued(&mut world, payouts).await?;
    let looks = until_done(&world, payouts).await?;
    let Filled { by_block, first, last, shares } = filled(&world).await?;
    let (mut paid_up_to, mut lag) = (0, 0);
    for (block, count) in &by_block {
        paid_up_to += count;
        let (head, _) = looks.iter().find(|(_, done)| *done >= paid_up_to).context("looked too short")?;
        lag = lag.max(head.saturating_sub(*block));
    }
    let by_share = |(_, one): &(usize, &f64), (_, other): &(usize, &f64)| one.total_cmp(other);
    let (at, lowest) = shares.iter().enumerate().min_by(by_share).context("no block")?;
    Ok(Seen {
        lowest: *lowest,
        lowest_at: at + 2,
        blocks: by_block.len(),
        mean: shares.iter().sum::<f64>() / shares.len() as f64,
        rate: payouts as f64 / (last - first + 1) as f64,
        lag: lag as f64,
        resident: of_leader(&mut world).await?,
    })
}

/// The most megabytes that were ever resident of the leader.
async fn of_leader(world: &mut World) -> Result<f64> {
    let leader = world.leader(Duration::from_secs(10)).await?;
    memory::peak(world.relayer(leader)?.process().pid().as_raw())
}

/// The node, Redis, and the relayers.
fn pids(world: &mut World) -> Vec<i32> {
    let mut pids = vec![world.anvil.pid(), world.redis.pid()];
    pids.extend(world.relayers.iter_mut().map(|relayer| relayer.process().pid().as_raw()));
    pids
}

struct Raced {
    ours: f64,
    bare: f64,
    /// Cores that each had meanwhile.
    node: f64,
    redis: f64,
    relayers: f64,
    node_of_bare: f64,
    /// Megabytes of the leader.
    resident: f64,
}

async fn against_a_bare_loop(payouts: usize) -> Result<Raced> {
    let mut world = in_blocks(world(), NO_LIMIT, LARGE, OPEN_NONCES).start().await?;
    let began = queued(&mut world, payouts).await?;
    let pids = pids(&mut world);
    let before = idle::cpu_of(&pids)?;
    let children: Vec<_> = (0..CHILDREN).map(load::pair).collect::<Result<_>>()?;
    bare::until_paid(&world, payouts, WITHIN).await?;
    let took = began.elapsed().as_secs_f64();
    let used = idle::cpu_of(&pids)?;
    let cores: Vec<f64> = used.iter().zip(&before).map(|(after, before)| (after - before) / took).collect();
    until_done(&world, payouts).await?;
    let resident = of_leader(&mut world).await?;
    for index in 0..world.relayers.len() {
        world.kill_relayer(index, Signal::SIGTERM).await?;
    }
    // As many items as the fleet puts into one.
    let items = world.contracts.paid().await?.iter().fold(BTreeMap::<_, usize>::new(), |mut sizes, paid| {
        *sizes.entry(paid.tx).or_default() += 1;
        sizes
    });
    let per_batch = items.values().copied().max().context("paid")?;
    let bare = bare::send(&world, &children, payouts, per_batch, WITHIN).await?;
    Ok(Raced {
        ours: payouts as f64 / took,
        bare: payouts as f64 / bare.took.as_secs_f64(),
        node: cores[0],
        redis: cores[1],
        relayers: cores[2..].iter().sum(),
        node_of_bare: bare.node,
        resident,
    })
}
