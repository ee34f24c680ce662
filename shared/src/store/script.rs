//! The scripts: one `.lua` file per transition, loaded with what it needs of `lua/lib` in front, run by hash.

use std::collections::HashSet;
use std::fmt::{Display, Write as _};
use std::sync::LazyLock;

use redis::FromRedisValue;
use redis::aio::ConnectionLike;

use super::error::StoreError;

/// What scripts share, in the order in which it is put in front of them.
const LIB: [&str; 6] = [
    include_str!("lua/lib/base.lua"),
    include_str!("lua/lib/conclude.lua"),
    include_str!("lua/lib/moves.lua"),
    include_str!("lua/lib/gates.lua"),
    include_str!("lua/lib/intake.lua"),
    include_str!("lua/lib/chain.lua"),
];

pub(super) struct Script {
    pub(super) name: &'static str,
    code: String,
    sha: String,
}

impl Script {
    pub(super) fn new(name: &'static str, body: &str) -> Self {
        let code = linked(body);
        let sha = redis::Script::new(&code).get_hash().to_owned();
        Self { name, code, sha }
    }

    /// The `EVALSHA` command with the lane as its only key.
    pub(super) fn command(&self, lane: &str, args: &Args) -> redis::Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha).arg(1).arg(lane);
        for arg in args.iter() {
            command.arg(arg);
        }
        command
    }

    pub(super) async fn load<C: ConnectionLike>(&self, connection: &mut C) -> Result<(), StoreError> {
        redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(&self.code)
            .query_async::<()>(connection)
            .await
            .map_err(|source| StoreError::Redis { operation: self.name, source })
    }

    /// Runs the script, loading it first where the server does not know it (after a restart or `SCRIPT FLUSH`).
    pub(super) async fn run<C: ConnectionLike, T: FromRedisValue>(
        &self,
        connection: &mut C,
        lane: &str,
        args: &Args,
    ) -> Result<T, StoreError> {
        let command = self.command(lane, args);
        match command.query_async(connection).await {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                self.load(connection).await?;
                command.query_async(connection).await
            }
            other => other,
        }
        .map_err(|source| StoreError::Redis { operation: self.name, source })
    }
}

/// What stands between two blank lines of the shared files. A part names only parts above it.
fn lib_parts() -> impl DoubleEndedIterator<Item = &'static str> {
    LIB.into_iter().flat_map(|file| file.trim_end().split("\n\n").collect::<Vec<_>>())
}

/// `body` behind those shared parts that it names, and those that these name: every function is made anew at each run, needed
/// or not.
fn linked(body: &str) -> String {
    let mut named: HashSet<&str> = words(body).collect();
    let mut parts = vec![body];
    for part in lib_parts().rev() {
        if defined(part).any(|name| named.contains(name)) {
            named.extend(words(part));
            parts.push(part);
        }
    }
    parts.reverse();
    if !parts.iter().any(|part| defined(part).any(|name| name == "conclude")) {
        return parts.join("\n\n");
    }
    let body = parts.pop().unwrap_or_default();
    format!("{}\n\nlocal function body()\n{body}\nend\n\n{CONCLUDED}", parts.join("\n\n"))
}

/// What a script ends with whose writes are gathered, whether or not it came to its own end.
const CONCLUDED: &str =
    "local fine, out = pcall(body)\nconclude()\nif not fine then error(out, 0) end\nreturn out";

/// The names that a part gives to all that follows.
fn defined(part: &str) -> impl Iterator<Item = &str> {
    part.lines().filter_map(|line| {
        let line = line.strip_prefix("local ")?;
        words(line.strip_prefix("function ").unwrap_or(line)).next()
    })
}

/// The words of what is not a comment.
fn words(code: &str) -> impl Iterator<Item = &str> {
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("--"));
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    lines.flat_map(move |line| line.split(move |letter| !is_part(letter))).filter(|word| !word.is_empty())
}

macro_rules! scripts {
    ($($constant:ident = $name:literal;)*) => {
        $(pub(super) static $constant: LazyLock<Script> =
            LazyLock::new(|| Script::new($name, include_str!(concat!("lua/", $name, ".lua"))));)*

        /// The hash and the name of every script, for whoever reads commands as they travel.
        pub fn scripts() -> Vec<(&'static str, &'static str)> {
            vec![$(($constant.sha.as_str(), $name)),*]
        }

        /// The name and the whole source of every script, for whoever loads them before they are asked for, or breaks them
        /// on purpose.
        pub fn sources() -> Vec<(&'static str, &'static str)> {
            vec![$(($name, $constant.code.as_str())),*]
        }
    };
}

