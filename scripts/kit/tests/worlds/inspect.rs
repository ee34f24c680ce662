//! docs/redis.md against a live system: every command works with the rights of an operator, which are to read only, and
//! the answers are what API, chain and relayers say.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use kit::inspect::{self, Answer};
use kit::world::contracts::RELAYER;
use kit::world::process::until;
use kit::world::{Client, Mining, World, paths};
use serde_json::{Value, json};

use crate::support::{LIMIT, acl_rules, at_stage, pay, quick, registered, wallet};

const PASSWORD: &str = "looks-only";
/// What may be empty in a world in which every payment has its job, without backoffs and slow commands, and between two turns.
const MAY_BE_SILENT: [&str; 5] = [":payments:$WALLET", "export ", ":delayed\" 0 0", "SLOWLOG GET", ":turn"];

/// A world with a job in every situation that the page speaks of.
struct Scene {
    world: World,
    client: Client,
    done: String,
    failed: String,
    cancelled: String,
    gated: String,
    /// A registration with a nonce that no block has.
    submitted: String,
    waiting: String,
    /// In the hands of a worker that stopped there.
    held: String,
    child: String,
}

async fn scene() -> Result<Scene> {
    let mut world = quick().relayer_env("CLAIM_MIN_IDLE_MS", 300_000).start().await?;
    let client = world.client()?;
    let (payer, referrer) = registered(&client).await?;
    let referrer = referrer.parse()?;
    world.contracts.set_blocklisted(referrer, true).await?;
    let failed = pay(&client, &payer, 2, "failed").await?;
    for job in &failed {
        client.wait_for(job, &["failed"], LIMIT).await?;
    }
    client.archive(&failed[1], "paid by hand").await?.expect(&[200])?;
    world.contracts.set_blocklisted(referrer, false).await?;
    // A relayer that has not seen that block yet would still refuse the next payout, and rightly.
    world.anvil.until_block(world.anvil.block_number().await? + 2, LIMIT).await?;
    let done = pay(&client, &payer, 1, "done").await?.remove(0);
    client.wait_for(&done, &["done"], LIMIT).await?;
    client.refund("done_0", &payer, "4.00").await?.expect(&[202])?;

    let payout = world.contracts.payout();
    world.contracts.as_owner(payout.pause()).await?;
    // As above: one that has not seen it would check and sign, and no block would ever come to show what became of it.
    world.anvil.until_block(world.anvil.block_number().await? + 2, LIMIT).await?;
    world.anvil.set_mining(Mining::Manual).await?;
    let gated = pay(&client, &payer, 1, "gated").await?.remove(0);
    at_stage(&client, &gated, "gated").await?;
    let child = wallet(0xc0, 1);
    let submitted = client.register(&child, Some(&wallet(0xaf, 1))).await?.expect(&[202])?.job_id()?;
    at_stage(&client, &submitted, "submitted").await?;
    let waiting = pay(&client, &child, 1, "waiting").await?.remove(0);
    at_stage(&client, &waiting, "waiting").await?;
    let held = held_job(&mut world, &client, &payer).await?;
    let [failed, cancelled] = failed.try_into().map_err(|jobs| anyhow::anyhow!("{jobs:?}"))?;
    Ok(Scene { world, client, done, failed, cancelled, gated, submitted, waiting, held, child })
}

/// A second relayer that stops with the first job it claims. Which of both gets a job is open: pays until it was that one.
async fn held_job(world: &mut World, client: &Client, payer: &str) -> Result<String> {
    let failpoints = "at_after_claim=print(reached after_claim);after_claim=pause".to_owned();
    let index = world.add_relayer(&[("FAILPOINTS".to_owned(), failpoints)].into())?;
    for n in 0..40 {
        let job = pay(client, payer, 1, &format!("held_{n}")).await?.remove(0);
        let stopped = until("the job to be gated or held", LIMIT, || async {
            let stopped = world.logs(index).contains("reached after_claim");
            Ok((stopped || client.job(&job).await?["stage"] == "gated").then_some(stopped))
        });
        if stopped.await? {
            at_stage(client, &job, "checking").await?;
            return Ok(job);
        }
    }
    anyhow::bail!("the second relayer never claimed anything\n{}", world.all_logs(20))
}

/// The answer to the one command of `section` that contains `part`.
fn answer<'a>(answers: &'a [Answer], section: &str, part: &str) -> Result<&'a str> {
    let mut found = answers
        .iter()
        .filter(|answer| answer.block.section == section && answer.block.command.contains(part));
    let one = found.next().with_context(|| format!("no command with `{part}` under `{section}`"))?;
    ensure!(found.next().is_none(), "several commands with `{part}` under `{section}`");
    Ok(one.text.trim())
}

