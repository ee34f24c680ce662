//! Blocks, and what running a transaction in one comes to.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use alloy::primitives::{Address, U256, keccak256};
use shared::ids::{BlockNumber, Hash32};
use worker::chain::{ChainEvent, Head};

use super::contracts::{self, Call, Halt, Log, Returned};
use super::gas::{self, Meter};
use super::state::{Action, State};
use super::tx::Tx;

/// A block, and the state after it. Its hash commits to all of it, so that two with the same hash are the same.
#[derive(Debug, Clone)]
pub struct Block {
    pub head: Head,
    /// What happened before its transactions.
    pub actions: Vec<Action>,
    pub txs: Vec<Included>,
    pub gas_used: u64,
    pub state: State,
}

/// A transaction in a block.
#[derive(Debug, Clone)]
pub struct Included {
    pub tx: Arc<Tx>,
    pub succeeded: bool,
    pub gas_used: u64,
    /// Wei per gas.
    pub price: u128,
    /// The contracts' events that the relayer reads.
    pub events: Vec<ChainEvent>,
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.head.hash == other.head.hash
    }
}

impl Eq for Block {}

impl Hash for Block {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.head.hash.hash(state);
    }
}

impl Block {
    pub fn number(&self) -> u64 {
        self.head.number.get()
    }

    pub fn events(&self) -> impl Iterator<Item = &ChainEvent> {
        self.txs.iter().flat_map(|included| &included.events)
    }

    /// The base fee of the block on top of this one, as EIP-1559 has it.
    pub(super) fn next_base_fee(&self) -> u128 {
        let (target, fee) = (u128::from(self.head.gas_limit / 2).max(1), self.head.base_fee);
        let used = u128::from(self.gas_used);
        if used > target {
            fee + (fee * (used - target) / target / 8).max(1)
        } else {
            fee - fee * (target - used) / target / 8
        }
    }
}

/// A call that ran.
#[derive(Debug, Clone)]
pub(super) struct Executed {
    pub(super) result: Result<Returned, Halt>,
    pub(super) logs: Vec<Log>,
    pub(super) gas_used: u64,
}

/// A message, with the gas it may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) call: Call<'a>,
    /// `None`: it creates a contract.
    pub(super) to: Option<Address>,
    pub(super) gas: u64,
}

/// Runs a message: all of it, or nothing where it fails.
pub(super) fn execute(state: &mut State, message: &Message<'_>) -> Executed {
    let intrinsic = gas::intrinsic(message.call.data);
    let mut meter = Meter::new(message.gas);
    if meter.spend(intrinsic).is_err() {
        return Executed { result: Err(Halt::OutOfGas), logs: Vec::new(), gas_used: message.gas };
    }
    let before = state.clone();
    let ran = match message.to.map(|to| (to, state.contract_at(to))) {
        Some((_, Some(contract))) => contracts::run(state, contract, &message.call, &mut meter),
        Some((to, None)) => transfer(state, message.call.from, to, message.call.value),
        // What it would create is nobody's concern.
        None => Ok((Returned::Nothing, Vec::new())),
    };
    let gas_used = (message.gas - meter.left()).max(gas::least(message.call.data).min(message.gas));
    match ran {
        Ok((returned, logs)) => Executed { result: Ok(returned), logs, gas_used },
        Err(halt) => {
            *state = before;
            let gas_used = if halt == Halt::OutOfGas { message.gas } else { gas_used };
            Executed { result: Err(halt), logs: Vec::new(), gas_used }
        }
    }
}

fn transfer(
    state: &mut State,
    from: Address,
    to: Address,
    value: U256,
) -> Result<(Returned, Vec<Log>), Halt> {
    if !value.is_zero() {
        let payer = state.account_mut(from);
        payer.balance = payer.balance.checked_sub(value).ok_or_else(Halt::bare)?;
        let payee = state.account_mut(to);
        payee.balance = payee.balance.saturating_add(value);
    }
    Ok((Returned::Nothing, Vec::new()))
}

