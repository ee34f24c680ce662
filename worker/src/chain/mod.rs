//! The chain as the relayer needs it: a narrow trait, so that decisions are tested without a node, and one closed enum
//! of what can go wrong. Every read that decides something names the block it was made at.
//!
//! An error here is never evidence about a payment: it only means "ask again".

pub mod agree;
pub mod alloy;
mod bindings;
mod broadcast;
mod checkup;
mod classify;
mod decode;
mod endpoint;
mod events;
pub mod heads;
pub mod health;
mod http;
mod limits;
mod pool;
mod questions;
mod reader;
mod simulate;
mod standing;
mod stragglers;
mod waves;
mod wire;

pub use agree::{AccountNonces, Answers, NonceRange, Said};
pub use bindings::contracts;
pub use checkup::{EndpointView, Wiring};
pub use simulate::LONE_CALL_GAS;

use ::alloy::primitives::{Address, Bytes};
use async_trait::async_trait;
use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::job::{Payout, Register};
use shared::money::{Sge, Usdc};
use shared::tx::Inclusion;

/// The pure rules behind the answers, for a chain in memory: what a revert means, which limit stopped an item, what several
/// answers come to.
pub mod rules {
    pub use super::broadcast::best_answer;
    pub use super::classify::Revert;
    pub use super::decode::{
        Contracts, call_revert, fails, payout_failed, registration, wants_fewer_items, wrong_referrer,
    };
    pub use super::events::is_whole;
    pub use super::limits::Budget;
    pub use super::reader::{kinder, may_end_a_job};
    pub use super::simulate::{
        BATCH_CALL_GAS, ITEMS_PER_CALL, batch_call, lone_call, of_all, registration_call, unexplained,
    };
    pub use super::waves::{registration_keys, waves};
}

/// Blocks per question about events, of whoever walks through all of them.
pub const EVENT_SPAN: u64 = 10_000;

/// A block, as far as decisions need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head {
    pub number: BlockNumber,
    pub hash: Hash32,
    pub parent: Hash32,
    /// Unix seconds.
    pub timestamp: u64,
    pub gas_limit: u64,
    /// Wei per gas.
    pub base_fee: u128,
}

/// What a simulated item would come to. `reason` is decoded for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Would succeed.
    Fine,
    /// The chain already says what the job wants it to say.
    AlreadyDone,
    /// The registry does not know the child yet.
    NotRegistered,
    /// To be asked again: the node ran the call in a time before the contract's newest payout (its clock and its state are of
    /// two blocks), or refuses, and no other confirms it.
    OutOfTime,
    /// A condition outside the job: the gate to park it under.
    Gate { gate: Gate, reason: String },
    /// The job cannot succeed, or its revert is unclear: see the class's severity.
    Fails(shared::job::Failure),
}

/// Conditions outside a job that the chain can tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Gate {
    /// The registry or the payout contract is paused, or the role is missing.
    RegistryPaused,
    PayoutPaused,
    UsdcFloat,
    SgeFloat,
    UsdcWindow,
    SgeWindow,
    /// The token itself is paused.
    UsdcPaused,
    SgePaused,
}

/// What the payout contract has left of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenRoom<T> {
    /// Own balance, or the treasury's balance under its allowance.
    pub funds: T,
    /// What the rolling window has left; the type's maximum when it is off.
    pub window_left: T,
    pub cap: T,
    pub window_limit: T,
    pub window_seconds: u64,
}

/// The contracts' conditions at one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conditions {
    pub registry_paused: bool,
    pub payout_paused: bool,
    pub usdc: TokenRoom<Usdc>,
    pub sge: TokenRoom<Sge>,
    /// Wei of the signer.
    pub signer_balance: u128,
}

/// How a node answered a broadcast. Closed: what to do about each is decided in `signer/send.rs`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SendOutcome {
    Accepted,
    /// The node holds these very bytes already.
    AlreadyKnown,
    /// The account nonce is above this transaction's: something at this nonce was mined.
    NonceTooLow,
    /// Another transaction at this nonce pays about as much; only higher fees replace it.
    ReplacementUnderpriced,
    /// Below the node's minimum tip or the block's base fee.
    FeeTooLow,
    InsufficientFunds,
    GasTooLow,
    /// Over the block gas limit, the cap per transaction, or the size limit.
    TooLarge,
    /// The pool has no room, or the gap in front of this nonce is too wide.
    PoolFull,
    /// The node refused for a reason that is none of the above.
    Refused(String),
}

/// Something that the contracts recorded, found in their event logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChainEvent {
    pub block: BlockNumber,
    pub tx_hash: Hash32,
    pub log_index: u64,
    pub kind: ChainEventKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChainEventKind {
    Registered {
        child: Wallet,
        referrer: Wallet,
    },
    RegistrationRejected {
        child: Wallet,
        referrer: Wallet,
        verdict: Verdict,
    },
    Paid {
        payment: PaymentId,
        referrer: Wallet,
        child: Wallet,
        usdc: Usdc,
        sge: Sge,
    },
    /// One item of a batch was not paid.
    PayoutFailed {
        payment: PaymentId,
        verdict: Verdict,
    },
}

