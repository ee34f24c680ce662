//! What must hold once everything is quiet: every accepted job ended, and its end is what the chain says.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;
use shared::ids::{BlockNumber, PaymentId, Wallet};
use shared::job::{FailureClass, Job, Payload};
use shared::job_state::JobState;
use shared::money::{Sge, Usdc};
use shared::store::PaymentView;
use worker::chain::ChainEventKind;

use super::ghosts::{ask, key, text};
use super::merchant::{self, HYBRID, Merchant, Sale};
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

/// Whether nothing is left to be done: every job ended, no nonce open, and the leader knows the blocks that are final now, and
/// what the account has sent.
pub(super) fn is_quiet(world: &World) -> bool {
    let now = world.now();
    let state = &mut *world.state();
    let known = ask(&mut state.redis, now, &["HMGET", &key("synced"), "final_block", "final_hash"]);
    if let Value::Array(known) = known
        && let Some(number) = text(&known[0]).and_then(|number| number.parse().ok())
        && state.chain.block(BlockNumber::new(number)).map(|block| block.head.hash.to_string())
            != text(&known[1])
    {
        return false;
    }
    if !knows_the_nonce(state, now) {
        return false;
    }
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
    let next = next_nonce(state, now);
    let (head, account) = (state.chain.head().number, state.chain.nonce(SIGNER));
    found.push(format!("head {head}, account nonce {account}, the journal's next {next:?}"));
    found
}

/// Compares every record with the chain. Returns the sums, and what is wrong.
pub(super) async fn settle_up(world: &World, merchant: &Merchant) -> (Sums, Vec<String>) {
    let mut wrong = Vec::new();
    let (paid, head) = payments(world, &mut wrong);
    let (book_users, sales) = {
        let book = merchant.book();
        (book.users.clone(), book.sales.clone())
    };
    let mut poison = BTreeSet::new();
    for (n, user) in book_users.iter().enumerate() {
        let Some(job) = user.job else { continue };
        if merchant.store.job(job).await.ok().flatten().is_some_and(|job| is_poison(&job)) {
            poison.insert(n);
        }
    }
    let rules = {
        let state = world.state();
        Rules {
            head,
            poison,
            blocklisted: state.blocklisted.clone(),
            memory_was_lost: state.memory_was_lost,
            may_differ: state.may_differ(),
            told: state.ghosts.told.clone(),
        }
    };
    let memory_was_lost = rules.memory_was_lost;
    let mut sums = Sums { jobs: (book_users.len() + sales.len()) as u64, ..Sums::default() };
    for sale in &sales {
        let id = id_of(sale);
        let on_chain = paid.get(&id);
        let Ok(Some(record)) = merchant.store.payment(id).await else {
            wrong.push(format!("{}: accepted, and not recorded", sale.external));
            continue;
        };
        let job = match record.job {
            Some(job) => merchant.store.job(job).await.ok().flatten(),
            None => None,
        };
        let referrer = book_users[sale.user].referrer;
        let case = Case { sale, referrer, record: &record, job: job.as_ref(), on_chain };
        rules.check_sale(&case, &mut sums, &mut wrong);
    }
    let known: BTreeSet<PaymentId> = sales.iter().map(id_of).collect();
    for (payment, paid) in paid.iter().filter(|(payment, _)| !known.contains(payment)) {
        wrong.push(format!("{payment} is paid, and nobody asked for it: {paid:?}"));
    }
    for (n, user) in book_users.iter().enumerate() {
        if rules.poison.contains(&n) {
            sums.failed += 1;
            continue;
        }
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
    if !memory_was_lost {
        check_count(world, sums.jobs, &mut wrong);
    }
    wrong.extend(world.state().ghosts.untold.as_ref().map(|what| format!("nobody froze: {what}")));
    (sums, wrong)
}

/// A sale, and all that is known of it at the end.
struct Case<'a> {
    sale: &'a Sale,
    /// Of the user who paid.
    referrer: Wallet,
    record: &'a PaymentView,
    job: Option<&'a Job>,
    on_chain: Option<&'a Paid>,
}

/// What a sale's end is judged by.
struct Rules {
    head: u64,
    blocklisted: BTreeSet<Wallet>,
    /// The users whose registration failed like that; their payouts do with it.
    poison: BTreeSet<usize>,
    memory_was_lost: bool,
    /// Something that was answered for, or final, is so no more: Redis forgot it, or a reorganisation deeper than
    /// `CONFIRMATIONS` changed it.
    may_differ: bool,
    /// What people were told that chain and Redis disagree on.
    told: Vec<String>,
}

impl Rules {
    /// After a Redis that forgot, and after a deep reorganisation, a record may say something else than the chain, but only
    /// where the leader told people so.
    fn is_excused(&self, case: &Case<'_>) -> bool {
        let payment = id_of(case.sale).to_string();
        let job = case.job.map(|job| job.id.to_string());
        let is_about = |told: &String| {
            told.contains(&payment) || job.as_ref().is_some_and(|job| told.contains(job.as_str()))
        };
        self.may_differ && self.told.iter().any(is_about)
    }

