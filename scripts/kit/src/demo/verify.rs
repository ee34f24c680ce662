//! Compares what was seen, over HTTP and on the chain, with what the oracle expects.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, U256};
use anyhow::Result;
use serde_json::Value;

use super::input::{Input, Setup};
use super::oracle::{Expected, Fate, Sum, Verdict};
use super::play::{Seen, state};
use crate::world::contracts::Paid;
use crate::world::{Answer, Contracts};

/// One wallet: what it must hold and what it holds.
#[derive(Debug, Clone)]
pub struct Balance {
    pub wallet: Address,
    pub expected: Sum,
    pub usdc: U256,
    pub sge: U256,
}

impl Balance {
    pub fn agrees(&self) -> bool {
        self.usdc == U256::from(self.expected.usdc) && self.sge == U256::from(self.expected.sge)
    }
}

/// The chain's side of it.
#[derive(Debug, Default)]
pub struct OnChain {
    pub balances: Vec<Balance>,
    pub paid: Vec<Paid>,
    /// The gas of each transaction that paid somebody.
    pub gas: BTreeMap<B256, u64>,
    pub referrers: BTreeMap<Address, Address>,
}

/// Reads what the comparison needs.
pub async fn read_chain(contracts: &Contracts, expected: &Expected) -> Result<OnChain> {
    let mut chain = OnChain { paid: contracts.paid().await?, ..OnChain::default() };
    for (wallet, sum) in &expected.balances {
        let (usdc, sge) = contracts.balances(*wallet).await?;
        chain.balances.push(Balance { wallet: *wallet, expected: *sum, usdc, sge });
        let referrer = contracts.referrer_of(*wallet).await?;
        if !referrer.is_zero() {
            chain.referrers.insert(*wallet, referrer);
        }
    }
    for tx in chain.paid.iter().map(|paid| paid.tx).collect::<BTreeSet<_>>() {
        chain.gas.insert(tx, contracts.gas_used(tx).await?);
    }
    Ok(chain)
}

/// Every difference, in words; empty when all agrees.
pub fn differences(input: &Input, expected: &Expected, seen: &Seen, chain: &OnChain) -> Vec<String> {
    let mut found = Vec::new();
    let mut jobs: BTreeMap<&str, &str> = BTreeMap::new();
    let setup = input.setup.iter().zip(&expected.setup).zip(&seen.setup);
    for ((line, verdict), answer) in setup {
        let Setup::Register { wallet, .. } = line else {
            if let (Some(verdict), Some(answer)) = (verdict, answer) {
                compare(&format!("{line:?}"), verdict, answer, &mut jobs, &mut found);
            }
            continue;
        };
        if let (Some(verdict), Some(answer)) = (verdict, answer) {
            compare(&format!("the registration of {wallet}"), verdict, answer, &mut jobs, &mut found);
        }
    }
    if seen.events.len() != expected.events.len() {
        found.push(format!("{} of {} events were sent", seen.events.len(), expected.events.len()));
    }
    for ((event, verdict), answer) in input.events.iter().zip(&expected.events).zip(&seen.events) {
        compare(&format!("event {}", event.id), verdict, answer, &mut jobs, &mut found);
    }
    fates(expected, seen, &jobs, &mut found);
    on_chain(expected, chain, &mut found);
    found
}

/// Compares one answer, and remembers which job belongs to which payment id or child.
fn compare<'a>(
    what: &str,
    verdict: &'a Verdict,
    answer: &'a Answer,
    jobs: &mut BTreeMap<&'a str, &'a str>,
    found: &mut Vec<String>,
) {
    let Answer { status, body, .. } = answer;
    if !verdict.statuses.contains(status) {
        found.push(format!("{what}: expected {:?}, got {status} {body}", verdict.statuses));
        return;
    }
    if let Some(code) = verdict.code
        && answer.text("code") != Some(code)
    {
        found.push(format!("{what}: expected the code {code}, got {body}"));
    }
    if let Some(decision) = verdict.decision
        && answer.text("decision").or_else(|| answer.text("outcome")) != Some(decision)
    {
        found.push(format!("{what}: expected the decision {decision}, got {body}"));
    }
    match (verdict.job.as_deref(), answer.text("job_id")) {
        (Some(key), Some(id)) => {
            let first = *jobs.entry(key).or_insert(id);
            if first != id {
                found.push(format!("{what}: job {id}, but job {first} was named before"));
            }
        }
        (Some(_), None) => found.push(format!("{what}: expected a job, got {body}")),
        (None, _) => {}
    }
}

