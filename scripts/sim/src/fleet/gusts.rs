//! How each thing goes wrong, and how it is right again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alloy::consensus::{SignableTransaction as _, TxEip1559};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::primitives::{Bytes, TxKind, U256};
use tokio::time::sleep;
use worker::chain::SendOutcome;
use worker::keys::SignerKey as _;

use super::merchant::referrer;
use super::relayer::Relayer;
use super::settings::{BLOCK, SIGNER};
use super::weather::Gust;
use super::world::World;
use crate::chain::{
    Action, CHAIN_ID, CheapKey, Coin, Contract, Eye, Fate, Fault, Mood, PoolSight, Records, SGE, USDC, View,
};
use crate::redis::SimRedis;

const GWEI: u128 = 1_000_000_000;
/// How long a gust waits for what it would take away.
const PATIENCE: Duration = Duration::from_secs(4);

/// What gusts act on.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) world: Arc<World>,
    pub(super) relayers: Arc<Mutex<Vec<Relayer>>>,
}

impl Stage {
    /// Makes blocks until dropped.
    pub(super) async fn mine(self) {
        loop {
            sleep(BLOCK).await;
            let now = self.world.chain_seconds();
            self.world.state().chain.mine(now, usize::MAX);
        }
    }

    fn relayer(&self, who: usize, act: impl FnOnce(&mut Relayer)) {
        act(&mut self.relayers.lock().unwrap_or_else(PoisonError::into_inner)[who]);
    }

    /// Lets it go wrong, and right again where it lasts.
    pub(super) async fn blow(self, at: Duration, gust: Gust) {
        let old = match gust {
            Gust::Rollback { by } => {
                sleep(at.saturating_sub(by)).await;
                let redis = self.world.state().redis.clone();
                sleep(by.min(at)).await;
                Some(redis)
            }
            _ => {
                sleep(at).await;
                None
            }
        };
        if gust.is_sure() {
            self.world.state().note(gust.name());
        }
        match gust {
            Gust::Kill { who } => self.world.state().ways[who].killed.notify_one(),
            Gust::Freeze { who, lasts, suspended } => {
                self.relayer(who, |relayer| relayer.freeze(suspended));
                sleep(lasts).await;
                self.relayer(who, Relayer::thaw);
            }
            Gust::CutRedis { who, lasts } => {
                self.world.state().ways[who].redis_cut = true;
                sleep(lasts).await;
                self.world.state().ways[who].redis_cut = false;
            }
            Gust::CutChain { who, lasts } => {
                self.world.state().ways[who].chain_cut = true;
                sleep(lasts).await;
                self.world.state().ways[who].chain_cut = false;
            }
            Gust::BadView { who, lasts, kind } => {
                self.world.state().ways[who].view = bad_view(kind);
                sleep(lasts).await;
                self.world.state().ways[who].view = View::honest_pair();
            }
            Gust::RedisDown { lasts } => {
                self.world.state().redis_down = true;
                sleep(lasts).await;
                self.world.restart_redis(None);
                self.world.state().redis_down = false;
            }
            Gust::Rollback { .. } | Gust::Emptied => self.lose(old.unwrap_or_default()).await,
            Gust::Full { lasts } => {
                self.world.state().redis.set_full(true);
                sleep(lasts).await;
                self.world.state().redis.set_full(false);
            }
            Gust::Clock { millis } => self.world.shift_clock(millis),
            other => self.blow_on_chain(other).await,
        }
    }

    /// Redis is another process that knows less.
    async fn lose(&self, mut data: SimRedis) {
        // What it knew was written; whether it was full then is no knowledge.
        data.set_full(false);
        {
            let mut state = self.world.state();
            let state = &mut *state;
            state.ghosts.remember_journal(&mut state.redis, self.world.now());
            state.redis_down = true;
            state.memory_was_lost = true;
        }
        sleep(Duration::from_millis(150)).await;
        self.world.restart_redis(Some(data));
        self.world.state().redis_down = false;
    }

