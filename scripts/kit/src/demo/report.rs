//! The table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use alloy::primitives::U256;
use serde_json::Value;

use super::play::{Seen, state};
use super::verify::OnChain;
use crate::world::Answer;

/// Everything that happened, as text.
pub fn report(seen: &Seen, chain: &OnChain) -> String {
    let mut out = String::new();
    counts(&mut out, seen);
    timing(&mut out, seen);
    gas(&mut out, chain);
    balances(&mut out, chain);
    out
}

fn row(out: &mut String, name: &str, text: &str) {
    writeln!(out, "{name:<26}{text}").ok();
}

/// How often each text occurs, the most frequent first.
fn tally<T: ToString>(items: impl Iterator<Item = T>) -> Vec<(usize, String)> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for item in items {
        *counted.entry(item.to_string()).or_default() += 1;
    }
    let mut rows: Vec<(usize, String)> = counted.into_iter().map(|(text, count)| (count, text)).collect();
    rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    rows
}

fn tally_rows(out: &mut String, rows: Vec<(usize, String)>) {
    for (count, text) in rows {
        row(out, "", &format!("{count:>5}  {text}"));
    }
}

fn counts(out: &mut String, seen: &Seen) {
    let registrations: Vec<&Answer> = seen.setup.iter().flatten().collect();
    let everything = || registrations.iter().copied().chain(&seen.events);
    let sent =
        format!("{} registrations and modes, {} payment events", registrations.len(), seen.events.len());
    row(out, "Sent", &sent);
    let enqueued = seen.events.iter().filter(|answer| answer.status == 202).count();
    row(
        out,
        "Accepted",
        &format!("{} requests, of which {enqueued} events with a payout job", {
            everything().filter(|answer| answer.status < 300).count()
        }),
    );
    tally_rows(
        out,
        tally(seen.events.iter().filter(|answer| answer.status < 300).map(|answer| {
            answer.text("decision").or_else(|| answer.text("outcome")).unwrap_or("accepted").to_owned()
        })),
    );
    let refused = || everything().filter(|answer| answer.status >= 300);
    row(out, "Refused", &refused().count().to_string());
    let why = |answer: &Answer| format!("{} {}", answer.status, answer.text("code").unwrap_or("(no code)"));
    tally_rows(out, tally(refused().map(why)));

    let payouts = || seen.jobs.values().filter(|job| job["kind"] == "payout");
    row(out, "Paid", &format!("{} payouts", payouts().filter(|job| state(job) == "done").count()));
    let failed = || seen.jobs.values().filter(|job| state(job) != "done");
    row(out, "Failed", &failed().count().to_string());
    let class = |job: &Value| match job["error"]["class"].as_str() {
        Some(class) => class.to_owned(),
        None => format!("{} ({})", state(job), job["stage"].as_str().unwrap_or("?")),
    };
    tally_rows(out, tally(failed().map(class)));
}

fn timing(out: &mut String, seen: &Seen) {
    match seen.killed {
        Some(killed) => {
            let text = format!(
                "{:.1} s, from relayer {} to relayer {}",
                killed.takeover.as_secs_f64(),
                killed.relayer,
                killed.successor
            );
            row(out, "Takeover after SIGKILL", &text);
        }
        None => row(out, "Takeover after SIGKILL", "did not happen"),
    }
    let paid = seen.jobs.values().filter(|job| job["kind"] == "payout" && state(job) == "done");
    let mut took: Vec<u64> =
        paid.filter_map(|job| millis(&job["updated_at"])?.checked_sub(millis(&job["created_at"])?)).collect();
    took.sort_unstable();
    let shown = |share| match percentile(&took, share) {
        Some(millis) => format!("{:.1} s", std::time::Duration::from_millis(millis).as_secs_f64()),
        None => String::from("–"),
    };
    row(out, "Webhook to done", &format!("p50 {}, p99 {}", shown(50), shown(99)));
    row(out, "All in", &format!("{:.1} s", seen.took.as_secs_f64()));
}

/// Unix milliseconds, as a number or as its text.
fn millis(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The smallest value that at least `share` percent of the sorted values do not exceed.
fn percentile(sorted: &[u64], share: usize) -> Option<u64> {
    let rank = (sorted.len() * share).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

fn gas(out: &mut String, chain: &OnChain) {
    let total: u64 = chain.gas.values().sum();
    let payouts = u64::try_from(chain.paid.len()).unwrap_or(u64::MAX);
    let each = total.checked_div(payouts).map_or(String::from("–"), |gas| gas.to_string());
    row(out, "Gas per payout", &format!("{each} ({payouts} payouts in {} transactions)", chain.gas.len()));
}

fn balances(out: &mut String, chain: &OnChain) {
    let head = ["USDC on-chain", "USDC expected", "SGE on-chain", "SGE expected"];
    writeln!(
        out,
        "\n{:<44}{:>16}{:>16}{:>26}{:>26}",
        "Affiliate (base units)", head[0], head[1], head[2], head[3]
    )
    .ok();
    let referrers: Vec<_> = chain.referrers.values().collect();
    let (affiliates, others): (Vec<_>, Vec<_>) =
        chain.balances.iter().partition(|balance| referrers.contains(&&balance.wallet));
    for balance in &affiliates {
        let (wallet, expected) = (balance.wallet.to_checksum(None), balance.expected);
        let mark = if balance.agrees() { "equal" } else { "DIFFERENT" };
        writeln!(
            out,
            "{wallet:<44}{:>16}{:>16}{:>26}{:>26}  {mark}",
            balance.usdc, expected.usdc, balance.sge, expected.sge
        )
        .ok();
    }
    let wrong = others.iter().filter(|balance| !balance.agrees()).count();
    writeln!(out, "{} other wallets hold what they must, {wrong} do not", others.len() - wrong).ok();
    let sum = |pick: fn(&super::verify::Balance) -> U256| chain.balances.iter().map(pick).sum::<U256>();
    writeln!(out, "{:<44}{:>16}{:>42}", "All together", sum(|b| b.usdc), sum(|b| b.sge)).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (Some(100), Some(198)));
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (Some(7), None));
    }

    #[test]
    fn a_tally_counts_and_sorts() {
        let rows = tally(["b", "a", "b"].into_iter());
        assert_eq!(rows, [(2, "b".to_owned()), (1, "a".to_owned())]);
    }
}
