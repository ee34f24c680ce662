//! Several endpoints: who is asked, in which order, and how long anybody is waited for.
//!
//! Invariants: an endpoint on another chain is asked nothing; a silent one holds up a read for a fraction of its deadline
//! only, because the next is asked beside it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use shared::ids::BlockNumber;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::ChainError;
use super::agree::{self, Answers, Said};
use super::endpoint::Endpoint;
use super::health::{self, Rank};
use super::stragglers::{Running, Straggler};
use crate::metrics::RpcMetrics;

/// The part of a deadline after which the next endpoint is asked beside a silent one.
const HEDGE: u32 = 4;
const LONGEST_HEDGE: Duration = Duration::from_secs(1);

pub(super) struct Pool {
    /// Never empty.
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    hedge: Duration,
    /// To the watch; not there where none runs.
    pub(super) stragglers: OnceLock<mpsc::Sender<Straggler>>,
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

    /// Whose word counts about money: first those that do not fail, then those that fail and still answer, so that one
    /// does not stand alone because another is in disgrace. A silent one would hold up every block.
    pub(super) fn voices(&self) -> Vec<Arc<Endpoint>> {
        let mut voices = self.order();
        if voices.iter().any(|endpoint| !endpoint.is_silent()) {
            voices.retain(|endpoint| !endpoint.is_silent());
        }
        voices
    }

    /// Who may confirm what `first` says.
    pub(super) fn voices_besides(&self, first: &Arc<Endpoint>) -> Vec<Arc<Endpoint>> {
        let mut voices = self.order();
        voices.retain(|endpoint| !endpoint.is_silent() && !Arc::ptr_eq(endpoint, first));
        voices
    }

    /// How long a second endpoint has where a first answer would do.
    pub(super) fn patience(&self) -> Duration {
        self.hedge
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

    /// Asks all of `asked` at once. `grace` says of an answer how long the others have once it is there; `None`: it sets them
    /// no limit. In the order of the configuration.
    pub(super) async fn ask_all<T, F>(
        &self,
        asked: &[Arc<Endpoint>],
        grace: impl Fn(&T) -> Option<Duration>,
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
            if let Ok(answer) = &answer {
                until = until.or_else(|| grace(answer).map(|grace| Instant::now() + grace));
            }
            answers.push((endpoint, answer));
        }
        self.leave(running);
        answers.sort_by_key(|(endpoint, _)| endpoint.position());
        answers
    }

    /// What is left to do when none of `asked` had an answer: the others, or else `error`.
    pub(super) async fn fall_back<T, F>(
        &self,
        asked: &[Arc<Endpoint>],
        error: Option<ChainError>,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<(Arc<Endpoint>, T), ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let is_new = |one: &Arc<Endpoint>| !asked.iter().any(|was| Arc::ptr_eq(was, one));
        let rest: Vec<_> = self.order().into_iter().filter(is_new).collect();
        let search = self.search(&rest, question, |_| true).await;
        search.found.ok_or_else(|| error.or(search.error).unwrap_or_else(|| self.nobody()))
    }

    /// What all of `asked` say, never nothing: see [`Self::ask_all`].
    pub(super) async fn survey<T, F>(
        &self,
        asked: &[Arc<Endpoint>],
        grace: impl Fn(&T) -> Option<Duration>,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<Vec<(Arc<Endpoint>, T)>, ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let mut answers = Vec::with_capacity(asked.len());
        let mut first_error = None;
        for (endpoint, answer) in self.ask_all(asked, grace, &question).await {
            match answer {
                Ok(answer) => answers.push((endpoint, answer)),
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        if answers.is_empty() {
            answers.push(self.fall_back(asked, first_error, question).await?);
        }
        Ok(answers)
    }

    /// Asks two of `asked`, and the next in the place of each that has no answer; then one more at a time until `is_enough`.
    /// Once one has answered, for no longer than `patience`. Never nothing; in the order of the configuration.
    pub(super) async fn gather<T, F>(
        &self,
        asked: &[Arc<Endpoint>],
        patience: Option<Duration>,
        question: impl Fn(Arc<Endpoint>) -> F,
        is_enough: impl Fn(&[(Arc<Endpoint>, T)]) -> bool,
    ) -> Result<Vec<(Arc<Endpoint>, T)>, ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let mut left = asked.iter();
        let mut running = Running::new();
        let mut answers: Vec<(Arc<Endpoint>, T)> = Vec::with_capacity(2);
        let (mut first_error, mut until) = (None, None);
        while answers.len() < 2 || !is_enough(&answers) {
            while running.len() < 2usize.saturating_sub(answers.len()).max(1) {
                let Some(next) = left.next() else { break };
                running.start(next, question(next.clone()));
            }
            let Some((endpoint, answer)) = running.next_until(until).await else { break };
            match answer {
                Ok(answer) => {
                    until = until.or_else(|| patience.map(|patience| Instant::now() + patience));
                    answers.push((endpoint, answer));
                }
                Err(error) => _ = first_error.get_or_insert(error),
            }
        }
        self.leave(running);
        if answers.is_empty() {
            answers.push(self.fall_back(asked, first_error, question).await?);
        }
        answers.sort_by_key(|(endpoint, _)| endpoint.position());
        Ok(answers)
    }

    /// The answers of two endpoints, or of whoever has one. `patience`: how long a second one has, once the first is there;
    /// `None`: for its deadline.
    pub(super) async fn opinions<T, F>(
        &self,
        patience: Option<Duration>,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<Vec<(Arc<Endpoint>, T)>, ChainError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        self.gather(&self.voices(), patience, question, |_| true).await
    }

    /// What two say about money. Where they contradict each other, others are asked too: two that agree outvote the rest. It
    /// is noted where nobody could confirm what one says.
    pub(super) async fn verdict<T, F>(
        &self,
        question: impl Fn(Arc<Endpoint>) -> F,
    ) -> Result<Answers<T>, ChainError>
    where
        T: PartialEq + Send + 'static,
        F: Future<Output = Result<T, ChainError>> + Send + 'static,
    {
        let pair = |answers: &[(Arc<Endpoint>, T)]| agree::pair(answers.iter().map(|(_, answer)| answer));
        let mut answers =
            self.gather(&self.voices(), None, question, |answers| pair(answers).is_some()).await?;
        if let Some((one, other)) = pair(&answers) {
            let (odd, equal): (Vec<_>, Vec<_>) =
                answers.into_iter().enumerate().partition(|(at, _)| *at != one && *at != other);
            for (_, (endpoint, _)) in odd {
                endpoint.blame("two others agree, and it says otherwise");
            }
            answers = equal.into_iter().map(|(_, answer)| answer).collect();
        }
        let mut said =
            answers.into_iter().map(|(endpoint, answer)| Said { endpoint: endpoint.name().clone(), answer });
        match (said.next(), said.next()) {
            (Some(one), Some(other)) => Ok(Answers::Two(one, other)),
            (Some(one), None) if self.endpoints.len() == 1 => Ok(Answers::Only(one)),
            (Some(one), None) => {
                self.note_lone();
                Ok(Answers::Alone(one))
            }
            (None, _) => Err(self.nobody()),
        }
    }

    /// Something about money rests on one endpoint's word, though there are several.
    pub(super) fn note_lone(&self) {
        if self.endpoints.len() > 1 {
            self.metrics.alone.inc();
        }
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
}