scripts! {
    ACCEPT_PAYMENTS = "accept_payments";
    CANCEL = "cancel";
    CHORES = "chores";
    CLAIM = "claim";
    CLOSE_NONCE = "close_nonce";
    DROP_CONSUMERS = "drop_consumers";
    EVENTS_AFTER = "events_after";
    FINAL_SET = "final_set";
    FINISH = "finish";
    FLEET_LEAVE = "fleet_leave";
    FLEET_VIEW = "fleet_view";
    GATE_CLOSE = "gate_close";
    GATE_OPEN = "gate_open";
    HAND_BACK = "hand_back";
    HEARTBEAT = "heartbeat";
    INCLUDE = "include";
    INDEX_SLICE = "index_slice";
    JOURNAL = "journal";
    JOURNAL_ATTEMPT = "journal_attempt";
    LEASE_ACQUIRE = "lease_acquire";
    LEASE_RELEASE = "lease_release";
    LEASE_RENEW = "lease_renew";
    LEAVE = "leave";
    MIGRATE = "migrate";
    PROMOTE = "promote";
    READ_READY = "read_ready";
    READY = "ready";
    RECLAIM = "reclaim";
    REFUND = "refund";
    REGISTER = "register";
    REGISTERED = "registered";
    RELEASE_PARKED = "release_parked";
    REOPEN = "reopen";
    RETAIN = "retain";
    RETAIN_TXS = "retain_txs";
    RETRY = "retry";
    SET_MODE = "set_mode";
    SETTLE = "settle";
    SIGNER_SET = "signer_set";
    SWEEP = "sweep";
    SYNC_PAYMENTS = "sync_payments";
    SYNC_PROGRESS = "sync_progress";
    SYNC_SET = "sync_set";
    UNBLOCK = "unblock";
    UNDO = "undo";
    UNLEARN = "unlearn";
}

/// The arguments of a script, in the order its header gives.
#[derive(Default)]
pub(super) struct Args {
    /// One behind the other: a webhook has many, and most are short.
    text: String,
    ends: Vec<usize>,
}

impl Args {
    pub(super) fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub(super) fn arg(mut self, value: impl Display) -> Self {
        self.push(value);
        self
    }

    pub(super) fn push(&mut self, value: impl Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{value}");
        self.ends.push(self.text.len());
    }

    /// Puts those of another behind these.
    pub(super) fn append(&mut self, other: &Self) {
        let before = self.text.len();
        self.text.push_str(&other.text);
        self.ends.extend(other.ends.iter().map(|end| before + end));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).map(|(begin, end)| self.text.get(*begin..*end).unwrap_or_default())
    }
}

/// Why a script left a job as it was. Mirrors `refusal` in `lua/lib/moves.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such job.
    Unknown,
    /// The job was claimed again, or journaled under another nonce, since the caller looked.
    Stale,
    /// The event does not apply in the job's present stage.
    WrongStage,
    /// The stage belongs to the leader and the caller's lease is not the living one.
    Fenced,
}

/// What became of one job in a script over several.
pub type Applied = Result<(), Refusal>;

