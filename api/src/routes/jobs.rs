use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use shared::ids::{Hash32, JobId};
use shared::job::{FailureClass, Kind};
use shared::store::{Cancelled, JobCursor, JobFilter, Retried};

use super::Tag;
use super::payments::parse_payment;
use crate::app::App;
use crate::auth::{Acting, JobReader, Reader, Role};
use crate::body::{JsonBody, parse_wallet};
use crate::code::Code;
use crate::dto::{
    CancelAnswer, JobPageView, JobView, KindName, ReasonRequest, RetryAnswer, StateName, check_reason,
    classes,
};
use crate::error::Problem;

pub(crate) struct Jobs;

const LIMIT: u32 = 50;

#[derive(ApiResponse)]
enum RetryResponse {
    /// Queued again, with a fresh count of attempts; the chain is looked at first.
    #[oai(status = 202)]
    Queued(Json<RetryAnswer>),
}

#[OpenApi(tag = "Tag::Records")]
impl Jobs {
    /// List jobs
    ///
    /// Filters combine with "and". Pages may be short, even empty, while `next` is given: one call looks at a bounded
    /// number of jobs. A page begins where the one before ended, whatever left the list meanwhile; a job that changes moves
    /// to the front.
    #[oai(path = "/api/jobs", method = "get", operation_id = "list_jobs")]
    #[allow(clippy::too_many_arguments, reason = "one argument per query parameter")]
    async fn list(
        &self,
        app: Data<&Arc<App>>,
        _caller: Reader,
        /// Only jobs in this state.
        state: Query<Option<StateName>>,
        /// Only jobs of this kind.
        kind: Query<Option<KindName>>,
        /// Only jobs with this wallet as child or referrer.
        wallet: Query<Option<String>>,
        /// Only the payout of this payment: its on-chain id (0x and 64 hex digits), or `source:external_id`.
        payment: Query<Option<String>>,
        /// Only jobs that this transaction was to settle: the hash of any of its attempts (0x and 64 hex digits).
        tx: Query<Option<String>>,
        /// Only jobs whose last failure is of this class.
        error_class: Query<Option<String>>,
        /// Only jobs last changed at or after this time, in unix milliseconds.
        changed_from: Query<Option<u64>>,
        /// Only jobs last changed at or before this time, in unix milliseconds.
        changed_to: Query<Option<u64>>,
        /// `next` of the page before, with the same filters.
        cursor: Query<Option<String>>,
        /// Jobs per page, 1 to 100; 50 where it is not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u32>>,
    ) -> Result<Json<JobPageView>, Problem> {
        let filter = JobFilter {
            state: state.0.map(|state| state.name().to_owned()),
            kind: kind.0.map(KindName::kind),
            wallet: wallet.0.map(|text| parse_wallet(&text, "wallet")).transpose()?,
            payment: payment.0.map(|text| parse_payment(&text, "payment")).transpose()?,
            tx: tx.0.map(|text| parse_hash(&text, "tx")).transpose()?,
            error_class: error_class.0.as_deref().map(parse_class).transpose()?,
            changed_from: changed_from.0,
            changed_to: changed_to.0,
        };
        let cursor = cursor.0.as_deref().map(parse_cursor).transpose()?;
        let limit = usize::try_from(limit.0.unwrap_or(LIMIT)).unwrap_or(1);
        let page = app.store.jobs(&filter, cursor.as_ref(), limit).await?;
        Ok(Json(JobPageView {
            jobs: page.jobs.iter().map(JobView::from).collect(),
            next: page.next.map(|next| next.to_string()),
        }))
    }

    /// Read a job
    ///
    /// With its timeline and, once it is signed, the transaction with every attempt. A merchant's key reads
    /// registrations only.
    #[oai(path = "/api/jobs/:id", method = "get", operation_id = "read_job")]
    async fn read(
        &self,
        app: Data<&Arc<App>>,
        caller: JobReader,
        /// The job's id, a ULID.
        id: Path<String>,
    ) -> Result<Json<JobView>, Problem> {
        let job_id = parse_job(&id)?;
        let job = app.store.job(job_id).await?;
        let visible = |kind: Kind| caller.0.role != Role::Merchant || kind == Kind::Register;
        let job =
            job.filter(|job| visible(job.payload.kind())).ok_or_else(|| Problem::not_found("job", &id))?;
        let tx = match (job.last_signer, job.last_nonce) {
            (Some(signer), Some(nonce)) => app.store.tx(signer, nonce).await?,
            _ => None,
        };
        let timeline = app.store.timeline(job_id).await?;
        Ok(Json(JobView::from(&job).with_details(tx.as_ref(), timeline)))
    }

