//! Two endpoints of one node, the faulty one first in the list: whatever is wrong with it, every payment is made once, nobody
//! is charged, and the leader's metrics name it and only it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kit::world::process::until;
use kit::world::{Builder, Client, Fault, Node, Signal, World};

use crate::support::{LIMIT, all_paid_once, pay, quick, wallet};

/// How long a registration and ten payments of its child may take, whatever an endpoint does: without a fault it is about
/// 6 s here, for two times two confirmations at one block a second.
const BOUND: Duration = Duration::from_secs(25);

/// One relayer that forgives an endpoint quickly.
fn two_endpoints(first: Fault) -> Builder {
    quick()
        .relayer_env("RPC_TIMEOUT_MS", 1_000)
        .relayer_env("CLAIM_MIN_IDLE_MS", 5_000)
        .relayer_env("RPC_CHECK_MS", 1_500)
        .endpoints(&[Node::Proxy(first), Node::Anvil])
}

/// What the leader's metrics say about one endpoint.
#[derive(Debug, Clone, PartialEq)]
struct Figures {
    up: bool,
    lag: u64,
    refuted: u64,
    errors: BTreeMap<String, u64>,
}

impl Figures {
    fn of(text: &str, endpoint: &str) -> Result<Self> {
        let label = format!("endpoint=\"{endpoint}\"");
        let samples = |name: &str| -> Vec<(String, u64)> {
            let lines =
                text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(&label));
            lines.filter_map(|line| Some((line.to_owned(), line.rsplit(' ').next()?.parse().ok()?))).collect()
        };
        let one = |name: &str| -> Result<u64> {
            Ok(samples(name).first().with_context(|| format!("no {name} of {endpoint} in\n{text}"))?.1)
        };
        let kind = |line: &str| {
            line.split("kind=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
        };
        let errors = samples("ail_rpc_endpoint_errors_total");
        Ok(Self {
            up: one("ail_rpc_up")? == 1,
            lag: one("ail_rpc_lag_blocks")?,
            refuted: one("ail_rpc_disagreements_total")?,
            errors: errors.into_iter().filter_map(|(line, count)| Some((kind(&line)?, count))).collect(),
        })
    }

    fn is_spotless(&self) -> bool {
        self.up
            && self.lag == 0
            && self.refuted == 0
            && self.errors.len() == 6
            && self.errors.values().all(|n| *n == 0)
    }

    /// Whether something beyond `before` tells that this endpoint has `fault`.
    fn names(&self, fault: Fault, before: &Self) -> bool {
        let more = |kind: &str| self.errors[kind] > before.errors[kind];
        match fault {
            Fault::Down => more("unreachable"),
            Fault::Hang | Fault::SwallowSend | Fault::SwallowSome(_) => more("timeout"),
            Fault::Status429 => more("rate_limited"),
            Fault::Garbage => more("garbage"),
            Fault::WrongChainId => more("wrong_chain") && !self.up,
            Fault::Lag(n) => self.lag >= n,
            Fault::StaleNonce(_) | Fault::HighNonce(_) | Fault::StaleState(_) | Fault::NoLogs => {
                self.refuted > before.refuted
            }
            // It answers as it should, and what it drops arrives by the other: nothing is to be seen of it.
            Fault::Pass | Fault::DropSend | Fault::Tip(_) | Fault::Slow(_) | Fault::NarrowLogs(_) => true,
            // Not used here.
            Fault::Fork | Fault::NoCode | Fault::SlowSend(_) | Fault::NoGaps | Fault::Holds => false,
        }
    }
}

struct Scene {
    world: World,
    client: Client,
    /// Registrations so far, so that each has a wallet of its own.
    rounds: u16,
}

impl Scene {
    async fn start(first: Fault) -> Result<Self> {
        let world = two_endpoints(first).start().await?;
        let client = world.client()?;
        Ok(Self { world, client, rounds: 0 })
    }

    fn bad(&self) -> String {
        self.world.proxies[0].name()
    }

    async fn figures(&self, endpoint: &str) -> Result<Figures> {
        Figures::of(&self.world.relayers[0].metrics().await?, endpoint)
    }

    async fn good_one_is_spotless(&self) -> Result<()> {
        let good = self.world.anvil.url().trim_start_matches("http://").to_owned();
        let figures = self.figures(&good).await?;
        ensure!(figures.is_spotless(), "{good}: {figures:?}");
        Ok(())
    }

    /// Registers a child and pays ten times, at once.
    async fn send(&mut self) -> Result<Vec<String>> {
        self.rounds += 1;
        let (child, referrer) = (wallet(0xc0, self.rounds), wallet(0xaf, self.rounds));
        let mut jobs = vec![self.client.register(&child, Some(&referrer)).await?.expect(&[202])?.job_id()?];
        jobs.extend(pay(&self.client, &child, 10, &format!("round_{}", self.rounds)).await?);
        Ok(jobs)
    }

    async fn all_paid(&mut self, jobs: &[String], started: Instant, bound: Duration) -> Result<()> {
        let verdict = all_paid_once(&self.world, &self.client, jobs).await;
        ensure!(verdict.is_ok(), "{verdict:?}\n{}", self.world.all_logs(80));
        let (took, paid) = (started.elapsed(), self.world.contracts.paid().await?.len());
        ensure!(took < bound, "it took {took:?}\n{}", self.world.all_logs(80));
        ensure!(paid >= 10 * usize::from(self.rounds), "{paid} paid");
        Ok(())
    }

