//! What every request shares. Built once; nothing in it is opened or read again per request.

use std::sync::Arc;
use std::time::Duration;

use poem::Request;
use shared::clock::Clock;
use shared::money::CommissionRules;
use shared::store::{ClosedGate, Stats, Store, StoreError};
use shared::tasks::Tasks;
use tokio::sync::Semaphore;

use crate::auth::ApiKeys;
use crate::config::Config;
use crate::error::Problem;
use crate::feed::Feed;
use crate::health::{self, Readiness};
use crate::memory::MemoryWatch;
use crate::metrics::Metrics;
use crate::recent::Recent;
use crate::webhook::Webhooks;

/// Requests in flight; more are answered with 503 at once, so that a slow store does not pile them up.
const IN_FLIGHT: usize = 1024;
/// How long what was looked up for `/metrics` and `/readyz` is told again: both are open to everybody.
const FRESH: Duration = Duration::from_secs(1);

pub struct App {
    pub(crate) store: Store,
    pub(crate) rules: CommissionRules,
    pub(crate) hold_ms: u64,
    pub(crate) max_body_bytes: usize,
    pub(crate) keys: ApiKeys,
    pub(crate) webhooks: Webhooks,
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) feed: Arc<Feed>,
    pub(crate) memory: MemoryWatch,
    pub(crate) slots: Semaphore,
    pub(crate) stats: Recent<Option<Arc<Stats>>>,
    pub(crate) readiness: Recent<Arc<Readiness>>,
}

impl App {
    /// Connects and checks that this Redis may be served from. `Err` holds everything that speaks against it. What runs
    /// besides requests, and ends them at shutdown, belongs to `tasks`.
    pub async fn start(config: Config, tasks: &Tasks) -> Result<Arc<Self>, Vec<String>> {
        let store = Store::connect(config.redis_url.expose(), &config.lane, config.durability)
            .await
            .map_err(|error| vec![format!("REDIS_URL: {error}; is the server running?")])?;
        let problems = unfit(&store).await;
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Arc::new(Self {
            memory: MemoryWatch::start(store.clone(), config.memory_watermark, tasks).await,
            feed: Feed::start(store.clone(), config.max_event_streams, tasks),
            store,
            rules: config.rules,
            hold_ms: config.hold_seconds * 1000,
            max_body_bytes: config.max_body_bytes,
            keys: config.keys,
            webhooks: config.webhooks,
            clock: Clock::start(),
            metrics: Metrics::new(),
            slots: Semaphore::new(IN_FLIGHT),
            stats: Recent::new(FRESH),
            readiness: Recent::new(FRESH),
        }))
    }

    /// The app that serves this request.
    pub(crate) fn of(request: &Request) -> Result<&Arc<Self>, Problem> {
        request.data::<Arc<Self>>().ok_or_else(|| Problem::internal("no App among the request's data"))
    }

    /// Counts over the lane, at most a second old; `None` while Redis is away.
    pub(crate) async fn recent_stats(&self) -> Option<Arc<Stats>> {
        let look = async {
            match tokio::time::timeout(health::PATIENCE, self.store.stats()).await {
                Ok(Ok(stats)) => Some(Arc::new(stats)),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "no job counts for /metrics");
                    None
                }
                Err(_) => None,
            }
        };
        self.stats.get(look).await
    }

    /// Whether requests can be served, at most a second old.
    pub(crate) async fn recent_readiness(&self) -> Arc<Readiness> {
        self.readiness.get(async { Arc::new(health::look(&self.store, self.memory.refusal()).await) }).await
    }

    pub(crate) async fn gates(&self) -> Result<Vec<ClosedGate>, StoreError> {
        self.store.closed_gates().await
    }
}

/// Why this Redis must not be served from: not durable enough, a replica, or without our schema.
async fn unfit(store: &Store) -> Vec<String> {
    let mut problems = match store.check_durability().await {
        Ok(problems) => problems.iter().map(|problem| format!("Redis: {problem}")).collect(),
        Err(error) => vec![format!("Redis: {error}")],
    };
    match store.schema().await {
        Ok(Some(_)) => {}
        Ok(None) => {
            problems.push("Redis: no schema in this lane: run `affiliate-relayer migrate`".to_owned())
        }
        Err(error) => problems.push(format!("Redis: {error}")),
    }
    problems
}
