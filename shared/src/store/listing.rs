//! Lists of jobs for people: filtered, paged, bounded in work per call, never on the hot path.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use super::codec;
use super::error::StoreError;
use super::script::{self, Args};
use super::{SLICE, Store};
use crate::ids::{Hash32, IdError, JobId, PaymentId, Wallet};
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

/// Where a page begins: behind one job of one index, at the score that it had there. Not a number of jobs to skip: those
/// that leave the index between two pages, because somebody retries them, would make the next page skip as many others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobCursor {
    /// Which of the indexes that the filter asks for.
    index: usize,
    score: u64,
    job: JobId,
}

/// Scores are milliseconds, which Redis keeps exactly up to here.
const MAX_SCORE: u64 = 1 << 53;

impl FromStr for JobCursor {
    type Err = IdError;
    /// `<index>.<score>.<job>`.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let number = |part: Option<&str>| {
            part.filter(|part| part.bytes().all(|b| b.is_ascii_digit()))
                .and_then(|part| part.parse::<u64>().ok())
        };
        let mut parts = text.splitn(3, '.');
        let index = number(parts.next()).and_then(|index| usize::try_from(index).ok());
        let index = index.filter(|index| *index < Stage::STATES.len());
        let score = number(parts.next()).filter(|score| *score <= MAX_SCORE);
        let job = parts.next().and_then(|job| job.parse().ok());
        let place = index.zip(score).zip(job);
        place.map(|((index, score), job)| Self { index, score, job }).ok_or_else(|| IdError::Malformed {
            what: "cursor",
            value: text.chars().take(80).collect(),
            expected: "`next` of the page before",
        })
    }
}

impl fmt::Display for JobCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.index, self.score, self.job)
    }
}

/// One page, newest change first.
#[derive(Debug)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// Where the next page begins; `None` on the last page. A page may be short, or empty, and still have a next one:
    /// a call looks at a bounded number of jobs.
    pub next: Option<JobCursor>,
}

/// The most jobs one call looks at.
pub(super) const SCAN: usize = 4096;

/// A job in an index, at its score.
pub(super) type Place = (JobId, u64);

impl Store {
    /// One page of jobs. `cursor` comes from the page before, with the same filter.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        cursor: Option<&JobCursor>,
        limit: usize,
    ) -> Result<JobPage, StoreError> {
        if let Some(hash) = filter.tx {
            let ids = self.jobs_of_tx(hash).await?;
            return self.jobs_in(&ids, filter, cursor.map(|cursor| cursor.job), limit).await;
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
        let mut at = cursor.map_or(0, |cursor| cursor.index);
        let mut behind = cursor.map(|cursor| (cursor.job, cursor.score));
        while let Some((index, by_change)) = indexes.get(at) {
            let times = if *by_change { (filter.changed_from, filter.changed_to) } else { (None, None) };
            let places = self.index_slice(index, times, behind).await?;
            let ids: Vec<JobId> = places.iter().map(|(job, _)| *job).collect();
            for (found, (job, score)) in self.load(&ids).await?.into_iter().zip(&places) {
                if let Some(found) = found.filter(|found| matches(filter, found)) {
                    jobs.push(found);
                    if jobs.len() == limit {
                        let next = JobCursor { index: at, score: *score, job: *job };
                        return Ok(JobPage { jobs, next: Some(next) });
                    }
                }
            }
            looked_at += places.len();
            behind = places.last().copied();
            match behind.filter(|_| places.len() == SLICE) {
                None => (at, behind) = (at + 1, None),
                Some((job, score)) if looked_at >= SCAN => {
                    return Ok(JobPage { jobs, next: Some(JobCursor { index: at, score, job }) });
                }
                Some(_) => {}
            }
        }
        Ok(JobPage { jobs, next: None })
    }

    /// One page of the jobs among `ids`, which are as many as a transaction holds, and always the same.
    async fn jobs_in(
        &self,
        ids: &[JobId],
        filter: &JobFilter,
        behind: Option<JobId>,
        limit: usize,
    ) -> Result<JobPage, StoreError> {
        let seen = behind.and_then(|job| ids.iter().position(|id| *id == job)).map_or(0, |at| at + 1);
        let ids = &ids[seen..];
        let (mut page, mut last) = (JobPage { jobs: Vec::new(), next: None }, None);
        for (id, job) in ids.iter().zip(self.load(ids).await?) {
            let Some(job) = job.filter(|job| matches(filter, job)) else { continue };
            if page.jobs.len() == limit {
                page.next = last.map(|job| JobCursor { index: 0, score: 0, job });
                break;
            }
            page.jobs.push(job);
            last = Some(*id);
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

    /// A slice of an index behind one place in it, or from its newest on, within the times given, both inclusive.
    pub(super) async fn index_slice(
        &self,
        index: &str,
        (from, to): (Option<u64>, Option<u64>),
        behind: Option<Place>,
    ) -> Result<Vec<Place>, StoreError> {
        let bound = |time: Option<u64>, or: &str| time.map_or(or.to_owned(), |time| time.to_string());
        // A place above the latest time is above everything that is asked for.
        let behind = behind.filter(|(_, score)| to.is_none_or(|to| *score <= to));
        let args = match behind {
            Some((job, score)) => Args::new().arg(index).arg(score).arg(job),
            None => Args::new().arg(index).arg(bound(to, "+inf")).arg(""),
        };
        let args = args.arg(bound(from, "-inf")).arg(SLICE);
        let found: Vec<(String, u64)> = self.look(&script::INDEX_SLICE, args).await?;
        found.iter().map(|(id, score)| Ok((codec::parse(index, "member", id, "a job id")?, *score))).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written_and_nothing_else_is_one() {
        let text = "5.1767225600000.01KDVB6S00ABCDEFGHJKMNPQRS";
        assert_eq!(text.parse::<JobCursor>().unwrap().to_string(), text);
        for text in [
            "",
            "12",
            "a.b",
            "0.50",
            "6.1.01KDVB6S00ABCDEFGHJKMNPQRS",
            "+1.1.01KDVB6S00ABCDEFGHJKMNPQRS",
            ".1.01KDVB6S00ABCDEFGHJKMNPQRS",
            "0.-1.01KDVB6S00ABCDEFGHJKMNPQRS",
            "0.9007199254740993.01KDVB6S00ABCDEFGHJKMNPQRS",
            "0.1.01KDVB6S00ABCDEFGHJKMNPQRS.1",
            "0.1.",
        ] {
            assert!(text.parse::<JobCursor>().is_err(), "{text}");
        }
    }
}
