//! What must hold once everything is quiet: every accepted job ended, and its end is what the chain says.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;
use shared::ids::{PaymentId, Wallet};
use shared::job::{Job, Payload};
use shared::job_state::JobState;
use shared::money::{Sge, Usdc};
use shared::store::PaymentView;
use worker::chain::ChainEventKind;

use super::ghosts::{ask, key, text};
use super::merchant::{Merchant, Sale};
use super::settings::{CONFIRMATIONS, SIGNER};
use super::world::{State, World};

/// A payment as the chain shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Paid {
    block: u64,
    referrer: Wallet,
    usdc: Usdc,
    sge: Sge,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    pub jobs: u64,
    pub paid: u64,
    pub registered: u64,
    pub failed: u64,
    pub cancelled: u64,
}

/// Whether nothing is left to be done: every job ended, no nonce open, nothing to tell anybody.
pub(super) fn is_quiet(world: &World) -> bool {
    let now = world.now();
    let state = &mut *world.state();
    let count = |state: &mut State, command: &str, name: &str| {
        matches!(ask(&mut state.redis, now, &[command, &key(name)]), Value::Int(1..))
    };
    let open = format!("open:{SIGNER:#x}");
    let unfinished = ["by:pending", "by:processing", "by:retrying", &open];
    !unfinished.iter().any(|index| count(state, "ZCARD", index))
}

/// What is not quiet, for people.
pub(super) fn unfinished(world: &World) -> Vec<String> {
    let now = world.now();
    let state = &mut *world.state();
    let mut found = Vec::new();
    for index in ["by:pending", "by:processing", "by:retrying"] {
        let Value::Array(ids) = ask(&mut state.redis, now, &["ZRANGE", &key(index), "0", "-1"]) else {
            continue;
        };
        for id in ids.iter().filter_map(text) {
            let fields = ["stage", "nonce", "gate", "attempts", "kind"];
            let words: Vec<String> = ["HMGET".to_owned(), key(&format!("job:{id}"))]
                .into_iter()
                .chain(fields.map(str::to_owned))
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            found.push(format!("job {id}: {:?}", ask(&mut state.redis, now, &words)));
        }
    }
    let open = key(&format!("open:{SIGNER:#x}"));
    found.push(format!("open nonces: {:?}", ask(&mut state.redis, now, &["ZRANGE", &open, "0", "-1"])));
    found.push(format!("gates: {:?}", ask(&mut state.redis, now, &["HGETALL", &key("gate")])));
    found.push(format!("lease: {:?}", ask(&mut state.redis, now, &["GET", &key("lease")])));
    found.push(format!("head {:?}, account nonce {}", state.chain.head().number, state.chain.nonce(SIGNER)));
    found
}

/// Compares every record with the chain. Returns the sums; what is wrong goes to the violations.
pub(super) async fn settle_up(world: &World, merchant: &Merchant) -> Sums {
    let mut wrong = Vec::new();
    let (paid, head) = payments(world, &mut wrong);
    let (book_users, sales) = {
        let book = merchant.book();
        (book.users.clone(), book.sales.clone())
    };
    let (blocklisted, memory_was_lost) = {
        let state = world.state();
        (state.blocklisted.clone(), state.memory_was_lost)
    };
    let mut sums = Sums { jobs: (book_users.len() + sales.len()) as u64, ..Sums::default() };
    let rules = Rules { head, blocklisted, memory_was_lost };
    for sale in &sales {
        let id = PaymentId::derive("shop", sale.external.as_str());
        let on_chain = paid.get(&id);
        let Ok(Some(record)) = merchant.store.payment(id).await else {
            wrong.push(format!("{}: accepted, and not recorded", sale.external));
            continue;
        };
        let job = match record.job {
            Some(job) => merchant.store.job(job).await.ok().flatten(),
            None => None,
        };
        rules.check_sale(sale, &record, job.as_ref(), on_chain, &mut sums, &mut wrong);
    }
    for user in &book_users {
        let Some(job) = user.job else { continue };
        let job = merchant.store.job(job).await.ok().flatten();
        let referrer = world.state().chain.state().registry.referrer_of(user.child.address());
        let is_registered = referrer == Some(user.referrer.address());
        match job.map(|job| (job.state, job.payload)) {
            Some((JobState::Done { .. }, Payload::Register(_))) if is_registered => sums.registered += 1,
            // The chain's own record is enough, where Redis forgot the job.
            None if is_registered && memory_was_lost => sums.registered += 1,
            other => {
                wrong.push(format!("{}: recorded as {other:?}, registered: {is_registered}", user.child))
            }
        }
    }
    check_nonces(world, &mut wrong);
    world.state().ghosts.violations.extend(wrong);
    sums
}

