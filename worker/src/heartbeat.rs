//! Tells the fleet that this relayer lives and what it does, for people who watch. Nothing is decided on it: when Redis
//! does not take a heartbeat, the relayer works on and only looks dead.

use std::time::Duration;

use shared::store::{HEARTBEAT_EVERY, Heartbeat};

use crate::context::Context;

/// How long a relayer that stops may still lead before it takes itself off the list.
const RESIGNING: Duration = Duration::from_secs(10);

/// Tells at the start, every [`HEARTBEAT_EVERY`], and at once when this relayer begins or ends to lead. At shutdown,
/// once it leads no more, takes it off the list.
pub async fn run(ctx: Context) {
    let mut leading = ctx.leading.subscribe();
    let host = host(&ctx);
    while !ctx.shutdown.is_cancelled() {
        let term = *leading.borrow_and_update();
        let beat = Heartbeat {
            worker: &ctx.worker,
            host,
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
            boot: &ctx.boot,
            term,
            up: Duration::from_millis(ctx.clock.monotonic().millis()),
            claims: u64::try_from(ctx.metrics.claims.get()).unwrap_or(0),
            claimed: ctx.metrics.jobs_claimed.get(),
            head: ctx.heads.borrow().map(|head| head.number),
        };
        if let Err(error) = ctx.store.heartbeat(&beat).await {
            ctx.metrics.redis_errors.inc();
            tracing::warn!(%error, "the heartbeat was not taken");
        }
        tokio::select! {
            biased;
            () = ctx.shutdown.cancelled() => {}
            _ = leading.changed() => {}
            () = tokio::time::sleep(HEARTBEAT_EVERY) => {}
        }
    }
    // Past the bound the process is about to be killed, and its record goes by itself.
    let _ = tokio::time::timeout(RESIGNING, leading.wait_for(Option::is_none)).await;
    if let Err(error) = ctx.store.leave_fleet(&ctx.worker).await {
        tracing::warn!(%error, "could not leave the fleet's list; the record expires");
    }
}

/// The machine's part of this relayer's name, `<host>-<pid>-<boot>`.
fn host(ctx: &Context) -> &str {
    let rest = format!("-{}-{}", std::process::id(), ctx.boot);
    ctx.worker.strip_suffix(&rest).unwrap_or(&ctx.worker)
}