    /// Retry a failed job
    ///
    /// The body, with a reason, may be left out.
    #[oai(path = "/api/jobs/retry/:id", method = "post", operation_id = "retry_job", tag = "Tag::Operations")]
    async fn retry(
        &self,
        app: Data<&Arc<App>>,
        caller: Acting,
        /// The job's id, a ULID.
        id: Path<String>,
        body: JsonBody<ReasonRequest>,
    ) -> Result<RetryResponse, Problem> {
        let job = parse_job(&id)?;
        let reason = body.0.0.unwrap_or_else(|| "none given".to_owned());
        match app.store.retry(job, &caller.0.name, &reason).await? {
            Retried::Queued => Ok(RetryResponse::Queued(Json(RetryAnswer {
                job_id: job.to_string(),
                status: "retrying".into(),
            }))),
            Retried::Unknown => Err(Problem::not_found("job", &id)),
            Retried::NotFailed { stage } if stage == "superseded" => Err(Problem::new(
                Code::NotRetryable,
                "a later registration of this wallet took this job's place; look at that one",
            )),
            Retried::NotFailed { stage } => Err(Problem::new(
                Code::NotRetryable,
                format!("the job is {stage}, and only failed jobs are retried"),
            )),
            Retried::Refunded => Err(Problem::new(
                Code::PaymentRefunded,
                "the payment was refunded in full, so nothing is due; delete the job",
            )),
        }
        .map_err(|problem| problem.job(Some(job)))
    }

    /// Cancel a job
    ///
    /// Possible until it is signed. The payment's id stays spent. The reason is required, as the query parameter `reason`
    /// or in a JSON body `{"reason": "..."}`; not both.
    #[oai(path = "/api/jobs/:id", method = "delete", operation_id = "cancel_job", tag = "Tag::Operations")]
    async fn cancel(
        &self,
        app: Data<&Arc<App>>,
        caller: Acting,
        /// The job's id, a ULID.
        id: Path<String>,
        /// 1 to 500 characters, for the audit log and the job's timeline.
        reason: Query<Option<String>>,
        body: JsonBody<ReasonRequest>,
    ) -> Result<Json<CancelAnswer>, Problem> {
        let job = parse_job(&id)?;
        let reason = match (reason.0, body.0.0) {
            (Some(reason), None) => check_reason(reason, "reason")?,
            (None, Some(reason)) => reason,
            (Some(_), Some(_)) => {
                let detail = "give the reason once: as the query parameter or in the body";
                return Err(Problem::new(Code::InvalidValue, detail).at("reason"));
            }
            (None, None) => {
                let detail = "`reason` is required, as the query parameter or in the body";
                return Err(Problem::new(Code::MissingField, detail).at("reason"));
            }
        };
        match app.store.cancel(job, &caller.0.name, &reason).await? {
            Cancelled::Cancelled { stage_before } => {
                Ok(Json(CancelAnswer { job_id: job.to_string(), status: "cancelled".into(), stage_before }))
            }
            Cancelled::Unknown => Err(Problem::not_found("job", &id)),
            Cancelled::Terminal { stage } => {
                Err(Problem::new(Code::JobTerminal, format!("the job is {stage} already")).job(Some(job)))
            }
            Cancelled::Journaled { stage } => Err(Problem::new(
                Code::JobJournaled,
                format!("the job is {stage}: a signed transaction exists, and only the chain decides now"),
            )
            .job(Some(job))),
            Cancelled::NotSynced => Err(Problem::not_synced()),
        }
    }
}

fn parse_job(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|error| Problem::id(&error, "id", text))
}

fn parse_hash(text: &str, field: &str) -> Result<Hash32, Problem> {
    text.parse().map_err(|error| Problem::id(&error, field, text))
}

fn parse_class(text: &str) -> Result<FailureClass, Problem> {
    FailureClass::from_name(text).ok_or_else(|| {
        Problem::new(Code::InvalidValue, format!("the classes are {}", classes()))
            .at("error_class")
            .value(text)
    })
}

fn parse_cursor(text: &str) -> Result<JobCursor, Problem> {
    text.parse().map_err(|error| Problem::id(&error, "cursor", text))
}
