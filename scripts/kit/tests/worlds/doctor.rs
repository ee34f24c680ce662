//! `affiliate-relayer doctor`: everything is named on a healthy lane, what is broken is named and nothing else, and no secret
//! is shown.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use alloy::primitives::{U256, keccak256};
use anyhow::{Context as _, Result, bail, ensure};
use kit::world::bindings::IAccessControl;
use kit::world::contracts::{DEPLOYER, RELAYER};
use kit::world::process::until;
use kit::world::{Env, Fault, Node, Signal, World, paths};
use serde_json::{Value, json};

use crate::support;
use crate::support::{LIMIT, quick, wallet};

/// Anvil's account 1, which holds the relayer's roles, and account 5, which holds none.
const RELAYER_KEY: &str = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const STRANGER_KEY: &str = "8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba";
/// The provider's key, as the path of an endpoint's url has it.
const NODE_KEY: &str = "0123456789abcdef-key-of-the-node";
const RPC_TIMEOUT: Duration = Duration::from_millis(500);

/// What one run of the doctor gave.
struct Visit {
    code: Option<i32>,
    text: String,
}

/// The doctor's environment with `changes`.
fn env(world: &World, changes: &[(&str, &str)]) -> Env {
    let urls: Vec<String> = world.proxies.iter().map(|proxy| format!("{}/{NODE_KEY}", proxy.url())).collect();
    let mut env = world.common_env().clone();
    let own = [
        ("ETH_RPC_HTTPS", urls.join(",")),
        ("RELAYER_PRIVATE_KEY", format!("0x{RELAYER_KEY}")),
        ("RPC_TIMEOUT_MS", RPC_TIMEOUT.as_millis().to_string()),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    env.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    env
}

/// Runs the doctor; an error where it shows a secret, or takes longer than it may.
async fn visit(arguments: &[&str], env: &Env) -> Result<Visit> {
    let began = Instant::now();
    let mut command = tokio::process::Command::new(paths::binary("affiliate-relayer")?);
    command.arg("doctor").args(arguments).env_clear().envs(env).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("the doctor still runs")??;
    let took = began.elapsed();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr)).to_lowercase();
    for secret in [RELAYER_KEY, STRANGER_KEY, NODE_KEY, "pass-of-redis"] {
        ensure!(!all.contains(secret), "`{secret}` is shown:\n{all}");
    }
    ensure!(took < RPC_TIMEOUT * 2 + Duration::from_secs(5), "it took {took:?}:\n{text}");
    Ok(Visit { code: output.status.code(), text })
}

/// Status by id.
type Statuses = BTreeMap<String, String>;

async fn checks(world: &World, changes: &[(&str, &str)]) -> Result<(Visit, Statuses)> {
    let visit = visit(&["--json"], &env(world, changes)).await?;
    let json: Value = serde_json::from_str(&visit.text).with_context(|| visit.text.clone())?;
    let mut found = Statuses::new();
    for check in json["checks"].as_array().context("checks")? {
        let text = |field: &str| check[field].as_str().with_context(|| format!("{field} of {check}"));
        let (id, status) = (text("id")?, text("status")?);
        ensure!(text("part")? == id.split('.').next().unwrap_or_default(), "{check}");
        ensure!(!text("found")?.is_empty() && !text("expected")?.is_empty(), "{check}");
        let needs_advice = matches!(status, "warning" | "failed");
        ensure!(check["advice"].is_string() == needs_advice, "{check}");
        ensure!(found.insert(id.to_owned(), status.to_owned()).is_none(), "{id} is there twice");
    }
    for (field, status) in
        [("ok", "ok"), ("warnings", "warning"), ("failed", "failed"), ("skipped", "skipped")]
    {
        let count = found.values().filter(|one| *one == status).count();
        ensure!(json[field] == count, "{field}: {}, not {count}", json[field]);
    }
    Ok((visit, found))
}

/// The ids that ended with `status`.
fn with<'a>(found: &'a Statuses, status: &str) -> Vec<&'a str> {
    found.iter().filter(|(_, one)| *one == status).map(|(id, _)| id.as_str()).collect()
}