pub(super) fn applied(script: &'static str, codes: Vec<i64>) -> Result<Vec<Applied>, StoreError> {
    codes
        .into_iter()
        .map(|code| match code {
            0 => Ok(Ok(())),
            1 => Ok(Err(Refusal::Unknown)),
            2 => Ok(Err(Refusal::Stale)),
            3 => Ok(Err(Refusal::WrongStage)),
            4 => Ok(Err(Refusal::Fenced)),
            other => Err(StoreError::UnknownReply { script, value: other.to_string() }),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_keep_their_order_and_the_empty_ones() {
        let mut args = Args::new().arg("").arg("ä").arg(7);
        args.append(&Args::new());
        args.append(&Args::new().arg("").arg("z"));
        args.push(String::new());
        assert_eq!(args.iter().collect::<Vec<_>>(), ["", "ä", "7", "", "z", ""]);
    }

    #[test]
    fn a_script_comes_with_what_it_needs_and_nothing_else() {
        let code = linked("return clock()");
        assert!(code.ends_with("return clock()"), "{code}");
        assert!(code.contains("local function clock()") && !code.contains("local NOW"), "{code}");
        let code = linked("-- no move(id) here\nenqueue(id, job, 'queued', 'accept')");
        for needed in ["enqueue", "move", "detach", "put", "conclude", "clock", "key"] {
            assert!(code.contains(&format!("local function {needed}(")), "{needed} is missing: {code}");
        }
        assert!(code.ends_with(CONCLUDED) && code.contains("local function body()"), "{code}");
        assert!(code.contains("local LANE") && !code.contains("local function close_gate("), "{code}");
        // One name each: of a second one nothing would be known.
        let named =
            || lib_parts().flat_map(|part| part.lines().filter_map(|line| line.strip_prefix("local ")));
        assert!(named().count() > 20);
        for line in named() {
            let name = line.strip_prefix("function ").unwrap_or(line);
            assert!(!name.split(['=', '(']).next().unwrap().contains(','), "{line}");
        }
    }

    /// Lua takes a name that is not known yet for a global one, which is nil.
    #[test]
    fn a_shared_part_names_only_what_stands_above_it() {
        let mut above = HashSet::new();
        let all: HashSet<&str> = lib_parts().flat_map(defined).collect();
        for part in lib_parts() {
            above.extend(defined(part));
            // A call, not a word of a field or of a text: `x.fail` and `'fail'` are no calls.
            for name in all.difference(&above) {
                assert!(!part.contains(&format!(" {name}(")), "{name} stands below:\n{part}");
            }
        }
    }

    /// A field that was not asked for is nil, as if the job had none.
    #[test]
    fn a_script_that_asks_for_some_fields_of_a_job_reads_no_others() {
        let mut looked_at = 0;
        for (name, code) in sources() {
            let Some((_, body)) = code.split_once("local function body()\n") else { continue };
            let Some((before, asks)) = body.split_once("fields_of(") else {
                assert!(!body.contains("job_of("), "{name} does not say from where");
                continue;
            };
            assert!(!before.contains("job_of(") && !asks.contains("fields_of("), "{name}");
            let asks = asks.split_once('\n').map_or(asks, |(line, _)| line);
            let from = match words(asks).next() {
                Some("from") => between(body, "local from = {", '}'),
                Some("UNCARRIED") => between(code, "local UNCARRIED = {", '}'),
                _ => between(asks, "{", '}'),
            };
            let from: HashSet<&str> =
                from.unwrap_or("").split(" = true").filter_map(|at| words(at).last()).collect();
            // What it refuses all others by, or the stages that it asks for one by one.
            if let Some(refused_by) = between(body, "refusal(job, ARGV[i + 1], ", ',') {
                assert!(asks.starts_with(refused_by), "{name} refuses by {refused_by}, and asks for {asks}");
            }
            for named in body.split("job.stage ").skip(1) {
                let stage = named.split('\'').nth(1).unwrap_or_default();
                assert!(from.contains(stage), "{name} takes jobs from {stage}, and asks for {from:?}");
            }
            let mut asked = quoted(asks, "", ')');
            asked.extend(quoted(code, "local fields, has = {", '}'));
            if asks.contains("OF_A_BRIEF") {
                asked.extend(quoted(code, "local OF_A_BRIEF = {", '}'));
            }
            let left_by = between(code, "local LEFT_BY = {", '}').unwrap_or("");
            for stage in from {
                asked.extend(between(left_by, &format!(" {stage} = '"), '\''));
            }
            // The first fetches what it reads where it was not asked for, the second goes by LEFT_BY.
            let is_apart = |part: &&str| !defined(part).any(|name| ["asked_of", "detach"].contains(&name));
            let is_code = |line: &&str| !line.trim_start().starts_with("--");
            for line in code.split("\n\n").filter(is_apart).flat_map(str::lines).filter(is_code) {
                for after in line.split("job.").skip(1) {
                    let field = words(after).next().unwrap_or_default();
                    let is_written = after[field.len()..].starts_with(" = ");
                    assert!(is_written || asked.contains(field), "{name} reads {field}, asked for {asked:?}");
                }
            }
            looked_at += 1;
        }
        assert_eq!(looked_at, 7);
    }

    /// The texts in quotes between `from` and `to`.
    fn quoted<'a>(code: &'a str, from: &str, to: char) -> HashSet<&'a str> {
        between(code, from, to).unwrap_or("").split('\'').skip(1).step_by(2).collect()
    }

    fn between<'a>(code: &'a str, from: &str, to: char) -> Option<&'a str> {
        let (_, rest) = code.split_once(from)?;
        rest.split_once(to).map(|(text, _)| text)
    }
}
