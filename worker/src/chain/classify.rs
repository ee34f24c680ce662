//! What a node's answer means, decided once: transport and RPC errors become [`ChainError`], refusals of a broadcast
//! become [`SendOutcome`], reverts become data. Nodes agree on no codes, so wordings decide, from closed tables.
//!
//! Invariant: silence is never a refusal. A timeout, a cut connection or a rate limit is a [`ChainError`], whatever
//! was sent.

use std::error::Error as StdError;

use alloy::primitives::Bytes;
use alloy::transports::http::reqwest;
use alloy::transports::{RpcError, TransportError, TransportErrorKind};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{ChainError, SendOutcome};

/// A call that the EVM undid, with whatever data came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revert {
    pub data: Bytes,
    pub message: String,
}

/// What kind of answer an error is, before it has an endpoint and a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    Timeout,
    Unreachable(String),
    RateLimited,
    UnknownBlock,
    Node(String),
    Garbage(String),
}

impl Trouble {
    /// `block` is the block that the question was pinned to.
    pub(super) fn at(self, endpoint: &str, method: &'static str, block: &str) -> ChainError {
        let endpoint = endpoint.to_owned();
        match self {
            Self::Timeout => ChainError::Timeout { endpoint, method },
            Self::Unreachable(detail) => ChainError::Unreachable { endpoint, method, detail },
            Self::RateLimited => ChainError::RateLimited { endpoint, method },
            Self::UnknownBlock => ChainError::UnknownBlock { endpoint, block: block.to_owned() },
            Self::Node(detail) => ChainError::Node { endpoint, method, detail },
            Self::Garbage(detail) => ChainError::Garbage { endpoint, method, detail },
        }
    }
}

/// Wordings for a block, or its state, that the node does not have (lower case).
const UNKNOWN_BLOCK: &[&str] = &[
    "header not found",
    "header for hash not found",
    "block not found",
    "unknown block",
    "unknown header",
    "not currently canonical",
    "is not canonical",
    "missing trie node",
    "blockoutofrange",
    "block out of range",
    "could not find block",
    "cannot find block",
    "resource not found",
    "no state available for block",
    "state is not available",
    "historical state",
    "pruned history",
    "world state unavailable",
];

/// Wordings for a log query that spans too much (lower case).
const TOO_MANY_LOGS: &[&str] = &[
    "query returned more than",
    "too many results",
    "more than 10000 results",
    "response size",
    "response is too big",
    "block range",
    "range is too large",
    "range too large",
    "exceed maximum block range",
    "exceeds the range",
    "exceeds max results",
    "max results",
    "too many blocks",
    "limit exceeded",
    "query timeout",
    "limited to a",
];

/// A query over so few blocks that times out does not do so for their number.
const PATIENT_BLOCKS: u64 = 256;

/// Wordings for an exhausted allowance (lower case).
const RATE_LIMITED: &[&str] = &[
    "rate limit",
    "rate exceeded",
    "too many requests",
    "credits limited",
    "request limit",
    "exceeded its compute units",
    "capacity exceeded",
    "maximum number of concurrent requests",
    "request rate limited",
];

/// Wordings of a call that ran and was undone (lower case).
const REVERTED: &[&str] = &[
    "revert",
    "vm execution error",
    "vm exception",
    "out of gas",
    "outofgas",
    "invalid opcode",
    "invalidfeopcode",
];

