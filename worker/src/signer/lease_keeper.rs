//! Renews the lease, and knows until when it may be trusted. The arithmetic is in [`shared::lease`].

use std::sync::{Arc, Mutex, PoisonError};

use shared::clock::Monotonic;
use shared::ids::FencingTerm;
use shared::lease::{LeaseEvent, LeaseState, step};
use shared::store::Fence;

use crate::context::Context;

/// Shared by the renewing loop and by everything that signs.
#[derive(Debug, Clone)]
pub struct LeaseKeeper {
    state: Arc<Mutex<LeaseState>>,
    term: FencingTerm,
}

impl LeaseKeeper {
    /// Takes up a term that was granted to a request sent at `sent_at`; `None` when the answer took too long to be
    /// trusted.
    pub fn start(ctx: &Context, fence: &Fence, term: FencingTerm, sent_at: Monotonic) -> Option<Self> {
        let event = LeaseEvent::Acquired { fence: term, sent_at };
        let state = step(LeaseState::Follower, event, ctx.clock.monotonic(), &ctx.config.lease);
        if state == LeaseState::Follower {
            tracing::warn!(lease.value = %fence, "the lease was granted too late to be trusted; letting it expire");
            return None;
        }
        Some(Self { state: Arc::new(Mutex::new(state)), term })
    }

    /// One that goes its own way from here on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { state: Arc::new(Mutex::new(self.state())), term: self.term }
    }

    pub(super) fn term(&self) -> FencingTerm {
        self.term
    }

    pub fn state(&self) -> LeaseState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a signature may be made now.
    pub(super) fn is_trusted(&self, now: Monotonic) -> bool {
        matches!(self.state(), LeaseState::Leader(term) if term.is_trusted(now))
    }

    fn apply(&self, ctx: &Context, event: LeaseEvent) -> LeaseState {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = step(*state, event, ctx.clock.monotonic(), &ctx.config.lease);
        *state
    }

    /// Renews at a third of the ttl. Returns when the lease is not ours any more, or cannot be trusted any more.
    pub(super) async fn keep(&self, ctx: &Context, fence: &Fence) {
        loop {
            tokio::time::sleep(ctx.config.lease.renew_every()).await;
            if self.renew(ctx, fence).await == LeaseState::Follower {
                return;
            }
        }
    }

    /// Renews once, as long as that may take.
    pub async fn renew(&self, ctx: &Context, fence: &Fence) -> LeaseState {
        let sent_at = ctx.clock.monotonic();
        let LeaseState::Leader(term) = self.apply(ctx, LeaseEvent::Silence) else {
            return LeaseState::Follower;
        };
        let patience = sent_at.until(term.trusted_until);
        let renewal = tokio::time::timeout(patience, ctx.store.renew_lease(fence, ctx.config.lease.ttl));
        let event = match renewal.await {
            Ok(Ok(true)) => LeaseEvent::Renewed { sent_at },
            Ok(Ok(false)) => LeaseEvent::Lost,
            Ok(Err(error)) => {
                ctx.metrics.redis_errors.inc();
                tracing::warn!(%error, "the lease could not be renewed");
                LeaseEvent::Silence
            }
            Err(_) => LeaseEvent::Silence,
        };
        self.apply(ctx, event)
    }
}
