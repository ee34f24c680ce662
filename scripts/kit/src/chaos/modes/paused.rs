//! Leaders that stand still for three lives of their lease, just before they write, and wake up as zombies.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::chaos::faults::{Action, Armed};
use crate::chaos::kinds::Kind;
use crate::chaos::schedule::{self, Outcome, Setting, places, terms, world};
use crate::chaos::settle;
use crate::chaos::traffic::Traffic;
use crate::chaos::verify::{self, Finding, Watched, Wrong};
use crate::chaos::work::Work;
use crate::world::process::until;
use crate::world::{Client, Env, Mining, World};

/// The steps of the signer whose next act is a write to the journal.
const BEFORE_WRITES: [&str; 3] = ["after_sign", "after_finish", "after_replacement_sign"];
/// Payments while one leader stands still.
const PAYMENTS: usize = 3;
const LIMIT: Duration = Duration::from_secs(40);
const REACHED_WITHIN: Duration = Duration::from_secs(15);
/// A write that is on its way when its leader notices is refused within that time.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);

pub(super) async fn run(count: u64, seed: u64, keep: &Path) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome::empty(0);
    if let Err(error) = pause_all(count, seed, keep, &mut outcome).await {
        outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, format!("{error:#}")));
    }
    outcome.took = begun.elapsed();
    outcome
}

async fn pause_all(count: u64, seed: u64, keep: &Path, outcome: &mut Outcome) -> Result<()> {
    let wanted = usize::try_from(count)?;
    // Some notice before their write has left the process, and count for nothing.
    let most = wanted * 2;
    let work = Work::flood(&mut StdRng::seed_from_u64(seed), 2, most * PAYMENTS, 0);
    let mut world = world().relayers(2).start().await?;
    let client = world.client()?;
    let traffic = Traffic::new(&client, &work, LIMIT * (2 + u32::try_from(most)?));
    traffic.set_up().await?;
    let (mut refused, mut unwritten, mut wrote) = (0, 0, 0);
    let mut round = 0;
    while refused < wanted && round < most {
        let point = BEFORE_WRITES[round % BEFORE_WRITES.len()];
        match freeze(&mut world, &traffic, point, round)
            .await
            .with_context(|| format!("round {round} {point}"))
        {
            Ok(Woke::Refused) => refused += 1,
            Ok(Woke::NothingWritten) => unwritten += 1,
            Ok(Woke::NeverThere) => {}
            Ok(Woke::Wrote) => {
                wrote += 1;
                let what = format!("round {round}: the leader that woke up at {point} wrote to the journal");
                outcome.verdict.findings.push(Finding::new(Wrong::Untruthful, what));
            }
            Err(error) => {
                schedule::keep_evidence(&world, &traffic.ledger(), outcome, keep)?;
                return Err(error);
            }
        }
        round += 1;
    }
    let paused = refused + unwritten + wrote;
    outcome.injected = vec![Kind::StopLeaderLong; paused];
    if refused < wanted {
        let what = format!("only {refused} writes were refused, {wanted} were to be");
        outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, what));
    }
    outcome.summary = Some(format!(
        "{paused} leaders paused for three leases before a write: {refused} had their writes refused by the fence, {unwritten} \
         noticed before their write had left the process, {wrote} wrote"
    ));
    settle::until_settled(&client, Setting::default().settled_within, false).await?;
    let ledger = traffic.ledger();
    let payments = ledger.payments.iter().map(|payment| payment.id.as_str());
    let facts = verify::read(&places(&world)?, ledger.jobs(), payments).await?;
    let mut verdict = verify::check(&ledger, &facts, &Watched::new(), &terms(&world)?, false);
    verdict.findings.append(&mut outcome.verdict.findings);
    outcome.verdict = verdict;
    if !outcome.is_good() {
        outcome.logs = schedule::keep_evidence(&world, &ledger, outcome, keep).ok();
    }
    Ok(())
}

/// What a leader did that woke up as one no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woke {
    /// It tried to write, and the fence refused it.
    Refused,
    /// Its own clock told it before it wrote.
    NothingWritten,
    /// The journal took an attempt of its.
    Wrote,
    /// It lost the lease before it got to the step, as on a busy machine it may.
    NeverThere,
}

