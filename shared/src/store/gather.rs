//! One run of a script for what many callers bring at the same time. Who comes while [`RUNS`] are under way waits for the next,
//! which takes its share of all that wait: alone nobody waits, and in a crowd the server runs one script where it would run many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use super::error::StoreError;
use super::script::Args;

/// The most of one run: a long script holds up everybody.
const MOST: usize = 64;
/// Runs at once. While one waits for its fsync, the next is on its way.
const RUNS: usize = 2;
/// What a run takes at least, where so many wait: it costs the server some 20 µs, whatever it has. Not all of them where many
/// wait: what goes as one comes back as one, and until then whoever serves the callers has nothing to do, and afterwards the
/// server has nothing.
const FEW: usize = 25;

/// What the script says about one of them.
pub(super) type Row = (i64, String, String);

struct Waiting {
    args: Arc<Args>,
    answer: oneshot::Sender<Result<Row, StoreError>>,
}

pub(super) struct Gatherer {
    waiting: Mutex<VecDeque<Waiting>>,
    runs: Semaphore,
}

impl Default for Gatherer {
    fn default() -> Self {
        Self { waiting: Mutex::default(), runs: Semaphore::new(RUNS) }
    }
}

impl Gatherer {
    /// Has `args` answered by a run of their own or with others; `run` asks for some and gives one row for each.
    pub(super) async fn ask<R>(&self, args: Args, run: impl Fn(Args) -> R) -> Result<Row, StoreError>
    where
        R: Future<Output = Result<Vec<Row>, StoreError>>,
    {
        let args = Arc::new(args);
        loop {
            let (answer, mut answered) = oneshot::channel();
            self.lock().push_back(Waiting { args: args.clone(), answer });
            let told = loop {
                tokio::select! {
                    biased;
                    told = &mut answered => break told,
                    turn = self.runs.acquire() => {
                        // Where nothing waits any more, it is in a run of somebody else's.
                        if turn.is_err() || !self.run_some(&run).await {
                            drop(turn);
                            break answered.await;
                        }
                    }
                }
            };
            // Who ran it for us may have been cut off. What is asked twice is answered twice.
            if let Ok(answer) = told {
                return answer;
            }
        }
    }

    /// Runs the next ones. Returns whether there were any.
    async fn run_some<R>(&self, run: &impl Fn(Args) -> R) -> bool
    where
        R: Future<Output = Result<Vec<Row>, StoreError>>,
    {
        let some = self.take();
        if some.is_empty() {
            return false;
        }
        let mut all = Args::new();
        some.iter().for_each(|waiting| all.append(&waiting.args));
        let answers = some.into_iter().map(|waiting| waiting.answer);
        let answered = run(all).await.and_then(|rows| match rows.len() == answers.len() {
            true => Ok(rows),
            false => Err(StoreError::UnknownReply {
                script: "of many",
                value: format!("{} answers to {} arguments", rows.len(), answers.len()),
            }),
        });
        match answered {
            Ok(rows) => answers.zip(rows).for_each(|(answer, row)| _ = answer.send(Ok(row))),
            Err(error) => answers.for_each(|answer| _ = answer.send(Err(error.clone()))),
        }
        true
    }

    /// The next ones, but of those whom nobody waits for any more: a run's share of all that wait.
    fn take(&self) -> Vec<Waiting> {
        let mut waiting = self.lock();
        let share = (waiting.len() / RUNS).clamp(FEW, MOST);
        let mut some = Vec::new();
        while some.len() < share
            && let Some(next) = waiting.pop_front()
        {
            if !next.answer.is_closed() {
                some.push(next);
            }
        }
        some
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinSet;

    use super::*;

    /// Answers each with its own argument, after a while.
    async fn echo(runs: Arc<Mutex<Vec<usize>>>, args: Args) -> Result<Vec<Row>, StoreError> {
        runs.lock().unwrap().push(args.iter().count());
        tokio::time::sleep(Duration::from_millis(10)).await;
        Ok(args.iter().map(|arg| (0, arg.to_owned(), String::new())).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_share_runs_and_each_gets_its_own_answer() {
        let (gatherer, runs) = (Arc::new(Gatherer::default()), Arc::new(Mutex::new(Vec::new())));
        let mut calls = JoinSet::new();
        for n in 0..200 {
            let (gatherer, runs) = (gatherer.clone(), runs.clone());
            calls.spawn(async move {
                let row = gatherer.ask(Args::new().arg(n), |args| echo(runs.clone(), args)).await.unwrap();
                assert_eq!(row.1, n.to_string());
            });
        }
        calls.join_all().await;
        let runs = runs.lock().unwrap().clone();
        assert_eq!(runs.iter().sum::<usize>(), 200);
        assert_eq!(runs[..RUNS], [1; RUNS], "who comes first waits for nobody: {runs:?}");
        assert_eq!(runs[RUNS], MOST, "no more, though a share is: {runs:?}");
        assert_eq!(runs[RUNS + 2], (200 - RUNS - 2 * MOST) / RUNS, "a share of all that wait: {runs:?}");
        assert_eq!(runs.iter().filter(|run| **run < FEW).count(), RUNS + 1, "{runs:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_cut_off_takes_nobody_along() {
        let (gatherer, runs) = (Arc::new(Gatherer::default()), Arc::new(Mutex::new(Vec::new())));
        let ask = |n: usize| {
            let (gatherer, runs) = (gatherer.clone(), runs.clone());
            async move { gatherer.ask(Args::new().arg(n), |args| echo(runs.clone(), args)).await }
        };
        // All turns are taken for 10 ms. The next one to have one takes all that wait along, and is cut off in the middle.
        let mut others = JoinSet::new();
        (0..RUNS).for_each(|n| _ = others.spawn(ask(n)));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut cut_off = JoinSet::new();
        cut_off.spawn(ask(100));
        (200..204).for_each(|n| _ = others.spawn(ask(n)));
        tokio::time::sleep(Duration::from_millis(14)).await;
        assert_eq!(runs.lock().unwrap().last(), Some(&5), "one run for all that waited");
        cut_off.abort_all();
        let told: Vec<Row> = others.join_all().await.into_iter().map(Result::unwrap).collect();
        assert_eq!(told.len(), RUNS + 4);
        let asked: usize = runs.lock().unwrap().iter().sum();
        assert_eq!(asked, RUNS + 5 + 4, "who was in that run asks once more");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_reaches_everybody_of_its_run() {
        let gatherer = Arc::new(Gatherer::default());
        let fails = |_: Args| async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Err(StoreError::Pool { operation: "test", detail: "down".into() })
        };
        let (one, other) =
            tokio::join!(gatherer.ask(Args::new().arg(1), fails), gatherer.ask(Args::new().arg(2), fails));
        assert!(one.is_err() && other.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_leaves_somebody_out_is_an_error_for_all_of_them() {
        let gatherer = Gatherer::default();
        let says_nothing = |_: Args| async { Ok(Vec::new()) };
        let told = gatherer.ask(Args::new().arg(1), says_nothing).await;
        assert!(matches!(told, Err(StoreError::UnknownReply { .. })), "{told:?}");
    }
}
