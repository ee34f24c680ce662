//! Several endpoints: who is asked, in which order, and how long anybody is waited for.
//!
//! Invariants: an endpoint on another chain is asked nothing; a silent one holds up a read for a fraction of its deadline
//! only, because the next is asked beside it; what is still unanswered when nobody waits for it any more is followed to
//! its end by the watch, so that silence is found out.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use shared::ids::BlockNumber;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ChainError;
use super::agree::{Answers, Said};
use super::endpoint::Endpoint;
use super::health::{self, Rank};
use super::standing::Overdue;
use crate::metrics::RpcMetrics;

/// The part of a deadline after which the next endpoint is asked beside a silent one.
const HEDGE: u32 = 4;
const LONGEST_HEDGE: Duration = Duration::from_secs(1);
/// Unanswered questions that are followed to their end at most; what exceeds it is forgotten.
const STRAGGLERS: usize = 256;
/// How often the watch looks for endpoints that are due for a probe.
const TICK: Duration = Duration::from_millis(100);

type Straggler = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct Pool {
    /// Never empty.
    endpoints: Vec<Arc<Endpoint>>,
    hedge: Duration,
    /// To the watch; not there where none runs.
    stragglers: OnceLock<mpsc::Sender<Straggler>>,
    metrics: RpcMetrics,
}

/// What a search among endpoints came to.
pub(super) struct Search<T> {
    pub(super) found: Option<(Arc<Endpoint>, T)>,
    /// Answers that were not what was looked for.
    pub(super) others: Vec<(Arc<Endpoint>, T)>,
    /// The first error.
    pub(super) error: Option<ChainError>,
}

impl Pool {
    pub(super) fn new(endpoints: Vec<Arc<Endpoint>>, deadline: Duration, metrics: RpcMetrics) -> Self {
        Self { endpoints, hedge: (deadline / HEDGE).min(LONGEST_HEDGE), stragglers: OnceLock::new(), metrics }
    }

    pub(super) fn all(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    fn ranked(&self, worst: Rank) -> Vec<Arc<Endpoint>> {
        let order = health::order(self.endpoints.iter().map(|endpoint| endpoint.rank()));
        order
            .into_iter()
            .filter(|(_, rank)| *rank <= worst)
            .map(|(at, _)| self.endpoints[at].clone())
            .collect()
    }

    /// All that may be asked, best first.
    pub(super) fn order(&self) -> Vec<Arc<Endpoint>> {
        self.ranked(Rank::Demoted)
    }

    /// Those that do not fail, best first; where all do, all that may be asked.
    pub(super) fn choice(&self) -> Vec<Arc<Endpoint>> {
        let up = self.ranked(Rank::Behind);
        if up.is_empty() { self.order() } else { up }
    }

    /// The newest head that an endpoint showed which is up.
    pub(super) fn best_head(&self) -> Option<BlockNumber> {
        self.endpoints.iter().filter_map(|endpoint| endpoint.health().head()).max()
    }

    /// Looks among `order` for an answer that `fits`: the next is asked when one has answered otherwise or is silent for a
    /// while.
    pub(super) async fn search<T, F>(
        &self,
        order: &[Arc<Endpoint>],
        question: impl Fn(Arc<Endpoint>) -> F,
        fits: impl Fn(&T) -> bool,
    ) -> Search<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let mut search = Search { found: None, others: Vec::new(), error: None };
        let mut left = order.iter();
        let mut running = Running::new();
        loop {
            if running.is_empty() {
                let Some(next) = left.next() else { break };
                running.start(next, question(next.clone()));
            }
            let hedged = left.len() > 0;
            tokio::select! {
                Some((endpoint, answer)) = running.next() => match answer {
                    Ok(answer) if fits(&answer) => {
                        search.found = Some((endpoint, answer));
                        break;
                    }
                    Ok(answer) => search.others.push((endpoint, answer)),
                    Err(error) => {
                        tracing::debug!(rpc.endpoint = &**endpoint.name(), %error, "no answer from this endpoint");
                        search.error.get_or_insert(error);
                    }
                },
                () = tokio::time::sleep(self.hedge), if hedged => {
                    if let Some(next) = left.next() {
                        running.start(next, question(next.clone()));
                    }
                }
            }
        }
        self.leave(running);
        search
    }

    /// The first answer, whoever gives it; otherwise the first error.
    pub(super) async fn first_answer<T, F>(
        &self,
        order: &[Arc<Endpoint>],
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<T, ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let search = self.search(order, question, |_| true).await;
        match search.found {
            Some((_, answer)) => Ok(answer),
            None => Err(search.error.unwrap_or_else(|| self.nobody())),
        }
    }

    /// Asks all of `asked` at once, and waits for them for no longer than `grace` after the first answer. In the order of
    /// the configuration.
    pub(super) async fn ask_all<T, F>(
        &self,
        asked: &[Arc<Endpoint>],
        grace: Option<Duration>,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Vec<(Arc<Endpoint>, Result<T, ChainError>)>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let mut running = Running::new();
        for endpoint in asked {
            running.start(endpoint, question(endpoint.clone()));
        }
        let mut answers: Vec<(Arc<Endpoint>, Result<T, ChainError>)> = Vec::with_capacity(asked.len());
        let mut until = None;
        while let Some((endpoint, answer)) = running.next_until(until).await {
            if answer.is_ok() {
                until = until.or_else(|| grace.map(|grace| Instant::now() + grace));
            }
            answers.push((endpoint, answer));
        }
        self.leave(running);
        answers.sort_by_key(|(endpoint, _)| endpoint.position());
        answers
    }

