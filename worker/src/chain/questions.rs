//! The questions that one endpoint is asked, each with its answer decoded: an answer that does not decode is that node's
//! fault, and somebody else is asked.

use alloy::primitives::{Address, Bytes, U64, U128, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolCall;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::ids::{BlockNumber, Hash32, Nonce, PaymentId, Wallet};
use shared::money::{Sge, Usdc};

use super::agree::AccountNonces;
use super::bindings::contracts::{IAffiliatePayout as P, IAffiliateRegistry as R};
use super::classify::{self, Revert};
use super::decode::Contracts;
use super::endpoint::{At, Call, Endpoint};
use super::events::{self, LogFilter};
use super::wire::{RawHeader, RawReceipt, receipt_view, room};
use super::{ChainError, ChainEvent, Conditions, Head, ReceiptView};

/// Ids or wallets of one batch view.
const VIEW_CHUNK: usize = 500;
/// Gas of a view: far above what [`VIEW_CHUNK`] cold reads take.
const VIEW_GAS: u64 = 10_000_000;

/// Whose contracts a question is about, and who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    pub(super) registry: Address,
    pub(super) payout: Address,
    /// Who simulated calls come from.
    pub(super) relayer: Address,
}

/// The JSON-RPC parameter for a block by number.
pub(super) fn numbered(block: BlockNumber) -> Value {
    json!(format!("{:#x}", block.get()))
}

impl Endpoint {
    /// The block that `block` (a number or a tag) names.
    pub(super) async fn header(&self, block: Value) -> Result<Head, ChainError> {
        let method = "eth_getBlockByNumber";
        let shown = block.as_str().unwrap_or_default().to_owned();
        let found: Option<RawHeader> = self.ask(method, (block, false), At::Latest).await?;
        found.map(Head::from).ok_or_else(|| self.unknown_block(shown))
    }

    /// Its newest block; `best` is the newest that anybody showed before.
    pub(super) async fn head(&self, best: Option<BlockNumber>) -> Result<Head, ChainError> {
        let head = self.header(json!("latest")).await?;
        self.showed(head.number, best);
        Ok(head)
    }

    pub(super) async fn nonce(&self, account: Address, block: Value, at: At) -> Result<Nonce, ChainError> {
        let nonce: U64 = self.ask("eth_getTransactionCount", (account, block), at).await?;
        Ok(Nonce::new(nonce.to()))
    }

    pub(super) async fn nonces(&self, account: Address) -> Result<AccountNonces, ChainError> {
        let head = self.header(json!("latest")).await?.number;
        let latest = self.nonce(account, json!("latest"), At::Latest).await?;
        let pending = self.nonce(account, json!("pending"), At::Latest).await?;
        Ok(AccountNonces { head, latest, pending })
    }

    pub(super) async fn priority_fee(&self) -> Result<u128, ChainError> {
        let fee: U128 = self.ask("eth_maxPriorityFeePerGas", (), At::Latest).await?;
        Ok(fee.to())
    }

    pub(super) async fn code(&self, address: Address) -> Result<Bytes, ChainError> {
        self.ask("eth_getCode", (address, "latest"), At::Latest).await
    }

    /// Runs a call: what `decode` makes of its return data, or how it was undone.
    pub(super) async fn run<T>(
        &self,
        call: &Call,
        at: At,
        decode: impl Fn(&Bytes) -> Result<T, String>,
    ) -> Result<Result<T, Revert>, ChainError> {
        match self.call(call, at).await? {
            Ok(returned) => decode(&returned).map(Ok).map_err(|problem| self.garbage("eth_call", problem)),
            Err(revert) => Ok(Err(revert)),
        }
    }

    /// A view that has no business reverting.
    pub(super) async fn view<C: SolCall>(
        &self,
        from: Address,
        to: Address,
        call: &C,
        at: At,
    ) -> Result<C::Return, ChainError> {
        let call = Call { from, to, data: call.abi_encode().into(), gas: VIEW_GAS };
        self.run(&call, at, decoded::<C>).await?.map_err(|revert| ChainError::Node {
            endpoint: self.name().to_string(),
            method: "eth_call",
            detail: format!("{} reverted: {}", C::SIGNATURE, revert.message),
        })
    }

    /// Per payment id: the block it was paid in, as of the block `at`.
    pub(super) async fn paid_at(
        &self,
        site: Site,
        payments: &[PaymentId],
        at: Hash32,
    ) -> Result<Vec<Option<BlockNumber>>, ChainError> {
        let mut blocks = Vec::with_capacity(payments.len());
        for chunk in payments.chunks(VIEW_CHUNK) {
            let call = P::paidAtBatchCall { paymentIds: chunk.iter().map(PaymentId::hash).collect() };
            let found = self.view(site.relayer, site.payout, &call, At::Hash(at)).await?;
            self.complete("payments", found.len(), chunk.len())?;
            for block in found {
                let block = u64::try_from(block).map_err(|error| self.garbage("eth_call", error))?;
                blocks.push((block != 0).then(|| BlockNumber::new(block)));
            }
        }
        Ok(blocks)
    }

