//! A real chain and a simulated one to which the same happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alloy::primitives::{Address, Bytes, U256, keccak256};
use alloy::sol_types::SolCall;
use futures::FutureExt;
use futures::future::BoxFuture;
use kit::world::World;
use kit::world::contracts::{DEPLOYER, RELAYER, RELAYER_KEY};
use serde_json::{Value, json};
use shared::env::Secret;
use shared::ids::{BlockNumber, Hash32, Nonce};
use shared::job::{Kind, Payload};
use shared::tx::Fees;
use sim::chain::{
    Action, Answer, Asking, CHAIN_ID, Coin, Contract, Eye, Fate, Genesis, Port, Question, Recovery, Rules,
    SimChain, View, deployed,
};
use worker::chain::alloy::{AlloyChain, AlloyChainConfig, Url};
use worker::chain::rules::Contracts;
use worker::chain::{Chain, ChainError, Head};
use worker::keys::{RawKey, Unsigned, sign_eip1559};
use worker::metrics::RpcMetrics;

use super::compare::{Hashes, ask, roughened, substance};
use super::schedule::{At, Deed, GWEI, Gas, Step, TREASURY};

alloy::sol! {
    interface Owner {
        function mint(address to, uint256 amount) external;
        function approve(address spender, uint256 amount) external returns (bool);
        function withdraw(address token, address to, uint256 amount) external;
        function setTreasury(address newTreasury) external;
        function setPayoutCap(address token, uint256 cap) external;
        function setWindow(address token, uint208 limit, uint48 window) external;
        function pause() external;
        function unpause() external;
        function grantRole(bytes32 role, address account) external;
        function revokeRole(bytes32 role, address account) external;
        function setBlocklisted(address account, bool blocked) external;
        function setBurnedGas(address recipient, uint64 amount) external;
    }
}

/// The simulated chain, asked at once.
#[derive(Clone)]
struct Direct {
    chain: Arc<Mutex<SimChain>>,
    view: View,
}

impl Port for Direct {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, ChainError>> {
        let mut chain = self.chain.lock().unwrap();
        let answer = match question {
            Question::Broadcast(raw) => chain.broadcast(&self.view, &raw).map(Answer::Broadcast),
            question => chain.ask(&self.view, &question),
        };
        futures::future::ready(answer).boxed()
    }
}

/// Both chains, seen through one endpoint or through two.
struct Clients {
    real: AlloyChain,
    simulated: Asking<Direct>,
}

/// A difference, or a failure of the real chain.
pub(super) type Checked<T = ()> = Result<T, String>;

pub(super) struct Pair {
    world: World,
    pub contracts: Contracts,
    chain: Arc<Mutex<SimChain>>,
    clients: [Clients; 2],
    hashes: Hashes,
    key: RawKey,
    pub sent: Vec<(Hash32, Bytes)>,
    base_fee: u128,
    balance: u128,
    /// Blocks that were reorganised away, by their simulated hashes.
    pub gone: Vec<Hash32>,
    /// What was compared, by what it tells.
    pub substance: BTreeMap<String, usize>,
}

impl Pair {
    /// Both as `world` is now.
    pub(super) async fn new(world: World) -> Checked<Self> {
        let addresses = &world.contracts.addresses;
        let contracts = Contracts {
            registry: addresses.registry,
            payout: addresses.payout,
            usdc: addresses.usdc,
            sge: addresses.sge,
        };
        let url: Url = world.anvil.url().parse().map_err(|error| format!("{error}"))?;
        let one = real(std::slice::from_ref(&url), contracts);
        let head = one.head().await.map_err(|error| error.to_string())?;
        let genesis = genesis(&world, &one, contracts, head).await?;
        let chain = Arc::new(Mutex::new(SimChain::new(genesis)));
        let host = format!("127.0.0.1:{}", url.port().unwrap_or_default());
        let simulated = |names: &[&str]| {
            let view = View::of(names.iter().map(|name| Eye::named(name)));
            Asking(Direct { chain: chain.clone(), view })
        };
        let clients = [
            Clients { simulated: simulated(&[&host]), real: one },
            Clients {
                simulated: simulated(&[&host, &format!("{host}#2")]),
                real: real(&[url.clone(), url], contracts),
            },
        ];
        let mut hashes = Hashes::default();
        let first = chain.lock().unwrap().head();
        hashes.know(first.hash, head.hash);
        hashes.know(first.parent, head.parent);
        let key = RawKey::new(&Secret::new(RELAYER_KEY)).map_err(|error| error.to_string())?;
        let mut pair = Self {
            world,
            contracts,
            chain,
            clients,
            hashes,
            key,
            sent: Vec::new(),
            base_fee: GWEI,
            balance: 10_000 * sim::chain::SGE,
            gone: Vec::new(),
            substance: BTreeMap::new(),
        };
        pair.rpc("anvil_setBalance", json!([TREASURY, "0x21e19e0c9bab2400000"])).await?;
        pair.price_next_block().await?;
        Ok(pair)
    }

