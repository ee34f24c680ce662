//! A really listening server on a free port, with a Redis of its own that is migrated and, where a test does not say
//! otherwise, synced.

use std::time::{Duration, Instant};

use api::{App, Config, Listening};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::env::Env;
use shared::ids::BlockNumber;
use shared::store::{Acquisition, Durability, Fence, Store};
use shared::tasks::Tasks;
use shared::testing::TestRedis;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub const NEXT_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub const VIEWER: &str = "viewer-key";
pub const MERCHANT: &str = "merchant-key";
pub const OPERATOR: &str = "operator-key";
pub const MAX_BODY: usize = 4096;
/// Longer than any test.
const LEASE: Duration = Duration::from_secs(600);

pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn api_keys() -> String {
    format!(
        "look:viewer:{},shop:merchant:{},ops:operator:{}",
        sha256(VIEWER),
        sha256(MERCHANT),
        sha256(OPERATOR)
    )
}

/// The environment of a server that starts.
pub fn setting(name: &str, redis_url: &str) -> Option<String> {
    match name {
        "REDIS_URL" => Some(redis_url.to_owned()),
        "API_KEYS" => Some(api_keys()),
        "WEBHOOK_SECRETS" => Some(format!("payments={SECRET}|{NEXT_SECRET},shop-two={NEXT_SECRET}")),
        "COMMISSION_BPS" => Some("1000".into()),
        "HYBRID_SGE_BPS" => Some("2500".into()),
        "SGE_PER_USDC" => Some("12.5".into()),
        "MAX_BODY_BYTES" => Some(MAX_BODY.to_string()),
        "API_LISTEN" => Some("127.0.0.1:0".into()),
        _ => None,
    }
}

pub struct Server {
    pub redis: Option<TestRedis>,
    pub store: Store,
    pub fence: Fence,
    pub base: String,
    pub client: reqwest::Client,
    pub tasks: Tasks,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.shutdown().cancel();
    }
}

impl Server {
    pub async fn start() -> Self {
        let server = Self::unsynced().await;
        server.sync().await;
        server
    }

    pub async fn unsynced() -> Self {
        Self::with(|_| None).await
    }

    /// `change` goes before the usual settings.
    pub async fn with(change: impl Fn(&str) -> Option<String>) -> Self {
        let redis = TestRedis::start().await;
        let lane = "main".parse().unwrap();
        let store = Store::connect(redis.url(), &lane, Durability::Always).await.unwrap();
        store.migrate().await.unwrap();
        let Acquisition::Taken { fence, .. } = store.acquire_lease("test", LEASE).await.unwrap() else {
            panic!("the lease is free");
        };
        let env = Env::new(|name| change(name).or_else(|| setting(name, redis.url())));
        let config = Config::read(env).unwrap();
        let listening = Listening::on(config.listen).await.unwrap();
        let tasks = Tasks::new();
        let app = App::start(config, &tasks).await.unwrap();
        let base = format!("http://{}", listening.address);
        tasks.critical("server", listening.serve(app, tasks.shutdown()));
        Self { redis: Some(redis), store, fence, base, client: reqwest::Client::new(), tasks }
    }

    pub async fn sync(&self) {
        // The first command after a restart finds the old connection broken.
        let state = match self.store.sync_state().await {
            Ok(state) => state,
            Err(_) => self.store.sync_state().await.unwrap(),
        };
        let _ = self.store.ping().await;
        assert!(self.store.set_synced(&self.fence, &state.run_id, BlockNumber::new(1)).await.unwrap());
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path).bearer_auth(OPERATOR)
    }

    pub fn register(&self, body: &Value) -> RequestBuilder {
        self.request(Method::POST, "/register").bearer_auth(MERCHANT).json(body)
    }

    /// Registers `child` with `referrer`, and makes it on-chain.
    pub async fn refer(&self, child: &str, referrer: &str) {
        let answer = Answer::of(self.register(&json!({"wallet": child, "referrer": referrer}))).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        let referral = (child.parse().unwrap(), referrer.parse().unwrap(), BlockNumber::new(2));
        assert!(self.store.registered(&self.fence, &[referral]).await.unwrap());
    }

    /// A delivery signed by the `standardwebhooks` crate.
    pub fn deliver(&self, id: &str, body: &Value) -> RequestBuilder {
        self.deliver_signed("payments", id, now(), SECRET, body.to_string())
    }

    pub fn deliver_signed(
        &self,
        source: &str,
        id: &str,
        at: i64,
        secret: &str,
        body: impl Into<String>,
    ) -> RequestBuilder {
        let body = body.into();
        let signature = sign(secret, id, at, &body);
        self.request(Method::POST, &format!("/webhooks/{source}"))
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", signature)
            .body(body)
    }

    /// What the store counts under `intake:` and jobs: equal before and after means that nothing was taken in.
    pub async fn taken(&self) -> u64 {
        self.store.stats().await.unwrap().states.iter().map(|state| state.count).sum()
    }

    /// Runs a command on the test's Redis.
    pub fn redis_cli(&self, arguments: &[&str]) -> String {
        let url = self.redis.as_ref().expect("Redis runs").url();
        let output =
            std::process::Command::new("redis-cli").arg("-u").arg(url).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

pub fn sign(secret: &str, id: &str, at: i64, body: &str) -> String {
    standardwebhooks::Webhook::new(secret).unwrap().sign(id, at, body.as_bytes()).unwrap()
}

pub fn now() -> i64 {
    i64::try_from(shared::clock::Clock::start().unix_seconds()).unwrap()
}

/// A wallet in lower case, another one for each number.
pub fn wallet(n: u64) -> String {
    format!("0xa0{n:038x}")
}

pub fn payment(id: &str, wallet: &str, amount: &str) -> Value {
    json!({"type": "payment.succeeded",
        "data": {"payment_id": id, "wallet": wallet, "amount": amount, "currency": "USD"}})
}

pub fn refund(id: &str, wallet: &str, amount: &str) -> Value {
    let mut event = payment(id, wallet, amount);
    event["type"] = json!("payment.refunded");
    event
}

/// A response, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Self {
        Self::read(request.send().await.unwrap()).await
    }

    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { status: StatusCode::as_u16(&status), headers, body, text }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn job(&self) -> &str {
        self.body["job_id"].as_str().unwrap_or_else(|| panic!("no job: {self:?}"))
    }

    /// Asserts a problem document with this code, complete and consistent.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) -> &Self {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:#?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:ail:problem:{code}"));
        assert_eq!(self.body["instance"], self.header("x-request-id"));
        for text in ["title", "detail", "instance"] {
            assert!(self.body[text].as_str().is_some_and(|text| !text.is_empty()), "{self:#?}");
        }
        assert_eq!(status == 503, self.headers.contains_key("retry-after"), "{self:#?}");
        assert_eq!(status == 401, self.headers.contains_key("www-authenticate"), "{self:#?}");
        assert_eq!(status == 405, self.headers.contains_key("allow"), "{self:#?}");
        self
    }

    /// Asserts which field was at fault, and that its value is shown.
    #[track_caller]
    pub fn at(&self, field: &str, value: impl Into<Value>) -> &Self {
        assert_eq!((&self.body["field"], &self.body["value"]), (&json!(field), &value.into()), "{self:#?}");
        self
    }
}

/// Asks again until `done`; a server notices some things within a second.
pub async fn eventually<F: Future<Output = Answer>>(
    ask: impl Fn() -> F,
    done: impl Fn(&Answer) -> bool,
) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = ask().await;
        if done(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "still {answer:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
