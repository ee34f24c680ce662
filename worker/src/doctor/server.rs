//! The Redis server: does it answer, does it keep what it acknowledges, and do its clock and ours agree.
//!
//! A lease never rests on wall clocks: its holder counts on a monotonic clock from before each request, and Redis on its
//! TTL. So a wrong clock endangers no money; it makes ages, timelines and webhook signatures wrong. What can make a leader
//! lose its lease is a slow way to Redis, and that is checked on its own.

use std::time::Duration;

use shared::clock::Clock;
use shared::lease::LeaseTiming;
use shared::store::{Durability, DurabilityProblem, OLDEST_REDIS, ServerView, Settings, Store};
use tokio::time::Instant;

use super::report::{Check, Fact, Question};
use super::text;

/// Our clock against the one of Redis, and how long an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClockReading {
    /// Milliseconds by which Redis is ahead of us.
    pub(super) ahead: i64,
    pub(super) round_trip: Duration,
}

/// Readings of which the quickest counts.
const READINGS: usize = 3;
/// Beyond this, times of different hosts mislead.
const SKEW_WARNING: Duration = Duration::from_secs(1);
/// Beyond this, a clock is not synchronised at all.
const SKEW_FAILURE: Duration = Duration::from_secs(30);
/// Shares of memory in use, in percent.
const MEMORY_WARNING: u64 = 80;
const MEMORY_FAILURE: u64 = 95;

/// Reads the clock of Redis.
pub(super) async fn clock(store: &Store, clock: Clock) -> Result<ClockReading, String> {
    let mut best: Option<ClockReading> = None;
    for _ in 0..READINGS {
        let (sent, sent_at) = (Instant::now(), clock.unix_millis());
        let theirs = store.now().await.map_err(|error| error.to_string())?;
        let round_trip = sent.elapsed();
        let ours = sent_at.saturating_add(round_trip.as_millis() as u64 / 2);
        let reading = ClockReading { ahead: theirs.cast_signed() - ours.cast_signed(), round_trip };
        if best.is_none_or(|best| reading.round_trip < best.round_trip) {
            best = Some(reading);
        }
    }
    best.ok_or_else(|| "no reading".to_owned())
}

pub(super) fn reachable(host: &str, connection: &Fact<()>) -> Check {
    let question = Question::new("redis.reachable", "an answer");
    match connection {
        Fact::Known(()) => question.ok(format!("{host} answers")),
        Fact::Unreadable(error) => {
            question.failed(format!("{host}: {error}"), "start Redis, or mend REDIS_URL or the way to it")
        }
        Fact::NotAsked(why) => question.skipped(*why),
    }
}

/// What a server must be like, or nothing starts.
pub(crate) fn basics(view: &Fact<ServerView>, durability: Durability) -> Vec<Check> {
    let (major, minor) = OLDEST_REDIS;
    let version = Question::new("redis.version", format!("{major}.{minor} or newer"));
    let role = Question::new("redis.role", "master");
    let promise = Question::new("redis.durability", wanted(durability));
    let eviction = Question::new("redis.eviction", "noeviction");
    vec![
        version.judge(view, |question, view| match view.is_at_least(OLDEST_REDIS) {
            true => question.ok(&view.version),
            false => question.failed(&view.version, "upgrade Redis"),
        }),
        role.judge(view, |question, view| match view.role.as_str() {
            "master" => question.ok("master"),
            other => question.failed(other, "point REDIS_URL to the primary"),
        }),
        promise.judge(view, |question, view| promised(question, view, durability)),
        eviction.judge(view, |question, view| {
            let advice = "set `maxmemory-policy noeviction`: Redis may throw away jobs";
            match (view.eviction.as_str(), durability) {
                ("noeviction", _) => question.ok("noeviction"),
                (other, Durability::None | Durability::Trust) => question.warning(other, advice),
                (other, _) => question.failed(other, advice),
            }
        }),
    ]
}

