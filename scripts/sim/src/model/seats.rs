//! The processes under check: the contexts of all their incarnations, on the modelled ports.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};

use shared::clock::Clock;
use shared::store::{Durability, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use worker::config::Config;
use worker::context::{Context, Dice};
use worker::metrics::Metrics;

use super::effect::hash_of;
use super::port::Ports;
use super::settings::SIGNER;
use crate::chain::{Asking, CheapKey};

/// One incarnation of one process.
pub(super) struct Seat {
    pub(super) ctx: Context,
    /// Its monotonic clock, in milliseconds.
    pub(super) clock: Arc<AtomicI64>,
    /// The number of the next job that its store makes.
    pub(super) next_id: Arc<AtomicU64>,
    /// Held while it runs: checkers run in several threads.
    pub(super) alone: Mutex<()>,
    /// Distinguishes what it does from what others do, also in other models.
    pub(super) salt: u64,
    /// A mutant's.
    pub(super) trusts_from_after_the_call: bool,
}

impl Seat {
    /// `model` is a number that no other model of this process has.
    pub(super) fn new(model: u64, who: usize, incarnation: usize, config: &Arc<Config>, late: bool) -> Self {
        let (clock, next_id) = (Arc::<AtomicI64>::default(), Arc::<AtomicU64>::default());
        let lane = "main".parse().unwrap_or_else(|error| panic!("the lane's name is refused: {error}"));
        let boot = format!("{}{incarnation}", name(who));
        let ctx = Context {
            store: Store::over(Arc::new(Ports), &lane, Durability::Trust, next_id.clone()),
            config: config.clone(),
            chain: Arc::new(Asking(Ports)),
            key: Arc::new(CheapKey(SIGNER)),
            heads: watch::channel(None).1,
            leading: watch::Sender::new(None),
            silent: Arc::default(),
            metrics: Metrics::new(),
            clock: Clock::shifted(clock.clone()),
            // Only delays are drawn, and the modelled ones have no length.
            dice: Dice::seeded(1),
            worker: format!("host-{boot}").into(),
            boot: boot.into(),
            shutdown: CancellationToken::new(),
        };
        let salt = hash_of(&(model, who, incarnation));
        Self { ctx, clock, next_id, alone: Mutex::default(), salt, trusts_from_after_the_call: late }
    }
}

/// A, B, C, …
pub(super) fn name(who: usize) -> char {
    char::from(b'A' + u8::try_from(who).unwrap_or(25).min(25))
}
