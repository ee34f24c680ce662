//! deploy/: the production Redis carries the whole system with no more rights than its users need, and what is written
//! down about alerts, metrics and images fits together.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use kit::world::process::{Process, Reaper, until};
use kit::world::{Client, Redis, World, paths, ports};

use crate::support;
use crate::support::{LIMIT, acl_rules, pay, quick, registered, wallet};

const USERS: [&str; 4] = ["admin", "relayer", "api", "operator"];

/// Redis as deploy/redis.conf has it, with the users of deploy/users.acl.
struct Production {
    port: u16,
    _process: Process,
    _reaper: Arc<Reaper>,
    _folder: tempfile::TempDir,
}

impl Production {
    async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ail-production-").tempdir()?;
        let reaper = Reaper::start(folder.path())?;
        let (port, acl) = (ports::free()?, folder.path().join("users.acl"));
        let mut users = String::from("user default reset off\n");
        for user in USERS {
            users.push_str(&format!("user {user} {}\n", acl_rules(user, &password(user))?));
        }
        fs::write(&acl, users)?;
        let data = folder.path().join("redis");
        fs::create_dir(&data)?;
        let mut command = Redis::shipped(&data, port)?;
        command.arg("--aclfile").arg(&acl);
        let process = Process::spawn("redis", command, folder.path().join("redis.log"), &reaper)?;
        let redis = Self { port, _process: process, _reaper: reaper, _folder: folder };
        until("the production Redis", LIMIT, || async {
            let pong = redis.cli("admin", &["PING"]).await?;
            Ok((pong == "PONG").then_some(()))
        })
        .await?;
        Ok(redis)
    }

    fn url(&self, user: &str) -> String {
        format!("redis://{user}:{}@127.0.0.1:{}/", password(user), self.port)
    }

    /// What `redis-cli` prints as `user`; errors of Redis included.
    async fn cli(&self, user: &str, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new("redis-cli");
        command.args(["-p", &self.port.to_string(), "--user", user]).args(arguments).stdin(Stdio::null());
        command.env("REDISCLI_AUTH", password(user));
        let output = command.kill_on_drop(true).output().await.context("run redis-cli")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// An error unless Redis refuses the command to `user`, for want of rights and not for anything else.
    async fn refuses(&self, user: &str, command: &str) -> Result<()> {
        let said = self.cli(user, &command.split(' ').collect::<Vec<_>>()).await?;
        ensure!(said.starts_with("NOPERM"), "{user}: {command}: {said}");
        Ok(())
    }
}

fn password(user: &str) -> String {
    format!("{user}-of-this-test")
}

