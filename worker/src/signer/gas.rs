//! Gas limits, pure: a table instead of `eth_estimateGas`, which is content with starved items.
//!
//! The numbers are those of `contracts/gas.md`, whose tests hold them against their worst case. This is the only place
//! in the relayer that knows them.

use thiserror::Error;

/// EIP-7825: no transaction may have more.
pub const MAX_TRANSACTION_GAS: u64 = 16_777_216;
/// Nodes take no larger transaction into their pools.
pub const MAX_TRANSACTION_BYTES: usize = 128 * 1024;
/// A plain transfer: a cancel, or the filler of a hole.
pub const TRANSFER: u64 = 21_000;

const PAYOUT_BASE: u64 = 180_000;
/// Spent only where tokens misbehave; the contract wants it left before the last item.
const PAYOUT_RESERVE: u64 = 240_000;
const PAYOUT_SINGLE: u64 = 70_000;
const PAYOUT_HYBRID: u64 = 105_000;
const PAYOUT_SINGLE_WORST: u64 = 145_000;
const PAYOUT_HYBRID_WORST: u64 = 255_000;
const REGISTRATION_BASE: u64 = 35_000;
const REGISTRATION: u64 = 30_000;

/// How many payouts of which kind a transaction carries. A plain call counts as a batch of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PayoutMix {
    /// Of one token.
    pub single: u64,
    /// Of both tokens.
    pub hybrid: u64,
}

/// What the tokens are trusted to burn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// At most about 35k gas per transfer. If they burn more, the batch reverts wholly and pays nothing.
    Expected,
    /// All that the contract gives them, on every transfer.
    Worst,
}

/// The gas limit of `payAffiliateUSDC`, `payAffiliateHybrid` or `payAffiliateBatch`.
pub fn payouts(mix: PayoutMix, tokens: Tokens, data: &[u8]) -> u64 {
    let (single, hybrid, reserve) = match tokens {
        Tokens::Expected => (PAYOUT_SINGLE, PAYOUT_HYBRID, PAYOUT_RESERVE),
        Tokens::Worst => (PAYOUT_SINGLE_WORST, PAYOUT_HYBRID_WORST, 0),
    };
    let items = mix.single.saturating_mul(single).saturating_add(mix.hybrid.saturating_mul(hybrid));
    PAYOUT_BASE.saturating_add(reserve).saturating_add(items).max(calldata_floor(data))
}

/// The gas limit of the dearest transaction with one item.
pub fn lone() -> u64 {
    payouts(PayoutMix { single: 0, hybrid: 1 }, Tokens::Worst, &[])
}

/// The gas limit of `registerReferral` or `registerReferralBatch`.
pub fn registrations(count: u64, data: &[u8]) -> u64 {
    REGISTRATION_BASE.saturating_add(count.saturating_mul(REGISTRATION)).max(calldata_floor(data))
}

/// EIP-7623: the least that a transaction with this calldata is charged, and so its least gas limit.
pub fn calldata_floor(data: &[u8]) -> u64 {
    let tokens: u64 = data.iter().map(|byte| if *byte == 0 { 1 } else { 4 }).sum();
    TRANSFER.saturating_add(tokens.saturating_mul(10))
}

/// Why no node would take a transaction.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TooLarge {
    #[error("a gas limit of {gas} is above the {cap} that one transaction may have")]
    TransactionGas { gas: u64, cap: u64 },
    #[error("a gas limit of {gas} is above the block's {block}")]
    BlockGas { gas: u64, block: u64 },
    #[error("{bytes} bytes are above the {MAX_TRANSACTION_BYTES} that nodes take")]
    Bytes { bytes: usize },
}

/// Refuses, before it is journaled, what no node would take. `signed_bytes`: the length of the signed transaction.
pub fn check(gas: u64, signed_bytes: usize, block_gas_limit: u64) -> Result<(), TooLarge> {
    if gas > MAX_TRANSACTION_GAS {
        return Err(TooLarge::TransactionGas { gas, cap: MAX_TRANSACTION_GAS });
    }
    if gas > block_gas_limit {
        return Err(TooLarge::BlockGas { gas, block: block_gas_limit });
    }
    if signed_bytes > MAX_TRANSACTION_BYTES {
        return Err(TooLarge::Bytes { bytes: signed_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn singles(single: u64) -> PayoutMix {
        PayoutMix { single, hybrid: 0 }
    }

    #[test]
    fn the_table_says_what_the_contracts_measured() {
        assert_eq!(payouts(singles(1), Tokens::Expected, &[]), 490_000);
        assert_eq!(payouts(PayoutMix { single: 3, hybrid: 2 }, Tokens::Expected, &[]), 840_000);
        assert_eq!(payouts(PayoutMix { single: 3, hybrid: 2 }, Tokens::Worst, &[]), 1_125_000);
        assert_eq!(registrations(10, &[]), 335_000);
    }

    #[test]
    fn a_lone_payout_gets_at_least_the_gas_it_was_simulated_with() {
        for mix in [singles(1), PayoutMix { single: 0, hybrid: 1 }] {
            assert!(payouts(mix, Tokens::Expected, &[]) >= crate::chain::LONE_CALL_GAS);
        }
    }

    #[test]
    fn more_items_never_need_less_gas() {
        for count in 0..500 {
            for tokens in [Tokens::Expected, Tokens::Worst] {
                assert!(payouts(singles(count), tokens, &[]) < payouts(singles(count + 1), tokens, &[]));
            }
        }
        assert_eq!(payouts(singles(u64::MAX), Tokens::Worst, &[]), u64::MAX);
    }

    #[test]
    fn a_gas_limit_is_never_below_the_floor_of_its_calldata() {
        assert_eq!(calldata_floor(&[]), TRANSFER);
        assert_eq!(calldata_floor(&[0, 1]), TRANSFER + 50);
        let data = vec![1; 60_000];
        assert_eq!(registrations(1, &data), TRANSFER + 60_000 * 40);
    }

    #[test]
    fn what_no_node_takes_is_refused_by_its_reason() {
        assert_eq!(check(MAX_TRANSACTION_GAS, MAX_TRANSACTION_BYTES, 30_000_000), Ok(()));
        assert!(matches!(check(MAX_TRANSACTION_GAS + 1, 0, u64::MAX), Err(TooLarge::TransactionGas { .. })));
        assert!(matches!(check(1_000_001, 0, 1_000_000), Err(TooLarge::BlockGas { .. })));
        assert!(matches!(check(1, MAX_TRANSACTION_BYTES + 1, 1_000_000), Err(TooLarge::Bytes { .. })));
    }
}
