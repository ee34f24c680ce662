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
/// Rounds of the few.
const ROUNDS: usize = 20;
const CALLERS: usize = 100;
const WITHIN: Duration = Duration::from_secs(3_600);
const BLOCK_TIME: Duration = Duration::from_secs(1);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let many = size.of(MANY);
    // The few before and after: a machine that others share is not as fast in one minute as in another.
    let before = cost(FEW, ROUNDS).await?;
    let of_many = cost(many, 1).await?;
    let after = cost(FEW, ROUNDS).await?;
    let few = Cost {
        cpu: f64::midpoint(before.cpu, after.cpu),
        commands: f64::midpoint(before.commands, after.commands),
    };
    Ok(Report {
        subject: "growth".into(),
        about: format!(
            "{ROUNDS} times {FEW} jobs, {many} at once, and the few once more, from waiting to done; CPU of a relayer and Redis"
        ),
        figures: vec![
            Figure::of("CPU per job, few wait, before", "ms", &[before.cpu]),
            Figure::of("CPU per job, many wait", "ms", &[of_many.cpu]),
            Figure::of("CPU per job, few wait, after", "ms", &[after.cpu]),
            Figure::of("CPU, many against few", "", &[of_many.cpu / few.cpu]).at_most(1.15).ratio(),
            Figure::of("commands per job, few wait, before", "", &[before.commands]),
            Figure::of("commands per job, many wait", "", &[of_many.commands]),
            Figure::of("commands per job, few wait, after", "", &[after.commands]),
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

/// Jobs are made while the relayer is stopped, so that their making is not measured. All are worked on to their end: of some of
/// many, others would have been checked as well.
async fn cost(backlog: usize, rounds: usize) -> Result<Cost> {
    let mut world = World::builder()
        .limit("USDC_WINDOW_LIMIT", u64::MAX)
        .anvil(AnvilOptions {
            // Every state of the last 1,500 blocks where they are made faster, each with a million slots: more than there
            // is memory. Finality is four blocks behind, so that nobody asks for old ones.
            mining: Mining::Every(3),
            slots_in_an_epoch: 2,
            extra: ["--prune-history", "16", "--transaction-block-keeper", "16"].map(str::to_owned).to_vec(),
            gas_limit: 3_000_000_000,
            ..AnvilOptions::default()
        })
        .lease_ttl(Duration::from_secs(600))
        .relayer_env("MAX_OPEN_NONCES", 1_000)
        .relayer_env("RUST_LOG", "warn")
        .relayer_env("CLAIM_MIN_IDLE_MS", 600_000)
        // The few are never removed while this lasts, so the many are not either.
        .relayer_env("RETAIN_JOBS", 2 * MANY)
        .start()
        .await?;
    let client = world.client()?;
    load::register(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    // A million finished jobs and their transactions may be more than the 4 GB of the shipped configuration hold.
    world.redis.cli(&["CONFIG", "SET", "appendonly", "no", "maxmemory", "0"]).await?;
    let (store, rules) = (lane::connect(&world, "none").await?, lane::rules()?);
    let pids = [world.redis.pid(), world.relayer(0)?.process().pid().as_raw()];
    let (mut cpu, mut commands) = (0.0, 0);
    for round in 0..rounds {
        world.relayer(0)?.signal(Signal::SIGSTOP)?;
        lane::accept(&store, rules, &format!("round_{round}"), backlog, CALLERS).await?;
        let (cpu_before, commands_before) = (idle::cpu_of(&pids)?, idle::commands(&world).await?);
        let before = finished(&world).await?;
        world.relayer(0)?.signal(Signal::SIGCONT)?;
        let deadline = Instant::now() + WITHIN;
        let mut mined = Instant::now();
        loop {
            if mined.elapsed() >= BLOCK_TIME {
                mined = Instant::now();
                world.anvil.mine(1).await?;
            }
            // A look that came to nothing costs nothing: only the end is waited for.
            let now = finished(&world).await.unwrap_or(before) - before;
            if now >= backlog {
                break;
            }
            ensure!(Instant::now() < deadline, "{now} of {backlog} jobs are done after {WITHIN:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cpu += idle::cpu_of(&pids)?.iter().sum::<f64>() - cpu_before.iter().sum::<f64>();
        commands += idle::commands(&world).await? - commands_before;
    }
    let jobs = (backlog * rounds) as f64;
    Ok(Cost { cpu: cpu * 1000.0 / jobs, commands: commands as f64 / jobs })
}

async fn finished(world: &World) -> Result<usize> {
    let done = world.redis.cli(&["HGET", &world.key("stats"), "done:payout"]).await?;
    if done.is_empty() { Ok(0) } else { Ok(done.parse()?) }
}