fn wanted(durability: Durability) -> String {
    match durability {
        Durability::Always => "appendonly yes, appendfsync always".to_owned(),
        Durability::Replicas(count) => format!("appendonly yes, appendfsync always, {count} replicas"),
        Durability::WaitAof { local, replicas } => {
            format!("appendonly yes, WAITAOF {local} {replicas}")
        }
        Durability::Trust => "what the provider promises".to_owned(),
        Durability::None => "a policy that keeps what is accepted".to_owned(),
    }
}

fn promised(question: Question, view: &ServerView, durability: Durability) -> Check {
    match durability {
        Durability::None => {
            return question.warning("DURABILITY=none", "set DURABILITY=always: accepted jobs may be lost");
        }
        Durability::Trust => return question.ok("DURABILITY=trust: Redis is not asked"),
        _ => {}
    }
    // Role and eviction have lines of their own.
    let of_its_own = |problem: &DurabilityProblem| {
        matches!(problem, DurabilityProblem::Role(_) | DurabilityProblem::Eviction(_))
    };
    let problems = view.problems(durability).into_iter().filter(|problem| !of_its_own(problem));
    let problems: Vec<String> = problems.map(|problem| problem.to_string()).collect();
    if !problems.is_empty() {
        let advice = "configure Redis as deploy/redis.conf does, or set DURABILITY to what it provides";
        return question.failed(problems.join("\n"), advice);
    }
    let replicas = text::count(view.replicas.into(), "replica");
    match &view.settings {
        Settings::Told { appendonly, appendfsync, .. } => {
            question.ok(format!("appendonly {appendonly}, appendfsync {appendfsync}, {replicas}"))
        }
        Settings::Hidden(_) | Settings::NotAsked => question.ok(replicas),
    }
}

pub(super) fn memory(view: &Fact<ServerView>) -> Check {
    let question = Question::new("redis.memory", format!("a bound, less than {MEMORY_WARNING} % of it used"));
    question.judge(view, |question, view| {
        let used = text::bytes(view.memory.used);
        if view.memory.max == 0 {
            let advice =
                "set `maxmemory`: without it the host's memory is the bound, and the kernel kills Redis";
            return question.warning(format!("{used} used, no maxmemory"), advice);
        }
        let share = view.memory.used.saturating_mul(100) / view.memory.max;
        let found = format!("{used} of {} used ({share} %)", text::bytes(view.memory.max));
        match share {
            MEMORY_FAILURE.. => question.failed(found, "raise `maxmemory`: Redis is about to refuse writes"),
            MEMORY_WARNING.. => question.warning(found, "raise `maxmemory` before Redis refuses writes"),
            _ => question.ok(found),
        }
    })
}

pub(super) fn clock_skew(reading: &Fact<ClockReading>) -> Check {
    let question = Question::new("redis.clock", "within 1 s of this host's clock");
    question.judge(reading, |question, reading| {
        let skew = Duration::from_millis(reading.ahead.unsigned_abs());
        let side = if reading.ahead < 0 { "behind" } else { "ahead of" };
        let found = format!("{} {side} this host", text::span(skew));
        let advice = "synchronise the clocks of both hosts (NTP)";
        match skew {
            skew if skew > SKEW_FAILURE => question.failed(found, advice),
            skew if skew > SKEW_WARNING => question.warning(found, advice),
            _ => question.ok(found),
        }
    })
}

