//! `kit mutants`: breaks the code on purpose, one patch at a time, and expects a named test to notice.
//!
//! A patch is a unified diff below header lines:
//!
//! ```text
//! # what: the fence is not checked
//! # test: test(a_zombie_leader_changes_nothing)
//! # package: ail-shared
//! ```
//!
//! `test` is a nextest filter. `package`, which may be left out, limits what is built and run. The patches are applied
//! to a checkout of HEAD under `target/mutants`. A mutant counts as killed only if the code compiles and the test,
//! which passes without the patch, fails by an assertion or an error of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::world::paths;
use crate::world::process::{Process, Reaper};

/// How long one build, and one test run, may take.
const BUILD: Duration = Duration::from_secs(1_800);
const TEST: Duration = Duration::from_secs(900);

/// What the command line says.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only the patches whose file name contains this.
    #[arg(long)]
    only: Option<String>,
    /// The folder of the patches. Default: scripts/mutants.d.
    #[arg(long)]
    patches: Option<PathBuf>,
}

/// One patch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mutant {
    name: String,
    path: PathBuf,
    what: String,
    test: String,
    package: Option<String>,
}

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Killed,
    Survived,
    DoesNotApply,
    DoesNotCompile,
    /// The test does not exist, or fails without the patch, or ended without saying why.
    BadTest,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Survived => "SURVIVED",
            Self::DoesNotApply => "DOES NOT APPLY",
            Self::DoesNotCompile => "DOES NOT COMPILE",
            Self::BadTest => "BAD TEST",
        }
    }
}

/// Runs all of them and prints a table. The exit code is 0 only if every mutant was killed.
pub async fn run(options: Options) -> Result<ExitCode> {
    let root = paths::root();
    let folder = options.patches.unwrap_or_else(|| root.join("scripts/mutants.d"));
    let mutants = load(&folder, options.only.as_deref())?;
    ensure!(!mutants.is_empty(), "no patches in {}", folder.display());
    let bench = Bench::set_up(&root)?;
    let mut rows = Vec::new();
    for mutant in &mutants {
        eprintln!("mutants: {} ({})", mutant.name, mutant.what);
        let outcome = bench.judge(mutant).await?;
        eprintln!("mutants: {} {}", mutant.name, outcome.name());
        rows.push((mutant, outcome));
    }
    println!("\n{:<18}{:<34}what, and the test that noticed", "outcome", "mutant");
    for (mutant, outcome) in &rows {
        println!("{:<18}{:<34}{}\n{:<52}{}", outcome.name(), mutant.name, mutant.what, "", mutant.test);
    }
    let killed = rows.iter().filter(|(_, outcome)| *outcome == Outcome::Killed).count();
    println!("{killed} of {} mutants killed; logs in {}", rows.len(), bench.logs.display());
    Ok(if killed == rows.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load(folder: &Path, only: Option<&str>) -> Result<Vec<Mutant>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    files.sort();
    let mutants = files.iter().map(|path| parse(path, &fs::read_to_string(path)?));
    let mut mutants = mutants.collect::<Result<Vec<Mutant>>>()?;
    mutants.retain(|mutant| only.is_none_or(|part| mutant.name.contains(part)));
    Ok(mutants)
}

fn parse(path: &Path, text: &str) -> Result<Mutant> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let header = |key: &str| {
        let mut lines =
            text.lines().take_while(|line| !line.starts_with("---") && !line.starts_with("diff "));
        lines.find_map(|line| line.strip_prefix(&format!("# {key}:"))).map(|value| value.trim().to_owned())
    };
    let need =
        |key: &str| header(key).with_context(|| format!("{}: no header line `# {key}: …`", path.display()));
    Ok(Mutant {
        what: need("what")?,
        test: need("test")?,
        package: header("package"),
        path: path.to_owned(),
        name,
    })
}

/// The checkout that the patches are applied to. Removed when dropped.
struct Bench {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    logs: PathBuf,
    reaper: Arc<Reaper>,
}

impl Bench {
    fn set_up(root: &Path) -> Result<Self> {
        let base = cargo_target(root)?.join("mutants");
        let (tree, target, logs) = (base.join("tree"), base.join("target"), base.join("logs"));
        fs::create_dir_all(&logs)?;
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        git(root, &["worktree", "prune"])?;
        git(root, &["worktree", "add", "--quiet", "--detach", "--force", &tree.to_string_lossy(), "HEAD"])?;
        let reaper = Reaper::start(&tree)?;
        let bench = Self { root: root.to_owned(), tree, target, logs, reaper };
        if !git(root, &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
            eprintln!("mutants: uncommitted changes are not part of this: HEAD is what is tested");
        }
        bench.seed(&base)?;
        Ok(bench)
    }

