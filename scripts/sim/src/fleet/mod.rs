//! The seeded simulation: a fleet of relayers, a merchant and an operator on one Redis and one chain, in virtual time. First a
//! storm, in which anything may go wrong; then calm, in which every job must come to its end. The same seed goes the same
//! way, step by step.

mod audit;
mod ghosts;
mod gusts;
mod merchant;
mod mutants;
mod node;
mod relayer;
pub mod settings;
mod switch;
mod weather;
mod world;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use shared::job::PayoutMode;
use shared::store::RECONCILE;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::gusts::Stage;
use self::merchant::Merchant;
use self::node::Node;
use self::relayer::{Fleet, Relayer};
use self::settings::SIGNER;
use self::weather::{LEAST, Rates, STORM, Storm};
use self::world::World;
use crate::chain::CheapKey;

pub use audit::Sums;
pub use merchant::Asked;
pub use mutants::{Mutant, mutants, second_copies};
pub use world::Faults;

/// In virtual time, how long after the storm everything may take to come to its end.
const CALM: Duration = Duration::from_secs(150);

/// How long an operator takes to look at what froze the lane.
const LOOK: Duration = Duration::from_millis(2_500);

/// How large a simulation is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub relayers: usize,
    pub jobs: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { relayers: 3, jobs: 50 }
    }
}

/// What one seed came to.
#[derive(Debug, Clone)]
pub struct Report {
    pub seed: u64,
    pub sums: Sums,
    pub faults: Faults,
    pub asked: Asked,
    /// Writes of relayers that were no leader any more, all refused.
    pub zombie_writes: u64,
    /// How often people were told that nothing new is signed until they have looked.
    pub told: u64,
    /// Virtual time from the first moment to the last.
    pub lasted: Duration,
    /// What went wrong by design, in order.
    pub storm: Vec<String>,
    /// What must not be.
    pub violations: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {:?}, {} faults, {:.1} s",
            self.seed,
            self.sums,
            self.faults.values().sum::<u64>(),
            self.lasted.as_secs_f64()
        )?;
        for line in &self.storm {
            writeln!(f, "  {line}")?;
        }
        for violation in &self.violations {
            writeln!(f, "  VIOLATION {violation}")?;
        }
        Ok(())
    }
}

/// Runs one seed to its end.
///
/// # Panics
/// Where no runtime can be made.
pub fn run(seed: u64, size: Size) -> Report {
    run_mutant(seed, size, None)
}

/// Runs one seed with a product that is broken on purpose.
///
/// # Panics
/// Where no runtime can be made.
pub fn run_mutant(seed: u64, size: Size, mutant: Option<&Mutant>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    runtime.block_on(simulate(seed, size, mutant))
}

async fn simulate(seed: u64, size: Size, mutant: Option<&Mutant>) -> Report {
    let mut dice = StdRng::seed_from_u64(seed);
    let world = mutants::world(&mut dice, size, mutant);
    let mut config = settings::config();
    mutants::misconfigure(&mut config, mutant);
    let fleet = Fleet {
        world: world.clone(),
        config: Arc::new(config),
        key: Arc::new(CheapKey(SIGNER)),
        boots: Arc::new(AtomicU64::new(1)),
        next_id: Arc::new(AtomicU64::new(1)),
    };
    let api = Node { world: world.clone(), who: size.relayers, is_mortal: false };
    let store = relayer::store(api, &fleet.next_id);
    if let Err(error) = prepare(&store).await {
        panic!("seed {seed}: Redis is not prepared: {error}");
    }
    let storm = Storm::draw(&mut dice, size.relayers);
    world.state().rates = storm.rates;
    let mut tasks = JoinSet::new();
    let relayers = (0..size.relayers).map(|who| Relayer::start(&fleet, who, &mut tasks)).collect();
    let stage = Stage { world: world.clone(), relayers: Arc::new(Mutex::new(relayers)) };
    tasks.spawn(stage.clone().mine());
    let merchant = Merchant::draw(store, &mut dice, size.jobs);
    tasks.spawn(look(world.clone(), merchant.clone()));
    let mut business = JoinSet::new();
    merchant.act(&mut business, false);
    business.spawn(merchant.clone().meddle(StdRng::seed_from_u64(dice.random()), 6));
    let mut gusts = JoinSet::new();
    for (at, gust) in &storm.gusts {
        gusts.spawn(stage.clone().blow(*at, *gust));
    }
    sleep(STORM).await;
    world.state().rates = Rates::NONE;
    while gusts.join_next().await.is_some() {}
    stage.make_good();
    let sums = calm(&world, &merchant, business).await;
    drop(tasks);
    let asked = merchant.book().asked;
    report(seed, &world, &storm, sums, asked)
}

