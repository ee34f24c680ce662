//! `/metrics` of both binaries: well-formed by Prometheus's own check, and with every figure that operators need.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::world::World;
use kit::world::process::until;

use crate::support::{LIMIT, pay, quick, registered};

/// An error with what `promtool check metrics` complains of.
fn promtool(text: &str) -> Result<()> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("run promtool")?;
    child.stdin.take().context("stdin")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success() && said.concat().trim().is_empty(), "{}\n{text}", said.concat());
    Ok(())
}

/// The value of the sample whose name and labels begin with `sample`, the same whichever order they come in.
fn value(text: &str, sample: &str) -> Result<f64> {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(sample).is_some_and(|rest| rest.starts_with([' ', '{', ',', '}'])));
    let line = line.with_context(|| format!("no `{sample}` in\n{text}"))?;
    Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
}

#[tokio::test]
async fn a_relayer_shows_every_figure_as_promtool_wants_it() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let jobs = pay(&client, &child, 3, "metrics").await?;
    for job in &jobs {
        client.wait_for(job, &["done"], LIMIT).await?;
    }
    let relayer = &world.relayers[0];
    let text = until("the balances after the payments", LIMIT, || async {
        let text = relayer.metrics().await?;
        let settled = value(&text, "ail_payout_funds_tokens{token=\"usdc\"")? < 1_000_000.0
            && value(&text, "ail_webhook_to_done_seconds_count")? >= 3.0;
        Ok(settled.then_some(text))
    })
    .await?;
    promtool(&text)?;

    let exactly = [
        ("ail_jobs_claimed_total", 4.0),
        ("ail_jobs_done_total{kind=\"payout\"", 3.0),
        ("ail_jobs_done_total{kind=\"register\"", 1.0),
        ("ail_job_attempts_total", 0.0),
        ("ail_job_failures_total{class=\"unclear_revert\"", 0.0),
        ("ail_nonce_errors_total", 0.0),
        ("ail_jobs{state=\"done\"", 4.0),
        ("ail_jobs{state=\"pending\"", 0.0),
        ("ail_jobs{state=\"processing\"", 0.0),
        ("ail_jobs{state=\"retrying\"", 0.0),
        ("ail_jobs{state=\"failed\"", 0.0),
        ("ail_oldest_job_age_seconds{state=\"pending\"", 0.0),
        ("ail_payout_funds_tokens{token=\"usdc\"", 999_997.0),
        ("ail_payout_funds_tokens{token=\"sge\"", 1_000_000.0),
        ("ail_lease_held", 1.0),
        ("ail_lease_holder{holder=", 1.0),
    ];
    for (sample, wanted) in exactly {
        let line = text.lines().find(|line| line.starts_with(sample));
        let found = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        ensure!(found == Some(wanted), "{sample} is {found:?}, not {wanted}, in\n{text}");
    }
    for sample in ["to_broadcast", "to_inclusion", "to_done"] {
        let count = value(&text, &format!("ail_webhook_{sample}_seconds_count"))?;
        let sum = value(&text, &format!("ail_webhook_{sample}_seconds_sum"))?;
        ensure!(count >= 3.0 && sum > 0.0 && sum / count < 40.0, "{sample}: {sum} s in {count}\n{text}");
    }
    ensure!(value(&text, "ail_lease_term")? >= 1.0, "{text}");
    let gas = value(&text, "ail_signer_balance_ether")?;
    ensure!(gas > 9_000.0 && gas < 10_000.0, "the signer has {gas}");
    for token in ["usdc", "sge"] {
        ensure!(value(&text, &format!("ail_window_left_tokens{{token=\"{token}\""))? > 0.0, "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn failures_are_counted_by_class_and_attempts_only_where_charged() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, referrer) = registered(&client).await?;
    world.contracts.set_blocklisted(referrer.parse()?, true).await?;
    let job = pay(&client, &child, 1, "blocked").await?.remove(0);
    let failed = client.wait_for(&job, &["failed"], LIMIT).await?;
    let class = failed["error"]["class"].as_str().context("class")?;
    let text = world.relayers[0].metrics().await?;
    promtool(&text)?;
    ensure!(value(&text, &format!("ail_job_failures_total{{class=\"{class}\""))? >= 1.0, "{text}");
    ensure!(value(&text, "ail_jobs{state=\"failed\"")? == 1.0, "{text}");
    ensure!(failed["attempts"] == value(&text, "ail_job_attempts_total")? as u64, "{failed:#}\n{text}");
    Ok(())
}

#[tokio::test]
async fn a_record_that_cannot_be_read_hides_no_other_figure() -> Result<()> {
    let world = quick().start().await?;
    let relayer = &world.relayers[0];
    let text = relayer.metrics().await?;
    ensure!(value(&text, "ail_durable")? == 1.0 && value(&text, "ail_synced")? == 1.0, "{text}");
    // What is looked at before it cannot be read, and what comes after it changes.
    world.redis.cli(&["HSET", &world.key("gate"), "lane:chain", "garbage"]).await?;
    world.redis.cli(&["CONFIG", "SET", "appendfsync", "everysec"]).await?;
    let text = relayer.metrics().await?;
    ensure!(value(&text, "ail_durable")? == 0.0, "{text}");
    world.redis.cli(&["CONFIG", "SET", "appendfsync", "always"]).await?;
    world.redis.cli(&["HDEL", &world.key("gate"), "lane:chain"]).await?;
    a_pause_shows_since_when(&world).await
}

/// A pause shows since when, in seconds, and is gone when it is over.
async fn a_pause_shows_since_when(world: &World) -> Result<()> {
    let (client, relayer) = (world.client()?, &world.relayers[0]);
    client.pause("signing", "test").await?.expect(&[200])?;
    let text = relayer.metrics().await?;
    promtool(&text)?;
    let since = value(&text, "ail_gate_closed_since_timestamp_seconds{gate=\"signing\"")?;
    let now: f64 = world.redis.cli(&["TIME"]).await?.lines().next().context("TIME")?.parse()?;
    ensure!((now - 60.0..=now + 1.0).contains(&since), "since {since}, now {now}");
    client.resume("signing", "test").await?.expect(&[200])?;
    let text = relayer.metrics().await?;
    ensure!(!text.contains("gate=\"signing\""), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_api_shows_its_figures_as_promtool_wants_them() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    let job = pay(&client, &child, 1, "api").await?.remove(0);
    client.wait_for(&job, &["done"], LIMIT).await?;
    until("the job to be counted", Duration::from_secs(5), || async {
        let text = client.get("/metrics").await?.expect(&[200])?.body;
        let text = text.as_str().context("text")?.to_owned();
        promtool(&text)?;
        ensure!(value(&text, "affiliate_jobs{state=\"done\"")? == 2.0, "{text}");
        Ok(Some(()))
    })
    .await
}
