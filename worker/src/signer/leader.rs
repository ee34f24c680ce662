//! The leader's loop and what it keeps in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::clock::Monotonic;
use shared::ids::{BlockNumber, Hash32, Nonce};
use shared::job::Payload;
use shared::money::Commission;
use shared::store::{Brief, Fence};
use shared::tx::TxRecord;
use tokio::sync::Notify;

use super::fees::Tips;
use super::holes::Holes;
use super::lease_keeper::LeaseKeeper;
use super::round_error::RoundError;
use super::send::Refusals;
use crate::chain::{Conditions, Gate, Head};
use crate::context::Context;
use crate::gates;

/// How long the leader rests when nothing happens.
const TICK: Duration = Duration::from_secs(1);
const AFTER_ERROR: Duration = Duration::from_millis(250);

/// A head that did not change for so long is asked for: it may be the node that stands still.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// How long a round in progress may take once shutdown came. What it leaves undone is the next leader's, from the journal.
const WIND_DOWN: Duration = Duration::from_millis(150);

/// Why a term of leadership ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Shutdown,
    /// Another holds the lease, or nobody, or it cannot be trusted any more.
    LeaseLost,
    /// Redis answers and the chain does not: another relayer may do better.
    ChainAway,
}

/// What a pass over everything the leader does came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    Whole,
    /// Cut short by an error; to be made again soon.
    CutShort,
    Ended(Ending),
}

/// An open nonce, as the journal holds it, with what only matters while it is open.
#[derive(Debug, Clone, Hash)]
pub(super) struct OpenTx {
    pub(super) record: TxRecord,
    pub(super) jobs: Vec<Brief>,
    /// The head at which a node last said that it has this nonce.
    pub(super) sent_at: Option<BlockNumber>,
    pub(super) wants: Wants,
    /// The deep block since which it is consumed without a receipt.
    pub(super) unseen_since: Option<BlockNumber>,
}

/// What the nodes' answers to the newest attempt ask for.
#[derive(Debug, Clone, Copy, Default, Hash)]
pub(super) struct Wants {
    /// Higher fees.
    pub(super) bump: bool,
    /// And a higher gas limit.
    pub(super) more_gas: bool,
    /// No node takes it: the nonce must be freed.
    pub(super) cancel: bool,
    /// More gas money, before any node takes it.
    pub(super) money: bool,
    pub(super) refusals: Refusals,
}

impl OpenTx {
    pub(super) fn blocks_since_sent(&self, head: &Head) -> u64 {
        self.sent_at.map_or(u64::MAX, |sent| head.number.get().saturating_sub(sent.get()))
    }

    /// What its jobs would be paid.
    fn commission(&self) -> Commission {
        let mut sum = Commission::default();
        for job in &self.jobs {
            if let Payload::Payout(payout) = &job.payload {
                sum.usdc = sum.usdc.checked_add(payout.commission.usdc).unwrap_or(sum.usdc);
                sum.sge = sum.sge.checked_add(payout.commission.sge).unwrap_or(sum.sge);
            }
        }
        sum
    }
}

/// One term of leadership. It awaits nothing but answers of Redis, of the chain and of the key: whoever drives it decides
/// when each comes, and a simulation or a checker does so where production has a network.
pub struct Leader {
    pub(super) ctx: Context,
    pub(super) fence: Fence,
    pub(super) keeper: LeaseKeeper,
    pub(super) next: Nonce,
    pub(super) holes: Holes,
    pub(super) open: BTreeMap<Nonce, OpenTx>,
    /// Open by the journal's index at the takeover, and with no record that can be read.
    pub(super) strays: BTreeSet<Nonce>,
    /// The contracts' conditions, and the block they were read at.
    pub(super) conditions: Option<(Head, Conditions)>,
    /// Gates of the contracts that are closed: the level they closed at, and the block.
    pub(super) closed: BTreeMap<Gate, (u128, u64)>,
    pub(super) last_head: Option<Head>,
    /// The block up to which Redis was told what the contracts did.
    pub(super) checkpoint: Option<BlockNumber>,
    /// The newest block that was final, and its hash.
    pub(super) last_final: Option<(BlockNumber, Hash32)>,
    /// Up to which block all that was learned from the chain alone was held against a final one.
    pub(super) compared: Option<BlockNumber>,
    /// The block that counted as final in a replay, while it is above that one.
    pub(super) last_replayed: Option<(BlockNumber, Hash32)>,
    /// When the chain last answered, as far as this leader asked.
    pub(super) chain_seen: Monotonic,
    pub(super) tips: Tips,
    /// Memory is not, or may not be, what the journal holds.
    pub(super) must_take_over: bool,
    /// Since when passes have been failing for want of the chain, without one that did not.
    pub(super) away_since: Option<Monotonic>,
}

