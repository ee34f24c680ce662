//! `affiliate-relayer doctor`: every precondition of a working lane on one screen, with an exit code for scripts.
//!
//! First all facts are asked for, of Redis and of the chain at the same time and each within a deadline (`ask.rs`); then
//! pure functions judge them (`server.rs`, `lane.rs`, `chain.rs`, `contracts.rs`), and the report is shown (`report.rs`,
//! `screen.rs`). `preflight.rs` judges with the same functions what a start rests on.
//!
//! Invariants: nothing is written and nothing signed; no secret is shown, endpoints are named by host and port; it is over
//! within twice `RPC_TIMEOUT_MS` and five seconds, whatever does not answer. docs/doctor.md lists every check.

mod ask;
pub(crate) mod chain;
pub(crate) mod contracts;
pub(crate) mod lane;
pub mod report;
pub mod screen;
pub(crate) mod server;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use shared::clock::Clock;
use shared::env::Env;

pub(crate) use ask::contracts as ask_contracts;
use ask::{ChainFacts, RedisFacts};
use report::{Check, Question, Report};
use screen::Screen;

use crate::build;
use crate::chain::ChainError;
use crate::chain::alloy::AlloyChain;
use crate::commands::EXIT_CONFIG;
use crate::config::{self, Config};
use crate::metrics::Metrics;

/// How the report is given.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Prints one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Exits with 1 for warnings, too.
    #[arg(long)]
    strict: bool,
}

/// Examines the lane that the environment describes. Exit code 0: nothing failed; 1: something did; 64: the configuration is
/// wrong, and nobody was asked; 69: neither Redis nor any endpoint answered.
pub async fn run(env: fn() -> Env<'static>, options: Options) -> ExitCode {
    let (title, report, code) = match configure(env()) {
        Ok((config, chain, signer)) => {
            let report = examine(&config, &chain, signer).await;
            let title = format!("affiliate-relayer doctor: chain {}, signer {signer}", config.chain_id);
            let code = report.exit_code(options.strict);
            (title, report, code)
        }
        Err(problems) => {
            let report = Report::new(vec![configuration(&problems)], false);
            ("affiliate-relayer doctor".to_owned(), report, EXIT_CONFIG)
        }
    };
    let mut out = std::io::stdout().lock();
    let screen = Screen { colours: out.is_terminal() && !config::wants_no_colours(env()) };
    let text = if options.json { format!("{}\n", report.json()) } else { screen.render(&title, &report) };
    // Whoever closed the pipe does not want to read it.
    let _ = out.write_all(text.as_bytes());
    ExitCode::from(code)
}

/// The configuration and what is built from it, or everything that is wrong with it.
fn configure(env: Env<'_>) -> Result<(Config, Arc<AlloyChain>, Address), Vec<String>> {
    let config = Config::read(env)?;
    let key =
        build::key(&config).map_err(|error| vec![format!("the signing key cannot be used: {error:#}")])?;
    let signer = key.address();
    let chain = build::chain(&config, signer, Metrics::new().rpc());
    let chain = chain.map_err(|error| vec![format!("the RPC endpoints cannot be used: {error:#}")])?;
    Ok((config, chain, signer))
}

fn configuration(problems: &[String]) -> Check {
    let question = Question::new("config", "every variable as README.md has it");
    match problems {
        [] => question.ok("complete"),
        _ => question.failed(problems.join("\n"), "mend these; nothing else was looked at"),
    }
}

/// Asks everybody, and judges the answers.
async fn examine(config: &Config, node: &AlloyChain, signer: Address) -> Report {
    let clock = Clock::start();
    let redis = async {
        let store = ask::connect(config).await;
        let facts = RedisFacts::of(&store, clock.clone()).await;
        (store, facts)
    };
    let ((store, redis), chain) = tokio::join!(redis, ChainFacts::ask(config, node, signer, clock.clone()));
    let journal = ask::journal(&store, signer).await;

    let wrong_chain = |error: &ChainError| matches!(error, ChainError::WrongChain { .. });
    let silent =
        chain.endpoints.iter().all(|view| view.answer.as_ref().is_err_and(|error| !wrong_chain(error)));
    let unreachable = silent && redis.connection.known().is_none();

    let lowest_since = redis.fleet.known().and_then(|fleet| {
        let (_, since) = fleet.signers.iter().find(|view| view.signer == signer)?.lowest?;
        Some(Duration::from_millis(fleet.now.saturating_sub(since)))
    });
    let mut checks = vec![configuration(&[]), server::reachable(&host(config), &redis.connection)];
    checks.push(server::latency(&redis.clock, config.lease));
    checks.extend(server::basics(&redis.server, config.redis.durability));
    checks.push(server::memory(&redis.server));
    checks.push(server::clock_skew(&redis.clock));
    checks.extend([
        lane::schema(&redis.schema),
        lane::group(&redis.checkup),
        lane::synced(&redis.fleet),
        lane::leader(&redis.fleet),
        lane::gates(&redis.fleet),
        lane::queue(&redis.fleet),
        lane::nonces(&journal, &chain.nonces, lowest_since),
        lane::failures(&redis.checkup),
        lane::records(&redis.checkup, &journal),
    ]);
    checks.extend(self::chain::endpoints(&chain.endpoints, config));
    checks.push(self::chain::clock(&chain.head, chain.now));
    checks.push(self::chain::base_fee(&chain.head, config.max_fee));
    checks.extend(contracts::deployment(&chain.contracts, config, signer));
    checks.push(contracts::decimals(&chain.decimals));
    checks.extend(contracts::paused(&chain.conditions));
    checks.push(contracts::gas_money(&chain.conditions, &chain.head, &chain.tip, config.max_fee));
    checks.extend(contracts::tokens(&chain.conditions));
    Report::new(checks, unreachable)
}

/// Host and port of Redis: the rest of its url may be secret.
fn host(config: &Config) -> String {
    let Ok(url) = config.redis.url.expose().parse::<crate::chain::alloy::Url>() else {
        return "REDIS_URL".to_owned();
    };
    let host = url.host_str().unwrap_or("?");
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