/// A block being made.
pub(super) struct Making {
    pub(super) block: Block,
    logs: u64,
}

impl Making {
    /// On top of `parent`. `actions` happen first.
    pub(super) fn new(parent: &Block, timestamp: u64, base_fee: u128, actions: Vec<Action>) -> Self {
        let mut state = parent.state.clone();
        let logs = actions.iter().map(|action| state.act(action, timestamp)).sum();
        let head = Head {
            number: parent.head.number.next(),
            hash: parent.head.hash,
            parent: parent.head.hash,
            timestamp,
            gas_limit: parent.head.gas_limit,
            base_fee,
        };
        Self { block: Block { head, actions, txs: Vec::new(), gas_used: 0, state }, logs }
    }

    pub(super) fn has_room_for(&self, tx: &Tx) -> bool {
        self.block.gas_used.saturating_add(tx.gas_limit) <= self.block.head.gas_limit
    }

    /// Whether the protocol lets `tx` into this block.
    pub(super) fn admits(&self, tx: &Tx) -> bool {
        let account = self.block.state.account(tx.from);
        account.nonce == tx.nonce
            && tx.max_fee >= self.block.head.base_fee
            && account.balance >= tx.dearest()
            && tx.gas_limit >= gas::least(&tx.data)
    }

    pub(super) fn include(&mut self, tx: Arc<Tx>) {
        let head = self.block.head;
        let price = head.base_fee + tx.tip(head.base_fee).unwrap_or_default();
        let state = &mut self.block.state;
        state.account_mut(tx.from).nonce += 1;
        let (from, value) = (tx.from, tx.value);
        let call = Call { from, value, data: &tx.data, number: head.number.get(), now: head.timestamp };
        let ran = execute(state, &Message { call, to: tx.to, gas: tx.gas_limit });
        let payer = state.account_mut(tx.from);
        payer.balance = payer.balance.saturating_sub(U256::from(ran.gas_used) * U256::from(price));
        let mut events = Vec::with_capacity(ran.logs.len());
        for log in ran.logs {
            if let Log::Ours(kind) = log {
                events.push(ChainEvent { block: head.number, tx_hash: tx.hash, log_index: self.logs, kind });
            }
            self.logs += 1;
        }
        self.block.gas_used += ran.gas_used;
        let (succeeded, gas_used) = (ran.result.is_ok(), ran.gas_used);
        self.block.txs.push(Included { tx, succeeded, gas_used, price, events });
    }

    /// Gives the block its hash. `fork` tells apart what is otherwise the same on two branches.
    pub(super) fn seal(mut self, fork: u32) -> Block {
        let head = &mut self.block.head;
        let mut content = Vec::with_capacity(96 + 32 * self.block.txs.len());
        content.extend_from_slice(head.parent.b256().as_slice());
        for number in [head.number.get(), head.timestamp, head.gas_limit, u64::from(fork)] {
            content.extend_from_slice(&number.to_be_bytes());
        }
        content.extend_from_slice(&head.base_fee.to_be_bytes());
        let mut actions = DefaultHasher::new();
        self.block.actions.hash(&mut actions);
        content.extend_from_slice(&actions.finish().to_be_bytes());
        for included in &self.block.txs {
            content.extend_from_slice(included.tx.hash.b256().as_slice());
        }
        head.hash = Hash32::from(keccak256(content));
        self.block
    }
}

/// The block that a chain begins with.
pub(super) fn genesis(number: u64, timestamp: u64, gas_limit: u64, base_fee: u128, state: State) -> Block {
    let hash = |text: &str| Hash32::from(keccak256(text));
    let head = Head {
        number: BlockNumber::new(number),
        hash: hash("genesis"),
        parent: hash("before"),
        timestamp,
        gas_limit,
        base_fee,
    };
    Block { head, actions: Vec::new(), txs: Vec::new(), gas_used: 0, state }
}