/// A system whose programs use `redis`, each as its own user.
async fn system(redis: &Production) -> Result<World> {
    let mut migrate = Command::new(paths::binary("affiliate-relayer")?);
    migrate.arg("migrate").env_clear().env("REDIS_URL", redis.url("relayer"));
    let Output { status, stdout, stderr } = migrate.output()?;
    ensure!(status.success(), "{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    quick()
        .relayers(2)
        .relayer_env("REDIS_URL", redis.url("relayer"))
        .api_env("REDIS_URL", redis.url("api"))
        .start()
        .await
}

/// The doctor finds nothing to mend with the rights of a relayer.
async fn examined(redis: &Production, world: &World) -> Result<()> {
    let mut doctor = tokio::process::Command::new(paths::binary("affiliate-relayer")?);
    doctor.arg("doctor").env_clear().envs(world.common_env()).env("REDIS_URL", redis.url("relayer"));
    // Anvil's account 1, which holds the relayer's roles.
    doctor.env("RELAYER_PRIVATE_KEY", "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");
    let Output { status, stdout, .. } = doctor.kill_on_drop(true).output().await?;
    ensure!(status.success(), "{}", String::from_utf8_lossy(&stdout));
    Ok(())
}

/// Everything that the API may be asked to write and to read.
async fn everything_once(world: &World, client: &Client) -> Result<String> {
    let (child, referrer) = registered(client).await?;
    client.set_mode(&referrer, "hybrid").await?.expect(&[200])?;
    let done = pay(client, &child, 1, "done").await?.remove(0);
    client.wait_for(&done, &["done"], LIMIT).await?;
    client.refund("done_0", &child, "10.00").await?.expect(&[202])?;
    world.contracts.set_blocklisted(referrer.parse()?, true).await?;
    let failed = pay(client, &child, 2, "failed").await?;
    for job in &failed {
        client.wait_for(job, &["failed"], LIMIT).await?;
    }
    client.archive(&failed[0], "test").await?.expect(&[200])?;
    world.contracts.set_blocklisted(referrer.parse()?, false).await?;
    client.retry(&failed[1]).await?.expect(&[200, 202])?;
    client.wait_for(&failed[1], &["done"], LIMIT).await?;
    // Jobs that wait for a nonce, for a registration, and under a gate can all be cancelled.
    client.pause("signing", "test").await?.expect(&[200])?;
    let late = wallet(0xc0, 9);
    client.register(&late, Some(&wallet(0xaf, 9))).await?.expect(&[202])?;
    for job in [pay(client, &child, 1, "ready").await?, pay(client, &late, 1, "waiting").await?].concat() {
        client.archive(&job, "test").await?.expect(&[200])?;
    }
    client.resume("signing", "test").await?.expect(&[200])?;
    world.contracts.as_owner(world.contracts.payout().pause()).await?;
    let gated = pay(client, &child, 1, "gated").await?.remove(0);
    support::at_stage(client, &gated, "gated").await?;
    client.archive(&gated, "test").await?.expect(&[200])?;
    for path in
        ["/api/stats", "/api/fleet", "/api/jobs?state=done", "/api/transactions", "/readyz", "/metrics"]
    {
        client.get(path).await?.expect(&[200])?;
    }
    Ok(done)
}

#[tokio::test]
async fn the_production_redis_carries_the_system_and_gives_nobody_more_than_needed() -> Result<()> {
    let redis = Production::start().await?;
    let world = system(&redis).await?;
    examined(&redis, &world).await?;
    let job = everything_once(&world, &world.client()?).await?;
    let denied = redis.cli("admin", &["ACL", "LOG"]).await?;
    ensure!(denied.is_empty(), "somebody was refused something that it needs:\n{denied}");

    // Small records take one allocation each, and the server keeps what it acknowledged.
    let payment = redis.cli("operator", &["HGET", &world.key(&format!("job:{job}")), "payment"]).await?;
    let jobs = format!("wallet:{}", wallet(0xc0, 0).to_lowercase());
    for small in [format!("job:{job}"), format!("payment:{payment}"), jobs] {
        let encoding = redis.cli("admin", &["OBJECT", "ENCODING", &world.key(&small)]).await?;
        ensure!(encoding == "listpack", "{small} is a {encoding}");
    }
    let fsync = redis.cli("operator", &["CONFIG", "GET", "appendfsync"]).await?;
    ensure!(fsync == "appendfsync\nalways", "{fsync}");

    // Nobody but the hands behind `admin` empties or reconfigures it, and the API signs nothing.
    for user in ["relayer", "api", "operator"] {
        for command in [
            "FLUSHALL",
            "FLUSHDB",
            "CONFIG SET appendfsync no",
            "SHUTDOWN NOSAVE",
            "REPLICAOF 127.0.0.1 1",
            "ACL LIST",
            "KEYS *",
            "EVAL return(1) 0",
            "SCRIPT FLUSH",
            "GET ail:{other}:lease",
        ] {
            redis.refuses(user, command).await?;
        }
    }
    for command in ["SET ail:{main}:lease mine:9", "INCR ail:{main}:term", "DEL ail:{main}:synced"] {
        redis.refuses("api", command).await?;
        redis.refuses("operator", command).await?;
    }
    let signer = format!("{:#x}", kit::world::contracts::RELAYER);
    redis.refuses("api", &format!("HSET ail:{{main}}:signer:{signer} next 9")).await?;
    redis.refuses("api", &format!("HSET ail:{{main}}:tx:{signer}:0 state closed")).await?;
    redis.refuses("operator", "XADD ail:{main}:audit * a b").await?;
    redis.refuses("relayer", "SET ail:{other}:lease mine:9").await?;
    redis.refuses("relayer", "XTRIM ail:{main}:audit MAXLEN 0").await
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(paths::root().join(path)).with_context(|| path.to_owned())
}

/// The words of `text` that begin with `prefix` and go on with small letters, digits and underscores.
fn words(text: &str, prefix: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let starts = text.match_indices(prefix).filter(|(at, _)| !text[..*at].ends_with(word));
    starts.map(|(at, _)| text[at..].chars().take_while(|c| word(*c)).collect()).collect()
}

#[test]
fn each_alert_has_texts_a_section_in_the_runbook_and_tests_of_both_kinds() -> Result<()> {
    let (rules, tests) = (read("deploy/prometheus/alerts.yml")?, read("deploy/prometheus/alerts_test.yml")?);
    let runbook = read("deploy/runbook.md")?;
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    ensure!(alerts.len() >= 20, "only {} alerts", alerts.len());
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        for needed in ["severity: ", "summary: ", "description: ", "First: "] {
            ensure!(alert.contains(needed), "{name} has no `{needed}`");
        }
        let link = format!("runbook: deploy/runbook.md#{}\n", name.to_lowercase());
        ensure!(alert.contains(&link), "{name} does not name its section");
        let section = runbook.split(&format!("\n### {name}\n")).nth(1).unwrap_or_default();
        let section = section.split("\n### ").next().unwrap_or_default();
        for part in ["**Means**", "**Look**", "**Do**", "```sh"] {
            ensure!(section.contains(part), "the section of {name} has no {part}");
        }
        let checks =
            |what: &str| tests.contains(&format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"{what}"));
        ensure!(checks(",severity="), "no test lets {name} fire");
        let quiet = tests.lines().any(|line| {
            line.contains(&format!("alertname=\"{name}\"")) && line.ends_with("exp_samples: [] }")
        });
        ensure!(quiet, "no test lets {name} stay quiet");
    }
    Ok(())
}

