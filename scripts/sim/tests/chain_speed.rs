//! What the simulated chain does with what the relayer signs, end to end, and how fast that is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Instant;

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use shared::ids::{Nonce, PaymentId};
use shared::tx::Fees;
use sim::chain::{CHAIN_ID, CheapKey, Genesis, SimChain, USDC};
use worker::chain::SendOutcome;
use worker::chain::contracts::{IAffiliatePayout, IAffiliateRegistry, Payout, Referral};
use worker::keys::{Unsigned, sign_eip1559};

const BATCHES: u64 = 200;
const ITEMS: u64 = 20;

fn account(number: u64) -> Address {
    Address::from_word(U256::from(number + 1).into())
}

#[tokio::test]
async fn batches_that_a_cheap_key_signed_are_taken_mined_and_paid() {
    let relayer = account(1 << 40);
    let mut chain = SimChain::new(Genesis::development(relayer));
    let contracts = chain.state().contracts;
    let sign = |nonce, to, data: Vec<u8>| {
        let fees = Fees { max_fee: 30_000_000_000, max_priority_fee: 1_000_000_000 };
        let (nonce, data) = (Nonce::new(nonce), data.into());
        let unsigned =
            Unsigned { chain_id: CHAIN_ID, nonce, to, value: U256::ZERO, data, gas_limit: 4_000_000, fees };
        async move { sign_eip1559(&CheapKey(relayer), unsigned).await.unwrap() }
    };
    let referrals = (0..ITEMS).map(|n| Referral { child: account(n), referrer: account(100 + n) }).collect();
    let call = IAffiliateRegistry::registerReferralBatchCall { referrals };
    let signed = sign(0, contracts.registry, call.abi_encode()).await;
    assert_eq!(chain.send(&signed.raw), SendOutcome::Accepted);
    chain.mine(1_750_000_012, usize::MAX);
    let began = Instant::now();
    for batch in 0..BATCHES {
        let item = |n: u64| Payout {
            paymentId: PaymentId::derive("payments", &format!("{batch}/{n}")).hash(),
            child: account(n),
            referrer: account(100 + n),
            usdcAmount: U256::from(USDC / 1_000),
            sgeAmount: U256::ZERO,
        };
        let call = IAffiliatePayout::payAffiliateBatchCall { payouts: (0..ITEMS).map(item).collect() };
        let signed = sign(batch + 1, contracts.payout, call.abi_encode()).await;
        assert_eq!(chain.send(&signed.raw), SendOutcome::Accepted);
        chain.mine(1_750_000_024 + 12 * batch, usize::MAX);
    }
    println!("{:?} to sign, send and mine a batch of {ITEMS}", began.elapsed() / BATCHES as u32);
    assert_eq!(chain.state().payout.paid_at.len() as u64, BATCHES * ITEMS);
    let paid: usize = chain.blocks().iter().map(|block| block.events().count()).sum();
    assert_eq!(paid as u64, (BATCHES + 1) * ITEMS);
    let copy = chain.clone();
    assert_eq!(copy, chain);
}
