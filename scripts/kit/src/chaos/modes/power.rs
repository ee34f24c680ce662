//! Power losses while requests are acknowledged: Redis is killed, and what it had not forced to the disk is not there when it
//! comes back.
//!
//! With `appendfsync always` an answer is sent after what it answers for was forced to the disk, so nothing before the last
//! acknowledged request in the file can be missing. The cut is at a random place behind it: a power loss at its worst.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::chaos::kinds::Kind;
use crate::chaos::schedule::{self, Outcome, places, terms, world};
use crate::chaos::settle;
use crate::chaos::traffic::Traffic;
use crate::chaos::verify::{self, Finding, Watched, Wrong};
use crate::chaos::work::Work;
use crate::world::World;

/// Power losses of a run.
const LOSSES: usize = 20;
/// Requests in flight.
const IN_FLIGHT: usize = 64;
const LIMIT: Duration = Duration::from_secs(60);
/// How long it may take until all is paid at the end.
const PAID_WITHIN: Duration = Duration::from_secs(900);
/// A job's id as Redis writes it into its file: 26 characters, with their number in front.
const ID_MARK: &[u8] = b"$26\r\n";
const ID_LENGTH: usize = 26;

pub(super) async fn run(count: u64, seed: u64, keep: &Path) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome::empty(0);
    if let Err(error) = lose_power(count, seed, keep, &mut outcome).await {
        outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, format!("{error:#}")));
    }
    outcome.took = begun.elapsed();
    outcome
}

async fn lose_power(count: u64, seed: u64, keep: &Path, outcome: &mut Outcome) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let count = usize::try_from(count)?;
    let work = Work::flood(&mut rng, 20, count, 0);
    // One relayer, which syncs each new Redis; it signs only when all is acknowledged.
    let mut world = world().relayers(1).start().await?;
    let client = world.client()?;
    let traffic = Traffic::new(&client, &work, PAID_WITHIN);
    traffic.set_up().await?;
    client.pause("signing", "until power stays").await?.expect(&[200])?;
    let (mut acknowledged, mut cut) = (0, 0);
    let each = count.div_ceil(LOSSES).max(1);
    for first in (0..count).step_by(each) {
        let round = first..(first + each).min(count);
        let begun_at = std::fs::metadata(world.redis.append_only_file()?)?.len();
        let patience = Duration::from_millis(rng.random_range(50..700));
        let acked = send_until_the_end(&mut world, &traffic, round.clone(), patience).await;
        cut += take_power(&mut world, begun_at, &acked, rng.random()).await?;
        client.until_ready(LIMIT).await?;
        acknowledged += acked.len();
        for finding in lost(&traffic, &acked).await? {
            outcome.verdict.findings.push(finding);
        }
        // Those that were never answered come again, and those that were come twice.
        traffic.send_some(round).await?;
        outcome.injected.push(Kind::RedisTail);
    }
    outcome.summary = Some(format!(
        "{count} requests, {acknowledged} of them acknowledged just before one of {} power losses that took {cut} bytes",
        outcome.injected.len()
    ));
    client.resume("signing", "power stays").await?.expect(&[200])?;
    let settled = settle::until_settled(&client, PAID_WITHIN, false).await;
    judge(&world, &traffic, outcome, keep).await?;
    settled
}

async fn judge(world: &World, traffic: &Traffic<'_>, outcome: &mut Outcome, keep: &Path) -> Result<()> {
    let ledger = traffic.ledger();
    let payments = ledger.payments.iter().map(|payment| payment.id.as_str());
    let facts = verify::read(&places(world)?, ledger.jobs(), payments).await?;
    let mut verdict = verify::check(&ledger, &facts, &Watched::new(), &terms(world)?, false);
    verdict.findings.append(&mut outcome.verdict.findings);
    outcome.verdict = verdict;
    if !outcome.is_good() {
        outcome.logs = schedule::keep_evidence(world, &ledger, outcome, keep).ok();
    }
    Ok(())
}

