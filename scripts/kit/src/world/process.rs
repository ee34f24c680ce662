//! Child processes that never outlive the harness.
//!
//! Each child leads its own process group. Dropping a [`Process`] kills the group. When the harness itself is killed
//! and no destructor runs, the [`Reaper`], a tiny shell that holds the other end of a pipe, does the same.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// The last resort: kills what is registered and removes the folder once the harness is gone.
pub struct Reaper {
    shell: Mutex<Child>,
}

impl Reaper {
    /// Starts the watcher over `folder`.
    pub fn start(folder: &Path) -> Result<Arc<Self>> {
        let shell = Command::new("bash")
            .args(["-c", include_str!("reaper.sh"), "kit-reaper"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start bash")?;
        Ok(Arc::new(Self { shell: Mutex::new(shell) }))
    }

    fn tell(&self, verb: &str, group: Pid) {
        // A reaper that is gone cannot be told; the destructors still do the work.
        if let Ok(mut shell) = self.shell.lock()
            && let Some(stdin) = shell.stdin.as_mut()
        {
            writeln!(stdin, "{verb} {group}").ok();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Ok(shell) = self.shell.get_mut() {
            drop(shell.stdin.take());
            shell.wait().ok();
        }
    }
}

/// A running child, its process group, and its log.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    reaper: Arc<Reaper>,
    ended: bool,
}

impl Process {
    /// Starts `command` as the leader of a new process group, with both outputs appended to `log`.
    pub fn spawn(name: &str, mut command: Command, log: PathBuf, reaper: &Arc<Reaper>) -> Result<Self> {
        let out = OpenOptions::new().create(true).append(true).open(&log)?;
        let err: File = out.try_clone()?;
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("start {name} ({program})"))?;
        let process = Self { name: name.to_owned(), child, log, reaper: reaper.clone(), ended: false };
        process.reaper.tell("add", process.pid());
        Ok(process)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// How the process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() && !self.ended {
            self.ended = true;
            self.reaper.tell("gone", self.pid());
        }
        status
    }

    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Sends `signal` to the process itself.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended() {
            bail!("{} has ended already ({status})", self.name);
        }
        kill(self.pid(), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    /// Waits until the process has ended.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} still runs after {limit:?}; its log ends:\n{}", self.name, self.log_tail(30));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills the whole group with SIGKILL and waits for the leader.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            killpg(self.pid(), Signal::SIGKILL).ok();
            self.child.wait().ok();
            self.ended();
        }
    }

    /// An error when the process has ended, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}); its log ends:\n{}", self.name, self.log_tail(30)),
        }
    }

    /// All it has written so far, over all its lives.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Polls `probe` until it gives a value. Errors of the probe count as "not yet"; the last one is reported.
pub async fn until<T, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    let mut last = String::from("not yet");
    loop {
        match tokio::time::timeout(limit, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => last = String::from("no answer"),
        }
        if Instant::now() > deadline {
            bail!("waited {limit:?} for {what}: {last}");
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_alive(pid: Pid) -> bool {
        // A zombie is dead for this purpose: its parent, the test, has merely not asked yet.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn sleeper() -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", "sleep 300 & echo $!; wait"]);
        command
    }

    async fn grandchild(process: &Process) -> Pid {
        let pid = until("the pid in the log", Duration::from_secs(5), || {
            let pid = process.log().trim().parse::<i32>().ok();
            async move { Ok(pid) }
        });
        Pid::from_raw(pid.await.unwrap())
    }

    #[tokio::test]
    async fn dropping_a_process_kills_its_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(folder.path()).unwrap();
        let process = Process::spawn("sleeper", sleeper(), folder.path().join("log"), &reaper).unwrap();
        let (child, grandchild) = (process.pid(), grandchild(&process).await);
        assert!(is_alive(child) && is_alive(grandchild));
        drop(process);
        until("both to be gone", Duration::from_secs(5), || async {
            Ok((!is_alive(child) && !is_alive(grandchild)).then_some(()))
        })
        .await
        .unwrap();
    }

    #[tokio::test]
    async fn when_the_harness_dies_the_reaper_kills_and_removes() {
        let folder = tempfile::tempdir().unwrap().keep();
        let reaper = Reaper::start(&folder).unwrap();
        let process = Process::spawn("sleeper", sleeper(), folder.join("log"), &reaper).unwrap();
        let (child, grandchild) = (process.pid(), grandchild(&process).await);
        // What the kernel does when the harness is killed: the pipe closes, and no destructor runs.
        drop(reaper.shell.lock().unwrap().stdin.take());
        until("all to be gone", Duration::from_secs(5), || async {
            Ok((!is_alive(child) && !is_alive(grandchild) && !folder.exists()).then_some(()))
        })
        .await
        .unwrap();
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(folder.path()).unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", "echo the reason; exit 64"]);
        let mut process = Process::spawn("failing", command, folder.path().join("log"), &reaper).unwrap();
        assert_eq!(process.wait(Duration::from_secs(5)).await.unwrap().code(), Some(64));
        let message = process.check().unwrap_err().to_string();
        assert!(message.contains("the reason") && message.contains("64"), "{message}");
    }
}