/// Refusals of a broadcast (lower case), first match decides: the specific stand before the general.
const REFUSALS: &[(&str, SendOutcome)] = &[
    // geth, erigon, besu, anvil, openethereum, nethermind, substrate
    ("already known", SendOutcome::AlreadyKnown),
    ("alreadyknown", SendOutcome::AlreadyKnown),
    ("known transaction", SendOutcome::AlreadyKnown),
    ("already imported", SendOutcome::AlreadyKnown),
    ("alreadyimported", SendOutcome::AlreadyKnown),
    ("existing tx with same hash", SendOutcome::AlreadyKnown),
    ("already in the pool", SendOutcome::AlreadyKnown),
    ("already in mempool", SendOutcome::AlreadyKnown),
    ("already exists in cache", SendOutcome::AlreadyKnown),
    ("nonce too low", SendOutcome::NonceTooLow),
    ("nonce is too low", SendOutcome::NonceTooLow),
    ("nonce_too_low", SendOutcome::NonceTooLow),
    ("nonce below", SendOutcome::NonceTooLow),
    ("below sender account nonce", SendOutcome::NonceTooLow),
    ("oldnonce", SendOutcome::NonceTooLow),
    ("invalid transaction nonce", SendOutcome::NonceTooLow),
    ("pool(stale)", SendOutcome::NonceTooLow),
    ("already finalized", SendOutcome::NonceTooLow),
    ("replacement transaction underpriced", SendOutcome::ReplacementUnderpriced),
    ("transaction_replacement_underpriced", SendOutcome::ReplacementUnderpriced),
    ("insufficient gas price to replace", SendOutcome::ReplacementUnderpriced),
    ("could not replace existing", SendOutcome::ReplacementUnderpriced),
    ("another transaction with same nonce", SendOutcome::ReplacementUnderpriced),
    ("has the same nonce", SendOutcome::ReplacementUnderpriced),
    ("replacementnotallowed", SendOutcome::ReplacementUnderpriced),
    ("ownnoncealreadyused", SendOutcome::ReplacementUnderpriced),
    ("pool is full", SendOutcome::PoolFull),
    ("pool full", SendOutcome::PoolFull),
    ("pool overflow", SendOutcome::PoolFull),
    ("queue full", SendOutcome::PoolFull),
    ("too many transactions in the queue", SendOutcome::PoolFull),
    ("account limit exceeded", SendOutcome::PoolFull),
    ("account slots", SendOutcome::PoolFull),
    ("identified as spam", SendOutcome::PoolFull),
    ("in-flight transaction limit", SendOutcome::PoolFull),
    ("gapped-nonce", SendOutcome::PoolFull),
    ("nonce gap", SendOutcome::PoolFull),
    ("noncegap", SendOutcome::PoolFull),
    ("nonce too high", SendOutcome::PoolFull),
    ("nonce is too distant", SendOutcome::PoolFull),
    ("too far in the future", SendOutcome::PoolFull),
    ("future transaction tries to replace pending", SendOutcome::PoolFull),
    ("congestion", SendOutcome::PoolFull),
    ("insufficient funds", SendOutcome::InsufficientFunds),
    ("insufficientfunds", SendOutcome::InsufficientFunds),
    ("insufficient balance", SendOutcome::InsufficientFunds),
    ("not enough funds", SendOutcome::InsufficientFunds),
    ("have enough funds", SendOutcome::InsufficientFunds),
    ("lack of funds", SendOutcome::InsufficientFunds),
    ("exceeds account balance", SendOutcome::InsufficientFunds),
    ("exceeds transaction sender account balance", SendOutcome::InsufficientFunds),
    ("intrinsic gas too low", SendOutcome::GasTooLow),
    ("intrinsic gas exceeds gas limit", SendOutcome::GasTooLow),
    ("insufficient gas for floor", SendOutcome::GasTooLow),
    ("gas floor", SendOutcome::GasTooLow),
    ("call gas cost", SendOutcome::GasTooLow),
    ("gas is too low", SendOutcome::GasTooLow),
    ("gas limit too low", SendOutcome::GasTooLow),
    ("exceeds block gas limit", SendOutcome::TooLarge),
    ("exceeds the block gas limit", SendOutcome::TooLarge),
    ("exceeds block's gas limit", SendOutcome::TooLarge),
    ("exceeds current gas limit", SendOutcome::TooLarge),
    ("gas limit too high", SendOutcome::TooLarge),
    ("intrinsic gas too high", SendOutcome::TooLarge),
    ("gas limit is too high", SendOutcome::TooLarge),
    ("gaslimitexceeded", SendOutcome::TooLarge),
    ("gaslimitcapexceeded", SendOutcome::TooLarge),
    ("greater than the cap", SendOutcome::TooLarge),
    ("exceeds max transaction gas limit", SendOutcome::TooLarge),
    ("transaction gas limit cap", SendOutcome::TooLarge),
    ("gas is beyond limit", SendOutcome::TooLarge),
    ("oversized data", SendOutcome::TooLarge),
    ("maxtxsizeexceeded", SendOutcome::TooLarge),
    ("transaction is too big", SendOutcome::TooLarge),
    ("transaction size", SendOutcome::TooLarge),
    ("rlp size", SendOutcome::TooLarge),
    ("underpriced", SendOutcome::FeeTooLow),
    ("less than block base fee", SendOutcome::FeeTooLow),
    ("below current base fee", SendOutcome::FeeTooLow),
    ("below minimum", SendOutcome::FeeTooLow),
    ("below configured minimum gas price", SendOutcome::FeeTooLow),
    ("below chain minimum", SendOutcome::FeeTooLow),
    ("minimal gas price", SendOutcome::FeeTooLow),
    ("minimum floor", SendOutcome::FeeTooLow),
    ("gas price too low", SendOutcome::FeeTooLow),
    ("fee too low", SendOutcome::FeeTooLow),
    ("feetoolow", SendOutcome::FeeTooLow),
    ("minimum needed", SendOutcome::FeeTooLow),
];

/// JSON-RPC codes of an error inside the node or the way to it: nothing was said about the transaction itself.
const INTERNAL_CODES: &[i64] = &[-32603, -32601, -32700, -32600, -32001, -32002];

fn any(text: &str, wordings: &[&str]) -> bool {
    wordings.iter().any(|wording| text.contains(wording))
}

