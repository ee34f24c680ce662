//! `kit inspect`: asks Redis what docs/redis.md asks, and prints the answers. The page is the only place where the
//! commands are written down; this runs its `sh` blocks, in order and in one shell, as they are typed there.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

use crate::world::paths;

/// How long the whole page may take.
const LIMIT: Duration = Duration::from_secs(120);
/// There is no such section (`EX_USAGE`).
const USAGE: u8 = 64;
/// Redis is not as it must be (`EX_UNAVAILABLE`).
const UNAVAILABLE: u8 = 69;
/// In front of an answer, and in front of the exit code behind it: what no answer contains.
const ANSWER: char = '\u{1e}';
const STATUS: char = '\u{1f}';
/// In front of the page's commands: an error reply is an error, and a login in the URL, as the programs take it, goes where
/// no other process can read it, as the page wants it. Done by the shell itself, in no command's arguments.
const PRELUDE: &str = r#"
redis-cli() { command redis-cli -e "$@"; }
set -o pipefail
decoded() { local text="${1//\\/\\\\}"; printf '%b' "${text//%/\\x}"; }
if [[ "${REDIS_URL-}" == *://*@* ]]; then
  login="${REDIS_URL#*://}" login="${login%@*}"
  REDIS_URL="${REDIS_URL%%://*}://${REDIS_URL##*@}"
  [[ -z "${login%%:*}" ]] || export REDIS_USER="$(decoded "${login%%:*}")"
  [[ "$login" != *:* ]] || export REDISCLI_AUTH="$(decoded "${login#*:}")"
fi
"#;

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Again and again, every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
    /// Only the sections whose heading contains this.
    #[arg(long, value_name = "SECTION")]
    only: Option<String>,
    /// The page. Default: docs/redis.md.
    #[arg(long)]
    page: Option<PathBuf>,
}

/// One `sh` block of the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The `##` heading above it.
    pub section: String,
    pub command: String,
    /// What follows it: how to read the answer.
    pub reading: String,
}

impl Block {
    /// Whether later blocks may need it: it begins with an assignment.
    fn sets_variables(&self) -> bool {
        let name = self.command.strip_prefix("export ").unwrap_or(&self.command);
        name.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        })
    }
}

/// A block and what became of it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub block: Block,
    /// What the command wrote, to both outputs.
    pub text: String,
    /// Its exit code.
    pub status: i32,
}

