//! What is in Redis: schema, sync, leadership, gates, queue, nonces, and jobs that need somebody.

use std::time::Duration;

use shared::store::{Checkup, ClosedGate, Fleet, Journal, RECONCILE, Replay, SyncState};

use super::report::{Check, Fact, Question};
use super::text;
use crate::chain::NonceRange;

/// As the alert `AilQueueOld` has it.
const QUEUE_WARNING: Duration = Duration::from_secs(60);
/// As the alert `AilProcessingOld` has it.
const NONCE_WARNING: Duration = Duration::from_secs(900);
/// How far back failures are news.
pub(super) const LATELY: Duration = Duration::from_secs(24 * 3600);
/// Ids that are named.
const NAMED: usize = 5;

pub(crate) fn schema(found: &Fact<Option<u64>>) -> Check {
    let question = Question::new("lane.schema", "created by migrate");
    question.judge(found, |question, version| match version {
        Some(version) => question.ok(format!("version {version}")),
        None => question.failed("no schema", "run `affiliate-relayer migrate` first"),
    })
}

pub(super) fn group(checkup: &Fact<Checkup>) -> Check {
    let question = Question::new("lane.group", "the consumer group exists");
    question.judge(checkup, |question, checkup| match checkup.has_group {
        true => question.ok("exists"),
        false => question.failed("no consumer group", "run `affiliate-relayer migrate`"),
    })
}

pub(super) fn synced(fleet: &Fact<Fleet>) -> Check {
    let question = Question::new("lane.synced", "the chain's events are replayed");
    question.judge(fleet, |question, fleet| sync_state(question, &fleet.sync))
}

fn sync_state(question: Question, sync: &SyncState) -> Check {
    let upto = sync.checkpoint.map_or_else(|| "no block".to_owned(), |block| format!("block {block}"));
    match (sync.synced, &sync.replay) {
        (true, None) => question.ok(format!("up to {upto}")),
        (true, Some(replay)) => question.ok(format!("up to {upto}; {}", progress(replay))),
        (false, Some(replay)) => {
            question.warning(progress(replay), "wait: intake and signing go on when the replay is done")
        }
        (false, None) => question.warning(
            "not synced with this Redis process",
            "start a relayer: the leader replays the chain's events",
        ),
    }
}

fn progress(replay: &Replay) -> String {
    let (from, to) = (replay.from.get(), replay.to.get());
    let done = replay.at.map_or(0, |at| (at.get() + 1).saturating_sub(from));
    let percent = done.saturating_mul(100) / (to + 1).saturating_sub(from).max(1);
    let events = text::count(replay.events, "event");
    format!("replaying blocks {from} to {to}: {}% done, {events}", percent.min(100))
}

pub(super) fn leader(fleet: &Fact<Fleet>) -> Check {
    let question = Question::new("lane.leader", "one relayer holds the lease");
    question.judge(fleet, |question, fleet| {
        let alive = fleet.relayers.iter().filter(|relayer| relayer.alive).count();
        let alive = format!("{} alive", text::count(alive as u64, "relayer"));
        match &fleet.lease {
            Some(lease) => {
                let name = lease.worker.as_ref().unwrap_or(&lease.boot);
                let left = text::span(lease.remaining);
                question.ok(format!("term {}, {left} left, {alive}\n{name}", lease.term))
            }
            None => question.warning(
                format!("nobody leads, {alive}"),
                "start a relayer, or read why none takes the lease",
            ),
        }
    })
}

pub(super) fn gates(fleet: &Fact<Fleet>) -> Check {
    let question = Question::new("lane.gates", "none closed");
    question.judge(fleet, |question, fleet| closed_gates(question, &fleet.gates, fleet.now))
}

fn closed_gates(question: Question, gates: &[ClosedGate], now: u64) -> Check {
    if gates.is_empty() {
        return question.ok("none closed");
    }
    let told = gates.iter().map(|gate| {
        let (since, parked) = (text::ago(gate.since, now), text::count(gate.parked, "job"));
        let reason = gate.reason.lines().next().unwrap_or_default();
        format!("{} for {since}, {parked} waiting: {reason}", gate.gate)
    });
    let found = told.collect::<Vec<_>>().join("\n");
    if gates.iter().any(|gate| gate.gate == RECONCILE) {
        return question
            .failed(found, "the chain paid something else than a job says: see AilReconcileMismatch");
    }
    question.warning(found, "remove what each says; gates of the chain then open by themselves")
}

