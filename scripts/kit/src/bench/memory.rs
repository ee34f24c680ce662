//! What a job takes in Redis, waiting and finished, and what the processes take under load.

use std::time::Duration;

use alloy::primitives::B256;
use anyhow::{Context as _, Result, ensure};
use shared::ids::BlockNumber;
use shared::store::{FinishedJob, Retention, SettledJob};

use super::Size;
use super::figures::{Figure, Report};
use super::lane::BareLane;
use super::load;
use crate::world::{Mining, World};

const WAITING: usize = 1_000_000;
const FINISHED: usize = 20_000;
/// Waiting payments of one child.
const PER_CHILD: usize = 4;
const CALLERS: usize = 100;
const PAYMENTS: usize = 6_000;
const APART: Duration = Duration::from_millis(5);
const OPEN_NONCES: usize = 1_000;
const BLOCK: BlockNumber = BlockNumber::new(1);
/// So far above it that no reorganisation can undo what was done there.
const FINAL: BlockNumber = BlockNumber::new(1_000);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let InRedis { waiting, in_all, finished, left } = in_redis(size).await?;
    let (relayer, api) = of_processes(size).await?;
    Ok(Report {
        subject: "memory".into(),
        about: format!(
            "{} waiting jobs with their history under deploy/redis.conf; processes at 200 payments/s with MAX_OPEN_NONCES {OPEN_NONCES}",
            size.of(WAITING)
        ),
        figures: vec![
            Figure::of("Redis per waiting job", "bytes", &[waiting]).at_most(1_638.4).ratio(),
            Figure::of("Redis with all that wait", "GB", &[in_all]).at_most(1.7),
            Figure::of("Redis per job that was paid already, finished", "bytes", &[finished]),
            Figure::of("Redis per payment whose job has left", "bytes", &[left]),
            Figure::of("resident, relayer that leads, most", "MB", &[relayer]).at_most(60.0).ratio(),
            Figure::of("resident, API, most", "MB", &[api]).at_most(60.0).ratio(),
        ],
    })
}

struct InRedis {
    /// Bytes of one job.
    waiting: f64,
    /// Gigabytes of all that wait.
    in_all: f64,
    /// Bytes of one job.
    finished: f64,
    /// Bytes that stay of a payment when retention has removed its job.
    left: f64,
}

async fn in_redis(size: Size) -> Result<InRedis> {
    let world = World::builder().relayers(0).without_api().start().await?;
    world.redis.cli(&["CONFIG", "SET", "appendonly", "no"]).await?;
    let (waiting, finished) = (size.of(WAITING), size.of(FINISHED));
    let lane = BareLane::set_up(&world, "none", waiting / PER_CHILD).await?;

    let empty = used(&world).await?;
    lane.accept("finished", finished, CALLERS).await?;
    let (mut claims, mut done) = (lane.store.claims("bench").await?, 0);
    while done < finished {
        let batch = claims.next(256, Duration::from_secs(1)).await?;
        let settled: Vec<_> =
            batch.iter().map(|job| SettledJob { job: job.id, epoch: job.epoch, block: BLOCK }).collect();
        lane.store.settle("bench", None, &settled).await?;
        let jobs: Vec<_> = batch
            .iter()
            .map(|job| FinishedJob { job: job.id, epoch: job.epoch, block: BLOCK, event: None })
            .collect();
        lane.store.finish(&lane.fence, &jobs).await?;
        done += batch.len();
    }
    let after = used(&world).await?;
    lane.accept("waiting", waiting, CALLERS).await?;
    let full = used(&world).await?;
    ensure!(lane.store.set_final(&lane.fence, FINAL, B256::ZERO.into(), None).await?, "fenced");
    let nothing = Retention { jobs: 0, age: Duration::ZERO, nonces: 0 };
    let mut gone = 0;
    loop {
        let removed = lane.store.retain(&nothing).await?;
        gone += removed.jobs;
        if !removed.more {
            break;
        }
    }
    ensure!(gone == finished as u64, "{gone} of {finished} finished jobs have left");
    Ok(InRedis {
        waiting: (full - after) / waiting as f64,
        in_all: full / 1e9,
        finished: (after - empty) / finished as f64,
        left: (after - empty - (full - used(&world).await?)) / finished as f64,
    })
}

/// Bytes that Redis has in use.
pub(super) async fn used(world: &World) -> Result<f64> {
    let info = world.redis.cli(&["INFO", "memory"]).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).context("INFO memory")?;
    Ok(used.trim().parse()?)
}

/// Megabytes that the leading relayer and the API took at most.
async fn of_processes(size: Size) -> Result<(f64, f64)> {
    let mut world = World::builder()
        .limit("USDC_WINDOW_LIMIT", u64::MAX)
        .relayers(2)
        .mining(Mining::Every(1))
        .relayer_env("MAX_OPEN_NONCES", OPEN_NONCES)
        .start()
        .await?;
    let client = world.client()?;
    load::register(&client).await?;
    load::steadily(&client, "load", size.of(PAYMENTS), APART).await?;
    let leader = world.leader(Duration::from_secs(10)).await?;
    let relayer = peak(world.relayer(leader)?.process().pid().as_raw())?;
    let api = peak(world.api.as_mut().context("no API")?.process().pid().as_raw())?;
    Ok((relayer, api))
}

/// The most megabytes that were ever resident of a process.
pub(super) fn peak(pid: i32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    ensure!(kilobytes > 0.0, "no memory");
    Ok(kilobytes / 1024.0)
}