fn report(seed: u64, world: &World, storm: &Storm, sums: Sums, asked: Asked) -> Report {
    let state = &mut *world.state();
    let faults: u64 = state.faults.values().sum();
    if faults < LEAST as u64 {
        state.ghosts.violation(format!("only {faults} faults: nothing was put to the test"));
    }
    Report {
        seed,
        sums,
        faults: std::mem::take(&mut state.faults),
        asked,
        zombie_writes: state.ghosts.zombie_writes,
        told: state.ghosts.told.len() as u64,
        lasted: world.elapsed(),
        storm: std::iter::once(format!("{:?}", storm.rates))
            .chain(storm.gusts.iter().map(|(at, gust)| format!("{:6.2} s {gust:?}", at.as_secs_f64())))
            .collect(),
        violations: std::mem::take(&mut state.ghosts.violations),
    }
}

/// What an operator does before the first start.
async fn prepare(store: &shared::store::Store) -> Result<(), shared::store::StoreError> {
    store.migrate().await?;
    store.set_payout_mode(merchant::referrer(merchant::HYBRID), PayoutMode::Hybrid, "operator").await?;
    Ok(())
}

/// An operator looks at what chain and Redis disagree on, and lets the lane go on. Only where a fault explains it: in any other
/// simulation nothing may come to that, and what does stays frozen.
async fn look(world: Arc<World>, merchant: Merchant) {
    loop {
        sleep(LOOK).await;
        let (is_frozen, is_explained) = {
            let now = world.now();
            let state = &mut *world.state();
            let gate = ghosts::ask(&mut state.redis, now, &["HGET", &ghosts::key("gate"), RECONCILE]);
            (gate != redis::Value::Nil, state.may_differ())
        };
        if is_frozen && is_explained {
            let _ = merchant.store.resume(RECONCILE, "looked at", "operator").await;
        }
    }
}

/// Waits until everything has come to its end, and what is recorded is what the chain says. What is not so in time is a
/// violation.
async fn calm(world: &World, merchant: &Merchant, mut business: JoinSet<()>) -> Sums {
    let deadline = world.elapsed() + CALM;
    let mut delivered_again = false;
    loop {
        while business.try_join_next().is_some() {}
        let is_late = world.elapsed() > deadline;
        let memory_was_lost = world.state().memory_was_lost;
        if business.is_empty() && audit::is_quiet(world) {
            if !memory_was_lost || delivered_again {
                let (sums, wrong) = audit::settle_up(world, merchant).await;
                // What is wrong then is told once the newest blocks are compared, which is not done at each.
                if wrong.is_empty() || !world.state().may_differ() || is_late {
                    world.state().ghosts.violations.extend(wrong);
                    return sums;
                }
                sleep(LOOK).await;
            } else {
                // Redis forgot what it had answered for: everything is delivered again, as after any restore of an old backup.
                delivered_again = true;
                merchant.act(&mut business, true);
            }
        } else if is_late {
            let left = audit::unfinished(world);
            let mut state = world.state();
            state.ghosts.violation(format!("not over {} s after the storm", CALM.as_secs()));
            state.ghosts.violations.extend(left);
            return Sums::default();
        }
        sleep(Duration::from_millis(500)).await;
    }
}