    /// Per child: its recorded referrer, as of the block `at`.
    pub(super) async fn referrers(
        &self,
        site: Site,
        children: &[Wallet],
        at: Hash32,
    ) -> Result<Vec<Option<Wallet>>, ChainError> {
        let mut referrers = Vec::with_capacity(children.len());
        for chunk in children.chunks(VIEW_CHUNK) {
            let call = R::referrerOfBatchCall { children: chunk.iter().map(Wallet::address).collect() };
            let found = self.view(site.relayer, site.registry, &call, At::Hash(at)).await?;
            self.complete("wallets", found.len(), chunk.len())?;
            // The zero address, which is no wallet, stands for "none".
            referrers.extend(found.into_iter().map(|address| Wallet::try_from(address).ok()));
        }
        Ok(referrers)
    }

    fn complete(&self, of: &str, found: usize, asked: usize) -> Result<(), ChainError> {
        if found == asked {
            return Ok(());
        }
        Err(self.garbage("eth_call", format!("{found} answers for {asked} {of}")))
    }

    pub(super) async fn roles(&self, site: Site, account: Address) -> Result<(bool, bool), ChainError> {
        let role = alloy::primitives::keccak256("RELAYER_ROLE");
        let registry = R::hasRoleCall { role, account };
        let registry = self.view(site.relayer, site.registry, &registry, At::Latest).await?;
        let payout = P::hasRoleCall { role, account };
        Ok((registry, self.view(site.relayer, site.payout, &payout, At::Latest).await?))
    }

    /// Where the contracts live; the payout contract names its tokens, which never change.
    pub(super) async fn contracts(&self, site: Site) -> Result<Contracts, ChainError> {
        let usdc = self.view(site.relayer, site.payout, &P::usdcCall {}, At::Latest).await?;
        let sge = self.view(site.relayer, site.payout, &P::sgeCall {}, At::Latest).await?;
        Ok(Contracts { registry: site.registry, payout: site.payout, usdc, sge })
    }

    pub(super) async fn conditions(
        &self,
        from: Address,
        contracts: &Contracts,
        signer: Address,
        at: Hash32,
    ) -> Result<Conditions, ChainError> {
        let Contracts { registry, payout, usdc, sge } = *contracts;
        let at = At::Hash(at);
        let questions = [
            question(from, registry, &R::pausedCall {}, at),
            question(from, payout, &P::pausedCall {}, at),
            question(from, payout, &P::fundsCall { token: usdc }, at),
            question(from, payout, &P::limitsCall { token: usdc }, at),
            question(from, payout, &P::fundsCall { token: sge }, at),
            question(from, payout, &P::limitsCall { token: sge }, at),
            ("eth_getBalance", json!([signer, at.param()])),
        ];
        let answers = self.ask_all(&questions, at).await?;
        let [registry_paused, payout_paused, usdc_funds, usdc_limits, sge_funds, sge_limits, balance] =
            &answers[..]
        else {
            let problem = format!("{} answers to {} questions", answers.len(), questions.len());
            return Err(self.garbage("batch", problem));
        };
        let balance = U256::deserialize(balance).map_err(|error| self.garbage("eth_getBalance", error))?;
        let usdc_limits = self.returned::<P::limitsCall>(usdc_limits)?;
        let sge_limits = self.returned::<P::limitsCall>(sge_limits)?;
        Ok(Conditions {
            registry_paused: self.returned::<R::pausedCall>(registry_paused)?,
            payout_paused: self.returned::<P::pausedCall>(payout_paused)?,
            usdc: room(self.returned::<P::fundsCall>(usdc_funds)?, &usdc_limits, Usdc::from_base_units),
            sge: room(self.returned::<P::fundsCall>(sge_funds)?, &sge_limits, Sge::from_base_units),
            signer_balance: balance.saturating_to(),
        })
    }

    fn returned<C: SolCall>(&self, answer: &Value) -> Result<C::Return, ChainError> {
        let bytes = Bytes::deserialize(answer).map_err(|error| self.garbage("eth_call", error))?;
        decoded::<C>(&bytes).map_err(|problem| self.garbage("eth_call", problem))
    }

    pub(super) async fn receipt(
        &self,
        contracts: &Contracts,
        tx: Hash32,
    ) -> Result<Option<ReceiptView>, ChainError> {
        let method = "eth_getTransactionReceipt";
        let raw: Option<RawReceipt> = self.ask(method, (tx.b256(),), At::Latest).await?;
        raw.map_or(Ok(None), |raw| receipt_view(raw, tx, contracts)).map_err(|why| self.garbage(method, why))
    }

    /// Both contracts' events that match `filter`, in chain order.
    pub(super) async fn logs(
        &self,
        contracts: &Contracts,
        filter: &LogFilter,
    ) -> Result<Vec<ChainEvent>, ChainError> {
        let method = "eth_getLogs";
        let at = filter.at();
        match self.ask_quietly::<_, Vec<Log>>(method, (filter.param(contracts),), at).await {
            // A question that asks too much at once says nothing about the node.
            Err(error) if classify::asks_for_smaller_range(&error, filter.blocks()) => Err(error),
            answer => {
                let logs = self.noted(answer)?;
                events::decode_logs(&logs, contracts).map_err(|why| self.garbage(method, why))
            }
        }
    }
}

fn decoded<C: SolCall>(returned: &Bytes) -> Result<C::Return, String> {
    C::abi_decode_returns(returned).map_err(|error| format!("{}: {error}", C::SIGNATURE))
}

fn question(from: Address, to: Address, call: &impl SolCall, at: At) -> (&'static str, Value) {
    let call = Call { from, to, data: call.abi_encode().into(), gas: VIEW_GAS };
    ("eth_call", json!([call, at.param()]))
}