/// What a sale's end is judged by.
struct Rules {
    head: u64,
    blocklisted: BTreeSet<Wallet>,
    memory_was_lost: bool,
}

impl Rules {
    fn check_sale(
        &self,
        sale: &Sale,
        record: &PaymentView,
        job: Option<&Job>,
        on_chain: Option<&Paid>,
        sums: &mut Sums,
        wrong: &mut Vec<String>,
    ) {
        let memory_was_lost = self.memory_was_lost;
        if sale.is_cancelled && on_chain.is_some() && !memory_was_lost {
            wrong.push(format!("{}: it was answered as cancelled, and is paid", sale.external));
        }
        match (job.map(|job| &job.state), on_chain) {
            (Some(JobState::Done { .. }), Some(paid)) => {
                sums.paid += 1;
                self.check_paid(sale, record, paid, wrong);
            }
            (Some(JobState::Failed), None) => {
                sums.failed += 1;
                if !record.referrer.is_some_and(|referrer| self.blocklisted.contains(&referrer)) {
                    let why = job.and_then(|job| job.last_failure.as_ref());
                    wrong.push(format!("{}: failed for no good reason: {why:?}", sale.external));
                }
            }
            (Some(JobState::Cancelled), None) => sums.cancelled += 1,
            // Cancelled in a Redis that did not know any more that its transaction was on the way. The leader has told the
            // operator, and signed nothing new until he had looked.
            (Some(JobState::Cancelled), Some(_)) if memory_was_lost => sums.cancelled += 1,
            // Decided without a job: refunded before, or known from the chain.
            (None, on_chain) => match (record.decision.as_deref(), on_chain) {
                (Some("paid_on_chain"), Some(_)) => sums.paid += 1,
                (Some("refunded"), None) => sums.cancelled += 1,
                // Refunded in a Redis that had forgotten the payment: the leader tells that it is paid all the same.
                (Some("refunded"), Some(_)) if memory_was_lost => sums.paid += 1,
                // Reported while Redis had forgotten the registration.
                (Some("unknown_wallet"), None) if memory_was_lost => sums.cancelled += 1,
                (decision, on_chain) => wrong.push(format!(
                    "{}: decided as {decision:?} without a job, on the chain {on_chain:?}",
                    sale.external
                )),
            },
            (Some(state), on_chain) => {
                wrong.push(format!("{}: recorded as {state:?}, on the chain {on_chain:?}", sale.external));
            }
        }
    }

    fn check_paid(&self, sale: &Sale, record: &PaymentView, paid: &Paid, wrong: &mut Vec<String>) {
        let head = self.head;
        if head.saturating_sub(paid.block) < CONFIRMATIONS {
            wrong.push(format!("G6: {} is done at block {}, the head is {head}", sale.external, paid.block));
        }
        let recorded = (record.commission.usdc, record.commission.sge, record.referrer);
        // A Redis that was emptied does not know any more who is paid in both tokens: the leader tells of the difference.
        if (paid.usdc, paid.sge, Some(paid.referrer)) != recorded && !self.memory_was_lost {
            wrong.push(format!("{}: paid {paid:?}, recorded {:?}", sale.external, record.commission));
        }
    }
}

/// All payments on the canonical chain; one that is there twice is a violation.
fn payments(world: &World, wrong: &mut Vec<String>) -> (BTreeMap<PaymentId, Paid>, u64) {
    let state = world.state();
    let mut paid = BTreeMap::new();
    for block in state.chain.blocks() {
        for event in block.txs.iter().flat_map(|included| &included.events) {
            let ChainEventKind::Paid { payment, referrer, usdc, sge, .. } = &event.kind else { continue };
            let is = Paid { block: event.block.get(), referrer: *referrer, usdc: *usdc, sge: *sge };
            if let Some(before) = paid.insert(*payment, is) {
                wrong.push(format!("G1: {payment} is paid twice: {before:?}, {is:?}"));
            }
        }
    }
    (paid, state.chain.head().number.get())
}

/// The journal's next nonce is the account's.
fn check_nonces(world: &World, wrong: &mut Vec<String>) {
    let now = world.now();
    let state = &mut *world.state();
    let next = ask(&mut state.redis, now, &["HGET", &key(&format!("signer:{SIGNER:#x}")), "next"]);
    let account = state.chain.nonce(SIGNER);
    if text(&next) != Some(account.to_string()) {
        wrong.push(format!("the journal's next nonce is {next:?}, the account's is {account}"));
    }
}
