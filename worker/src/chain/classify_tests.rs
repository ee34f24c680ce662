//! Messages as nodes really word them.

use super::*;
use alloy::rpc::json_rpc::ErrorPayload;
use std::borrow::Cow;

fn answered(code: i64, message: &str, data: Option<Value>) -> TransportError {
    RpcError::ErrorResp(ErrorPayload {
        code,
        message: Cow::Owned(message.to_owned()),
        data: data.map(|data| serde_json::value::to_raw_value(&data).unwrap()),
    })
}

#[test]
fn refusals_are_known_by_the_wording_of_each_node() {
    use SendOutcome::*;
    let table = [
        // geth
        ("already known", AlreadyKnown),
        ("nonce too low: next nonce 5, tx nonce 3", NonceTooLow),
        ("nonce too high: address 0x00, tx: 9 state: 1", PoolFull),
        ("replacement transaction underpriced: new tx gas fee cap 10 <= 10 queued", ReplacementUnderpriced),
        ("transaction underpriced: gas tip cap 0, minimum needed 1", FeeTooLow),
        ("transaction gas price below minimum: gas tip cap 0, minimum needed 1", FeeTooLow),
        ("max fee per gas less than block base fee: address 0x00, maxFeePerGas: 1, baseFee: 7", FeeTooLow),
        ("insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1", InsufficientFunds),
        ("intrinsic gas too low: gas 1, minimum needed 21000", GasTooLow),
        ("insufficient gas for floor data gas cost: gas 21000, minimum needed 25000", GasTooLow),
        ("exceeds block gas limit", TooLarge),
        ("transaction gas limit too high (cap: 16777216, tx: 20000000)", TooLarge),
        ("oversized data: transaction size 140000, limit 131072", TooLarge),
        ("txpool is full", PoolFull),
        ("account limit exceeded: pooled 64 txs", PoolFull),
        ("future transaction tries to replace pending", PoolFull),
        ("gapped-nonce tx from delegated accounts", PoolFull),
        ("in-flight transaction limit reached for delegated accounts", PoolFull),
        // anvil
        ("transaction already imported", AlreadyKnown),
        ("nonce too low", NonceTooLow),
        ("replacement transaction underpriced", ReplacementUnderpriced),
        ("max fee per gas less than block base fee", FeeTooLow),
        ("Insufficient funds for gas * price + value", InsufficientFunds),
        ("intrinsic gas too high -- tx.gas_limit > env.block.gas_limit", TooLarge),
        // erigon
        ("INTERNAL_ERROR: existing tx with same hash", AlreadyKnown),
        ("could not replace existing tx", ReplacementUnderpriced),
        ("underpriced", FeeTooLow),
        ("fee too low", FeeTooLow),
        ("gas limit is too high", TooLarge),
        ("pending sub-pool is full", PoolFull),
        // nethermind
        ("AlreadyKnown", AlreadyKnown),
        ("OldNonce, Current nonce: 6, nonce of rejected tx: 5", NonceTooLow),
        ("ReplacementNotAllowed", ReplacementUnderpriced),
        ("OwnNonceAlreadyUsed", ReplacementUnderpriced),
        (
            "FeeTooLow, MaxFeePerGas too low. MaxFeePerGas: 1, BaseFee: 7, MaxPriorityFeePerGas:1, Block number: 3",
            FeeTooLow,
        ),
        ("FeeTooLowToCompete", FeeTooLow),
        ("InsufficientFunds, Account balance: 1, cumulative cost: 2", InsufficientFunds),
        ("NonceGap, Future nonce. Expected nonce: 10", PoolFull),
        ("GasLimitExceeded, Gas limit: 30000000, gas limit of rejected tx: 40000000", TooLarge),
        ("MaxTxSizeExceeded", TooLarge),
        // besu
        ("Known transaction", AlreadyKnown),
        ("Nonce too low", NonceTooLow),
        ("Replacement transaction underpriced", ReplacementUnderpriced),
        ("Gas price below configured minimum gas price", FeeTooLow),
        ("Gas price below current base fee", FeeTooLow),
        ("Upfront cost exceeds account balance", InsufficientFunds),
        ("Intrinsic gas exceeds gas limit", GasTooLow),
        ("Transaction gas limit exceeds block gas limit", TooLarge),
        ("Transaction nonce is too distant from current sender nonce", PoolFull),
        // reth
        ("insufficient gas price to replace existing transaction", ReplacementUnderpriced),
        ("transaction gas limit (20000000) is greater than the cap (16777216)", TooLarge),
        ("sender does not have enough funds (1) to cover transaction fees: 2", InsufficientFunds),
        ("lack of funds (1) for max fee (2)", InsufficientFunds),
        // openethereum, arbitrum
        ("Transaction with the same hash was already imported.", AlreadyKnown),
        (
            "There are too many transactions in the queue. Your transaction was dropped due to limit. Try increasing the fee.",
            PoolFull,
        ),
        (
            "Transaction gas price 100wei is too low. There is another transaction with same nonce in the queue",
            ReplacementUnderpriced,
        ),
        (
            "Transaction gas is too low. There is not enough gas to cover minimal cost of the transaction",
            GasTooLow,
        ),
        ("gas price too low", FeeTooLow),
        ("tx dropped due to L2 congestion", PoolFull),
    ];
    for (message, outcome) in table {
        assert_eq!(refusal(message), Some(outcome), "{message}");
    }
}

