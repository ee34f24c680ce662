//! Questions on their way, and the watch over endpoints. What is unanswered when nobody waits for it any more is followed to
//! its end, so that silence is found out; endpoints are probed, so that those that fail come back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ChainError;
use super::endpoint::Endpoint;
use super::pool::Pool;
use super::standing::Overdue;

/// Unanswered questions that are followed to their end at most; what exceeds it is forgotten.
const STRAGGLERS: usize = 256;
/// How often the watch looks for endpoints that are due for a probe.
const TICK: Duration = Duration::from_millis(100);

pub(super) type Straggler = Pin<Box<dyn Future<Output = ()> + Send>>;

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

    pub(super) fn len(&self) -> usize {
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

impl Pool {
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
