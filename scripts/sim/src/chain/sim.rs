//! One canonical chain: blocks, the pool, and what may happen to them.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use alloy::primitives::{Address, Bytes};
use shared::ids::{BlockNumber, Hash32, Nonce};
use worker::chain::{Head, SendOutcome};

use super::block::{Block, Included, Making, genesis};
use super::genesis::Genesis;
use super::pool::{Gatekeeper, Pool, Rules};
use super::state::{Action, State};
use super::tx::{Recovery, Tx};

/// What never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Site {
    pub(super) chain_id: u64,
    /// Who simulated calls come from.
    pub(super) relayer: Address,
    pub(super) rules: Rules,
    pub(super) recovery: Recovery,
}

/// What becomes of the transactions of blocks that are reorganised away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// They are in the pool again.
    Return,
    /// The pool does not have them, but somebody may still put them into a block.
    Hide,
    /// Nobody has them any more.
    Lose,
}

/// A branch: each block on top of the one before. Two that end in the same block are the same.
#[derive(Debug, Clone)]
pub(super) struct Branch(pub(super) Arc<Vec<Arc<Block>>>);

impl PartialEq for Branch {
    fn eq(&self, other: &Self) -> bool {
        self.0.last() == other.0.last()
    }
}

impl Eq for Branch {}

impl Hash for Branch {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.last().hash(state);
    }
}

/// A chain in memory. Cheap to copy, to compare and to hash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SimChain {
    pub(super) site: Arc<Site>,
    /// Never empty.
    blocks: Branch,
    /// What the last reorganisation replaced, from the first block that is another.
    pub(super) abandoned: Option<Branch>,
    pub(super) pool: Pool,
    /// For the next block.
    queued: Vec<Action>,
    next_base_fee: Option<u128>,
    /// How often blocks were reorganised away.
    forks: u32,
}

impl SimChain {
    pub fn new(start: Genesis) -> Self {
        let Genesis { chain_id, relayer, rules, recovery, .. } = start;
        let Genesis { number, timestamp, gas_limit, base_fee, state, .. } = start;
        let first = genesis(number, timestamp, gas_limit, base_fee, state);
        Self {
            site: Arc::new(Site { chain_id, relayer, rules, recovery }),
            blocks: Branch(Arc::new(vec![Arc::new(first)])),
            abandoned: None,
            pool: Pool::default(),
            queued: Vec::new(),
            next_base_fee: None,
            forks: 0,
        }
    }

    /// The canonical blocks, oldest first.
    pub fn blocks(&self) -> &[Arc<Block>] {
        &self.blocks.0
    }

    /// The newest block.
    pub fn tip(&self) -> &Arc<Block> {
        &self.blocks()[self.blocks().len() - 1]
    }

    pub fn head(&self) -> Head {
        self.tip().head
    }

    /// The state after the newest block.
    pub fn state(&self) -> &State {
        &self.tip().state
    }

    pub fn block(&self, number: BlockNumber) -> Option<&Arc<Block>> {
        let first = self.blocks()[0].number();
        self.blocks().get(usize::try_from(number.get().checked_sub(first)?).ok()?)
    }

    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The account nonce after the newest block.
    pub fn nonce(&self, account: Address) -> Nonce {
        Nonce::new(self.state().account(account).nonce)
    }

    /// Where `tx` is in the canonical chain.
    pub fn included(&self, tx: Hash32) -> Option<(&Arc<Block>, &Included)> {
        self.blocks().iter().rev().find_map(|block| {
            block.txs.iter().find(|included| included.tx.hash == tx).map(|found| (block, found))
        })
    }

    /// Wei per gas that the next block asks for.
    pub fn pending_base_fee(&self) -> u128 {
        self.next_base_fee.unwrap_or_else(|| self.tip().next_base_fee())
    }

    /// The base fee of the next block; later ones follow from it.
    pub fn set_base_fee(&mut self, wei: u128) {
        self.next_base_fee = Some(wei);
    }

    /// Happens at the beginning of the next block.
    pub fn act(&mut self, action: Action) {
        self.queued.push(action);
    }

