//! What the input files alone say that must come out: for each line the answer, for each payment its fate, for each
//! wallet its balance. Plain integers, and not a line of the code under test.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::Address;
use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::input::{Event, Input, Setup, Sign};

/// The terms on which the demo runs.
#[derive(Debug, Clone)]
pub struct Terms {
    pub commission_bps: u128,
    pub hybrid_sge_bps: u128,
    /// Base units of SGE for one whole USDC.
    pub sge_units_per_usdc: u128,
    /// The most that one payout may have, in base units.
    pub usdc_cap: u128,
    pub sge_cap: u128,
}

/// An amount of each token, in base units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    pub usdc: u128,
    pub sge: u128,
}

/// The answer that a line must get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub statuses: &'static [u16],
    /// `code` of the problem document, where the line is refused.
    pub code: Option<&'static str>,
    /// `decision` in the answer to a payment, `outcome` in that to a refund.
    pub decision: Option<&'static str>,
    /// Whether the answer names a job: that of this payment id, or of this child.
    pub job: Option<String>,
}

/// How a payout ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Paid(Sum),
    /// With the class of the failure.
    Fails(&'static str),
}

/// Everything that is expected.
#[derive(Debug, Default)]
pub struct Expected {
    /// One for each line of the setup; none for the lines that are not HTTP.
    pub setup: Vec<Option<Verdict>>,
    pub events: Vec<Verdict>,
    /// By payment id.
    pub payouts: BTreeMap<String, Fate>,
    /// By child.
    pub referrers: BTreeMap<Address, Address>,
    /// What each wallet named anywhere must hold.
    pub balances: BTreeMap<Address, Sum>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    r#type: String,
    data: Data,
}

#[derive(Deserialize, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
struct Data {
    payment_id: String,
    wallet: String,
    amount: String,
    currency: String,
}

/// A delivery whose every field is right.
struct Understood {
    refund: bool,
    id: String,
    wallet: Address,
    units: u128,
}

impl Verdict {
    const fn refused(status: &'static [u16], code: &'static str) -> Self {
        Self { statuses: status, code: Some(code), decision: None, job: None }
    }

    const fn invalid(code: &'static str) -> Self {
        Self::refused(&[422], code)
    }

    const fn accepted(statuses: &'static [u16], job: Option<String>) -> Self {
        Self { statuses, code: None, decision: None, job }
    }
}

/// Works it all out.
pub fn expect(input: &Input, terms: &Terms) -> Result<Expected> {
    let mut oracle = Oracle {
        terms,
        known: BTreeSet::new(),
        hybrid: BTreeSet::new(),
        blocked: BTreeSet::new(),
        deliveries: BTreeSet::new(),
        seen: BTreeMap::new(),
        refunded: BTreeMap::new(),
        expected: Expected::default(),
    };
    for line in &input.setup {
        let verdict = oracle.setup(line)?;
        oracle.expected.setup.push(verdict);
    }
    for event in &input.events {
        let verdict = oracle.event(event);
        oracle.expected.events.push(verdict);
    }
    for fate in oracle.expected.payouts.values() {
        anyhow::ensure!(!matches!(fate, Fate::Paid(sum) if *sum == Sum::default()), "a payout of nothing");
    }
    Ok(oracle.expected)
}

struct Oracle<'a> {
    terms: &'a Terms,
    /// Registered wallets, with or without referrer.
    known: BTreeSet<Address>,
    hybrid: BTreeSet<Address>,
    blocked: BTreeSet<Address>,
    /// Delivery ids of refunds that count already.
    deliveries: BTreeSet<String>,
    /// By payment id: wallet, amount, and what was answered first.
    seen: BTreeMap<String, (Address, u128, Verdict)>,
    /// By payment id: what was given back so far.
    refunded: BTreeMap<String, u128>,
    expected: Expected,
}