/// Fails unless exactly `failed` failed, at least `warnings` are warned of, and the exit code says so.
async fn names(world: &World, changes: &[(&str, &str)], failed: &[&str], warnings: &[&str]) -> Result<()> {
    let (visit, found) = checks(world, changes).await?;
    let context = || format!("{changes:?}:\n{}", visit.text);
    ensure!(
        with(&found, "failed") == failed,
        "failed: {:?}, not {failed:?}: {}",
        with(&found, "failed"),
        context()
    );
    let code = i32::from(!failed.is_empty());
    ensure!(visit.code == Some(code), "exit {:?}: {}", visit.code, context());
    for id in warnings {
        ensure!(
            found.get(*id).is_some_and(|status| status == "warning"),
            "{id} is no warning: {}",
            context()
        );
    }
    Ok(())
}

/// Waits until nothing is warned of, as it was before something was broken.
async fn healthy(world: &World) -> Result<Statuses> {
    until("the lane to be healthy again", LIMIT, || async {
        let (visit, found) = checks(world, &[]).await?;
        let ill = found.iter().filter(|(_, status)| *status != "ok").collect::<Vec<_>>();
        ensure!(ill.is_empty() && visit.code == Some(0), "{ill:?}: {}", visit.text);
        Ok(Some(found))
    })
    .await
}

/// The ids in the tables of docs/doctor.md; `<n>` stands for the places of two endpoints.
fn documented() -> Result<Vec<String>> {
    let page = std::fs::read_to_string(paths::root().join("docs/doctor.md"))?;
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let mut ids: Vec<String> = Vec::new();
    for (id, _) in cells {
        match id.contains("<n>") {
            true => ids.extend(["1", "2"].map(|n| id.replace("<n>", n))),
            false => ids.push(id.to_owned()),
        }
    }
    ids.sort();
    Ok(ids)
}

async fn changes_since_start(world: &World) -> Result<String> {
    let info = world.redis.cli(&["INFO", "persistence"]).await?;
    let line = info.lines().find(|line| line.starts_with("rdb_changes_since_last_save")).map(str::to_owned);
    line.context("rdb_changes_since_last_save")
}

/// Two endpoints, and nobody there yet.
async fn two_endpoints() -> Result<World> {
    let pass = Node::Proxy(Fault::Pass);
    let world = quick().without_api().relayers(0).endpoints(&[pass, pass]).start().await?;
    world.redis.cli(&["CONFIG", "SET", "maxmemory", "200mb"]).await?;
    Ok(world)
}

/// Before `migrate`, between it and the first start, and with a relayer.
async fn begins(world: &mut World) -> Result<()> {
    names(world, &[], &["lane.group", "lane.schema"], &[]).await?;
    world.subcommand(&["migrate"]).await?;
    let before = changes_since_start(world).await?;
    names(world, &[], &[], &["lane.leader", "lane.synced"]).await?;
    ensure!(
        visit(&["--strict"], &env(world, &[])).await?.code == Some(1),
        "a warning counts where it is strict"
    );
    ensure!(changes_since_start(world).await? == before, "the doctor wrote to Redis");

    world.add_relayer(&Env::new())?;
    let found = healthy(world).await?;
    let ids: Vec<String> = found.into_keys().collect();
    ensure!(ids == documented()?, "docs/doctor.md and the doctor differ: {ids:#?}");
    let table = visit(&["--strict"], &env(world, &[])).await?;
    ensure!(table.code == Some(0) && !table.text.contains('\u{1b}'), "{}", table.text);
    let last = table.text.lines().last().context("no last line")?;
    ensure!(last == format!("{} ok, 0 warnings, 0 failed", ids.len()), "{last}");
    Ok(())
}

