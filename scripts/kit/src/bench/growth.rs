//! What a job costs while few wait and while very many do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::Size;
use super::figures::{Figure, Report};
use super::lane;
use super::load;
use crate::idle;
use crate::world::{AnvilOptions, Mining, World};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
/// How many are looked at of the many, and in rounds of the few.
const LOOKED_AT: usize = 20_000;
const CALLERS: usize = 100;
const WITHIN: Duration = Duration::from_secs(300);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let (many, looked_at) = (size.of(MANY), size.of(LOOKED_AT));
    let few = cost(FEW, looked_at).await?;
    let of_many = cost(many, looked_at).await?;
    Ok(Report {
        subject: "growth".into(),
        about: format!(
            "{looked_at} jobs to their end, {FEW} waiting and {many} waiting; CPU of a relayer and Redis"
        ),
        figures: vec![
            Figure::of("CPU per job, few wait", "ms", &[few.cpu]),
            Figure::of("CPU per job, many wait", "ms", &[of_many.cpu]),
            Figure::of("CPU, many against few", "", &[of_many.cpu / few.cpu]).at_most(1.15).ratio(),
            Figure::of("commands per job, few wait", "", &[few.commands]),
            Figure::of("commands per job, many wait", "", &[of_many.commands]),
            Figure::of("commands, many against few", "", &[of_many.commands / few.commands])
                .at_most(1.15)
                .ratio(),
        ],
    })
}

/// Of one job: milliseconds of CPU, and commands that Redis ran.
struct Cost {
    cpu: f64,
    commands: f64,
}

/// Jobs are made while the relayer is stopped, so that their making is not measured.
async fn cost(backlog: usize, looked_at: usize) -> Result<Cost> {
    let mut world = World::builder()
        .anvil(AnvilOptions { mining: Mining::Every(1), gas_limit: 3_000_000_000, ..AnvilOptions::default() })
        .lease_ttl(Duration::from_secs(600))
        .relayer_env("MAX_OPEN_NONCES", 1_000)
        .relayer_env("RUST_LOG", "warn")
        .relayer_env("CLAIM_MIN_IDLE_MS", 600_000)
        .start()
        .await?;
    let client = world.client()?;
    load::register(&client).await?;
    world.redis.cli(&["CONFIG", "SET", "appendonly", "no"]).await?;
    let (store, rules) = (lane::connect(&world, "none").await?, lane::rules()?);
    let pids = [world.redis.pid(), world.relayer(0)?.process().pid().as_raw()];
    let (mut cpu, mut commands, mut done, mut round) = (0.0, 0, 0, 0);
    while done < looked_at {
        world.relayer(0)?.signal(Signal::SIGSTOP)?;
        lane::accept(&store, rules, &format!("round_{round}"), backlog, CALLERS).await?;
        let (cpu_before, commands_before) = (idle::cpu_of(&pids)?, idle::commands(&world).await?);
        let before = finished(&world).await?;
        world.relayer(0)?.signal(Signal::SIGCONT)?;
        let target = backlog.min(looked_at);
        let deadline = Instant::now() + WITHIN;
        let reached = loop {
            let now = finished(&world).await? - before;
            if now >= target {
                break now;
            }
            ensure!(Instant::now() < deadline, "{now} of {target} jobs are done after {WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        cpu += idle::cpu_of(&pids)?.iter().sum::<f64>() - cpu_before.iter().sum::<f64>();
        commands += idle::commands(&world).await? - commands_before;
        done += reached;
        round += 1;
    }
    Ok(Cost { cpu: cpu * 1000.0 / done as f64, commands: commands as f64 / done as f64 })
}

async fn finished(world: &World) -> Result<usize> {
    Ok(world.redis.cli(&["ZCARD", &world.key("by:done")]).await?.parse()?)
}
