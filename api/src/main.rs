//! `affiliate-api`: serves; `affiliate-api openapi` prints the OpenAPI document.

use std::process::ExitCode;

use api::{App, Config, DRAIN, Listening};
use shared::env::Env;
use shared::tasks::{Tasks, watch_signals};
use shared::telemetry;

/// `EX_USAGE` of sysexits: the configuration or the arguments are wrong.
const BAD_CONFIGURATION: u8 = 64;
/// `EX_UNAVAILABLE`: something outside that is needed is not there, or not fit.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["run"] => {}
        ["openapi"] => {
            print!("{}", api::openapi());
            return ExitCode::SUCCESS;
        }
        _ => {
            return refuse(BAD_CONFIGURATION, &["usage: affiliate-api [run | openapi]".to_owned()]);
        }
    }
    let config = match Config::read(Env::process()) {
        Ok(config) => config,
        Err(problems) => return refuse(BAD_CONFIGURATION, &problems),
    };
    shared::tls::install_provider();
    telemetry::start(config.log_format, &config.log_filter);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(config.threads).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(config)),
        Err(error) => refuse(UNAVAILABLE, &[format!("cannot start the runtime: {error}")]),
    }
}

async fn run(config: Config) -> ExitCode {
    let listen = config.listen;
    let tasks = Tasks::new();
    let app = match App::start(config, &tasks).await {
        Ok(app) => app,
        Err(problems) => return refuse(UNAVAILABLE, &problems),
    };
    let listening = match Listening::on(listen).await {
        Ok(listening) => listening,
        Err(error) => return refuse(UNAVAILABLE, &[format!("API_LISTEN={listen}: cannot listen: {error}")]),
    };
    tracing::info!(address = %listening.address, "ready for requests");

    tasks.spawn(watch_signals(tasks.shutdown()));
    tasks.critical("server", listening.serve(app, tasks.shutdown()));
    tasks.wait_for_shutdown().await;
    if tasks.drain(DRAIN).await { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says every problem, one per line, and gives the exit code.
fn refuse(code: u8, problems: &[String]) -> ExitCode {
    for problem in problems {
        eprintln!("affiliate-api: {problem}");
    }
    ExitCode::from(code)
}
