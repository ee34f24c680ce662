//! What is known of wallets and payments: who brought whom, what a payment came to, what an affiliate earned and owes.

use std::collections::{BTreeMap, HashMap};

use super::codec::{self, Record};
use super::error::StoreError;
use super::listing::SCAN;
use super::{SLICE, Store};
use crate::ids::{BlockNumber, ExternalId, Hash32, JobId, PaymentId, Source, Wallet};
use crate::job::{Job, Payload, PayoutMode};
use crate::job_state::Stage;
use crate::money::{Commission, Usdc};

/// Who brought a wallet.
#[derive(Debug, Clone)]
pub struct ReferralView {
    pub status: String,
    pub referrer: Option<Wallet>,
    pub job: Option<JobId>,
}

/// A payment as recorded.
#[derive(Debug, Clone)]
pub struct PaymentView {
    pub id: PaymentId,
    pub source: Option<Source>,
    pub external_id: Option<ExternalId>,
    pub wallet: Option<Wallet>,
    pub amount: Option<Usdc>,
    pub decision: Option<String>,
    pub job: Option<JobId>,
    pub referrer: Option<Wallet>,
    pub commission: Commission,
    pub refunded: Usdc,
    pub refund_outcome: Option<String>,
    /// What the affiliate owes back.
    pub owed: Commission,
    pub paid: Option<(BlockNumber, Option<Hash32>)>,
    pub created_at: Option<u64>,
}

/// What an affiliate earned: sums over all payouts with this wallet as the referrer.
#[derive(Debug, Clone, Default)]
pub struct AffiliateView {
    pub mode: PayoutMode,
    pub paid: Commission,
    /// Accepted and not terminal.
    pub pending: Commission,
    pub failed: Commission,
    pub owed: Commission,
    pub payouts: BTreeMap<&'static str, u64>,
    /// Children brought, by registrations accepted.
    pub children: u64,
    /// The newest payouts, at most 100.
    pub recent: Vec<Job>,
    /// `true` when the wallet has more jobs than a call looks at, so that sums are lower bounds.
    pub truncated: bool,
}

const RECENT: usize = 100;