    /// A copy of the simulated chain.
    pub(super) fn simulated(&self) -> SimChain {
        self.chain.lock().unwrap().clone()
    }

    async fn rpc(&self, method: &str, parameters: Value) -> Checked<Value> {
        self.world.anvil.rpc(method, parameters).await.map_err(|error| format!("{error:#}"))
    }

    /// The state to come back to.
    pub(super) async fn snapshot(&self) -> Checked<Value> {
        self.rpc("evm_snapshot", json!([])).await
    }

    /// Goes back, and begins anew.
    pub(super) async fn back_to(self, snapshot: Value) -> Checked<Self> {
        self.rpc("anvil_dropAllTransactions", json!([])).await?;
        self.rpc("evm_revert", json!([snapshot])).await?;
        Self::new(self.world).await
    }

    /// Asks both, and compares.
    pub(super) async fn compare(&mut self, question: Question, pair: bool) -> Checked {
        let clients = &self.clients[usize::from(pair)];
        let simulated = ask(&clients.simulated, question.clone()).await;
        let mut real = ask(&clients.real, self.hashes.real(&question)).await;
        if let Ok(answer) = &mut real {
            self.hashes.translate(answer);
        }
        if let Ok(answer) = &real {
            let told = format!("{question:?}").split(['(', ' ']).next().unwrap_or_default().to_owned();
            *self.substance.entry(told).or_default() += substance(answer);
        }
        // Anvil changes balances in the block that is there, and so in its past.
        if matches!(&question, Question::Conditions { at, .. } if *at == self.simulated().head().hash) {
            near(&simulated, &real)?;
        }
        let (simulated, real) = (roughened(simulated), roughened(real));
        if simulated != real {
            let asked: String = format!("{question:?}").chars().take(400).collect();
            return Err(format!("{asked}\n  simulated {simulated:?}\n  real      {real:?}"));
        }
        Ok(())
    }

    /// Does `step` to both.
    pub(super) async fn step(&mut self, step: &Step, pair: bool) -> Checked {
        match step {
            Step::Send { deed, at, gas, max_fee, tip } => {
                let fees = Fees { max_fee: *max_fee, max_priority_fee: *tip };
                let nonce = self.nonce(*at);
                self.send(deed, nonce, *gas, fees, pair).await
            }
            Step::Replace { deed, percent } => {
                let first = self.simulated().pool().waiting().next().cloned();
                let Some(first) = first else { return Ok(()) };
                let raised = |fee: u128| fee * (100 + percent) / 100;
                let fees =
                    Fees { max_fee: raised(first.max_fee), max_priority_fee: raised(first.max_priority_fee) };
                self.send(deed, first.nonce, Gas::Table, fees, pair).await
            }
            Step::Again(which) => match self.sent.len() {
                0 => Ok(()),
                count => self.hand_in(self.sent[which % count].1.clone(), pair).await,
            },
            Step::Mine { seconds } => self.mine(*seconds).await,
            Step::Act(action) => self.act(action).await,
            Step::Reorg { depth } => self.reorg(*depth).await,
            Step::Drop => self.drop_last().await,
            Step::BaseFee(wei) => {
                self.base_fee = *wei;
                self.price_next_block().await
            }
            Step::Balance(wei) => {
                self.balance = *wei;
                Ok(())
            }
        }
    }

