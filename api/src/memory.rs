//! Whether Redis still has room. Where its memory is full, writes fail wherever they are, also those that bring payments to
//! their end. So intake stops before: what is left belongs to the work that was accepted.

use std::time::Duration;

use shared::store::{Memory, Store};
use shared::tasks::Tasks;
use tokio::sync::watch;

use crate::code::Code;
use crate::error::Problem;

const EVERY: Duration = Duration::from_millis(500);
/// Percentage points below the watermark at which intake opens again, so that it does not flap.
const SLACK: u64 = 2;

/// What was seen last.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) memory: Memory,
    /// Intake is closed.
    pub(crate) full: bool,
}

/// Looks twice a second; everybody reads what was seen last.
pub(crate) struct MemoryWatch {
    seen: watch::Receiver<Seen>,
    watermark: u64,
}

impl MemoryWatch {
    /// Looks once, and then on until shutdown. `watermark`: percent of `maxmemory` from which intake is closed.
    pub(crate) async fn start(store: Store, watermark: u64, tasks: &Tasks) -> Self {
        let mut last = Seen::default();
        look(&store, watermark, &mut last).await;
        let (sender, seen) = watch::channel(last);
        let shutdown = tasks.shutdown();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = shutdown.cancelled() => return,
                }
                look(&store, watermark, &mut last).await;
                sender.send_replace(last);
            }
        });
        Self { seen, watermark }
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Why nothing new is taken, if it is not.
    pub(crate) fn refusal(&self) -> Option<String> {
        let Seen { memory, full } = self.seen();
        full.then(|| {
            format!(
                "Redis uses {} of {} bytes, more than the {} % up to which anything new is taken: raise maxmemory, or lower \
                 RETAIN_JOBS or RETAIN_DAYS",
                memory.used, memory.max, self.watermark
            )
        })
    }

    /// Lets intake through, or refuses it.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        match self.seen().full {
            false => Ok(()),
            true => Err(Problem::new(
                Code::StoreFull,
                "the memory of Redis is nearly full, and what is left is kept for payments that were accepted. Nothing was \
                 written: send the same request again later",
            )),
        }
    }
}

/// A Redis that does not answer is another matter: what was seen before stands.
async fn look(store: &Store, watermark: u64, last: &mut Seen) {
    match store.memory().await {
        Ok(memory) => {
            let full = is_full(memory, watermark, last.full);
            if full != last.full {
                tracing::warn!(full, memory.used, memory.max, watermark, "intake and the memory of Redis");
            }
            *last = Seen { memory, full };
        }
        Err(error) => tracing::debug!(%error, "how much memory Redis uses is not known"),
    }
}

/// Whether intake is closed at this use, given whether it was before. Without a limit memory is never full.
fn is_full(memory: Memory, watermark: u64, before: bool) -> bool {
    let from = if before { watermark.saturating_sub(SLACK) } else { watermark };
    memory.max > 0 && u128::from(memory.used) * 100 > u128::from(memory.max) * u128::from(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intake_closes_above_the_watermark_and_opens_again_well_below_it() {
        let at = |used| Memory { used, max: 1_000 };
        assert!(!is_full(at(900), 90, false));
        assert!(is_full(at(901), 90, false));
        assert!(is_full(at(881), 90, true));
        assert!(!is_full(at(880), 90, true));
    }

    #[test]
    fn without_a_limit_it_is_never_full() {
        assert!(!is_full(Memory { used: u64::MAX, max: 0 }, 90, false));
    }
}