/// Each command ended well, said something where something must be, and has a line on how to read it.
fn all_answered(answers: &[Answer]) -> Result<()> {
    let words = [
        "ERR ",
        "NOPERM",
        "NOAUTH",
        "WRONGTYPE",
        "WRONGPASS",
        "NOGROUP",
        "Could not connect",
        "Unrecognized",
    ];
    for Answer { block, text, status } in answers {
        ensure!(*status == 0, "exit code {status}: {}\n{text}", block.command);
        let error = text.lines().find(|line| words.iter().any(|word| line.contains(word)));
        ensure!(error.is_none(), "{}\n{text}", block.command);
        let may_be_silent = MAY_BE_SILENT.iter().any(|part| block.command.contains(part));
        ensure!(may_be_silent || !text.trim().is_empty(), "no answer: {}", block.command);
        ensure!(!block.reading.is_empty(), "nobody says how to read {}", block.command);
    }
    Ok(())
}

#[tokio::test]
async fn the_page_answers_every_question_as_api_chain_and_relayers_do() -> Result<()> {
    let mut scene = scene().await?;
    let operator = acl_rules("operator", PASSWORD)?;
    let mut set_user = vec!["ACL", "SETUSER", "operator"];
    set_user.extend(operator.split(' '));
    scene.world.redis.cli(&set_user).await?;
    let url = format!("redis://operator:{PASSWORD}@127.0.0.1:{}/", scene.world.redis.port());
    let page = std::fs::read_to_string(paths::root().join("docs/redis.md"))?;
    let env = [("REDIS_URL", url.clone()), ("LANE", scene.world.settings.lane.clone())];
    let answers = inspect::ask(&inspect::blocks(&page), &env).await?;
    ensure!(answers.len() > 50, "only {} commands on the page", answers.len());
    all_answered(&answers)?;

    leader(&mut scene, &answers).await?;
    depth(&scene, &answers).await?;
    job_and_payment(&scene, &answers)?;
    pending_entries(&scene, &answers)?;
    nonces(&scene, &answers).await?;
    gates(&scene, &answers)?;
    dead_and_waiting(&scene, &answers)?;
    the_rest(&scene, &answers).await?;
    the_script_prints_the_same(&scene, &url)
}

async fn leader(scene: &mut Scene, answers: &[Answer]) -> Result<()> {
    let (boot, term) = scene.world.lease().await?.context("nobody leads")?;
    let lease =
        answers.iter().find(|answer| answer.block.command.ends_with(":lease\"")).context("the lease")?;
    ensure!(lease.text.trim() == format!("{boot}:{term}"), "{}", lease.text);
    ensure!(answer(answers, "Leader", "GET \"ail:{$LANE}:term\"")? == term.to_string());
    let left: i64 = answer(answers, "Leader", "PTTL")?.parse()?;
    ensure!((1..=1_000).contains(&left), "{left} ms left of a lease of 1 s");
    // The boot that the leader itself names, in the log of a process that this world started.
    let index = scene.world.leader(LIMIT).await?;
    let name = answer(answers, "Leader", "LEADER=")?;
    let pid = scene.world.relayer(index)?.process().pid();
    ensure!(name.ends_with(&format!("-{pid}-{boot}")), "{name}, not {pid} and {boot}");
    ensure!(scene.world.logs(index).contains(&boot), "another boot leads");
    ensure!(answer(answers, "Leader", "lease:changes")?.contains(&format!("{boot}:{term}")));
    Ok(())
}

async fn depth(scene: &Scene, answers: &[Answer]) -> Result<()> {
    let stats = scene.client.get("/api/stats").await?.expect(&[200])?.body;
    let states = stats["states"].as_array().context("states")?;
    let counted = |state: &Value| Some(format!("{} {}", state["state"].as_str()?, state["count"]));
    let wanted: Vec<String> = states.iter().filter_map(counted).collect();
    let shown: Vec<&str> = answer(answers, "Depth", "for state")?.lines().collect();
    ensure!(shown == wanted, "{shown:?}, the API counts {wanted:?}");
    for (part, field) in
        [("XLEN \"ail:{$LANE}:jobs\"", "queued"), (":ready\"", "ready"), (":delayed\"", "delayed")]
    {
        let shown: u64 = answer(answers, "Depth", part)?.parse()?;
        ensure!(stats[field] == shown, "{field}: {shown}, the API says {}", stats[field]);
    }
    let oldest = answer(answers, "Oldest job", "for state")?;
    for state in states.iter().filter(|state| state["state"] == "pending" || state["state"] == "failed") {
        let since = state["oldest_change_at"].to_string();
        ensure!(oldest.contains(&since), "{since} is not in\n{oldest}");
    }
    let pending = answer(answers, "Oldest job", "for id in")?;
    for (job, stage) in [(&scene.gated, "gated\tlane:payout_paused"), (&scene.waiting, "waiting")] {
        ensure!(pending.contains(&format!("{job} payout\t{stage}")), "{job} is not {stage} in\n{pending}");
    }
    Ok(())
}

