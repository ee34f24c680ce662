//! What a new leader does about nonces before it may give out any, pure.
//!
//! After a crash the journal may hold transactions that no node has; after a rollback of Redis the nodes may hold
//! transactions that no journal has, above a hole that would keep everything behind it waiting for ever.
//!
//! Where our nonces begin is believed of nobody alone who may be contradicted: a count that is too low costs fillers and
//! signs what is consumed already, one that is too high makes everything wait for ever.

use std::collections::BTreeSet;

use shared::ids::{BlockNumber, Nonce};

use crate::chain::{AccountNonces, Answers};

/// What was found in the journal and on the chain.
#[derive(Debug, Clone)]
pub struct Found {
    /// The next nonce in the journal; `None` when the journal has never seen this signer.
    pub next: Option<Nonce>,
    /// Nonces that are journaled and not closed.
    pub open: BTreeSet<Nonce>,
    /// What each endpoint says about the account right now.
    pub counts: Vec<AccountNonces>,
    /// A block that is deep enough, ...
    pub deep: BlockNumber,
    /// ... and the account nonce after it; `None` where endpoints see different blocks there.
    pub pinned: Option<Answers<Nonce>>,
    /// Below it the journal has seen every nonce consumed, whatever an endpoint says.
    pub closed_below: Nonce,
}

/// Why nothing can be planned yet. Asked again, the chain may say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsure {
    #[error("the journal knows no nonces, and endpoints contradict each other about the account")]
    NoBeginning,
    #[error("one endpoint alone says that the chain has consumed more nonces than the journal gave out")]
    AheadAlone,
    #[error(
        "our next nonce is far above all that was used, and endpoints do not agree on the account's nonce"
    )]
    Gap,
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

/// How far the chain has consumed the account's nonces, as far as that can be believed.
#[derive(Debug, Clone, Copy)]
struct Consumed {
    latest: Nonce,
    /// Counting the pool of whoever says so.
    pending: Nonce,
    /// Whether it cannot be much more either.
    is_bounded: bool,
}

fn consumed(found: &Found) -> Result<Consumed, Unsure> {
    // Who does not have the deep block is behind: its count contradicts nobody.
    let counts: Vec<_> = found.counts.iter().filter(|count| count.head >= found.deep).collect();
    let lowest = counts.iter().map(|count| count.latest).min();
    let pinned = found.pinned.as_ref();
    let is_only = matches!(pinned, Some(Answers::Only(_)));
    let are_two = matches!(pinned, Some(Answers::Two(..)));
    let are_equal = matches!(pinned, Some(Answers::Two(one, other)) if one.answer == other.answer);
    // Consumed at the deep block. What one alone says counts where no count is below it.
    let floor = pinned.and_then(|said| said.iter().map(|said| said.answer).min());
    let floor = floor.filter(|floor| are_two || lowest.is_some_and(|lowest| lowest >= *floor));
    let at_two = lowest.filter(|_| is_only || counts.len() > 1);
    let sure = floor.filter(|_| is_only || are_two).max(at_two);
    let shown = lowest.max(floor).unwrap_or(Nonce::new(0)).max(found.closed_below);
    let latest = match (found.next, sure) {
        (None, _) if floor.is_none() || (are_two && !are_equal) => return Err(Unsure::NoBeginning),
        (None, Some(sure)) => sure.min(shown),
        (None, None) => shown,
        (Some(next), _) if shown <= next => shown,
        (Some(next), Some(sure)) => sure.clamp(next, shown),
        (Some(_), None) => return Err(Unsure::AheadAlone),
    };
    let pending = counts.iter().filter(|count| count.latest == latest).map(|count| count.pending).max();
    Ok(Consumed { latest, pending: pending.unwrap_or(latest), is_bounded: is_only || are_equal })
}

/// Plans the takeover. At most `max_fill` forgotten pool transactions are replaced, so that a node that lies about its
/// pool costs little.
pub fn plan(found: &Found, max_fill: u64) -> Result<Takeover, Unsure> {
    let chain = consumed(found)?;
    let latest = chain.latest;
    let journaled = match found.next {
        Some(next) => without_the_gap(found, chain, next, max_fill)?,
        None => latest,
    };
    let chain_is_ahead = found.next.is_some_and(|next| latest > next);
    let above_pool = chain.pending.min(Nonce::new(journaled.max(latest).get().saturating_add(max_fill)));
    let next = journaled.max(latest).max(above_pool);
    // More holes than that there cannot be: whoever says so has forgotten half of the chain.
    let lowest_hole = latest.get().max(next.get().saturating_sub(max_fill.saturating_mul(HOLES_PER_FILL)));
    Ok(Takeover {
        chain_is_ahead,
        rebroadcast: found.open.iter().copied().filter(|nonce| *nonce >= latest).collect(),
        set_next: (found.next != Some(next)).then_some(next),
        fill: (lowest_hole..next.get()).map(Nonce::new).filter(|nonce| !found.open.contains(nonce)).collect(),
    })
}

