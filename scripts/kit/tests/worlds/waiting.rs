//! Payments that arrive before their wallet's registration is on-chain wait for it, and hardly any longer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kit::world::{Client, Mining, World};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::support::{at_once, quick, settled_once, until_idle, wallet};

const WALLETS: u16 = 1_000;
const PAYMENTS: usize = 3;
/// Seconds between blocks. Long enough that a busy disk, which makes hundreds of releases one after the other slow, does not
/// decide this.
const BLOCK_TIME: u64 = 4;
/// The most milliseconds, in the median, between the leader's note that a transaction is in a block and the first release of
/// what waited for one of its registrations: a few writes. The movers would do it as well, but look once a second.
const AT_ONCE: u64 = 150;

/// The chain's blocks and when this test saw each of them first, in unix milliseconds of the Redis clock: a block's own time
/// is whole seconds, and what the relayers write down is when they saw it themselves.
#[derive(Default)]
struct Blocks(BTreeMap<u64, u64>);

impl Blocks {
    /// Looks for new blocks for as long as nobody drops it.
    async fn watch(&mut self, world: &World) -> Result<()> {
        let before = Instant::now();
        let time = world.redis.cli(&["TIME"]).await?;
        let asked = before + before.elapsed() / 2;
        let mut lines = time.lines().map(str::parse::<u64>);
        let (seconds, micros) = (lines.next().context("TIME")??, lines.next().context("TIME")??);
        let mut next = world.anvil.block_number().await? + 1;
        loop {
            let head = world.anvil.block_number().await?;
            let now = seconds * 1_000 + micros / 1_000 + asked.elapsed().as_millis() as u64;
            self.0.extend((next..=head).map(|number| (number, now)));
            next = next.max(head + 1);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// When the job's timeline first shows `event`, in unix milliseconds.
fn first(record: &Value, event: &str) -> Option<u64> {
    let lines = record["timeline"].as_array()?;
    lines.iter().find(|line| line["event"] == event)?["at"].as_u64()
}

/// How long payments waited, in milliseconds.
#[derive(Default)]
struct Waits {
    /// After the block with their registration was there.
    for_all: Vec<u64>,
    /// When the leader noted a transaction with registrations → how long until the first release that this brought.
    first_release: BTreeMap<u64, u64>,
}

async fn waits(client: &Client, blocks: &Blocks, jobs: &[(String, Vec<String>)]) -> Result<Waits> {
    let mut waits = Waits::default();
    for (registration, payments) in jobs {
        let record = client.job(registration).await?;
        let block = record["tx"]["block"].as_u64().with_context(|| format!("no block: {record:#}"))?;
        let included = *blocks.0.get(&block).with_context(|| format!("block {block} was never seen"))?;
        // All registrations of a transaction are noted in one script, so at one time. None where a leader that was held up
        // saw the inclusion and its confirmations at once.
        let noted = first(&record, "include");
        for record in at_once(payments.iter().map(|job| client.job(job))).await? {
            if let Some(released) = first(&record, "release") {
                // Some came in when the block was there, and the relayers had not seen it yet.
                let accepted = record["created_at"].as_u64().context("created_at")?;
                waits.for_all.push(released.saturating_sub(included.max(accepted)));
                if let Some(noted) = noted.filter(|noted| accepted < *noted) {
                    let first = waits.first_release.entry(noted).or_insert(u64::MAX);
                    *first = released.saturating_sub(noted).min(*first);
                }
            }
        }
    }
    Ok(waits)
}

/// The median of `waits`, and the longest.
fn median(mut waits: Vec<u64>) -> Result<(u64, u64)> {
    waits.sort_unstable();
    let longest = waits.last().copied().context("no payment waited")?;
    Ok((waits[waits.len() / 2], longest))
}

#[tokio::test]
async fn three_thousand_payments_among_their_thousand_registrations_are_all_paid_at_once() -> Result<()> {
    let world = quick().relayers(3).mining(Mining::Every(BLOCK_TIME)).start().await?;
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
    let mut blocks = Blocks::default();
    let jobs = tokio::select! {
        ended = blocks.watch(&world) => anyhow::bail!("the blocks cannot be watched: {ended:?}"),
        jobs = async {
            let jobs = at_once(wallets).await?;
            until_idle(&client, Duration::from_secs(240)).await?;
            Ok::<_, anyhow::Error>(jobs)
        } => jobs?,
    };
    let all: Vec<String> =
        jobs.iter().flat_map(|(job, payments)| [job].into_iter().chain(payments)).cloned().collect();
    settled_once(&world, &client, &all, usize::from(WALLETS) * PAYMENTS).await?;

    let waits = waits(&client, &blocks, &jobs).await?;
    let count = waits.for_all.len();
    let notes = waits.first_release.len();
    let ((whole, longest), (release, _)) =
        (median(waits.for_all)?, median(waits.first_release.into_values().collect())?);
    eprintln!("{count} payments waited: median {whole} ms after the block, at most {longest} ms");
    eprintln!("first release after each of {notes} notes: median {release} ms");
    ensure!(count >= 1_000, "only {count} payments had to wait: this shows little");
    ensure!(
        whole <= BLOCK_TIME * 1_000,
        "the median payment waited {whole} ms after its registration's block"
    );
    ensure!(notes >= 8, "only {notes} transactions had registrations that somebody waited for");
    ensure!(release <= AT_ONCE, "the first release came {release} ms after the note, in the median");
    Ok(())
}
