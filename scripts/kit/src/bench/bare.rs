//! The least that a sender can do: each batch is simulated once and sent as it was signed before, nothing is kept.

use std::time::{Duration, Instant};

use alloy::consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::network::TxSignerSync as _;
use alloy::primitives::{Address, Bytes, TxKind, U256, keccak256};
use alloy::providers::Provider as _;
use alloy::rpc::types::TransactionRequest;
use alloy::signers::local::PrivateKeySigner;
use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::idle;
use crate::world::World;
use crate::world::anvil::CHAIN_ID;
use crate::world::bindings::Payout;
use crate::world::contracts::RELAYER_KEY;

/// Batches simulated and sent at once.
const AT_ONCE: usize = 8;
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// For whatever batch.
const GAS_LIMIT: u64 = 16_000_000;
const MAX_FEE: u128 = 500_000_000_000;
const TIP: u128 = 1_000_000_000;

/// Waits until so many payments are on the chain.
pub(super) async fn until_paid(world: &World, expected: usize, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    let payout = world.contracts.addresses.payout;
    let (mut from, mut paid) = (0, 0);
    loop {
        let head = world.anvil.block_number().await?;
        if head >= from {
            let filter = alloy::rpc::types::Filter::new().address(payout).from_block(from).to_block(head);
            let topic = keccak256("AffiliatePaid(bytes32,address,address,uint256,uint256)");
            paid += world.anvil.provider().get_logs(&filter.event_signature(topic)).await?.len();
            from = head + 1;
        }
        if paid >= expected {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{paid} of {expected} payments are on the chain after {within:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(super) struct Bare {
    /// Until all were on the chain.
    pub(super) took: Duration,
    /// Cores that the node had meanwhile.
    pub(super) node: f64,
}

/// Pays `payouts` payments of its own in batches, with the relayers' key.
pub(super) async fn send(
    world: &World,
    children: &[(Address, Address)],
    payouts: usize,
    per_batch: usize,
    within: Duration,
) -> Result<Bare> {
    let before = world.contracts.paid().await?.len();
    let mut batches = Vec::new();
    let key: PrivateKeySigner = RELAYER_KEY.parse().context("the relayers' key")?;
    let first = world.contracts.relayer_nonce().await?;
    for (at, from) in (0..payouts).step_by(per_batch).enumerate() {
        let items = (from..payouts.min(from + per_batch)).map(|n| {
            let (child, referrer) = children[n % children.len()];
            let payment = keccak256(format!("bare {n}"));
            let usdc = U256::from(1_000_000);
            Payout { paymentId: payment, child, referrer, usdcAmount: usdc, sgeAmount: U256::ZERO }
        });
        let data = world.contracts.payout().payAffiliateBatch(items.collect()).calldata().clone();
        let raw = signed(&key, world.contracts.addresses.payout, first + at as u64, data.clone())?;
        batches.push((data, raw));
    }
    let (provider, payout) = (world.anvil.provider(), world.contracts.addresses.payout);
    let (began, node) = (Instant::now(), idle::cpu_of(&[world.anvil.pid()])?);
    let send = async |(data, raw): (Bytes, Bytes)| {
        let call = TransactionRequest::default().from(key.address()).to(payout).input(data.into());
        provider.call(call.gas_limit(GAS_LIMIT)).await.context("simulate a batch")?;
        let _ = provider.send_raw_transaction(&raw).await.context("send a batch")?;
        anyhow::Ok(())
    };
    futures::stream::iter(batches).map(send).buffered(AT_ONCE).try_collect::<Vec<()>>().await?;
    until_paid(world, before + payouts, within).await?;
    let took = began.elapsed();
    let node = (idle::cpu_of(&[world.anvil.pid()])?[0] - node[0]) / took.as_secs_f64();
    Ok(Bare { took, node })
}

fn signed(key: &PrivateKeySigner, to: Address, nonce: u64, input: Bytes) -> Result<Bytes> {
    let mut tx = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: GAS_LIMIT,
        max_fee_per_gas: MAX_FEE,
        max_priority_fee_per_gas: TIP,
        to: TxKind::Call(to),
        value: U256::ZERO,
        access_list: Default::default(),
        input,
    };
    let signature = key.sign_transaction_sync(&mut tx)?;
    Ok(TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into())
}
