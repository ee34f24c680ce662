//! What can happen to the data under a server: a tail that a power loss took, an old copy, a replica that is behind.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Redis;
use crate::world::process::until;

/// The folder of the append-only file inside the server's.
const APPEND_ONLY: &str = "appendonlydir";

impl Redis {
    /// The file to which writes are appended now.
    pub fn append_only_file(&self) -> Result<PathBuf> {
        let folder = self.folder.join(APPEND_ONLY);
        let mut growing: Vec<PathBuf> = fs::read_dir(&folder)
            .with_context(|| format!("read {}", folder.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
            .collect();
        growing.sort();
        growing.pop().with_context(|| format!("no append-only file in {}", folder.display()))
    }

    /// Takes the last `bytes` of what was appended, but not more than there are, from a server that is dead. Returns how many
    /// it took.
    pub fn cut_tail(&mut self, bytes: u64) -> Result<u64> {
        ensure!(!self.process.is_running(), "the server runs: it would go on writing behind the cut");
        let path = self.append_only_file()?;
        let length = fs::metadata(&path)?.len();
        let taken = bytes.min(length);
        OpenOptions::new().write(true).open(&path)?.set_len(length - taken)?;
        Ok(taken)
    }

    /// Copies the append-only files as they are now to `to`. A file that grows meanwhile is copied up to some point; a server
    /// starts on that as after a crash.
    pub fn copy_data(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(self.folder.join(APPEND_ONLY))? {
            let entry = entry?;
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Puts a copy in the place of the append-only files of a server that is dead.
    pub fn put_data(&mut self, from: &Path) -> Result<()> {
        ensure!(!self.process.is_running(), "the server runs: it would not read them");
        let folder = self.folder.join(APPEND_ONLY);
        fs::remove_dir_all(&folder)?;
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::copy(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Starts a replica of this server, in the folder `name` beside it, and waits until it has everything.
    pub async fn replica(&self, name: &str) -> Result<Self> {
        self.cli(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await?;
        let replica = Self::start_in(&self.folder.with_file_name(name), &self.reaper).await?;
        replica.cli(&["REPLICAOF", "127.0.0.1", &self.port.to_string()]).await?;
        until("the replica to have everything", Duration::from_secs(20), || async {
            let told = replica.cli(&["INFO", "replication"]).await?;
            let is_linked = told.contains("master_link_status:up");
            // It rewrites its append-only file once it has synced; until that is done a crash would leave it with none.
            let told = replica.cli(&["INFO", "persistence"]).await?;
            let is_written =
                told.contains("aof_rewrite_in_progress:0") && told.contains("aof_rewrite_scheduled:0");
            Ok((is_linked && is_written).then_some(()))
        })
        .await?;
        Ok(replica)
    }

    /// Makes a replica a server of its own: it hears nothing of its master any more.
    pub async fn promote(&self) -> Result<()> {
        self.cli(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    }

    /// The bytes of memory in use.
    pub async fn used_memory(&self) -> Result<u64> {
        let told = self.cli(&["INFO", "memory"]).await?;
        let used = told.lines().find_map(|line| line.strip_prefix("used_memory:"));
        used.context("used_memory")?.trim().parse().context("used_memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::process::Reaper;

    #[tokio::test]
    async fn a_cut_tail_loses_the_newest_and_a_copy_everything_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(folder.path()).unwrap();
        let mut redis = Redis::start(folder.path(), &reaper).await.unwrap();
        redis.cli(&["SET", "a", "1"]).await.unwrap();
        redis.copy_data(&folder.path().join("old")).unwrap();
        redis.cli(&["SET", "b", "2"]).await.unwrap();
        assert!(redis.cut_tail(1).is_err(), "it runs");
        redis.kill();
        assert_eq!(redis.cut_tail(1).unwrap(), 1);
        redis.restart().await.unwrap();
        assert_eq!(redis.cli(&["MGET", "a", "b"]).await.unwrap(), "1");
        redis.cli(&["SET", "c", "3"]).await.unwrap();
        redis.kill();
        redis.put_data(&folder.path().join("old")).unwrap();
        redis.restart().await.unwrap();
        assert_eq!(redis.cli(&["MGET", "a", "b", "c"]).await.unwrap(), "1");
        assert!(redis.used_memory().await.unwrap() > 100_000);
    }

    #[tokio::test]
    async fn a_promoted_replica_has_what_came_before_and_nothing_after() {
        let folder = tempfile::tempdir().unwrap();
        let reaper = Reaper::start(folder.path()).unwrap();
        let master = Redis::start(folder.path(), &reaper).await.unwrap();
        master.cli(&["SET", "a", "1"]).await.unwrap();
        let mut replica = master.replica("redis-replica").await.unwrap();
        replica.promote().await.unwrap();
        master.cli(&["SET", "a", "2"]).await.unwrap();
        assert_eq!(replica.cli(&["GET", "a"]).await.unwrap(), "1");
        replica.cli(&["SET", "b", "2"]).await.unwrap();
        drop(master);
        replica.restart().await.unwrap();
        assert_eq!(replica.cli(&["MGET", "a", "b"]).await.unwrap(), "1\n2");
    }
}
