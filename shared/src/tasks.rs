//! The tasks of a process. Each is tracked, so that shutdown waits for it; a critical task that ends before shutdown, or
//! panics, stops the process, because a relayer without its signer or an API without its listener only looks alive.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Half of this machine's cores, at least one: the threads of a program whose work all goes through one thread of Redis. Where
/// they share the machine, more of them only take the core from Redis.
pub fn half_of_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

/// Spawns and drains. Clones share the same tasks.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: CancellationToken,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process should stop.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Runs `task` until it ends. Ending before shutdown, or panicking, stops the process.
    #[allow(clippy::disallowed_methods, reason = "this is the one home of spawned tasks")]
    pub fn critical(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        let guarded = self.tracker.track_future(async move {
            let end = tokio::spawn(task).await;
            if let Err(panic) = &end {
                tracing::error!(task.name = name, error = %panic, "a critical task panicked; stopping");
                failed.cancel();
            } else if !shutdown.is_cancelled() {
                tracing::error!(task.name = name, "a critical task ended early; stopping");
                failed.cancel();
            }
            if failed.is_cancelled() {
                shutdown.cancel();
            }
        });
        tokio::spawn(guarded);
    }

    /// Runs `task` until it ends; its end concerns nobody else.
    #[allow(clippy::disallowed_methods, reason = "this is the one home of spawned tasks")]
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(task);
    }

    /// Waits for the end: a signal from outside, or a critical task's failure.
    pub async fn wait_for_shutdown(&self) {
        self.shutdown.cancelled().await;
    }

    /// Asks every task to stop and waits for them up to `deadline`. `false` when some are still running then, or when a
    /// critical task had failed.
    pub async fn drain(&self, deadline: Duration) -> bool {
        self.shutdown.cancel();
        self.tracker.close();
        let drained = tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok();
        if !drained {
            tracing::error!(
                task.left = self.tracker.len(),
                "tasks still run after the deadline; leaving them"
            );
        }
        drained && !self.failed.is_cancelled()
    }
}

/// Cancels the shutdown token on SIGTERM or SIGINT.
pub async fn watch_signals(shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals");
        return shutdown.cancelled().await;
    };
    tokio::select! {
        _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "shutting down"),
        _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "shutting down"),
        () = shutdown.cancelled() => {}
    }
    shutdown.cancel();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panicking_critical_task_stops_the_process() {
        let tasks = Tasks::new();
        tasks.critical("doomed", async { panic!("as the test wants") });
        tasks.wait_for_shutdown().await;
        assert!(!tasks.drain(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn a_critical_task_may_end_once_shutdown_began() {
        let tasks = Tasks::new();
        let shutdown = tasks.shutdown();
        tasks.critical("patient", async move { shutdown.cancelled().await });
        assert!(tasks.drain(Duration::from_secs(5)).await);
    }
}
