//! Plays the input files through HTTP, kills the leader half-way, and watches every job to its end.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use shared::clock::Clock;
use tokio::sync::Notify;

use super::input::{Event, Input, Setup, Sign};
use crate::world::settings::{OLD_WEBHOOK_SECRET, WEBHOOK_SECRET};
use crate::world::{Answer, Client, Delivery, Signal, World};

/// A secret that no API was told.
const FOREIGN_SECRET: &str = "whsec_a2l0LXNlY3JldC10aGF0LW5vYm9keS1rbm93cy1oZXJl";
/// How long jobs may take after the last event.
const PATIENCE: Duration = Duration::from_secs(180);
const SKEW: u64 = 3_600;

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// One for each line of the setup; none for the lines that are not HTTP.
    pub setup: Vec<Option<Answer>>,
    pub events: Vec<Answer>,
    /// The last record of every job that an answer named.
    pub jobs: BTreeMap<String, Value>,
    pub killed: Option<Killed>,
    pub took: Duration,
}

/// The death of a leader.
#[derive(Debug, Clone, Copy)]
pub struct Killed {
    pub relayer: usize,
    pub successor: usize,
    pub takeover: Duration,
}

/// What sender, watcher and killer share.
struct Stage {
    jobs: Mutex<BTreeMap<String, Value>>,
    sent: Mutex<Vec<Answer>>,
    half: Notify,
    total: usize,
}

impl Stage {
    fn note(&self, answer: &Answer) {
        if let Some(id) = answer.text("job_id") {
            lock(&self.jobs).entry(id.to_owned()).or_insert(Value::Null);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Plays everything. `rate` is in events per second.
pub async fn play(world: &mut World, input: &Input, rate: f64) -> Result<Seen> {
    let client = world.client()?;
    let stage = Stage {
        jobs: Mutex::default(),
        sent: Mutex::default(),
        half: Notify::new(),
        total: input.events.len(),
    };
    let start = Instant::now();
    let setup = prepare(world, &client, &input.setup, &stage).await?;
    let (sent, killed, watched) = tokio::join!(
        send(&client, &input.events, rate, &stage),
        kill_leader(world, &stage),
        watch(&client, &stage)
    );
    // What the watcher lacks is named by the verdict; only a sender or a killer that failed ends the play.
    sent?;
    if let Err(error) = watched {
        eprintln!("{error:#}");
    }
    let killed = Some(killed?);
    let events = std::mem::take(&mut *lock(&stage.sent));
    let jobs = std::mem::take(&mut *lock(&stage.jobs));
    Ok(Seen { setup, events, jobs, killed, took: start.elapsed() })
}

async fn prepare(
    world: &World,
    client: &Client,
    lines: &[Setup],
    stage: &Stage,
) -> Result<Vec<Option<Answer>>> {
    let mut answers = Vec::with_capacity(lines.len());
    for line in lines {
        let answer = match line {
            Setup::Register { wallet, referrer } => Some(client.register(wallet, referrer.as_deref()).await?),
            Setup::Mode { wallet, mode } => Some(client.set_mode(wallet, mode).await?),
            Setup::Blocklist { wallet } => {
                world.contracts.set_blocklisted(wallet.parse()?, true).await?;
                None
            }
        };
        answer.iter().for_each(|answer| stage.note(answer));
        answers.push(answer);
    }
    Ok(answers)
}

async fn send(client: &Client, events: &[Event], rate: f64, stage: &Stage) -> Result<()> {
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    for (at, event) in events.iter().enumerate() {
        beat.tick().await;
        let answer =
            client.deliver(&delivery(event)).await.with_context(|| format!("deliver {}", event.id))?;
        stage.note(&answer);
        lock(&stage.sent).push(answer);
        if at == events.len() / 2 {
            stage.half.notify_one();
        }
    }
    Ok(())
}

fn delivery(event: &Event) -> Delivery {
    let now = Clock::start().unix_seconds();
    let (secret, timestamp) = match event.sign {
        Sign::Good => (WEBHOOK_SECRET, now),
        Sign::Older => (OLD_WEBHOOK_SECRET, now),
        Sign::Foreign => (FOREIGN_SECRET, now),
        Sign::Stale => (WEBHOOK_SECRET, now - SKEW),
        Sign::Ahead => (WEBHOOK_SECRET, now + SKEW),
    };
    let body = event.body.to_string().into_bytes();
    Delivery { id: event.id.clone(), timestamp, secret: secret.to_owned(), body }
}

async fn kill_leader(world: &mut World, stage: &Stage) -> Result<Killed> {
    tokio::time::timeout(PATIENCE, stage.half.notified())
        .await
        .context("half of the events were never sent")?;
    let relayer = world.leader(Duration::from_secs(20)).await?;
    let pid = world.relayer(relayer)?.process().pid();
    let died = Instant::now();
    world.kill_relayer(relayer, Signal::SIGKILL).await?;
    say(&format!("half-way: killed the leader, relayer {relayer} (pid {pid}), with SIGKILL"));
    let successor = world.leader(Duration::from_secs(60)).await?;
    let takeover = died.elapsed();
    say(&format!("relayer {successor} leads after {:.1} s", takeover.as_secs_f64()));
    Ok(Killed { relayer, successor, takeover })
}

/// Follows every job until all are final and all events are sent.
async fn watch(client: &Client, stage: &Stage) -> Result<()> {
    let mut deadline = None;
    let mut drawn = Instant::now();
    loop {
        let open: Vec<String> =
            lock(&stage.jobs).iter().filter(|(_, job)| !is_final(job)).map(|(id, _)| id.clone()).collect();
        for id in &open {
            // A moment without answer is no verdict: the next round asks again.
            if let Ok(job) = client.job(id).await {
                lock(&stage.jobs).insert(id.clone(), job);
            }
        }
        let sent = lock(&stage.sent).len();
        let pause = if std::io::stderr().is_terminal() { 0 } else { 3 };
        if drawn.elapsed() >= Duration::from_secs(pause) {
            drawn = Instant::now();
            draw(stage, sent);
        }
        if sent == stage.total {
            if lock(&stage.jobs).values().all(is_final) {
                draw(stage, sent);
                eprintln!();
                return Ok(());
            }
            let end = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() > end {
                bail!("{} jobs are not final {PATIENCE:?} after the last event", open.len());
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the record says that the job has ended.
pub fn is_final(job: &Value) -> bool {
    ["done", "failed", "cancelled"].contains(&state(job))
}

pub fn state(job: &Value) -> &str {
    job["state"].as_str().unwrap_or_default()
}

fn draw(stage: &Stage, sent: usize) {
    let jobs = lock(&stage.jobs);
    let count = |wanted: &str| jobs.values().filter(|job| state(job) == wanted).count();
    let (done, failed) = (count("done"), count("failed"));
    let width = 32;
    let full = width * (sent + done + failed) / (stage.total + jobs.len()).max(1);
    let bar = format!("{}{}", "#".repeat(full.min(width)), ".".repeat(width.saturating_sub(full)));
    let line = format!("[{bar}] {sent}/{} events, {done} jobs done, {failed} failed", stage.total);
    if std::io::stderr().is_terminal() { eprint!("\r\x1b[K{line}") } else { eprintln!("{line}") }
}

/// A line of its own, above the progress bar.
fn say(text: &str) {
    if std::io::stderr().is_terminal() { eprintln!("\r\x1b[K{text}") } else { eprintln!("{text}") }
}

/// Where a world's logs end, for the message of a failed demo.
pub fn keep_logs(world: &World, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(world.folder())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log")
            && let Some(name) = path.file_name()
        {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}
