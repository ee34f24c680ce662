//! The step function: what a process does next, given what it remembered when its activity began and everything it was told
//! since. It is the production code itself, polled from that beginning; nothing of a future is kept.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::{Context as Polling, Poll, Waker};

use shared::ids::JobId;
use shared::lease::LeaseState;
use shared::store::{Acquisition, Fence};
use tokio::runtime::Runtime;
use worker::consumer::{self, Sweep};
use worker::context::Context;
use worker::signer::{Leader, LeaseKeeper, Passed};

use super::action::Deed;
use super::effect::{Asked, Told, hash_of};
use super::port::{self, Entry, Event};
use super::seats::Seat;

/// Timers are made in it, and never fire: its clock stands still.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap_or_else(|error| panic!("no runtime: {error}"))
});

/// What one thread keeps of steps that it has made. A step depends on nothing but its [`Run`].
const KEPT: usize = 200_000;

/// What a process remembers between activities.
#[derive(Debug, Clone, Default)]
pub(super) enum Memory {
    #[default]
    Nothing,
    Leading(Arc<Term>),
}

/// A leader at rest.
pub(super) struct Term {
    pub(super) leader: Mutex<Leader>,
    pub(super) hash: u64,
    /// The lease's value.
    pub(super) fence: String,
}

impl std::fmt::Debug for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Term({})", self.fence)
    }
}

impl Hash for Memory {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(match self {
            Self::Nothing => 0,
            Self::Leading(term) => term.hash,
        });
    }
}

impl Memory {
    fn leading(leader: Leader) -> Self {
        let (hash, fence) = (hash_of(&leader).max(1), leader.lease().0.to_string());
        Self::Leading(Arc::new(Term { leader: Mutex::new(leader), hash, fence }))
    }

    fn leader(&self) -> Option<Leader> {
        match self {
            Self::Nothing => None,
            Self::Leading(term) => Some(term.leader.lock().unwrap_or_else(PoisonError::into_inner).fork()),
        }
    }
}

/// What a process may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Activity {
    /// Stand for election.
    Acquire,
    /// Renew the lease.
    Renew,
    /// The leader's pass over everything there is to do.
    Pass,
    /// Give the lease up, as at shutdown.
    Resign,
    /// Read the queue, claim, check, store the verdicts.
    Claim,
    /// The same by one that found jobs the last time: a script reads the queue and claims at once.
    ClaimAmidWork,
    /// Take over one job from a worker that went silent.
    Reclaim,
    /// Queue what is due again.
    Promote,
    /// Rebuild what a rollback took away.
    Sweep,
    /// The merchant or the operator does something: with the number that a new job would get, and the job that it is about.
    Deed(Deed, u64, Option<JobId>),
}

/// An activity under way, up to an effect that has not happened yet.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) activity: Activity,
    /// By the process's own clock, in milliseconds.
    pub(super) began: u64,
    pub(super) start: Memory,
    pub(super) past: Option<Arc<Entry>>,
    /// Of all of the above, and of whose it is.
    pub(super) id: u64,
}

/// Where an activity has come to.
#[derive(Debug, Clone)]
pub(super) enum Reached {
    Asks(Arc<Asked>),
    Rests(Memory),
}

thread_local! {
    static REACHED: RefCell<HashMap<u64, Reached>> = RefCell::default();
}

impl Run {
    pub(super) fn begin(seat: &Seat, activity: Activity, start: Memory, began: u64) -> Self {
        let id = hash_of(&(seat.salt, activity, &start, began));
        Self { activity, began, start, past: None, id }
    }

    pub(super) fn after(&self, event: Event, at: u64) -> Self {
        let id = match &event {
            Event::Answer { asked, told } => hash_of(&(self.id, 0u8, asked, told, at)),
            Event::Renewal(told) => hash_of(&(self.id, 1u8, told, at)),
        };
        Self { past: Some(Arc::new(Entry { before: self.past.clone(), event, at })), id, ..self.clone() }
    }

    fn past(&self) -> Vec<Arc<Entry>> {
        let mut past: Vec<_> =
            std::iter::successors(self.past.clone(), |entry| entry.before.clone()).collect();
        past.reverse();
        past
    }

    /// Runs the production code up to the first effect that it has no answer to.
    pub(super) fn step(&self, seat: &Seat) -> Reached {
        if let Some(known) = REACHED.with_borrow(|reached| reached.get(&self.id).cloned()) {
            return known;
        }
        let reached = self.play(seat);
        REACHED.with_borrow_mut(|kept| {
            if kept.len() >= KEPT {
                kept.clear();
            }
            kept.insert(self.id, reached.clone());
        });
        reached
    }

