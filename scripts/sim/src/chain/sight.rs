//! What one endpoint shows of the chain.

use std::sync::Arc;

use alloy::primitives::{Address, U256};
use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::money::{Sge, Usdc};
use shared::tx::Inclusion;
use worker::chain::{AccountNonces, ChainError, ChainEvent, Conditions, Head, ReceiptView, TokenRoom};

use super::block::{Block, Included};
use super::contracts::{Contract, Window};
use super::sim::SimChain;
use super::state::State;
use super::tokens::Coin;
use super::view::{Eye, Mood, PoolSight, Records};

pub(super) struct Sight<'a> {
    pub(super) chain: &'a SimChain,
    pub(super) eye: &'a Eye,
    /// Blocks of the abandoned branch, where it still follows that.
    abandoned: &'a [Arc<Block>],
}

impl<'a> Sight<'a> {
    /// An error where it answers nothing. `method` and `about` are for the error.
    pub(super) fn open(
        chain: &'a SimChain,
        eye: &'a Eye,
        method: &'static str,
        about: &str,
    ) -> Result<Self, ChainError> {
        match eye.fault {
            Some(fault) => Err(fault.error(&eye.name, method, about)),
            None => Ok(Self::of(chain, eye)),
        }
    }

    pub(super) fn of(chain: &'a SimChain, eye: &'a Eye) -> Self {
        let abandoned = chain.abandoned.as_ref().filter(|_| eye.on_abandoned_branch);
        let abandoned = abandoned.map_or(&[][..], |branch| &branch.0[..]);
        // A later reorganisation may have taken away what it stands on.
        let stands = abandoned.first().is_some_and(|first| {
            let below = first.head.number.below(1).and_then(|number| chain.block(number));
            below.is_some_and(|below| below.head.hash == first.head.parent)
        });
        Self { chain, eye, abandoned: if stands { abandoned } else { &[] } }
    }

    /// The blocks that it takes for canonical, oldest first, in two parts.
    fn branch(&self) -> (&'a [Arc<Block>], &'a [Arc<Block>]) {
        let canonical = self.chain.blocks();
        let kept = match self.abandoned.first() {
            Some(first) => usize::try_from(first.number() - canonical[0].number()).unwrap_or(usize::MAX),
            None => canonical.len(),
        };
        let all = kept + self.abandoned.len();
        let lag = usize::try_from(self.eye.lag).unwrap_or(usize::MAX);
        let shown = all.saturating_sub(lag).max(1);
        (&canonical[..kept.min(shown)], &self.abandoned[..shown.saturating_sub(kept)])
    }

    /// Newest first.
    fn newest_first(&self) -> impl Iterator<Item = &'a Arc<Block>> + use<'a> {
        let (old, new) = self.branch();
        new.iter().rev().chain(old.iter().rev())
    }

