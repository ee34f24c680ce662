//! [`Chain`] over JSON-RPC. Raw calls only: no filler sets a nonce, a fee or a gas limit here.
//!
//! Reads go to the first endpoint, and to the next only when it gives no usable answer; broadcasts go to all. A read that names a block is answered for that canonical block or fails.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use alloy::primitives::{Address, Bytes, U64, U128};
use alloy::rpc::json_rpc::{RpcRecv, RpcSend};
use alloy::sol_types::SolCall;
use alloy::transports::http::reqwest::{Client, redirect};
use async_trait::async_trait;
use serde_json::{Value, json};
use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::job::{Payout, Register};
use thiserror::Error;
use tokio::sync::OnceCell;

use super::bindings::contracts::{IAffiliatePayout as P, IAffiliateRegistry as R};
use super::classify::Revert;
use super::decode::{self, Contracts};
use super::endpoint::{At, Call, Endpoint};
use super::events::FIRST_SPAN;
use super::wire::RawHeader;
use super::{Chain, ChainError, ChainEvent, Conditions, Head, ReceiptView, SendOutcome, Verdict, broadcast};

pub use super::endpoint::Url;

/// Ids or wallets of one batch view.
const VIEW_CHUNK: usize = 500;
/// Gas of a view: far above what [`VIEW_CHUNK`] cold reads take.
pub(super) const VIEW_GAS: u64 = 10_000_000;

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
    pub(super) async fn first_answer<'a, T, F>(
        &'a self,
        question: impl Fn(&'a Endpoint) -> F,
    ) -> Result<T, ChainError>
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
        self.conditions_at(signer, at).await
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
        self.receipt_of(tx).await
    }

    async fn broadcast(&self, raw: &Bytes) -> Result<SendOutcome, ChainError> {
        broadcast::to_all(&self.endpoints, raw)
            .await
            .unwrap_or_else(|| Err(self.garbage("eth_sendRawTransaction", "no endpoint is configured")))
    }
}