    /// Makes a block at `now` (unix seconds, not before its parent), of at most `limit` transactions: of each account in
    /// the order of its nonces, and the dearest tip first.
    pub fn mine(&mut self, now: u64, limit: usize) -> Head {
        let mut making = self.begin(now);
        let mut unfit: Vec<Arc<Tx>> = Vec::new();
        while making.block.txs.len() < limit {
            let base_fee = making.block.head.base_fee;
            let candidates = self
                .pool
                .waiting()
                .filter(|tx| making.block.state.account(tx.from).nonce == tx.nonce && !unfit.contains(tx));
            let Some(best) = candidates.max_by_key(|tx| (tx.tip(base_fee), tx.hash)) else { break };
            let best = best.clone();
            if making.admits(&best) && making.has_room_for(&best) {
                making.include(best);
            } else {
                unfit.push(best);
            }
        }
        if self.site.rules.drops_what_does_not_fit {
            for tx in unfit.iter().filter(|tx| !making.admits(tx)) {
                self.pool.forget(tx.hash);
            }
        }
        self.finish(making)
    }

    /// Makes a block of exactly those of `txs` that the protocol lets into it, in this order, whoever holds them.
    pub fn mine_these(&mut self, now: u64, txs: &[Hash32]) -> Head {
        let mut making = self.begin(now);
        for hash in txs {
            let found = self.pool.find(*hash).cloned();
            if let Some(tx) = found.filter(|tx| making.admits(tx) && making.has_room_for(tx)) {
                making.include(tx);
            }
        }
        self.finish(making)
    }

    fn begin(&mut self, now: u64) -> Making {
        let (actions, base_fee) = (std::mem::take(&mut self.queued), self.pending_base_fee());
        self.next_base_fee = None;
        let parent = self.tip();
        Making::new(parent, now.max(parent.head.timestamp), base_fee, actions)
    }

    fn finish(&mut self, making: Making) -> Head {
        let block = making.seal(self.forks);
        let head = block.head;
        let state = &block.state;
        self.pool.prune(|account| state.account(account).nonce);
        Arc::make_mut(&mut self.blocks.0).push(Arc::new(block));
        head
    }

    /// Takes the newest `depth` blocks away, but never the first one. Their actions happen again in the next block, but with
    /// [`Fate::Lose`].
    pub fn reorg(&mut self, depth: u64, fate: Fate) {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX).min(self.blocks().len() - 1);
        if depth == 0 {
            return;
        }
        let kept = self.blocks().len() - depth;
        let gone = Arc::make_mut(&mut self.blocks.0).split_off(kept);
        self.forks += 1;
        self.next_base_fee = None;
        if fate != Fate::Lose {
            let actions = gone.iter().flat_map(|block| block.actions.iter().cloned());
            self.queued = actions.chain(std::mem::take(&mut self.queued)).collect();
        }
        for included in gone.iter().flat_map(|block| &block.txs) {
            let (tx, rival) = (&included.tx, self.pool.at(included.tx.from, included.tx.nonce));
            match fate {
                Fate::Return if rival.is_none() => self.pool.insert(tx.clone()),
                Fate::Return | Fate::Hide => self.pool.hide(tx.clone()),
                Fate::Lose => {}
            }
        }
        self.abandoned = Some(Branch(Arc::new(gone)));
    }

    /// Nobody holds it any more. Whether anybody did.
    pub fn drop_tx(&mut self, tx: Hash32) -> bool {
        self.pool.forget(tx)
    }

    /// This pool does not hold it any more, but others may. Whether it did.
    pub fn hide_tx(&mut self, tx: Hash32) -> bool {
        let found = self.pool.waiting().find(|waiting| waiting.hash == tx).cloned();
        found.map(|tx| self.pool.hide(tx)).is_some()
    }

    /// Hands signed bytes to the pool.
    pub fn send(&mut self, raw: &Bytes) -> SendOutcome {
        let outcome = self.would_say(raw, self.tip());
        if let (SendOutcome::Accepted, Ok(tx)) = (&outcome.0, outcome.1) {
            self.pool.insert(Arc::new(tx));
        }
        outcome.0
    }

    /// How a node whose newest block is `tip` answers `raw`.
    pub(super) fn would_say(&self, raw: &Bytes, tip: &Block) -> (SendOutcome, Result<Tx, &'static str>) {
        let tx = match Tx::decode(raw, self.site.recovery) {
            Ok(tx) => tx,
            Err(reason) => return (SendOutcome::Refused(reason.to_owned()), Err(reason)),
        };
        let keeper = Gatekeeper {
            rules: self.site.rules,
            chain_id: self.site.chain_id,
            block_gas: tip.head.gas_limit,
            base_fee: self.pending_base_fee(),
            account: tip.state.account(tx.from),
        };
        (self.pool.admit(&tx, &keeper), Ok(tx))
    }
}
