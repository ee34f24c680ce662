//! What the end-to-end tests share.

use std::time::Duration;

use alloy::primitives::Address;
use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use kit::world::contracts::RELAYER;
use kit::world::process::until;
use kit::world::{Builder, Client, World, metric, paths};
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

/// Makes blocks too dear for what `job` was signed with, so that it wants a better paid attempt. Blocks are made by hand.
pub(crate) async fn price_out(world: &World, client: &Client, job: &str) -> Result<()> {
    at_stage(client, job, "submitted").await?;
    world.anvil.set_next_base_fee(100_000_000_000).await?;
    world.anvil.mine(1).await
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

/// How many requests the helpers below keep in flight.
const IN_FLIGHT: usize = 32;

/// Runs `requests` with a bounded number of them in flight; the answers in order.
pub(crate) async fn at_once<T>(
    requests: impl IntoIterator<Item = impl Future<Output = Result<T>>>,
) -> Result<Vec<T>> {
    futures::stream::iter(requests).buffered(IN_FLIGHT).try_collect().await
}

/// Registers `count` children, each with a referrer of its own, and waits until all are done.
pub(crate) async fn children(client: &Client, count: u16) -> Result<Vec<String>> {
    let children: Vec<String> = (0..count).map(|n| wallet(0xc1, n)).collect();
    let jobs = at_once((0..count).map(|n| {
        let child = &children[usize::from(n)];
        async move { client.register(child, Some(&wallet(0xb1, n))).await?.expect(&[202])?.job_id() }
    }))
    .await?;
    for job in &jobs {
        client.wait_for(job, &["done"], LIMIT).await?;
    }
    Ok(children)
}

/// Pays `count` times for the children in turn, many requests in flight; the jobs.
pub(crate) async fn flood(
    client: &Client,
    children: &[String],
    count: usize,
    name: &str,
) -> Result<Vec<String>> {
    at_once((0..count).map(|n| {
        let child = &children[n % children.len()];
        async move { client.pay(&format!("{name}_{n}"), child, "10.00").await?.expect(&[202])?.job_id() }
    }))
    .await
}

/// The number of jobs in `state`, as the API counts.
pub(crate) async fn count_in(client: &Client, state: &str) -> Result<u64> {
    let stats = client.get("/api/stats").await?.expect(&[200])?.body;
    let states = stats["states"].as_array().context("states")?;
    let found = states.iter().find(|entry| entry["state"] == state);
    found.and_then(|entry| entry["count"].as_u64()).with_context(|| format!("no state {state}"))
}

/// Waits until nothing is unfinished.
pub(crate) async fn until_idle(client: &Client, limit: Duration) -> Result<()> {
    until("every job to end", limit, || async {
        let mut left = 0;
        for state in ["pending", "processing", "retrying"] {
            left += count_in(client, state).await?;
        }
        ensure!(left == 0, "{left} are unfinished");
        Ok(Some(()))
    })
    .await
}

/// Each of `jobs` is done and was never charged; the chain has exactly `payments` payments, each once; no nonce is open.
pub(crate) async fn settled_once(
    world: &World,
    client: &Client,
    jobs: &[String],
    payments: usize,
) -> Result<()> {
    let records = at_once(jobs.iter().map(|job| client.job(job))).await?;
    for record in &records {
        ensure!(record["state"] == "done" && record["attempts"] == 0, "not as it should be: {record:#}");
    }
    let mut ids: Vec<_> = world.contracts.paid().await?.iter().map(|event| event.payment_id).collect();
    ids.sort();
    let events = ids.len();
    ids.dedup();
    ensure!(ids.len() == events, "{} payments were paid twice", events - ids.len());
    ensure!(events == payments, "{events} payments on the chain, {payments} expected");
    nonces_are_closed(world).await
}

/// Milliseconds of Redis's clock.
pub(crate) async fn redis_now(world: &World) -> Result<u64> {
    let time = world.redis.cli(&["TIME"]).await?;
    let (seconds, micros) = time.split_once('\n').context("TIME")?;
    Ok(seconds.trim().parse::<u64>()? * 1000 + micros.trim().parse::<u64>()? / 1000)
}

/// What happened to the lease: time, `acquired` or `released`, value; oldest first.
pub(crate) async fn lease_changes(world: &World) -> Result<Vec<(u64, String, String)>> {
    let text = world.redis.cli(&["XRANGE", &world.key("lease:changes"), "-", "+"]).await?;
    let lines: Vec<&str> = text.lines().collect();
    // Seven lines per entry: its id, then the names and values of at, event and value.
    let entries = lines.chunks(7).map(|entry| {
        let [_, "at", at, "event", event, "value", value] = entry else { anyhow::bail!("{entry:?}") };
        Ok((at.parse()?, (*event).to_owned(), (*value).to_owned()))
    });
    entries.collect()
}

/// Waits until the leader has looked at `block` or a later one: payouts are checked and signed on top of what it has seen.
pub(crate) async fn seen_by_leader(world: &mut World, block: u64) -> Result<()> {
    let leader = world.leader(LIMIT).await?;
    let relayer = &*world.relayer(leader)?;
    until("the leader to see the block", LIMIT, || async {
        let head = metric(&relayer.metrics().await?, "ail_chain_head").context("no ail_chain_head")?;
        Ok((head >= block as f64).then_some(()))
    })
    .await
}
