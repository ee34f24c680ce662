//! Blocks, receipts and the contracts' limits as nodes word them. Fields that no decision needs are not looked at, so
//! that a fork's additions break nothing; a field that is needed and missing is an error, never zero.

use alloy::primitives::{Address, B256, U64, U128, U256};
use alloy::rpc::types::Log;
use serde::Deserialize;
use shared::ids::{BlockNumber, Hash32};
use shared::tx::Inclusion;

use super::bindings::contracts::IAffiliatePayout as P;
use super::decode::Contracts;
use super::{Head, ReceiptView, TokenRoom, events};

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
pub(super) struct RawReceipt {
    transaction_hash: B256,
    block_number: Option<U64>,
    block_hash: Option<B256>,
    /// Absent where a contract was created.
    to: Option<Address>,
    status: Option<U64>,
    gas_used: U64,
    effective_gas_price: Option<U128>,
    logs: Vec<Log>,
}

/// `None` while the transaction is not in a block. An error says what is missing.
pub(super) fn receipt_view(
    raw: RawReceipt,
    tx: Hash32,
    contracts: &Contracts,
) -> Result<Option<ReceiptView>, String> {
    if raw.transaction_hash != tx.b256() {
        return Err(format!("the receipt of {} instead of {tx}", raw.transaction_hash));
    }
    // Some nodes show a receipt of a pending block, without a number: not included yet.
    let (Some(block), Some(block_hash)) = (raw.block_number, raw.block_hash) else { return Ok(None) };
    let (Some(status), Some(price)) = (raw.status, raw.effective_gas_price) else {
        return Err("a receipt without status or effectiveGasPrice".to_owned());
    };
    Ok(Some(ReceiptView {
        inclusion: Inclusion { hash: tx, block: BlockNumber::new(block.to()) },
        block_hash: block_hash.into(),
        to: raw.to,
        succeeded: status == U64::from(1),
        gas_used: raw.gas_used.to(),
        effective_gas_price: price.to(),
        events: events::decode_logs(&raw.logs, contracts)?,
    }))
}

pub(super) fn room<T>(funds: U256, limits: &P::limitsReturn, unit: fn(u128) -> T) -> TokenRoom<T> {
    // Amounts above 2^128 stand for "no bound": nothing the relayer pays comes near.
    let unit = |value: U256| unit(value.saturating_to());
    TokenRoom {
        funds: unit(funds),
        window_left: unit(limits.left),
        cap: unit(limits.cap),
        window_limit: if limits.left == U256::MAX { unit(U256::MAX) } else { unit(limits.limit) },
        window_seconds: limits.window.to(),
    }
}
