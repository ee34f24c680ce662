//! Holds what there is against what was accepted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, U256, keccak256};

use super::{Event, Facts, Finding, JobFact, Terms, Verdict, Wrong};
use crate::chaos::ledger::{Ledger, Paid, TakenBack};

/// Jobs that were seen as done while the schedule ran, and the head right after that.
pub type Watched = BTreeMap<String, u64>;

/// The source under which payments are delivered.
const SOURCE: &str = "payments";

/// Everything that is wrong. Where Redis `forgets`, what was answered before it did is not held against it.
pub fn check(ledger: &Ledger, facts: &Facts, watched: &Watched, terms: &Terms, forgets: bool) -> Verdict {
    // What an emptied Redis found in the chain has no job, and was accepted all the same.
    let accepted = ledger.registrations.len() + ledger.payments.len();
    let mut verdict = Verdict { accepted, ..Verdict::default() };
    let mut by_payment: BTreeMap<B256, Vec<&Event>> = BTreeMap::new();
    for event in &facts.paid {
        by_payment.entry(event.payment).or_default().push(event);
    }
    for surprise in &ledger.surprises {
        verdict.findings.push(Finding::new(Wrong::Untruthful, surprise.clone()));
    }
    registrations(ledger, facts, terms, &mut verdict);
    let mut known: Vec<B256> = Vec::new();
    for payment in &ledger.payments {
        let id = payment_id(SOURCE, &payment.id);
        known.push(id);
        let events = by_payment.get(&id).map_or(&[][..], Vec::as_slice);
        let mut case = Case { payment, events, facts, watched, terms, forgets, verdict: &mut verdict };
        case.check();
    }
    for (id, events) in &by_payment {
        if !known.contains(id) {
            let what = format!("payment {id} was paid {} times, and nobody accepted it", events.len());
            verdict.findings.push(Finding::new(Wrong::Doubled, what));
        }
    }
    accounts(facts, &mut verdict);
    let ended = verdict.registered + verdict.paid + verdict.not_paid;
    if ended != accepted && verdict.findings.is_empty() {
        let what = format!("{accepted} were accepted, {ended} have come to an end");
        verdict.findings.push(Finding::new(Wrong::Lost, what));
    }
    verdict
}

fn registrations(ledger: &Ledger, facts: &Facts, terms: &Terms, verdict: &mut Verdict) {
    for asked in &ledger.registrations {
        let what = format!("the registration of {} (job {})", asked.child, asked.job);
        let written: Vec<_> =
            facts.referrals.iter().filter(|referral| Ok(referral.child) == asked.child.parse()).collect();
        let right = written.iter().any(|referral| Ok(referral.referrer) == asked.referrer.parse());
        let deep = written.iter().all(|referral| referral.block + terms.confirmations <= facts.head);
        let state = facts.jobs.get(&asked.job).cloned().flatten();
        let finding = match state.as_ref().map(|job| job.state.as_str()) {
            Some("done") if right && deep && written.len() == 1 => {
                verdict.registered += 1;
                continue;
            }
            Some("done") => {
                Finding::new(Wrong::Untruthful, format!("{what} is done; in the chain: {written:?}"))
            }
            Some("failed" | "cancelled") => Finding::new(Wrong::Lost, format!("{what} has ended: {state:?}")),
            Some(_) => Finding::new(Wrong::Unfinished, format!("{what}: {state:?}")),
            None => Finding::new(Wrong::Lost, format!("{what} is not known any more")),
        };
        verdict.findings.push(finding);
    }
    // Who was found in the chain alone has no job, but payments.
    let registered = ledger.registrations.iter().map(|asked| &asked.child);
    let known: BTreeSet<Address> = registered
        .chain(ledger.payments.iter().map(|payment| &payment.child))
        .filter_map(|child| child.parse().ok())
        .collect();
    for referral in facts.referrals.iter().filter(|referral| !known.contains(&referral.child)) {
        let what = format!("nobody asked for the registration of {}", referral.child);
        verdict.findings.push(Finding::new(Wrong::Untruthful, what));
    }
}