    fn nonce(&self, at: At) -> u64 {
        let chain = self.simulated();
        let latest = chain.nonce(RELAYER).get();
        let next = chain.pool().pending(RELAYER, latest);
        match at {
            At::Next => next,
            At::Latest => latest,
            At::Consumed => latest.saturating_sub(1),
            At::Gap(beyond) => next + beyond,
        }
    }

    async fn send(&mut self, deed: &Deed, nonce: u64, gas: Gas, fees: Fees, pair: bool) -> Checked {
        let (to, value, data) = self.message(deed);
        let unsigned = Unsigned {
            chain_id: CHAIN_ID,
            nonce: Nonce::new(nonce),
            to,
            value,
            gas_limit: gas_limit(deed, gas, &data),
            data,
            fees,
        };
        let signed = sign_eip1559(&self.key, unsigned).await.map_err(|error| error.to_string())?;
        self.sent.push((signed.hash, signed.raw.clone()));
        self.hand_in(signed.raw, pair).await
    }

    async fn hand_in(&mut self, raw: Bytes, pair: bool) -> Checked {
        self.compare(Question::Broadcast(raw), pair).await
    }

    fn message(&self, deed: &Deed) -> (Address, U256, Bytes) {
        let site = worker::signer::calls::Contracts {
            registry: self.contracts.registry,
            payout: self.contracts.payout,
        };
        let encoded = |kind, payloads: Vec<Payload>| {
            let items: Vec<_> = payloads.into_iter().map(super::schedule::brief).collect();
            let (to, data) = worker::signer::calls::encode(site, kind, &items);
            (to, U256::ZERO, data)
        };
        match deed {
            Deed::Register(items) => {
                encoded(Kind::Register, items.iter().cloned().map(Payload::Register).collect())
            }
            Deed::Pay(items) => encoded(Kind::Payout, items.iter().cloned().map(Payload::Payout).collect()),
            Deed::PayBatch(items) => {
                (self.contracts.payout, U256::ZERO, super::schedule::batch(items).abi_encode().into())
            }
            Deed::Cancel => (RELAYER, U256::ZERO, Bytes::new()),
            Deed::Drain(wallet) => (wallet.address(), U256::from(GWEI), Bytes::new()),
            Deed::Nonsense(Contract::Registry) => {
                (self.contracts.registry, U256::ZERO, Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef]))
            }
            Deed::Nonsense(Contract::Payout) => (self.contracts.payout, U256::ZERO, Bytes::new()),
        }
    }

    /// The base fee of the next block, on both.
    async fn price_next_block(&mut self) -> Checked {
        self.chain.lock().unwrap().set_base_fee(self.base_fee);
        let wei = format!("{:#x}", self.base_fee);
        self.rpc("anvil_setNextBlockBaseFeePerGas", json!([wei])).await.map(drop)
    }

    /// Makes a block, on both.
    async fn mine(&mut self, seconds: u64) -> Checked {
        let now = self.simulated().head().timestamp + seconds;
        let wei = U256::from(self.balance);
        self.rpc("anvil_setBalance", json!([RELAYER, wei])).await?;
        self.rpc("evm_setNextBlockTimestamp", json!([now])).await?;
        self.rpc("anvil_mine", json!(["0x1"])).await?;
        let head = {
            let mut chain = self.chain.lock().unwrap();
            chain.act(Action::SetBalance { account: RELAYER, wei });
            chain.mine(now, usize::MAX)
        };
        self.meet(head).await?;
        self.price_next_block().await
    }

    /// Notes what the real block of the simulated `head`'s number is called.
    async fn meet(&mut self, head: Head) -> Checked<Head> {
        let real = self.clients[0].real.block_at(head.number).await.map_err(|error| error.to_string())?;
        self.hashes.know(head.hash, real.hash);
        Ok(real)
    }

    async fn act(&mut self, action: &Action) -> Checked {
        if let Some((from, to, data)) = self.call_of(action) {
            let fee = format!("{:#x}", 900 * GWEI);
            let tx = json!([{
                "from": from, "to": to, "data": Bytes::from(data), "gas": "0x80000",
                "maxFeePerGas": fee, "maxPriorityFeePerGas": fee,
            }]);
            self.rpc("eth_sendTransaction", tx).await?;
        }
        self.chain.lock().unwrap().act(action.clone());
        self.mine(12).await
    }

    fn call_of(&self, action: &Action) -> Option<(Address, Address, Vec<u8>)> {
        use Owner as O;
        let token = |coin| if coin == Coin::Usdc { self.contracts.usdc } else { self.contracts.sge };
        let at = |contract| match contract {
            Contract::Registry => self.contracts.registry,
            Contract::Payout => self.contracts.payout,
        };
        let (payout, role) = (self.contracts.payout, keccak256("RELAYER_ROLE"));
        let (to, data) = match *action {
            Action::Mint { coin, to, amount } => (token(coin), O::mintCall { to, amount }.abi_encode()),
            Action::Withdraw { coin, to, amount } => {
                (payout, O::withdrawCall { token: token(coin), to, amount }.abi_encode())
            }
            Action::Approve { coin, owner, amount } => {
                let call = O::approveCall { spender: payout, amount };
                return Some((owner, token(coin), call.abi_encode()));
            }
            Action::SetTreasury(to) => (payout, O::setTreasuryCall { newTreasury: to }.abi_encode()),
            Action::SetCap { coin, cap } => {
                (payout, O::setPayoutCapCall { token: token(coin), cap }.abi_encode())
            }
            Action::SetWindow { coin, limit, seconds } => {
                let (limit, window) = (limit.to(), seconds.try_into().ok()?);
                (payout, O::setWindowCall { token: token(coin), limit, window }.abi_encode())
            }
            Action::Pause(contract) => (at(contract), O::pauseCall {}.abi_encode()),
            Action::Unpause(contract) => (at(contract), O::unpauseCall {}.abi_encode()),
            Action::GrantRole(contract, account) => {
                (at(contract), O::grantRoleCall { role, account }.abi_encode())
            }
            Action::RevokeRole(contract, account) => {
                (at(contract), O::revokeRoleCall { role, account }.abi_encode())
            }
            Action::PauseUsdc => (self.contracts.usdc, O::pauseCall {}.abi_encode()),
            Action::UnpauseUsdc => (self.contracts.usdc, O::unpauseCall {}.abi_encode()),
            Action::SetBlocklisted { account, blocked } => {
                (self.contracts.usdc, O::setBlocklistedCall { account, blocked }.abi_encode())
            }
            Action::SetBurnedGas { recipient, gas } => {
                (self.contracts.usdc, O::setBurnedGasCall { recipient, amount: gas }.abi_encode())
            }
            Action::SetBalance { .. } => return None,
        };
        Some((DEPLOYER, to, data))
    }

    /// Replaces blocks by empty ones. Anvil loses their transactions, and keeps in its pool what cannot follow them.
    async fn reorg(&mut self, depth: u64) -> Checked {
        let blocks = self.simulated().blocks().len() as u64;
        let depth = depth.min(blocks - 1);
        if depth == 0 {
            return Ok(());
        }
        self.rpc("anvil_dropAllTransactions", json!([])).await?;
        self.rpc("anvil_reorg", json!([depth, []])).await?;
        let (gone, first) = {
            let mut chain = self.chain.lock().unwrap();
            let waiting: Vec<Hash32> = chain.pool().waiting().map(|tx| tx.hash).collect();
            for hash in waiting {
                chain.drop_tx(hash);
            }
            let gone: Vec<Hash32> =
                chain.blocks().iter().rev().take(depth as usize).map(|block| block.head.hash).collect();
            chain.reorg(depth, Fate::Lose);
            (gone, chain.head().number.next().get())
        };
        self.gone.extend(gone);
        for number in first..first + depth {
            let number = BlockNumber::new(number);
            let node = &self.clients[0].real;
            let real = node.block_at(number).await.map_err(|error| error.to_string())?;
            let found = node.conditions(RELAYER, real.hash).await.map_err(|error| error.to_string())?;
            let wei = U256::from(found.signer_balance);
            let head = {
                let mut chain = self.chain.lock().unwrap();
                chain.act(Action::SetBalance { account: RELAYER, wei });
                chain.set_base_fee(real.base_fee);
                chain.mine(real.timestamp, 0)
            };
            // Two empty blocks on one parent are the same block to Anvil: what was gone is back.
            self.gone.retain(|gone| !self.hashes.is_real(*gone, real.hash));
            self.hashes.know(head.hash, real.hash);
        }
        self.price_next_block().await
    }

    async fn drop_last(&mut self) -> Checked {
        let last = self.simulated().pool().waiting().last().map(|tx| tx.hash);
        let Some(last) = last else { return Ok(()) };
        self.rpc("anvil_dropTransaction", json!([last.b256()])).await?;
        self.chain.lock().unwrap().drop_tx(last);
        Ok(())
    }
}

