//! Checks per second with one, two and four relayers, each question to the node 20 ms late; and what limits payouts where they
//! are signed as well.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::Size;
use super::figures::{Figure, Report};
use super::{bare, lane, load, saturate};
use crate::world::{Builder, Fault, Node, World};

const JOBS: usize = 6_000;
const LATE: u64 = 20;
/// Few a claim, so that the wait for the node is what takes the time.
const CLAIM_COUNT: usize = 10;
const RELAYERS: [usize; 3] = [1, 2, 4];
const ROUNDS: usize = 3;
const CALLERS: usize = 100;
const WITHIN: Duration = Duration::from_secs(300);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let jobs = size.of(JOBS);
    let (mut rates, mut paid, mut shares) =
        (RELAYERS.map(|_| vec![]), RELAYERS.map(|_| vec![]), RELAYERS.map(|_| vec![]));
    for _ in 0..ROUNDS {
        for (at, relayers) in RELAYERS.into_iter().enumerate() {
            rates[at].push(checks(relayers, jobs).await?);
            let (rate, share) = payouts(relayers, jobs).await?;
            paid[at].push(rate);
            shares[at].push(share);
        }
    }
    let mut figures = Vec::new();
    for (rates, relayers) in rates.iter().zip(RELAYERS) {
        figures.push(Figure::of(&format!("checks, relayers: {relayers}"), "/s", rates));
    }
    for (many, relayers) in rates.iter().zip([1.0, 2.0, 4.0]).skip(1) {
        let name = format!("of what {relayers} times one would do");
        let ratios: Vec<f64> =
            many.iter().zip(&rates[0]).map(|(many, one)| many / (one * relayers)).collect();
        figures.push(Figure::of(&name, "", &ratios).at_least(0.8).ratio());
    }
    for ((rates, shares), relayers) in paid.iter().zip(&shares).zip(RELAYERS) {
        figures.push(Figure::of(&format!("payouts, relayers: {relayers}"), "/s", rates));
        let name = format!("share of the blocks that is ours, relayers: {relayers}");
        figures.push(Figure::of(&name, "", shares));
    }
    let about = format!(
        "{jobs} jobs checked while signing is paused, {CLAIM_COUNT} a claim, each answer of the node {LATE} ms late; then as many \
         paid in blocks of 1 s and 30M gas; {ROUNDS} rounds"
    );
    Ok(Report { subject: "scale".into(), about, figures })
}

fn world(relayers: usize) -> Builder {
    World::builder()
        .limit("USDC_WINDOW_LIMIT", u64::MAX)
        .relayers(relayers)
        .lease_ttl(Duration::from_secs(600))
        .endpoints(&[Node::Proxy(Fault::Slow(LATE))])
        .relayer_env("CLAIM_COUNT", CLAIM_COUNT)
        .relayer_env("RUST_LOG", "warn")
}

/// Has so many jobs wait before any relayer sees one. Returns when they began.
async fn queued(world: &mut World, jobs: usize) -> Result<Instant> {
    let (store, rules) = (lane::connect(world, "always").await?, lane::rules()?);
    for relayer in &mut world.relayers {
        relayer.signal(Signal::SIGSTOP)?;
    }
    lane::accept(&store, rules, "queued", jobs, CALLERS).await?;
    let began = Instant::now();
    for relayer in &mut world.relayers {
        relayer.signal(Signal::SIGCONT)?;
    }
    Ok(began)
}

async fn checks(relayers: usize, jobs: usize) -> Result<f64> {
    let mut world = world(relayers).start().await?;
    let client = world.client()?;
    load::register(&client).await?;
    client.pause("signing", "only checks are measured").await?.expect(&[200])?;
    let began = queued(&mut world, jobs).await?;
    loop {
        let ready: usize = world.redis.cli(&["XLEN", &world.key("ready")]).await?.parse()?;
        if ready >= jobs {
            return Ok(jobs as f64 / began.elapsed().as_secs_f64());
        }
        ensure!(began.elapsed() < WITHIN, "{ready} of {jobs} jobs are checked after {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Payouts per second until all are on the chain, and which part of the blocks meanwhile they fill.
async fn payouts(relayers: usize, jobs: usize) -> Result<(f64, f64)> {
    let mut world = saturate::in_full_blocks(world(relayers)).start().await?;
    load::register(&world.client()?).await?;
    let began = queued(&mut world, jobs).await?;
    bare::until_paid(&world, jobs, WITHIN).await?;
    let rate = jobs as f64 / began.elapsed().as_secs_f64();
    let shares = saturate::filled(&world).await?.shares;
    Ok((rate, shares.iter().sum::<f64>() / shares.len() as f64))
}
