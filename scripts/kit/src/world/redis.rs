//! A private Redis that loses nothing it has acknowledged. Read from outside with `redis-cli` only: the language of
//! the store is spoken by `shared` alone.

mod data;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::process::{Process, Reaper, until};
use super::{paths, ports};

/// A `redis-server` as `deploy/redis.conf` has it, without users and passwords.
pub struct Redis {
    process: Process,
    port: u16,
    folder: PathBuf,
    reaper: Arc<Reaper>,
}

impl Redis {
    pub(super) async fn start(world: &Path, reaper: &Arc<Reaper>) -> Result<Self> {
        Self::start_in(&world.join("redis"), reaper).await
    }

    async fn start_in(folder: &Path, reaper: &Arc<Reaper>) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut last = None;
        for _ in 0..3 {
            let port = ports::free()?;
            match launch(folder, port, reaper).await {
                Ok(process) => {
                    return Ok(Self { process, port, folder: folder.to_owned(), reaper: reaper.clone() });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("never tried"))).context("start Redis")
    }

    /// A `redis-server` that keeps its data in `folder`, as `deploy/redis.conf` has it but for its users. The server goes to the
    /// folder that its file names before it reads any option behind it, and may not even enter the one of a real server.
    pub fn shipped(folder: &Path, port: u16) -> Result<Command> {
        let conf =
            std::fs::read_to_string(paths::root().join("deploy/redis.conf")).context("deploy/redis.conf")?;
        let is_ours = |line: &&str| !line.starts_with("dir ") && !line.starts_with("aclfile ");
        let own = folder.with_extension("conf");
        std::fs::write(&own, conf.lines().filter(is_ours).collect::<Vec<_>>().join("\n"))?;
        let mut command = Command::new("redis-server");
        command.arg(own).args(["--port", &port.to_string()]).arg("--dir").arg(folder);
        Ok(command)
    }

    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs `redis-cli` with `arguments` and gives what it prints, without the last newline.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String> {
        cli(self.port, arguments).await
    }

    /// Sends `signal` to the server: SIGKILL for a crash, SIGSTOP and SIGCONT for a server that hangs.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills the server; its data stays.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts the server again on the same port with the data it had.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.kill();
        self.process = launch(&self.folder, self.port, &self.reaper).await.context("restart Redis")?;
        Ok(())
    }

    /// Where the server keeps its append-only file.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until `key` has a value that `accept` takes.
    pub async fn until_key(
        &self,
        key: &str,
        limit: Duration,
        accept: impl Fn(&str) -> bool,
    ) -> Result<String> {
        until(&format!("Redis key {key}"), limit, || async {
            let value = self.cli(&["GET", key]).await?;
            Ok(accept(&value).then_some(value))
        })
        .await
    }
}

async fn cli(port: u16, arguments: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-e"]).args(arguments).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(10), command.output())
        .await
        .context("redis-cli took more than 10 s")?
        .context("run redis-cli")?;
    if !output.status.success() {
        bail!("redis-cli {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
}

async fn launch(folder: &Path, port: u16, reaper: &Arc<Reaper>) -> Result<Process> {
    let command = Redis::shipped(folder, port)?;
    let log = folder.with_extension("log");
    let mut process = Process::spawn("redis", command, log, reaper)?;
    // Ours, not another server that was faster to take the port.
    let own = format!("process_id:{}", process.pid());
    for _ in 0..400 {
        process.check()?;
        if cli(port, &["INFO", "server"]).await.is_ok_and(|info| info.lines().any(|line| line.trim() == own))
        {
            return Ok(process);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    bail!("Redis does not answer on port {port}; its log ends:\n{}", process.log_tail(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_survives_a_kill_and_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(folder.path()).unwrap();
        let mut redis = Redis::start(folder.path(), &reaper).await.unwrap();
        assert_eq!(redis.cli(&["CONFIG", "GET", "appendfsync"]).await.unwrap(), "appendfsync\nalways");
        assert_eq!(
            redis.cli(&["CONFIG", "GET", "maxmemory-policy"]).await.unwrap(),
            "maxmemory-policy\nnoeviction"
        );
        redis.cli(&["SET", "a", "1"]).await.unwrap();
        redis.kill();
        assert!(redis.cli(&["GET", "a"]).await.is_err());
        redis.restart().await.unwrap();
        assert_eq!(redis.until_key("a", Duration::from_secs(1), |value| value == "1").await.unwrap(), "1");
        assert!(redis.cli(&["NO-SUCH-COMMAND"]).await.is_err());
    }
}
