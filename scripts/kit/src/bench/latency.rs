//! From a webhook's 2xx until the node has taken the transaction that pays it, over a proxy that notes when that was.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use anyhow::{Context as _, Result, ensure};

use super::Size;
use super::figures::{Figure, Report, percentile};
use super::load::{self, Answered};
use crate::chaos::verify::payment_id;
use crate::world::{Fault, Mining, Node, World};

/// Long enough that nothing of one payment is left when the next comes.
const IDLE_APART: Duration = Duration::from_millis(75);
const LOADED_APART: Duration = Duration::from_millis(5);
/// More than a block's at 200 payments a second, each of which is a transaction.
const OPEN_NONCES: usize = 1_000;
const SETTLED: Duration = Duration::from_secs(120);

pub(super) async fn measure(size: Size) -> Result<Report> {
    let world = World::builder()
        .limit("USDC_WINDOW_LIMIT", u64::MAX)
        .relayers(2)
        .endpoints(&[Node::Proxy(Fault::Pass)])
        .mining(Mining::Every(1))
        .relayer_env("MAX_OPEN_NONCES", OPEN_NONCES)
        .start()
        .await?;
    let client = world.client()?;
    load::register(&client).await?;
    load::steadily(&client, "warm", size.of(200), IDLE_APART).await?;

    let idle = load::steadily(&client, "idle", size.of(2_000), IDLE_APART).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let loaded = load::steadily(&client, "loaded", size.of(4_000), LOADED_APART).await?;
    let expected = size.of(200) + idle.len() + loaded.len();
    let carriers = carriers(&world, expected).await?;
    let taken = world.proxies.first().context("no proxy")?.taken();
    let mut sorted = Vec::new();
    for answered in [&idle, &loaded] {
        let waits = waits(answered, &carriers, &taken)?;
        if let Some((wait, slowest)) = waits.last() {
            let timeline = client.job(&slowest.job).await?["timeline"].take();
            eprintln!("the slowest took {wait:.1} ms: {timeline}");
        }
        sorted.push(waits.into_iter().map(|(wait, _)| wait).collect::<Vec<f64>>());
    }
    let [idle, loaded] = &sorted[..] else { unreachable!("of two") };
    Ok(Report {
        subject: "latency".into(),
        about: format!(
            "from the webhook's 2xx to the node's answer to eth_sendRawTransaction; AOF always, blocks of 1 s, MAX_OPEN_NONCES \
             {OPEN_NONCES}; {} payments alone, {} at 200/s",
            idle.len(),
            loaded.len()
        ),
        figures: vec![
            Figure::of("alone, p50", "ms", &[percentile(idle, 50.0)]).at_most(15.0),
            Figure::of("alone, p99", "ms", &[percentile(idle, 99.0)]).at_most(50.0),
            Figure::of("200 payments/s, p50", "ms", &[percentile(loaded, 50.0)]),
            Figure::of("200 payments/s, p99", "ms", &[percentile(loaded, 99.0)]).at_most(150.0),
        ],
    })
}

/// By which transaction each payment was paid.
async fn carriers(world: &World, expected: usize) -> Result<HashMap<B256, B256>> {
    let deadline = Instant::now() + SETTLED;
    loop {
        let paid = world.contracts.paid().await?;
        if paid.len() >= expected {
            return Ok(paid.into_iter().map(|paid| (paid.payment_id, paid.tx)).collect());
        }
        ensure!(
            Instant::now() < deadline,
            "{} of {expected} payments are paid after {SETTLED:?}",
            paid.len()
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Milliseconds between each payment's answer and its transaction's acceptance, sorted. A transaction that was there before
/// the answer was read counts as none.
fn waits<'a>(
    answered: &'a [Answered],
    carriers: &HashMap<B256, B256>,
    taken: &HashMap<B256, Instant>,
) -> Result<Vec<(f64, &'a Answered)>> {
    let mut waits = Vec::with_capacity(answered.len());
    for payment in answered {
        let id = payment_id("payments", &payment.id);
        let hash = carriers.get(&id).with_context(|| format!("{} was not paid", payment.id))?;
        let sent = taken.get(hash).with_context(|| format!("{hash} was never sent by the proxy"))?;
        waits.push((sent.saturating_duration_since(payment.at).as_secs_f64() * 1000.0, payment));
    }
    waits.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    Ok(waits)
}