/// Our next nonce; but what was really used, where a node once made us believe in nonces far above the chain and everything
/// there would wait for ever. Whoever says that too little was used must not be alone.
fn without_the_gap(found: &Found, chain: Consumed, next: Nonce, max_fill: u64) -> Result<Nonce, Unsure> {
    let used = found.open.last().map_or(chain.latest, |top| top.next().max(chain.latest));
    let is_gap = next.get().saturating_sub(used.get()) > max_fill.saturating_mul(HOLES_PER_FILL);
    match is_gap {
        false => Ok(next),
        true if chain.is_bounded => Ok(used),
        true => Err(Unsure::Gap),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Said;

    const DEEP: u64 = 100;

    fn said(nonce: u64) -> Said<Nonce> {
        Said { endpoint: "node".into(), answer: Nonce::new(nonce) }
    }

    fn count(head: u64, latest: u64, pending: u64) -> AccountNonces {
        AccountNonces {
            head: BlockNumber::new(head),
            latest: Nonce::new(latest),
            pending: Nonce::new(pending),
        }
    }

    fn two(one: u64, other: u64) -> Option<Answers<Nonce>> {
        Some(Answers::Two(said(one), said(other)))
    }

    fn alone(nonce: u64) -> Option<Answers<Nonce>> {
        Some(Answers::Alone(said(nonce)))
    }

    /// As the only endpoint says.
    fn found(next: Option<u64>, open: &[u64], latest: u64, pending: u64) -> Found {
        Found {
            next: next.map(Nonce::new),
            open: open.iter().copied().map(Nonce::new).collect(),
            counts: vec![count(DEEP + 5, latest, pending)],
            deep: BlockNumber::new(DEEP),
            pinned: Some(Answers::Only(said(latest))),
            closed_below: Nonce::new(0),
        }
    }

    fn plan(found: &Found, max_fill: u64) -> Takeover {
        super::plan(found, max_fill).unwrap()
    }

    fn numbers(nonces: &[Nonce]) -> Vec<u64> {
        nonces.iter().map(|nonce| nonce.get()).collect()
    }

    /// The next nonce that is stored, or why none is.
    fn next(
        next: Option<u64>,
        counts: &[AccountNonces],
        pinned: Option<Answers<Nonce>>,
    ) -> Result<Option<u64>, Unsure> {
        let found = Found { counts: counts.to_vec(), pinned, ..found(next, &[], 0, 0) };
        super::plan(&found, 16).map(|plan| plan.set_next.map(Nonce::get))
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

    #[test]
    fn an_emptied_redis_beside_an_endpoint_that_has_not_synced_begins_where_the_other_is() {
        let counts = [count(3, 0, 0), count(105, 50, 52)];
        assert_eq!(next(None, &counts, alone(48)), Ok(Some(52)));
        assert_eq!(next(None, &counts[1..], alone(48)), Ok(Some(52)));
    }

    #[test]
    fn without_a_journal_nobody_alone_is_believed_who_is_contradicted() {
        let counts = [count(105, 50, 50), count(105, 1_050, 1_050)];
        assert_eq!(next(None, &counts, two(48, 48)), Ok(Some(50)), "the lowest of two");
        assert_eq!(next(None, &counts[1..], two(48, 48)), Ok(Some(48)), "no more than what two say");
        for pinned in [two(48, 1_048), alone(1_048), None] {
            assert_eq!(next(None, &counts, pinned.clone()), Err(Unsure::NoBeginning), "{pinned:?}");
        }
        let forgetful = [count(105, 0, 0), count(105, 50, 50)];
        assert_eq!(
            next(None, &forgetful, two(48, 48)),
            Ok(Some(48)),
            "who shows less than both said is wrong"
        );
        assert_eq!(next(None, &forgetful, alone(48)), Err(Unsure::NoBeginning));
    }

    #[test]
    fn a_chain_ahead_of_the_journal_is_believed_as_far_as_two_say_so() {
        let lone = [count(105, 90, 90)];
        assert_eq!(next(Some(50), &lone, two(60, 60)), Ok(Some(60)));
        assert_eq!(next(Some(50), &lone, two(40, 40)), Ok(None));
        assert_eq!(next(Some(50), &lone, alone(80)), Err(Unsure::AheadAlone));
        assert_eq!(next(Some(50), &lone, None), Err(Unsure::AheadAlone));
        let both = [count(105, 90, 90), count(105, 70, 70)];
        for pinned in [two(60, 60), alone(60), None] {
            assert_eq!(next(Some(50), &both, pinned.clone()), Ok(Some(70)), "{pinned:?}");
        }
        assert_eq!(next(Some(50), &[count(105, 90, 90)], Some(Answers::Only(said(80)))), Ok(Some(90)));
    }

    #[test]
    fn an_endpoint_that_counts_too_low_or_too_high_moves_no_nonce_that_the_journal_knows() {
        for wrong in [0, 47, 53] {
            let counts = [count(105, wrong, wrong), count(105, 50, 50)];
            for pinned in [two(wrong, 50), two(50, 50), alone(wrong), alone(50), None] {
                assert_eq!(next(Some(53), &counts, pinned.clone()), Ok(None), "{wrong} {pinned:?}");
            }
        }
    }

    #[test]
    fn a_stored_next_nonce_is_not_lowered_on_one_endpoints_word() {
        let low = [count(105, 0, 0)];
        for pinned in [alone(0), two(0, 9_999), None] {
            assert_eq!(next(Some(10_000), &low, pinned.clone()), Err(Unsure::Gap), "{pinned:?}");
        }
        assert_eq!(next(Some(10_000), &low, two(9_990, 9_990)), Ok(None));
        assert_eq!(next(Some(10_000), &low, two(0, 0)), Ok(Some(0)));
    }
}