/// What became of a broadcast transaction, as one node sees it now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReceiptView {
    pub inclusion: Inclusion,
    /// The block's hash: the receipt proves something only while that is canonical.
    pub block_hash: Hash32,
    /// `None` where a contract was created.
    pub to: Option<Address>,
    pub succeeded: bool,
    pub gas_used: u64,
    pub effective_gas_price: u128,
    /// Our contracts' events in this transaction.
    pub events: Vec<ChainEvent>,
}

/// Why a question to a node got no usable answer.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq, Hash)]
pub enum ChainError {
    #[error("the node at {endpoint} did not answer {method} within its deadline")]
    Timeout { endpoint: String, method: &'static str },
    #[error("the node at {endpoint} is unreachable for {method}: {detail}")]
    Unreachable { endpoint: String, method: &'static str, detail: String },
    #[error("the node at {endpoint} limits the rate of {method}")]
    RateLimited { endpoint: String, method: &'static str },
    #[error("the node at {endpoint} answered {method} with an error: {detail}")]
    Node { endpoint: String, method: &'static str, detail: String },
    #[error("the node at {endpoint} answered {method} with what does not parse: {detail}")]
    Garbage { endpoint: String, method: &'static str, detail: String },
    #[error("the node at {endpoint} is on chain {found}, not on {expected}")]
    WrongChain { endpoint: String, found: u64, expected: u64 },
    #[error("the node at {endpoint} does not know block {block}")]
    UnknownBlock { endpoint: String, block: String },
}

/// One node, or several behind one face. Each question says whom it is asked of; see "Endpoints" in ARCHITECTURE.md.
#[async_trait]
pub trait Chain: Send + Sync + 'static {
    async fn has_code(&self, address: Address) -> Result<bool, ChainError>;
    /// Whether `relayer` holds `RELAYER_ROLE` on the registry and on the payout contract.
    async fn has_roles(&self, relayer: Address) -> Result<(bool, bool), ChainError>;
    /// The newest block that any endpoint shows in good time.
    async fn head(&self) -> Result<Head, ChainError>;
    /// The canonical block at `number`, as one endpoint sees it.
    async fn block_at(&self, number: BlockNumber) -> Result<Head, ChainError>;
    /// The canonical block at `number`, asked of two; `None` where they see different ones.
    async fn agreed_block(&self, number: BlockNumber) -> Result<Option<Head>, ChainError>;
    /// The suggested priority fee in wei per gas, asked of two; never empty.
    async fn priority_fees(&self) -> Result<Vec<u128>, ChainError>;
    /// The account nonce after the block `at`, asked of two.
    async fn nonce_at(&self, account: Address, at: Hash32) -> Result<Answers<Nonce>, ChainError>;
    /// The account nonce after each endpoint's newest block, asked of two.
    async fn nonce_latest(&self, account: Address) -> Result<NonceRange, ChainError>;
    /// What the account's nonces are right now, asked of all; never empty.
    async fn takeover_nonces(&self, account: Address) -> Result<Vec<AccountNonces>, ChainError>;
    /// Asked of two; of what they say, the more permissive.
    async fn conditions(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError>;
    /// One verdict per item, in order, as if sent by the relayer on top of the block `at`. One call for all, plus one
    /// for each item whose reason must be read. What is not fine is asked of a second endpoint; the kinder verdict counts, and
    /// a failure that nobody confirms is [`Verdict::OutOfTime`] for a while.
    async fn simulate_payouts(&self, items: &[Payout], at: Hash32) -> Result<Vec<Verdict>, ChainError>;
    async fn simulate_registrations(
        &self,
        items: &[Register],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError>;
    /// Why the whole call reverts on top of `at`, asked of two, or `None` when it does not.
    async fn simulate_call(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
    ) -> Result<Option<Verdict>, ChainError>;
    /// Per payment id: the block it was paid in, as of the block `at`, asked of two.
    async fn paid_at(
        &self,
        payments: &[PaymentId],
        at: Hash32,
    ) -> Result<Answers<Vec<Option<BlockNumber>>>, ChainError>;
    /// Per child: its recorded referrer, as of the block `at`, asked of two.
    async fn referrers(
        &self,
        children: &[Wallet],
        at: Hash32,
    ) -> Result<Answers<Vec<Option<Wallet>>>, ChainError>;
    /// Both contracts' events in blocks `from..=to`, in chain order: all that two endpoints show.
    async fn events(&self, from: BlockNumber, to: BlockNumber) -> Result<Vec<ChainEvent>, ChainError>;
    /// Both contracts' events in the canonical block `block`, as each endpoint shows them.
    async fn events_in(&self, block: Hash32) -> Result<Vec<Said<Vec<ChainEvent>>>, ChainError>;
    /// The receipt of `tx`, where any endpoint has one.
    async fn receipt(&self, tx: Hash32) -> Result<Option<ReceiptView>, ChainError>;
    /// Hands signed bytes to every endpoint; one acceptance is acceptance. The best outcome among the endpoints counts.
    async fn broadcast(&self, raw: &Bytes) -> Result<SendOutcome, ChainError>;
    /// Tells that the chain's own records refute what an endpoint said: it is asked last for a while.
    fn blame(&self, endpoint: &str, why: &str);
}