/// One payment that was accepted.
struct Case<'a> {
    payment: &'a Paid,
    events: &'a [&'a Event],
    facts: &'a Facts,
    watched: &'a Watched,
    terms: &'a Terms,
    forgets: bool,
    verdict: &'a mut Verdict,
}

impl Case<'_> {
    fn wrong(&mut self, wrong: Wrong, what: &str) {
        let Self { payment, events, .. } = self;
        let blocks: Vec<u64> = events.iter().map(|event| event.block).collect();
        let what = format!(
            "payment {} (decision {}, job {}) {what}; paid in blocks {blocks:?}",
            payment.id,
            payment.decision,
            payment.job.as_deref().unwrap_or("none")
        );
        self.verdict.findings.push(Finding::new(wrong, what));
    }

    fn check(&mut self) {
        if self.events.len() > 1 {
            self.wrong(Wrong::Doubled, "was paid more than once");
        }
        for event in self.events {
            self.compare(event);
        }
        let job = self.payment.job.as_ref().map(|job| self.facts.jobs.get(job).cloned().flatten());
        match (self.payment.decision.as_str(), job) {
            ("due" | "refunded" | "cancelled", Some(Some(job))) => self.with_job(&job),
            (_, Some(None)) => self.wrong(Wrong::Lost, "has a job that is not known any more"),
            ("paid_on_chain", None) if self.events.is_empty() => {
                self.wrong(Wrong::Lost, "is said to be in the chain, and is not");
            }
            ("paid_on_chain", None) => self.paid(None),
            (_, Some(Some(job))) => self.wrong(Wrong::Untruthful, &format!("has a job: {job:?}")),
            (_, None) => self.wrong(Wrong::Lost, "is not due, and is"),
        }
        self.taken_back();
    }

    fn with_job(&mut self, job: &JobFact) {
        match (job.state.as_str(), self.events.is_empty()) {
            ("done", false) => self.paid(self.payment.job.as_deref()),
            ("done", true) => self.wrong(Wrong::Lost, "is said to be done, and is not paid"),
            ("failed" | "cancelled", false) => {
                self.wrong(Wrong::Untruthful, &format!("is paid, and its job says {job:?}"));
            }
            ("cancelled", true) if self.was_taken_back() => self.verdict.not_paid += 1,
            ("failed", true) if self.payment.doomed == Some(job.class.as_str()) => self.verdict.not_paid += 1,
            ("failed" | "cancelled", true) => {
                self.wrong(Wrong::Lost, &format!("has ended without a cause: {job:?}"));
            }
            _ => self.wrong(Wrong::Unfinished, &format!("has not ended: {job:?}")),
        }
    }

    fn was_taken_back(&self) -> bool {
        self.payment.back.iter().any(|back| match back {
            TakenBack::Refunded(outcome) => ["cancelled", "refund_requested"].contains(&outcome.as_str()),
            TakenBack::Deleted(granted) => *granted,
            TakenBack::PerhapsDeleted => true,
            TakenBack::Retried(_) => false,
        })
    }

    /// Paid, and as deep as it has to be by now, and by the time it was first shown as done.
    fn paid(&mut self, job: Option<&str>) {
        self.verdict.paid += 1;
        let Some(event) = self.events.first() else { return };
        let final_at = event.block + self.terms.confirmations;
        if let Some(class) = self.payment.doomed {
            self.wrong(Wrong::Untruthful, &format!("was paid, and had to fail with {class}"));
        }
        if final_at > self.facts.head {
            self.wrong(Wrong::Untruthful, "is not deep enough");
        }
        if let Some(seen) = job.and_then(|job| self.watched.get(job))
            && final_at > *seen
        {
            self.wrong(Wrong::Untruthful, &format!("was shown as done at head {seen}"));
        }
    }

    fn compare(&mut self, event: &Event) {
        let (usdc, sge) = commission(self.payment.units, self.payment.hybrid, self.terms);
        if (event.usdc, event.sge) != (usdc, sge) {
            let what = format!("got {} USDC and {} SGE, {usdc} and {sge} are due", event.usdc, event.sge);
            self.wrong(Wrong::Untruthful, &what);
        }
        let named = (Ok(event.child), Ok(event.referrer));
        if named != (self.payment.child.parse(), self.payment.referrer.parse()) {
            let what = format!("went to {} for {}", event.referrer, event.child);
            self.wrong(Wrong::Untruthful, &what);
        }
    }

    /// What a refund or a deletion was answered is so, and stays so.
    fn taken_back(&mut self) {
        let is_paid = !self.events.is_empty();
        for back in self.payment.back.clone() {
            match back {
                TakenBack::Refunded(outcome) if outcome == "cancelled" && is_paid && !self.forgets => {
                    self.wrong(Wrong::Doubled, "was paid after its refund was answered with `cancelled`");
                }
                TakenBack::Deleted(true) if is_paid && !self.forgets => {
                    self.wrong(Wrong::Doubled, "was paid after its deletion was answered with success");
                }
                TakenBack::Refunded(_) => self.owed(is_paid),
                TakenBack::Deleted(_) | TakenBack::PerhapsDeleted | TakenBack::Retried(_) => {}
            }
        }
    }

    /// All of the commission is owed back where it was paid, and nothing where it was not.
    fn owed(&mut self, is_paid: bool) {
        let Some(owed) = self.facts.owed.get(&self.payment.id).copied() else {
            return self.wrong(Wrong::Lost, "is not known any more");
        };
        let (usdc, sge) = match is_paid {
            true => commission(self.payment.units, self.payment.hybrid, self.terms),
            false => (U256::ZERO, U256::ZERO),
        };
        if (owed.usdc, owed.sge) != (usdc, sge) {
            let what = format!("was refunded; owed are {} and {}, not {usdc} and {sge}", owed.usdc, owed.sge);
            self.wrong(Wrong::Untruthful, &what);
        }
    }
}