#[test]
fn what_only_resembles_a_known_wording_is_refused_as_it_is() {
    for message in [
        "unknown transaction type",
        "invalid sender",
        "tx fee (1.10 ether) exceeds the configured cap (1.00 ether)",
    ] {
        assert_eq!(refusal(message), None, "{message}");
        assert_eq!(send_answer(&answered(-32000, message, None)), Ok(SendOutcome::Refused(message.into())));
    }
}

#[test]
fn a_fault_of_the_node_is_no_refusal() {
    assert!(matches!(send_answer(&answered(-32603, "Internal error", None)), Err(Trouble::Node(_))));
    assert_eq!(
        send_answer(&answered(429, "compute units per second capacity exceeded", None)),
        Err(Trouble::RateLimited)
    );
    assert_eq!(
        send_answer(&answered(-32005, "daily request count exceeded, request rate limited", None)),
        Err(Trouble::RateLimited)
    );
    assert_eq!(send_answer(&TransportErrorKind::http_error(429, String::new())), Err(Trouble::RateLimited));
    assert_eq!(send_answer(&TransportErrorKind::http_error(504, String::new())), Err(Trouble::Timeout));
    assert!(
        matches!(send_answer(&TransportErrorKind::http_error(502, "secret".into())), Err(Trouble::Unreachable(text)) if !text.contains("secret"))
    );
}

#[test]
fn a_reason_in_the_data_counts() {
    let error = answered(-32602, "Invalid params", Some(Value::String("nonce too low".into())));
    assert_eq!(send_answer(&error), Ok(SendOutcome::NonceTooLow));
}

#[test]
fn a_missing_block_is_told_from_other_errors() {
    for message in [
        "header not found",
        "header for hash not found",
        "hash 0x12 is not currently canonical",
        "missing trie node 0ab1 (path ) state 0x is not available",
        "Unknown block",
        "block not found: hash 0x12",
        "BlockOutOfRangeError: block height is 5 but requested was 9",
    ] {
        assert_eq!(trouble(&answered(-32000, message, None)), Trouble::UnknownBlock, "{message}");
    }
    assert!(matches!(trouble(&answered(-32000, "something else", None)), Trouble::Node(_)));
}

#[test]
fn revert_data_is_found_where_each_node_puts_it() {
    let data = "0xd93c0665";
    let expected: Bytes = data.parse().unwrap();
    let shapes = [
        answered(3, "execution reverted: custom error d93c0665", Some(Value::String(data.into()))),
        answered(-32000, "execution reverted", Some(Value::String(data.into()))),
        answered(-32015, "VM execution error.", Some(Value::String(format!("Reverted {data}")))),
        answered(-32603, "execution reverted", Some(serde_json::json!({"originalError": {"data": data}}))),
    ];
    for error in shapes {
        assert_eq!(revert(&error).map(|revert| revert.data), Some(expected.clone()), "{error:?}");
    }
    assert_eq!(revert(&answered(-32000, "out of gas", None)).map(|revert| revert.data), Some(Bytes::new()));
    assert_eq!(revert(&answered(-32000, "header not found", None)), None);
    assert_eq!(revert(&answered(-32005, "rate limit", None)), None);
}

#[test]
fn a_log_query_that_spans_too_much_is_asked_again_for_less() {
    for message in [
        "query returned more than 10000 results",
        "block range is too wide",
        "exceed maximum block range: 2000",
        "Log response size exceeded. this block range should work: [0x1, 0x2]",
        "eth_getLogs is limited to a 10,000 range",
    ] {
        let error = trouble(&answered(-32005, message, None)).at("node", "eth_getLogs", "latest");
        assert!(asks_for_smaller_range(&error, 100), "{message}: {error:?}");
    }
    let other = trouble(&answered(-32000, "boom", None)).at("node", "eth_getLogs", "latest");
    assert!(!asks_for_smaller_range(&other, 100));
    let timeout = Trouble::Timeout.at("node", "eth_getLogs", "latest");
    assert!(asks_for_smaller_range(&timeout, 5_000) && !asks_for_smaller_range(&timeout, 100));
    let endless = trouble(&answered(-32005, "query returned more than 10000 results", None));
    assert!(!asks_for_smaller_range(&endless.at("node", "eth_getLogs", "latest"), 1));
}