fn real(endpoints: &[Url], contracts: Contracts) -> AlloyChain {
    AlloyChain::new(&AlloyChainConfig {
        endpoints: endpoints.to_vec(),
        chain_id: CHAIN_ID,
        registry: contracts.registry,
        payout: contracts.payout,
        relayer: RELAYER,
        deadline: AlloyChainConfig::DEFAULT_DEADLINE,
        check_every: AlloyChainConfig::DEFAULT_CHECK,
        metrics: RpcMetrics::default(),
    })
    .unwrap()
}

/// A simulated chain that begins where the real one is.
async fn genesis(world: &World, chain: &AlloyChain, contracts: Contracts, head: Head) -> Checked<Genesis> {
    let mut state = deployed(contracts, RELAYER);
    let (usdc, sge) = world.contracts.balances(contracts.payout).await.map_err(|error| error.to_string())?;
    state.usdc.set_balance(contracts.payout, usdc);
    state.sge.set_balance(contracts.payout, sge);
    let conditions = chain.conditions(RELAYER, head.hash).await.map_err(|error| error.to_string())?;
    let nonce = chain.nonce_latest(RELAYER).await.map_err(|error| error.to_string())?.lowest;
    let accounts = Arc::make_mut(&mut state.accounts);
    let account = sim::chain::Account { nonce: nonce.get(), balance: U256::from(conditions.signer_balance) };
    accounts.insert(RELAYER, account);
    Ok(Genesis {
        rules: Rules::ANVIL,
        recovery: Recovery::Real,
        number: head.number.get(),
        timestamp: head.timestamp,
        gas_limit: head.gas_limit,
        base_fee: head.base_fee,
        state,
        ..Genesis::development(RELAYER)
    })
}

