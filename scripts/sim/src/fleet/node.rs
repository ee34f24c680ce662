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
    /// Whether it may die at what it does. The API holds nothing that could be lost with it: to whoever calls it, its death is
    /// a lost reply.
    pub(super) is_mortal: bool,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Errand {
    /// A command that Redis answers at once.
    Command,
    /// A blocking read.
    Wait,
    Question,
    /// Signed bytes.
    Broadcast,
}

impl Errand {
    fn is_to_the_chain(self) -> bool {
        matches!(self, Self::Question | Self::Broadcast)
    }
}

/// What becomes of one command or question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It never arrived.
    Undelivered,
    /// It was executed, and its answer lost.
    Unanswered,
    /// It was executed, and once more.
    Twice,
    /// The process dies before it sends it, ...
    DeadBefore,
    /// ... or before it hears the answer.
    DeadAfter,
}

impl Node {
    /// Draws what happens, and waits as long as the way takes.
    async fn travel(&self, errand: Errand) -> Fate {
        let (fate, late) = {
            let mut state = self.world.state();
            let rates = state.rates;
            let lost = if errand.is_to_the_chain() { rates.chain_lost } else { rates.redis_lost };
            // What dies with a process that holds nothing is a reply.
            let (crash, is_mortal) = (if self.is_mortal { "crash" } else { "lost reply" }, self.is_mortal);
            let can_be_twice = matches!(errand, Errand::Command | Errand::Broadcast);
            let fate = if state.strikes(rates.crash, crash) {
                match is_mortal {
                    false => Fate::Unanswered,
                    true if state.dice.random_bool(0.5) => Fate::DeadBefore,
                    true => Fate::DeadAfter,
                }
            } else if state.strikes(lost * 0.7, "lost reply") {
                Fate::Unanswered
            } else if state.strikes(lost * 0.3, "lost request") {
                Fate::Undelivered
            } else if can_be_twice && state.strikes(rates.twice, "duplicate") {
                Fate::Twice
            } else {
                Fate::Answered
            };
            let late = match () {
                () if state.strikes(rates.late, "delay") => state.dice.random_range(50..1_500),
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
        let patience = patience(&command);
        let errand = if patience.is_some() { Errand::Wait } else { Errand::Command };
        let fate = self.travel(errand).await;
        let cut = {
            let state = self.world.state();
            state.redis_down || state.ways[self.who].redis_cut
        };
        if cut || fate == Fate::Undelivered {
            sleep(Duration::from_millis(100)).await;
            return Err(broken());
        }
        if fate == Fate::Twice {
            let _ = self.world.execute(&command);
        }
        let reply = match patience {
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

    /// A blocking read: asked again whenever there is another entry.
    async fn wait(&self, command: &[Vec<u8>], patience: Duration) -> RedisResult<Value> {
        let deadline = Instant::now() + patience;
        let bell = self.world.bell(stream_of(command));
        loop {
            let written = bell.notified();
            let reply = self.world.execute(command)?;
            if reply != Value::Nil || timeout_at(deadline, written).await.is_err() {
                return Ok(reply);
            }
        }
    }

    async fn chain(&self, question: Question) -> Result<Answer, ChainError> {
        let is_broadcast = matches!(question, Question::Broadcast(_));
        let fate = self.travel(if is_broadcast { Errand::Broadcast } else { Errand::Question }).await;
        let cut = self.world.state().ways[self.who].chain_cut;
        if cut || fate == Fate::Undelivered {
            sleep(CHAIN_PATIENCE).await;
            return Err(silent());
        }
        let answer = {
            let mut state = self.world.state();
            let state = &mut *state;
            let view = &state.ways[self.who].view;
            if let Question::Broadcast(raw) = &question {
                state.ghosts.sent(&mut state.redis, self.world.now(), raw);
                let first = state.chain.broadcast(view, raw);
                let again = (fate == Fate::Twice).then(|| state.chain.broadcast(view, raw));
                again.unwrap_or(first).map(Answer::Broadcast)
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

/// The stream that a blocking read waits for.
fn stream_of(command: &[Vec<u8>]) -> &[u8] {
    let at = command.iter().position(|word| word == b"STREAMS");
    at.and_then(|at| command.get(at + 1)).map_or(&[], Vec::as_slice)
}

fn broken() -> RedisError {
    RedisError::from((ErrorKind::Io, "the simulated connection broke"))
}

fn silent() -> ChainError {
    ChainError::Timeout { endpoint: "simulated".to_owned(), method: "any" }
}