impl Oracle<'_> {
    fn setup(&mut self, line: &Setup) -> Result<Option<Verdict>> {
        match line {
            Setup::Register { wallet, referrer } => Ok(Some(self.register(wallet, referrer.as_deref()))),
            Setup::Mode { wallet, mode } => {
                let affiliate = wallet_of(wallet).ok().context("a mode for no wallet")?;
                if mode == "hybrid" {
                    self.hybrid.insert(affiliate)
                } else {
                    self.hybrid.remove(&affiliate)
                };
                Ok(Some(Verdict::accepted(&[200, 204], None)))
            }
            Setup::Blocklist { wallet } => {
                self.blocked.insert(wallet_of(wallet).ok().context("a blocklist of no wallet")?);
                Ok(None)
            }
        }
    }

    fn register(&mut self, wallet: &str, referrer: Option<&str>) -> Verdict {
        let (child, referrer) = match (wallet_of(wallet), referrer.map(wallet_of).transpose()) {
            (Ok(child), Ok(referrer)) => (child, referrer),
            (Err(code), _) | (_, Err(code)) => return Verdict::invalid(code),
        };
        self.mention(child);
        let Some(referrer) = referrer else {
            self.known.insert(child);
            return Verdict::accepted(&[200], None);
        };
        self.mention(referrer);
        if child == referrer {
            return Verdict::invalid("self_referral");
        }
        let referrers = &mut self.expected.referrers;
        if referrers.get(&referrer) == Some(&child) {
            return Verdict::refused(&[409], "referral_cycle");
        }
        let job = Some(format!("{child:#x}"));
        match referrers.get(&child) {
            Some(recorded) if *recorded != referrer => Verdict::refused(&[409], "referrer_conflict"),
            Some(_) => Verdict::accepted(&[200, 202], job),
            None => {
                referrers.insert(child, referrer);
                self.known.insert(child);
                Verdict::accepted(&[202], job)
            }
        }
    }

    fn event(&mut self, event: &Event) -> Verdict {
        if !matches!(event.sign, Sign::Good | Sign::Older) {
            return Verdict::refused(&[401], "invalid_signature");
        }
        let understood = match understand(event) {
            Ok(understood) => understood,
            Err(code) => return Verdict::invalid(code),
        };
        self.mention(understood.wallet);
        if understood.refund { self.refund(&event.id, &understood) } else { self.payment(understood) }
    }

    /// Refunds of what was paid are settled elsewhere: they change no payout that is out, nor its sums here. The
    /// files hold a full refund only before its payment.
    fn refund(&mut self, delivery: &str, refund: &Understood) -> Verdict {
        if self.deliveries.insert(delivery.to_owned()) {
            *self.refunded.entry(refund.id.clone()).or_default() += refund.units;
        }
        // The files refund wholly only what was not paid before, so the rest is owed, whatever the job is doing.
        let outcome = match self.seen.get(&refund.id) {
            None => "tombstone",
            Some((_, _, first)) if first.job.is_some() => "owed",
            Some(_) => "nothing_paid",
        };
        Verdict { decision: Some(outcome), ..Verdict::accepted(&[200, 202], None) }
    }

    fn payment(&mut self, payment: Understood) -> Verdict {
        if let Some((wallet, units, first)) = self.seen.get(&payment.id) {
            let same = (*wallet, *units) == (payment.wallet, payment.units);
            return match same {
                true => Verdict { statuses: &[200, 202], ..first.clone() },
                false => Verdict::refused(&[409], "payment_conflict"),
            };
        }
        let (decision, fate) = self.decide(&payment);
        let due = fate.is_some();
        if let Some(fate) = fate {
            self.book(&payment, &fate);
            self.expected.payouts.insert(payment.id.clone(), fate);
        }
        let statuses: &[u16] = if due { &[202] } else { &[200] };
        let job = due.then(|| payment.id.clone());
        let verdict = Verdict { statuses, code: None, decision: Some(decision), job };
        self.seen.insert(payment.id, (payment.wallet, payment.units, verdict.clone()));
        verdict
    }

    fn decide(&self, payment: &Understood) -> (&'static str, Option<Fate>) {
        let refunded = self.refunded.get(&payment.id).is_some_and(|units| *units >= payment.units);
        if refunded {
            return ("refunded", None);
        }
        if !self.known.contains(&payment.wallet) {
            return ("unknown_wallet", None);
        }
        let Some(referrer) = self.expected.referrers.get(&payment.wallet) else {
            return ("no_referrer", None);
        };
        let sum = self.commission(payment.units, self.hybrid.contains(referrer));
        if sum == Sum::default() {
            return ("nothing_due", None);
        }
        let fate = if sum.usdc > self.terms.usdc_cap || sum.sge > self.terms.sge_cap {
            Fate::Fails("above_cap")
        } else if self.blocked.contains(referrer) && sum.usdc > 0 {
            Fate::Fails("recipient_refused")
        } else {
            Fate::Paid(sum)
        };
        ("due", Some(fate))
    }

    fn commission(&self, units: u128, hybrid: bool) -> Sum {
        let whole = units * self.terms.commission_bps / 10_000;
        if !hybrid {
            return Sum { usdc: whole, sge: 0 };
        }
        let part = whole * self.terms.hybrid_sge_bps / 10_000;
        // Saturating: what does not fit is far above every cap, and fails for that.
        Sum { usdc: whole - part, sge: part.saturating_mul(self.terms.sge_units_per_usdc) / 1_000_000 }
    }

    fn book(&mut self, payment: &Understood, fate: &Fate) {
        if let (Fate::Paid(sum), Some(referrer)) = (fate, self.expected.referrers.get(&payment.wallet)) {
            let balance = self.expected.balances.entry(*referrer).or_default();
            balance.usdc += sum.usdc;
            balance.sge += sum.sge;
        }
    }

    fn mention(&mut self, wallet: Address) {
        self.expected.balances.entry(wallet).or_default();
    }
}