    /// Takes over what is there: Node packages, compiled contracts, and the compiled dependencies.
    fn seed(&self, base: &Path) -> Result<()> {
        let contracts = self.root.join("contracts");
        for name in ["node_modules", "out", "cache"] {
            if contracts.join(name).exists() {
                copy(&contracts.join(name), &self.tree.join("contracts").join(name))?;
            }
        }
        let built = base.with_file_name("debug");
        if !self.target.exists() && built.exists() {
            eprintln!("mutants: copying {} once", built.display());
            fs::create_dir_all(&self.target)?;
            copy(&built, &self.target.join("debug"))?;
        }
        Ok(())
    }

    async fn judge(&self, mutant: &Mutant) -> Result<Outcome> {
        let log = self.logs.join(format!("{}.log", mutant.name));
        fs::write(&log, "")?;
        if self.build(mutant, &log).await? != Some(0) {
            bail!("HEAD does not build, see {}", log.display());
        }
        if self.test(mutant, &log).await? != Some(0) {
            return Ok(Outcome::BadTest);
        }
        let patch = mutant.path.canonicalize()?.to_string_lossy().into_owned();
        if git(&self.tree, &["apply", &patch]).is_err() {
            return Ok(Outcome::DoesNotApply);
        }
        fs::write(&log, "")?;
        let outcome = self.judge_applied(mutant, &log).await;
        git(&self.tree, &["apply", "--reverse", &patch])?;
        outcome
    }

    async fn judge_applied(&self, mutant: &Mutant, log: &Path) -> Result<Outcome> {
        if self.build(mutant, log).await? != Some(0) {
            return Ok(Outcome::DoesNotCompile);
        }
        let code = self.test(mutant, log).await?;
        Ok(verdict(code, &fs::read_to_string(log)?))
    }

    async fn build(&self, mutant: &Mutant, log: &Path) -> Result<Option<i32>> {
        let mut arguments = vec!["build", "--all-targets", "--locked"];
        arguments.extend(scope(mutant));
        self.cargo(&arguments, log, BUILD).await
    }

    async fn test(&self, mutant: &Mutant, log: &Path) -> Result<Option<i32>> {
        let mut arguments = vec!["nextest", "run", "--locked", "--no-fail-fast", "--color", "never"];
        arguments.extend(scope(mutant));
        arguments.extend(["-E", &mutant.test]);
        self.cargo(&arguments, log, TEST).await
    }

    async fn cargo(&self, arguments: &[&str], log: &Path, limit: Duration) -> Result<Option<i32>> {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target);
        let mut process = Process::spawn("cargo", command, log.to_owned(), &self.reaper)?;
        Ok(process.wait(limit).await?.code())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        git(&self.root, &["worktree", "remove", "--force", &self.tree.to_string_lossy()]).ok();
    }
}

fn scope(mutant: &Mutant) -> Vec<&str> {
    match &mutant.package {
        Some(package) => vec!["--package", package],
        // As in scripts/test: some of these tests stop a relayer at its failpoints.
        None => vec!["--workspace", "--features", "ail-worker/failpoints"],
    }
}

/// What the exit code of nextest and its output say: 100 is a failed test, 4 is that there was none to run.
fn verdict(code: Option<i32>, output: &str) -> Outcome {
    let said_why =
        output.contains("panicked at") || output.lines().any(|line| line.trim_start().starts_with("Error: "));
    match code {
        Some(0) => Outcome::Survived,
        Some(100) if said_why => Outcome::Killed,
        _ => Outcome::BadTest,
    }
}

/// The folder that this executable was built into, without the profile.
fn cargo_target(root: &Path) -> Result<PathBuf> {
    let running = std::env::current_exe()?;
    let built = running.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    Ok(built.map_or_else(|| root.join("target"), Path::to_owned))
}

fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().context("run git")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), text(&output.stderr));
    Ok(text(&output.stdout))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status()?;
    ensure!(status.success(), "cp -a {} {}: {status}", from.display(), to.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_it_breaks_and_the_test_that_notices() {
        let text = "# what: no fence\n# test: test(fence)\n# package: ail-shared\n--- a/x\n+++ b/x\n# what: not this\n";
        let mutant = parse(Path::new("/p/no-fence.patch"), text).unwrap();
        assert_eq!((mutant.name.as_str(), mutant.what.as_str()), ("no-fence", "no fence"));
        assert_eq!((mutant.test.as_str(), mutant.package.as_deref()), ("test(fence)", Some("ail-shared")));
        assert!(parse(Path::new("/p/x.patch"), "# what: a\n--- a/x\n# test: too late\n").is_err());
    }

    #[test]
    fn only_a_test_that_says_why_it_fails_kills() {
        assert_eq!(verdict(Some(100), "thread 'a' panicked at src/a.rs"), Outcome::Killed);
        assert_eq!(verdict(Some(100), "x\nError: it was paid twice"), Outcome::Killed);
        assert_eq!(verdict(Some(100), "SIGSEGV"), Outcome::BadTest);
        assert_eq!(verdict(Some(0), "panicked at"), Outcome::Survived);
        assert_eq!(verdict(Some(4), "no tests to run"), Outcome::BadTest);
        assert_eq!(verdict(Some(101), "panicked at"), Outcome::BadTest);
    }
}