/// Freezes the leader at `point` while it pays, lets another take its place, and lets it go on.
async fn freeze(world: &mut World, traffic: &Traffic<'_>, point: &'static str, round: usize) -> Result<Woke> {
    for index in 0..2 {
        world.relayer(index)?.process().kill();
    }
    let armed = Armed::new(point, Action::Pause, 0).called(format!("round {round}: reached {point}"));
    world.restart_relayer(0, &armed.env())?;
    ensure!(world.leader(LIMIT).await? == 0, "another leads");
    world.restart_relayer(1, &Env::from([("FAILPOINTS".to_owned(), String::new())]))?;
    let dear = point == "after_replacement_sign";
    if dear {
        world.anvil.set_mining(Mining::Manual).await?;
    }
    traffic.send_some(round * PAYMENTS..(round + 1) * PAYMENTS).await?;
    if dear {
        until("a transaction in the pool", LIMIT, || async {
            Ok((world.anvil.pool().await?.0 > 0).then_some(()))
        })
        .await?;
        world.anvil.set_next_base_fee(100_000_000_000).await?;
        world.anvil.mine(1).await?;
    }
    if world.until_logged(0, armed.mark(), REACHED_WITHIN).await.is_err() {
        world.anvil.set_mining(Mining::Every(1)).await?;
        ended(&world.client()?, traffic, round).await?;
        return Ok(Woke::NeverThere);
    }
    world.relayer(0)?.signal(Signal::SIGSTOP)?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    let client = world.client()?;
    let (frozen, holder) = (Instant::now(), world.lease().await?);
    let term = holder.as_ref().context("nobody held the lease")?.1;
    let written = attempts_under(&client, term).await?;
    until("another leader", LIMIT, || async {
        Ok(world.lease().await?.filter(|now| Some(now) != holder.as_ref()).map(drop))
    })
    .await?;
    tokio::time::sleep((world.settings.lease_ttl * 3).saturating_sub(frozen.elapsed())).await;
    let before = fenced_writes(world).await?;
    world.relayer(0)?.signal(Signal::SIGCONT)?;
    until("the thawed leader to notice", LIMIT, || async {
        let log = world.logs(0);
        let since = log.split(armed.mark()).last().unwrap_or_default();
        Ok(since.contains("leading no more").then_some(()))
    })
    .await?;
    let refused = until("a refused write", REFUSED_WITHIN, || async {
        Ok((fenced_writes(world).await? > before).then_some(()))
    })
    .await
    .is_ok();
    ended(&client, traffic, round).await?;
    if attempts_under(&client, term).await? != written {
        return Ok(Woke::Wrote);
    }
    Ok(if refused { Woke::Refused } else { Woke::NothingWritten })
}

/// How many of the newest transactions' attempts were signed under this term.
async fn attempts_under(client: &Client, term: u64) -> Result<usize> {
    let page = client.get("/api/transactions?limit=50").await?.expect(&[200])?.body;
    let transactions = page["transactions"].as_array().context("transactions")?;
    let attempts = transactions.iter().flat_map(|tx| tx["attempts"].as_array().into_iter().flatten());
    Ok(attempts.filter(|attempt| attempt["term"] == term).count())
}

/// What the round paid is done, so that the next one begins with nothing open.
async fn ended(client: &Client, traffic: &Traffic<'_>, round: usize) -> Result<()> {
    let ledger = traffic.ledger();
    let jobs: BTreeMap<&str, &str> = ledger
        .payments
        .iter()
        .filter_map(|payment| Some((payment.id.as_str(), payment.job.as_deref()?)))
        .collect();
    for payment in &traffic.work().payments[round * PAYMENTS..(round + 1) * PAYMENTS] {
        client.wait_for(jobs.get(payment.id.as_str()).context("no job")?, &["done"], LIMIT).await?;
    }
    Ok(())
}

/// Writes that the fence has refused so far.
async fn fenced_writes(world: &World) -> Result<u64> {
    let refused = world.redis.cli(&["HGET", &world.key("stats"), "fenced_writes"]).await?;
    Ok(if refused.is_empty() { 0 } else { refused.parse()? })
}