/// Balances are the sums of the events, and nothing else left the contract; the signer's nonces are all used and none is left over.
fn accounts(facts: &Facts, verdict: &mut Verdict) {
    let mut sums: BTreeMap<Address, (U256, U256)> = BTreeMap::new();
    for event in &facts.paid {
        let sum = sums.entry(event.referrer).or_default();
        *sum = (sum.0 + event.usdc, sum.1 + event.sge);
    }
    if facts.outflow != sums {
        let what = format!("the tokens say that {:?} left the contract, its events {sums:?}", facts.outflow);
        verdict.findings.push(Finding::new(Wrong::Untruthful, what));
    }
    for (wallet, sum) in sums {
        let held = facts.balances.get(&wallet);
        if held != Some(&sum) {
            let what = format!("{wallet} got {sum:?} by events and holds {held:?}");
            verdict.findings.push(Finding::new(Wrong::Untruthful, what));
        }
    }
    let Facts { mined, pending, stuck, open_nonces, .. } = facts;
    if mined != pending || *stuck > 0 || *open_nonces > 0 {
        let what = format!(
            "{mined} transactions of the signer are in blocks, {pending} with the pool, {stuck} wait behind a missing nonce; \
             {open_nonces} nonces are open"
        );
        verdict.findings.push(Finding::new(Wrong::Nonce, what));
    }
    for gate in &facts.closed_gates {
        verdict.findings.push(Finding::new(Wrong::Unfinished, format!("the gate {gate} is closed")));
    }
}

/// `keccak256(abi.encode(source, externalId))`: two offsets, then each text by its length and its bytes, padded to words.
pub fn payment_id(source: &str, external: &str) -> B256 {
    let word = |number: usize| U256::from(number).to_be_bytes::<32>();
    let padded = |text: &str| text.len().div_ceil(32) * 32;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&word(64));
    bytes.extend_from_slice(&word(64 + 32 + padded(source)));
    for text in [source, external] {
        bytes.extend_from_slice(&word(text.len()));
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(bytes.len() + padded(text) - text.len(), 0);
    }
    keccak256(bytes)
}

/// What is due: USDC and SGE in base units. Every division rounds down.
pub(super) fn commission(units: u128, hybrid: bool, terms: &Terms) -> (U256, U256) {
    let whole = units * terms.commission_bps / 10_000;
    let part = if hybrid { whole * terms.hybrid_sge_bps / 10_000 } else { 0 };
    let sge = U256::from(part) * U256::from(terms.sge_units_per_usdc) / U256::from(1_000_000);
    (U256::from(whole - part), sge)
}