async fn redis_breaks(world: &World) -> Result<()> {
    let set = |name: &'static str, value: &'static str| async move {
        world.redis.cli(&["CONFIG", "SET", name, value]).await.map(drop)
    };
    set("appendonly", "no").await?;
    names(world, &[], &["redis.durability"], &[]).await?;
    set("appendonly", "yes").await?;
    set("maxmemory-policy", "allkeys-lru").await?;
    names(world, &[], &["redis.eviction"], &[]).await?;
    set("maxmemory-policy", "noeviction").await?;
    set("maxmemory", "0").await?;
    names(world, &[("DURABILITY", "none")], &[], &["redis.memory", "redis.durability"]).await?;
    set("maxmemory", "200mb").await?;

    // What the lane has in it.
    let gate = world.key("gate");
    let closed = r#"{"reason":"test","by":"test","since":"1000"}"#;
    world.redis.cli(&["HSET", &gate, "signing", closed]).await?;
    names(world, &[], &[], &["lane.gates"]).await?;
    world.redis.cli(&["HSET", &gate, "lane:reconcile", closed]).await?;
    names(world, &[], &["lane.gates"], &[]).await?;
    world.redis.cli(&["DEL", &gate]).await?;

    // A job that cannot be read, one that failed just now, and a journal that says more than the chain.
    let job = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let (record, failed, pending) =
        (world.key(&format!("job:{job}")), world.key("by:failed"), world.key("by:pending"));
    world.redis.cli(&["HSET", &record, "state", "pending", "stage", "from-the-future"]).await?;
    world.redis.cli(&["ZADD", &pending, "1", job]).await?;
    names(world, &[], &["lane.records"], &[]).await?;
    world.redis.cli(&["DEL", &record, &pending]).await?;
    world.redis.cli(&["ZADD", &failed, &support::redis_now(world).await?.to_string(), job]).await?;
    names(world, &[], &[], &["lane.failures"]).await?;
    world.redis.cli(&["DEL", &failed]).await?;
    let signer = world.key(&format!("signer:{RELAYER:#x}"));
    let next = world.redis.cli(&["HGET", &signer, "next"]).await?;
    world.redis.cli(&["HSET", &signer, "next", "7"]).await?;
    names(world, &[], &[], &["lane.nonces"]).await?;
    world.redis.cli(&["HSET", &signer, "next", &next]).await.map(drop)
}

/// The signer's key is used by somebody else, while the leader is suspended and cannot notice.
async fn a_stranger_signs(world: &mut World) -> Result<()> {
    world.relayer(0)?.signal(Signal::SIGSTOP)?;
    let transfer = json!({ "from": RELAYER, "to": DEPLOYER, "value": "0x1" });
    world.anvil.rpc("eth_sendTransaction", json!([transfer])).await?;
    world.anvil.mine(1).await?;
    let named = names(world, &[], &["lane.nonces"], &[]).await;
    world.relayer(0)?.signal(Signal::SIGCONT)?;
    named
}

async fn contracts_break(world: &World) -> Result<()> {
    let contracts = &world.contracts;
    let key = format!("0x{STRANGER_KEY}");
    let roles = ["contracts.payout_role", "contracts.registry_role"];
    names(world, &[("RELAYER_PRIVATE_KEY", &key)], &roles, &[]).await?;

    let registry = IAccessControl::new(contracts.addresses.registry, world.anvil.provider().clone());
    contracts.as_owner(registry.revokeRole(keccak256("RELAYER_ROLE"), RELAYER)).await?;
    names(world, &[], &["contracts.registry_role"], &[]).await?;
    contracts.let_register(RELAYER).await?;

    contracts.as_owner(contracts.payout().pause()).await?;
    names(world, &[], &["contracts.payout_paused"], &[]).await?;
    contracts.as_owner(contracts.payout().unpause()).await?;

    let nobody = wallet(0x77, 1);
    names(world, &[("AFFILIATE_REGISTRY_ADDRESS", &nobody)], &["contracts.registry_code"], &[]).await?;
    names(world, &[("AFFILIATE_PAYOUT_ADDRESS", &nobody)], &["contracts.payout_code"], &[]).await?;
    // A contract, but not the one that the payout contract knows; nor does it answer like a registry.
    let other = contracts.addresses.usdc.to_string();
    let (visit, found) = checks(world, &[("AFFILIATE_REGISTRY_ADDRESS", &other)]).await?;
    ensure!(found["contracts.wiring"] == "failed" && visit.code == Some(1), "{}", visit.text);

    let (usdc, _) = contracts.balances(contracts.addresses.payout).await?;
    contracts.as_owner(contracts.payout().withdraw(contracts.addresses.usdc, DEPLOYER, usdc)).await?;
    names(world, &[], &[], &["money.usdc.float"]).await?;
    contracts.fund(usdc, U256::ZERO).await?;
    contracts.as_owner(contracts.payout().setPayoutCap(contracts.addresses.sge, U256::ZERO)).await?;
    names(world, &[], &[], &["money.sge.limits"]).await?;
    contracts.as_owner(contracts.payout().setPayoutCap(contracts.addresses.sge, U256::MAX)).await?;

    let balance = U256::from(10).pow(U256::from(22));
    world.anvil.set_balance(RELAYER, U256::ZERO).await?;
    names(world, &[], &["money.gas"], &[]).await?;
    world.anvil.set_balance(RELAYER, balance).await?;
    // The base fee is a thousandth of a Gwei or more.
    names(world, &[("MAX_FEE_GWEI", "0")], &["chain.base_fee"], &[]).await
}

