//! Payments that arrive before their wallet's registration is on-chain wait for it, and hardly any longer.

mod support;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use support::{at_once, quick, settled_once, until_idle, wallet};

const WALLETS: u16 = 1_000;
const PAYMENTS: usize = 3;
/// As the node makes them, in milliseconds.
const BLOCK: u64 = 1_000;

/// When the job's timeline first shows `event`, in unix milliseconds.
fn first(record: &Value, event: &str) -> Option<u64> {
    let lines = record["timeline"].as_array()?;
    lines.iter().find(|line| line["event"] == event)?["at"].as_u64()
}

#[tokio::test]
async fn three_thousand_payments_among_their_thousand_registrations_are_all_paid_at_once() -> Result<()> {
    let world = quick().relayers(3).start().await?;
    let client = world.client()?;
    let seed: u64 = rand::random();
    eprintln!("the seed of this run: {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut order: Vec<u16> = (0..WALLETS).collect();
    order.shuffle(&mut rng);
    // A wallet registers before it pays; whose turn it is among a thousand is left to chance.
    let wallets = order.iter().map(|n| {
        let (client, n, pause) = (&client, *n, rng.random_range(0..40));
        async move {
            let child = wallet(0xc2, n);
            let registration = client.register(&child, Some(&wallet(0xb2, n % 200))).await?;
            let registration = registration.expect(&[202])?.job_id()?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let mut payments = Vec::new();
            for nth in 0..PAYMENTS {
                let id = format!("early_{n}_{nth}");
                payments.push(client.pay(&id, &child, "10.00").await?.expect(&[202])?.job_id()?);
            }
            Ok((registration, payments))
        }
    });
    let jobs = at_once(wallets).await?;
    until_idle(&client, Duration::from_secs(120)).await?;
    let all: Vec<String> =
        jobs.iter().flat_map(|(job, payments)| [job].into_iter().chain(payments)).cloned().collect();
    settled_once(&world, &client, &all, usize::from(WALLETS) * PAYMENTS).await?;

    let mut waits = Vec::new();
    for (registration, payments) in &jobs {
        let record = client.job(registration).await?;
        // A leader that was held up sees the inclusion and its confirmations at once.
        let included = first(&record, "include").or_else(|| first(&record, "finish"));
        let included = included.context("never included")?;
        for record in at_once(payments.iter().map(|job| client.job(job))).await? {
            if let Some(released) = first(&record, "release") {
                waits.push(released.saturating_sub(included));
            }
        }
    }
    waits.sort_unstable();
    let median = waits.get(waits.len() / 2).copied().context("no payment waited")?;
    eprintln!(
        "{} payments waited; median {median} ms after inclusion, at most {:?} ms",
        waits.len(),
        waits.last()
    );
    ensure!(waits.len() >= 1_000, "only {} payments had to wait: this shows little", waits.len());
    ensure!(median <= BLOCK, "the median payment waited {median} ms after its registration was included");
    Ok(())
}
