//! A relayer killed with SIGKILL at each step between two durable effects. After its restart every payment is on-chain
//! exactly once and every job says so truthfully.

mod support;

use std::collections::BTreeMap;

use anyhow::Result;
use nix::sys::signal::Signal;
use support::{LIMIT, all_paid_once, pay, quick, registered};

/// Stops the relayer at `point` while it handles five payments, kills it there, and starts it again.
async fn killed_at(point: &str) -> Result<()> {
    let mut world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;

    world.kill_relayer(0, Signal::SIGKILL).await?;
    let failpoints = format!("{point}=1*print(reached {point})->pause");
    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), failpoints)]))?;
    world.leader(LIMIT).await?;
    let jobs = pay(&client, &child, 5, point).await?;
    world.until_logged(0, &format!("reached {point}"), LIMIT).await?;
    world.kill_relayer(0, Signal::SIGKILL).await?;

    world.restart_relayer(0, &BTreeMap::from([("FAILPOINTS".to_owned(), String::new())]))?;
    let verdict = all_paid_once(&world, &client, &jobs).await;
    let paid = world.contracts.paid().await?.len();
    assert!(verdict.is_ok(), "{:?}\n{}", verdict, world.all_logs(60));
    assert_eq!(paid, 5, "{}", world.all_logs(60));
    Ok(())
}

#[tokio::test]
async fn killed_after_claim_every_job_is_paid_once() -> Result<()> {
    killed_at("after_claim").await
}

#[tokio::test]
async fn killed_after_check_every_job_is_paid_once() -> Result<()> {
    killed_at("after_check").await
}

#[tokio::test]
async fn killed_after_sign_every_job_is_paid_once() -> Result<()> {
    killed_at("after_sign").await
}

#[tokio::test]
async fn killed_after_journal_every_job_is_paid_once() -> Result<()> {
    killed_at("after_journal").await
}

#[tokio::test]
async fn killed_after_broadcast_every_job_is_paid_once() -> Result<()> {
    killed_at("after_broadcast").await
}

#[tokio::test]
async fn killed_after_inclusion_every_job_is_paid_once() -> Result<()> {
    killed_at("after_inclusion").await
}

#[tokio::test]
async fn killed_after_finish_every_job_is_paid_once() -> Result<()> {
    killed_at("after_finish").await
}