/// Every job that must be there ended as it must.
fn fates(expected: &Expected, seen: &Seen, jobs: &BTreeMap<&str, &str>, found: &mut Vec<String>) {
    let record = |key: &str| jobs.get(key).and_then(|id| seen.jobs.get(*id)).unwrap_or(&Value::Null);
    for (payment, fate) in &expected.payouts {
        let job = record(payment);
        let as_expected = match fate {
            Fate::Paid(_) => state(job) == "done",
            Fate::Fails(class) => state(job) == "failed" && job["error"]["class"] == *class,
        };
        if !as_expected {
            found.push(format!("payment {payment}: expected {fate:?}, its job is {job}"));
        }
    }
    for child in expected.referrers.keys() {
        let job = record(&format!("{child:#x}"));
        if state(job) != "done" {
            found.push(format!("the registration of {child}: its job is {job}"));
        }
    }
}

/// Balances, referrals and events agree with the expectation, and with each other.
fn on_chain(expected: &Expected, chain: &OnChain, found: &mut Vec<String>) {
    for balance in chain.balances.iter().filter(|balance| !balance.agrees()) {
        let Balance { wallet, expected, usdc, sge } = balance;
        found.push(format!("{wallet} holds {usdc} USDC and {sge} SGE units, expected {expected:?}"));
    }
    if chain.referrers != expected.referrers {
        found.push(format!("the registry holds {:?}, expected {:?}", chain.referrers, expected.referrers));
    }
    let ids: BTreeSet<B256> = chain.paid.iter().map(|paid| paid.payment_id).collect();
    if ids.len() != chain.paid.len() {
        found.push(format!("{} payments in {} events: some id was paid twice", ids.len(), chain.paid.len()));
    }
    let due = expected.payouts.values().filter(|fate| matches!(fate, Fate::Paid(_))).count();
    if ids.len() != due {
        found.push(format!("{} payments were paid, expected {due}", ids.len()));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DUE: Verdict = Verdict { statuses: &[202], code: None, decision: Some("due"), job: None };

    fn answer(status: u16, body: Value) -> Answer {
        Answer { status, body, retry_after: None }
    }

    fn compared(verdict: &Verdict, answer: &Answer) -> usize {
        let mut found = Vec::new();
        compare("it", verdict, answer, &mut BTreeMap::new(), &mut found);
        found.len()
    }

    #[test]
    fn an_answer_must_agree_in_status_decision_and_job() {
        let job = Verdict { job: Some("pay".into()), ..DUE };
        assert_eq!(compared(&DUE, &answer(202, json!({"decision": "due"}))), 0);
        assert_eq!(compared(&DUE, &answer(200, json!({"decision": "due"}))), 1);
        assert_eq!(compared(&DUE, &answer(202, json!({"decision": "refunded"}))), 1);
        assert_eq!(compared(&job, &answer(202, json!({"decision": "due", "job_id": null}))), 1);
        assert_eq!(compared(&job, &answer(202, json!({"decision": "due", "job_id": "1"}))), 0);
    }

    #[test]
    fn a_refusal_must_have_its_code() {
        let refused = Verdict { statuses: &[422], code: Some("amount"), decision: None, job: None };
        assert_eq!(compared(&refused, &answer(422, json!({"code": "other"}))), 1);
        assert_eq!(compared(&refused, &answer(422, json!({"code": "amount"}))), 0);
    }

    #[test]
    fn one_payment_has_one_job() {
        let verdict = Verdict { job: Some("pay".into()), ..DUE };
        let (one, two) = (
            answer(202, json!({"decision": "due", "job_id": "1"})),
            answer(202, json!({"decision": "due", "job_id": "2"})),
        );
        let (mut jobs, mut found) = (BTreeMap::new(), Vec::new());
        compare("it", &verdict, &one, &mut jobs, &mut found);
        compare("it", &verdict, &two, &mut jobs, &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_balance_off_by_one_unit_and_a_double_payment_are_found() {
        let wallet = Address::repeat_byte(7);
        let expected = Expected {
            payouts: BTreeMap::from([("a".into(), Fate::Paid(Sum { usdc: 5, sge: 0 }))]),
            ..Expected::default()
        };
        let paid = Paid {
            payment_id: B256::ZERO,
            referrer: wallet,
            child: wallet,
            usdc: U256::from(5),
            sge: U256::ZERO,
            block: 1,
            tx: B256::ZERO,
        };
        let mut chain = OnChain { paid: vec![paid.clone()], ..OnChain::default() };
        let run = |chain: &OnChain| {
            let mut found = Vec::new();
            on_chain(&expected, chain, &mut found);
            found.len()
        };
        assert_eq!(run(&chain), 0);
        chain.paid.push(paid);
        assert_eq!(run(&chain), 1);
        let sum = Sum { usdc: 5, sge: 0 };
        chain.balances.push(Balance { wallet, expected: sum, usdc: U256::from(6), sge: U256::ZERO });
        assert_eq!(run(&chain), 2);
    }
}
