//! Broadcasts against a real node: each answer in its wording, several endpoints, and gas limits that suffice.

use std::time::Duration;

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::SolCall;
use serde_json::json;
use shared::ids::Nonce;
use shared::tx::Fees;
use worker::chain::alloy::{AlloyChain, AlloyChainConfig, Url};
use worker::chain::contracts::{IAffiliatePayout, IAffiliateRegistry, Payout as Item, Referral};
use worker::chain::{Chain, ChainError, SendOutcome};
use worker::keys::{SignedTransaction, Unsigned, sign_eip1559};
use worker::metrics::RpcMetrics;
use worker::signer::gas::{self, PayoutMix, Tokens};

use crate::support::{
    Anvil, CHAIN_ID, RELAYER, World, client, free_port, nonce_of, payout, relayer_key, wallet,
};

const GWEI: u128 = 1_000_000_000;

fn transfer(nonce: u64, max_fee: u128) -> Unsigned {
    Unsigned {
        chain_id: CHAIN_ID,
        nonce: Nonce::new(nonce),
        to: RELAYER,
        value: U256::ZERO,
        data: Bytes::new(),
        gas_limit: gas::TRANSFER,
        fees: Fees { max_fee, max_priority_fee: GWEI.min(max_fee) },
    }
}

async fn sign(unsigned: Unsigned) -> SignedTransaction {
    sign_eip1559(&relayer_key(), unsigned).await.unwrap()
}

async fn send(chain: &AlloyChain, unsigned: Unsigned) -> SendOutcome {
    chain.broadcast(&sign(unsigned).await.raw).await.unwrap()
}

#[tokio::test]
async fn each_answer_to_a_broadcast_is_recognised() {
    let world = World::start().await;
    let chain = &world.chain;
    world.anvil.rpc("evm_setAutomine", json!([false])).await;
    let nonce = nonce_of(chain, RELAYER).await.get();

    assert_eq!(send(chain, transfer(nonce, 20 * GWEI)).await, SendOutcome::Accepted);
    assert_eq!(send(chain, transfer(nonce, 20 * GWEI)).await, SendOutcome::AlreadyKnown);
    // Anvil asks for any raise, real nodes for 10 %.
    let rival = Unsigned { value: U256::from(1), ..transfer(nonce, 20 * GWEI) };
    assert_eq!(send(chain, rival).await, SendOutcome::ReplacementUnderpriced);
    let bumped =
        Unsigned { fees: Fees { max_fee: 30 * GWEI, max_priority_fee: 2 * GWEI }, ..transfer(nonce, 0) };
    assert_eq!(send(chain, bumped).await, SendOutcome::Accepted);
    let nonces = chain.takeover_nonces(RELAYER).await.unwrap();
    assert_eq!((nonces[0].latest.get(), nonces[0].pending.get()), (nonce, nonce + 1));

    world.anvil.mine(1).await;
    assert_eq!(send(chain, transfer(nonce, 20 * GWEI)).await, SendOutcome::NonceTooLow);
    assert_eq!(send(chain, transfer(nonce + 1, 1)).await, SendOutcome::FeeTooLow);
    let starved = Unsigned { gas_limit: 20_000, ..transfer(nonce + 1, 20 * GWEI) };
    assert_eq!(send(chain, starved).await, SendOutcome::GasTooLow);
    let huge = Unsigned { gas_limit: 3_000_000_000, ..transfer(nonce + 1, 20 * GWEI) };
    assert_eq!(send(chain, huge).await, SendOutcome::TooLarge);
    world.anvil.rpc("anvil_setBalance", json!([RELAYER, "0x1"])).await;
    assert_eq!(send(chain, transfer(nonce + 1, 20 * GWEI)).await, SendOutcome::InsufficientFunds);
    let nonsense = chain.broadcast(&Bytes::from_static(&[2, 1])).await;
    assert!(matches!(nonsense, Ok(SendOutcome::Refused(_))), "{nonsense:?}");
}

fn chain_of(world: &World, urls: &[Url], deadline: Duration) -> AlloyChain {
    AlloyChain::new(&AlloyChainConfig {
        endpoints: urls.to_vec(),
        chain_id: CHAIN_ID,
        registry: world.deployed.registry,
        payout: world.deployed.payout,
        relayer: RELAYER,
        deadline,
        check_every: AlloyChainConfig::DEFAULT_CHECK,
        metrics: RpcMetrics::default(),
    })
    .unwrap()
}