    fn play(&self, seat: &Seat) -> Reached {
        // Whoever shares this process's context shares its clock.
        let _alone = seat.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let _timers = RUNTIME.enter();
        if let Activity::Deed(_, next_id, _) = self.activity {
            seat.next_id.store(next_id, Ordering::Relaxed);
        }
        let past = self.past();
        let began = match (seat.trusts_from_after_the_call, self.activity, past.first()) {
            (true, Activity::Acquire, Some(entry)) => entry.at,
            _ => self.began,
        };
        port::begin(past, seat.clock.clone(), began);
        let leader = self.start.leader();
        let lease = leader.as_ref().map(|leader| {
            let (fence, keeper) = leader.lease();
            (fence.clone(), keeper.clone())
        });
        let mut life = live(self.activity, seat.ctx.clone(), leader);
        let reached = loop {
            if let Poll::Ready(memory) = poll(life.as_mut()) {
                break Some(Reached::Rests(memory));
            }
            let Some((told, _)) = port::next_renewal() else { break None };
            let (fence, keeper) = lease.as_ref().expect("only leaders renew");
            if port::aside(&told, || renew(&seat.ctx, fence, keeper)) == LeaseState::Follower {
                // As in production: whatever was under way is dropped.
                break Some(Reached::Rests(Memory::Nothing));
            }
        };
        drop(life);
        let asked = port::end();
        reached.unwrap_or_else(|| match asked {
            Some(effect) => Reached::Asks(Arc::new(Asked::new(effect))),
            None => panic!("{:?} waits for something else than Redis and the chain", self.activity),
        })
    }
}

fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
    future.poll(&mut Polling::from_waker(Waker::noop()))
}

fn renew(ctx: &Context, fence: &Fence, keeper: &LeaseKeeper) -> LeaseState {
    match poll(std::pin::pin!(keeper.renew(ctx, fence))) {
        Poll::Ready(state) => state,
        Poll::Pending => panic!("a renewal asks for more than one thing"),
    }
}

type Life = Pin<Box<dyn Future<Output = Memory>>>;

/// The production code of an activity.
fn live(activity: Activity, ctx: Context, leader: Option<Leader>) -> Life {
    match (activity, leader) {
        (Activity::Acquire, _) => Box::pin(acquire(ctx)),
        (Activity::Renew, Some(leader)) => Box::pin(async move {
            let (fence, keeper) = leader.lease();
            match keeper.renew(&ctx, fence).await {
                LeaseState::Leader(_) => Memory::leading(leader),
                LeaseState::Follower => Memory::Nothing,
            }
        }),
        (Activity::Pass, Some(mut leader)) => Box::pin(async move {
            match leader.pass().await {
                Passed::Whole | Passed::CutShort => Memory::leading(leader),
                Passed::Ended(_) => resign(ctx, &leader).await,
            }
        }),
        (Activity::Resign, Some(leader)) => Box::pin(async move { resign(ctx, &leader).await }),
        (Activity::Renew | Activity::Pass | Activity::Resign, None) => {
            Box::pin(std::future::ready(Memory::Nothing))
        }
        (Activity::Claim | Activity::ClaimAmidWork, _) => Box::pin(async move {
            if let Ok(mut claims) = ctx.store.claims(&ctx.worker).await {
                if activity == Activity::ClaimAmidWork {
                    claims.expect_jobs();
                }
                let _ = consumer::claim_once(&ctx, &mut claims).await;
            }
            Memory::Nothing
        }),
        (Activity::Reclaim, _) => Box::pin(async move {
            let _ = consumer::reclaim_once(&ctx).await;
            Memory::Nothing
        }),
        (Activity::Promote, _) => Box::pin(async move {
            let _ = ctx.store.promote().await;
            Memory::Nothing
        }),
        (Activity::Sweep, _) => Box::pin(async move {
            let mut sweep = Sweep::default();
            while let Ok(Some(_)) = sweep.slice(&ctx).await {}
            Memory::Nothing
        }),
        (Activity::Deed(deed, _, job), _) => Box::pin(super::deeds::act(ctx, deed, job)),
    }
}

/// As a follower does.
async fn acquire(ctx: Context) -> Memory {
    let sent_at = ctx.clock.monotonic();
    match ctx.store.acquire_lease(&ctx.boot, ctx.config.lease.ttl).await {
        Ok(Acquisition::Taken { fence, term }) => match LeaseKeeper::start(&ctx, &fence, term, sent_at) {
            Some(keeper) => Memory::leading(Leader::new(ctx, fence, keeper)),
            None => Memory::Nothing,
        },
        _ => Memory::Nothing,
    }
}

/// As at the end of every term: a lease that is still ours is given up.
async fn resign(ctx: Context, leader: &Leader) -> Memory {
    let (fence, keeper) = leader.lease();
    if matches!(keeper.state(), LeaseState::Leader(_)) {
        let _ = ctx.store.release_lease(fence).await;
    }
    Memory::Nothing
}

/// The answer, as an event of the activity that asked.
pub(super) fn answer(asked: &Asked, told: Told) -> Event {
    Event::Answer { asked: asked.hash, told }
}
