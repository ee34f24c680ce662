//! What befalls the Redis server and its data.

use std::path::PathBuf;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::Injector;
use crate::chaos::kinds::Kind;
use crate::chaos::plan::Planned;
use crate::world::Redis;

/// What ends it.
pub(super) enum Undo {
    Start,
    Continue,
    /// Pauses end by themselves.
    Nothing,
    /// The limit of memory that it had.
    GiveMemory(String),
    /// Power comes back, and so many bytes are not there.
    CutAndStart(u64),
    /// The copy is what is left.
    Restore(PathBuf),
    /// The replica is what is left.
    FailOver(Box<Redis>),
}

impl Injector<'_> {
    pub(super) async fn at_redis(&mut self, fault: &Planned) -> Result<(String, Undo)> {
        let redis = &mut self.world.redis;
        match fault.kind {
            Kind::RedisRestart => {
                redis.kill();
                Ok(("killed".into(), Undo::Start))
            }
            Kind::RedisHang => {
                redis.signal(Signal::SIGSTOP)?;
                Ok(("stopped".into(), Undo::Continue))
            }
            Kind::RedisPause => {
                let what = if fault.pick(1, 2) == 0 { "ALL" } else { "WRITE" };
                redis.cli(&["CLIENT", "PAUSE", &fault.lasts.to_string(), what]).await?;
                Ok((format!("CLIENT PAUSE {} {what}", fault.lasts), Undo::Nothing))
            }
            Kind::RedisFull => {
                // Full at once, or in the middle of what comes next.
                let left = fault.pick(1, 3) * 30_000;
                let had = redis.cli(&["CONFIG", "GET", "maxmemory"]).await?.replace("maxmemory\n", "");
                let limit = redis.used_memory().await? + left;
                redis.cli(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).await?;
                Ok((format!("{left} bytes are left"), Undo::GiveMemory(had)))
            }
            Kind::RedisTail => {
                redis.kill();
                let bytes = 1 + fault.pick(1, 4_000);
                Ok((format!("killed; {bytes} bytes will be missing"), Undo::CutAndStart(bytes)))
            }
            Kind::RedisOld => {
                let copy = redis.folder().with_file_name(format!("redis-copy-{}", fault.at));
                redis.copy_data(&copy)?;
                Ok(("its data was copied".into(), Undo::Restore(copy)))
            }
            _ => {
                let replica = redis.replica(&format!("redis-replica-{}", fault.at)).await?;
                replica.promote().await?;
                Ok(("a replica hears nothing more".into(), Undo::FailOver(Box::new(replica))))
            }
        }
    }

    pub(super) async fn heal_redis(&mut self, undo: Undo) -> Result<()> {
        let redis = &mut self.world.redis;
        match undo {
            Undo::Nothing => Ok(()),
            Undo::Start => redis.restart().await,
            Undo::Continue => redis.signal(Signal::SIGCONT),
            Undo::GiveMemory(had) => redis.cli(&["CONFIG", "SET", "maxmemory", &had]).await.map(drop),
            Undo::CutAndStart(bytes) => {
                redis.cut_tail(bytes)?;
                redis.restart().await
            }
            Undo::Restore(copy) => {
                redis.kill();
                redis.put_data(&copy)?;
                redis.restart().await
            }
            Undo::FailOver(replica) => {
                self.world.fail_over(*replica);
                Ok(())
            }
        }
    }
}