    fn check_sale(&self, case: &Case<'_>, sums: &mut Sums, wrong: &mut Vec<String>) {
        let Case { sale, referrer, record, job, on_chain } = *case;
        let name = &sale.external;
        let excused = self.is_excused(case);
        if sale.is_cancelled && on_chain.is_some() && !self.may_differ {
            wrong.push(format!("{name}: it was answered as cancelled, and is paid"));
        }
        wrong.extend(on_chain.and_then(|paid| self.check_paid(case, paid, excused)));
        let state = job.map(|job| &job.state);
        match (state, record.decision.as_deref(), on_chain) {
            (Some(JobState::Done { .. }), _, Some(_)) | (None, Some("paid_on_chain"), Some(_)) => {
                sums.paid += 1;
            }
            (Some(JobState::Failed), _, None) => {
                sums.failed += 1;
                let why = job.and_then(|job| job.last_failure.as_ref());
                let is_poison = job.is_some_and(is_poison) || self.poison.contains(&sale.user);
                if !self.blocklisted.contains(&referrer) && !is_poison {
                    wrong.push(format!("{name}: failed for no good reason: {why:?}"));
                }
            }
            (Some(JobState::Cancelled), ..) | (None, Some("refunded"), _) => {
                sums.cancelled += 1;
                if !sale.was_to_be_cancelled {
                    wrong.push(format!("{name}: cancelled, and nobody asked for that"));
                }
                // In a Redis that did not know any more that it was paid, or about to be.
                if on_chain.is_some() && !excused {
                    wrong.push(format!("{name}: recorded as cancelled, on the chain {on_chain:?}"));
                }
            }
            // Reported while Redis had forgotten the registration: no money is on either side, or people were told.
            (None, Some("unknown_wallet"), on_chain)
                if self.memory_was_lost && (on_chain.is_none() || excused) =>
            {
                sums.cancelled += 1;
            }
            (state, decision, on_chain) => wrong.push(format!(
                "{name}: recorded as {state:?}, decided as {decision:?}, on the chain {on_chain:?}"
            )),
        }
    }

    /// What is wrong with a payment as the chain shows it: with its depth, with whom it went to, with its amounts.
    fn check_paid(&self, case: &Case<'_>, paid: &Paid, excused: bool) -> Option<String> {
        let Case { sale, referrer, record, .. } = *case;
        let (name, head) = (&sale.external, self.head);
        if head.saturating_sub(paid.block) < CONFIRMATIONS {
            return Some(format!("G6: {name} has ended at block {}, the head is {head}", paid.block));
        }
        let (in_usdc, in_both) = due(sale.amount);
        let is_due = if referrer == merchant::referrer(HYBRID) { in_both } else { in_usdc };
        let amounts = (paid.usdc, paid.sge);
        // A Redis that was emptied does not know any more who is paid in both tokens.
        let may_be = amounts == is_due || (self.memory_was_lost && amounts == in_usdc);
        if paid.referrer != referrer || !may_be {
            return Some(format!("{name}: paid {paid:?}, and {is_due:?} was due to {referrer}"));
        }
        let recorded = (record.commission.usdc, record.commission.sge, record.referrer);
        if recorded != (paid.usdc, paid.sge, Some(paid.referrer)) && !excused {
            return Some(format!("{name}: paid {paid:?}, recorded {:?}", record.commission));
        }
        None
    }
}

/// Whether it failed for having been in the hands of workers that the storm killed, each time.
fn is_poison(job: &Job) -> bool {
    let class = job.last_failure.as_ref().map(|why| why.class);
    matches!(job.state, JobState::Failed) && class == Some(FailureClass::Poison)
}

fn id_of(sale: &Sale) -> PaymentId {
    PaymentId::derive("shop", sale.external.as_str())
}

/// What the programme promises for a sale, in USDC alone and in both: a tenth, half of which is paid in SGE, two for one. SGE
/// has twelve more decimals.
fn due(amount: Usdc) -> ((Usdc, Sge), (Usdc, Sge)) {
    let whole = amount.base_units() / 10;
    let part = whole / 2;
    let sge = Sge::from_base_units(part * 2 * 1_000_000_000_000);
    ((Usdc::from_base_units(whole), Sge::ZERO), (Usdc::from_base_units(whole - part), sge))
}

/// There are not more jobs than were accepted.
fn check_count(world: &World, accepted: u64, wrong: &mut Vec<String>) {
    let now = world.now();
    let state = &mut *world.state();
    let states = ["pending", "processing", "retrying", "done", "failed", "cancelled"];
    let count = |name: &&str| match ask(&mut state.redis, now, &["ZCARD", &key(&format!("by:{name}"))]) {
        Value::Int(count) => u64::try_from(count).unwrap_or(0),
        _ => 0,
    };
    let jobs: u64 = states.iter().map(count).sum();
    if jobs > accepted {
        wrong.push(format!("G1: {jobs} jobs for {accepted} registrations and payments"));
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

/// The journal's next nonce.
fn next_nonce(state: &mut State, now: u64) -> Option<String> {
    text(&ask(&mut state.redis, now, &["HGET", &key(&format!("signer:{SIGNER:#x}")), "next"]))
}

/// Whether the journal's next nonce is the account's.
fn knows_the_nonce(state: &mut State, now: u64) -> bool {
    next_nonce(state, now) == Some(state.chain.nonce(SIGNER).to_string())
}
