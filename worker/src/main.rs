//! `affiliate-relayer`: config, telemetry, build, spawn, drain.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::clock::Clock;
use shared::env::Env;
use shared::store::Store;
use shared::tasks::{Tasks, watch_signals};
use shared::telemetry;
use tokio::sync::watch;
use worker::chain::Chain;
use worker::chain::alloy::AlloyChain;
use worker::commands::{EXIT_CONFIG, EXIT_UNAVAILABLE, connect, max_loss, migrate, refuse};
use worker::config::Config;
use worker::context::{Context, Dice};
use worker::keys::SignerKey;
use worker::metrics::Metrics;
use worker::{build, consumer, doctor, heartbeat, movers, preflight, reconcile, serve, signer};

/// How long shutdown may take.
const DRAIN: Duration = Duration::from_secs(20);

#[derive(Parser)]
#[command(name = "affiliate-relayer", version, about = "Pays affiliates on-chain, exactly once.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Clone, Copy)]
enum Command {
    /// Claims jobs and, when elected, signs them. The default.
    Run,
    /// Creates the consumer group and the schema version in Redis, and needs nothing else. Safe to run again.
    Migrate,
    /// Holds every event of the contracts against Redis, and everything that is done against the contracts. Only reads.
    Reconcile(reconcile::Options),
    /// Checks everything that a working lane rests on, and shows it on one screen. Only reads.
    Doctor(doctor::Options),
    /// Prints what a stolen relayer key could spend at the worst.
    MaxLoss,
}

#[tokio::main]
async fn main() -> ExitCode {
    let command = Cli::parse().command.unwrap_or(Command::Run);
    // Reads FAILPOINTS in builds with the feature `failpoints`, and is nothing in others.
    let _failpoints = fail::FailScenario::setup();
    shared::tls::install_provider();
    if let Command::Migrate = command {
        return migrate(Env::process()).await;
    }
    if let Command::Doctor(options) = command {
        return doctor::run(Env::process, options).await;
    }
    let config = match Config::read(Env::process()) {
        Ok(config) => config,
        Err(problems) => return refuse("the configuration is wrong", &problems, EXIT_CONFIG),
    };
    let key = match build::key(&config) {
        Ok(key) => key,
        Err(error) => return refuse("the signing key cannot be used", &[format!("{error:#}")], EXIT_CONFIG),
    };
    let metrics = Metrics::new();
    let chain = match build::chain(&config, key.address(), metrics.rpc()) {
        Ok(chain) => chain,
        Err(error) => {
            return refuse("the RPC endpoints cannot be used", &[format!("{error:#}")], EXIT_CONFIG);
        }
    };
    telemetry::start(config.log_format, &config.log_filter);
    if let Command::MaxLoss = command {
        return max_loss(&*chain, key.address()).await;
    }
    match connect(&config.redis).await {
        Ok(store) if let Command::Reconcile(options) = command => {
            reconcile::run(&config, &store, &*chain, options).await
        }
        Ok(store) => run(config, store, chain, key, metrics).await,
        Err(refused) => refused,
    }
}

async fn run(
    config: Config,
    store: Store,
    endpoints: Arc<AlloyChain>,
    key: Arc<dyn SignerKey>,
    metrics: Arc<Metrics>,
) -> ExitCode {
    let chain: Arc<dyn Chain> = endpoints.clone();
    let problems = preflight::problems(&config, &store, &endpoints, key.address()).await;
    if !problems.is_empty() {
        return refuse("cannot start", &problems, EXIT_UNAVAILABLE);
    }
    let listener = match serve::bind(config.metrics_listen).await {
        Ok(listener) => listener,
        Err(error) => {
            let problem = format!("METRICS_LISTEN={}: {error}", config.metrics_listen);
            return refuse("cannot listen", &[problem], EXIT_UNAVAILABLE);
        }
    };
    let tasks = Tasks::new();
    let (heads_out, heads) = watch::channel(None);
    let (worker, boot) = build::names();
    let heads_config = build::heads(&config);
    let ctx = Context {
        config: Arc::new(config),
        store: store.clone(),
        chain: chain.clone(),
        key,
        heads,
        leading: watch::Sender::new(None),
        silent: Arc::default(),
        metrics: metrics.clone(),
        clock: Clock::start(),
        dice: Dice::of_the_system(),
        worker,
        boot,
        shutdown: tasks.shutdown(),
    };
    tracing::info!(worker.id = %ctx.worker, boot.id = %ctx.boot, signer = %ctx.signer(), "starting");
    tasks.spawn(watch_signals(tasks.shutdown()));
    tasks.critical("endpoints", endpoints.watch_endpoints(tasks.shutdown()));
    tasks.critical(
        "heads",
        worker::chain::heads::follow_heads(chain, heads_config, heads_out, tasks.shutdown()),
    );
    tasks.critical("metrics", serve::serve(listener, store, metrics, tasks.shutdown()));
    tasks.critical("claim", consumer::claim(ctx.clone()));
    tasks.critical("reclaim", consumer::reclaim(ctx.clone()));
    tasks.critical("movers", movers::run(ctx.clone()));
    tasks.critical("heartbeat", heartbeat::run(ctx.clone()));
    tasks.critical("signer", signer::run(ctx));
    tasks.wait_for_shutdown().await;
    if tasks.drain(DRAIN).await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
