//! Consumed nonces that are explained: the verdicts on their jobs are stored, then they are closed.

use shared::ids::Nonce;
use shared::store::Brief;

use super::confirm::Outcome;
use super::leader::Leader;
use super::round_error::{RoundError, broke_off};
use super::watch::unfenced;
use crate::gates;

impl Leader {
    /// Stores the verdicts on the jobs of consumed nonces, then closes these. Where a script fails at them together, each is
    /// closed alone: a record that nobody can read holds up its own nonce and no other.
    pub(super) async fn close(
        &mut self,
        explained: Vec<(Nonce, Vec<Brief>, Outcome)>,
    ) -> Result<(), RoundError> {
        match self.close_together(&explained).await {
            Err(RoundError::Store(error)) if error.is_of_the_script() => {}
            closed => return closed,
        }
        for (nonce, jobs, outcome) in explained {
            match self.close_together(&[(nonce, jobs, outcome)]).await {
                Err(RoundError::Store(error)) if error.is_of_the_script() => {
                    broke_off("close", nonce, &error);
                }
                closed => closed?,
            }
        }
        Ok(())
    }

    async fn close_together(&mut self, explained: &[(Nonce, Vec<Brief>, Outcome)]) -> Result<(), RoundError> {
        if explained.is_empty() {
            return Ok(());
        }
        for (_, _, outcome) in explained {
            for text in &outcome.disagreements {
                self.ctx.metrics.disagreements.inc();
                tracing::error!(gate = gates::RECONCILE, detail = text, "chain and Redis disagree");
                self.ctx.store.close_gate(gates::RECONCILE, text, &self.ctx.worker).await?;
            }
            for (gate, reason) in &outcome.close {
                self.close_gate(*gate, reason).await?;
            }
        }
        let jobs: Vec<Brief> = explained.iter().flat_map(|(_, jobs, _)| jobs.clone()).collect();
        let finished: Vec<_> =
            explained.iter().flat_map(|(_, _, outcome)| outcome.finished.clone()).collect();
        self.finish(&jobs, &finished).await?;
        crash_point!("after_finish");
        let departures: Vec<_> =
            explained.iter().flat_map(|(_, _, outcome)| outcome.departures.clone()).collect();
        if !departures.is_empty() {
            self.ctx.metrics.count_departures(&departures);
            let applied = self.ctx.store.leave(&self.ctx.worker, Some(&self.fence), &departures).await?;
            unfenced(&applied)?;
            crash_point!("after_departures");
        }
        // At once, as the receipts were asked for.
        let (store, fence, signer) = (&self.ctx.store, &self.fence, self.ctx.signer());
        let closes = explained.iter().map(|(nonce, _, outcome)| {
            store.close_nonce(fence, signer, *nonce, outcome.consumed_by, outcome.hash)
        });
        let closed = futures::future::join_all(closes).await;
        crash_point!("after_close_nonce");
        for ((nonce, _, outcome), closed) in explained.iter().zip(closed) {
            match closed {
                Ok(true) => self.closed(*nonce, outcome),
                Ok(false) => return Err(RoundError::Outdated(format!("nonce {nonce} could not be closed"))),
                Err(error) if error.is_of_the_script() => broke_off("close", *nonce, &error),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Forgets a nonce that is closed.
    fn closed(&mut self, nonce: Nonce, outcome: &Outcome) {
        if outcome.consumed_by == "stranger" {
            self.ctx.metrics.strangers.inc();
            tracing::error!(nonce = nonce.get(), "a transaction that is not ours consumed this nonce");
        }
        tracing::info!(
            nonce = nonce.get(),
            by = outcome.consumed_by,
            done = outcome.finished.len(),
            left = outcome.departures.len(),
            "nonce closed"
        );
        self.open.remove(&nonce);
        self.holes.closed(nonce);
        self.ctx.metrics.open_nonces.set(self.open.len() as i64);
    }
}
