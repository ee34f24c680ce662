//! What a relayer and an API refuse to start with, and that neither ever shows a secret.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kit::world::settings::{OPERATOR_KEY, WEBHOOK_SECRET};
use kit::world::{Env, World, paths, ports};

use crate::support::{LIMIT, pay, quick, registered, wallet};

/// Anvil's account 1, which holds the relayer's roles, and account 5, which holds none.
const RELAYER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const STRANGER_KEY: &str = "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba";

/// Fails once somebody has called at this port.
fn uncalled(ear: &TcpListener) -> Result<()> {
    ear.set_nonblocking(true)?;
    let called = ear.accept();
    let nobody = called.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    ensure!(nobody, "a socket was opened: {called:?}");
    Ok(())
}

struct Ended {
    code: Option<i32>,
    output: String,
}

impl Ended {
    /// An error unless it ended with `code` and named each of `problems`.
    fn refused(&self, code: i32, problems: &[&str]) -> Result<()> {
        ensure!(self.code == Some(code), "exit {:?}, not {code}:\n{}", self.code, self.output);
        for problem in problems {
            ensure!(self.output.contains(problem), "`{problem}` is not listed:\n{}", self.output);
        }
        Ok(())
    }
}

/// Runs a binary, with this environment only, until it has ended.
async fn run(binary: &str, argument: &str, env: &Env) -> Result<Ended> {
    let mut command = tokio::process::Command::new(paths::binary(binary)?);
    command.arg(argument).env_clear().envs(env).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(30), command.output())
        .await
        .with_context(|| format!("{binary} {argument} still runs"))??;
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(Ended { code: output.status.code(), output: text.concat() })
}

/// What is changed in the environment, and the problems that it makes.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

/// A relayer's environment in which the metrics' port is taken: one that tries to listen says so.
fn relayer_env(world: &World, taken: &TcpListener, changes: &[(&str, &str)]) -> Result<Env> {
    let mut env = world.common_env().clone();
    env.insert("METRICS_LISTEN".to_owned(), taken.local_addr()?.to_string());
    env.insert("RELAYER_PRIVATE_KEY".to_owned(), RELAYER_KEY.to_owned());
    for (name, value) in changes {
        env.insert((*name).to_owned(), (*value).to_owned());
    }
    Ok(env)
}

fn taken_port() -> Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free()?))?)
}

async fn bare() -> Result<World> {
    let world = quick().without_api().relayers(0).start().await?;
    world.subcommand(&["migrate"]).await?;
    Ok(world)
}

#[tokio::test]
async fn a_relayer_with_a_bad_configuration_exits_64_with_every_problem_before_it_listens() -> Result<()> {
    let taken = taken_port()?;
    let env = [
        ("METRICS_LISTEN", taken.local_addr()?.to_string()),
        ("CHAIN_ID", "mainnet".to_owned()),
        ("ETH_RPC_HTTPS", "ftp://node.invalid,http://a.invalid,http://a.invalid".to_owned()),
        ("AFFILIATE_REGISTRY_ADDRESS", "0x0000000000000000000000000000000000000000".to_owned()),
        ("CONFIRMATIONS", "0".to_owned()),
        ("RPC_CHECK_MS", "1".to_owned()),
        ("DURABILITY", "perhaps".to_owned()),
        ("LEASE_TTL_MS", "soon".to_owned()),
    ];
    let env: Env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let ended = run("affiliate-relayer", "run", &env).await?;
    let listed = [
        "REDIS_URL",
        "CHAIN_ID=mainnet",
        "ETH_RPC_HTTPS: endpoint 1 does not begin with http",
        "ETH_RPC_HTTPS: endpoint 3 is there twice",
        "RPC_CHECK_MS=1",
        "AFFILIATE_REGISTRY_ADDRESS=0x0000",
        "AFFILIATE_PAYOUT_ADDRESS",
        "CONFIRMATIONS=0",
        "DURABILITY=perhaps",
        "LEASE_TTL_MS=soon",
        "no signing key",
    ];
    ended.refused(64, &listed)?;
    ensure!(!ended.output.contains("METRICS_LISTEN"), "it tried to listen:\n{}", ended.output);
    Ok(())
}

#[tokio::test]
async fn binaries_with_a_bad_configuration_call_neither_redis_nor_a_node() -> Result<()> {
    let ear = taken_port()?;
    let address = ear.local_addr()?;
    let env = [
        ("REDIS_URL", format!("redis://{address}/")),
        ("ETH_RPC_HTTPS", format!("http://{address}/")),
        ("CHAIN_ID", "mainnet".to_owned()),
        // What `migrate`, which asks for Redis only, has to refuse.
        ("LANE", "Main Street".to_owned()),
    ];
    let env: Env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (binary, argument) in [
        ("affiliate-relayer", "run"),
        ("affiliate-relayer", "migrate"),
        ("affiliate-relayer", "max-loss"),
        ("affiliate-api", "run"),
    ] {
        run(binary, argument, &env).await?.refused(64, &[])?;
    }
    uncalled(&ear)
}

