//! A relayer as a process: the production tasks on simulated ways, that can be killed, frozen and started again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use shared::clock::Clock;
use shared::store::{Durability, Lane, Store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use worker::chain::Chain;
use worker::chain::heads::{HeadsConfig, follow_heads};
use worker::config::Config;
use worker::context::{Context, Dice};
use worker::keys::SignerKey;
use worker::metrics::Metrics;
use worker::{consumer, heartbeat, movers, signer};

use super::node::Node;
use super::switch::Switch;
use super::world::World;
use crate::chain::Asking;

/// What all relayers of one simulation share besides the world.
#[derive(Clone)]
pub(super) struct Fleet {
    pub(super) world: Arc<World>,
    pub(super) config: Arc<Config>,
    pub(super) key: Arc<dyn SignerKey>,
    /// Gives each incarnation a name that no other has.
    pub(super) boots: Arc<AtomicU64>,
    pub(super) next_id: Arc<AtomicU64>,
}

/// One of the fleet, through all its incarnations.
pub(super) struct Relayer {
    pub(super) switch: Arc<Switch>,
    /// How far its monotonic clock is off: a machine that was suspended.
    clock: Arc<AtomicI64>,
    frozen_at: Option<(Instant, bool)>,
}

impl Relayer {
    /// Starts it; it comes back after each death, until `tasks` is dropped.
    pub(super) fn start(fleet: &Fleet, who: usize, tasks: &mut JoinSet<()>) -> Self {
        let relayer = Self { switch: Arc::default(), clock: Arc::default(), frozen_at: None };
        tasks.spawn(live(fleet.clone(), who, relayer.switch.clone(), relayer.clock.clone()));
        relayer
    }

    /// Stops it where it is. `suspended`: its clock stands still as well.
    pub(super) fn freeze(&mut self, suspended: bool) {
        self.frozen_at.get_or_insert((Instant::now(), suspended));
        self.switch.freeze();
    }

    pub(super) fn thaw(&mut self) {
        if let Some((since, true)) = self.frozen_at.take() {
            let millis = i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX);
            self.clock.fetch_sub(millis, Ordering::Relaxed);
        }
        self.switch.thaw();
    }
}

/// Incarnation after incarnation.
async fn live(fleet: Fleet, who: usize, switch: Arc<Switch>, clock: Arc<AtomicI64>) {
    loop {
        let killed = fleet.world.state().ways[who].killed.clone();
        let (ctx, heads_out) = context(&fleet, who, &clock);
        let shutdown = ctx.shutdown.clone();
        let mut tasks = JoinSet::new();
        let heads = HeadsConfig { poll: fleet.config.poll_every, ..HeadsConfig::default() };
        tasks.spawn(switch.run(follow_heads(ctx.chain.clone(), heads, heads_out, shutdown.clone())));
        tasks.spawn(switch.run(consumer::claim(ctx.clone())));
        tasks.spawn(switch.run(consumer::reclaim(ctx.clone())));
        tasks.spawn(switch.run(movers::run(ctx.clone())));
        tasks.spawn(switch.run(heartbeat::run(ctx.clone())));
        tasks.spawn(switch.run(signer::run(ctx)));
        let graceful = {
            let mut state = fleet.world.state();
            let often = state.rates.stop;
            state
                .strikes(often, "graceful stop")
                .then(|| Duration::from_millis(state.dice.random_range(500..20_000)))
        };
        match graceful {
            None => killed.notified().await,
            Some(after) => {
                tokio::select! {
                    biased;
                    () = killed.notified() => {}
                    () = sleep(after) => {
                        shutdown.cancel();
                        tokio::select! {
                            biased;
                            () = killed.notified() => {}
                            () = async { while tasks.join_next().await.is_some() {} } => {}
                        }
                    }
                }
            }
        }
        // Whatever was under way is gone with its memory.
        tasks.abort_all();
        drop(tasks);
        switch.thaw();
        let after = fleet.world.state().dice.random_range(50..2_500);
        sleep(Duration::from_millis(after)).await;
    }
}

fn context(
    fleet: &Fleet,
    who: usize,
    clock: &Arc<AtomicI64>,
) -> (Context, watch::Sender<Option<worker::chain::Head>>) {
    let node = Node { world: fleet.world.clone(), who, is_mortal: true };
    let boot: Arc<str> = format!("{:032x}", fleet.boots.fetch_add(1, Ordering::Relaxed)).into();
    let (heads_out, heads) = watch::channel(None);
    let dice = fleet.world.state().dice.random();
    let ctx = Context {
        store: store(node.clone(), &fleet.next_id),
        config: fleet.config.clone(),
        chain: Arc::new(Asking(node)) as Arc<dyn Chain>,
        key: fleet.key.clone(),
        heads,
        leading: watch::Sender::new(None),
        silent: Arc::default(),
        metrics: Metrics::new(),
        clock: Clock::shifted(clock.clone()),
        dice: Dice::seeded(dice),
        worker: format!("sim-{who}-{boot}").into(),
        boot,
        shutdown: CancellationToken::new(),
    };
    (ctx, heads_out)
}

/// The production store on a process's own way to Redis.
pub(super) fn store(node: Node, next_id: &Arc<AtomicU64>) -> Store {
    Store::over(Arc::new(node), &lane(), Durability::Trust, next_id.clone())
}

/// The one lane.
pub(super) fn lane() -> Lane {
    "main".parse().unwrap_or_else(|error| panic!("the lane's name is refused: {error}"))
}
