//! The two ports of a process under check. Nothing waits here: a question that has been answered before is answered from the
//! record, and the first that has not is written down and stays unanswered. Questions that are asked beside it are asked once that is
//! answered: what is concurrent goes one after the other here, in the order of the code.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::{ErrorKind, RedisError, RedisResult, Value};
use shared::store::Wire;
use worker::chain::ChainError;

use super::effect::{Asked, Effect, Told, hash_of};
use crate::chain::{Answer, Port, Question};

/// What an activity has lived through so far, newest first.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) before: Option<Arc<Entry>>,
    pub(super) event: Event,
    /// By the process's own clock, in milliseconds.
    pub(super) at: u64,
}

#[derive(Debug)]
pub(super) enum Event {
    /// It was told what it had asked for; `asked` is the hash of that.
    Answer { asked: u64, told: Told },
    /// Beside it the lease was renewed, or was not: what Redis said.
    Renewal(Told),
}

/// What is being played back on this thread.
struct Playback {
    /// Oldest first.
    past: Vec<Arc<Entry>>,
    next: usize,
    clock: Arc<AtomicI64>,
    asked: Option<Effect>,
}

thread_local! {
    static PLAYBACK: RefCell<Option<Playback>> = const { RefCell::new(None) };
}

/// Plays `past` back to whatever asks on this thread, until the next [`end`].
pub(super) fn begin(past: Vec<Arc<Entry>>, clock: Arc<AtomicI64>, began: u64) {
    set(&clock, began);
    PLAYBACK.set(Some(Playback { past, next: 0, clock, asked: None }));
}

/// What was asked and not answered.
pub(super) fn end() -> Option<Effect> {
    PLAYBACK.take().and_then(|playback| playback.asked)
}

/// The renewal that comes next, if that is what comes next.
pub(super) fn next_renewal() -> Option<(Told, u64)> {
    PLAYBACK.with_borrow_mut(|playback| {
        let playback = playback.as_mut()?;
        let entry = playback.past.get(playback.next)?.clone();
        let Event::Renewal(told) = &entry.event else { return None };
        playback.next += 1;
        playback.asked = None;
        set(&playback.clock, entry.at);
        Some((told.clone(), entry.at))
    })
}

/// Answers one question with `told`, whatever it is, while `act` runs.
pub(super) fn aside<T>(told: &Told, act: impl FnOnce() -> T) -> T {
    let outer = PLAYBACK.take();
    let clock = outer.as_ref().map_or_else(Arc::default, |outer| outer.clock.clone());
    let at = u64::try_from(clock.load(Ordering::Relaxed)).unwrap_or(0);
    let entry = Entry { before: None, event: Event::Answer { asked: 0, told: told.clone() }, at };
    PLAYBACK.set(Some(Playback { past: vec![Arc::new(entry)], next: 0, clock, asked: None }));
    let done = act();
    PLAYBACK.set(outer);
    done
}

fn set(clock: &AtomicI64, millis: u64) {
    clock.store(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::Relaxed);
}

impl Playback {
    /// The answer to `effect`, where there was one.
    fn answer(&mut self, effect: &Effect) -> Option<Told> {
        let Some(Event::Answer { asked, told }) = self.past.get(self.next).map(|entry| &entry.event) else {
            self.asked.get_or_insert_with(|| effect.clone());
            return None;
        };
        assert!(
            *asked == 0 || *asked == hash_of(effect),
            "the code went another way than before: it asks {}",
            Asked::new(effect.clone())
        );
        let told = told.clone();
        set(&self.clock, self.past[self.next].at);
        self.next += 1;
        self.asked = None;
        Some(told)
    }
}

/// An effect that waits for its answer.
struct Waiting(Effect);

impl Future for Waiting {
    type Output = Told;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Told> {
        let told = PLAYBACK.with_borrow_mut(|playback| match playback {
            Some(playback) => playback.answer(&self.0),
            None => panic!("asked outside of a playback: {:?}", self.0),
        });
        if told.is_none() {
            // Whoever waits for several looks only at those that call; after a renewal all are looked at again.
            context.waker().wake_by_ref();
        }
        told.map_or(Poll::Pending, Poll::Ready)
    }
}

/// A process's ways to Redis and to the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports;

impl Wire for Ports {
    fn call(&self, command: Vec<Vec<u8>>) -> BoxFuture<'_, RedisResult<Value>> {
        let told = Waiting(Effect::Redis(command));
        told.map(|told| match told {
            Told::Redis(value) => Ok(value),
            _ => Err(RedisError::from((ErrorKind::Io, "the modelled connection broke"))),
        })
        .boxed()
    }
}

impl Port for Ports {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, ChainError>> {
        let told = Waiting(Effect::Chain(question));
        told.map(|told| match told {
            Told::Chain(answer) => answer,
            _ => Err(ChainError::Timeout { endpoint: "modelled".to_owned(), method: "any" }),
        })
        .boxed()
    }
}
