//! Jobs through the job machine, added while they are worked on and kept afterwards, against BullMQ at the same: jobs alone on
//! both sides, and jobs that come with the records of a payment. Nothing is done for a job, so ours go the way of those that
//! the chain shows as done already: queued, claimed, settled, finished.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use shared::ids::BlockNumber;
use shared::store::{Fence, FinishedJob, SettledJob, Store};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Size;
use super::figures::{Figure, Report};
use super::lane::{self, BareLane};
use crate::world::{World, paths};

const JOBS: usize = 20_000;
const CONCURRENCY: usize = 50;
const ROUNDS: usize = 5;
/// Payments of one child in a round.
const PER_CHILD: usize = 4;
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(1);
const BLOCK: BlockNumber = BlockNumber::new(1);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let jobs = size.of(JOBS);
    install_peer().await?;
    let mut figures = Vec::new();
    for (name, appendonly, durability) in [("no AOF", "no", "none"), ("AOF always", "yes", "always")] {
        let world = World::builder().relayers(0).without_api().start().await?;
        // No rewriting of the AOF: it would fall to one or to the other.
        world
            .redis
            .cli(&["CONFIG", "SET", "appendonly", appendonly, "auto-aof-rewrite-percentage", "0"])
            .await?;
        let port = world.redis.port();
        let lane = BareLane::set_up(&world, durability, jobs / PER_CHILD).await?;
        let fleet = Fleet::connect(&world, durability).await?;
        let mut rates: [Vec<f64>; 4] = Default::default();
        for round in 0..=ROUNDS {
            let prefix = format!("round_{round}");
            let noops = fleet.through(&lane.fence, &prefix, jobs, lane.add_noops(jobs, CONCURRENCY));
            let (noops, their_noops) = in_turns(round, noops, bullmq(port, jobs, &[])).await?;
            let payments = fleet.through(&lane.fence, &prefix, jobs, lane.accept(&prefix, jobs, CONCURRENCY));
            let (payments, their_payments) =
                in_turns(round, payments, bullmq(port, jobs, &["records"])).await?;
            let these = [noops, their_noops, payments, their_payments];
            // The first is to warm up.
            if round > 0 {
                rates.iter_mut().zip(these).for_each(|(rates, rate)| rates.push(rate));
            }
        }
        figures.extend(figures_of(name, &rates));
    }
    Ok(Report {
        subject: "queue".into(),
        about: format!(
            "{jobs} jobs with nothing to do, added while they are worked on (accept, claim, settle, finish), concurrency {CONCURRENCY}, history kept; {ROUNDS} rounds"
        ),
        figures,
    })
}

/// Ours first in one round, theirs in the next: whoever comes later finds more in Redis.
async fn in_turns(
    round: usize,
    ours: impl Future<Output = Result<f64>>,
    theirs: impl Future<Output = Result<f64>>,
) -> Result<(f64, f64)> {
    if round.is_multiple_of(2) {
        return Ok((ours.await?, theirs.await?));
    }
    let theirs = theirs.await?;
    Ok((ours.await?, theirs))
}

/// Jobs against jobs, and payments against jobs with a payment's records: like against like, each with its goal. Payments against
/// jobs alone have none.
fn figures_of(name: &str, [noops, their_noops, payments, their_payments]: &[Vec<f64>; 4]) -> [Figure; 7] {
    let rate = |what: &str, rates: &[f64]| Figure::of(&format!("{name}: {what}"), "/s", rates);
    let against = |what: &str, ours: &[f64], theirs: &[f64]| {
        let ratios: Vec<_> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        Figure::of(&format!("{name}: {what}"), "", &ratios).ratio()
    };
    [
        rate("jobs alone, ours", noops),
        rate("jobs alone, BullMQ", their_noops),
        against("jobs alone, against BullMQ", noops, their_noops).at_least(1.25),
        rate("payments, ours", payments),
        rate("payments, BullMQ and their records", their_payments),
        against("payments, against BullMQ and their records", payments, their_payments).at_least(1.25),
        against("payments, against BullMQ's jobs alone", payments, their_noops),
    ]
}

/// Who takes jobs to `done`, each over connections of its own, as the processes that they stand for.
struct Fleet {
    workers: Vec<Store>,
    leader: Store,
}