fn job_and_payment(scene: &Scene, answers: &[Answer]) -> Result<()> {
    ensure!(answer(answers, "A job", "JOB=")? == scene.done);
    ensure!(answer(answers, "A job", "grep -v '^log:'")?.contains("state\tdone"));
    let history = answer(answers, "A job", "s/^log://p")?;
    let events: Vec<Value> = history.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    // The refund came when all was paid.
    ensure!(names == ["accept", "claim", "ready", "journal", "include", "finish", "owed"], "{names:?}");
    ensure!(answer(answers, "A job", ":wallet:")?.contains(&scene.done));
    ensure!(answer(answers, "A job", ":referral:")?.contains("status\tregistered"));
    let payment = answer(answers, "A payment", ":payment:$PAYMENT\"")?;
    for line in
        ["external_id\tdone_0", "decision\tdue", "usdc\t1000000", "refunded\t4000000", "owed_usdc\t400000"]
    {
        ensure!(payment.contains(line), "`{line}` is not in\n{payment}");
    }
    let id = answer(answers, "A payment", "PAYMENT=")?;
    for part in ["payment created_at", ":owed\" 0 9"] {
        ensure!(answer(answers, "A payment", part)?.contains(id), "{part}");
    }
    ensure!(answer(answers, "A payment", "ZCARD")? == "1");
    Ok(())
}

fn pending_entries(scene: &Scene, answers: &[Answer]) -> Result<()> {
    // The end of the short form is the beginning of the long one.
    let short = answers
        .iter()
        .find(|answer| answer.block.command.ends_with("XPENDING \"ail:{$LANE}:jobs\" relayers"));
    let summary: Value = serde_json::from_str(&short.context("no XPENDING")?.text)?;
    ensure!(summary[0] == 1 && summary[3].as_array().is_some_and(|workers| workers.len() == 1), "{summary}");
    let holder = summary[3][0][0].as_str().context("who holds it")?;
    ensure!(scene.world.logs(1).contains(holder), "{holder} is not the relayer that stopped");
    let consumers: Value = serde_json::from_str(answer(answers, "Pending entries", "XINFO CONSUMERS")?)?;
    let pending = |consumer: &Value| consumer["pending"].as_u64().unwrap_or_default();
    let consumers = consumers.as_array().context("consumers")?;
    ensure!(consumers.len() == 2 && consumers.iter().map(pending).sum::<u64>() == 1, "{consumers:?}");
    ensure!(answer(answers, "Pending entries", "XINFO GROUPS")?.contains("pending\t1"));
    let oldest: Value = serde_json::from_str(answer(answers, "Oldest job", ":jobs\" - + COUNT 1")?)?;
    ensure!(oldest[0][1].as_array().is_some_and(|fields| fields.contains(&json!(scene.held))), "{oldest}");
    Ok(())
}

async fn nonces(scene: &Scene, answers: &[Answer]) -> Result<()> {
    let nonce = scene.world.contracts.relayer_nonce().await?.to_string();
    ensure!(answer(answers, "Nonces", "SIGNER=")? == format!("{RELAYER:#x}"));
    ensure!(answer(answers, "Nonces", "0 -1")? == nonce, "the chain wants {nonce} next");
    ensure!(answer(answers, "Nonces", "NONCE=${NONCE")? == nonce);
    let record = answer(answers, "Nonces", "grep -Ev")?;
    for line in ["state\topen", "kind\tregister", "attempts\t"] {
        ensure!(record.contains(line), "`{line}` is not in\n{record}");
    }
    let attempts = answer(answers, "Nonces", "/^attempt:/p")?;
    let attempt: Value = serde_json::from_str(
        attempts.lines().next().context("no attempt")?.split_once('\t').context("a tab")?.1,
    )?;
    ensure!(attempt.get("raw").is_none() && attempt["fees"]["max_fee"].is_u64(), "{attempt}");
    let sent = scene.world.anvil.rpc("eth_getTransactionByHash", json!([attempt["hash"]])).await?;
    ensure!(sent["blockNumber"].is_null() && sent["hash"] == attempt["hash"], "the node knows {sent}");
    let intent: Value = serde_json::from_str(answer(answers, "Nonces", " intent |")?)?;
    ensure!(intent["jobs"][0]["job"] == json!(scene.submitted), "{intent}");
    ensure!(answer(answers, "Nonces", "HASH=")? == format!("{RELAYER:#x}:{nonce}"));
    Ok(())
}

