//! What the chain does to transactions: it prices them out, forgets them, reverts them, or would never take them.

use anyhow::{Context as _, Result, ensure};
use kit::world::process::until;
use kit::world::{Mining, World, metric};
use serde_json::{Value, json};

use crate::support::{LIMIT, all_paid_once, at_stage, journaled, pay, price_out, quick, registered, wallet};

fn attempts(job: &Value) -> Vec<Value> {
    job["tx"]["attempts"].as_array().cloned().unwrap_or_default()
}

fn number(value: &Value) -> u128 {
    value.as_u64().map(u128::from).or_else(|| value.as_str()?.parse().ok()).unwrap_or_default()
}

/// The `n`th attempt of a job's transaction, as the node has it, once it has it.
async fn sent(world: &World, job: &Value, n: usize) -> Result<Option<Value>> {
    let tried = attempts(job);
    let hash = tried.get(n).map(|attempt| attempt["hash"].clone()).context("no such attempt")?;
    let found = world.anvil.rpc("eth_getTransactionByHash", json!([hash])).await?;
    Ok((!found.is_null()).then_some(found))
}

/// Every transaction of the relayer that reverted: the hexadecimal digits of its input.
async fn reverted(world: &World) -> Result<Vec<String>> {
    let relayer = format!("{:#x}", kit::world::contracts::RELAYER);
    let mut inputs = Vec::new();
    for block in 0..=world.anvil.block_number().await? {
        let receipts = world.anvil.rpc("eth_getBlockReceipts", json!([format!("{block:#x}")])).await?;
        for receipt in receipts.as_array().cloned().unwrap_or_default() {
            if receipt["status"] == "0x0" && receipt["from"] == relayer.as_str() {
                let hash = &receipt["transactionHash"];
                let tx = world.anvil.rpc("eth_getTransactionByHash", json!([hash])).await?;
                inputs.push(tx["input"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    Ok(inputs)
}

#[tokio::test]
async fn a_transaction_priced_out_by_the_base_fee_is_bumped_and_paid_once() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let job = pay(&client, &child, 1, "stuck").await?.remove(0);
    let submitted = at_stage(&client, &job, "submitted").await?;
    let first = until("the first attempt in the pool", LIMIT, || sent(&world, &submitted, 0)).await?;

    price_out(&world, &client, &job).await?;
    let record = until("a second attempt", LIMIT, || async {
        let record = client.job(&job).await?;
        ensure!(attempts(&record).len() >= 2, "{} attempts", attempts(&record).len());
        Ok(Some(record))
    })
    .await?;
    let tried = attempts(&record);
    for pair in tried.windows(2) {
        for field in ["max_fee_wei", "max_priority_fee_wei"] {
            let (before, after) = (number(&pair[0][field]), number(&pair[1][field]));
            assert!(
                before > 0 && after * 8 >= before * 9,
                "{field} went from {before} to {after}, not up by 12.5 %: {record:#}"
            );
        }
        assert!(number(&pair[1]["gas_limit"]) >= number(&pair[0]["gas_limit"]), "{record:#}");
    }
    // What replaced it is the same intent.
    let second = until("the second attempt in the pool", LIMIT, || sent(&world, &record, 1)).await?;
    for field in ["nonce", "to", "input", "value"] {
        assert_eq!(first[field], second[field], "{field}");
    }
    assert_ne!(first["hash"], second["hash"]);

    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &[job]).await?;
    assert_eq!(world.contracts.paid().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_reorganisation_below_the_confirmations_never_shows_done_early_and_ends_paid_once() -> Result<()> {
    let world = quick().confirmations(5).start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let job = pay(&client, &child, 1, "reorg").await?.remove(0);
    at_stage(&client, &job, "submitted").await?;
    world.anvil.mine(3).await?;
    at_stage(&client, &job, "confirming").await?;

    world.anvil.reorg(3).await?;
    at_stage(&client, &job, "submitted").await?;
    for _ in 0..60 {
        world.anvil.mine(1).await?;
        let head = world.anvil.block_number().await?;
        let record = client.job(&job).await?;
        if record["state"] == "done" {
            let paid = world.contracts.paid().await?;
            assert_eq!(paid.len(), 1, "{paid:?}");
            assert!(head >= paid[0].block + 5, "done at head {head}, paid in block {}", paid[0].block);
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    anyhow::bail!("not done after 60 blocks: {:#}", client.job(&job).await?)
}

#[tokio::test]
async fn a_batch_that_reverts_as_a_whole_is_halved_and_charges_only_its_culprit() -> Result<()> {
    let mut world = quick().max_attempts(1).start().await?;
    let client = world.client()?;
    let (good, _) = registered(&client).await?;
    let (bad, burner) = (wallet(0xc0, 1), wallet(0xaf, 1));
    let job = client.register(&bad, Some(&burner)).await?.expect(&[202])?.job_id()?;
    client.wait_for(&job, &["done"], LIMIT).await?;

    client.pause("signing", "so that all are packed together").await?.expect(&[200])?;
    let healthy = pay(&client, &good, 4, "healthy").await?;
    let culprits = pay(&client, &bad, 14, "culprit").await?;
    for job in healthy.iter().chain(&culprits) {
        at_stage(&client, job, "ready").await?;
    }
    // From now on every transfer to the burner takes all the gas it is given.
    let usdc = world.contracts.usdc();
    world.contracts.as_owner(usdc.setBurnedGas(burner.parse()?, 5_000_000)).await?;
    client.resume("signing", "go").await?.expect(&[200])?;

    let verdict = all_paid_once(&world, &client, &healthy).await;
    assert!(verdict.is_ok(), "{verdict:?}\n{}", world.all_logs(60));
    for job in &culprits {
        let record = client.wait_for(job, &["failed"], LIMIT).await?;
        assert_eq!(record["attempts"], 1, "{record:#}");
    }
    assert_eq!(world.contracts.paid().await?.len(), healthy.len());
    // A single's input is its selector and five words at the most.
    let reverted = reverted(&world).await?;
    let single = 2 + 2 * (4 + 5 * 32);
    assert!(reverted.iter().any(|input| input.len() > single), "no batch reverted: {reverted:?}");
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_no_block_could_hold_is_refused_before_it_gets_a_nonce() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let before = journaled(&world).await?;
    world.anvil.rpc("evm_setBlockGasLimit", json!(["0x30d40"])).await?;
    let block = world.anvil.block_number().await?;
    world.anvil.until_block(block + 2, LIMIT).await?;

    let job = pay(&client, &child, 1, "large").await?.remove(0);
    let record = client.wait_for(&job, &["failed"], LIMIT).await?;
    assert_eq!(record["error"]["class"], "transaction_too_large", "{record:#}");
    assert!(record["tx"].is_null(), "it got a nonce: {record:#}");
    assert_eq!(journaled(&world).await?, before);
    Ok(())
}

#[tokio::test]
async fn without_gas_money_nothing_is_journaled_until_there_is_some() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let before = journaled(&world).await?;
    let relayer = kit::world::contracts::RELAYER;
    world.anvil.set_balance(relayer, alloy::primitives::U256::ZERO).await?;
    let block = world.anvil.block_number().await?;
    world.anvil.until_block(block + 2, LIMIT).await?;

    let jobs = pay(&client, &child, 1, "poor").await?;
    until("the gate to close", LIMIT, || async {
        let gates = world.redis.cli(&["HKEYS", &world.key("gate")]).await?;
        ensure!(gates.contains("lane:gas_money"), "closed: {gates}");
        Ok(Some(()))
    })
    .await?;
    assert_eq!(journaled(&world).await?, before);
    world.anvil.set_balance(relayer, alloy::primitives::U256::from(10u128.pow(20))).await?;
    all_paid_once(&world, &client, &jobs).await
}

/// Twenty blocks: more than a consumed nonce without a receipt is waited for.
const PAST_HOPE: u64 = 20;

#[tokio::test]
async fn a_nonce_that_a_stranger_consumed_is_waited_for_and_then_its_jobs_are_paid_without_charge()
-> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let job = pay(&client, &child, 1, "overtaken").await?.remove(0);
    let submitted = at_stage(&client, &job, "submitted").await?;
    until("the attempt in the pool", LIMIT, || sent(&world, &submitted, 0)).await?;

    // Somebody else holds the key, and bids more for the same nonce.
    let relayer = kit::world::contracts::RELAYER;
    let nonce = world.contracts.relayer_nonce().await?;
    let rival = json!([{
        "from": relayer, "to": relayer, "nonce": format!("{nonce:#x}"), "gas": "0x5208",
        "maxFeePerGas": "0x174876e800", "maxPriorityFeePerGas": "0x174876e800",
    }]);
    world.anvil.rpc("eth_sendTransaction", rival).await?;
    world.anvil.mine(4).await?;
    world.until_logged(0, &format!("no node has a receipt for nonce {nonce} yet"), LIMIT).await?;
    let record = client.job(&job).await?;
    ensure!(record["stage"] == "submitted", "it was not waited for: {record:#}");

    world.anvil.mine(PAST_HOPE).await?;
    world.until_logged(0, "a transaction that is not ours consumed this nonce", LIMIT).await?;
    world.anvil.set_mining(Mining::Every(1)).await?;
    all_paid_once(&world, &client, &[job]).await?;
    ensure!(world.contracts.paid().await?.len() == 1);
    let counted = metric(&world.relayers[0].metrics().await?, "ail_stranger_nonces_total");
    ensure!(counted == Some(1.0), "{counted:?} strangers counted");
    Ok(())
}

#[tokio::test]
async fn a_leader_in_office_notices_that_others_have_used_its_account_and_goes_on_above() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let relayer = kit::world::contracts::RELAYER;
    for _ in 0..3 {
        let gas = json!([{ "from": relayer, "to": relayer, "gas": "0x5208" }]);
        world.anvil.rpc("eth_sendTransaction", gas).await?;
    }
    world.until_logged(0, "the chain has consumed nonces that the journal never gave out", LIMIT).await?;
    let begun = std::time::Instant::now();
    let jobs = pay(&client, &child, 1, "above").await?;
    all_paid_once(&world, &client, &jobs).await?;
    // Signed at a consumed nonce it would have waited for a receipt that nobody has.
    ensure!(begun.elapsed().as_secs() < PAST_HOPE, "paid after {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_hole_that_a_reorganisation_leaves_below_open_nonces_is_filled_by_the_leader_in_office()
-> Result<()> {
    let world = quick().confirmations(5).start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    // What consumes the nonce in the journal's eyes is nothing that the journal could send again.
    let relayer = kit::world::contracts::RELAYER;
    let hole = world.contracts.relayer_nonce().await?;
    let gas = json!([{ "from": relayer, "to": relayer, "gas": "0x5208" }]);
    world.anvil.rpc("eth_sendTransaction", gas).await?;
    world.anvil.mine(1).await?;
    world.until_logged(0, "the chain has consumed nonces that the journal never gave out", LIMIT).await?;
    let jobs = pay(&client, &child, 1, "above-the-hole").await?;
    let submitted = at_stage(&client, &jobs[0], "submitted").await?;
    ensure!(submitted["tx"]["nonce"] == hole + 1, "{submitted:#}");

    world.anvil.reorg(1).await?;
    ensure!(world.contracts.relayer_nonce().await? == hole, "the reorganisation kept the transaction");
    world.anvil.set_mining(Mining::Every(1)).await?;
    world.until_logged(0, &format!("waiting for nonce {hole} since"), LIMIT).await?;
    all_paid_once(&world, &client, &jobs).await?;
    ensure!(world.contracts.paid().await?.len() == 1);
    Ok(())
}
