//! How many webhooks a second are taken, against a server that only echoes, and against the script behind them alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use shared::tasks::half_of_the_cores;
use tokio::task::JoinSet;

use super::Size;
use super::echo::Echo;
use super::figures::{Figure, Report, percentile};
use super::{lane, load, memory};
use crate::world::client::payment;
use crate::world::settings::WEBHOOK_SECRET;
use crate::world::{Delivery, World};

const CONNECTIONS: usize = 100;
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 5;

pub(super) async fn measure(size: Size) -> Result<Report> {
    let mut figures = Vec::new();
    for (is_durable, name, of_echo) in [(true, "AOF always", 0.15), (false, "no AOF", 0.25)] {
        let (found, resident) = of_one(size, is_durable).await.with_context(|| name.to_owned())?;
        let ratio =
            |of: &[f64], to: &[f64]| -> Vec<f64> { of.iter().zip(to).map(|(of, to)| of / to).collect() };
        let rates: Vec<f64> = found.iter().map(|round| round.intake).collect();
        let echoes: Vec<f64> = found.iter().map(|round| round.echo).collect();
        let scripts: Vec<f64> = found.iter().map(|round| round.script).collect();
        let p99: Vec<f64> = found.iter().map(|round| round.p99).collect();
        figures.push(Figure::of(&format!("{name}: webhooks"), "/s", &rates));
        figures.push(Figure::of(&format!("{name}: echo"), "/s", &echoes));
        figures.push(Figure::of(&format!("{name}: the script alone"), "/s", &scripts));
        let against_echo = Figure::of(&format!("{name}: against the echo"), "", &ratio(&rates, &echoes));
        figures.push(against_echo.at_least(of_echo).ratio());
        if is_durable {
            let figure = Figure::of(&format!("{name}: against the script"), "", &ratio(&rates, &scripts));
            figures.push(figure.at_least(0.6).ratio());
        }
        figures.push(Figure::of(&format!("{name}: p99"), "ms", &p99).at_most(30.0));
        let resident = Figure::of(&format!("{name}: resident, API, most"), "MB", &[resident]);
        figures.push(resident.at_most(60.0).ratio());
    }
    Ok(Report {
        subject: "intake".into(),
        about: format!(
            "{} webhooks a round over {CONNECTIONS} connections, signature checked, each a payment of its own; API and echo with {} threads; {ROUNDS} rounds",
            size.of(REQUESTS),
            half_of_the_cores()
        ),
        figures,
    })
}

struct Round {
    intake: f64,
    echo: f64,
    script: f64,
    p99: f64,
}

/// The rounds, and the most megabytes that were resident of the API.
async fn of_one(size: Size, is_durable: bool) -> Result<(Vec<Round>, f64)> {
    let durability = if is_durable { "always" } else { "none" };
    let threads = half_of_the_cores();
    let mut builder = World::builder().api_env("DURABILITY", durability).api_env("RUST_LOG", "warn");
    builder = builder.api_env("API_THREADS", threads);
    builder = builder.relayer_env("DURABILITY", durability);
    let mut world = builder.start().await?;
    let client = world.client()?;
    world.leader(Duration::from_secs(60)).await?;
    load::register(&client).await?;
    // What is measured is the intake: nobody works on what it takes.
    world.kill_relayer(0, crate::world::Signal::SIGTERM).await?;
    if !is_durable {
        world.redis.cli(&["CONFIG", "SET", "appendonly", "no"]).await?;
    }
    let echo = Echo::start(threads, world.folder(), world.reaper()).await?;
    let url = format!("{}/webhooks/payments", world.api.as_ref().context("no API")?.url());
    let (store, rules) = (lane::connect(&world, durability).await?, lane::rules()?);
    let count = size.of(REQUESTS);
    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let (echoed, _) = posted(&echo.url(), signed(&format!("echo_{round}"), count)?, 200).await?;
        let (taken, p99) = posted(&url, signed(&format!("intake_{round}"), count)?, 202).await?;
        let began = Instant::now();
        lane::accept(&store, rules, &format!("script_{round}"), count, CONNECTIONS).await?;
        let script = count as f64 / began.elapsed().as_secs_f64();
        // The first is to warm up.
        if round > 0 {
            rounds.push(Round { intake: taken, echo: echoed, script, p99 });
        }
    }
    let api = world.api.as_mut().context("no API")?.process().pid().as_raw();
    Ok((rounds, memory::peak(api)?))
}

/// Deliveries with their signatures, so that making them is not measured.
fn signed(prefix: &str, count: usize) -> Result<Vec<(Delivery, String)>> {
    let secret = standardwebhooks::Webhook::new(WEBHOOK_SECRET)?;
    let deliveries = (0..count).map(|n| {
        let wallet = load::child(n % load::CHILDREN);
        let delivery = Delivery::now(&payment("succeeded", &format!("{prefix}_{n}"), &wallet, "10.00"));
        let timestamp = i64::try_from(delivery.timestamp)?;
        let signature = secret.sign(&delivery.id, timestamp, &delivery.body)?;
        Ok((delivery, signature))
    });
    deliveries.collect()
}

/// Posts them all, and gives how many a second were answered with `status`, and the 99th percentile in milliseconds.
async fn posted(url: &str, deliveries: Vec<(Delivery, String)>, status: u16) -> Result<(f64, f64)> {
    let http = reqwest::Client::builder().pool_max_idle_per_host(CONNECTIONS).build()?;
    let (deliveries, next) = (Arc::new(deliveries), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let mut connections = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (deliveries, next, http, url) = (deliveries.clone(), next.clone(), http.clone(), url.to_owned());
        connections.spawn(async move {
            let mut waits = Vec::new();
            while let Some((delivery, signature)) = deliveries.get(next.fetch_add(1, Ordering::Relaxed)) {
                let sent = Instant::now();
                let request = http
                    .post(&url)
                    .header("content-type", "application/json")
                    .header("webhook-id", &delivery.id)
                    .header("webhook-timestamp", delivery.timestamp)
                    .header("webhook-signature", signature)
                    .body(delivery.body.clone());
                let response = request.send().await?;
                let answered = response.status().as_u16();
                let body = response.text().await?;
                ensure!(answered == status, "expected {status}, got {answered} {body}");
                waits.push(sent.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(waits)
        });
    }
    let waits = connections.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    let took = began.elapsed().as_secs_f64();
    let mut waits: Vec<f64> = waits.into_iter().flatten().collect();
    waits.sort_by(f64::total_cmp);
    Ok((waits.len() as f64 / took, percentile(&waits, 99.0)))
}