pub(super) fn queue(fleet: &Fact<Fleet>) -> Check {
    let question = Question::new("lane.queue", "the oldest waits less than 60 s");
    question.judge(fleet, |question, fleet| {
        let queue = &fleet.queue;
        let depth =
            format!("{} queued, {} in workers' hands, {} ready", queue.queued, queue.pending, queue.ready);
        let Some(oldest) = queue.oldest_queued else { return question.ok(depth) };
        let found = format!("{depth}, the oldest waits for {}", text::ago(oldest, fleet.now));
        if Duration::from_millis(fleet.now.saturating_sub(oldest)) > QUEUE_WARNING {
            question.warning(found, "see whether relayers are alive, then start more of them")
        } else {
            question.ok(found)
        }
    })
}

/// The journal against the chain. The journal must have been read after the chain, so that a nonce that was given out in
/// between is none that it does not know.
pub(super) fn nonces(
    journal: &Fact<Journal>,
    chain: &Fact<NonceRange>,
    lowest_since: Option<Duration>,
) -> Check {
    let question = Question::new("lane.nonces", "journal and chain agree");
    question.judge(journal, |question, journal| match chain {
        Fact::Known(chain) => compared(question, journal, *chain, lowest_since),
        _ => question.skipped("the chain's nonce is not known"),
    })
}

fn compared(
    question: Question,
    journal: &Journal,
    chain: NonceRange,
    lowest_since: Option<Duration>,
) -> Check {
    let on_chain = chain.highest.get();
    let Some(next) = journal.next.map(|nonce| nonce.get()) else {
        return question.ok(format!("none given out yet; the chain's next is {on_chain}"));
    };
    let open = journal.open.len();
    let age = lowest_since.map_or_else(String::new, |age| format!(", the lowest for {}", text::span(age)));
    let found = format!("journal's next {next}, chain's next {on_chain}, {open} open{age}");
    let unknown =
        (on_chain..next).filter(|nonce| !journal.open.iter().any(|open| open.get() == *nonce)).count();
    if on_chain > next {
        question.failed(found, "another program signs with this key: stop it; see AilStrangerNonce")
    } else if unknown > 0 {
        let advice = "a hole in the nonces: restart the leader, whose takeover fills it";
        question.warning(format!("{found}, {unknown} missing"), advice)
    } else if lowest_since.is_some_and(|age| age > NONCE_WARNING) {
        question.warning(found, "the lowest nonce is not included: compare the fees with MAX_FEE_GWEI")
    } else {
        question.ok(found)
    }
}

pub(super) fn failures(checkup: &Fact<Checkup>) -> Check {
    let question = Question::new("lane.failures", "none in 24 h");
    question.judge(checkup, |question, checkup| {
        let found = format!("{} failed, {} of them in 24 h", checkup.failed, checkup.failed_lately);
        match checkup.failed_lately {
            0 => question.ok(found),
            _ => question.warning(found, "read why (`scripts/inspect --only jobs`), mend it, and retry them"),
        }
    })
}

pub(super) fn records(checkup: &Fact<Checkup>, journal: &Fact<Journal>) -> Check {
    let question = Question::new("lane.records", "all can be read");
    question.judge(checkup, |question, checkup| {
        let nonces = journal.known().map(|journal| journal.unreadable.as_slice()).unwrap_or_default();
        let ids = checkup.unreadable.iter().map(|job| format!("job {job}"));
        let ids: Vec<String> = ids.chain(nonces.iter().map(|nonce| format!("nonce {nonce}"))).collect();
        if ids.is_empty() {
            return question.ok(format!("{} looked at", text::count(checkup.looked_at as u64, "open job")));
        }
        let more = if ids.len() > NAMED { ", …" } else { "" };
        let named = ids.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        question.failed(
            format!("{} cannot be read: {named}{more}", ids.len()),
            "deploy the version that wrote them; see AilRecordUnreadable",
        )
    })
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
