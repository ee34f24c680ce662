//! What it takes to bring a relayer to each step.

use std::time::Duration;

use alloy::primitives::{U256, keccak256};
use alloy::providers::Provider as _;
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use crate::chaos::schedule::CONFIRMATIONS;
use crate::chaos::traffic::Traffic;
use crate::chaos::verify::payment_id;
use crate::world::bindings::IAccessControl;
use crate::world::contracts::DEPLOYER;
use crate::world::process::until;
use crate::world::{Builder, Client, Env, Fault, Mining, World};

const LIMIT: Duration = Duration::from_secs(40);
const GWEI: u128 = 1_000_000_000;

/// A scene. In each, relayer 0 was there for the setup and is then started with the step armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// A registration, a payout that waits for it, and others, all there before the relayer is.
    Work,
    /// The payout contract is paused while jobs are checked, and unpaused later.
    Paused,
    /// It is paused once they are checked.
    ReadyThenPaused,
    /// Somebody else paid already.
    PaidByOthers,
    /// No node answers when jobs are claimed.
    NoChain,
    /// The relayer is told to stop while it waits for jobs.
    Stopped,
    /// A worker died with jobs in its hands.
    Orphan,
    /// Nothing happens until it is time to sweep.
    Sweep,
    /// Payouts are held for a second.
    Held,
    /// Whoever wrote a registration down did not get to let its payouts go.
    LateUnblock,
    /// Redis was started again.
    Sync,
    /// Redis forgot a transaction that is in the pool.
    Hole,
    /// The base fee is above what was bid.
    PricedOut,
    /// The token refuses a payout that was checked.
    Refused,
    /// Many blocks are made.
    ManyBlocks,
    /// What was final is undone.
    DeepReorg,
}

impl Scene {
    pub(super) fn prepare(self, builder: Builder) -> Builder {
        match self {
            Self::Held => builder.api_env("HOLD_SECONDS", 1),
            _ => builder,
        }
    }