impl Leader {
    pub fn new(ctx: Context, fence: Fence, keeper: LeaseKeeper) -> Self {
        let chain_seen = ctx.clock.monotonic();
        Self {
            ctx,
            fence,
            keeper,
            next: Nonce::new(0),
            holes: Holes::default(),
            open: BTreeMap::new(),
            strays: BTreeSet::new(),
            conditions: None,
            closed: BTreeMap::new(),
            last_head: None,
            checkpoint: None,
            last_final: None,
            compared: None,
            last_replayed: None,
            chain_seen,
            tips: Tips::USUAL,
            must_take_over: true,
            away_since: None,
        }
    }

    /// Leads until shutdown, until the lease turns out not to be ours, or until the chain was away for too long.
    pub(super) async fn lead(&mut self) -> Ending {
        let ready = Notify::new();
        let (watching, shutdown) = (self.ctx.clone(), self.ctx.shutdown.clone());
        let wound_down = async {
            shutdown.cancelled().await;
            tokio::time::sleep(WIND_DOWN).await;
        };
        tokio::select! {
            biased;
            () = wound_down => Ending::Shutdown,
            () = watch_ready(watching, &ready) => Ending::Shutdown,
            ending = self.rounds(&ready) => ending,
        }
    }

    async fn rounds(&mut self, ready: &Notify) -> Ending {
        let mut heads = self.ctx.heads.clone();
        while !self.ctx.shutdown.is_cancelled() {
            match self.pass().await {
                Passed::Whole => {}
                Passed::Ended(ending) => return ending,
                Passed::CutShort => {
                    self.ctx.pause(AFTER_ERROR).await;
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = self.ctx.shutdown.cancelled() => {}
                changed = heads.changed() => if changed.is_err() { return Ending::Shutdown },
                () = ready.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
        Ending::Shutdown
    }

    /// Takes over where that is needed, then goes once through everything there is to do.
    pub async fn pass(&mut self) -> Passed {
        let round = async {
            if self.must_take_over {
                self.take_over().await?;
                // Here and not behind the round, which may ask for the next takeover (`take_back`) and end well.
                self.must_take_over = false;
            }
            self.round().await
        };
        let Err(error) = round.await else {
            self.away_since = None;
            return Passed::Whole;
        };
        if matches!(error, RoundError::Fenced) {
            tracing::warn!(lease.term = %self.keeper.term(), "a write was refused by the fence");
            return Passed::Ended(Ending::LeaseLost);
        }
        // A write whose reply was lost may have happened: only the journal knows, so memory is rebuilt from it.
        self.must_take_over |= !matches!(error, RoundError::Chain(_));
        self.report(&error);
        if error.is_of_the_chain() {
            let first = *self.away_since.get_or_insert(self.ctx.clock.monotonic());
            if self.chain_is_away(first) {
                return Passed::Ended(Ending::ChainAway);
            }
        }
        Passed::CutShort
    }

    /// Whether the chain has given no answer since `first`, for as long as a leader may keep the lease without it: two of
    /// its lives.
    fn chain_is_away(&self, first: Monotonic) -> bool {
        first.until(self.ctx.clock.monotonic()) > self.ctx.config.lease.ttl * 2
    }

    /// Asks chain and Redis where no head came for a while: a node that hangs sends nothing, not even an error, and a
    /// Redis that was restarted takes nothing before its sync.
    async fn make_sure_of_both(&mut self) -> Result<(), RoundError> {
        if self.chain_seen.until(self.ctx.clock.monotonic()) > ASK_AFTER {
            self.ensure_synced().await?;
            self.ctx.chain.head().await?;
            self.chain_seen = self.ctx.clock.monotonic();
            // Where blocks are made for transactions only, the parked ones would wait for a block, and it for them.
            let closed = self.ctx.store.closed_gates().await?;
            if closed.iter().any(|gate| gate.gate == gates::CHAIN) {
                self.ctx.store.open_gate(gates::CHAIN, "the chain answers", &self.ctx.worker).await?;
            }
        }
        Ok(())
    }

    async fn ensure_synced(&self) -> Result<(), RoundError> {
        match super::sync::ensure(&self.ctx, &self.fence, false).await? {
            true => Err(RoundError::Outdated("Redis is another process than before".into())),
            false => Ok(()),
        }
    }

    fn report(&self, error: &RoundError) {
        match error {
            error if error.is_of_the_chain() => _ = self.ctx.metrics.rpc_errors.inc(),
            RoundError::Store(_) => _ = self.ctx.metrics.redis_errors.inc(),
            _ => {}
        }
        tracing::warn!(%error, "the leader's round was cut short; beginning again");
    }

    /// Looks at the chain if it moved, then signs what is ready. Money is read at each block, also when there is nothing
    /// to sign: operators watch it.
    async fn round(&mut self) -> Result<(), RoundError> {
        let head = self.ctx.head().await?;
        if self.last_head.is_none_or(|last| last.hash != head.hash) {
            self.ensure_synced().await?;
            self.on_head(head).await?;
            self.last_head = Some(head);
            self.chain_seen = self.ctx.clock.monotonic();
        } else {
            self.make_sure_of_both().await?;
        }
        if self.fill_holes(head).await? {
            self.sign_ready(head).await?;
        }
        self.conditions_at(head).await.map(drop)
    }

    /// Whether a signature may be made now; asked before each one.
    pub(super) fn may_sign(&self) -> Result<(), RoundError> {
        if self.keeper.is_trusted(self.ctx.clock.monotonic()) { Ok(()) } else { Err(RoundError::Fenced) }
    }

    /// What open transactions will still spend beyond what the conditions, read at `at`, show.
    pub(super) fn reserved(&self, at: BlockNumber) -> Commission {
        let mut sum = Commission::default();
        for tx in self.open.values() {
            if tx.record.inclusion.is_some_and(|seen| seen.block <= at) {
                continue;
            }
            let part = tx.commission();
            sum.usdc = sum.usdc.checked_add(part.usdc).unwrap_or(sum.usdc);
            sum.sge = sum.sge.checked_add(part.sge).unwrap_or(sum.sge);
        }
        sum
    }

    /// Closes a gate of the contracts, as the newest conditions show it.
    pub(super) async fn close_gate(&mut self, gate: Gate, reason: &str) -> Result<(), RoundError> {
        let (name, worker) = (gate.name(), &self.ctx.worker);
        let closed = match &self.conditions {
            Some((head, _)) => self.ctx.store.close_gate_at(name, reason, worker, head.number).await?,
            None => self.ctx.store.close_gate(name, reason, worker).await?,
        };
        if closed {
            tracing::warn!(gate = name, reason, "gate closed");
        }
        Ok(())
    }

    /// Every stored effect of ours says whether it was fenced off; the first that was ends the term.
    pub(super) fn fenced<T>(answer: Option<T>) -> Result<T, RoundError> {
        answer.ok_or(RoundError::Fenced)
    }
}

/// Tells when something new is ready, on a connection of its own that is read to the end of each wait.
async fn watch_ready(ctx: Context, ready: &Notify) {
    loop {
        match ctx.store.watch_ready().await {
            Ok(mut watch) => loop {
                match watch.wait(TICK).await {
                    Ok(true) => ready.notify_one(),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%error, "watching for ready jobs failed; connecting again");
                        break;
                    }
                }
            },
            Err(error) => tracing::warn!(%error, "cannot watch for ready jobs"),
        }
        ctx.metrics.redis_errors.inc();
        tokio::time::sleep(AFTER_ERROR).await;
    }
}
