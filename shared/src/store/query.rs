//! Views for people: lists, affiliates, payments and counts. Bounded in work per call, never on the hot path.

use std::collections::{BTreeMap, HashMap};

use super::codec::{self, Record};
use super::error::StoreError;
use super::{SLICE, Store};
use crate::ids::{BlockNumber, ExternalId, Hash32, JobId, PaymentId, Source, Wallet};
use crate::job::{FailureClass, Job, Kind, Payload, PayoutMode};
use crate::job_state::Stage;
use crate::money::{Commission, Usdc};

/// What a list of jobs is narrowed to. Fields combine with "and".
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub state: Option<String>,
    pub kind: Option<Kind>,
    /// Child or referrer.
    pub wallet: Option<Wallet>,
    pub payment: Option<PaymentId>,
    pub error_class: Option<FailureClass>,
    /// Unix milliseconds of the last change, both inclusive.
    pub changed_from: Option<u64>,
    pub changed_to: Option<u64>,
}

/// One page, newest change first.
#[derive(Debug)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// Where the next page begins; `None` on the last page. A page may be short, or empty, and still have a next one:
    /// a call looks at a bounded number of jobs.
    pub next: Option<String>,
}

/// How many jobs are in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateCount {
    pub state: &'static str,
    pub count: u64,
    /// Unix milliseconds of the oldest last change.
    pub oldest: Option<u64>,
}

/// Counts over the lane.
#[derive(Debug, Clone)]
pub struct Stats {
    pub states: Vec<StateCount>,
    /// Jobs in the stream, including those in workers' hands.
    pub queued: u64,
    /// Unix milliseconds at which the oldest undelivered entry was queued.
    pub oldest_queued: Option<u64>,
    pub ready: u64,
    pub delayed: u64,
    /// Everything ever counted: `event:<name>`, `done:<kind>`, `failure:<class>`, `attempts`, `intake:<decision>`…
    pub totals: BTreeMap<String, u64>,
    /// The Redis clock in unix milliseconds.
    pub now: u64,
}

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

/// The most jobs one call looks at.
const SCAN: usize = 4096;
const RECENT: usize = 100;