impl Store {
    pub async fn referral(&self, child: Wallet) -> Result<Option<ReferralView>, StoreError> {
        let key = self.keys.referral(child);
        let fields: HashMap<String, String> = self.read("referral", redis::cmd("HGETALL").arg(&key)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let record = Record { key: &key, fields: &fields };
        Ok(Some(ReferralView {
            status: record.text("status").to_owned(),
            referrer: record.maybe("referrer", "a wallet")?,
            job: record.maybe("job", "a job id")?,
        }))
    }

    pub async fn payment(&self, id: PaymentId) -> Result<Option<PaymentView>, StoreError> {
        let key = self.keys.payment(id);
        let fields: HashMap<String, String> = self.read("payment", redis::cmd("HGETALL").arg(&key)).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let record = Record { key: &key, fields: &fields };
        let text = |field| Some(record.text(field).to_owned()).filter(|text| !text.is_empty());
        let commission = |usdc, sge| -> Result<Commission, StoreError> {
            Ok(Commission {
                usdc: record.maybe(usdc, "base units")?.unwrap_or_default(),
                sge: record.maybe(sge, "base units")?.unwrap_or_default(),
            })
        };
        let job: Option<JobId> = record.maybe("job", "a job id")?;
        let paid = match (record.maybe("paid_block", "a block number")?, job) {
            (Some(block), _) => Some((block, record.maybe("paid_hash", "a hash")?)),
            (None, Some(job)) => self.paid_by(job).await?,
            (None, None) => None,
        };
        Ok(Some(PaymentView {
            id,
            source: record.maybe("source", "a source")?,
            external_id: record.maybe("external_id", "an external id")?,
            wallet: record.maybe("wallet", "a wallet")?,
            amount: record.maybe("amount", "base units")?,
            decision: text("decision"),
            job,
            referrer: record.maybe("referrer", "a wallet")?,
            commission: commission("usdc", "sge")?,
            refunded: record.maybe("refunded", "base units")?.unwrap_or_default(),
            refund_outcome: text("refund_outcome"),
            owed: commission("owed_usdc", "owed_sge")?,
            paid,
            created_at: record.maybe("created_at", "unix milliseconds")?,
        }))
    }

    /// Where a job that is done paid. The payment says so itself once the job has left Redis.
    async fn paid_by(&self, job: JobId) -> Result<Option<(BlockNumber, Option<Hash32>)>, StoreError> {
        let key = self.keys.job(job);
        let mut command = redis::cmd("HMGET");
        command.arg(&key).arg("stage").arg("block").arg("hash");
        let (stage, block, hash): (Option<String>, Option<String>, Option<String>) =
            self.read("payment", &command).await?;
        if stage.as_deref() != Some(Stage::Done.name()) {
            return Ok(None);
        }
        let block = codec::optional(&key, "block", &block.unwrap_or_default(), "a block number")?;
        let hash = codec::optional(&key, "hash", &hash.unwrap_or_default(), "a hash")?;
        Ok(block.map(|block| (block, hash)))
    }

    /// What `referrer` earned.
    pub async fn affiliate(&self, referrer: Wallet) -> Result<AffiliateView, StoreError> {
        let key = self.keys.affiliate(referrer);
        let fields: HashMap<String, String> = self.read("affiliate", redis::cmd("HGETALL").arg(&key)).await?;
        let mut view = recorded(&Record { key: &key, fields: &fields })?;
        (view.owed, view.truncated) = self.owed_by(referrer).await?;
        let index = self.keys.jobs_of_wallet(referrer);
        let (mut behind, mut looked_at) = (None, 0);
        loop {
            let places = self.index_slice(&index, (None, None), behind).await?;
            let ids: Vec<JobId> = places.iter().map(|(job, _)| *job).collect();
            for job in self.load(&ids).await?.into_iter().flatten() {
                view.count(referrer, job);
            }
            looked_at += places.len();
            behind = places.last().copied();
            if places.len() < SLICE {
                break;
            }
            if looked_at >= SCAN {
                view.truncated = true;
                break;
            }
        }
        Ok(view)
    }

    /// What `referrer` owes back, and whether that is a lower bound: a call looks at a bounded number of payments.
    async fn owed_by(&self, referrer: Wallet) -> Result<(Commission, bool), StoreError> {
        let key = self.keys.owing(referrer);
        let payments: Vec<String> = self.read("owed", redis::cmd("SRANDMEMBER").arg(&key).arg(SCAN)).await?;
        let payments = payments.iter().map(|id| codec::parse(&key, "payment", id, "a payment id"));
        let payments: Vec<PaymentId> = payments.collect::<Result<_, _>>()?;
        let mut sum = Commission::default();
        for slice in payments.chunks(SLICE) {
            sum = plus(sum, self.owed(slice).await?);
        }
        Ok((sum, payments.len() == SCAN))
    }

    /// What is owed on these payments together.
    async fn owed(&self, payments: &[PaymentId]) -> Result<Commission, StoreError> {
        let mut pipe = redis::pipe();
        for payment in payments {
            pipe.cmd("HMGET").arg(self.keys.payment(*payment)).arg(&["owed_usdc", "owed_sge"]);
        }
        if payments.is_empty() {
            return Ok(Commission::default());
        }
        let rows: Vec<[Option<String>; 2]> = self.pipe("owed", &pipe).await?;
        let mut sum = Commission::default();
        for (payment, [usdc, sge]) in payments.iter().zip(rows) {
            let key = self.keys.payment(*payment);
            let text = |field: Option<String>| field.unwrap_or_default();
            let owed = Commission {
                usdc: codec::optional(&key, "owed_usdc", &text(usdc), "base units")?.unwrap_or_default(),
                sge: codec::optional(&key, "owed_sge", &text(sge), "base units")?.unwrap_or_default(),
            };
            sum = plus(sum, owed);
        }
        Ok(sum)
    }
}

/// The payout mode, and what jobs came to that were removed since.
fn recorded(record: &Record<'_>) -> Result<AffiliateView, StoreError> {
    let mut view = AffiliateView {
        mode: match record.text("mode") {
            "" => PayoutMode::default(),
            mode => PayoutMode::from_name(mode).ok_or_else(|| StoreError::Corrupt {
                key: record.key.to_owned(),
                field: "mode",
                value: mode.to_owned(),
                expected: "a payout mode",
            })?,
        },
        paid: Commission {
            usdc: record.maybe("past_usdc", "base units")?.unwrap_or_default(),
            sge: record.maybe("past_sge", "base units")?.unwrap_or_default(),
        },
        children: record.maybe("past_children", "a number")?.unwrap_or_default(),
        ..Default::default()
    };
    for (state, field) in [("done", "past_done"), ("cancelled", "past_cancelled")] {
        if let Some(count) = record.maybe(field, "a number")? {
            view.payouts.insert(state, count);
        }
    }
    Ok(view)
}

impl AffiliateView {
    fn count(&mut self, referrer: Wallet, job: Job) {
        match &job.payload {
            Payload::Register(register) if register.referrer == referrer => self.children += 1,
            Payload::Payout(payout) if payout.referrer == referrer => {
                let stage = job.state.stage();
                *self.payouts.entry(stage.state()).or_default() += 1;
                let sum = match stage {
                    Stage::Done => &mut self.paid,
                    Stage::Failed => &mut self.failed,
                    Stage::Cancelled => return,
                    _ => &mut self.pending,
                };
                *sum = plus(*sum, payout.commission);
                if self.recent.len() < RECENT {
                    self.recent.push(job);
                }
            }
            _ => {}
        }
    }
}

fn plus(a: Commission, b: Commission) -> Commission {
    Commission {
        usdc: a.usdc.checked_add(b.usdc).unwrap_or(a.usdc),
        sge: a.sge.checked_add(b.sge).unwrap_or(a.sge),
    }
}
