//! A leader at rest, copied and compared: for a checker that goes on from one moment in several ways. Production never does.

use std::hash::{Hash, Hasher};

use shared::store::Fence;

use super::leader::Leader;
use super::lease_keeper::LeaseKeeper;

impl Leader {
    /// The lease's value, and how far it is trusted.
    pub fn lease(&self) -> (&Fence, &LeaseKeeper) {
        (&self.fence, &self.keeper)
    }

    /// Another leader that remembers the same, and goes its own way from here on.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            ctx: self.ctx.clone(),
            fence: self.fence.clone(),
            keeper: self.keeper.fork(),
            next: self.next,
            holes: self.holes.clone(),
            open: self.open.clone(),
            strays: self.strays.clone(),
            conditions: self.conditions,
            closed: self.closed.clone(),
            last_head: self.last_head,
            checkpoint: self.checkpoint,
            last_final: self.last_final,
            compared: self.compared,
            last_replayed: self.last_replayed,
            chain_seen: self.chain_seen,
            tips: self.tips,
            must_take_over: self.must_take_over,
            away_since: self.away_since,
        }
    }
}

/// All that two leaders with the same context may differ in.
impl Hash for Leader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Taken apart, so that no field can be forgotten.
        let Self {
            ctx: _,
            fence,
            keeper,
            next,
            holes,
            open,
            strays,
            conditions,
            closed,
            last_head,
            checkpoint,
            last_final,
            compared,
            last_replayed,
            chain_seen,
            tips,
            must_take_over,
            away_since,
        } = self;
        (fence, keeper.state(), next, holes, open, strays, conditions, closed).hash(state);
        (last_head, checkpoint, last_final, compared, last_replayed, chain_seen, tips).hash(state);
        (must_take_over, away_since).hash(state);
    }
}