#[tokio::test]
async fn an_api_that_finds_redis_unfit_exits_69_with_every_problem_before_it_listens() -> Result<()> {
    let world = quick().without_api().relayers(0).start().await?;
    let taken = taken_port()?;
    let mut env = world.common_env().clone();
    env.extend(kit::world::settings::api(taken.local_addr()?.port()));
    world.redis.cli(&["CONFIG", "SET", "appendonly", "no"]).await?;
    world.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await?;
    let ended = run("affiliate-api", "run", &env).await?;
    ended.refused(69, &["appendonly", "allkeys-lru", "affiliate-relayer migrate"])?;
    ensure!(!ended.output.contains("API_LISTEN"), "it tried to listen:\n{}", ended.output);

    // With nothing wrong with Redis it gets as far as listening: the check above can fail.
    world.subcommand(&["migrate"]).await?;
    world.redis.cli(&["CONFIG", "SET", "appendonly", "yes"]).await?;
    world.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await?;
    run("affiliate-api", "run", &env).await?.refused(69, &["API_LISTEN="])
}

#[tokio::test]
async fn an_api_with_a_bad_configuration_exits_64_with_every_problem_before_it_listens() -> Result<()> {
    let taken = taken_port()?;
    let env = [
        ("API_LISTEN", taken.local_addr()?.to_string()),
        ("API_KEYS", "somebody".to_owned()),
        ("WEBHOOK_SECRETS", "payments=plain-text-secret".to_owned()),
        ("COMMISSION_BPS", "10001".to_owned()),
        ("MAX_BODY_BYTES", "1".to_owned()),
    ];
    let env: Env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let ended = run("affiliate-api", "run", &env).await?;
    ended.refused(
        64,
        &["REDIS_URL", "API_KEYS", "WEBHOOK_SECRETS", "COMMISSION_BPS=10001", "MAX_BODY_BYTES=1"],
    )?;
    ensure!(!ended.output.contains("API_LISTEN"), "it tried to listen:\n{}", ended.output);
    ensure!(!ended.output.contains("plain-text-secret"), "it shows the secret:\n{}", ended.output);
    Ok(())
}

#[tokio::test]
async fn a_relayer_that_finds_chain_or_redis_unfit_exits_69_with_every_problem_before_it_listens()
-> Result<()> {
    let world = bare().await?;
    let taken = taken_port()?;
    let nobody = wallet(0x77, 1);
    let node = world.anvil.url();
    let wrong_chain = format!("CHAIN_ID=1 but {} is on chain 31337", node.trim_start_matches("http://"));
    let cases: [Case<'_>; 5] = [
        (&[("CHAIN_ID", "1")], &[&wrong_chain]),
        (
            &[("AFFILIATE_REGISTRY_ADDRESS", &nobody), ("AFFILIATE_PAYOUT_ADDRESS", &nobody)],
            &["AFFILIATE_REGISTRY_ADDRESS=0x77", "AFFILIATE_PAYOUT_ADDRESS=0x77"],
        ),
        (
            &[("RELAYER_PRIVATE_KEY", STRANGER_KEY)],
            &["RELAYER_ROLE on AffiliateRegistry", "RELAYER_ROLE on AffiliatePayout"],
        ),
        (&[("LANE", "fresh")], &["affiliate-relayer migrate"]),
        (
            &[("LANE", "fresh"), ("RELAYER_PRIVATE_KEY", STRANGER_KEY)],
            &["affiliate-relayer migrate", "RELAYER_ROLE on AffiliatePayout"],
        ),
    ];
    for (changes, problems) in cases {
        let ended = run("affiliate-relayer", "run", &relayer_env(&world, &taken, changes)?).await?;
        ended.refused(69, problems)?;
        ensure!(!ended.output.contains("METRICS_LISTEN"), "it tried to listen:\n{}", ended.output);
    }

    // With nothing else wrong it gets as far as listening: the check above can fail.
    let ended = run("affiliate-relayer", "run", &relayer_env(&world, &taken, &[])?).await?;
    ended.refused(69, &["METRICS_LISTEN="])?;

    world.redis.cli(&["CONFIG", "SET", "appendonly", "no"]).await?;
    world.redis.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]).await?;
    let changes = [("RELAYER_PRIVATE_KEY", STRANGER_KEY)];
    let ended = run("affiliate-relayer", "run", &relayer_env(&world, &taken, &changes)?).await?;
    ended.refused(69, &["appendonly", "allkeys-lru", "RELAYER_ROLE on AffiliatePayout"])?;
    ensure!(!ended.output.contains("METRICS_LISTEN"), "it tried to listen:\n{}", ended.output);
    Ok(())
}

