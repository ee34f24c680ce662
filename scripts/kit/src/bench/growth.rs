//! What a job costs while few wait and while very many do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::Size;
use super::figures::{Figure, Report};
use super::{lane, load, memory};
use crate::idle;
use crate::world::{AnvilOptions, Mining, World};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
/// Rounds of the few.
const ROUNDS: usize = 20;
const CALLERS: usize = 100;
const WITHIN: Duration = Duration::from_secs(3_600);
const OPEN_NONCES: usize = 1_000;
/// While nothing happens.
const IDLE_BLOCKS: usize = 10;
const BLOCK_TIME: Duration = Duration::from_secs(1);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let many = size.of(MANY);
    // The few before and after: a machine that others share is not as fast in one minute as in another.
    let before = cost(FEW, ROUNDS).await?;
    let of_many = cost(many, 1).await?;
    let after = cost(FEW, ROUNDS).await?;
    let (cpu, commands) =
        (f64::midpoint(before.cpu, after.cpu), f64::midpoint(before.commands, after.commands));
    Ok(Report {
        subject: "growth".into(),
        about: format!(
            "{ROUNDS} times {FEW} jobs, {many} at once, and the few once more, from waiting to done; CPU of a relayer and Redis \
             over that of an idle lane, no AOF, nothing removed, MAX_OPEN_NONCES {OPEN_NONCES}"
        ),
        figures: vec![
            Figure::of("CPU per job, few wait, before", "ms", &[before.cpu]),
            Figure::of("CPU per job, many wait", "ms", &[of_many.cpu]),
            Figure::of("CPU per job, few wait, after", "ms", &[after.cpu]),
            Figure::of("CPU, many against few", "", &[of_many.cpu / cpu]).at_most(1.15).ratio(),
            Figure::of("commands per job, few wait, before", "", &[before.commands]),
            Figure::of("commands per job, many wait", "", &[of_many.commands]),
            Figure::of("commands per job, few wait, after", "", &[after.commands]),
            Figure::of("commands, many against few", "", &[of_many.commands / commands])
                .at_most(1.15)
                .ratio(),
            Figure::of("resident, relayer, many wait, most", "MB", &[of_many.resident]),
            Figure::of("Redis per payout that is done, with its transaction", "bytes", &[of_many.kept]),
        ],
    })
}

struct Cost {
    /// Milliseconds of one job, above what an idle lane takes in the same time.
    cpu: f64,
    /// Those of one job that Redis ran, above what it runs for an idle lane in the same time.
    commands: f64,
    /// Megabytes that the relayer took at most.
    resident: f64,
    /// Bytes of Redis that stay of one job that is done.
    kept: f64,
}

/// What was used so far: seconds of CPU, and commands.
struct Used {
    at: Instant,
    cpu: f64,
    commands: f64,
}

impl Used {
    async fn now(world: &World, pids: &[i32]) -> Result<Self> {
        let cpu = idle::cpu_of(pids)?.iter().sum();
        Ok(Self { at: Instant::now(), cpu, commands: idle::commands(world).await? as f64 })
    }

    /// What was used since `before`, with the seconds that passed.
    fn since(&self, before: &Self) -> (f64, f64, f64) {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        (self.cpu - before.cpu, self.commands - before.commands, seconds)
    }
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
        .relayer_env("MAX_OPEN_NONCES", OPEN_NONCES)
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
    // Blocks come whether or not there is work, and cost whoever looks at them: of a few jobs that would be a large share.
    let before = Used::now(&world, &pids).await?;
    for _ in 0..IDLE_BLOCKS {
        tokio::time::sleep(BLOCK_TIME).await;
        world.anvil.mine(1).await?;
    }
    let (idle_cpu, idle_commands, seconds) = Used::now(&world, &pids).await?.since(&before);
    let (mut cpu, mut commands, mut kept) = (0.0, 0.0, 0.0);
    for round in 0..rounds {
        world.relayer(0)?.signal(Signal::SIGSTOP)?;
        let empty = memory::used(&world).await?;
        lane::accept(&store, rules, &format!("round_{round}"), backlog, CALLERS).await?;
        let before = Used::now(&world, &pids).await?;
        work(&mut world, backlog).await?;
        let (used, ran, took) = Used::now(&world, &pids).await?.since(&before);
        cpu += used - idle_cpu * took / seconds;
        commands += ran - idle_commands * took / seconds;
        kept += memory::used(&world).await? - empty;
    }
    let jobs = (backlog * rounds) as f64;
    Ok(Cost {
        cpu: cpu * 1000.0 / jobs,
        commands: commands / jobs,
        resident: memory::peak(pids[1])?,
        kept: kept / jobs,
    })
}

/// Lets the relayer go on until so many more jobs are done.
async fn work(world: &mut World, backlog: usize) -> Result<()> {
    let before = finished(world).await?;
    world.relayer(0)?.signal(Signal::SIGCONT)?;
    let deadline = Instant::now() + WITHIN;
    let mut mined = Instant::now();
    loop {
        if mined.elapsed() >= BLOCK_TIME {
            mined = Instant::now();
            world.anvil.mine(1).await?;
        }
        // A look that came to nothing costs nothing: only the end is waited for.
        let now = finished(world).await.unwrap_or(before) - before;
        if now >= backlog {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{now} of {backlog} jobs are done after {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn finished(world: &World) -> Result<usize> {
    let done = world.redis.cli(&["HGET", &world.key("stats"), "done:payout"]).await?;
    if done.is_empty() { Ok(0) } else { Ok(done.parse()?) }
}