#[test]
fn alerts_and_runbook_name_only_metrics_that_exist() -> Result<()> {
    let source = read("worker/src/metrics.rs")?;
    let exists = |metric: &str| {
        let name = metric.trim_start_matches("ail_").trim_end_matches("_total");
        ["", "_seconds"].iter().any(|unit| {
            name.ends_with(unit) && source.contains(&format!("= \"{}\"", name.trim_end_matches(unit)))
        })
    };
    for path in ["deploy/prometheus/alerts.yml", "deploy/prometheus/alerts_test.yml", "deploy/runbook.md"] {
        let named = words(&read(path)?, "ail_");
        ensure!(named.len() > 10, "{path} names only {named:?}");
        for metric in named.iter().filter(|metric| *metric != "ail_window_") {
            ensure!(exists(metric), "{path} names {metric}, which no relayer shows");
        }
    }
    ensure!(!exists("ail_no_such_metric") && exists("ail_oldest_queued_age_seconds"));
    Ok(())
}

#[test]
fn whatever_the_images_are_made_of_is_there_and_reaches_the_builder() -> Result<()> {
    let (root, ignored) = (paths::root(), read(".dockerignore")?);
    let mut copied = 0;
    for line in read("deploy/Dockerfile")?.lines().filter_map(|line| line.strip_prefix("COPY ")) {
        let mut words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        words.pop();
        if line.starts_with("--from=") {
            continue;
        }
        for source in words {
            copied += 1;
            ensure!(root.join(source).exists(), "COPY {source}: there is no such file");
            ensure!(ignored.lines().any(|rule| rule == format!("!{source}")), "COPY {source}: it is ignored");
        }
    }
    ensure!(copied >= 7, "only {copied} sources");
    for member in read("Cargo.toml")?
        .lines()
        .find(|line| line.starts_with("members"))
        .context("members")?
        .split('"')
        .skip(1)
        .step_by(2)
    {
        ensure!(
            ignored.lines().any(|rule| rule == format!("!{member}")),
            "cargo needs all members, {member} is ignored"
        );
    }
    Ok(())
}

#[test]
fn every_block_of_the_runbook_is_something_that_bash_understands() -> Result<()> {
    let runbook = read("deploy/runbook.md")?;
    let blocks: Vec<&str> =
        runbook.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    ensure!(blocks.len() > 40, "only {} blocks", blocks.len());
    for block in blocks {
        let output = Command::new("bash").args(["-n", "-c", block]).output()?;
        ensure!(output.status.success(), "{}\n{block}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[tokio::test]
async fn the_images_health_check_tells_a_relayer_that_is_well_from_none() -> Result<()> {
    let world = quick().without_api().start().await?;
    let script = paths::root().join("deploy/healthcheck");
    let check = |script: &Path, port: &str, path: &str| -> Result<Option<i32>> {
        Ok(Command::new(script).args([port, path]).stderr(Stdio::null()).status()?.code())
    };
    let url = world.relayers[0].metrics_url();
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).context("a port")?;
    ensure!(check(&script, port, "/healthz")? == Some(0));
    ensure!(check(&script, port, "/nowhere")? == Some(1));
    ensure!(check(&script, &ports::free()?.to_string(), "/healthz")? == Some(1));
    Ok(())
}