/// The signer's balance, but for what gas costs: within a few per cent of what it was before the block.
fn near(simulated: &Result<Answer, ChainError>, real: &Result<Answer, ChainError>) -> Checked {
    let (Ok(Answer::Conditions(one)), Ok(Answer::Conditions(other))) = (simulated, real) else {
        return Ok(());
    };
    let (low, high) =
        (one.signer_balance.min(other.signer_balance), one.signer_balance.max(other.signer_balance));
    if (high - low) * 20 <= high {
        return Ok(());
    }
    Err(format!("the balances are {} simulated, {} real", one.signer_balance, other.signer_balance))
}

fn gas_limit(deed: &Deed, gas: Gas, data: &[u8]) -> u64 {
    use worker::signer::gas::{PayoutMix, TRANSFER, Tokens, payouts, registrations};
    let (table, starving) = match deed {
        Deed::Register(items) => {
            let count = items.len() as u64;
            (registrations(count, data), (count == 1).then_some(40_000))
        }
        Deed::Pay(items) | Deed::PayBatch(items) => {
            let hybrid = items.iter().filter(|item| !item.commission.sge.is_zero()).count() as u64;
            let mix = PayoutMix { single: items.len() as u64 - hybrid, hybrid };
            (payouts(mix, Tokens::Worst, data), (items.len() == 1).then_some(60_000))
        }
        Deed::Cancel => (TRANSFER, None),
        Deed::Drain(_) => (TRANSFER * 2, None),
        Deed::Nonsense(_) => (TRANSFER * 3, None),
    };
    match gas {
        Gas::Table => table,
        Gas::Starving => starving.unwrap_or(table),
        Gas::BelowIntrinsic => TRANSFER - 1,
        Gas::AboveBlock => 31_000_000,
    }
}
