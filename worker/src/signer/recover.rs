//! What a new leader does about nonces before it may give out any, pure.
//!
//! After a crash the journal may hold transactions that no node has; after a rollback of Redis the nodes may hold
//! transactions that no journal has, above a hole that would keep everything behind it waiting for ever.

use std::collections::BTreeSet;

use shared::ids::Nonce;

/// What was found in the journal and on the chain.
#[derive(Debug, Clone)]
pub struct Found {
    /// The next nonce in the journal; `None` when the journal has never seen this signer.
    pub next: Option<Nonce>,
    /// Nonces that are journaled and not closed.
    pub open: BTreeSet<Nonce>,
    /// The account nonce after the newest block: the lowest that an endpoint gives.
    pub latest: Nonce,
    /// The account nonce counting what the pool holds without a gap.
    pub pending: Nonce,
    /// Below it the journal has seen every nonce consumed, whatever an endpoint says.
    pub closed_below: Nonce,
}

/// What to do, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Takeover {
    /// Events must be replayed and jobs settled first: the chain has consumed nonces that we never gave out.
    pub chain_is_ahead: bool,
    /// Journaled bytes to hand to the nodes again.
    pub rebroadcast: Vec<Nonce>,
    /// The next nonce to store, where it differs from the journal's.
    pub set_next: Option<Nonce>,
    /// Nonces to close with a journaled self-transfer.
    pub fill: Vec<Nonce>,
}

/// Holes that are filled at most, in multiples of `max_fill`: several takeovers may each have found that many.
const HOLES_PER_FILL: u64 = 16;

/// Plans the takeover. At most `max_fill` forgotten pool transactions are replaced, so that a node that lies about its
/// pool costs little.
pub fn plan(found: &Found, max_fill: u64) -> Takeover {
    let latest = found.latest.max(found.closed_below);
    let journaled = found.next.map_or(latest, |next| without_the_gap(found, latest, next, max_fill));
    let chain_is_ahead = found.next.is_some_and(|next| latest > next);
    let above_pool = found.pending.min(Nonce::new(journaled.max(latest).get().saturating_add(max_fill)));
    let next = journaled.max(latest).max(above_pool);
    // More holes than that there cannot be: whoever says so has forgotten half of the chain.
    let lowest_hole = latest.get().max(next.get().saturating_sub(max_fill.saturating_mul(HOLES_PER_FILL)));
    Takeover {
        chain_is_ahead,
        rebroadcast: found.open.iter().copied().filter(|nonce| *nonce >= latest).collect(),
        set_next: (found.next != Some(next)).then_some(next),
        fill: (lowest_hole..next.get()).map(Nonce::new).filter(|nonce| !found.open.contains(nonce)).collect(),
    }
}

/// Our next nonce; but what the journal really used, where a node once made us believe in nonces far above the chain and
/// everything there would wait for ever.
fn without_the_gap(found: &Found, latest: Nonce, next: Nonce, max_fill: u64) -> Nonce {
    let used = found.open.last().map_or(latest, |top| top.next().max(latest));
    let is_gap = next.get().saturating_sub(used.get()) > max_fill.saturating_mul(HOLES_PER_FILL);
    if is_gap { used } else { next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(next: Option<u64>, open: &[u64], latest: u64, pending: u64) -> Found {
        Found {
            next: next.map(Nonce::new),
            open: open.iter().copied().map(Nonce::new).collect(),
            latest: Nonce::new(latest),
            pending: Nonce::new(pending),
            closed_below: Nonce::new(0),
        }
    }

    fn numbers(nonces: &[Nonce]) -> Vec<u64> {
        nonces.iter().map(|nonce| nonce.get()).collect()
    }

    #[test]
    fn a_first_start_begins_at_the_chain() {
        let plan = plan(&found(None, &[], 4, 4), 16);
        assert_eq!(plan, Takeover { set_next: Some(Nonce::new(4)), ..Takeover::default() });
    }

    #[test]
    fn open_attempts_are_broadcast_again_and_mined_ones_are_not() {
        let plan = plan(&found(Some(8), &[5, 6, 7], 6, 8), 16);
        assert_eq!(numbers(&plan.rebroadcast), [6, 7]);
        assert!(plan.fill.is_empty() && plan.set_next.is_none());
    }

    #[test]
    fn a_hole_below_our_next_nonce_is_filled() {
        let plan = plan(&found(Some(8), &[5, 7], 5, 6), 16);
        assert_eq!(numbers(&plan.fill), [6]);
    }

    #[test]
    fn transactions_that_only_the_pool_remembers_are_replaced() {
        let plan = plan(&found(Some(5), &[], 5, 8), 16);
        assert_eq!((numbers(&plan.fill), plan.set_next), (vec![5, 6, 7], Some(Nonce::new(8))));
    }

    #[test]
    fn a_chain_above_us_is_noticed_and_followed() {
        let plan = plan(&found(Some(5), &[], 9, 9), 16);
        assert!(plan.chain_is_ahead);
        assert_eq!((plan.set_next, plan.fill.len()), (Some(Nonce::new(9)), 0));
    }

    #[test]
    fn what_the_journal_closed_is_no_hole_whatever_a_node_says() {
        let behind = Found { closed_below: Nonce::new(6), ..found(Some(8), &[6], 3, 3) };
        let plan = plan(&behind, 16);
        assert_eq!((numbers(&plan.rebroadcast), numbers(&plan.fill)), (vec![6], vec![7]));
        assert_eq!((plan.set_next, plan.chain_is_ahead), (None, false));
    }

    #[test]
    fn a_node_that_has_forgotten_the_chain_costs_a_bounded_number_of_fillers() {
        let plan = plan(&found(Some(10_000), &[9_999], 0, 0), 16);
        assert_eq!((plan.fill.len(), plan.fill.last()), (255, Some(&Nonce::new(9_998))));
        assert_eq!(plan.set_next, None);
    }

    #[test]
    fn a_next_nonce_far_above_everything_that_was_ever_used_comes_back_down() {
        let plan = plan(&found(Some(1_000_000), &[51, 52], 50, 53), 16);
        assert_eq!((numbers(&plan.fill), plan.set_next), (vec![50], Some(Nonce::new(53))));
    }

    #[test]
    fn a_node_that_lies_about_its_pool_costs_little() {
        assert_eq!(plan(&found(Some(5), &[], 5, 1_000_000), 16).fill.len(), 16);
    }
}