/// A wallet, or the code of what is wrong with it: mixed case needs the right checksum, and zero is nobody.
fn wallet_of(text: &str) -> Result<Address, &'static str> {
    let digits = text.strip_prefix("0x").unwrap_or_default();
    let wallet: Address = text.parse().map_err(|_| "malformed_wallet")?;
    let mixed =
        digits.chars().any(|c| c.is_ascii_lowercase()) && digits.chars().any(|c| c.is_ascii_uppercase());
    if mixed && Address::parse_checksummed(text, None).is_err() {
        return Err("bad_checksum");
    }
    if wallet.is_zero() { Err("zero_address") } else { Ok(wallet) }
}

/// A payment or a refund, or the code of what is wrong with it.
fn understand(event: &Event) -> Result<Understood, &'static str> {
    let body: Body = serde_json::from_value(event.body.clone()).map_err(|_| "missing_field")?;
    let refund = match body.r#type.as_str() {
        "payment.succeeded" => false,
        "payment.refunded" => true,
        _ => return Err("unsupported_event_type"),
    };
    let Data { payment_id: id, wallet, amount, currency } = body.data;
    let wallet = wallet_of(&wallet)?;
    let units = units_of(&amount)?;
    if currency == "USD" { Ok(Understood { refund, id, wallet, units }) } else { Err("unsupported_currency") }
}

/// Whole units with at most six decimals, above zero and up to 2^96 millionths, as millionths.
fn units_of(text: &str) -> Result<u128, &'static str> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err("malformed_amount");
    }
    if fraction.len() > 6 {
        return Err("amount_too_precise");
    }
    let padded = format!("{whole}{fraction:0<6}");
    match padded.parse::<u128>() {
        Ok(0) => Err("amount_not_positive"),
        Ok(_) if text.starts_with('-') => Err("amount_not_positive"),
        Ok(units) if units <= 1 << 96 => Ok(units),
        _ => Err("amount_too_large"),
    }
}

#[cfg(test)]
mod tests;
