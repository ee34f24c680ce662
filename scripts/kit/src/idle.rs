//! `kit idle`: what a fleet costs while nothing happens, and how soon it wakes up.
//!
//! CPU time is what the kernel charged to the relayers' processes; commands are everything that Redis ran, those inside
//! scripts included; a wake-up is from a payment's acceptance to its claim, by Redis's clock.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::time::sleep;

use crate::world::{Client, Mining, World};

/// Clock ticks per second in `/proc/<pid>/stat`: fixed on Linux for user space.
const TICKS: f64 = 100.0;
/// How many commands are named.
const SHOWN: usize = 12;
/// Between two payments while wake-ups are measured.
const APART: Duration = Duration::from_millis(50);

/// Wallets that nobody has the key of.
const CHILD: &str = "0x00000000000000000000000000000000000000c1";
const REFERRER: &str = "0x00000000000000000000000000000000000000a1";

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 30)]
    pub relayers: usize,
    /// How long nothing happens.
    #[arg(long, default_value_t = 300)]
    pub seconds: u64,
    /// Payments that wake the fleet up, one at a time.
    #[arg(long, default_value_t = 400)]
    pub wakeups: usize,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Idle {
    pub relayers: usize,
    /// Share of one core, of the dearest relayer.
    pub cpu_most: f64,
    pub cpu_mean: f64,
    /// Redis commands per second and relayer.
    pub commands: f64,
    /// The same by command, the most frequent first.
    pub by_command: Vec<(String, f64)>,
    /// Milliseconds from acceptance to claim.
    pub wake_p50: u64,
    pub wake_p99: u64,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<44}{:>10}", "relayers", self.relayers)?;
        writeln!(f, "{:<44}{:>9.2}%", "CPU per relayer, mean, of one core", self.cpu_mean * 100.0)?;
        writeln!(f, "{:<44}{:>9.2}%", "CPU per relayer, most, of one core", self.cpu_most * 100.0)?;
        writeln!(f, "{:<44}{:>10.2}", "Redis commands per second and relayer", self.commands)?;
        for (command, rate) in self.by_command.iter().take(SHOWN) {
            writeln!(f, "  {command:<42}{rate:>10.2}")?;
        }
        writeln!(f, "{:<44}{:>7} ms", "from acceptance to claim, p50", self.wake_p50)?;
        write!(f, "{:<44}{:>7} ms", "from acceptance to claim, p99", self.wake_p99)
    }
}

/// Measures and prints. The exit code is 0.
pub async fn run(options: Options) -> Result<ExitCode> {
    eprintln!("starting {} relayers, then nothing for {} s", options.relayers, options.seconds);
    println!("{}", measure(&options).await?);
    Ok(ExitCode::SUCCESS)
}

/// Starts a fleet with the settings that it has by default, leaves it alone, and then wakes it up.
pub async fn measure(options: &Options) -> Result<Idle> {
    ensure!(options.relayers > 0 && options.seconds > 0 && options.wakeups > 0, "nothing to measure");
    let mut world = World::builder()
        .relayers(options.relayers)
        .mining(Mining::Every(1))
        .lease_ttl(Duration::from_secs(5))
        .start()
        .await?;
    world.leader(Duration::from_secs(60)).await?;
    let client = world.client()?;
    let job = client.register(CHILD, Some(REFERRER)).await?;
    let job = job.expect(&[202])?.job_id()?;
    client.wait_for(&job, &["done"], Duration::from_secs(60)).await?;

    let pids: Vec<i32> = world.relayers.iter_mut().map(|relayer| relayer.process().pid().as_raw()).collect();
    let (began, cpu, commands) = (Instant::now(), cpu_of(&pids)?, calls(&world).await?);
    sleep(Duration::from_secs(options.seconds)).await;
    let (took, cpu_after) = (began.elapsed().as_secs_f64(), cpu_of(&pids)?);
    let per_relayer = |calls: u64| calls as f64 / took / options.relayers as f64;
    let mut by_command: Vec<(String, f64)> = calls(&world)
        .await?
        .into_iter()
        .map(|(name, after)| (per_relayer(after - commands.get(&name).unwrap_or(&0)), name))
        .map(|(rate, name)| (name, rate))
        .collect();
    by_command.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shares: Vec<f64> =
        cpu.iter().zip(&cpu_after).map(|(before, after)| (after - before) / took).collect();

    let mut wakes = wakeups(&client, options.wakeups).await?;
    wakes.sort_unstable();
    Ok(Idle {
        relayers: options.relayers,
        cpu_most: shares.iter().copied().fold(0.0, f64::max),
        cpu_mean: shares.iter().sum::<f64>() / shares.len() as f64,
        commands: by_command.iter().map(|(_, rate)| rate).sum(),
        by_command,
        wake_p50: wakes[wakes.len() / 2],
        wake_p99: wakes[wakes.len() * 99 / 100],
    })
}

async fn wakeups(client: &Client, count: usize) -> Result<Vec<u64>> {
    let mut jobs = Vec::with_capacity(count);
    for n in 0..count {
        jobs.push(client.pay(&format!("wake_{n}"), CHILD, "10.00").await?.expect(&[202])?.job_id()?);
        sleep(APART).await;
    }
    let mut wakes = Vec::with_capacity(count);
    for job in &jobs {
        let record = client.wait_for(job, &["done"], Duration::from_secs(60)).await?;
        let at = |event: &str| {
            let lines = record["timeline"].as_array()?;
            lines.iter().find(|line| line["event"] == event)?["at"].as_u64()
        };
        let (accepted, claimed) = at("accept").zip(at("claim")).context("not in the timeline")?;
        wakes.push(claimed.saturating_sub(accepted));
    }
    Ok(wakes)
}

/// Seconds of CPU that each process has used so far.
pub(crate) fn cpu_of(pids: &[i32]) -> Result<Vec<f64>> {
    let used = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in brackets, may hold anything; what follows is fields 3 and on.
        let fields: Vec<&str> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).context("too short")?.parse::<f64>().context("no number");
        Ok((ticks(11)? + ticks(12)?) / TICKS)
    };
    pids.iter().map(used).collect()
}

/// How often each command was run, also inside scripts.
async fn calls(world: &World) -> Result<BTreeMap<String, u64>> {
    let info = world.redis.cli(&["INFO", "commandstats"]).await?;
    let stats = info.lines().filter_map(|line| line.trim().strip_prefix("cmdstat_")?.split_once(":calls="));
    stats
        .map(|(name, rest)| {
            let calls = rest.split(',').next().unwrap_or_default();
            Ok((name.to_owned(), calls.parse().context("INFO commandstats")?))
        })
        .collect()
}

/// Everything that the server ran, also inside scripts.
pub async fn commands(world: &World) -> Result<u64> {
    let info = world.redis.cli(&["INFO", "stats"]).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    line.context("INFO stats")?.trim().parse().context("INFO stats")
}
