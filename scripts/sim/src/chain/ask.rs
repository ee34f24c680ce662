//! The trait `Chain` as data: one question and one answer per method, and [`Asking`], which asks them through a port. The
//! port decides when an answer comes and whether; [`super::SimChain`] decides what it is.

use alloy::primitives::{Address, Bytes};
use async_trait::async_trait;
use futures::future::BoxFuture;
use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::job::{Payout, Register};
use worker::chain::{
    AccountNonces, Answers, Chain, ChainError, ChainEvent, Conditions, Head, NonceRange, ReceiptView, Said,
    SendOutcome, Verdict,
};

/// What a relayer asks, one variant per method of [`Chain`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    HasCode(Address),
    HasRoles(Address),
    Head,
    BlockAt(BlockNumber),
    AgreedBlock(BlockNumber),
    PriorityFees,
    NonceAt {
        account: Address,
        at: Hash32,
    },
    NonceLatest(Address),
    TakeoverNonces(Address),
    Conditions {
        signer: Address,
        at: Hash32,
    },
    SimulatePayouts {
        items: Vec<Payout>,
        at: Hash32,
    },
    SimulateRegistrations {
        items: Vec<Register>,
        at: Hash32,
    },
    SimulateCall {
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
    },
    PaidAt {
        payments: Vec<PaymentId>,
        at: Hash32,
    },
    Referrers {
        children: Vec<Wallet>,
        at: Hash32,
    },
    Events {
        from: BlockNumber,
        to: BlockNumber,
    },
    EventsIn(Hash32),
    Receipt(Hash32),
    /// The only one that changes the chain.
    Broadcast(Bytes),
}

/// What it is told, one variant per [`Question`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answer {
    HasCode(bool),
    HasRoles((bool, bool)),
    Head(Head),
    BlockAt(Head),
    AgreedBlock(Option<Head>),
    PriorityFees(Vec<u128>),
    NonceAt(Answers<Nonce>),
    NonceLatest(NonceRange),
    TakeoverNonces(Vec<AccountNonces>),
    Conditions(Conditions),
    SimulatePayouts(Vec<Verdict>),
    SimulateRegistrations(Vec<Verdict>),
    SimulateCall(Option<Verdict>),
    PaidAt(Answers<Vec<Option<BlockNumber>>>),
    Referrers(Answers<Vec<Option<Wallet>>>),
    Events(Vec<ChainEvent>),
    EventsIn(Vec<Said<Vec<ChainEvent>>>),
    Receipt(Option<ReceiptView>),
    Broadcast(SendOutcome),
}

/// How questions reach a chain.
pub trait Port: Send + Sync + 'static {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Answer, ChainError>>;

    /// See [`Chain::blame`].
    fn blame(&self, endpoint: &str, why: &str) {
        let _ = (endpoint, why);
    }
}

/// The chain behind a port.
#[derive(Debug, Clone)]
pub struct Asking<P>(pub P);

/// Asks, and takes the answer out of its variant.
macro_rules! answered {
    ($asking:expr, $question:expr, $variant:ident) => {{
        let asked = $question;
        match $asking.0.ask(asked).await? {
            Answer::$variant(answer) => Ok(answer),
            other => Err(mismatched(stringify!($variant), &other)),
        }
    }};
}

/// A port that answers another question than it was asked.
fn mismatched(asked: &'static str, answer: &Answer) -> ChainError {
    let detail = format!("{answer:?} is no answer to {asked}");
    ChainError::Garbage { endpoint: "port".to_owned(), method: "any", detail }
}

#[async_trait]
impl<P: Port> Chain for Asking<P> {
    async fn has_code(&self, address: Address) -> Result<bool, ChainError> {
        answered!(self, Question::HasCode(address), HasCode)
    }

    async fn has_roles(&self, relayer: Address) -> Result<(bool, bool), ChainError> {
        answered!(self, Question::HasRoles(relayer), HasRoles)
    }

    async fn head(&self) -> Result<Head, ChainError> {
        answered!(self, Question::Head, Head)
    }

    async fn block_at(&self, number: BlockNumber) -> Result<Head, ChainError> {
        answered!(self, Question::BlockAt(number), BlockAt)
    }

    async fn agreed_block(&self, number: BlockNumber) -> Result<Option<Head>, ChainError> {
        answered!(self, Question::AgreedBlock(number), AgreedBlock)
    }

    async fn priority_fees(&self) -> Result<Vec<u128>, ChainError> {
        answered!(self, Question::PriorityFees, PriorityFees)
    }

    async fn nonce_at(&self, account: Address, at: Hash32) -> Result<Answers<Nonce>, ChainError> {
        answered!(self, Question::NonceAt { account, at }, NonceAt)
    }

    async fn nonce_latest(&self, account: Address) -> Result<NonceRange, ChainError> {
        answered!(self, Question::NonceLatest(account), NonceLatest)
    }

    async fn takeover_nonces(&self, account: Address) -> Result<Vec<AccountNonces>, ChainError> {
        answered!(self, Question::TakeoverNonces(account), TakeoverNonces)
    }

    async fn conditions(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError> {
        answered!(self, Question::Conditions { signer, at }, Conditions)
    }

    async fn simulate_payouts(&self, items: &[Payout], at: Hash32) -> Result<Vec<Verdict>, ChainError> {
        answered!(self, Question::SimulatePayouts { items: items.to_vec(), at }, SimulatePayouts)
    }

    async fn simulate_registrations(
        &self,
        items: &[Register],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError> {
        let question = Question::SimulateRegistrations { items: items.to_vec(), at };
        answered!(self, question, SimulateRegistrations)
    }

    async fn simulate_call(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
    ) -> Result<Option<Verdict>, ChainError> {
        answered!(self, Question::SimulateCall { to, data, gas, at }, SimulateCall)
    }

    async fn paid_at(
        &self,
        payments: &[PaymentId],
        at: Hash32,
    ) -> Result<Answers<Vec<Option<BlockNumber>>>, ChainError> {
        answered!(self, Question::PaidAt { payments: payments.to_vec(), at }, PaidAt)
    }

    async fn referrers(
        &self,
        children: &[Wallet],
        at: Hash32,
    ) -> Result<Answers<Vec<Option<Wallet>>>, ChainError> {
        answered!(self, Question::Referrers { children: children.to_vec(), at }, Referrers)
    }

    async fn events(&self, from: BlockNumber, to: BlockNumber) -> Result<Vec<ChainEvent>, ChainError> {
        answered!(self, Question::Events { from, to }, Events)
    }

    async fn events_in(&self, block: Hash32) -> Result<Vec<Said<Vec<ChainEvent>>>, ChainError> {
        answered!(self, Question::EventsIn(block), EventsIn)
    }

    async fn receipt(&self, tx: Hash32) -> Result<Option<ReceiptView>, ChainError> {
        answered!(self, Question::Receipt(tx), Receipt)
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<SendOutcome, ChainError> {
        answered!(self, Question::Broadcast(raw.clone()), Broadcast)
    }

    fn blame(&self, endpoint: &str, why: &str) {
        self.0.blame(endpoint, why);
    }
}