/// Sends payments, many at a time, until Redis is killed under them. Gives what was acknowledged: payment, job.
async fn send_until_the_end(
    world: &mut World,
    traffic: &Traffic<'_>,
    round: std::ops::Range<usize>,
    patience: Duration,
) -> BTreeMap<usize, String> {
    let acked = Mutex::new(BTreeMap::new());
    let dead = Mutex::new(false);
    let is_dead = || dead.lock().is_ok_and(|dead| *dead);
    let send = stream::iter(round).for_each_concurrent(IN_FLIGHT, |n| {
        let (acked, is_dead) = (&acked, &is_dead);
        async move {
            if is_dead() {
                return;
            }
            if let Ok(Some(job)) = traffic.once(n).await
                && let Ok(mut acked) = acked.lock()
            {
                acked.insert(n, job);
            }
        }
    });
    let kill = async {
        tokio::time::sleep(patience).await;
        world.redis.kill();
        if let Ok(mut dead) = dead.lock() {
            *dead = true;
        }
    };
    tokio::join!(send, kill);
    acked.into_inner().unwrap_or_default()
}

/// Cuts the file somewhere behind the last acknowledged request, and starts Redis on what is left. Returns how much was cut.
async fn take_power(world: &mut World, from: u64, acked: &BTreeMap<usize, String>, at: f64) -> Result<u64> {
    let bytes = std::fs::read(world.redis.append_only_file()?)?;
    let from = usize::try_from(from)?.min(bytes.len());
    let kept = from + acknowledged_until(&bytes[from..], acked.values());
    let cut = ((bytes.len() - kept) as f64 * at) as u64;
    let cut = world.redis.cut_tail(cut)?;
    world.redis.restart().await?;
    Ok(cut)
}

/// The end of the last transaction in which one of `jobs` appears for the first time: its acceptance.
fn acknowledged_until<'a>(bytes: &[u8], jobs: impl Iterator<Item = &'a String>) -> usize {
    let mut wanted: std::collections::BTreeSet<&[u8]> = jobs.map(|job| job.as_bytes()).collect();
    let (mut at, mut last) = (0, 0);
    while !wanted.is_empty() && at + ID_MARK.len() + ID_LENGTH <= bytes.len() {
        let id = &bytes[at + ID_MARK.len()..at + ID_MARK.len() + ID_LENGTH];
        if bytes[at..].starts_with(ID_MARK) && wanted.remove(id) {
            last = at;
        }
        at += 1;
    }
    let end = b"EXEC\r\n";
    let found = bytes[last..].windows(end.len()).position(|window| window == end);
    if last == 0 { 0 } else { found.map_or(bytes.len(), |found| last + found + end.len()) }
}

/// Acknowledged requests that Redis does not know any more: the same delivery again must be recognised, with the same job.
async fn lost(traffic: &Traffic<'_>, acked: &BTreeMap<usize, String>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let answers = stream::iter(acked).map(async |(n, job)| (n, job, traffic.again(*n).await));
    let answers: Vec<_> = answers.buffer_unordered(IN_FLIGHT / 4).collect().await;
    for (n, job, answer) in answers {
        let answer = answer.with_context(|| format!("deliver payment {n} again"))?;
        if answer != (Some(job.clone()), true) {
            let what =
                format!("request {n} was acknowledged with job {job}; after the power loss: {answer:?}");
            found.push(Finding::new(Wrong::Lost, what));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cut_is_behind_the_transaction_of_the_last_acknowledged_request() {
        let entry = |job: &str| format!("MULTI\r\n$3\r\nSET\r\n$26\r\n{job}\r\n*1\r\n$4\r\nEXEC\r\n");
        let (one, two, three) = ("A".repeat(26), "B".repeat(26), "C".repeat(26));
        let file = [entry(&one), entry(&two), entry(&one), entry(&three)].concat();
        let until = |jobs: &[&String]| acknowledged_until(file.as_bytes(), jobs.iter().copied());
        let length = entry(&one).len();
        assert_eq!(until(&[&one]), length, "what a worker writes of it later is another matter");
        assert_eq!(until(&[&one, &two]), 2 * length);
        assert_eq!(until(&[&three, &one]), 4 * length);
        assert_eq!(until(&[]), 0);
    }
}
