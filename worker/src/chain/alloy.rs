//! [`Chain`] over JSON-RPC. Raw calls only: no filler sets a nonce, a fee or a gas limit here.
//!
//! Reads go to the first endpoint, and to the next only when it gives no usable answer. Broadcasts go to all at once,
//! and any answer outranks any silence. A read that names a block is answered for that canonical block or fails.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U64, U128, U256};
use alloy::rpc::json_rpc::{RpcRecv, RpcSend};
use alloy::rpc::types::Log;
use alloy::sol_types::SolCall;
use alloy::transports::http::reqwest::{Client, redirect};
use async_trait::async_trait;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::job::{Payout, Register};
use shared::money::{Sge, Usdc};
use shared::tx::Inclusion;
use thiserror::Error;
use tokio::sync::OnceCell;

use super::bindings::contracts::{IAffiliatePayout as P, IAffiliateRegistry as R};
use super::classify::Revert;
use super::decode::{self, Contracts};
use super::endpoint::{At, Call, Endpoint};
use super::events::FIRST_SPAN;
use super::{Chain, ChainError, ChainEvent, Conditions, Head, ReceiptView, SendOutcome, TokenRoom, Verdict};

pub use super::endpoint::Url;

/// Ids or wallets of one batch view.
const VIEW_CHUNK: usize = 500;
/// Gas of a view: far above what [`VIEW_CHUNK`] cold reads take.
const VIEW_GAS: u64 = 10_000_000;

/// How to reach the chain, and which contracts to talk to. Has no `Debug`: urls hold credentials.
#[derive(Clone)]
pub struct AlloyChainConfig {
    /// HTTP urls; the first is read from, all are broadcast to.
    pub endpoints: Vec<Url>,
    pub registry: Address,
    pub payout: Address,
    /// Who simulated calls come from.
    pub relayer: Address,
    /// For each single question to one endpoint.
    pub deadline: Duration,
}

impl AlloyChainConfig {
    pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
}

/// Why no client could be built.
#[derive(Debug, Error)]
pub enum ChainSetupError {
    #[error("no HTTP endpoint is configured")]
    NoEndpoint,
    #[error("the HTTP client cannot be built")]
    Http(#[source] alloy::transports::http::reqwest::Error),
}

pub struct AlloyChain {
    /// Never empty.
    endpoints: Vec<Endpoint>,
    registry: Address,
    payout: Address,
    relayer: Address,
    contracts: OnceCell<Contracts>,
    pub(super) log_span: AtomicU64,
}

/// A block header as nodes give it. Fields of other forks are not looked at.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawHeader {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    gas_limit: U64,
    base_fee_per_gas: U128,
}

