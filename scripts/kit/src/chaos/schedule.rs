//! One schedule from its world to its verdict.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::faults::{Action, Armed, Injector};
use super::kinds::Kind;
use super::ledger::Ledger;
use super::plan::Schedule;
use super::settle::{self, Watch};
use super::steps::ORDINARY;
use super::traffic::Traffic;
use super::verify::{self, Finding, Verdict, Watched, Where, Wrong};
use crate::world::contracts::RELAYER;
use crate::world::settings::VIEWER_KEY;
use crate::world::{Builder, Client, Fault, Mining, Node, World};

/// Relayers of a schedule's world.
const RELAYERS: usize = 3;
pub const CONFIRMATIONS: u64 = 3;
const LEASE: Duration = Duration::from_secs(1);

/// In what world a schedule is run, and within what bounds.
#[derive(Debug, Clone)]
pub struct Setting {
    pub builder: Builder,
    /// Whether relayers that end by themselves have the same failpoints again.
    pub keeps_failpoints: bool,
    /// What is wrong with every endpoint from the end of the setup on, for good.
    pub usual: Fault,
    /// How long the work may take until all of it is answered, faults included.
    pub answered_within: Duration,
    /// How long everything may take to end once nothing is wrong any more.
    pub settled_within: Duration,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            builder: world(),
            keeps_failpoints: false,
            usual: Fault::Pass,
            answered_within: Duration::from_secs(90),
            // A sweep comes every 30 s, and what it finds has its way before it.
            settled_within: Duration::from_secs(120),
        }
    }
}

/// How a schedule went.
pub struct Outcome {
    pub number: u64,
    pub injected: Vec<Kind>,
    /// What was done to it, in order.
    pub told: Vec<String>,
    /// What a long run was about, in one sentence.
    pub summary: Option<String>,
    /// How refunds, deletions and retries were answered.
    pub taken_back: Option<String>,
    /// How many transactions were handed to endpoints, and how many requests these never answered.
    pub sends: (u64, u64),
    pub verdict: Verdict,
    pub took: Duration,
    /// Where its logs are, where something is wrong.
    pub logs: Option<PathBuf>,
}

impl Outcome {
    /// One of which nothing is known yet.
    pub fn empty(number: u64) -> Self {
        Self {
            number,
            injected: Vec::new(),
            told: Vec::new(),
            summary: None,
            taken_back: None,
            sends: (0, 0),
            verdict: Verdict::default(),
            took: Duration::ZERO,
            logs: None,
        }
    }

    pub fn is_good(&self) -> bool {
        self.verdict.findings.is_empty()
    }
}

/// A world whose parts notice each other's deaths within seconds, with a disturbable way between any two of them.
pub fn world() -> Builder {
    World::builder()
        .relayers(RELAYERS)
        .confirmations(CONFIRMATIONS)
        .lease_ttl(LEASE)
        .mining(Mining::Every(1))
        .redis_links()
        .endpoints(&[Node::Proxy(Fault::Pass), Node::Proxy(Fault::Pass)])
        .relayer_env("RPC_TIMEOUT_MS", 500)
        .relayer_env("RPC_CHECK_MS", 1_500)
        .relayer_env("CLAIM_MIN_IDLE_MS", 2_500)
        .relayer_env("POLL_MS", 100)
        .limit("USDC_WINDOW_LIMIT", "max")
        .limit("SGE_WINDOW_LIMIT", "max")
}

/// Runs it. Whatever goes wrong, in the system or around it, is a finding.
pub async fn run(schedule: &Schedule, setting: &Setting, keep: &Path) -> Outcome {
    let begun = Instant::now();
    let mut outcome = Outcome::empty(schedule.number);
    let mut builder = setting.builder.clone();
    let armed = arm(schedule);
    if let Some(armed) = &armed {
        for (name, value) in armed.env() {
            builder = builder.relayer_env(&name, value);
        }
    }
    match builder.start().await {
        Ok(mut world) => {
            let mut ledger = Ledger::default();
            if let Err(error) = play(&mut world, schedule, setting, armed, &mut ledger, &mut outcome).await {
                let what = format!("{error:#}");
                outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, what));
            }
            if !outcome.is_good() {
                outcome.logs = keep_evidence(&world, &ledger, &outcome, keep).ok();
            }
        }
        Err(error) => {
            let what = format!("the world did not start: {error:#}");
            outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, what));
        }
    }
    outcome.took = begun.elapsed();
    outcome
}

/// The step at which something happens in this schedule, if at any.
fn arm(schedule: &Schedule) -> Option<Armed> {
    let fault = schedule.faults.iter().find(|fault| Action::of(fault.kind).is_some())?;
    let action = Action::of(fault.kind)?;
    let point = ORDINARY[fault.pick(0, ORDINARY.len() as u64) as usize];
    Some(Armed::new(point, action, 1 + fault.pick(1, 4)))
}

