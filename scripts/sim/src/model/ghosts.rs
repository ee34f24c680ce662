//! What must always hold, watched while effects happen: nothing in the product knows that it is watched. And what must happen
//! at least once in a check, or it would have looked at nothing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use alloy::consensus::{Transaction as _, TxEnvelope};
use alloy::eips::eip2718::Decodable2718 as _;
use alloy::primitives::{Bytes, keccak256};
use shared::ids::Hash32;

use super::db::Executed;
use super::effect::{Asked, Told, hash_of, nth};
use super::ledger::Ledger;
use super::settings::SIGNER;

/// Arguments of `accept_payments.lua` per payment.
const PAYMENT_ARGS: usize = 15;

/// An enumeration whose members have a text, and a bit in a set of them.
macro_rules! watched {
    ($(#[$about:meta])* $name:ident { $($member:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($member,)+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$member),+];

            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$member => $text,)+
                }
            }

            pub(super) const fn bit(self) -> u32 {
                1 << self as u32
            }
        }
    };
}

watched! {
    /// What must always hold.
    Promise {
        OnePayment = "G1: at most one payment per payment id",
        OneJob = "G1: at most one job per payment id, as long as Redis forgets nothing",
        OneIntent = "G3: one nonce, one intent",
        Journaled = "G4: nothing is broadcast unjournaled",
        Fenced = "G5: no write of a stale term is accepted",
        Deep = "G6: done means paid, N deep",
        LetGo = "G6: a nonce is let go only once it is consumed, N deep",
        Truthful = "G2: what is done is paid, and what is cancelled is not",
        Lease = "who signs on a clock that runs holds the lease",
    }
}

watched! {
    /// What must have happened at least once.
    Sight {
        Done = "a job is done",
        Fenced = "a zombie's write is refused",
        RolledBack = "a job is done after Redis was rolled back",
        CancelRaced = "a cancel and what it cancels are both out",
        CancelSigned = "a transaction that no node takes is cancelled by one that pays nobody",
        Cancelled = "a job is cancelled",
        Replaced = "a transaction is replaced by a better paid one",
        Unanswered = "what was journaled without an answer is sent all the same",
        Undone = "a payment is reorganised away",
        Filled = "a hole in the nonces is filled",
        FilledBelow = "a hole below what was journaled since is filled",
        Settled = "a job is settled from the chain",
        Refused = "a job that may not be signed any more is named by the journal",
    }
}

/// What was seen by all threads of a check. No part of any state: it would only multiply them.
#[derive(Debug, Default)]
pub(super) struct Sights(AtomicU32);

impl Sights {
    pub(super) fn note(&self, sight: Sight) {
        if !self.has(sight) {
            self.0.fetch_or(sight.bit(), Ordering::Relaxed);
        }
    }

    pub(super) fn has(&self, sight: Sight) -> bool {
        self.0.load(Ordering::Relaxed) & sight.bit() != 0
    }
}

/// What is remembered of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Ghosts {
    /// Promises that were broken, as bits.
    pub(super) broken: u32,
    /// By nonce: what it was journaled for.
    intents: Vec<(u64, u64)>,
    /// By nonce: what was broadcast at it, cancels apart.
    calls: Vec<(u64, u64)>,
    /// Hashes that were ever in the journal, sorted.
    journaled: Vec<u64>,
    /// Payments that have a job, as bits.
    accepted: u8,
    /// Payments whose job was cancelled, as bits.
    cancelled: u8,
    /// What was journaled last without its signer being told, until it is sent.
    unanswered: Option<u64>,
    pub(super) has_rolled_back: bool,
}

/// What a transaction says about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) hash: Hash32,
    pub(super) nonce: u64,
    /// It calls a contract; otherwise it only frees its nonce.
    pub(super) pays: bool,
    call: u64,
}

thread_local! {
    static DECODED: RefCell<HashMap<Bytes, Option<Sent>>> = RefCell::default();
}

pub(super) fn decode(raw: &Bytes) -> Option<Sent> {
    DECODED.with_borrow_mut(|known| *known.entry(raw.clone()).or_insert_with(|| decode_anew(raw)))
}

