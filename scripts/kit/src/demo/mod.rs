//! `kit demo`: the whole system on real parts, a dead leader included, checked to the base unit.

pub mod data;
pub mod input;
pub mod oracle;
pub mod play;
pub mod report;
pub mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::world::settings::{MERCHANT_KEY, OPERATOR_KEY, VIEWER_KEY};
use crate::world::{Mining, World, paths};
use input::Input;
use oracle::Terms;

const USDC_CAP: u128 = 1_000_000_000;
const SGE_CAP: u128 = 10_000_000_000_000_000_000_000;

/// How many differences are printed.
const SHOWN: usize = 40;

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// End after the table: exit code 0 if all sums agree, else 1.
    #[arg(long)]
    once: bool,
    /// Events per second.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// The folder of registrations.jsonl and payments.jsonl.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Copy all logs to this folder at the end.
    #[arg(long)]
    logs: Option<PathBuf>,
}

/// Runs it. The world is gone when this returns, or when the future is dropped.
pub async fn run(options: Options) -> Result<ExitCode> {
    ensure!(options.rate > 0.0, "--rate must be above zero");
    let folder = options.data.clone().unwrap_or_else(|| paths::root().join("scripts/data"));
    let input = Input::load(&folder)?;
    eprintln!("starting Redis, Anvil, the contracts, three relayers and the API");
    let mut world = World::builder()
        .relayers(3)
        .mining(Mining::Every(1))
        .confirmations(2)
        .lease_ttl(Duration::from_secs(3))
        .limit("USDC_CAP", USDC_CAP)
        .limit("SGE_CAP", SGE_CAP)
        .limit("USDC_WINDOW_LIMIT", "max")
        .limit("SGE_WINDOW_LIMIT", "max")
        .start()
        .await?;
    let expected = oracle::expect(&input, &terms(&world)?)?;
    addresses(&world)?;

    let played = play::play(&mut world, &input, options.rate).await;
    if let Some(folder) = &options.logs {
        play::keep_logs(&world, folder)?;
    }
    let seen = played.with_context(|| world.all_logs(8))?;
    let chain = verify::read_chain(&world.contracts, &expected).await?;
    println!("\n{}", report::report(&seen, &chain));
    let differences = verify::differences(&input, &expected, &seen, &chain);
    for difference in differences.iter().take(SHOWN) {
        println!("DIFFERENT: {difference}");
    }
    if let Some(more @ 1..) = differences.len().checked_sub(SHOWN) {
        println!("… and {more} more differences");
    }
    let agreed = differences.is_empty();
    println!("{}", if agreed { "All sums and answers agree." } else { "Sums or answers differ." });
    if !options.once {
        addresses(&world)?;
        eprintln!("up until Ctrl-C");
        std::future::pending::<()>().await;
    }
    Ok(if agreed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn terms(world: &World) -> Result<Terms> {
    let programme = &world.settings.programme;
    let (whole, tenths) = programme.sge_per_usdc.split_once('.').context("a rate with one decimal")?;
    ensure!(tenths.len() == 1, "a rate with one decimal");
    let rate = whole.parse::<u128>()? * 10 + tenths.parse::<u128>()?;
    Ok(Terms {
        commission_bps: programme.commission_bps.into(),
        hybrid_sge_bps: programme.hybrid_sge_bps.into(),
        sge_units_per_usdc: rate * 10u128.pow(17),
        usdc_cap: USDC_CAP,
        sge_cap: SGE_CAP,
    })
}

fn addresses(world: &World) -> Result<()> {
    let api = world.api.as_ref().context("the demo has an API")?.url();
    eprintln!("  API    {api}");
    eprintln!("  docs   {api}/docs");
    eprintln!("  Redis  {}", world.redis.url());
    eprintln!("  RPC    {}", world.anvil.url());
    for relayer in &world.relayers {
        eprintln!("  relayer {} metrics  {}", relayer.index, relayer.metrics_url());
    }
    let contracts = &world.contracts.addresses;
    eprintln!("  registry {}, payout {}", contracts.registry, contracts.payout);
    eprintln!("  API keys: {VIEWER_KEY} (viewer), {MERCHANT_KEY} (merchant), {OPERATOR_KEY} (operator)");
    Ok(())
}
