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
/// Between two memories of Redis that a rollback may bring back.
const MEMORY: Duration = Duration::from_millis(250);

/// What gusts act on.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) world: Arc<World>,
    pub(super) relayers: Arc<Mutex<Vec<Relayer>>>,
    /// Redis as it was, every [`MEMORY`], the newest last.
    pub(super) past: Arc<Mutex<Vec<SimRedis>>>,
}

impl Stage {
    /// Makes blocks until dropped.
    pub(super) async fn mine(self) {
        loop {
            sleep(BLOCK).await;
            let now = self.world.now() / 1000;
            self.world.state().chain.mine(now, usize::MAX);
        }
    }

    /// Remembers Redis until dropped.
    pub(super) async fn remember(self) {
        loop {
            let redis = self.world.state().redis.clone();
            self.past.lock().unwrap_or_else(PoisonError::into_inner).push(redis);
            sleep(MEMORY).await;
        }
    }

    fn relayer(&self, who: usize, act: impl FnOnce(&mut Relayer)) {
        act(&mut self.relayers.lock().unwrap_or_else(PoisonError::into_inner)[who]);
    }

    /// Lets it go wrong, and right again where it lasts.
    pub(super) async fn blow(self, at: Duration, gust: Gust) {
        sleep(at).await;
        self.world.state().faults += 1;
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
            Gust::Rollback { by } => self.roll_back(by).await,
            Gust::Emptied => self.lose(SimRedis::default()).await,
            Gust::Full { lasts } => {
                self.world.state().redis.set_full(true);
                sleep(lasts).await;
                self.world.state().redis.set_full(false);
            }
            other => self.blow_on_chain(other).await,
        }
    }

    async fn roll_back(&self, by: Duration) {
        let steps = usize::try_from(by.as_millis() / MEMORY.as_millis()).unwrap_or(0);
        let old = {
            let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
            past.get(past.len().saturating_sub(1 + steps)).cloned()
        };
        if let Some(old) = old {
            self.lose(old).await;
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

    async fn blow_on_chain(&self, gust: Gust) {
        match gust {
            Gust::Reorg { depth, txs_are_lost } => self.reorganise(depth, txs_are_lost),
            Gust::Evict => {
                let chain = &mut self.world.state().chain;
                let waiting: Vec<_> = chain.pool().waiting().map(|tx| tx.hash).collect();
                for hash in waiting {
                    chain.drop_tx(hash);
                }
            }
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
            Gust::Stranger => self.send_as_a_stranger().await,
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
        let now = self.world.now() / 1000;
        let chain = &mut self.world.state().chain;
        chain.reorg(depth, if txs_are_lost { Fate::Lose } else { Fate::Return });
        for _ in 0..=depth {
            chain.mine(now, if txs_are_lost { 0 } else { usize::MAX });
        }
    }

    /// A transfer to itself at the account's next nonce, by somebody who has the key.
    async fn send_as_a_stranger(&self) {
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
        let Ok(signature) = CheapKey(SIGNER).sign_transaction(&tx).await else { return };
        let raw: Bytes = tx.into_signed(signature).encoded_2718().into();
        self.world.state().chain.send(&raw);
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
