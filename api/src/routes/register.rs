use std::sync::Arc;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, OpenApi};
use shared::store::{self, Intake, Registered};

use super::Tag;
use crate::app::App;
use crate::auth::Registrar;
use crate::body::JsonBody;
use crate::code::Code;
use crate::dto::{RegisterAnswer, RegisterRequest};
use crate::error::Problem;

pub(crate) struct Registration;

#[derive(ApiResponse)]
enum RegisterResponse {
    /// A job writes, or wrote, the referral on-chain. The same registration again gets the same answer.
    #[oai(status = 202)]
    Accepted(Json<RegisterAnswer>),
    /// The wallet is known; there is nothing to write on-chain.
    #[oai(status = 200)]
    Recorded(Json<RegisterAnswer>),
}

#[OpenApi(tag = "Tag::Intake")]
impl Registration {
    /// Register a wallet
    ///
    /// Records who brought the wallet, and queues the job that writes it on-chain. A wallet registered without referrer
    /// may be given one later, once.
    #[oai(path = "/register", method = "post", operation_id = "register")]
    async fn register(
        &self,
        app: Data<&Arc<App>>,
        caller: Registrar,
        body: JsonBody<RegisterRequest>,
    ) -> Result<RegisterResponse, Problem> {
        app.memory.check()?;
        let RegisterRequest { wallet, referrer } = body.0;
        let registration = store::Registration { child: wallet, referrer, actor: caller.0.name.to_string() };
        let answer = |job: Option<String>, on_record: Option<String>| {
            let status = if job.is_some() { "accepted" } else { "recorded" };
            Json(RegisterAnswer {
                job_id: job,
                status: status.to_owned(),
                wallet: wallet.to_string(),
                referrer: on_record,
            })
        };
        let asked = referrer.map(|referrer| referrer.to_string());
        let outcome = match app.store.register(&registration).await? {
            Intake::Open(outcome) => outcome,
            Intake::NotSynced => return Err(Problem::not_synced()),
            Intake::Paused => return Err(Problem::intake_paused()),
        };
        match outcome {
            Registered::Accepted { job } => {
                Ok(RegisterResponse::Accepted(answer(Some(job.to_string()), asked)))
            }
            // Asked without a referrer, or known from the chain alone: nothing is to be written.
            Registered::Known { job, referrer: on_record } => match job.filter(|_| asked.is_some()) {
                Some(job) => Ok(RegisterResponse::Accepted(answer(Some(job.to_string()), asked))),
                None => Ok(RegisterResponse::Recorded(answer(None, Some(on_record.to_string())))),
            },
            Registered::WithoutReferrer => Ok(RegisterResponse::Recorded(answer(None, None))),
            Registered::Conflict { recorded } => Err(Problem::new(
                Code::ReferrerConflict,
                format!("{wallet} was brought by {recorded}, and that never changes; nothing was written"),
            )
            .at("referrer")
            .value(asked.unwrap_or_default())),
            Registered::Cycle => Err(Problem::new(
                Code::ReferralCycle,
                format!(
                    "{} was itself brought by {wallet}; nothing was written",
                    asked.clone().unwrap_or_default()
                ),
            )
            .at("referrer")
            .value(asked.unwrap_or_default())),
        }
    }
}
