//! Jobs through the whole job machine, added while they are worked on and kept afterwards, against BullMQ at the same.

use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use shared::ids::BlockNumber;
use shared::store::{FinishedJob, SettledJob};

use super::Size;
use super::figures::{Figure, Report};
use super::lane::BareLane;
use crate::world::{World, paths};

const JOBS: usize = 20_000;
const CONCURRENCY: usize = 50;
const ROUNDS: usize = 5;
/// Payments of one child in a round.
const PER_CHILD: usize = 4;
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let jobs = size.of(JOBS);
    install_peer().await?;
    let mut figures = Vec::new();
    for (name, appendonly, durability) in [("no AOF", "no", "none"), ("AOF always", "yes", "always")] {
        let world = World::builder().relayers(0).without_api().start().await?;
        world.redis.cli(&["CONFIG", "SET", "appendonly", appendonly]).await?;
        let lane = BareLane::set_up(&world, durability, jobs / PER_CHILD).await?;
        let (mut ours, mut theirs, mut with_records) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let rate = through(&lane, &format!("round_{round}"), jobs).await?;
            let peer = bullmq(world.redis.port(), jobs, &[]).await?;
            let peer_with_records = bullmq(world.redis.port(), jobs, &["records"]).await?;
            // The first is to warm up.
            if round > 0 {
                ours.push(rate);
                theirs.push(peer);
                with_records.push(peer_with_records);
            }
        }
        let against =
            |peer: &[f64]| ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect::<Vec<_>>();
        figures.push(Figure::of(&format!("{name}: jobs, ours"), "/s", &ours));
        figures.push(Figure::of(&format!("{name}: jobs, BullMQ"), "/s", &theirs));
        figures.push(
            Figure::of(&format!("{name}: against BullMQ"), "", &against(&theirs)).at_least(1.25).ratio(),
        );
        let title = |what: &str| format!("{name}: {what}, and a payment's records");
        figures.push(Figure::of(&title("jobs, BullMQ"), "/s", &with_records));
        figures.push(Figure::of(&title("against BullMQ"), "", &against(&with_records)));
    }
    Ok(Report {
        subject: "queue".into(),
        about: format!(
            "{jobs} jobs added while they are worked on, concurrency {CONCURRENCY}, history kept; {ROUNDS} rounds"
        ),
        figures,
    })
}

/// Adds `jobs` while workers take them through every stage to `done`; gives how many a second.
async fn through(lane: &BareLane, prefix: &str, jobs: usize) -> Result<f64> {
    let began = Instant::now();
    let add = lane.accept(prefix, jobs, CONCURRENCY);
    let (done, all_done) = (AtomicUsize::new(0), OnceLock::new());
    let workers = (0..WORKERS).map(|worker| {
        let (name, done, all_done) = (format!("{prefix}-{worker}"), &done, &all_done);
        async move {
            work(lane, &name, done, jobs).await?;
            // Who comes second has waited for jobs that never came.
            all_done.get_or_init(|| began.elapsed());
            anyhow::Ok(())
        }
    });
    tokio::try_join!(add, try_join_all(workers))?;
    Ok(jobs as f64 / all_done.get().context("nobody worked")?.as_secs_f64())
}

async fn work(lane: &BareLane, worker: &str, done: &AtomicUsize, jobs: usize) -> Result<()> {
    let (store, block) = (&lane.store, BlockNumber::new(1));
    let mut claims = store.claims(worker).await?;
    while done.load(Relaxed) < jobs {
        let batch = claims.next(CONCURRENCY, PATIENCE).await?;
        let settled: Vec<_> =
            batch.iter().map(|job| SettledJob { job: job.id, epoch: job.epoch, block }).collect();
        let applied = store.settle(worker, None, &settled).await?;
        ensure!(applied.iter().all(Result::is_ok), "not settled: {applied:?}");
        let finished: Vec<_> = batch
            .iter()
            .map(|job| FinishedJob { job: job.id, epoch: job.epoch, block, event: None })
            .collect();
        let applied = store.finish(&lane.fence, &finished).await?;
        ensure!(applied.iter().all(Result::is_ok), "not finished: {applied:?}");
        done.fetch_add(batch.len(), Relaxed);
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