    /// What else the relayer is told to do by its failpoints.
    pub(super) const fn helper(self) -> Option<&'static str> {
        match self {
            Self::LateUnblock => Some(";after_registered=1*return"),
            _ => None,
        }
    }

    /// Whether an operator has to resume signing.
    pub(super) const fn resumes(self) -> bool {
        matches!(self, Self::DeepReorg)
    }

    pub(super) const fn forgets(self) -> bool {
        matches!(self, Self::Hole)
    }

    /// Everything up to the step.
    pub(super) async fn before(
        self,
        world: &mut World,
        traffic: &mut Traffic<'_>,
        armed: &Env,
    ) -> Result<()> {
        match self {
            Self::NoChain | Self::Stopped | Self::ManyBlocks | Self::DeepReorg => {
                self.before_in_motion(world, traffic, armed).await
            }
            Self::Hole => hole(world, traffic, armed).await,
            Self::ReadyThenPaused | Self::Refused => self.before_checked(world, traffic, armed).await,
            _ => self.before_start(world, traffic, armed).await,
        }
    }

    /// Everything is there before the relayer starts.
    async fn before_start(self, world: &mut World, traffic: &mut Traffic<'_>, armed: &Env) -> Result<()> {
        world.kill_relayer(0, Signal::SIGKILL).await?;
        match self {
            Self::PaidByOthers => pay_by_hand(world, traffic).await?,
            Self::Paused => _ = world.contracts.as_owner(world.contracts.payout().pause()).await?,
            Self::PricedOut => world.anvil.set_mining(Mining::Manual).await?,
            _ => {}
        }
        traffic.send().await?;
        match self {
            Self::Orphan => {
                let dies = "at_after_claim=1*print(holding them);after_claim=1*pause";
                world.restart_relayer(0, &Env::from([("FAILPOINTS".to_owned(), dies.to_owned())]))?;
                world.until_logged(0, "holding them", LIMIT).await?;
                world.kill_relayer(0, Signal::SIGKILL).await?;
            }
            Self::Sync => world.redis.restart().await?,
            _ => {}
        }
        world.restart_relayer(0, armed)?;
        match self {
            Self::Paused => {
                // Long enough to meet the gate closed; then it opens, for the steps that come with that.
                let head = world.anvil.block_number().await?;
                world.anvil.until_block(head + 4, LIMIT).await?;
                world.contracts.as_owner(world.contracts.payout().unpause()).await.map(drop)
            }
            Self::PricedOut => {
                until("a transaction in the pool", LIMIT, || async {
                    Ok((world.anvil.pool().await?.0 > 0).then_some(()))
                })
                .await?;
                world.anvil.set_next_base_fee(100 * GWEI).await?;
                world.anvil.mine(1).await
            }
            _ => Ok(()),
        }
    }

    /// The relayer runs when it happens.
    async fn before_in_motion(self, world: &mut World, traffic: &mut Traffic<'_>, armed: &Env) -> Result<()> {
        if self == Self::DeepReorg {
            // Paid, and undone later.
            traffic.send().await?;
            for job in traffic.ledger().jobs() {
                world.client()?.wait_for(job, &["done"], LIMIT).await?;
            }
        }
        world.kill_relayer(0, Signal::SIGKILL).await?;
        world.restart_relayer(0, armed)?;
        world.leader(LIMIT).await?;
        let head = world.anvil.block_number().await?;
        world.anvil.until_block(head + 2, LIMIT).await?;
        match self {
            Self::NoChain => {
                world.proxies.iter().for_each(|proxy| proxy.set(Fault::Down));
                traffic.send().await
            }
            Self::Stopped => {
                world.relayer(0)?.signal(Signal::SIGTERM)?;
                traffic.send().await
            }
            Self::ManyBlocks => {
                traffic.send().await?;
                world.anvil.mine(80).await
            }
            _ => {
                // As deep as the oldest payment, which was final, and is gone then.
                let oldest = world.contracts.paid().await?.iter().map(|event| event.block).min();
                let head = world.anvil.block_number().await?;
                let depth = head + 1 - oldest.context("nothing is paid")?;
                ensure!(depth > CONFIRMATIONS, "only {depth} blocks");
                world.anvil.reorg(depth).await
            }
        }
    }

    /// Jobs are checked, and something changes before they are signed or mined.
    async fn before_checked(self, world: &mut World, traffic: &mut Traffic<'_>, armed: &Env) -> Result<()> {
        let client = world.client()?;
        client.pause("signing", "until they are checked").await?.expect(&[200])?;
        traffic.send().await?;
        let ledger = traffic.ledger();
        // Of the child that is registered: the other's waits until its registration is signed.
        let first = &traffic.work().payments[0].id;
        let job = ledger.payments.iter().find(|paid| paid.id == *first).and_then(|paid| paid.job.clone());
        ensure!(job.is_some(), "no job");
        until("a payout to be checked", LIMIT, || async {
            let record = client.job(job.as_deref().unwrap_or_default()).await?;
            Ok((record["stage"] == "ready").then_some(()))
        })
        .await?;
        world.kill_relayer(0, Signal::SIGKILL).await?;
        let usdc = world.contracts.usdc();
        match self {
            Self::ReadyThenPaused => _ = world.contracts.as_owner(world.contracts.payout().pause()).await?,
            _ => {
                world.anvil.set_mining(Mining::Manual).await?;
            }
        }
        client.resume("signing", "go on").await?.expect(&[200])?;
        world.restart_relayer(0, armed)?;
        if self == Self::Refused {
            until("transactions in the pool", LIMIT, || async {
                Ok((world.anvil.pool().await?.0 > 1).then_some(()))
            })
            .await?;
            // Pays more for its place in the block than the payouts do, and so comes first.
            let referrer = traffic.work().referrer_of(0).wallet.parse()?;
            let block = usdc.setBlocklisted(referrer, true).from(DEPLOYER);
            let dear = block.max_fee_per_gas(900 * GWEI).max_priority_fee_per_gas(90 * GWEI);
            let sent = dear.send().await?;
            world.anvil.set_mining(Mining::Every(1)).await?;
            ensure!(sent.get_receipt().await?.status(), "not blocklisted");
        }
        Ok(())
    }

    /// What was changed for the step is as before.
    pub(super) async fn after(self, world: &mut World, client: &Client) -> Result<()> {
        match self {
            Self::NoChain => world.proxies.iter().for_each(|proxy| proxy.set(Fault::Pass)),
            Self::Stopped if !world.relayer(0)?.is_running() => {
                world.restart_relayer(0, &super::unarmed())?
            }
            Self::Stopped => {
                // It was told to stop, and does so whatever happens to it at the step.
                world.relayer(0)?.process().wait(LIMIT).await.ok();
                world.restart_relayer(0, &super::unarmed())?;
            }
            Self::Hole | Self::PricedOut => world.anvil.set_mining(Mining::Every(1)).await?,
            Self::ReadyThenPaused => _ = world.contracts.as_owner(world.contracts.payout().unpause()).await?,
            Self::Refused => {
                let blocked = world.contracts.usdc();
                let work = crate::chaos::work::Work::small();
                for referrer in &work.referrers {
                    let unblock = blocked.setBlocklisted(referrer.wallet.parse()?, false);
                    world.contracts.as_owner(unblock).await?;
                }
                retry_failed(world, client).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Waits until nothing is unfinished, and retries by hand what has failed, once a block has shown that its cause is over.
async fn retry_failed(world: &World, client: &Client) -> Result<()> {
    let head = world.anvil.block_number().await?;
    world.anvil.until_block(head + 2, LIMIT).await?;
    crate::chaos::settle::until_settled(client, LIMIT * 2, false).await?;
    let page = client.jobs("state=failed&limit=100").await?.expect(&[200])?.body;
    for job in page["jobs"].as_array().into_iter().flatten() {
        client.retry(job["id"].as_str().unwrap_or_default()).await?.expect(&[200, 202])?;
    }
    Ok(())
}

/// Another account pays the first payment before anybody is told of it.
async fn pay_by_hand(world: &World, traffic: &Traffic<'_>) -> Result<()> {
    let contracts = &world.contracts;
    let access = IAccessControl::new(contracts.addresses.payout, world.anvil.provider().clone());
    contracts.as_owner(access.grantRole(keccak256("RELAYER_ROLE"), DEPLOYER)).await?;
    let work = traffic.work();
    let payment = &work.payments[0];
    let child = work.children[payment.child].wallet.parse()?;
    let referrer = work.referrer_of(payment.child).wallet.parse()?;
    // Ten percent, in USDC alone: the first referrer is no hybrid.
    let amount = U256::from(payment.units / 10);
    let id = payment_id("payments", &payment.id);
    let pay = contracts.payout();
    contracts.as_owner(pay.payAffiliateUSDC(id, child, referrer, amount)).await?;
    Ok(())
}

/// The journal forgets a transaction that is in the pool: whoever takes over must fill its nonce.
async fn hole(world: &mut World, traffic: &mut Traffic<'_>, armed: &Env) -> Result<()> {
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    traffic.send().await?;
    let copy = world.folder().join("redis-copy");
    world.redis.copy_data(&copy)?;
    world.restart_relayer(0, &super::unarmed())?;
    until("a transaction in the pool", LIMIT, || async {
        let pending =
            world.anvil.provider().get_transaction_count(crate::world::contracts::RELAYER).pending();
        Ok((pending.await? > world.contracts.relayer_nonce().await?).then_some(()))
    })
    .await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;
    world.redis.kill();
    world.redis.put_data(&copy)?;
    world.redis.restart().await?;
    world.restart_relayer(0, armed)
}