#[tokio::test]
async fn migrating_twice_is_fine_and_a_newer_schema_is_refused_by_all() -> Result<()> {
    let world = bare().await?;
    let taken = taken_port()?;
    let env = relayer_env(&world, &taken, &[])?;
    for _ in 0..2 {
        let ended = run("affiliate-relayer", "migrate", &env).await?;
        ended.refused(0, &["schema is up to date"])?;
    }
    world.redis.cli(&["SET", &world.key("schema"), "999999"]).await?;
    for command in ["migrate", "run"] {
        let ended = run("affiliate-relayer", command, &env).await?;
        ended.refused(69, &["version 999999", "deploy a newer version"])?;
    }
    Ok(())
}

#[tokio::test]
async fn migrating_takes_a_redis_and_nothing_else() -> Result<()> {
    let world = quick().without_api().relayers(0).start().await?;
    let env = [("REDIS_URL", world.redis.url()), ("LANE", "other".to_owned())];
    let mut env: Env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    run("affiliate-relayer", "migrate", &env).await?.refused(0, &["schema created"])?;
    env.insert("DURABILITY".to_owned(), "perhaps".to_owned());
    run("affiliate-relayer", "migrate", &env).await?.refused(64, &["DURABILITY=perhaps"])?;
    run("affiliate-relayer", "migrate", &Env::new()).await?.refused(64, &["REDIS_URL is not set"])
}

#[tokio::test]
async fn max_loss_prints_what_a_stolen_key_could_spend() -> Result<()> {
    let builder = quick().without_api().relayers(0).funds(123_456_789, 7_000_000_000_000_000_000);
    let world = builder.limit("USDC_WINDOW_LIMIT", 50_000_000).limit("USDC_CAP", 10_000_000).start().await?;
    let ended = run("affiliate-relayer", "max-loss", &relayer_env(&world, &taken_port()?, &[])?).await?;
    ended.refused(0, &["PAUSER_ROLE"])?;
    // The window where it is less than the funds, the funds where they are less than the window.
    for (token, now) in [("USDC", 50.0), ("SGE", 7.0)] {
        let line = ended.output.lines().find(|line| line.trim().starts_with(token));
        let amount = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        ensure!(amount == Some(now), "{token}: {amount:?}, not {now}, in\n{}", ended.output);
    }
    Ok(())
}

#[tokio::test]
async fn the_api_serves_with_as_many_threads_as_it_is_told() -> Result<()> {
    let mut world = quick().api_env("API_THREADS", 3).start().await?;
    let api = world.api.as_mut().context("no API")?.process().pid();
    let mut serving = 0;
    for task in std::fs::read_dir(format!("/proc/{api}/task"))? {
        let name = std::fs::read_to_string(task?.path().join("comm"))?;
        serving += usize::from(name.starts_with("tokio"));
    }
    ensure!(serving == 3, "{serving} threads");
    Ok(())
}

#[tokio::test]
async fn no_secret_is_in_any_output_or_log() -> Result<()> {
    let world = quick().relayer_env("RUST_LOG", "debug").api_env("RUST_LOG", "debug");
    let mut world = world.start().await?;
    let client = world.client()?;
    let (child, _) = registered(&client).await?;
    for job in pay(&client, &child, 2, "secret").await? {
        client.wait_for(&job, &["done"], LIMIT).await?;
    }
    client.send(reqwest::Method::GET, "/api/stats", Some("not-a-key"), None).await?.expect(&[401])?;
    let mut shown = world.all_logs(usize::MAX);
    ensure!(shown.contains("deliver") || shown.contains("/webhooks"), "the logs are empty:\n{shown}");

    // Also when what is wrong is in the secret itself, or beside it.
    let taken = taken_port()?;
    let (short, redis) = ("0xfeedfacefeedface", "redis://user:pass-of-redis@127.0.0.1:1");
    for changes in [
        &[("RELAYER_PRIVATE_KEY", short)][..],
        &[("CHAIN_ID", "nowhere")],
        &[("REDIS_URL", redis)],
        &[("ETH_RPC_HTTPS", "http://127.0.0.1:1/key-of-the-node")],
    ] {
        let ended = run("affiliate-relayer", "run", &relayer_env(&world, &taken, changes)?).await?;
        ensure!(ended.code == Some(64) || ended.code == Some(69), "{changes:?}: {:?}", ended.code);
        shown.push_str(&ended.output);
    }
    let webhook = WEBHOOK_SECRET.trim_start_matches("whsec_");
    let key = RELAYER_KEY.trim_start_matches("0x");
    for secret in [key, webhook, OPERATOR_KEY, "feedfacefeedface", "pass-of-redis", "key-of-the-node"] {
        let line = shown.lines().find(|line| line.to_lowercase().contains(&secret.to_lowercase()));
        ensure!(line.is_none(), "`{secret}` is shown: {line:?}");
    }
    Ok(())
}