/// What `message` says about a broadcast, if it is in the table.
pub(super) fn refusal(message: &str) -> Option<SendOutcome> {
    // "unknown transaction type" must not pass for "known transaction".
    let text = message.to_ascii_lowercase().replace("unknown transaction", "unrecognised transaction");
    REFUSALS.iter().find(|(wording, _)| text.contains(wording)).map(|(_, outcome)| outcome.clone())
}

/// How a node answered `eth_sendRawTransaction` when it did not accept: a refusal, or no usable answer.
pub(super) fn send_answer(error: &TransportError) -> Result<SendOutcome, Trouble> {
    if let RpcError::ErrorResp(payload) = error {
        let message = with_data(&payload.message, payload.data.as_deref());
        if let Some(outcome) = refusal(&message) {
            return Ok(outcome);
        }
        if !(payload.is_retry_err() || INTERNAL_CODES.contains(&payload.code)) {
            return Ok(SendOutcome::Refused(message));
        }
    }
    Err(trouble(error))
}

/// Besu and substrate put the reason into `data` when the message is a generic one.
fn with_data(message: &str, data: Option<&RawValue>) -> String {
    match data.and_then(|data| serde_json::from_str::<Value>(data.get()).ok()) {
        Some(Value::String(text)) if !text.starts_with("0x") => format!("{message}: {text}"),
        _ => message.to_owned(),
    }
}

/// Whether a query over `blocks` blocks must be asked again for fewer.
pub(super) fn asks_for_smaller_range(error: &ChainError, blocks: u64) -> bool {
    match error {
        _ if blocks <= 1 => false,
        ChainError::Node { detail, .. } => any(&detail.to_ascii_lowercase(), TOO_MANY_LOGS),
        // A node that cannot finish a wide query in time may finish a narrow one; one that is dead finishes none.
        ChainError::Timeout { .. } => blocks > PATIENT_BLOCKS,
        _ => false,
    }
}

/// The revert that `error` reports, if the call ran and was undone.
pub(super) fn revert(error: &TransportError) -> Option<Revert> {
    let RpcError::ErrorResp(payload) = error else { return None };
    let data = payload
        .data
        .as_deref()
        .and_then(|data| serde_json::from_str::<Value>(data.get()).ok())
        .and_then(|data| hex_within(&data));
    // Code 3 is an execution error by convention; the wording decides where nodes use another.
    let reverted = payload.code == 3 || any(&payload.message.to_ascii_lowercase(), REVERTED);
    reverted.then(|| Revert { data: data.unwrap_or_default(), message: payload.message.to_string() })
}

/// Revert data, plain, behind the word "Reverted" (Nethermind, OpenEthereum), or inside an object.
fn hex_within(data: &Value) -> Option<Bytes> {
    match data {
        Value::String(text) => text.trim_start_matches("Reverted").trim().parse().ok(),
        Value::Object(fields) => fields.values().find_map(hex_within),
        _ => None,
    }
}

/// What `error` means for a question that is no broadcast and did not revert.
pub(super) fn trouble(error: &TransportError) -> Trouble {
    match error {
        RpcError::ErrorResp(payload) => {
            let text = payload.message.to_ascii_lowercase();
            // First, because codes of rate limits are also used for queries that span too much.
            if any(&text, UNKNOWN_BLOCK) {
                Trouble::UnknownBlock
            } else if any(&text, TOO_MANY_LOGS) && !any(&text, RATE_LIMITED) {
                Trouble::Node(payload.message.to_string())
            } else if any(&text, RATE_LIMITED) || payload.is_retry_err() {
                Trouble::RateLimited
            } else {
                Trouble::Node(format!("{} (code {})", payload.message, payload.code))
            }
        }
        RpcError::Transport(kind) => transport_trouble(kind),
        RpcError::NullResp => Trouble::Garbage("null".to_owned()),
        RpcError::DeserError { err, .. } => Trouble::Garbage(err.to_string()),
        other => Trouble::Garbage(other.to_string()),
    }
}

fn transport_trouble(kind: &TransportErrorKind) -> Trouble {
    match kind {
        TransportErrorKind::HttpError(error) | TransportErrorKind::HttpErrorWithRetryAfter { error, .. } => {
            match error.status {
                429 => Trouble::RateLimited,
                408 | 504 => Trouble::Timeout,
                status => Trouble::Unreachable(format!("HTTP status {status}")),
            }
        }
        TransportErrorKind::MissingBatchResponse(_) => {
            Trouble::Garbage("a batch without all its answers".to_owned())
        }
        TransportErrorKind::Custom(error) | TransportErrorKind::NonRetryable(error) => {
            let timed_out = error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout);
            if timed_out { Trouble::Timeout } else { Trouble::Unreachable(root_cause(error.as_ref())) }
        }
        other => Trouble::Unreachable(other.to_string()),
    }
}

/// The innermost error: the outer ones of an HTTP client repeat the url, which may hold a secret.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