impl Store {
    /// One page of jobs. `cursor` comes from the page before.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<JobPage, StoreError> {
        let (mut offset_state, mut offset) = match cursor.and_then(|cursor| cursor.split_once('.')) {
            Some((state, offset)) => (state.parse().unwrap_or(0), offset.parse().unwrap_or(0)),
            None => (0, 0),
        };
        if let Some(payment) = filter.payment {
            let job = self.payment(payment).await?.and_then(|payment| payment.job);
            let job = match job {
                Some(id) => self.job(id).await?,
                None => None,
            };
            return Ok(JobPage {
                jobs: job.into_iter().filter(|job| matches(filter, job)).collect(),
                next: None,
            });
        }
        let indexes = self.indexes(filter);
        let (mut jobs, mut looked_at) = (Vec::new(), 0);
        while let Some((index, by_change)) = indexes.get(offset_state) {
            let ids = self.index_slice(index, *by_change, filter, offset).await?;
            for (seen, job) in self.load(&ids).await?.into_iter().enumerate() {
                if let Some(job) = job.filter(|job| matches(filter, job)) {
                    jobs.push(job);
                    if jobs.len() == limit {
                        return Ok(JobPage {
                            jobs,
                            next: Some(format!("{offset_state}.{}", offset + seen + 1)),
                        });
                    }
                }
            }
            looked_at += ids.len();
            offset += ids.len();
            if ids.len() < SLICE {
                (offset_state, offset) = (offset_state + 1, 0);
            } else if looked_at >= SCAN {
                return Ok(JobPage { jobs, next: Some(format!("{offset_state}.{offset}")) });
            }
        }
        Ok(JobPage { jobs, next: None })
    }

    /// The narrowest indexes that hold every match, and whether their scores are times of last change.
    fn indexes(&self, filter: &JobFilter) -> Vec<(String, bool)> {
        if let Some(wallet) = filter.wallet {
            return vec![(self.keys.jobs_of_wallet(wallet), false)];
        }
        let states =
            Stage::STATES.iter().filter(|state| filter.state.as_deref().is_none_or(|only| only == **state));
        states.map(|state| (self.keys.by_state(state), true)).collect()
    }

    async fn index_slice(
        &self,
        index: &str,
        by_change: bool,
        filter: &JobFilter,
        offset: usize,
    ) -> Result<Vec<JobId>, StoreError> {
        let bound =
            |time: Option<u64>, or: &str| time.filter(|_| by_change).map_or(or.to_owned(), |t| t.to_string());
        let mut command = redis::cmd("ZREVRANGEBYSCORE");
        command.arg(index).arg(bound(filter.changed_to, "+inf")).arg(bound(filter.changed_from, "-inf"));
        command.arg("LIMIT").arg(offset).arg(SLICE);
        let ids: Vec<String> = self.read("list jobs", &command).await?;
        ids.iter().map(|id| codec::parse(index, "member", id, "a job id")).collect()
    }

    async fn load(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        for id in ids {
            pipe.cmd("HGETALL").arg(self.keys.job(*id));
        }
        let rows: Vec<HashMap<String, String>> = self.pipe("list jobs", &pipe).await?;
        ids.iter().zip(rows).map(|(id, fields)| codec::job(*id, &self.keys.job(*id), &fields)).collect()
    }

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
        let paid = match record.maybe("paid_block", "a block number")? {
            Some(block) => Some((block, record.maybe("paid_hash", "a hash")?)),
            None => None,
        };
        Ok(Some(PaymentView {
            id,
            source: record.maybe("source", "a source")?,
            external_id: record.maybe("external_id", "an external id")?,
            wallet: record.maybe("wallet", "a wallet")?,
            amount: record.maybe("amount", "base units")?,
            decision: text("decision"),
            job: record.maybe("job", "a job id")?,
            referrer: record.maybe("referrer", "a wallet")?,
            commission: commission("usdc", "sge")?,
            refunded: record.maybe("refunded", "base units")?.unwrap_or_default(),
            refund_outcome: text("refund_outcome"),
            owed: commission("owed_usdc", "owed_sge")?,
            paid,
            created_at: record.maybe("created_at", "unix milliseconds")?,
        }))
    }

    /// What `referrer` earned.
    pub async fn affiliate(&self, referrer: Wallet) -> Result<AffiliateView, StoreError> {
        let key = self.keys.affiliate(referrer);
        let mode: Option<String> = self.read("affiliate", redis::cmd("HGET").arg(&key).arg("mode")).await?;
        let mut view = AffiliateView {
            mode: match mode {
                None => PayoutMode::default(),
                Some(mode) => PayoutMode::from_name(&mode).ok_or_else(|| StoreError::Corrupt {
                    key: key.clone(),
                    field: "mode",
                    value: mode,
                    expected: "a payout mode",
                })?,
            },
            ..Default::default()
        };
        let index = self.keys.jobs_of_wallet(referrer);
        let mut offset = 0;
        loop {
            let ids = self.index_slice(&index, false, &JobFilter::default(), offset).await?;
            let mut payments = Vec::new();
            for job in self.load(&ids).await?.into_iter().flatten() {
                payments.extend(payment_of(&job, referrer));
                view.count(referrer, job);
            }
            view.owed = plus(view.owed, self.owed(&payments).await?);
            offset += ids.len();
            if ids.len() < SLICE {
                break;
            }
            if offset >= SCAN {
                view.truncated = true;
                break;
            }
        }
        Ok(view)
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

    pub async fn stats(&self) -> Result<Stats, StoreError> {
        let mut pipe = redis::pipe();
        pipe.cmd("TIME").cmd("XLEN").arg(self.keys.jobs()).cmd("XLEN").arg(self.keys.ready());
        pipe.cmd("ZCARD").arg(self.keys.delayed()).cmd("HGETALL").arg(self.keys.stats());
        let (time, queued, ready, delayed, totals): ((u64, u64), u64, u64, u64, BTreeMap<String, u64>) =
            self.pipe("stats", &pipe).await?;
        let mut pipe = redis::pipe();
        for state in Stage::STATES {
            let key = self.keys.by_state(state);
            pipe.cmd("ZCARD").arg(&key).cmd("ZRANGE").arg(&key).arg(0).arg(0).arg("WITHSCORES");
        }
        let rows: Vec<redis::Value> = self.pipe("stats", &pipe).await?;
        let states = Stage::STATES.iter().zip(rows.chunks(2)).map(|(state, row)| {
            let oldest: Vec<String> = redis::from_redis_value_ref(&row[1]).unwrap_or_default();
            let oldest = oldest.get(1).and_then(|score| score.parse().ok());
            StateCount { state, count: redis::from_redis_value_ref(&row[0]).unwrap_or_default(), oldest }
        });
        Ok(Stats {
            states: states.collect(),
            queued,
            oldest_queued: self.oldest_queued().await?,
            ready,
            delayed,
            totals,
            now: time.0 * 1000 + time.1 / 1000,
        })
    }

    async fn oldest_queued(&self) -> Result<Option<u64>, StoreError> {
        let groups: redis::streams::StreamInfoGroupsReply =
            self.read("stats", redis::cmd("XINFO").arg("GROUPS").arg(self.keys.jobs())).await?;
        let Some(group) = groups.groups.first() else { return Ok(None) };
        let mut command = redis::cmd("XRANGE");
        command
            .arg(self.keys.jobs())
            .arg(format!("({}", group.last_delivered_id))
            .arg("+")
            .arg("COUNT")
            .arg(1);
        let next: redis::streams::StreamRangeReply = self.read("stats", &command).await?;
        Ok(next.ids.first().and_then(|entry| entry.id.split_once('-')?.0.parse().ok()))
    }
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

/// The payment that `job` pays a commission on, if it pays `referrer`.
fn payment_of(job: &Job, referrer: Wallet) -> Option<PaymentId> {
    match &job.payload {
        Payload::Payout(payout) if payout.referrer == referrer => Some(payout.payment_id),
        _ => None,
    }
}

fn matches(filter: &JobFilter, job: &Job) -> bool {
    let wallets = match &job.payload {
        Payload::Register(register) => [register.child, register.referrer],
        Payload::Payout(payout) => [payout.child, payout.referrer],
    };
    filter.state.as_deref().is_none_or(|state| job.state.stage().state() == state)
        && filter.kind.is_none_or(|kind| job.payload.kind() == kind)
        && filter.wallet.is_none_or(|wallet| wallets.contains(&wallet))
        && filter.payment.is_none_or(
            |payment| matches!(&job.payload, Payload::Payout(payout) if payout.payment_id == payment),
        )
        && filter.error_class.is_none_or(|class| job.last_failure.as_ref().is_some_and(|f| f.class == class))
        && filter.changed_from.is_none_or(|from| job.updated_at >= from)
        && filter.changed_to.is_none_or(|to| job.updated_at <= to)
}
