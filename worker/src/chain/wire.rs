//! Blocks, receipts and the contracts' conditions as nodes word them. Fields that no decision needs are not looked at, so
//! that a fork's additions break nothing; a field that is needed and missing is an error, never zero.

use alloy::primitives::{Address, B256, Bytes, U64, U128, U256};
use alloy::rpc::types::Log;
use alloy::sol_types::SolCall;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::ids::{BlockNumber, Hash32};
use shared::money::{Sge, Usdc};
use shared::tx::Inclusion;

use super::alloy::{AlloyChain, VIEW_GAS};
use super::bindings::contracts::{IAffiliatePayout as P, IAffiliateRegistry as R};
use super::decode::Contracts;
use super::endpoint::{At, Call};
use super::{ChainError, Conditions, Head, ReceiptView, TokenRoom};

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
    pub(super) async fn conditions_at(&self, signer: Address, at: Hash32) -> Result<Conditions, ChainError> {
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

    pub(super) async fn receipt_of(&self, tx: Hash32) -> Result<Option<ReceiptView>, ChainError> {
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

    fn question(&self, to: Address, call: &impl SolCall, at: At) -> (&'static str, Value) {
        let call = Call { from: self.relayer(), to, data: call.abi_encode().into(), gas: VIEW_GAS };
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