impl Fleet {
    async fn connect(world: &World, durability: &str) -> Result<Self> {
        let workers = try_join_all((0..WORKERS).map(|_| lane::connect(world, durability))).await?;
        Ok(Self { workers, leader: lane::connect(world, durability).await? })
    }

    /// Runs `add`, which adds `jobs`, while they are taken to `done`; gives how many a second.
    async fn through(
        &self,
        fence: &Fence,
        prefix: &str,
        jobs: usize,
        add: impl Future<Output = Result<()>>,
    ) -> Result<f64> {
        let began = Instant::now();
        let settled = AtomicUsize::new(0);
        let (tell, told) = mpsc::channel(CONCURRENCY);
        let workers = self.workers.iter().enumerate().map(|(n, store)| {
            let (name, settled, tell) = (format!("{prefix}-{n}"), &settled, tell.clone());
            async move { work(store, &name, settled, jobs, tell).await }
        });
        let workers = try_join_all(workers);
        drop(tell);
        let ((), _, took) = tokio::try_join!(add, workers, async {
            finish(&self.leader, fence, told, jobs).await?;
            Ok(began.elapsed())
        })?;
        Ok(jobs as f64 / took.as_secs_f64())
    }
}

/// A worker, as a relayer has it: claims jobs and settles them.
async fn work(
    store: &Store,
    worker: &str,
    settled: &AtomicUsize,
    jobs: usize,
    tell: Sender<SettledJob>,
) -> Result<()> {
    let mut claims = store.claims(worker).await?;
    let mut batch = Vec::new();
    while settled.load(Relaxed) < jobs {
        if batch.is_empty() {
            batch = claims.next(CONCURRENCY / WORKERS, PATIENCE).await?;
            continue;
        }
        let these: Vec<_> =
            batch.iter().map(|job| SettledJob { job: job.id, epoch: job.epoch, block: BLOCK }).collect();
        settled.fetch_add(these.len(), Relaxed);
        // As a relayer does: both go to Redis together, in this order, so that what is claimed takes the place of what is settled.
        let settle = async {
            let applied = store.settle(worker, None, &these).await?;
            ensure!(applied.iter().all(Result::is_ok), "not settled: {applied:?}");
            for job in &these {
                tell.send(*job).await.context("nobody finishes")?;
            }
            anyhow::Ok(())
        };
        let next = async { Ok(claims.more(CONCURRENCY / WORKERS).await?) };
        ((), batch) = tokio::try_join!(settle, next)?;
    }
    Ok(())
}

/// The leader: takes what is settled to `done`, until `jobs` are.
async fn finish(store: &Store, fence: &Fence, mut settled: Receiver<SettledJob>, jobs: usize) -> Result<()> {
    let (mut done, mut some) = (0, Vec::new());
    while done < jobs {
        ensure!(settled.recv_many(&mut some, CONCURRENCY).await > 0, "no worker is left");
        let these: Vec<_> = some
            .drain(..)
            .map(|SettledJob { job, epoch, block }| FinishedJob { job, epoch, block, event: None })
            .collect();
        let applied = store.finish(fence, &these).await?;
        ensure!(applied.iter().all(Result::is_ok), "not finished: {applied:?}");
        done += these.len();
    }
    Ok(())
}

/// The same by BullMQ, in a process of its own, on the same server.
async fn bullmq(port: u16, jobs: usize, more: &[&str]) -> Result<f64> {
    let mut node = tokio::process::Command::new("node");
    node.current_dir(peers()).arg("bullmq.mjs").args([
        port.to_string(),
        jobs.to_string(),
        CONCURRENCY.to_string(),
    ]);
    node.args(more);
    let output = node.kill_on_drop(true).output().await.context("run node")?;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "bullmq.mjs: {}\n{err}", output.status);
    out.trim().parse().with_context(|| format!("bullmq.mjs printed {out}{err}"))
}

/// The packages of `scripts/peers/package-lock.json`.
async fn install_peer() -> Result<()> {
    let mut npm = tokio::process::Command::new("npm");
    npm.current_dir(peers()).args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]);
    let status = npm.kill_on_drop(true).status().await.context("run npm")?;
    ensure!(status.success(), "npm ci in scripts/peers: {status}");
    Ok(())
}

fn peers() -> std::path::PathBuf {
    paths::root().join("scripts/peers")
}
