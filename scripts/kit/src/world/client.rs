//! Speaks to the API as merchants, payment processors and operators do.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rand::Rng as _;
use reqwest::Method;
use serde_json::{Value, json};
use shared::clock::Clock;

use super::process::until;
use super::settings::{MERCHANT_KEY, OPERATOR_KEY, VIEWER_KEY, WEBHOOK_SECRET};

/// What the API answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// The JSON body; null where there was none, a string where it was not JSON.
    pub body: Value,
    pub retry_after: Option<String>,
}

impl Answer {
    /// A field of the body as text: `code`, `decision`, `job_id`, `state`.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.body[field].as_str()
    }

    /// The job that was enqueued; an error when there is none.
    pub fn job_id(&self) -> Result<String> {
        self.text("job_id")
            .map(str::to_owned)
            .with_context(|| format!("no job in {} {}", self.status, self.body))
    }

    /// An error unless the status is one of `statuses`.
    pub fn expect(self, statuses: &[u16]) -> Result<Self> {
        if !statuses.contains(&self.status) {
            bail!("expected {statuses:?}, got {} {}", self.status, self.body);
        }
        Ok(self)
    }
}

/// One webhook delivery: exactly these bytes, signed for this id and time.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: String,
    /// Unix seconds.
    pub timestamp: u64,
    pub secret: String,
    pub body: Vec<u8>,
}

impl Delivery {
    /// A delivery of now, rightly signed, with an id of its own.
    pub fn now(event: &Value) -> Self {
        Self {
            id: format!("msg_{:032x}", rand::rng().random::<u128>()),
            timestamp: Clock::start().unix_seconds(),
            secret: WEBHOOK_SECRET.to_owned(),
            body: event.to_string().into_bytes(),
        }
    }
}

/// The canonical event of a payment.
pub fn payment(kind: &str, payment_id: &str, wallet: &str, amount: &str) -> Value {
    json!({
        "type": format!("payment.{kind}"),
        "data": {"payment_id": payment_id, "wallet": wallet, "amount": amount, "currency": "USD"},
    })
}

/// A client of one API with the keys of all three roles.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub fn new(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { http, base: base.to_owned() })
    }

    /// Any request; `key` may be any text, or none.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// Any request with headers and bytes as given.
    pub async fn send_raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.body(body)).await
    }

    pub async fn register(&self, wallet: &str, referrer: Option<&str>) -> Result<Answer> {
        let mut body = json!({"wallet": wallet});
        if let Some(referrer) = referrer {
            body["referrer"] = json!(referrer);
        }
        self.send(Method::POST, "/register", Some(MERCHANT_KEY), Some(&body)).await
    }

    /// Delivers a webhook of the source `payments`, signed by the `standardwebhooks` crate.
    pub async fn deliver(&self, delivery: &Delivery) -> Result<Answer> {
        let timestamp = i64::try_from(delivery.timestamp)?;
        let signature = standardwebhooks::Webhook::new(&delivery.secret)?.sign(
            &delivery.id,
            timestamp,
            &delivery.body,
        )?;
        let headers = [
            ("content-type", "application/json"),
            ("webhook-id", &delivery.id),
            ("webhook-timestamp", &delivery.timestamp.to_string()),
            ("webhook-signature", &signature),
        ];
        self.send_raw(Method::POST, "/webhooks/payments", &headers, delivery.body.clone()).await
    }

    /// Delivers `payment.succeeded` now.
    pub async fn pay(&self, payment_id: &str, wallet: &str, amount: &str) -> Result<Answer> {
        self.deliver(&Delivery::now(&payment("succeeded", payment_id, wallet, amount))).await
    }

    /// Delivers `payment.refunded` now.
    pub async fn refund(&self, payment_id: &str, wallet: &str, amount: &str) -> Result<Answer> {
        self.deliver(&Delivery::now(&payment("refunded", payment_id, wallet, amount))).await
    }

    /// Reads as viewer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, Some(VIEWER_KEY), None).await
    }

    /// Sends as operator.
    pub async fn operate(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, Some(OPERATOR_KEY), Some(body)).await
    }

    pub async fn job(&self, id: &str) -> Result<Value> {
        Ok(self.get(&format!("/api/jobs/{id}")).await?.expect(&[200])?.body)
    }

    /// `query` is what follows the question mark.
    pub async fn jobs(&self, query: &str) -> Result<Answer> {
        self.get(&format!("/api/jobs?{query}")).await
    }

    pub async fn retry(&self, id: &str) -> Result<Answer> {
        self.operate(Method::POST, &format!("/api/jobs/retry/{id}"), &json!({})).await
    }

    pub async fn archive(&self, id: &str, reason: &str) -> Result<Answer> {
        self.operate(Method::DELETE, &format!("/api/jobs/{id}"), &json!({"reason": reason})).await
    }

    /// `mode` is `usdc` or `hybrid`.
    pub async fn set_mode(&self, wallet: &str, mode: &str) -> Result<Answer> {
        self.operate(Method::PUT, &format!("/api/affiliates/{wallet}"), &json!({"mode": mode})).await
    }

    /// `what` is `intake` or `signing`.
    pub async fn pause(&self, what: &str, reason: &str) -> Result<Answer> {
        self.operate(Method::POST, "/api/pause", &json!({"what": what, "reason": reason})).await
    }

    pub async fn resume(&self, what: &str, reason: &str) -> Result<Answer> {
        self.operate(Method::POST, "/api/resume", &json!({"what": what, "reason": reason})).await
    }

    /// Waits until `/readyz` is 200.
    pub async fn until_ready(&self, limit: Duration) -> Result<()> {
        until("/readyz of the API", limit, || async {
            let answer = self.send(Method::GET, "/readyz", None, None).await?;
            if answer.status != 200 {
                bail!("{} {}", answer.status, answer.body);
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the job is in one of `states` and gives its record. Ends early, as an error, when the job reaches
    /// another terminal state.
    pub async fn wait_for(&self, id: &str, states: &[&str], limit: Duration) -> Result<Value> {
        let what = format!("job {id} to be {states:?}");
        let reached = until(&what, limit, || async {
            let job = self.job(id).await?;
            let state = job["state"].as_str().unwrap_or_default();
            let terminal = ["done", "failed", "cancelled"].contains(&state);
            match states.contains(&state) {
                true => Ok(Some(Ok(job))),
                false if terminal => Ok(Some(Err(job))),
                false => bail!("it is {} ({})", state, job["stage"]),
            }
        });
        reached.await?.map_err(|job| anyhow::anyhow!("job {id} ended otherwise than {states:?}: {job:#}"))
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let text = response.text().await?;
    let body = match serde_json::from_str(&text) {
        Ok(body) => body,
        Err(_) if text.is_empty() => Value::Null,
        Err(_) => Value::String(text),
    };
    Ok(Answer { status, body, retry_after })
}
