//! What a job costs while few wait and while very many do.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use shared::money::CommissionRules;
use shared::store::Store;

use super::Size;
use super::figures::{Figure, Report};
use super::{lane, load, memory};
use crate::idle;
use crate::world::{AnvilOptions, Mining, World};

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;
/// Rounds of the few, and parts in which the many are worked on, in turns: a machine that others share is not as fast in one
/// minute as in another.
const ROUNDS: usize = 20;
const CALLERS: usize = 100;
const WITHIN: Duration = Duration::from_secs(3_600);
const OPEN_NONCES: usize = 1_000;
/// While nothing happens.
const IDLE_BLOCKS: usize = 10;
const BLOCK_TIME: Duration = Duration::from_secs(1);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let count = size.of(MANY);
    let (mut many, mut few) = (Lane::start().await?, Lane::start().await?);
    let empty = memory::used(&many.world).await?;
    many.add("many", count).await?;
    for round in 0..ROUNDS {
        many.work(count / ROUNDS).await?;
        few.add(&format!("few_{round}"), FEW).await?;
        few.work(FEW).await?;
    }
    let kept = (memory::used(&many.world).await? - empty) / count as f64;
    let (of_few, of_many) = (few.cost(), many.cost());
    Ok(Report {
        subject: "growth".into(),
        about: format!(
            "{count} jobs at once in one lane, and in turns with {ROUNDS} parts of them {ROUNDS} times {FEW} in another, from waiting \
             to done; CPU of a relayer and Redis over that of an idle lane, no AOF, nothing removed, MAX_OPEN_NONCES {OPEN_NONCES}"
        ),
        figures: vec![
            Figure::of("CPU per job, few wait", "ms", &[of_few.cpu]),
            Figure::of("CPU per job, many wait", "ms", &[of_many.cpu]),
            Figure::of("CPU, many against few", "", &[of_many.cpu / of_few.cpu]).at_most(1.15).ratio(),
            Figure::of("commands per job, few wait", "", &[of_few.commands]),
            Figure::of("commands per job, many wait", "", &[of_many.commands]),
            Figure::of("commands, many against few", "", &[of_many.commands / of_few.commands])
                .at_most(1.15)
                .ratio(),
            Figure::of("resident, relayer, many wait, most", "MB", &[memory::peak(many.pids[1])?]),
            Figure::of("Redis per payout that is done, with its transaction", "bytes", &[kept]),
        ],
    })
}

/// Of one job, above what an idle lane takes in the same time.
struct Cost {
    /// Milliseconds.
    cpu: f64,
    commands: f64,
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

/// A world whose relayer is stopped but while its work is measured.
struct Lane {
    world: World,
    store: Store,
    rules: CommissionRules,
    /// Redis and the relayer.
    pids: [i32; 2],
    /// In a second without work.
    idle: Cost,
    done: usize,
    /// Seconds of CPU and commands above those of an idle lane.
    used: Cost,
}

impl Lane {
    async fn start() -> Result<Self> {
        let mut world = World::builder()
            .limit("USDC_WINDOW_LIMIT", u64::MAX)
            .anvil(AnvilOptions {
                // Every state of the last 1,500 blocks where they are made faster, each with a million slots: more than there
                // is memory. Finality is four blocks behind, so that nobody asks for old ones.
                mining: Mining::Every(3),
                slots_in_an_epoch: 2,
                extra: ["--prune-history", "16", "--transaction-block-keeper", "16"]
                    .map(str::to_owned)
                    .to_vec(),
                gas_limit: 3_000_000_000,
                ..AnvilOptions::default()
            })
            .lease_ttl(Duration::from_secs(600))
            .relayer_env("MAX_OPEN_NONCES", OPEN_NONCES)
            .relayer_env("RUST_LOG", "warn")
            .relayer_env("CLAIM_MIN_IDLE_MS", 600_000)
            // A stopped relayer hears what it asked for when it goes on.
            .relayer_env("RPC_TIMEOUT_MS", 60_000)
            // The few are never removed while this lasts, so the many are not either.
            .relayer_env("RETAIN_JOBS", 2 * MANY)
            .start()
            .await?;
        load::register(&world.client()?).await?;
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
        let (cpu, commands, seconds) = Used::now(&world, &pids).await?.since(&before);
        world.relayer(0)?.signal(Signal::SIGSTOP)?;
        let (idle, used) =
            (Cost { cpu: cpu / seconds, commands: commands / seconds }, Cost { cpu: 0.0, commands: 0.0 });
        Ok(Self { world, store, rules, pids, idle, done: 0, used })
    }

    async fn add(&self, prefix: &str, count: usize) -> Result<()> {
        lane::accept(&self.store, self.rules, prefix, count, CALLERS).await
    }

    /// Lets the relayer go on until so many more jobs are done. What it began beyond them counts when they are: all are worked on
    /// to their end.
    async fn work(&mut self, count: usize) -> Result<()> {
        self.done += count;
        let before = Used::now(&self.world, &self.pids).await?;
        self.world.relayer(0)?.signal(Signal::SIGCONT)?;
        let (deadline, mut mined) = (Instant::now() + WITHIN, Instant::now());
        // A look that came to nothing costs nothing: only the end is waited for.
        while finished(&self.world).await.unwrap_or_default() < self.done {
            ensure!(Instant::now() < deadline, "{} jobs are not done after {WITHIN:?}", self.done);
            if mined.elapsed() >= BLOCK_TIME {
                mined = Instant::now();
                self.world.anvil.mine(1).await?;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.world.relayer(0)?.signal(Signal::SIGSTOP)?;
        let (cpu, commands, seconds) = Used::now(&self.world, &self.pids).await?.since(&before);
        self.used.cpu += cpu - self.idle.cpu * seconds;
        self.used.commands += commands - self.idle.commands * seconds;
        Ok(())
    }

    fn cost(&self) -> Cost {
        let jobs = self.done as f64;
        Cost { cpu: self.used.cpu * 1000.0 / jobs, commands: self.used.commands / jobs }
    }
}

async fn finished(world: &World) -> Result<usize> {
    let done = world.redis.cli(&["HGET", &world.key("stats"), "done:payout"]).await?;
    if done.is_empty() { Ok(0) } else { Ok(done.parse()?) }
}