    /// Its newest block.
    pub(super) fn tip(&self) -> &'a Arc<Block> {
        let (old, new) = self.branch();
        // The first block is always shown.
        new.last().or(old.last()).unwrap_or(&self.chain.blocks()[0])
    }

    fn at(&self, number: BlockNumber) -> Option<&'a Arc<Block>> {
        let (old, new) = self.branch();
        let offset = usize::try_from(number.get().checked_sub(old.first()?.number())?).ok()?;
        old.get(offset).or_else(|| new.get(offset - old.len()))
    }

    pub(super) fn unknown(&self, block: impl ToString) -> ChainError {
        ChainError::UnknownBlock { endpoint: self.eye.name.to_string(), block: block.to_string() }
    }

    pub(super) fn block_at(&self, number: BlockNumber) -> Result<Head, ChainError> {
        self.at(number).map(|block| block.head).ok_or_else(|| self.unknown(number))
    }

    /// The block of this hash, if it takes it for canonical.
    pub(super) fn named(&self, hash: Hash32) -> Result<&'a Arc<Block>, ChainError> {
        self.newest_first().find(|block| block.head.hash == hash).ok_or_else(|| self.unknown(hash))
    }

    fn skewed(&self, nonce: u64) -> Nonce {
        Nonce::new(nonce.saturating_add_signed(self.eye.nonce_skew.into()))
    }

    pub(super) fn nonce_at(&self, account: Address, at: Hash32) -> Result<Nonce, ChainError> {
        Ok(self.skewed(self.named(at)?.state.account(account).nonce))
    }

    pub(super) fn nonce_latest(&self, account: Address) -> Nonce {
        self.skewed(self.tip().state.account(account).nonce)
    }

    pub(super) fn nonces(&self, account: Address) -> AccountNonces {
        let (head, latest) = (self.tip().head.number, self.nonce_latest(account));
        let whole = self.chain.pool().pending(account, self.tip().state.account(account).nonce);
        let pending = match self.eye.pool {
            PoolSight::Whole => whole,
            PoolSight::Empty => latest.get(),
            PoolSight::Fewer(by) => whole.saturating_sub(by.into()),
            PoolSight::More(by) => whole.saturating_add(by.into()),
        };
        AccountNonces { head, latest, pending: Nonce::new(pending).max(latest) }
    }

    pub(super) fn has_roles(&self, account: Address) -> (bool, bool) {
        let state = &self.tip().state;
        let of = |contract| state.relayers(contract).contains(&account);
        (of(Contract::Registry), of(Contract::Payout))
    }

    pub(super) fn paid_at(
        &self,
        payments: &[PaymentId],
        at: Hash32,
    ) -> Result<Vec<Option<BlockNumber>>, ChainError> {
        let block = self.named(at)?;
        let records = &block.state.payout.paid_at;
        let of = |payment: &PaymentId| match self.eye.records {
            Records::Honest => records.get(&payment.hash()).copied().map(BlockNumber::new),
            Records::Denies => None,
            Records::Invents => Some(block.head.number),
        };
        Ok(payments.iter().map(of).collect())
    }

    pub(super) fn referrers(
        &self,
        children: &[Wallet],
        at: Hash32,
    ) -> Result<Vec<Option<Wallet>>, ChainError> {
        let registry = &self.named(at)?.state.registry;
        let of = |child: &Wallet| match self.eye.records {
            Records::Honest => {
                registry.referrer_of(child.address()).and_then(|known| Wallet::try_from(known).ok())
            }
            Records::Denies => None,
            // Nobody is his own referrer.
            Records::Invents => Some(*child),
        };
        Ok(children.iter().map(of).collect())
    }

    pub(super) fn conditions(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError> {
        let honest = conditions(self.named(at)?, signer);
        Ok(match self.eye.mood {
            Mood::Honest => honest,
            Mood::Refuses => Conditions {
                registry_paused: true,
                payout_paused: true,
                usdc: TokenRoom { funds: Usdc::ZERO, window_left: Usdc::ZERO, ..honest.usdc },
                sge: TokenRoom { funds: Sge::ZERO, window_left: Sge::ZERO, ..honest.sge },
                signer_balance: 0,
            },
            Mood::Approves => {
                let (usdc, sge) = (Usdc::from_base_units(u128::MAX), Sge::from_base_units(u128::MAX));
                Conditions {
                    registry_paused: false,
                    payout_paused: false,
                    usdc: TokenRoom { funds: usdc, window_left: usdc, cap: usdc, ..honest.usdc },
                    sge: TokenRoom { funds: sge, window_left: sge, cap: sge, ..honest.sge },
                    signer_balance: u128::MAX,
                }
            }
        })
    }

    /// The events of `from..=to`, and as far as it has blocks.
    pub(super) fn walk(
        &self,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Result<(BlockNumber, Vec<ChainEvent>), ChainError> {
        let newest = self.tip().head.number;
        if newest < from {
            return Err(self.unknown(from));
        }
        let (upto, (old, new)) = (to.min(newest), self.branch());
        let shown = |block: &&Arc<Block>| (from..=upto).contains(&block.head.number);
        let blocks = old.iter().chain(new).filter(shown).filter(|_| !self.eye.hides_logs);
        Ok((upto, blocks.flat_map(|block| block.events().cloned()).collect()))
    }

    pub(super) fn events_in(&self, hash: Hash32) -> Result<Vec<ChainEvent>, ChainError> {
        let block = self.named(hash)?;
        Ok(if self.eye.hides_logs { Vec::new() } else { block.events().cloned().collect() })
    }

    pub(super) fn receipt(&self, tx: Hash32) -> Option<ReceiptView> {
        if self.eye.hides_receipts {
            return None;
        }
        self.newest_first().find_map(|block| {
            let found = block.txs.iter().find(|included| included.tx.hash == tx)?;
            Some(self.view_of(block, found))
        })
    }

    fn view_of(&self, block: &Block, included: &Included) -> ReceiptView {
        ReceiptView {
            inclusion: Inclusion { hash: included.tx.hash, block: block.head.number },
            block_hash: block.head.hash,
            to: included.tx.to,
            succeeded: included.succeeded,
            gas_used: included.gas_used,
            effective_gas_price: included.price,
            events: if self.eye.hides_logs { Vec::new() } else { included.events.clone() },
        }
    }
}

/// The contracts' conditions after `block`, as of its time.
pub(super) fn conditions(block: &Block, signer: Address) -> Conditions {
    let (state, now) = (&block.state, block.head.timestamp);
    let balance: u128 = state.account(signer).balance.saturating_to();
    Conditions {
        registry_paused: state.registry.paused,
        payout_paused: state.payout.paused,
        usdc: room(state, Coin::Usdc, now, Usdc::from_base_units),
        sge: room(state, Coin::Sge, now, Sge::from_base_units),
        signer_balance: balance,
    }
}

fn room<T>(state: &State, coin: Coin, now: u64, unit: fn(u128) -> T) -> TokenRoom<T> {
    let limits = state.payout.limits(coin);
    let window = &limits.window;
    // As the relayer reads them: what is above 2^128 stands for "no bound".
    let unit = |value: U256| unit(value.saturating_to());
    let limit = if window.limit == Window::OFF { U256::MAX } else { window.limit };
    TokenRoom {
        funds: unit(state.funds(coin)),
        window_left: unit(window.left(now)),
        cap: unit(limits.cap),
        window_limit: unit(limit),
        window_seconds: window.seconds,
    }
}
