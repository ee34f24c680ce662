//! What the end-to-end tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::time::Duration;

use alloy::primitives::Address;
use anyhow::{Context as _, Result, ensure};
use kit::world::contracts::RELAYER;
use kit::world::process::until;
use kit::world::{Builder, Client, World, paths};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Long enough for anything on a busy machine, short enough to end.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// The `n`th wallet of a kind; nobody has its key.
pub(crate) fn wallet(kind: u8, n: u16) -> String {
    let mut bytes = [0x11u8; 20];
    bytes[0] = kind;
    bytes[18..].copy_from_slice(&n.to_be_bytes());
    Address::from(bytes).to_string()
}

/// A world whose relayers recover from each other's deaths within seconds.
pub(crate) fn quick() -> Builder {
    World::builder()
        .lease_ttl(Duration::from_secs(1))
        .relayer_env("RPC_TIMEOUT_MS", 500)
        .relayer_env("CLAIM_MIN_IDLE_MS", 2_500)
        .relayer_env("POLL_MS", 50)
}

/// Registers child 0 with referrer 0 and waits until that is done.
pub(crate) async fn registered(client: &Client) -> Result<(String, String)> {
    let (child, referrer) = (wallet(0xc0, 0), wallet(0xaf, 0));
    let job = client.register(&child, Some(&referrer)).await?.expect(&[202])?.job_id()?;
    client.wait_for(&job, &["done"], LIMIT).await?;
    Ok((child, referrer))
}

/// Pays `count` times for `child` and gives the jobs.
pub(crate) async fn pay(client: &Client, child: &str, count: usize, name: &str) -> Result<Vec<String>> {
    let mut jobs = Vec::new();
    for n in 0..count {
        let answer = client.pay(&format!("{name}_{n}"), child, "10.00").await?;
        jobs.push(answer.expect(&[202])?.job_id()?);
    }
    Ok(jobs)
}

/// The rules of a user in deploy/users.acl, with the digest of `password` where the template leaves a place for it.
pub(crate) fn acl_rules(user: &str, password: &str) -> Result<String> {
    let template = std::fs::read_to_string(paths::root().join("deploy/users.acl"))?;
    let mut lines = template.lines().filter_map(|line| line.strip_prefix(&format!("user {user} ")));
    let rules = lines.next().with_context(|| format!("no user {user} in deploy/users.acl"))?;
    let digest: String = Sha256::digest(password).iter().map(|byte| format!("{byte:02x}")).collect();
    let place = format!("@{}_SHA256@", user.to_uppercase());
    ensure!(rules.contains(&place), "no {place} in `{rules}`");
    Ok(rules.replace(&place, &digest))
}

/// Waits until a job is at `stage`.
pub(crate) async fn at_stage(client: &Client, job: &str, stage: &str) -> Result<Value> {
    until(&format!("job {job} to be {stage}"), LIMIT, || async {
        let record = client.job(job).await?;
        ensure!(record["stage"] == stage, "it is {}", record["stage"]);
        Ok(Some(record))
    })
    .await
}

/// All jobs are done, nobody was charged, each payment is on-chain exactly once, and no nonce is left over.
pub(crate) async fn all_paid_once(world: &World, client: &Client, jobs: &[String]) -> Result<()> {
    for job in jobs {
        let record = client.wait_for(job, &["done"], LIMIT).await?;
        ensure!(record["attempts"] == 0, "job {job} was charged: {record:#}");
    }
    let paid = world.contracts.paid().await?;
    let mut ids: Vec<_> = paid.iter().map(|event| event.payment_id).collect();
    ids.sort();
    let events = ids.len();
    ids.dedup();
    ensure!(ids.len() == events, "a payment was paid twice: {paid:?}");
    nonces_are_closed(world).await
}

/// Every nonce that the journal gave out is consumed and closed.
pub(crate) async fn nonces_are_closed(world: &World) -> Result<()> {
    let signer = format!("{RELAYER:#x}");
    until("every nonce to be closed", LIMIT, || async {
        let open = world.redis.cli(&["ZCARD", &world.key(&format!("open:{signer}"))]).await?;
        ensure!(open == "0", "{open} nonces are open");
        Ok(Some(()))
    })
    .await?;
    let next = world.redis.cli(&["HGET", &world.key(&format!("signer:{signer}")), "next"]).await?;
    let next: u64 = next.parse().context("the next nonce")?;
    let on_chain = world.contracts.relayer_nonce().await?;
    ensure!(next == on_chain, "the journal's next nonce is {next}, the chain's {on_chain}");
    Ok(())
}

/// How many transactions the journal has given a nonce so far.
pub(crate) async fn journaled(world: &World) -> Result<String> {
    let key = world.key(&format!("signer:{RELAYER:#x}"));
    world.redis.cli(&["HGET", &key, "journaled"]).await
}
