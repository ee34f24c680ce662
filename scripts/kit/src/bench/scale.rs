//! Checks per second with one, two and four relayers, each question to the node 20 ms late.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::Size;
use super::figures::{Figure, Report};
use super::{lane, load};
use crate::world::{Fault, Node, World};

const JOBS: usize = 6_000;
const LATE: u64 = 20;
/// Few a claim, so that the wait for the node is what takes the time.
const CLAIM_COUNT: usize = 10;
const CALLERS: usize = 100;
const WITHIN: Duration = Duration::from_secs(300);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let jobs = size.of(JOBS);
    let mut rates = Vec::new();
    for relayers in [1, 2, 4] {
        rates.push(checks(relayers, jobs).await?);
    }
    let mut figures: Vec<Figure> = rates
        .iter()
        .zip([1, 2, 4])
        .map(|(rate, relayers)| Figure::of(&format!("checks, relayers: {relayers}"), "/s", &[*rate]))
        .collect();
    for (rate, relayers) in rates.iter().zip([1.0, 2.0, 4.0]).skip(1) {
        let name = format!("of what {relayers} times one would do");
        figures.push(Figure::of(&name, "", &[rate / (rates[0] * relayers)]).at_least(0.8).ratio());
    }
    let about = format!(
        "{jobs} jobs checked while signing is paused, {CLAIM_COUNT} a claim, each answer of the node {LATE} ms late"
    );
    Ok(Report { subject: "scale".into(), about, figures })
}

async fn checks(relayers: usize, jobs: usize) -> Result<f64> {
    let mut world = World::builder()
        .limit("USDC_WINDOW_LIMIT", u64::MAX)
        .relayers(relayers)
        .lease_ttl(Duration::from_secs(600))
        .endpoints(&[Node::Proxy(Fault::Slow(LATE))])
        .relayer_env("CLAIM_COUNT", CLAIM_COUNT)
        .relayer_env("RUST_LOG", "warn")
        .start()
        .await?;
    let client = world.client()?;
    load::register(&client).await?;
    client.pause("signing", "only checks are measured").await?.expect(&[200])?;
    let (store, rules) = (lane::connect(&world, "always").await?, lane::rules()?);
    for index in 0..relayers {
        world.relayer(index)?.signal(Signal::SIGSTOP)?;
    }
    lane::accept(&store, rules, "checked", jobs, CALLERS).await?;
    let began = Instant::now();
    for index in 0..relayers {
        world.relayer(index)?.signal(Signal::SIGCONT)?;
    }
    loop {
        let ready: usize = world.redis.cli(&["XLEN", &world.key("ready")]).await?.parse()?;
        if ready >= jobs {
            return Ok(jobs as f64 / began.elapsed().as_secs_f64());
        }
        ensure!(began.elapsed() < WITHIN, "{ready} of {jobs} jobs are checked after {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