    /// The whole of it, with `fault` from the beginning to the end; then the endpoint recovers.
    async fn pays_in_spite_of(&mut self, fault: Fault) -> Result<()> {
        let bad = self.bad();
        let before = self.figures(&bad).await?;
        let started = Instant::now();
        self.world.proxies[0].set(fault);
        let jobs = self.send().await?;
        self.all_paid(&jobs, started, BOUND).await?;
        let what = format!("{fault:?} to be named");
        let named = until(&what, Duration::from_secs(5), || async {
            let figures = self.figures(&bad).await?;
            ensure!(figures.names(fault, &before), "before: {before:?}, now: {figures:?}");
            Ok(Some(()))
        });
        let named = named.await;
        ensure!(named.is_ok(), "{named:?}\n{}", self.world.all_logs(60));
        self.good_one_is_spotless().await?;
        self.recovers().await.with_context(|| format!("after {fault:?}"))
    }

    /// The endpoint is asked as before once its fault is over.
    async fn recovers(&self) -> Result<()> {
        self.world.proxies[0].set(Fault::Pass);
        until("the endpoint to be back", LIMIT, || async {
            let figures = self.figures(&self.bad()).await?;
            ensure!(figures.up && figures.lag == 0, "{figures:?}");
            Ok(Some(()))
        })
        .await
    }
}

#[tokio::test]
async fn an_endpoint_that_gives_no_usable_answers_changes_nothing() -> Result<()> {
    let mut scene = Scene::start(Fault::Pass).await?;
    for fault in [Fault::Down, Fault::Hang, Fault::Status429, Fault::Garbage, Fault::WrongChainId] {
        scene.pays_in_spite_of(fault).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_lies_or_lags_changes_nothing() -> Result<()> {
    let mut scene = Scene::start(Fault::Pass).await?;
    for fault in [
        Fault::StaleNonce(1),
        Fault::HighNonce(2),
        Fault::NoLogs,
        Fault::StaleState(6),
        Fault::Lag(8),
        Fault::SwallowSend,
        Fault::DropSend,
    ] {
        scene.pays_in_spite_of(fault).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_fault_that_comes_and_goes_while_work_flows_changes_nothing() -> Result<()> {
    let mut scene = Scene::start(Fault::Pass).await?;
    let started = Instant::now();
    let mut jobs = Vec::new();
    for fault in [Fault::Hang, Fault::StaleNonce(2), Fault::Down, Fault::HighNonce(1), Fault::NoLogs] {
        jobs.extend(scene.send().await?);
        scene.world.proxies[0].set(fault);
        jobs.extend(scene.send().await?);
        let block = scene.world.anvil.block_number().await?;
        scene.world.anvil.until_block(block + 2, LIMIT).await?;
        scene.world.proxies[0].set(Fault::Pass);
    }
    // Five faults of two blocks each, and the way of the last payments.
    scene.all_paid(&jobs, started, 2 * BOUND).await?;
    scene.recovers().await?;
    scene.good_one_is_spotless().await
}

#[tokio::test]
async fn a_leader_that_takes_over_beside_a_lying_endpoint_leaves_no_nonce_behind() -> Result<()> {
    let mut scene = Scene::start(Fault::Pass).await?;
    let (started, jobs) = (Instant::now(), scene.send().await?);
    scene.all_paid(&jobs, started, BOUND).await?;
    for fault in [Fault::StaleNonce(3), Fault::HighNonce(3)] {
        scene.world.kill_relayer(0, Signal::SIGKILL).await?;
        let (started, jobs) = (Instant::now(), scene.send().await?);
        scene.world.proxies[0].set(fault);
        scene.world.restart_relayer(0, &BTreeMap::new())?;
        scene.all_paid(&jobs, started, BOUND).await.with_context(|| format!("{fault:?}"))?;
        scene.good_one_is_spotless().await?;
        scene.recovers().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_endpoint_that_is_down_at_the_start_is_a_warning_and_one_on_another_chain_ends_it() -> Result<()> {
    let mut scene = Scene::start(Fault::Down).await?;
    let bad = scene.bad();
    let warned = |line: &str| line.contains("not as it should be at start") && line.contains(&bad);
    ensure!(scene.world.logs(0).lines().any(warned), "{}", scene.world.logs(0));
    let (started, jobs) = (Instant::now(), scene.send().await?);
    scene.all_paid(&jobs, started, BOUND).await?;
    scene.recovers().await?;

    scene.world.kill_relayer(0, Signal::SIGTERM).await?;
    scene.world.proxies[0].set(Fault::WrongChainId);
    scene.world.restart_relayer(0, &BTreeMap::new())?;
    let code = scene.world.until_ended(0, LIMIT).await?;
    let log = scene.world.logs(0);
    ensure!(code == Some(69), "exit {code:?}\n{log}");
    let problem = format!("CHAIN_ID=31337 but {bad} is on chain 1");
    ensure!(log.contains(&problem), "`{problem}` is not listed:\n{log}");
    Ok(())
}
