//! The chain as a value: what happens to it is a function from one to the next, and remembered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use alloy::primitives::Bytes;
use shared::ids::{BlockNumber, PaymentId};
use worker::chain::{ChainError, ChainEventKind, SendOutcome};

use super::action::{Fill, Glance};
use super::effect::hash_of;
use super::ghosts::decode;
use super::settings::{CONFIRMATIONS, SIGNER};
use crate::chain::{Answer, Block, Eye, Fate, Fault, PoolSight, Question, Records, SimChain, View};

const KEPT: usize = 100_000;
/// How long a calm is: as long as the product's patience with holes and with receipts that nobody has.
const CALM: u64 = 16;
/// Seconds between blocks.
const SPACING: u64 = 12;

/// The chain of one moment.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) chain: SimChain,
    pub(super) id: u64,
    /// The payments that its newest state calls paid, as bits.
    pub(super) paid: u8,
    /// A payment was made twice.
    pub(super) paid_twice: bool,
}

/// Something that happens to the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    Mine(Fill),
    Calm,
    Drop,
    Reorg { hidden: bool },
}

type Reply = Result<Answer, ChainError>;
type Sent = (Reply, Arc<Ledger>);
type Turned = Option<Arc<Ledger>>;
/// A ledger, a question or transaction, and how it was looked at.
type Asked = (u64, u64, Glance);

thread_local! {
    static TURNS: RefCell<HashMap<(u64, Turn), Turned>> = RefCell::default();
    static SENDS: RefCell<HashMap<Asked, Sent>> = RefCell::default();
    static ANSWERS: RefCell<HashMap<Asked, Reply>> = RefCell::default();
}

fn keep<K: std::hash::Hash + Eq, V>(kept: &mut HashMap<K, V>, key: K, value: V) {
    if kept.len() >= KEPT {
        kept.clear();
    }
    kept.insert(key, value);
}

impl Ledger {
    pub(super) fn new(chain: SimChain, payments: &[PaymentId]) -> Arc<Self> {
        let is_paid = |payment: &PaymentId| chain.state().payout.paid_at.contains_key(&payment.hash());
        let paid = bits(payments.iter().map(is_paid));
        let times = |payment: &PaymentId| {
            let events = chain.blocks().iter().flat_map(|block| block.events());
            let is_it = |event: &&worker::chain::ChainEvent| matches!(&event.kind, ChainEventKind::Paid { payment: paid, .. } if paid == payment);
            events.filter(is_it).count()
        };
        let paid_twice = payments.iter().any(|payment| times(payment) > 1);
        // A block's hash tells what happened in it, not by which rules: what a mutant's contract pays is another ledger.
        let id = hash_of(&(&chain, chain.state().payout.pays_again));
        Arc::new(Self { chain, id, paid, paid_twice })
    }

    /// The block that is as deep as final blocks are.
    pub(super) fn deep(&self) -> Option<&Arc<Block>> {
        let number = self.chain.head().number.get().checked_sub(CONFIRMATIONS)?;
        self.chain.block(BlockNumber::new(number))
    }

    /// Whether `payment` is paid in a final block.
    pub(super) fn is_paid_deep(&self, payment: PaymentId) -> bool {
        self.deep().is_some_and(|block| block.state.payout.paid_at.contains_key(&payment.hash()))
    }

    /// The signer's nonce after the newest final block.
    pub(super) fn deep_nonce(&self) -> u64 {
        self.deep().map_or(0, |block| block.state.account(SIGNER).nonce)
    }

    pub(super) fn ask(&self, glance: Glance, question: &Question, hash: u64) -> Reply {
        let at = (self.id, hash, glance);
        if let Some(known) = ANSWERS.with_borrow(|kept| kept.get(&at).cloned()) {
            return known;
        }
        let reply = self.chain.ask(&view(glance), question);
        ANSWERS.with_borrow_mut(|kept| keep(kept, at, reply.clone()));
        reply
    }

