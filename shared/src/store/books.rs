//! What is recorded of payments and registrations, to be held against the chain. Only reads.

use super::codec;
use super::error::StoreError;
use super::{SLICE, Store};
use crate::ids::{JobId, PaymentId, Wallet};
use crate::job_state::Stage;
use crate::money::Commission;

/// What is recorded of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPayment {
    pub decision: String,
    pub job: Option<JobId>,
    /// Where its job stands; `done` or `cancelled` also after retention removed it. `None` without a job.
    pub stage: Option<Stage>,
    pub referrer: Option<Wallet>,
    pub commission: Commission,
}

/// What is recorded of a wallet's registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedReferral {
    pub status: String,
    pub referrer: Option<Wallet>,
}

type Fields = [Option<String>; 6];

impl Store {
    /// Per payment id, in order: what is recorded of it, if anything is.
    pub async fn recorded_payments(
        &self,
        payments: &[PaymentId],
    ) -> Result<Vec<Option<RecordedPayment>>, StoreError> {
        let mut out = Vec::with_capacity(payments.len());
        for slice in payments.chunks(SLICE) {
            let mut pipe = redis::pipe();
            for payment in slice {
                let key = self.keys.payment(*payment);
                pipe.cmd("HMGET").arg(key).arg(&["decision", "job", "archived", "referrer", "usdc", "sge"]);
            }
            let rows: Vec<Fields> = self.pipe("payments", &pipe).await?;
            let jobs: Vec<&str> = rows.iter().filter_map(|row| row[1].as_deref()).collect();
            let mut stages = self.stages(&jobs).await?.into_iter();
            for (payment, row) in slice.iter().zip(&rows) {
                let stage = row[1].as_ref().and_then(|_| stages.next().flatten());
                out.push(recorded(&self.keys.payment(*payment), row, stage)?);
            }
        }
        Ok(out)
    }

    async fn stages(&self, jobs: &[&str]) -> Result<Vec<Option<String>>, StoreError> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for job in jobs {
            let id: JobId = codec::parse("payment", "job", job, "a job id")?;
            pipe.cmd("HGET").arg(self.keys.job(id)).arg("stage");
        }
        self.pipe("stages", &pipe).await
    }

    /// Per child, in order: what is recorded of its registration, if anything is.
    pub async fn recorded_referrals(
        &self,
        children: &[Wallet],
    ) -> Result<Vec<Option<RecordedReferral>>, StoreError> {
        let mut out = Vec::with_capacity(children.len());
        for slice in children.chunks(SLICE) {
            let mut pipe = redis::pipe();
            for child in slice {
                pipe.cmd("HMGET").arg(self.keys.referral(*child)).arg(&["status", "referrer"]);
            }
            let rows: Vec<[Option<String>; 2]> = self.pipe("referrals", &pipe).await?;
            for (child, [status, referrer]) in slice.iter().zip(rows) {
                let Some(status) = status else {
                    out.push(None);
                    continue;
                };
                let key = self.keys.referral(*child);
                let referrer = codec::optional(&key, "referrer", &referrer.unwrap_or_default(), "a wallet")?;
                out.push(Some(RecordedReferral { status, referrer }));
            }
        }
        Ok(out)
    }
}

fn recorded(
    key: &str,
    [decision, job, archived, referrer, usdc, sge]: &Fields,
    stage: Option<String>,
) -> Result<Option<RecordedPayment>, StoreError> {
    let Some(decision) = decision.clone() else { return Ok(None) };
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let stage = stage.or_else(|| archived.clone());
    Ok(Some(RecordedPayment {
        decision,
        job: codec::optional(key, "job", &text(job), "a job id")?,
        stage: stage.as_deref().and_then(Stage::from_name),
        referrer: codec::optional(key, "referrer", &text(referrer), "a wallet")?,
        commission: Commission {
            usdc: codec::optional(key, "usdc", &text(usdc), "base units")?.unwrap_or_default(),
            sge: codec::optional(key, "sge", &text(sge), "base units")?.unwrap_or_default(),
        },
    }))
}
