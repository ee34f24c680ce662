//! Waits until everything has come to rest, and watches that nothing is called done too early.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use alloy::providers::{Provider as _, ProviderBuilder};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::schedule::unfinished;
use super::verify::{Watched, Where};
use crate::world::Client;

const TICK: Duration = Duration::from_millis(250);
/// The gate that only people open again.
const RECONCILE: &str = "lane:reconcile";

/// The height of the chain.
pub async fn head(at: &Where) -> Result<u64> {
    let node = ProviderBuilder::new().connect_http(at.rpc.parse()?);
    Ok(node.get_block_number().await?)
}

/// How long everything has to be at rest: a leader looks at least once a second.
const AT_REST: Duration = Duration::from_millis(1_500);

/// Waits until no job is unfinished, no nonce open and no gate closed, and stays so for a while. Where somebody `resumes`, it
/// is done for them.
pub async fn until_settled(client: &Client, limit: Duration, resumes: bool) -> Result<()> {
    let deadline = Instant::now() + limit;
    let mut since = None;
    loop {
        let last = match left(client, resumes).await {
            Ok(None) if since.get_or_insert_with(Instant::now).elapsed() >= AT_REST => return Ok(()),
            Ok(None) => String::from("not for long enough"),
            Ok(Some(left)) => {
                since = None;
                left
            }
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!("not settled after {limit:?}: {last}; unfinished: {}", unfinished(client).await);
        }
        tokio::time::sleep(TICK).await;
    }
}

/// What is not at rest yet.
async fn left(client: &Client, resumes: bool) -> Result<Option<String>> {
    let stats = client.get("/api/stats").await?.expect(&[200])?.body;
    let states = stats["states"].as_array().context("states")?;
    let unfinished: u64 = states
        .iter()
        .filter(|entry| ["pending", "processing", "retrying"].iter().any(|state| entry["state"] == **state))
        .filter_map(|entry| entry["count"].as_u64())
        .sum();
    let fleet = client.get("/api/fleet").await?.expect(&[200])?.body;
    let signers = fleet["signers"].as_array().context("signers")?;
    let open: u64 = signers.iter().filter_map(|signer| signer["open"].as_u64()).sum();
    let gates: Vec<&Value> = fleet["closed_gates"].as_array().into_iter().flatten().collect();
    if resumes && gates.iter().any(|gate| gate["gate"] == RECONCILE) {
        client.resume("reconcile", "looked at it").await?.expect(&[200])?;
    }
    let is_synced = fleet["sync"]["synced"] == true;
    if unfinished == 0 && open == 0 && gates.is_empty() && is_synced {
        return Ok(None);
    }
    Ok(Some(format!("{unfinished} jobs, {open} nonces, gates {gates:?}, synced: {is_synced}")))
}

/// Which jobs are shown as done, and the head right after they first were.
pub struct Watch<'a> {
    client: &'a Client,
    at: &'a Where,
    seen: Mutex<Watched>,
}

impl<'a> Watch<'a> {
    pub fn new(client: &'a Client, at: &'a Where) -> Self {
        Self { client, at, seen: Mutex::default() }
    }

    pub fn seen(&self) -> Watched {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Watches for ever. A moment without answer is no verdict: the next look sees the same.
    pub async fn run(&self) {
        loop {
            self.look().await.ok();
            tokio::time::sleep(TICK).await;
        }
    }

    async fn look(&self) -> Result<()> {
        let page = self.client.jobs("state=done&limit=100").await?.expect(&[200])?.body;
        let head = head(self.at).await?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for job in page["jobs"].as_array().into_iter().flatten() {
            if let Some(id) = job["id"].as_str() {
                seen.entry(id.to_owned()).or_insert(head);
            }
        }
        Ok(())
    }
}