/// Sets everything up, disturbs it while it works, and looks at it once it has come to rest.
async fn play(
    world: &mut World,
    schedule: &Schedule,
    setting: &Setting,
    armed: Option<Armed>,
    ledger: &mut Ledger,
    outcome: &mut Outcome,
) -> Result<()> {
    let client = world.client()?;
    for referrer in schedule.work.referrers.iter().filter(|referrer| referrer.blocked) {
        world.contracts.set_blocklisted(referrer.wallet.parse()?, true).await?;
    }
    let at = places(world)?;
    let mut traffic = Traffic::new(&client, &schedule.work, setting.answered_within);
    let mut injector = Injector::new(world, armed, setting.keeps_failpoints);
    tokio::select! {
        set_up = traffic.set_up() => set_up.context("set the work up")?,
        watched = injector.watch() => watched?,
    }
    injector.base = settle::head(&at).await?;
    injector.usual = setting.usual;
    let watch = Watch::new(&client, &at);
    let settled = {
        let work = async {
            let (sent, disturbed) = tokio::join!(traffic.send(), injector.run(&schedule.faults));
            disturbed.context("inject or heal a fault")?;
            sent.context("send the work")?;
            if schedule.forgets() {
                client.until_ready(setting.settled_within).await?;
                traffic.send_again().await.context("send everything again")?;
            }
            let resumes = schedule.faults.iter().any(|fault| fault.kind == Kind::ReorgDeep);
            tokio::select! {
                settled = settle::until_settled(&client, setting.settled_within, resumes) => settled,
                watched = injector.watch() => watched,
            }
        };
        tokio::select! {
            worked = work => worked,
            () = watch.run() => Ok(()),
        }
    };
    outcome.told = std::mem::take(&mut injector.told);
    outcome.injected = std::mem::take(&mut injector.injected);
    *ledger = traffic.ledger();
    outcome.sends = world.proxies.iter().fold((0, 0), |(sent, unanswered), proxy| {
        (sent + proxy.asked("eth_sendRawTransaction"), unanswered + proxy.unanswered())
    });
    outcome.taken_back = ledger.taken_back();
    let verdict = judge(world, schedule, ledger, &watch.seen(), &at).await;
    match (settled, verdict) {
        (Ok(()), Ok(verdict)) => outcome.verdict = verdict,
        (Err(error), Ok(verdict)) => {
            outcome.verdict = verdict;
            let what = format!("{error:#}");
            outcome.verdict.findings.push(Finding::new(Wrong::Unfinished, what));
        }
        (settled, Err(error)) => return settled.and(Err(error)),
    }
    Ok(())
}

async fn judge(
    world: &World,
    schedule: &Schedule,
    ledger: &Ledger,
    seen: &Watched,
    at: &Where,
) -> Result<Verdict> {
    let payments = ledger.payments.iter().map(|payment| payment.id.as_str());
    let facts = verify::read(at, ledger.jobs(), payments).await?;
    // What was final and was then undone was rightly shown as done.
    let undone = schedule.faults.iter().any(|fault| fault.kind == Kind::ReorgDeep);
    let none = Watched::new();
    let watched = if undone { &none } else { seen };
    let terms = terms(world)?;
    let mut verdict = verify::check(ledger, &facts, watched, &terms, schedule.forgets());
    let missing = schedule.work.payments.len() - ledger.payments.len();
    if missing > 0 {
        let what = format!("{missing} payments were never answered");
        verdict.findings.push(Finding::new(Wrong::Unfinished, what));
    }
    Ok(verdict)
}

/// Where the verifier asks: the node itself, and the API.
pub fn places(world: &World) -> Result<Where> {
    let addresses = &world.contracts.addresses;
    Ok(Where {
        rpc: world.anvil.url(),
        payout: addresses.payout,
        registry: addresses.registry,
        usdc: addresses.usdc,
        sge: addresses.sge,
        signer: RELAYER,
        api: world.api.as_ref().context("no API")?.url(),
        viewer_key: VIEWER_KEY.to_owned(),
    })
}

/// The terms of the world's programme as whole numbers.
pub fn terms(world: &World) -> Result<verify::Terms> {
    let programme = &world.settings.programme;
    let (whole, tenths) = programme.sge_per_usdc.split_once('.').context("a rate with one decimal")?;
    ensure!(tenths.len() == 1, "a rate with one decimal");
    let rate = whole.parse::<u128>()? * 10 + tenths.parse::<u128>()?;
    Ok(verify::Terms {
        commission_bps: programme.commission_bps.into(),
        hybrid_sge_bps: programme.hybrid_sge_bps.into(),
        sge_units_per_usdc: rate * 10u128.pow(17),
        confirmations: world.settings.confirmations,
    })
}

/// Logs, Redis's data, and what was accepted, in a folder that stays.
pub fn keep_evidence(world: &World, ledger: &Ledger, outcome: &Outcome, keep: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(keep)?;
    crate::demo::play::keep_logs(world, keep)?;
    world.redis.copy_data(&keep.join("redis"))?;
    let findings: Vec<String> = outcome.verdict.findings.iter().map(ToString::to_string).collect();
    let text = format!("{}\n\n{}\n\n{ledger:#?}\n", outcome.told.join("\n"), findings.join("\n"));
    std::fs::write(keep.join("report.txt"), text)?;
    Ok(keep.to_owned())
}

/// What is unfinished, for the message of a schedule that does not come to rest.
pub async fn unfinished(client: &Client) -> String {
    let mut lines = Vec::new();
    for state in ["pending", "processing", "retrying"] {
        let Ok(page) = client.jobs(&format!("state={state}&limit=20")).await else { continue };
        for job in page.body["jobs"].as_array().into_iter().flatten() {
            let of = |name: &str| job[name].as_str().unwrap_or("–").to_owned();
            lines.push(format!("{} {} {} {}", of("id"), of("kind"), of("stage"), of("gate")));
        }
    }
    lines.join("; ")
}