impl From<RawHeader> for Head {
    fn from(raw: RawHeader) -> Self {
        Self {
            number: BlockNumber::new(raw.number.to()),
            hash: raw.hash.into(),
            parent: raw.parent_hash.into(),
            timestamp: raw.timestamp.to(),
            gas_limit: raw.gas_limit.to(),
            base_fee: raw.base_fee_per_gas.to(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReceipt {
    transaction_hash: B256,
    block_number: Option<U64>,
    status: Option<U64>,
    gas_used: U64,
    effective_gas_price: Option<U128>,
    logs: Vec<Log>,
}

impl AlloyChain {
    pub fn new(config: &AlloyChainConfig) -> Result<Self, ChainSetupError> {
        if config.endpoints.is_empty() {
            return Err(ChainSetupError::NoEndpoint);
        }
        // One client for all: building one loads the root certificates. No redirects: they could leak what is sent.
        let http = Client::builder()
            .connect_timeout(config.deadline)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(ChainSetupError::Http)?;
        Ok(Self {
            endpoints: config
                .endpoints
                .iter()
                .map(|url| Endpoint::new(&http, url, config.deadline))
                .collect(),
            registry: config.registry,
            payout: config.payout,
            relayer: config.relayer,
            contracts: OnceCell::new(),
            log_span: AtomicU64::new(FIRST_SPAN),
        })
    }

    pub(super) fn relayer(&self) -> Address {
        self.relayer
    }

    pub(super) fn first_endpoint(&self) -> &str {
        self.endpoints.first().map_or("?", Endpoint::name)
    }

    pub(super) fn garbage(&self, method: &'static str, detail: impl std::fmt::Display) -> ChainError {
        ChainError::Garbage { endpoint: self.first_endpoint().to_owned(), method, detail: detail.to_string() }
    }

    /// Asks one endpoint after the other until one has an answer; otherwise the first one's error.
    async fn first_answer<'a, T, F>(&'a self, question: impl Fn(&'a Endpoint) -> F) -> Result<T, ChainError>
    where
        F: Future<Output = Result<T, ChainError>>,
    {
        let mut first_error = None;
        for endpoint in &self.endpoints {
            match question(endpoint).await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    tracing::debug!(rpc.endpoint = endpoint.name(), error = %error, "no answer from this endpoint");
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| self.garbage("any", "no endpoint is configured")))
    }

    pub(super) async fn ask<Q: RpcSend, A: RpcRecv>(
        &self,
        method: &'static str,
        params: Q,
        at: At,
    ) -> Result<A, ChainError> {
        self.first_answer(|endpoint| endpoint.ask(method, params.clone(), at)).await
    }

    /// Runs a call on top of a block, as if sent by the relayer: what it returned, or how it was undone.
    pub(super) async fn call_at(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
    ) -> Result<Result<Bytes, Revert>, ChainError> {
        self.run(to, data, gas, At::Hash(at)).await
    }

    async fn run(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: At,
    ) -> Result<Result<Bytes, Revert>, ChainError> {
        let call = Call { from: self.relayer, to, data, gas };
        self.first_answer(|endpoint| endpoint.call(&call, at)).await
    }

    /// A view that has no business reverting.
    async fn view<C: SolCall>(&self, to: Address, call: C, at: At) -> Result<C::Return, ChainError> {
        let answer = self.run(to, call.abi_encode().into(), VIEW_GAS, at).await?;
        let returned = answer.map_err(|revert| ChainError::Node {
            endpoint: self.first_endpoint().to_owned(),
            method: "eth_call",
            detail: format!("{} reverted: {}", C::SIGNATURE, revert.message),
        })?;
        C::abi_decode_returns(&returned)
            .map_err(|error| self.garbage("eth_call", format!("{}: {error}", C::SIGNATURE)))
    }

    /// Where the contracts live; the payout contract names its tokens, which never change.
    pub(super) async fn contracts(&self) -> Result<Contracts, ChainError> {
        let read = || async {
            let usdc = self.view(self.payout, P::usdcCall {}, At::Latest).await?;
            let sge = self.view(self.payout, P::sgeCall {}, At::Latest).await?;
            Ok(Contracts { registry: self.registry, payout: self.payout, usdc, sge })
        };
        self.contracts.get_or_try_init(read).await.copied()
    }

    async fn header(&self, block: Value, shown: &str) -> Result<Head, ChainError> {
        let method = "eth_getBlockByNumber";
        self.first_answer(|endpoint| {
            let asked = endpoint.ask::<_, Option<RawHeader>>(method, (block.clone(), false), At::Latest);
            async move { asked.await?.map(Head::from).ok_or_else(|| endpoint.unknown_block(shown)) }
        })
        .await
    }

    async fn nonce(&self, account: Address, block: Value, at: At) -> Result<Nonce, ChainError> {
        let nonce: U64 = self.ask("eth_getTransactionCount", (account, block), at).await?;
        Ok(Nonce::new(nonce.to()))
    }

    fn question(&self, to: Address, call: &impl SolCall, at: At) -> (&'static str, Value) {
        let call = Call { from: self.relayer, to, data: call.abi_encode().into(), gas: VIEW_GAS };
        ("eth_call", json!([call, at.param()]))
    }

    fn returned<C: SolCall>(&self, answer: &Value) -> Result<C::Return, ChainError> {
        let bytes = Bytes::deserialize(answer).map_err(|error| self.garbage("eth_call", error))?;
        C::abi_decode_returns(&bytes)
            .map_err(|error| self.garbage("eth_call", format!("{}: {error}", C::SIGNATURE)))
    }

    fn room<T>(
        &self,
        funds: &Value,
        limits: &Value,
        unit: fn(u128) -> T,
    ) -> Result<TokenRoom<T>, ChainError> {
        let limits = self.returned::<P::limitsCall>(limits)?;
        // Amounts above 2^128 stand for "no bound": nothing the relayer pays comes near.
        let unit = |value: U256| unit(value.saturating_to());
        Ok(TokenRoom {
            funds: unit(self.returned::<P::fundsCall>(funds)?),
            window_left: unit(limits.left),
            cap: unit(limits.cap),
            window_limit: if limits.left == U256::MAX { unit(U256::MAX) } else { unit(limits.limit) },
            window_seconds: limits.window.to(),
        })
    }
}

#[async_trait]
impl Chain for AlloyChain {
    async fn chain_id(&self) -> Result<u64, ChainError> {
        let id: U64 = self.ask("eth_chainId", (), At::Latest).await?;
        Ok(id.to())
    }

    async fn has_code(&self, address: Address) -> Result<bool, ChainError> {
        let code: Bytes = self.ask("eth_getCode", (address, "latest"), At::Latest).await?;
        Ok(!code.is_empty())
    }

    async fn has_roles(&self, relayer: Address) -> Result<(bool, bool), ChainError> {
        let role = alloy::primitives::keccak256("RELAYER_ROLE");
        let registry =
            self.view(self.registry, R::hasRoleCall { role, account: relayer }, At::Latest).await?;
        let payout = self.view(self.payout, P::hasRoleCall { role, account: relayer }, At::Latest).await?;
        Ok((registry, payout))
    }

    async fn head(&self) -> Result<Head, ChainError> {
        self.header(json!("latest"), "latest").await
    }

    async fn block_at(&self, number: BlockNumber) -> Result<Head, ChainError> {
        self.header(json!(format!("{:#x}", number.get())), &number.to_string()).await
    }

    async fn priority_fee(&self) -> Result<u128, ChainError> {
        let fee: U128 = self.ask("eth_maxPriorityFeePerGas", (), At::Latest).await?;
        Ok(fee.to())
    }

    async fn nonce_at(&self, account: Address, at: Hash32) -> Result<Nonce, ChainError> {
        self.nonce(account, At::Hash(at).param(), At::Hash(at)).await
    }

    async fn nonce_latest(&self, account: Address) -> Result<Nonce, ChainError> {
        self.nonce(account, json!("latest"), At::Latest).await
    }

    async fn nonce_pending(&self, account: Address) -> Result<Nonce, ChainError> {
        self.nonce(account, json!("pending"), At::Latest).await
    }

    async fn conditions(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError> {
        let Contracts { registry, payout, usdc, sge } = self.contracts().await?;
        let at = At::Hash(at);
        let questions = [
            self.question(registry, &R::pausedCall {}, at),
            self.question(payout, &P::pausedCall {}, at),
            self.question(payout, &P::fundsCall { token: usdc }, at),
            self.question(payout, &P::limitsCall { token: usdc }, at),
            self.question(payout, &P::fundsCall { token: sge }, at),
            self.question(payout, &P::limitsCall { token: sge }, at),
            ("eth_getBalance", json!([signer, at.param()])),
        ];
        let answers = self.first_answer(|endpoint| endpoint.ask_all(&questions, at)).await?;
        let [registry_paused, payout_paused, usdc_funds, usdc_limits, sge_funds, sge_limits, balance] =
            &answers[..]
        else {
            return Err(
                self.garbage("batch", format!("{} answers to {} questions", answers.len(), questions.len()))
            );
        };
        let balance = U256::deserialize(balance).map_err(|error| self.garbage("eth_getBalance", error))?;
        Ok(Conditions {
            registry_paused: self.returned::<R::pausedCall>(registry_paused)?,
            payout_paused: self.returned::<P::pausedCall>(payout_paused)?,
            usdc: self.room(usdc_funds, usdc_limits, Usdc::from_base_units)?,
            sge: self.room(sge_funds, sge_limits, Sge::from_base_units)?,
            signer_balance: balance.saturating_to(),
        })
    }

    async fn simulate_payouts(&self, items: &[Payout], at: Hash32) -> Result<Vec<Verdict>, ChainError> {
        self.payout_verdicts(items, at).await
    }

    async fn simulate_registrations(
        &self,
        items: &[Register],
        at: Hash32,
    ) -> Result<Vec<Verdict>, ChainError> {
        self.registration_verdicts(items, at).await
    }

    async fn simulate_call(
        &self,
        to: Address,
        data: Bytes,
        gas: u64,
        at: Hash32,
    ) -> Result<Option<Verdict>, ChainError> {
        let contracts = self.contracts().await?;
        let answer = self.call_at(to, data, gas, at).await?;
        Ok(answer.err().map(|revert| decode::call_revert(&revert, to, &contracts, None)))
    }

    async fn paid_at(
        &self,
        payments: &[PaymentId],
        at: Hash32,
    ) -> Result<Vec<Option<BlockNumber>>, ChainError> {
        let mut blocks = Vec::with_capacity(payments.len());
        for chunk in payments.chunks(VIEW_CHUNK) {
            let call = P::paidAtBatchCall { paymentIds: chunk.iter().map(PaymentId::hash).collect() };
            let found = self.view(self.payout, call, At::Hash(at)).await?;
            if found.len() != chunk.len() {
                return Err(
                    self.garbage("eth_call", format!("{} answers for {} payments", found.len(), chunk.len()))
                );
            }
            for block in found {
                let block = u64::try_from(block).map_err(|error| self.garbage("eth_call", error))?;
                blocks.push((block != 0).then(|| BlockNumber::new(block)));
            }
        }
        Ok(blocks)
    }

    async fn referrers(&self, children: &[Wallet], at: Hash32) -> Result<Vec<Option<Wallet>>, ChainError> {
        let mut referrers = Vec::with_capacity(children.len());
        for chunk in children.chunks(VIEW_CHUNK) {
            let call = R::referrerOfBatchCall { children: chunk.iter().map(Wallet::address).collect() };
            let found = self.view(self.registry, call, At::Hash(at)).await?;
            if found.len() != chunk.len() {
                return Err(
                    self.garbage("eth_call", format!("{} answers for {} wallets", found.len(), chunk.len()))
                );
            }
            // The zero address, which is no wallet, stands for "none".
            referrers.extend(found.into_iter().map(|address| Wallet::try_from(address).ok()));
        }
        Ok(referrers)
    }

    async fn events(&self, from: BlockNumber, to: BlockNumber) -> Result<Vec<ChainEvent>, ChainError> {
        self.events_between(from, to).await
    }

    async fn receipt(&self, tx: Hash32) -> Result<Option<ReceiptView>, ChainError> {
        let method = "eth_getTransactionReceipt";
        let contracts = self.contracts().await?;
        let Some(raw) = self.ask::<_, Option<RawReceipt>>(method, (tx.b256(),), At::Latest).await? else {
            return Ok(None);
        };
        // Some nodes show a receipt of a pending block, without a number: not included yet.
        let Some(block) = raw.block_number else { return Ok(None) };
        let (Some(status), Some(price)) = (raw.status, raw.effective_gas_price) else {
            return Err(self.garbage(method, "a receipt without status or effectiveGasPrice"));
        };
        Ok(Some(ReceiptView {
            inclusion: Inclusion { hash: raw.transaction_hash.into(), block: BlockNumber::new(block.to()) },
            succeeded: status == U64::from(1),
            gas_used: raw.gas_used.to(),
            effective_gas_price: price.to(),
            events: self.decode_logs(method, &raw.logs, &contracts)?,
        }))
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<SendOutcome, ChainError> {
        let answers = join_all(self.endpoints.iter().map(|endpoint| endpoint.send(raw))).await;
        best_answer(answers)
            .unwrap_or_else(|| Err(self.garbage("eth_sendRawTransaction", "no endpoint is configured")))
    }
}

/// The answer that counts: acceptance, then what tells most, then whatever was said; silence only when all are silent.
fn best_answer(answers: Vec<Result<SendOutcome, ChainError>>) -> Option<Result<SendOutcome, ChainError>> {
    answers.into_iter().min_by_key(|answer| match answer {
        Ok(SendOutcome::Accepted) => 0,
        Ok(SendOutcome::AlreadyKnown) => 1,
        Ok(SendOutcome::NonceTooLow) => 2,
        Ok(SendOutcome::ReplacementUnderpriced) => 3,
        Ok(SendOutcome::FeeTooLow) => 4,
        // Before the refusals that end in a cancel: waiting may still mend it.
        Ok(SendOutcome::PoolFull) => 5,
        Ok(SendOutcome::InsufficientFunds) => 6,
        Ok(SendOutcome::GasTooLow) => 7,
        Ok(SendOutcome::TooLarge) => 8,
        Ok(SendOutcome::Refused(_)) => 9,
        // May have been accepted: says more than a connection that never was.
        Err(ChainError::Timeout { .. }) => 10,
        Err(_) => 11,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout() -> Result<SendOutcome, ChainError> {
        Err(ChainError::Timeout { endpoint: "a".into(), method: "eth_sendRawTransaction" })
    }

    #[test]
    fn one_acceptance_is_acceptance() {
        let answers = vec![timeout(), Ok(SendOutcome::NonceTooLow), Ok(SendOutcome::Accepted)];
        assert_eq!(best_answer(answers), Some(Ok(SendOutcome::Accepted)));
    }

    #[test]
    fn any_answer_outranks_silence() {
        assert_eq!(
            best_answer(vec![timeout(), Ok(SendOutcome::FeeTooLow)]),
            Some(Ok(SendOutcome::FeeTooLow))
        );
        assert_eq!(best_answer(vec![timeout(), timeout()]), Some(timeout()));
        assert_eq!(best_answer(Vec::new()), None);
    }
}