fn gates(scene: &Scene, answers: &[Answer]) -> Result<()> {
    let closed = answer(answers, "Gates", ":gate\"")?;
    let (gate, detail) = closed.split_once('\t').with_context(|| closed.to_owned())?;
    let detail: Value = serde_json::from_str(detail).with_context(|| closed.to_owned())?;
    ensure!(
        gate == "lane:payout_paused" && !detail["reason"].as_str().unwrap_or_default().is_empty(),
        "{closed}"
    );
    ensure!(detail["since"].as_str().is_some_and(|since| since.parse::<u64>().is_ok()), "{closed}");
    let parked = answer(answers, "Gates", ":parked:$gate\")\"; done")?;
    let count: u64 =
        parked.strip_prefix("lane:payout_paused ").with_context(|| parked.to_owned())?.parse()?;
    ensure!(count >= 1, "{parked}");
    let jobs = answer(answers, "Gates", "for id in")?;
    ensure!(
        jobs.contains(&format!("lane:payout_paused {} ", scene.gated)),
        "{} is not in\n{jobs}",
        scene.gated
    );
    ensure!(answer(answers, "Gates", "/^gate_closed:/p")?.starts_with("gate_closed:lane:payout_paused\t"));
    Ok(())
}

fn dead_and_waiting(scene: &Scene, answers: &[Answer]) -> Result<()> {
    let failed = answer(answers, "Dead jobs", "by:failed")?;
    ensure!(failed.contains(&scene.failed) && failed.contains("recipient_refused"), "{failed}");
    ensure!(!failed.contains(&scene.cancelled), "{failed}");
    let cancelled = answer(answers, "Dead jobs", "by:cancelled")?;
    ensure!(cancelled.contains(&scene.cancelled) && cancelled.contains("paid by hand"), "{cancelled}");
    ensure!(answer(answers, "Dead jobs", "/^failure:/p")?.contains("failure:recipient_refused\t2"));
    ensure!(answer(answers, "Waiting payouts", "CHILD=")? == scene.child.to_lowercase());
    ensure!(answer(answers, "Waiting payouts", "SRANDMEMBER")? == scene.waiting);
    let referral = answer(answers, "Waiting payouts", ":referral:")?;
    ensure!(referral.contains("status\tregistering") && referral.contains(&scene.submitted), "{referral}");
    Ok(())
}

async fn the_rest(scene: &Scene, answers: &[Answer]) -> Result<()> {
    let run_id = answer(answers, "Synced", "INFO server")?.replace(':', "\t");
    ensure!(answer(answers, "Synced", "HGETALL")?.contains(&run_id), "not synced with {run_id}");
    let feed: Value = serde_json::from_str(answer(answers, "Live feed", "XREVRANGE")?)?;
    ensure!(feed.as_array().is_some_and(|events| events.len() == 10), "{feed}");
    let audit = answer(answers, "Audit", "XREVRANGE")?;
    ensure!(audit.contains("paid by hand") && audit.contains(&scene.cancelled), "{audit}");
    ensure!(answer(answers, "Audit", "XLEN")? == "1");
    ensure!(answer(answers, "Statistics", "HGETALL")?.contains("done:payout\t1\n"));
    ensure!(answer(answers, "Server", "CONFIG GET")?.contains("appendfsync\talways"));
    ensure!(answer(answers, "Server", "INFO persistence")?.contains("aof_last_write_status:ok"));
    let (boot, _) = scene.world.lease().await?.context("nobody leads")?;
    let beats = answer(answers, "Relayers", "0 -1 REV")?;
    ensure!(beats.lines().count() == 2 && beats.contains(&boot), "{beats}");
    let relayers = answer(answers, "Relayers", "for worker")?;
    for line in [format!("boot\t{boot}"), "role\tleader".to_owned(), "role\tfollower".to_owned()] {
        ensure!(relayers.contains(&line), "`{line}` is not in\n{relayers}");
    }
    Ok(())
}

fn the_script_prints_the_same(scene: &Scene, url: &str) -> Result<()> {
    // The tool that was built beside this test, so that the script has nothing to build.
    let target = paths::binary("kit")?.ancestors().nth(2).context("the target folder")?.to_owned();
    let inspect = |arguments: &[&str], url: &str| {
        let mut command = Command::new(paths::root().join("scripts/inspect"));
        command.args(arguments).env("REDIS_URL", url).env("CARGO_TARGET_DIR", &target);
        command.output().context("run scripts/inspect")
    };
    let output = inspect(&["--only", "gates"], url)?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    ensure!(text.starts_with("\n== Gates\n") && text.matches("\n== ").count() == 1, "{text}");
    ensure!(text.contains(&format!("  lane:payout_paused {} ", scene.gated)), "{text}");
    ensure!(inspect(&["--only", "nonsense"], url)?.status.code() == Some(64));
    let nobody = inspect(&["--only", "gates"], "redis://127.0.0.1:1/")?;
    ensure!(nobody.status.code() == Some(69) && nobody.stdout.is_empty(), "{nobody:?}");
    Ok(())
}
