//! The seeded simulation: a fleet of relayers, a merchant and an operator on one Redis and one chain, in virtual time. First a
//! storm, in which anything may go wrong; then calm, in which every job must come to its end. The same seed goes the same
//! way, step by step.

mod audit;
mod ghosts;
mod gusts;
mod merchant;
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
use self::weather::{Rates, STORM, Storm};
use self::world::World;
use crate::chain::{CheapKey, Genesis, SimChain};

pub use audit::Sums;

/// In virtual time, how long after the storm everything may take to come to its end.
const CALM: Duration = Duration::from_secs(150);

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
    pub faults: u64,
    /// Writes of relayers that were no leader any more, all refused.
    pub zombie_writes: u64,
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
            self.faults,
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"));
    runtime.block_on(simulate(seed, size))
}

async fn simulate(seed: u64, size: Size) -> Report {
    let mut dice = StdRng::seed_from_u64(seed);
    let chain = SimChain::new(Genesis::development(SIGNER));
    // One more process than relayers: the API.
    let world = World::new(dice.random(), size.relayers + 1, chain);
    let fleet = Fleet {
        world: world.clone(),
        config: Arc::new(settings::config()),
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
    let stage =
        Stage { world: world.clone(), relayers: Arc::new(Mutex::new(relayers)), past: Arc::default() };
    tasks.spawn(stage.clone().mine());
    tasks.spawn(stage.clone().remember());
    let merchant = Merchant::draw(store, &mut dice, size.jobs);
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
    let is_over = calm(&world, &merchant, business).await;
    let sums = match is_over {
        true => audit::settle_up(&world, &merchant).await,
        false => Sums::default(),
    };
    drop(tasks);
    let state = world.state();
    Report {
        seed,
        sums,
        faults: state.faults,
        zombie_writes: state.ghosts.zombie_writes,
        lasted: world.elapsed(),
        storm: std::iter::once(format!("{:?}", storm.rates))
            .chain(storm.gusts.iter().map(|(at, gust)| format!("{:6.2} s {gust:?}", at.as_secs_f64())))
            .collect(),
        violations: state.ghosts.violations.clone(),
    }
}

/// What an operator does before the first start.
async fn prepare(store: &shared::store::Store) -> Result<(), shared::store::StoreError> {
    store.migrate().await?;
    store.set_payout_mode(merchant::referrer(1), PayoutMode::Hybrid, "operator").await?;
    Ok(())
}

/// Waits until everything has come to its end; `false`, and a violation, where it does not.
async fn calm(world: &World, merchant: &Merchant, mut business: JoinSet<()>) -> bool {
    let deadline = world.elapsed() + CALM;
    let mut delivered_again = false;
    loop {
        while business.try_join_next().is_some() {}
        if business.is_empty() && audit::is_quiet(world) {
            if !world.state().memory_was_lost || delivered_again {
                return true;
            }
            // Redis forgot what it had answered for: everything is delivered again, as after any restore of an old backup.
            delivered_again = true;
            merchant.act(&mut business, true);
        }
        if world.state().memory_was_lost {
            // An operator has looked at what chain and Redis disagree on.
            let _ = merchant.store.resume(RECONCILE, "looked at", "operator").await;
        }
        if world.elapsed() > deadline {
            let left = audit::unfinished(world);
            let mut state = world.state();
            state.ghosts.violation(format!("not over {} s after the storm", CALM.as_secs()));
            state.ghosts.violations.extend(left);
            return false;
        }
        sleep(Duration::from_millis(500)).await;
    }
}
