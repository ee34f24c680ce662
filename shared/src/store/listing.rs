//! Lists of jobs for people: filtered, paged, bounded in work per call, never on the hot path.

use std::collections::HashMap;

use super::codec;
use super::error::StoreError;
use super::{SLICE, Store};
use crate::ids::{Hash32, JobId, PaymentId, Wallet};
use crate::job::{FailureClass, Job, Kind, Payload};
use crate::job_state::Stage;

/// What a list of jobs is narrowed to. Fields combine with "and".
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub state: Option<String>,
    pub kind: Option<Kind>,
    /// Child or referrer.
    pub wallet: Option<Wallet>,
    pub payment: Option<PaymentId>,
    /// Jobs that the transaction with this hash, any attempt's, was to settle.
    pub tx: Option<Hash32>,
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

/// The most jobs one call looks at.
pub(super) const SCAN: usize = 4096;

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
        if let Some(hash) = filter.tx {
            return self.jobs_in(&self.jobs_of_tx(hash).await?, filter, offset, limit).await;
        }
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

    /// One page of the jobs among `ids`, which are as many as a transaction holds.
    async fn jobs_in(
        &self,
        ids: &[JobId],
        filter: &JobFilter,
        offset: usize,
        limit: usize,
    ) -> Result<JobPage, StoreError> {
        let mut page = JobPage { jobs: Vec::new(), next: None };
        for (seen, job) in self.load(ids).await?.into_iter().enumerate().skip(offset) {
            let Some(job) = job.filter(|job| matches(filter, job)) else { continue };
            if page.jobs.len() == limit {
                page.next = Some(format!("0.{seen}"));
                break;
            }
            page.jobs.push(job);
        }
        Ok(page)
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

    pub(super) async fn index_slice(
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

    pub(super) async fn load(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
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
