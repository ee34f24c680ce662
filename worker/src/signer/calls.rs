//! The calldata of a packed transaction: the plain call for one item, the batch call for several.

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;
use shared::job::{Kind, Payload};
use shared::store::Brief;

use crate::chain::contracts::{IAffiliatePayout, IAffiliateRegistry, Payout, Referral};

/// Where our contracts are.
#[derive(Debug, Clone, Copy)]
pub struct Contracts {
    pub registry: Address,
    pub payout: Address,
}

/// The target and the calldata for `items`, all of `kind`.
pub fn encode(contracts: Contracts, kind: Kind, items: &[Brief]) -> (Address, Bytes) {
    match kind {
        Kind::Register => (contracts.registry, registrations(items)),
        Kind::Payout => (contracts.payout, payouts(items)),
    }
}

fn registrations(items: &[Brief]) -> Bytes {
    let referrals: Vec<Referral> = items
        .iter()
        .filter_map(|item| match &item.payload {
            Payload::Register(register) => {
                Some(Referral { child: register.child.address(), referrer: register.referrer.address() })
            }
            Payload::Payout(_) => None,
        })
        .collect();
    match referrals.as_slice() {
        [one] => IAffiliateRegistry::registerReferralCall { child: one.child, referrer: one.referrer }
            .abi_encode()
            .into(),
        _ => IAffiliateRegistry::registerReferralBatchCall { referrals }.abi_encode().into(),
    }
}

fn payouts(items: &[Brief]) -> Bytes {
    let payouts: Vec<Payout> = items
        .iter()
        .filter_map(|item| match &item.payload {
            Payload::Payout(payout) => Some(Payout {
                paymentId: payout.payment_id.hash(),
                child: payout.child.address(),
                referrer: payout.referrer.address(),
                usdcAmount: payout.commission.usdc.u256(),
                sgeAmount: payout.commission.sge.u256(),
            }),
            Payload::Register(_) => None,
        })
        .collect();
    match payouts.as_slice() {
        [one] if one.sgeAmount == U256::ZERO => IAffiliatePayout::payAffiliateUSDCCall {
            paymentId: one.paymentId,
            child: one.child,
            referrer: one.referrer,
            usdcAmount: one.usdcAmount,
        }
        .abi_encode()
        .into(),
        [one] => IAffiliatePayout::payAffiliateHybridCall {
            paymentId: one.paymentId,
            child: one.child,
            referrer: one.referrer,
            usdcAmount: one.usdcAmount,
            sgeAmount: one.sgeAmount,
        }
        .abi_encode()
        .into(),
        _ => IAffiliatePayout::payAffiliateBatchCall { payouts }.abi_encode().into(),
    }
}