async fn endpoints_break(world: &World) -> Result<()> {
    for fault in [Fault::Down, Fault::Hang, Fault::Status429, Fault::Garbage] {
        world.proxies[0].set(fault);
        names(world, &[], &[], &["chain.endpoint.1", "chain.endpoints"])
            .await
            .with_context(|| format!("{fault:?}"))?;
    }
    world.proxies[0].set(Fault::WrongChainId);
    names(world, &[], &["chain.endpoint.1"], &["chain.endpoints"]).await?;
    world.proxies[0].set(Fault::Pass);
    let head = world.anvil.block_number().await?;
    world.proxies[1].set(Fault::Lag(head.min(5)));
    names(world, &[], &[], &["chain.endpoint.2"]).await?;
    world.proxies[1].set(Fault::Pass);
    Ok(())
}

/// Whatever is away, the other part is shown.
async fn parts_are_away(world: &mut World) -> Result<()> {
    let rpc = ["chain.endpoint.1", "chain.endpoint.2", "chain.endpoints"];
    for proxy in &world.proxies {
        proxy.set(Fault::Hang);
    }
    names(world, &[], &rpc, &[]).await?;
    let (_, found) = checks(world, &[]).await?;
    ensure!(found["redis.version"] == "ok" && found["lane.schema"] == "ok", "{found:?}");
    let wrong = "redis://user:pass-of-redis@127.0.0.1:1/";
    let nobody = checks(world, &[("REDIS_URL", wrong)]).await?.0;
    ensure!(nobody.code == Some(69), "exit {:?}: {}", nobody.code, nobody.text);
    for proxy in &world.proxies {
        proxy.set(Fault::Pass);
    }

    names(world, &[("REDIS_URL", wrong)], &["redis.reachable"], &[]).await?;
    world.redis.signal(Signal::SIGSTOP)?;
    let hangs = names(world, &[], &["redis.reachable"], &[]).await;
    world.redis.signal(Signal::SIGCONT)?;
    hangs?;
    world.redis.kill();
    names(world, &[], &["redis.reachable"], &[]).await?;
    let (_, found) = checks(world, &[]).await?;
    ensure!(found["chain.endpoints"] == "ok" && found["money.gas"] == "ok", "{found:?}");
    Ok(())
}

#[tokio::test]
async fn the_doctor_names_what_is_broken_and_nothing_else_and_writes_nothing() -> Result<()> {
    let mut world = two_endpoints().await?;
    begins(&mut world).await?;
    redis_breaks(&world).await?;
    contracts_break(&world).await?;
    endpoints_break(&world).await?;
    a_stranger_signs(&mut world).await?;
    // What was broken is mended, and leaves nothing behind.
    healthy(&world).await?;
    parts_are_away(&mut world).await
}

#[tokio::test]
async fn a_wrong_configuration_is_told_whole_with_exit_code_64_and_nobody_is_asked() -> Result<()> {
    let ear = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = ear.local_addr()?;
    let env = [
        ("REDIS_URL", format!("redis://user:pass-of-redis@{address}/")),
        ("ETH_RPC_HTTPS", format!("http://{address}/{NODE_KEY}")),
        ("CHAIN_ID", "mainnet".to_owned()),
        ("CONFIRMATIONS", "0".to_owned()),
        ("RELAYER_PRIVATE_KEY", format!("0x{RELAYER_KEY}")),
    ];
    let env: Env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for arguments in [&["--json"][..], &[]] {
        let visit = visit(arguments, &env).await?;
        ensure!(visit.code == Some(64), "exit {:?}:\n{}", visit.code, visit.text);
        for problem in ["CHAIN_ID=mainnet", "CONFIRMATIONS=0", "AFFILIATE_PAYOUT_ADDRESS"] {
            ensure!(visit.text.contains(problem), "{problem} is not told:\n{}", visit.text);
        }
    }
    ear.set_nonblocking(true)?;
    match ear.accept() {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(()),
        called => bail!("somebody was asked: {called:?}"),
    }
}