    pub(super) fn send(
        &self,
        glance: Glance,
        raw: &Bytes,
        hash: u64,
        payments: &[PaymentId],
    ) -> (Reply, Arc<Self>) {
        let at = (self.id, hash, glance);
        if let Some(known) = SENDS.with_borrow(|kept| kept.get(&at).cloned()) {
            return known;
        }
        let mut chain = self.chain.clone();
        let reply = chain.broadcast(&view(glance), raw).map(Answer::Broadcast);
        // Who refuses may have passed it on all the same: whoever makes blocks has it, and no pool shows it.
        if let (Glance::Refusing, Some(sent)) = (glance, decode(raw)) {
            chain.send(raw);
            chain.hide_tx(sent.hash);
        }
        let sent = (reply, Self::new(chain, payments));
        SENDS.with_borrow_mut(|kept| keep(kept, at, sent.clone()));
        sent
    }

    /// The chain after `turn`, where that changes anything.
    pub(super) fn after(&self, turn: Turn, payments: &[PaymentId]) -> Option<Arc<Self>> {
        if let Some(known) = TURNS.with_borrow(|kept| kept.get(&(self.id, turn)).cloned()) {
            return known;
        }
        let mut chain = self.chain.clone();
        let next = turn.take(&mut chain).then(|| Self::new(chain, payments));
        TURNS.with_borrow_mut(|kept| keep(kept, (self.id, turn), next.clone()));
        next
    }
}

impl Turn {
    fn take(self, chain: &mut SimChain) -> bool {
        let now = chain.head().timestamp + SPACING;
        let lowest = chain.nonce(SIGNER).get();
        match self {
            Self::Mine(Fill::Nothing) => _ = chain.mine_these(now, &[]),
            Self::Mine(Fill::Pool) => {
                if !chain.pool().waiting().any(|tx| tx.nonce == lowest) {
                    return false;
                }
                chain.mine(now, usize::MAX);
            }
            Self::Mine(Fill::Other) => {
                let waiting: Vec<_> = chain.pool().waiting().map(|tx| tx.hash).collect();
                let other = chain.pool().known().find(|tx| tx.nonce == lowest && !waiting.contains(&tx.hash));
                let Some(other) = other.map(|tx| tx.hash) else { return false };
                chain.mine_these(now, &[other]);
                return chain.tip().txs.len() == 1;
            }
            Self::Calm => (0..CALM).for_each(|n| _ = chain.mine_these(now + n * SPACING, &[])),
            Self::Drop => {
                let Some(first) = chain.pool().waiting().next().map(|tx| tx.hash) else { return false };
                return chain.hide_tx(first);
            }
            Self::Reorg { hidden } => {
                // An empty block that is replaced by none is nothing but an earlier moment.
                if chain.tip().txs.is_empty() {
                    return false;
                }
                chain.reorg(1, if hidden { Fate::Hide } else { Fate::Return });
            }
        }
        true
    }
}

fn bits(of: impl Iterator<Item = bool>) -> u8 {
    of.enumerate().fold(0, |bits, (at, is)| bits | (u8::from(is) << at))
}

/// Two endpoints, and what is wrong with them.
fn view(glance: Glance) -> View {
    let (one, mut two) = (Eye::named("one"), Eye::named("two"));
    match glance {
        Glance::Clear => {}
        Glance::Behind => return View::of([one.behind(1), two.behind(1)]),
        Glance::OneBehind => two = two.behind(1),
        Glance::OneForgetful => {
            (two.hides_receipts, two.hides_logs, two.pool) = (true, true, PoolSight::Empty);
        }
        Glance::OneAbandoned => two.on_abandoned_branch = true,
        Glance::OneDenies => (two.records, two.nonce_skew) = (Records::Denies, -1),
        Glance::OneInvents => (two.records, two.nonce_skew) = (Records::Invents, 1),
        Glance::Silent => return View::of([one.failing(Fault::Timeout), two.failing(Fault::Timeout)]),
        Glance::Refusing => {
            let refuses = Some(SendOutcome::Refused("this account is not served".to_owned()));
            let refusing = |eye: Eye| Eye { refuses: refuses.clone(), ..eye };
            return View::of([refusing(one), refusing(two)]);
        }
    }
    View::of([one, two])
}