fn decode_anew(raw: &Bytes) -> Option<Sent> {
    let tx = TxEnvelope::decode_2718(&mut raw.as_ref()).ok()?;
    let (to, call) = (tx.to()?, hash_of(&(tx.to(), tx.input(), tx.value())));
    Some(Sent { hash: Hash32::from(keccak256(raw)), nonce: tx.nonce(), pays: to != SIGNER, call })
}

fn short(hash: Hash32) -> u64 {
    hash_of(&hash)
}

impl Ghosts {
    pub(super) fn break_promise(&mut self, promise: Promise) {
        self.broken |= promise.bit();
    }

    /// Whether one of the promises in the set `wanted` is broken.
    pub(super) fn breaks(&self, wanted: u32) -> bool {
        self.broken & wanted != 0
    }

    /// Signed bytes reach the nodes.
    pub(super) fn sent(&mut self, raw: &Bytes, sights: &Sights) {
        let Some(sent) = decode(raw) else { return self.break_promise(Promise::Journaled) };
        if self.unanswered == Some(short(sent.hash)) {
            self.unanswered = None;
            sights.note(Sight::Unanswered);
        }
        if self.journaled.binary_search(&short(sent.hash)).is_err() {
            self.break_promise(Promise::Journaled);
        }
        // What a journal gave out that was lost since may meet what the next one gives out: the contract is there for that.
        if sent.pays && !self.has_rolled_back && !first(&mut self.calls, sent.nonce, sent.call) {
            self.break_promise(Promise::OneIntent);
        }
    }

    /// A command was executed.
    pub(super) fn executed(&mut self, asked: &Asked, executed: &Executed, before: u64, at: &Around<'_>) {
        let code = nth(&executed.reply, 0).unwrap_or_default();
        if executed.was_stale {
            at.sights.note(Sight::Fenced);
            if executed.db.id != before {
                self.break_promise(Promise::Fenced);
            }
        }
        match asked.script {
            Some("journal") => self.on_journal(asked, &code, at),
            Some("journal_attempt") if code == "0" => {
                self.remember(asked.arg(5));
                at.sights.note(if asked.arg(6) == "1" { Sight::CancelSigned } else { Sight::Replaced });
            }
            Some("finish") => self.on_finish(asked, executed, at),
            Some("leave") => self.on_leave(asked, executed, at),
            Some("settle") => at.sights.note(Sight::Settled),
            Some("close_nonce")
                if code == "0"
                    && asked.arg(2).parse().is_ok_and(|nonce: u64| nonce >= at.ledger.deep_nonce()) =>
            {
                self.break_promise(Promise::LetGo);
            }
            Some("accept_payments") => self.on_accepted(asked, executed, at),
            _ => {}
        }
    }

    /// No payment is given a second job.
    fn on_accepted(&mut self, asked: &Asked, executed: &Executed, at: &Around<'_>) {
        let redis::Value::Array(rows) = &executed.reply else { return };
        assert_eq!(asked.args(), rows.len() * PAYMENT_ARGS, "arguments of accept_payments.lua");
        for (n, row) in rows.iter().enumerate() {
            let is_due = nth(row, 0).as_deref() == Some("0") && nth(row, 1).as_deref() == Some("due");
            let asked = asked.arg(n * PAYMENT_ARGS + 2);
            if let (true, Some(payment)) =
                (is_due, at.payments.iter().position(|payment| payment.to_string() == asked))
            {
                if self.accepted & (1 << payment) != 0 {
                    self.break_promise(Promise::OneJob);
                }
                self.accepted |= 1 << payment;
            }
        }
    }

    fn on_journal(&mut self, asked: &Asked, code: &str, at: &Around<'_>) {
        match code {
            "0" => {
                let nonce = asked.arg(2).parse().unwrap_or(0);
                if !first(&mut self.intents, nonce, hash_of(asked.arg(4))) {
                    self.break_promise(Promise::OneIntent);
                }
                self.remember(asked.arg(6));
                if asked.arg(3) == "filler" {
                    at.sights.note(Sight::Filled);
                    if self.intents.iter().any(|(other, _)| *other > nonce) {
                        at.sights.note(Sight::FilledBelow);
                    }
                }
            }
            "7" => at.sights.note(Sight::Refused),
            _ => {}
        }
    }

