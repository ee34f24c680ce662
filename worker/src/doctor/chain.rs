//! The way to the chain: each endpoint by itself, the clock of its blocks, and what a transaction costs there.

use std::time::Duration;

use super::report::{Check, Fact, Question};
use super::text;
use crate::chain::{ChainError, EndpointView, Head};
use crate::config::Config;
use crate::signer::fees;

/// Blocks behind the best that are no news: they do not reach all nodes at the same moment.
const LAG: u64 = 2;
/// Seconds by which the newest block may be older than now, and newer.
const OLD_WARNING: u64 = 60;
const OLD_FAILURE: u64 = 900;
const AHEAD_WARNING: u64 = 15;
const AHEAD_FAILURE: u64 = 120;
/// Opinions on money are asked of two.
const OPINIONS: usize = 2;

/// The newest block that any endpoint showed.
pub(crate) fn best_head(endpoints: &[EndpointView]) -> Option<Head> {
    endpoints.iter().filter_map(|view| view.answer.as_ref().ok()).copied().max_by_key(|head| head.number)
}

/// A line for all endpoints together, and one for each. One that is silent is a warning as long as another answers.
pub(crate) fn endpoints(endpoints: &[EndpointView], config: &Config) -> Vec<Check> {
    let usable = endpoints.iter().filter(|view| view.answer.is_ok()).count();
    let all = Question::new("chain.endpoints", format!("{OPINIONS} or more, of different providers"));
    let found = format!("{usable} of {} usable", endpoints.len());
    let mut checks = vec![match usable {
        0 => all.failed(found, "mend ETH_RPC_HTTPS, or the way to the nodes"),
        OPINIONS.. => all.ok(found),
        _ => all.warning(found, "add endpoints to ETH_RPC_HTTPS: a verdict on money now rests on one"),
    }];
    let best = best_head(endpoints);
    checks.extend(endpoints.iter().enumerate().map(|(n, view)| endpoint(n + 1, view, best, config)));
    checks
}

fn endpoint(place: usize, view: &EndpointView, best: Option<Head>, config: &Config) -> Check {
    let expected = format!("chain {}, at most {LAG} blocks behind", config.chain_id);
    let question = Question::new(format!("chain.endpoint.{place}"), expected);
    match (&view.answer, best) {
        (Ok(head), best) => {
            let lag = best.map_or(0, |best| best.number.get().saturating_sub(head.number.get()));
            let behind = if lag == 0 { String::new() } else { format!(", {lag} behind") };
            let took = text::span(view.took);
            let found = format!("{}: block {}{behind}, {took}", view.name, head.number);
            if lag > LAG {
                question.warning(found, "this node lags: ask its provider, or put another first")
            } else if view.took > slow(config.rpc_timeout) {
                question.warning(found, "this node is slow: ask its provider, or put another first")
            } else {
                question.ok(found)
            }
        }
        (Err(ChainError::WrongChain { found, .. }), _) => question.failed(
            format!("CHAIN_ID={} but {} is on chain {found}", config.chain_id, view.name),
            "take it out of ETH_RPC_HTTPS, or mend CHAIN_ID",
        ),
        (Err(error), Some(_)) => {
            question.warning(why(view, error), "mend or replace this endpoint; the others do its work")
        }
        (Err(error), None) => question.failed(why(view, error), "mend or replace this endpoint"),
    }
}

fn why(view: &EndpointView, error: &ChainError) -> String {
    let said = match error {
        ChainError::Timeout { .. } => format!("no answer in {}", text::span(view.took)),
        ChainError::Unreachable { detail, .. } => format!("unreachable ({detail})"),
        ChainError::RateLimited { .. } => "limits our rate".to_owned(),
        ChainError::Node { detail, .. } => format!("answers with an error ({detail})"),
        ChainError::Garbage { .. } => "answers with nonsense".to_owned(),
        other => other.to_string(),
    };
    format!("{}: {said}", view.name)
}

/// Half of what a question may take.
fn slow(deadline: Duration) -> Duration {
    deadline / 2
}

/// The newest block's time against our clock, in unix seconds.
pub(super) fn clock(head: &Fact<Head>, now: u64) -> Check {
    let question = Question::new("chain.clock", format!("the newest block is at most {OLD_WARNING} s old"));
    question.judge(head, |question, head| {
        let ahead = head.timestamp.saturating_sub(now);
        if ahead > 0 {
            let found = format!("the newest block is {ahead} s ahead of this host's clock");
            let advice = "synchronise this host's clock (NTP)";
            return match ahead {
                ahead if ahead > AHEAD_FAILURE => question.failed(found, advice),
                ahead if ahead > AHEAD_WARNING => question.warning(found, advice),
                _ => question.ok(found),
            };
        }
        let old = now.saturating_sub(head.timestamp);
        let found = match old {
            0 => "the newest block is less than 1 s old".to_owned(),
            _ => format!("the newest block is {} old", text::span(Duration::from_secs(old))),
        };
        let advice = "the chain or all endpoints stand still, or this host's clock is wrong";
        match old {
            old if old > OLD_FAILURE => question.failed(found, advice),
            old if old > OLD_WARNING => question.warning(found, advice),
            _ => question.ok(found),
        }
    })
}

/// The head's base fee against the most that is bid.
pub(super) fn base_fee(head: &Fact<Head>, max_fee: u128) -> Check {
    let gwei = |wei| format!("{} Gwei", text::wei(wei, 9));
    let question = Question::new("chain.base_fee", format!("below MAX_FEE_GWEI, {}", gwei(max_fee)));
    question.judge(head, |question, head| {
        let found = gwei(head.base_fee);
        if fees::initial(head.base_fee, 0, max_fee).is_none() {
            question.failed(found, "nothing can be signed: wait, or raise MAX_FEE_GWEI")
        } else if head.base_fee.saturating_mul(2) > max_fee {
            question.warning(found, "the fee may not double any more: raise MAX_FEE_GWEI if this lasts")
        } else {
            question.ok(found)
        }
    })
}

#[cfg(test)]
#[path = "chain_tests.rs"]
pub(super) mod tests;
