//! Reads what there is: events and accounts from a node, records from the API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alloy::primitives::{Address, B256, U256, keccak256};
use alloy::providers::{Provider as _, ProviderBuilder};
use alloy::rpc::types::{Filter, Log, TransactionRequest};
use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

/// Questions to the API at a time.
const AT_ONCE: usize = 16;

/// Where to ask.
#[derive(Debug, Clone)]
pub struct Where {
    pub rpc: String,
    pub payout: Address,
    pub registry: Address,
    pub usdc: Address,
    pub sge: Address,
    pub signer: Address,
    pub api: String,
    pub viewer_key: String,
}

/// A payment in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub payment: B256,
    pub referrer: Address,
    pub child: Address,
    pub usdc: U256,
    pub sge: U256,
    pub block: u64,
}

/// A registration in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    pub child: Address,
    pub referrer: Address,
    pub block: u64,
}

/// A job as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFact {
    pub state: String,
    pub stage: String,
    /// The class of its failure.
    pub class: String,
}

/// What an affiliate owes back of a payment's commission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owed {
    pub usdc: U256,
    pub sge: U256,
}

/// Everything the comparison needs.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub head: u64,
    pub paid: Vec<Event>,
    pub referrals: Vec<Referral>,
    /// What each referrer that was paid holds: USDC, SGE.
    pub balances: BTreeMap<Address, (U256, U256)>,
    /// What left the payout contract by the tokens' own events, by who got it: USDC, SGE.
    pub outflow: BTreeMap<Address, (U256, U256)>,
    /// The signer's transactions in blocks, and with those in the pool.
    pub mined: u64,
    pub pending: u64,
    /// Transactions in the pool that wait behind a missing nonce.
    pub stuck: u64,
    /// By id; none where the API knows no such job.
    pub jobs: BTreeMap<String, Option<JobFact>>,
    /// By the payment's id at the source.
    pub owed: BTreeMap<String, Owed>,
    /// Nonces that the API shows as not final.
    pub open_nonces: u64,
    pub closed_gates: Vec<String>,
}

/// Reads everything about `jobs` and `payments` (their ids at the source).
pub async fn read<'a>(
    at: &Where,
    jobs: impl Iterator<Item = &'a str>,
    payments: impl Iterator<Item = &'a str>,
) -> Result<Facts> {
    let mut facts = Facts::default();
    read_api(at, jobs, payments, &mut facts).await.context("ask the API")?;
    read_chain(at, &mut facts).await.context("ask the node")?;
    Ok(facts)
}

async fn read_chain(at: &Where, facts: &mut Facts) -> Result<()> {
    let node = ProviderBuilder::new().connect_http(at.rpc.parse()?);
    let logs = node.get_logs(&Filter::new().address(vec![at.payout, at.registry]).from_block(0)).await?;
    let paid = keccak256("AffiliatePaid(bytes32,address,address,uint256,uint256)");
    let registered = keccak256("ReferralRegistered(address,address)");
    for log in &logs {
        match log.topics().first() {
            Some(topic) if *topic == paid => facts.paid.push(payment(log)?),
            Some(topic) if *topic == registered => facts.referrals.push(referral(log)?),
            _ => {}
        }
    }
    let referrers: BTreeSet<Address> = facts.paid.iter().map(|event| event.referrer).collect();
    for referrer in referrers {
        let (usdc, sge) = (balance(&node, at.usdc, referrer).await?, balance(&node, at.sge, referrer).await?);
        facts.balances.insert(referrer, (usdc, sge));
    }
    for log in node.get_logs(&transfers_from(at.payout).address(vec![at.usdc, at.sge])).await? {
        let amount = U256::from_be_slice(log.data().data.as_ref());
        let sum = facts.outflow.entry(topic_address(&log, 2)?).or_default();
        match log.address() == at.usdc {
            true => sum.0 += amount,
            false => sum.1 += amount,
        }
    }
    facts.mined = node.get_transaction_count(at.signer).await?;
    facts.pending = node.get_transaction_count(at.signer).pending().await?;
    let pool: Value = node.raw_request("txpool_status".into(), ()).await?;
    let queued = pool["queued"].as_str().context("txpool_status")?;
    facts.stuck = u64::from_str_radix(queued.trim_start_matches("0x"), 16)?;
    facts.head = node.get_block_number().await?;
    Ok(())
}

