//! What the subjects share: wallets, registrations, and payments at a steady rate.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::world::Client;

/// Payments that may be on their way at once at a steady rate: more means that the API does not keep up.
const MOST_AT_ONCE: usize = 500;

/// The `n`th child. Nobody has its key.
pub(crate) fn child(n: usize) -> String {
    format!("0x{:040x}", 0xc0_0000_0000_u64 + n as u64)
}

/// The referrer of the `n`th child.
pub(crate) fn referrer(n: usize) -> String {
    format!("0x{:040x}", 0xa0_0000_0000_u64 + n as u64)
}

/// Registers children with a referrer each, and waits until the chain has them.
pub(crate) async fn register(client: &Client, children: usize) -> Result<()> {
    let mut jobs = Vec::with_capacity(children);
    for n in 0..children {
        jobs.push(client.register(&child(n), Some(&referrer(n))).await?.expect(&[202])?.job_id()?);
    }
    for job in &jobs {
        client.wait_for(job, &["done"], Duration::from_secs(120)).await?;
    }
    Ok(())
}

/// Makes `count` payments, one every `apart`, whether or not those before were answered. Returns when each got its 2xx.
pub(crate) async fn steadily(
    client: &Client,
    prefix: &str,
    count: usize,
    apart: Duration,
    children: usize,
) -> Result<Vec<(String, Instant)>> {
    let (mut flying, mut answered) = (FuturesUnordered::new(), Vec::with_capacity(count));
    let began = tokio::time::Instant::now();
    let pay = |n: usize| {
        let id = format!("{prefix}_{n}");
        async move {
            client.pay(&id, &child(n % children), "10.00").await?.expect(&[202])?;
            anyhow::Ok((id, Instant::now()))
        }
    };
    for n in 0..count {
        let due = began + apart * u32::try_from(n)?;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(due), if flying.len() < MOST_AT_ONCE => break,
                Some(done) = flying.next() => answered.push(done?),
            }
        }
        flying.push(pay(n));
    }
    while let Some(done) = flying.next().await {
        answered.push(done?);
    }
    Ok(answered)
}