    /// Tries again for a while, until it finds something to take away.
    async fn once_there_is(&self, gust: Gust, take: impl Fn(&World) -> bool) {
        let deadline = self.world.elapsed() + PATIENCE;
        while self.world.elapsed() < deadline {
            if take(&self.world) {
                return self.world.state().note(gust.name());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn blow_on_chain(&self, gust: Gust) {
        match gust {
            Gust::Reorg { depth, txs_are_lost } => self.reorganise(depth, txs_are_lost),
            Gust::Evict => self.once_there_is(gust, evict).await,
            Gust::Hand => self.once_there_is(gust, World::take_entry).await,
            Gust::BaseFee { lasts } => {
                self.world.state().chain.set_base_fee(900 * GWEI);
                sleep(lasts).await;
                self.world.state().chain.set_base_fee(GWEI);
            }
            Gust::Paused { lasts, registry } => {
                let contract = if registry { Contract::Registry } else { Contract::Payout };
                self.act_for(Action::Pause(contract), lasts, Action::Unpause(contract)).await;
            }
            Gust::NoFloat { lasts } => {
                let (payout, amount) = {
                    let state = self.world.state();
                    let now = state.chain.state();
                    (now.contracts.payout, now.usdc.balance(now.contracts.payout))
                };
                let (coin, to) = (Coin::Usdc, SIGNER);
                let back = Action::Mint { coin, to: payout, amount: U256::from(1_000_000 * USDC) };
                self.act_for(Action::Withdraw { coin, to, amount }, lasts, back).await;
            }
            Gust::NoWindow { lasts } => {
                let window = |limit: u128| Action::SetWindow {
                    coin: Coin::Usdc,
                    limit: U256::from(limit),
                    seconds: 3_600,
                };
                self.act_for(window(60 * USDC), lasts, window(1_000_000 * USDC)).await;
            }
            Gust::NoGasMoney { lasts } => {
                let balance = |wei: u128| Action::SetBalance { account: SIGNER, wei: U256::from(wei) };
                self.act_for(balance(1), lasts, balance(10_000 * SGE)).await;
            }
            Gust::Blocklist { referrer: n } => {
                let account = referrer(n).address();
                self.world.state().blocklisted.insert(referrer(n));
                self.world.state().chain.act(Action::SetBlocklisted { account, blocked: true });
            }
            Gust::Stranger => {
                let Some(raw) = self.strange_transaction().await else { return };
                let mut state = self.world.state();
                if state.chain.send(&raw) == SendOutcome::Accepted {
                    state.note(gust.name());
                }
            }
            _ => {}
        }
    }

    async fn act_for(&self, action: Action, lasts: Duration, back: Action) {
        self.world.state().chain.act(action);
        sleep(lasts).await;
        self.world.state().chain.act(back);
    }

    /// The owner makes everything right that a reorganisation may have undone.
    pub(super) fn make_good(&self) {
        let chain = &mut self.world.state().chain;
        let payout = chain.state().contracts.payout;
        let (coin, amount) = (Coin::Usdc, U256::from(1_000_000 * USDC));
        chain.act(Action::Unpause(Contract::Registry));
        chain.act(Action::Unpause(Contract::Payout));
        chain.act(Action::Mint { coin, to: payout, amount });
        chain.act(Action::SetWindow { coin, limit: amount, seconds: 3_600 });
        chain.act(Action::SetBalance { account: SIGNER, wei: U256::from(10_000 * SGE) });
        chain.set_base_fee(GWEI);
    }

    /// Another branch of the same length, and one more.
    fn reorganise(&self, depth: u64, txs_are_lost: bool) {
        let now = self.world.chain_seconds();
        let redis_now = self.world.now();
        let mut state = self.world.state();
        let state = &mut *state;
        let head = state.chain.head().number.get();
        state.ghosts.before_reorg(&mut state.redis, redis_now, head, depth);
        state.chain.reorg(depth, if txs_are_lost { Fate::Lose } else { Fate::Return });
        for _ in 0..=depth {
            state.chain.mine(now, if txs_are_lost { 0 } else { usize::MAX });
        }
    }

    /// A transfer to itself at the account's next nonce, by somebody who has the key.
    async fn strange_transaction(&self) -> Option<Bytes> {
        let nonce = self.world.state().chain.nonce(SIGNER);
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: nonce.get(),
            gas_limit: 21_000,
            max_fee_per_gas: 2_000 * GWEI,
            max_priority_fee_per_gas: 40 * GWEI,
            to: TxKind::Call(SIGNER),
            ..TxEip1559::default()
        };
        let signature = CheapKey(SIGNER).sign_transaction(&tx).await.ok()?;
        Some(tx.into_signed(signature).encoded_2718().into())
    }
}

/// Nobody holds any more what waits for a block. Whether anything did.
fn evict(world: &World) -> bool {
    let chain = &mut world.state().chain;
    let waiting: Vec<_> = chain.pool().waiting().map(|tx| tx.hash).collect();
    waiting.iter().filter(|hash| chain.drop_tx(**hash)).count() > 0
}

/// What [`bad_view`] of this kind is counted as.
pub(super) fn view_name(kind: u8) -> &'static str {
    match kind % 18 {
        0 => "endpoint behind",
        1 => "stale nonce",
        2 => "nonce ahead",
        3 | 4 => "endpoint without receipts or logs",
        5 | 6 => "endpoint with false records",
        7 | 8 => "endpoint with false simulations",
        9..=11 => "endpoint away",
        12 => "endpoint that takes no transaction",
        13 | 14 => "endpoint with another pool",
        15 => "endpoint on an abandoned branch",
        16 => "all endpoints away",
        _ => "all pools full",
    }
}

/// Endpoints of which one is bad, or, in two of the kinds, both.
fn bad_view(kind: u8) -> View {
    let (good, mut bad) = (Eye::named("one"), Eye::named("two"));
    match kind % 18 {
        0 => bad.lag = 3,
        1 => bad.nonce_skew = -2,
        2 => bad.nonce_skew = 2,
        3 => bad.hides_receipts = true,
        4 => bad.hides_logs = true,
        5 => bad.records = Records::Denies,
        6 => bad.records = Records::Invents,
        7 => bad.mood = Mood::Refuses,
        8 => bad.mood = Mood::Approves,
        9 => bad.fault = Some(Fault::Timeout),
        10 => bad.fault = Some(Fault::WrongChain),
        11 => bad.fault = Some(Fault::RateLimited),
        12 => bad.refuses = Some(SendOutcome::Refused("simulated".to_owned())),
        13 => bad.pool = PoolSight::Empty,
        14 => bad.pool = PoolSight::More(3),
        15 => bad.on_abandoned_branch = true,
        16 => return View::of([good.failing(Fault::Unreachable), bad.failing(Fault::Timeout)]),
        _ => {
            let refuses = Some(SendOutcome::PoolFull);
            return View::of([Eye { refuses: refuses.clone(), ..good }, Eye { refuses, ..bad }]);
        }
    }
    if kind >= 128 { View::of([bad, good]) } else { View::of([good, bad]) }
}
