//! Injects the faults of a schedule into a running world, heals them, and in between does what a supervisor does: starts what
//! has ended by itself.

mod chain;
mod parts;
mod points;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::kinds::{Kind, Seat};
use super::plan::Planned;
use crate::world::{Env, Fault, LinkFault, World};

pub use points::{Action, Armed};
use server::Undo as ServerUndo;

/// How often is looked at what is due.
const TICK: Duration = Duration::from_millis(25);
/// How soon what has ended is started again.
const RESTART_AFTER: Duration = Duration::from_millis(300);

/// A process that may be meant to be down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Api,
    Relayer(usize),
}

/// What ends a fault.
enum Undo {
    Nothing,
    Start(Vec<Part>),
    Continue(Part),
    Links,
    Endpoints,
    Redis(ServerUndo),
    /// The base fee is an ordinary one again, blocks are made, and the node runs.
    Chain,
}

/// The hand that does it.
pub struct Injector<'a> {
    world: &'a mut World,
    /// No reorganisation goes below this block.
    pub base: u64,
    /// What is meant to be down.
    down: BTreeSet<Part>,
    armed: Option<Armed>,
    /// What is wrong with every endpoint all the time.
    pub usual: Fault,
    /// What the environment of a relayer that is started again is changed by.
    restart: Env,
    looked_at: Instant,
    /// What was done, for people, each with the time since this began.
    pub told: Vec<String>,
    /// What was really injected.
    pub injected: Vec<Kind>,
    begun: Instant,
}

impl<'a> Injector<'a> {
    /// `keeps_failpoints`: whether a relayer that is started again has the failpoints that it had.
    pub fn new(world: &'a mut World, armed: Option<Armed>, keeps_failpoints: bool) -> Self {
        Self {
            restart: if keeps_failpoints { Env::new() } else { unarmed() },
            world,
            base: 0,
            usual: Fault::Pass,
            down: BTreeSet::new(),
            armed,
            looked_at: Instant::now(),
            told: Vec::new(),
            injected: Vec::new(),
            begun: Instant::now(),
        }
    }

    fn tell(&mut self, text: impl AsRef<str>) {
        self.told.push(format!("{:6.2} s  {}", self.begun.elapsed().as_secs_f64(), text.as_ref()));
    }

    /// Injects every fault at its time and heals it at its time; at the end all is well.
    pub async fn run(&mut self, faults: &[Planned]) -> Result<()> {
        self.begun = Instant::now();
        let mut coming = faults.iter().filter(|fault| fault.kind.seat() != Seat::Point).peekable();
        let mut healing: Vec<(Duration, Kind, Undo)> = Vec::new();
        loop {
            let now = self.begun.elapsed();
            if let Some(at) = healing.iter().position(|(due, ..)| *due <= now) {
                let (_, kind, undo) = healing.swap_remove(at);
                self.heal(undo).await?;
                self.tell(format!("{} is over", kind.name()));
                continue;
            }
            if let Some(fault) = coming.next_if(|fault| Duration::from_millis(fault.at) <= now) {
                match self.inject(fault).await {
                    Ok((what, undo)) => {
                        self.tell(format!("{}: {what}", fault.kind.name()));
                        self.injected.push(fault.kind);
                        let due = self.begun.elapsed() + Duration::from_millis(fault.lasts);
                        healing.push((due, fault.kind, undo));
                    }
                    Err(error) => self.tell(format!("{} was not possible: {error:#}", fault.kind.name())),
                }
                continue;
            }
            if healing.is_empty() && coming.peek().is_none() {
                break;
            }
            self.supervise().await?;
            tokio::time::sleep(TICK).await;
        }
        self.all_well().await
    }

    /// Does nothing but supervise, for as long as it is waited for.
    pub async fn watch(&mut self) -> Result<()> {
        loop {
            self.supervise().await?;
            tokio::time::sleep(TICK).await;
        }
    }

    /// Acts where a relayer has reached the armed step, and starts again what has ended and is not meant to be down.
    async fn supervise(&mut self) -> Result<()> {
        self.at_points()?;
        if self.looked_at.elapsed() < RESTART_AFTER {
            return Ok(());
        }
        self.looked_at = Instant::now();
        for index in 0..self.world.relayers.len() {
            if !self.down.contains(&Part::Relayer(index)) && !self.world.relayer(index)?.is_running() {
                self.world.restart_relayer(index, &self.restart)?;
                self.tell(format!("relayer {index} had ended and was started again"));
            }
        }
        if let Some(api) = &mut self.world.api
            && !self.down.contains(&Part::Api)
            && !api.process().is_running()
        {
            api.restart(&Env::new())?;
            self.tell("the API had ended and was started again");
        }
        Ok(())
    }

    async fn inject(&mut self, fault: &Planned) -> Result<(String, Undo)> {
        match fault.kind.seat() {
            Seat::Api | Seat::Relayer | Seat::Leader => self.at_parts(fault).await,
            Seat::Link => Ok(self.at_links(fault)),
            Seat::Rpc => Ok(self.at_endpoints(fault)),
            Seat::Redis => {
                let (what, undo) = self.at_redis(fault).await?;
                Ok((what, Undo::Redis(undo)))
            }
            Seat::Chain => self.at_chain(fault).await.map(|what| (what, Undo::Chain)),
            Seat::Point => Ok((String::new(), Undo::Nothing)),
        }
    }

    async fn heal(&mut self, undo: Undo) -> Result<()> {
        match undo {
            Undo::Nothing => Ok(()),
            Undo::Start(parts) => parts.into_iter().try_for_each(|part| self.start(part)),
            Undo::Continue(part) => {
                self.signal(part, Signal::SIGCONT).ok();
                Ok(())
            }
            Undo::Links => {
                self.world.links.iter().for_each(|link| link.set(LinkFault::Pass));
                Ok(())
            }
            Undo::Endpoints => {
                self.world.proxies.iter().for_each(|proxy| proxy.set(self.usual));
                Ok(())
            }
            Undo::Redis(undo) => self.heal_redis(undo).await,
            Undo::Chain => self.heal_chain().await,
        }
    }

    /// Everything runs, and nothing stands between.
    async fn all_well(&mut self) -> Result<()> {
        for undo in [Undo::Links, Undo::Endpoints, Undo::Chain] {
            self.heal(undo).await?;
        }
        for part in std::mem::take(&mut self.down) {
            self.start(part)?;
        }
        self.end_pauses()
    }
}

/// The environment of a relayer that does not stop anywhere.
fn unarmed() -> Env {
    BTreeMap::from([("FAILPOINTS".to_owned(), String::new())])
}