/// A renewal is sent a third of the TTL after the one before it; an answer that comes after the trust in that one has ended
/// costs the leadership, each time.
pub(super) fn latency(reading: &Fact<ClockReading>, lease: LeaseTiming) -> Check {
    let longest = lease.ttl.saturating_sub(lease.margin).saturating_sub(lease.renew_every());
    let question =
        Question::new("redis.latency", format!("below {}, for the lease", text::span(lease.margin)));
    question.judge(reading, |question, reading| {
        let micros = reading.round_trip.as_micros();
        let found = match micros {
            0..10_000 => format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10),
            _ => text::span(reading.round_trip),
        };
        match reading.round_trip {
            slow if slow >= longest => question
                .failed(found, "mend the way to Redis, or raise LEASE_TTL_MS: nobody can keep the lease"),
            slow if slow >= lease.margin => {
                question.warning(found, "mend the way to Redis, or raise LEASE_TTL_MS: leaders may flap")
            }
            _ => question.ok(found),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::Status;
    use super::*;
    use shared::store::Memory;

    fn view() -> ServerView {
        ServerView {
            version: "7.0.15".into(),
            role: "master".into(),
            replicas: 0,
            eviction: "noeviction".into(),
            memory: Memory { used: 1 << 20, max: 100 << 20 },
            settings: Settings::Told {
                appendonly: "yes".into(),
                appendfsync: "always".into(),
                eviction: "noeviction".into(),
            },
        }
    }

    fn failed(view: ServerView, durability: Durability) -> Vec<String> {
        let checks = basics(&Fact::Known(view), durability).into_iter();
        checks.filter(|check| check.status == Status::Failed).map(|check| check.id).collect()
    }

    #[test]
    fn each_fault_of_the_server_has_one_line() {
        assert_eq!(failed(view(), Durability::Always), Vec::<String>::new());
        assert_eq!(
            failed(ServerView { version: "6.2.14".into(), ..view() }, Durability::Always),
            ["redis.version"]
        );
        assert_eq!(failed(ServerView { role: "slave".into(), ..view() }, Durability::Always), ["redis.role"]);
        assert_eq!(failed(view(), Durability::Replicas(1)), ["redis.durability"]);
        let told = Settings::Told {
            appendonly: "yes".into(),
            appendfsync: "always".into(),
            eviction: "allkeys-lru".into(),
        };
        let evicting = ServerView { eviction: "allkeys-lru".into(), settings: told, ..view() };
        assert_eq!(failed(evicting, Durability::Always), ["redis.eviction"]);
        let hidden = ServerView { settings: Settings::Hidden("NOPERM".into()), ..view() };
        assert_eq!(failed(hidden, Durability::Always), ["redis.durability"]);
    }

    #[test]
    fn a_policy_that_promises_nothing_is_a_warning() {
        let of = |durability| basics(&Fact::Known(view()), durability)[2].status;
        assert_eq!((of(Durability::None), of(Durability::Trust)), (Status::Warning, Status::Ok));
    }

    #[test]
    fn memory_warns_before_redis_refuses_writes() {
        let of =
            |used, max| memory(&Fact::Known(ServerView { memory: Memory { used, max }, ..view() })).status;
        assert_eq!([of(79, 100), of(80, 100), of(94, 100)], [Status::Ok, Status::Warning, Status::Warning]);
        assert_eq!([of(95, 100), of(5, 0)], [Status::Failed, Status::Warning]);
    }

    #[test]
    fn skew_counts_in_both_directions() {
        let of = |ahead| clock_skew(&Fact::Known(ClockReading { ahead, round_trip: Duration::ZERO })).status;
        assert_eq!([of(1_000), of(-1_000)], [Status::Ok; 2]);
        assert_eq!([of(1_001), of(-30_000)], [Status::Warning; 2]);
        assert_eq!([of(30_001), of(-30_001)], [Status::Failed; 2]);
    }

    #[test]
    fn a_way_to_redis_on_which_no_renewal_arrives_in_time_has_failed() {
        // A TTL of 3 s: trusted for 2.4 s, renewed after 1 s.
        let lease = LeaseTiming::new(Duration::from_secs(3));
        let of = |millis| {
            let reading = ClockReading { ahead: 0, round_trip: Duration::from_millis(millis) };
            latency(&Fact::Known(reading), lease).status
        };
        assert_eq!([of(599), of(600), of(1_399)], [Status::Ok, Status::Warning, Status::Warning]);
        assert_eq!(of(1_400), Status::Failed);
    }
}