/// Prints the answers once, or until the process is told to end.
pub async fn run(options: Options) -> Result<ExitCode> {
    let path = options.page.unwrap_or_else(|| paths::root().join("docs/redis.md"));
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let all = blocks(&page);
    ensure!(!all.is_empty(), "no sh blocks in {}", path.display());
    let shown = |block: &Block| {
        options.only.as_ref().is_none_or(|part| block.section.to_lowercase().contains(&part.to_lowercase()))
    };
    let chosen = match choose(&all, shown) {
        Ok(chosen) => chosen,
        Err(headings) => {
            eprintln!("inspect: no such section; there are: {}", headings.join(", "));
            return Ok(ExitCode::from(USAGE));
        }
    };
    loop {
        let answers = ask(&chosen, &[]).await?;
        let visible: Vec<&Answer> = answers.iter().filter(|answer| shown(&answer.block)).collect();
        if options.watch.is_some() && std::io::stdout().is_terminal() {
            print!("\x1b[2J\x1b[H");
        }
        print!("{}", render(&visible));
        let failed = answers.iter().find(|answer| answer.status != 0);
        if let Some(failed) = failed {
            eprintln!("inspect: in `{}`, this failed: {}", failed.block.section, failed.block.command);
            eprintln!("inspect: {}", failed.text.trim());
        }
        match (options.watch, failed) {
            (Some(seconds), _) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            (None, Some(_)) => return Ok(ExitCode::from(UNAVAILABLE)),
            (None, None) => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// The `sh` blocks of a page, in order.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let (mut section, mut open) = (String::new(), None::<String>);
    for line in page.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (Some(command), "```") => {
                let command = command.trim_end().to_owned();
                found.push(Block { section: section.clone(), command, reading: String::new() });
                open = None;
            }
            (Some(command), line) => {
                command.push_str(line);
                command.push('\n');
            }
            (None, line) => {
                if let Some(heading) = line.strip_prefix("## ") {
                    section = heading.trim().to_owned();
                } else if let Some(last) = found.last_mut().filter(|block| block.section == section) {
                    last.reading.push_str(line);
                    last.reading.push('\n');
                }
            }
        }
    }
    for block in &mut found {
        block.reading = block.reading.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    found
}

/// What is to be run so that the blocks that `shown` takes can be answered: these, the first section, which tells whether
/// anything can be, and whatever assigns before them. The headings when `shown` takes none.
fn choose(all: &[Block], shown: impl Fn(&Block) -> bool) -> Result<Vec<Block>, Vec<String>> {
    let Some(last) = all.iter().rposition(&shown) else {
        let mut headings: Vec<String> = all.iter().map(|block| block.section.clone()).collect();
        headings.dedup();
        return Err(headings);
    };
    let needed = |block: &&Block| shown(block) || block.section == all[0].section || block.sets_variables();
    Ok(all[..=last].iter().filter(needed).cloned().collect())
}

/// Runs the blocks in one shell, with `env` added to the environment. Ends early where the first section fails: without
/// Redis nothing else can be answered.
pub async fn ask(blocks: &[Block], env: &[(&str, String)]) -> Result<Vec<Answer>> {
    let first = blocks.first().map(|block| block.section.clone());
    let mut script = String::from(PRELUDE);
    for block in blocks {
        // Braces, not parentheses: what a block assigns is there for the next.
        write!(script, "printf '\\036'\n{{ {}\n}} 2>&1\n", block.command)?;
        script.push_str("status=$?\nprintf '\\037%d' \"$status\"\n");
        if Some(&block.section) == first.as_ref() {
            script.push_str("[ \"$status\" -eq 0 ] || exit 0\n");
        }
    }
    let mut command = Command::new("bash");
    command.args(["-c", &script]).envs(env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output())
        .await
        .with_context(|| format!("the page took more than {LIMIT:?}"))?
        .context("run bash")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let answers = text.split(ANSWER).skip(1).zip(blocks).map(|(answer, block)| {
        let (text, status) = answer.rsplit_once(STATUS).context("a command ended the shell")?;
        let status = status.parse().with_context(|| format!("`{status}` is not an exit code"))?;
        Ok(Answer { block: block.clone(), text: text.to_owned(), status })
    });
    answers.collect::<Result<Vec<Answer>>>().with_context(|| format!("bash: {}", output.status))
}

/// Headings, commands, answers, and how to read them.
fn render(answers: &[&Answer]) -> String {
    let (mut out, mut section) = (String::new(), "");
    for answer in answers {
        let Block { section: heading, command, reading } = &answer.block;
        if section != heading {
            out.push_str(&format!("\n== {heading}\n"));
            section = heading;
        }
        out.push_str(&format!("\n$ {command}\n"));
        for line in answer.text.lines().filter(|line| !line.trim().is_empty()) {
            out.push_str(&format!("  {line}\n"));
        }
        if answer.status != 0 {
            out.push_str(&format!("  (exit code {})\n", answer.status));
        }
        out.push_str(&format!("# {reading}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\n```sh\nBASE=1\n```\n\n## One\n\n```sh\nA=$((BASE + 1)); echo \"$A\"\n```\n\nTwo words.\nMore.\n\n## Two\n\nBefore.\n\n```sh\nfor i in 1 2; do\n  echo \"$A $i\"\ndone\n```\n\nLast.\n\n\
        ```sh\nfalse | true\n```\n";

    #[test]
    fn a_page_gives_its_blocks_with_heading_and_reading() {
        let found = blocks(PAGE);
        let shown: Vec<_> =
            found.iter().map(|block| (block.section.as_str(), block.reading.as_str())).collect();
        assert_eq!(shown, [("", ""), ("One", "Two words. More."), ("Two", "Last."), ("Two", "")]);
        assert_eq!(found[2].command, "for i in 1 2; do\n  echo \"$A $i\"\ndone");
    }

    #[tokio::test]
    async fn blocks_share_a_shell_and_each_has_its_own_answer() {
        let answers = ask(&blocks(PAGE), &[]).await.unwrap();
        let shown: Vec<_> = answers.iter().map(|answer| (answer.text.as_str(), answer.status)).collect();
        // `pipefail`: a command that fails in the middle of a pipe has failed.
        assert_eq!(shown, [("", 0), ("2\n", 0), ("2 1\n2 2\n", 0), ("", 1)]);
    }

    #[tokio::test]
    async fn without_the_first_section_nothing_else_is_asked() {
        let page = "## Begin\n\n```sh\necho gone; false\n```\n\n## Rest\n\n```sh\necho no\n```\n";
        let answers = ask(&blocks(page), &[]).await.unwrap();
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].text.as_str(), answers[0].status), ("gone\n", 1));
    }

    #[tokio::test]
    async fn a_login_in_the_url_stands_on_no_command_line() {
        let page = "## Begin\n\n```sh\necho \"$REDIS_URL ${REDIS_USER-none} ${REDISCLI_AUTH-none}\"\n```\n";
        for (url, shown) in [
            ("redis://operator:s%2Fc%25r%5Ct@host:6379/", r"redis://host:6379/ operator s/c%r\t"),
            ("rediss://:p:w@host/1", "rediss://host/1 none p:w"),
            ("redis://host:6379/", "redis://host:6379/ none none"),
        ] {
            let answers = ask(&blocks(page), &[("REDIS_URL", url.to_owned())]).await.unwrap();
            assert_eq!(answers[0].text.trim(), shown);
        }
    }

    #[test]
    fn one_section_takes_along_the_variables_before_it() {
        let all = blocks(PAGE);
        let chosen = choose(&all, |block| block.section == "Two").unwrap();
        assert_eq!(chosen, [all[0].clone(), all[1].clone(), all[2].clone(), all[3].clone()]);
        let chosen = choose(&all, |block| block.section == "One").unwrap();
        assert_eq!(chosen, all[..2]);
        assert_eq!(choose(&all, |_| false).unwrap_err(), ["", "One", "Two"]);
    }
}