    /// The answers of two endpoints that do not fail, where there are two; otherwise whoever has one.
    pub(super) async fn opinions<T, F>(
        &self,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<Answers<T>, ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let asked = self.choice();
        let mut left = asked.iter();
        let mut running = Running::new();
        let mut answers: Vec<(Arc<Endpoint>, T)> = Vec::with_capacity(2);
        let mut first_error = None;
        loop {
            // Whoever has no answer is replaced by the next.
            while answers.len() + running.len() < 2 {
                let Some(next) = left.next() else { break };
                running.start(next, question(next.clone()));
            }
            let Some((endpoint, answer)) = running.next().await else { break };
            match answer {
                Ok(answer) => answers.push((endpoint, answer)),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        if answers.is_empty() {
            // Those that fail may know what the others do not.
            let rest: Vec<_> = self
                .order()
                .into_iter()
                .filter(|one| !asked.iter().any(|was| Arc::ptr_eq(was, one)))
                .collect();
            let search = self.search(&rest, question, |_| true).await;
            answers.extend(search.found);
            first_error = first_error.or(search.error);
        }
        answers.sort_by_key(|(endpoint, _)| endpoint.position());
        let mut said =
            answers.into_iter().map(|(endpoint, answer)| Said { endpoint: endpoint.name().clone(), answer });
        match (said.next(), said.next()) {
            (Some(one), Some(other)) => Ok(Answers::Two(one, other)),
            (Some(one), None) => Ok(Answers::Alone(one)),
            (None, _) => Err(first_error.unwrap_or_else(|| self.nobody())),
        }
    }

    /// [`Self::opinions`] on money: it is noted where nobody could confirm them.
    pub(super) async fn verdict<T, F>(
        &self,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<Answers<T>, ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let answers = self.opinions(question).await?;
        if self.endpoints.len() > 1 && matches!(answers, Answers::Alone(_)) {
            self.metrics.alone.inc();
        }
        Ok(answers)
    }

    /// The error where no endpoint may be asked at all.
    pub(super) fn nobody(&self) -> ChainError {
        let names: Vec<&str> = self.endpoints.iter().map(|endpoint| &**endpoint.name()).collect();
        ChainError::Unreachable {
            endpoint: names.join(","),
            method: "any",
            detail: "every endpoint is on another chain".to_owned(),
        }
    }

    /// Hands questions that nobody waits for any more to the watch.
    pub(super) fn leave<T: Send + 'static>(&self, mut running: Running<T>) {
        let (Some(watch), false) = (self.stragglers.get(), running.is_empty()) else { return };
        let mut overdue: Vec<Overdue> = running.asked.drain(..).map(Overdue::new).collect();
        let follow = async move {
            while let Some((endpoint, _)) = running.next().await {
                overdue.retain(|overdue| !overdue.is_of(&endpoint));
            }
        };
        // A full watch forgets the question, and with it that it is overdue.
        let _ = watch.try_send(Box::pin(follow));
    }

    /// Follows what nobody waits for any more, and probes endpoints: those that fail, after their pause, and all of them
    /// now and then, for their chain id. Ends only by `cancel`.
    pub(super) async fn watch(&self, cancel: CancellationToken) {
        let (out, mut stragglers) = mpsc::channel(STRAGGLERS);
        if self.stragglers.set(out).is_err() {
            return cancel.cancelled().await;
        }
        let mut running: FuturesUnordered<Straggler> = FuturesUnordered::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(straggler) = stragglers.recv(), if running.len() < STRAGGLERS => running.push(straggler),
                Some(()) = running.next() => {}
                _ = tick.tick() => {
                    let (now, best) = (Instant::now(), self.best_head());
                    for endpoint in &self.endpoints {
                        if endpoint.health().is_probe_due(now) {
                            endpoint.health().probe_sent(now);
                            let endpoint = endpoint.clone();
                            running.push(Box::pin(async move { endpoint.probe(best).await }));
                        }
                    }
                }
            }
        }
    }
}

type Asked<T> = (Arc<Endpoint>, Result<T, ChainError>);

/// Questions that are on their way.
pub(super) struct Running<T> {
    futures: FuturesUnordered<Pin<Box<dyn Future<Output = Asked<T>> + Send>>>,
    /// Who has not answered yet.
    asked: Vec<Arc<Endpoint>>,
}

impl<T: Send + 'static> Running<T> {
    pub(super) fn new() -> Self {
        Self { futures: FuturesUnordered::new(), asked: Vec::new() }
    }

    pub(super) fn start(
        &mut self,
        endpoint: &Arc<Endpoint>,
        question: impl Future<Output = Result<T, ChainError>> + Send + 'static,
    ) {
        self.asked.push(endpoint.clone());
        let endpoint = endpoint.clone();
        self.futures.push(Box::pin(async move { (endpoint, question.await) }));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.futures.is_empty()
    }

    fn len(&self) -> usize {
        self.futures.len()
    }

    /// Who has not answered yet.
    pub(super) fn unanswered(&self) -> &[Arc<Endpoint>] {
        &self.asked
    }

    /// The next answer; `None` when there is nothing to wait for.
    pub(super) async fn next(&mut self) -> Option<Asked<T>> {
        let answered = self.futures.next().await?;
        if let Some(at) = self.asked.iter().position(|endpoint| Arc::ptr_eq(endpoint, &answered.0)) {
            self.asked.swap_remove(at);
        }
        Some(answered)
    }

    /// [`Self::next`], waited for until `until` where that is set.
    pub(super) async fn next_until(&mut self, until: Option<Instant>) -> Option<Asked<T>> {
        match until {
            None => self.next().await,
            Some(until) => tokio::time::timeout_at(until, self.next()).await.ok().flatten(),
        }
    }
}