    /// The journal took what `asked` gave it, and the answer is lost.
    pub(super) fn lost_answer(&mut self, asked: &Asked, told: &Told) {
        let hash = match asked.script {
            Some("journal") => asked.arg(6),
            Some("journal_attempt") => asked.arg(5),
            _ => return,
        };
        if let (Told::Redis(reply), Ok(hash)) = (told, hash.parse::<Hash32>())
            && nth(reply, 0).as_deref() == Some("0")
        {
            self.unanswered = Some(short(hash));
        }
    }

    fn remember(&mut self, hash: &str) {
        let Ok(hash) = hash.parse::<Hash32>() else { return };
        if let Err(place) = self.journaled.binary_search(&short(hash)) {
            self.journaled.insert(place, short(hash));
        }
    }

    fn on_finish(&mut self, asked: &Asked, executed: &Executed, at: &Around<'_>) {
        for (n, at_arg) in (1..asked.args()).step_by(5).enumerate() {
            if nth(&executed.reply, n).as_deref() != Some("0") {
                continue;
            }
            let known = executed
                .db
                .payments
                .iter()
                .position(|known| known.job.is_some_and(|job| job.to_string() == asked.arg(at_arg)));
            let Some(payment) = known else { continue };
            if !at.ledger.is_paid_deep(at.payments[payment]) {
                self.break_promise(Promise::Deep);
            }
            at.sights.note(Sight::Done);
            if self.has_rolled_back {
                at.sights.note(Sight::RolledBack);
            }
        }
    }

    fn on_leave(&mut self, asked: &Asked, executed: &Executed, at: &Around<'_>) {
        for (n, at_arg) in (2..asked.args()).enumerate() {
            if nth(&executed.reply, n).as_deref() != Some("0") {
                continue;
            }
            let left: serde_json::Value = serde_json::from_str(asked.arg(at_arg)).unwrap_or_default();
            let nonce = left["nonce"].as_str().and_then(|nonce| nonce.parse::<u64>().ok());
            if nonce.or_else(|| left["nonce"].as_u64()).is_some_and(|nonce| nonce >= at.ledger.deep_nonce()) {
                self.break_promise(Promise::LetGo);
            }
        }
    }

    /// Payment `n` is at `stage`, and on the chain paid or not.
    pub(super) fn watch(&mut self, n: usize, stage: &str, is_paid: bool, sights: &Sights) {
        let bit = 1 << n;
        if stage == "done" && !is_paid {
            self.break_promise(Promise::Truthful);
        }
        // A Redis that has forgotten a cancel pays what it knows as due.
        if self.has_rolled_back {
            return;
        }
        if stage == "cancelled" {
            self.cancelled |= bit;
            sights.note(Sight::Cancelled);
        }
        if self.cancelled & bit != 0 && (is_paid || stage != "cancelled") {
            self.break_promise(Promise::Truthful);
        }
    }

    /// Redis knows only what it knew earlier.
    pub(super) fn rolled_back(&mut self, has_job: u8) {
        self.has_rolled_back = true;
        self.accepted = has_job;
        self.intents.clear();
        self.calls.clear();
        self.unanswered = None;
    }
}

/// Whether `nonce` has no other use than `what`; remembers it.
fn first(uses: &mut Vec<(u64, u64)>, nonce: u64, what: u64) -> bool {
    match uses.iter().find(|(known, _)| *known == nonce) {
        Some((_, known)) => *known == what,
        None => {
            uses.push((nonce, what));
            true
        }
    }
}

/// What an effect is held against.
pub(super) struct Around<'a> {
    pub(super) ledger: &'a Ledger,
    pub(super) payments: &'a [shared::ids::PaymentId],
    pub(super) sights: &'a Sights,
}