#[tokio::test]
async fn one_living_endpoint_is_enough_for_reads_and_broadcasts() {
    let world = World::start().await;
    let dead: Url = format!("http://127.0.0.1:{}/secret-path", free_port()).parse().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent: Url = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
    let chain = chain_of(&world, &[dead.clone(), silent.clone(), world.anvil.http()], Duration::from_secs(1));
    assert_eq!(chain.has_code(world.deployed.payout).await, Ok(true));
    let nonce = nonce_of(&chain, RELAYER).await.get();
    let patient = chain_of(&world, &[silent.clone(), world.anvil.http()], Duration::from_secs(60));
    let sent =
        tokio::time::timeout(Duration::from_secs(10), send(&patient, transfer(nonce, 20 * GWEI))).await;
    assert_eq!(sent, Ok(SendOutcome::Accepted), "a silent endpoint held up an accepted transaction");

    let nobody = chain_of(&world, &[dead, silent], Duration::from_millis(300));
    let error = nobody.broadcast(&sign(transfer(nonce, 20 * GWEI)).await.raw).await.unwrap_err();
    assert!(matches!(error, ChainError::Timeout { .. }), "it may have been accepted: {error:?}");
    let error = nobody.head().await.unwrap_err();
    assert!(!error.to_string().contains("secret-path"), "{error}");
}

#[tokio::test]
async fn a_broadcast_reaches_every_endpoint() {
    let (world, other) = (World::start().await, Anvil::start(&["--no-mining"]).await);
    world.anvil.rpc("evm_setAutomine", json!([false])).await;
    // A transaction the first node would refuse: its account is beyond this nonce.
    let chain = client(&[world.anvil.http(), other.http()], world.deployed, RELAYER);
    world.anvil.rpc("anvil_setNonce", json!([RELAYER, "0x5"])).await;
    let signed = sign(transfer(0, 20 * GWEI)).await;
    assert_eq!(chain.broadcast(&signed.raw).await, Ok(SendOutcome::Accepted));
    let found = other.rpc("eth_getTransactionByHash", json!([signed.hash])).await;
    assert_eq!(found["hash"], json!(signed.hash));
}

/// Signs and mines a call with the gas limit of the table, and gives the gas it used.
async fn mined(world: &World, to: Address, data: Vec<u8>, gas_limit: u64) -> u64 {
    let nonce = nonce_of(&world.chain, RELAYER).await;
    let unsigned = Unsigned { nonce, to, data: data.into(), gas_limit, ..transfer(0, 50 * GWEI) };
    let signed = sign(unsigned).await;
    gas::check(gas_limit, signed.raw.len(), world.head().await.gas_limit).unwrap();
    assert_eq!(world.chain.broadcast(&signed.raw).await, Ok(SendOutcome::Accepted));
    world.anvil.receipt(&json!(signed.hash)).await;
    let receipt = world.chain.receipt(signed.hash).await.unwrap().expect("mined");
    assert!(receipt.succeeded, "reverted with a gas limit of {gas_limit}");
    assert!(receipt.events.iter().all(|event| !format!("{event:?}").contains("PayoutFailed")), "{receipt:?}");
    receipt.gas_used
}

#[tokio::test]
async fn the_gas_table_suffices_for_new_recipients() {
    let world = World::start().await;
    let referrals: Vec<_> = (1..=100)
        .map(|n| Referral { child: wallet(n).address(), referrer: wallet(200 + n).address() })
        .collect();
    let call = IAffiliateRegistry::registerReferralBatchCall { referrals };
    let data = call.abi_encode();
    mined(&world, world.deployed.registry, data.clone(), gas::registrations(100, &data)).await;

    let mut used = Vec::new();
    for (round, (count, sge)) in [(1, 0), (1, 1), (40, 0), (60, 1)].into_iter().enumerate() {
        let payouts = (1..=count)
            .map(|n| {
                let n = n + 20 * round as u16;
                let of = payout(
                    &format!("{round}_{n}"),
                    wallet((n - 1) % 100 + 1),
                    wallet((n - 1) % 100 + 201),
                    5,
                    sge,
                );
                Item {
                    paymentId: of.payment_id.hash(),
                    child: of.child.address(),
                    referrer: of.referrer.address(),
                    usdcAmount: of.commission.usdc.u256(),
                    sgeAmount: of.commission.sge.u256(),
                }
            })
            .collect();
        let data = IAffiliatePayout::payAffiliateBatchCall { payouts }.abi_encode();
        let count = u64::from(count);
        let mix = if sge == 0 {
            PayoutMix { single: count, hybrid: 0 }
        } else {
            PayoutMix { single: 0, hybrid: count }
        };
        let limit = gas::payouts(mix, Tokens::Expected, &data);
        used.push((limit, mined(&world, world.deployed.payout, data, limit).await));
    }
    println!("gas limits and use: {used:?}");
}
