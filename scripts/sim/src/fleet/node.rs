//! A process's ways to Redis and to the chain: every command and every question passes here, may be late, may be lost, and
//! may be the last thing that its process does.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use rand::Rng as _;
use redis::{ErrorKind, RedisError, RedisResult, Value};
use shared::store::Wire;
use tokio::time::{Instant, sleep, timeout_at};
use worker::chain::ChainError;

use super::world::World;
use crate::chain::{Answer, Port, Question};

/// How long a lost reply is waited for.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);
const CHAIN_PATIENCE: Duration = Duration::from_secs(1);

/// One process.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) world: Arc<World>,
    pub(super) who: usize,
}

/// What becomes of one command or question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It never arrived.
    Undelivered,
    /// It was executed, and its answer lost.
    Unanswered,
    /// The process dies before it sends it, ...
    DeadBefore,
    /// ... or before it hears the answer.
    DeadAfter,
}

impl Node {
    /// Draws what happens, and waits as long as the way takes.
    async fn travel(&self, is_chain: bool) -> Fate {
        let (fate, late) = {
            let mut state = self.world.state();
            let rates = state.rates;
            let lost = if is_chain { rates.chain_lost } else { rates.redis_lost };
            let fate = if state.strikes(rates.crash) {
                if state.dice.random_bool(0.5) { Fate::DeadBefore } else { Fate::DeadAfter }
            } else if state.strikes(lost) {
                if state.dice.random_bool(0.7) { Fate::Unanswered } else { Fate::Undelivered }
            } else {
                Fate::Answered
            };
            let late = match () {
                () if state.strikes(rates.late) => state.dice.random_range(50..1_500),
                () if state.dice.random_bool(0.05) => state.dice.random_range(1..20),
                () => 0,
            };
            (fate, late)
        };
        match late {
            0 => tokio::task::yield_now().await,
            late => sleep(Duration::from_millis(late)).await,
        }
        if fate == Fate::DeadBefore {
            self.die().await;
        }
        fate
    }

    async fn die(&self) {
        self.world.state().ways[self.who].killed.notify_one();
        pending::<()>().await;
    }

    async fn redis(&self, command: Vec<Vec<u8>>) -> RedisResult<Value> {
        let fate = self.travel(false).await;
        let cut = {
            let state = self.world.state();
            state.redis_down || state.ways[self.who].redis_cut
        };
        if cut || fate == Fate::Undelivered {
            sleep(Duration::from_millis(100)).await;
            return Err(broken());
        }
        let reply = match patience(&command) {
            Some(patience) => self.wait(&command, patience).await,
            None => self.world.execute(&command),
        };
        match fate {
            Fate::Unanswered => {
                sleep(REDIS_PATIENCE).await;
                Err(broken())
            }
            Fate::DeadAfter => {
                self.die().await;
                reply
            }
            _ => reply,
        }
    }

    /// A blocking read: asked again whenever something was written.
    async fn wait(&self, command: &[Vec<u8>], patience: Duration) -> RedisResult<Value> {
        let deadline = Instant::now() + patience;
        loop {
            let written = self.world.written.notified();
            let reply = self.world.execute(command)?;
            if reply != Value::Nil || timeout_at(deadline, written).await.is_err() {
                return Ok(reply);
            }
        }
    }

    async fn chain(&self, question: Question) -> Result<Answer, ChainError> {
        let fate = self.travel(true).await;
        if fate == Fate::Undelivered {
            sleep(CHAIN_PATIENCE).await;
            return Err(silent());
        }
        let answer = {
            let mut state = self.world.state();
            let state = &mut *state;
            let view = &state.ways[self.who].view;
            if let Question::Broadcast(raw) = &question {
                state.ghosts.sent(&mut state.redis, self.world.now(), raw);
                state.chain.broadcast(view, raw).map(Answer::Broadcast)
            } else {
                state.chain.ask(view, &question)
            }
        };
        match fate {
            Fate::Unanswered => {
                sleep(CHAIN_PATIENCE).await;
                Err(silent())
            }
            Fate::DeadAfter => {
                self.die().await;
                answer
            }
            _ => answer,
        }
    }
}

impl Wire for Node {
    fn call(&self, command: Vec<Vec<u8>>) -> BoxFuture<'_, RedisResult<Value>> {
        self.redis(command).boxed()
    }
}

impl Port for Node {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, ChainError>> {
        self.chain(question).boxed()
    }
}

/// How long the command waits in Redis, where it does.
fn patience(command: &[Vec<u8>]) -> Option<Duration> {
    let at = command.iter().position(|word| word == b"BLOCK")?;
    let millis = std::str::from_utf8(command.get(at + 1)?).ok()?.parse().ok()?;
    Some(Duration::from_millis(millis))
}

fn broken() -> RedisError {
    RedisError::from((ErrorKind::Io, "the simulated connection broke"))
}

fn silent() -> ChainError {
    ChainError::Timeout { endpoint: "simulated".to_owned(), method: "any" }
}