fn transfers_from(account: Address) -> Filter {
    let transfer = keccak256("Transfer(address,address,uint256)");
    Filter::new().event_signature(transfer).topic1(account.into_word()).from_block(0)
}

/// `balanceOf(account)`, by its selector.
async fn balance(node: &impl alloy::providers::Provider, token: Address, account: Address) -> Result<U256> {
    let mut input = keccak256("balanceOf(address)")[..4].to_vec();
    input.extend_from_slice(account.into_word().as_slice());
    let answer = node.call(TransactionRequest::default().to(token).input(input.into())).await?;
    ensure!(answer.len() == 32, "balanceOf: {answer}");
    Ok(U256::from_be_slice(&answer))
}

fn topic_address(log: &Log, n: usize) -> Result<Address> {
    Ok(Address::from_word(*log.topics().get(n).context("a topic is missing")?))
}

fn payment(log: &Log) -> Result<Event> {
    let data = log.data().data.as_ref();
    ensure!(data.len() == 64, "AffiliatePaid with {} bytes", data.len());
    Ok(Event {
        payment: *log.topics().get(1).context("a topic is missing")?,
        referrer: topic_address(log, 2)?,
        child: topic_address(log, 3)?,
        usdc: U256::from_be_slice(&data[..32]),
        sge: U256::from_be_slice(&data[32..]),
        block: log.block_number.context("a log without a block")?,
    })
}

fn referral(log: &Log) -> Result<Referral> {
    Ok(Referral {
        child: topic_address(log, 1)?,
        referrer: topic_address(log, 2)?,
        block: log.block_number.context("a log without a block")?,
    })
}

/// Asks the API as viewer.
struct Api<'a> {
    http: reqwest::Client,
    at: &'a Where,
}

impl Api<'_> {
    /// None where there is no such thing. Asked again while the API is not well.
    async fn get(&self, path: &str) -> Result<Option<Value>> {
        let mut last = None;
        for _ in 0..20 {
            let request = self.http.get(format!("{}{path}", self.at.api)).bearer_auth(&self.at.viewer_key);
            match request.send().await {
                Ok(answer) if answer.status() == 404 => return Ok(None),
                Ok(answer) if answer.status() == 200 => return Ok(Some(answer.json().await?)),
                Ok(answer) => last = Some(format!("{path}: {}", answer.status())),
                Err(error) => last = Some(format!("{path}: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        anyhow::bail!("{}", last.unwrap_or_default())
    }
}

async fn read_api<'a>(
    at: &Where,
    jobs: impl Iterator<Item = &'a str>,
    payments: impl Iterator<Item = &'a str>,
    facts: &mut Facts,
) -> Result<()> {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
    let api = Api { http, at };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let asked = jobs.map(async |job| anyhow::Ok((job, api.get(&format!("/api/jobs/{job}")).await?)));
    let found: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    for (job, record) in found {
        let found = record.map(|record| JobFact {
            state: text(&record["state"]),
            stage: text(&record["stage"]),
            class: text(&record["error"]["class"]),
        });
        facts.jobs.insert(job.to_owned(), found);
    }
    let asked =
        payments.map(async |id| anyhow::Ok((id, api.get(&format!("/api/payments/payments:{id}")).await?)));
    let found: Vec<_> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
    for (id, record) in found {
        let Some(record) = record else { continue };
        let amount = |token: &str| {
            let units = text(&record["owed"][token]);
            units.parse().with_context(|| format!("payment {id} owes {units:?} base units of {token}"))
        };
        facts.owed.insert(id.to_owned(), Owed { usdc: amount("usdc")?, sge: amount("sge")? });
    }
    let fleet = api.get("/api/fleet").await?.context("/api/fleet")?;
    let signers = fleet["signers"].as_array().context("signers")?;
    facts.open_nonces = signers.iter().filter_map(|signer| signer["open"].as_u64()).sum();
    let gates = fleet["closed_gates"].as_array().context("closed_gates")?;
    facts.closed_gates = gates.iter().map(|gate| text(&gate["gate"])).collect();
    Ok(())
}
