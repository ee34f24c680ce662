//! What the subjects share: wallets, registrations, and payments at a steady rate.

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use anyhow::Result;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::world::Client;

/// Children with a referrer each.
pub(crate) const CHILDREN: usize = 100;
/// Connections of whoever pays as fast as the API answers.
const CONNECTIONS: usize = 100;
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

/// The same two as the chain knows them.
pub(crate) fn pair(n: usize) -> Result<(Address, Address)> {
    Ok((child(n).parse()?, referrer(n).parse()?))
}

/// Makes `count` payments as fast as the API answers.
pub(crate) async fn at_once(client: &Client, prefix: &str, count: usize) -> Result<()> {
    let pay = async |n: usize| {
        client.pay(&format!("{prefix}_{n}"), &child(n % CHILDREN), "10.00").await?.expect(&[202]).map(drop)
    };
    futures::stream::iter(0..count).map(pay).buffer_unordered(CONNECTIONS).try_collect::<Vec<()>>().await?;
    Ok(())
}

/// Registers all children with a referrer each, and waits until the chain has them.
pub(crate) async fn register(client: &Client) -> Result<()> {
    let mut jobs = Vec::with_capacity(CHILDREN);
    for n in 0..CHILDREN {
        jobs.push(client.register(&child(n), Some(&referrer(n))).await?.expect(&[202])?.job_id()?);
    }
    for job in &jobs {
        client.wait_for(job, &["done"], Duration::from_secs(120)).await?;
    }
    Ok(())
}

/// A payment that got its 2xx.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) id: String,
    pub(crate) job: String,
    pub(crate) at: Instant,
}

/// Makes `count` payments, one every `apart`, whether or not those before were answered.
pub(crate) async fn steadily(
    client: &Client,
    prefix: &str,
    count: usize,
    apart: Duration,
) -> Result<Vec<Answered>> {
    let (mut flying, mut answered) = (FuturesUnordered::new(), Vec::with_capacity(count));
    let began = tokio::time::Instant::now();
    let pay = |n: usize| {
        let id = format!("{prefix}_{n}");
        async move {
            let job = client.pay(&id, &child(n % CHILDREN), "10.00").await?.expect(&[202])?.job_id()?;
            anyhow::Ok(Answered { id, job, at: Instant::now() })
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
