//! What the store's tests share: a lane that is migrated, led and synced, builders, and a look at the raw keys.
#![allow(dead_code, unreachable_pub, reason = "the tests of the simulated Redis use a part of it")]
#![allow(clippy::unwrap_used, reason = "tests stop at what is unexpected")]

pub mod inspect;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, U256};
use redis::aio::MultiplexedConnection;
use shared::ids::{BlockNumber, Epoch, FencingTerm, Hash32, JobId, Nonce, PaymentId, Wallet};
use shared::job::{Failure, FailureClass, Job};
use shared::job_state::Stage;
use shared::money::{CommissionRules, Usdc};
use shared::store::{
    Accepted, Acquisition, Applied, Brief, Departure, Durability, Exit, Fence, FinishedJob, Intake,
    JournalOutcome, Lane, NewTx, Noted, Payment, Ready, Refund, Refunded, Registered, Registration, Store,
    SweepCursor,
};
use shared::testing::TestRedis;
use shared::tx::{Attempt, Fees, Held, Inclusion, Intent, IntentKind};

pub const SIGNER: Address = Address::repeat_byte(0x51);
pub const MAX_OPEN: usize = 16;
/// The block of whatever [`World::finish`] calls done.
pub const DONE_AT: u64 = 120;
/// Longer than any test.
pub const TTL: Duration = Duration::from_secs(600);
/// After which a worker counts as silent.
pub const MIN_IDLE: Duration = Duration::from_secs(60);
/// How long a blocking read waits for what is not there.
pub const SOON: Duration = Duration::from_millis(5);

/// One lane, and everything a test needs to drive it.
pub struct World {
    pub store: Store,
    pub fence: Fence,
    pub url: String,
    prefix: String,
    raw: MultiplexedConnection,
    serial: AtomicU64,
}

/// A Redis of one's own with a lane in it that is ready for work.
pub async fn start() -> (TestRedis, World) {
    let redis = TestRedis::start().await;
    let world = World::open(redis.url(), "main").await;
    (redis, world)
}

impl World {
    /// Migrates, leads and syncs a lane, with its signer's nonces beginning at 0.
    pub async fn open(url: &str, lane: &str) -> Self {
        let world = Self::open_unsynced(url, lane).await;
        world.sync().await;
        let set = world.store.set_next_nonce(&world.fence, SIGNER, None, Nonce::new(0)).await;
        assert!(set.unwrap());
        world
    }

    pub async fn open_unsynced(url: &str, lane: &str) -> Self {
        let name: Lane = lane.parse().unwrap();
        let store = Store::connect(url, &name, Durability::None).await.unwrap();
        store.migrate().await.unwrap();
        let client = redis::Client::open(url).unwrap();
        let raw = client.get_multiplexed_async_connection().await.unwrap();
        let fence = take_lease(&store, "boot-a").await;
        let prefix = format!("ail:{{{lane}}}:");
        Self { store, fence, url: url.to_owned(), prefix, raw, serial: AtomicU64::new(1) }
    }

    /// The same lane and lease after its server was started again.
    pub async fn reopen(self) -> Self {
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let raw = client.get_multiplexed_async_connection().await.unwrap();
        let lane = self.prefix.trim_start_matches("ail:{").trim_end_matches("}:").parse().unwrap();
        let store = Store::connect(&self.url, &lane, Durability::None).await.unwrap();
        Self { raw, store, ..self }
    }

    pub async fn sync(&self) {
        let state = self.store.sync_state().await.unwrap();
        assert!(self.store.set_synced(&self.fence, &state.run_id, BlockNumber::new(100)).await.unwrap());
    }

    /// A number that this test did not use before.
    pub fn serial(&self) -> u64 {
        self.serial.fetch_add(1, Ordering::Relaxed)
    }

    /// A wallet that nobody used before.
    pub fn wallet(&self) -> Wallet {
        wallet(self.serial())
    }

    // --- intake

    /// Makes `child` a wallet that the chain shows as brought by `referrer`.
    pub async fn refer(&self, child: Wallet, referrer: Wallet) {
        let referral = (child, referrer, BlockNumber::new(50));
        assert!(self.store.registered(&self.fence, &[referral]).await.unwrap());
    }

    /// A child whose referrer is on-chain.
    pub async fn referred(&self) -> Wallet {
        let (child, referrer) = (self.wallet(), self.wallet());
        self.refer(child, referrer).await;
        child
    }

    /// A child whose registration is a job that is not done.
    pub async fn registering(&self) -> (Wallet, JobId) {
        let (child, referrer) = (self.wallet(), self.wallet());
        (child, self.register(child, referrer).await)
    }

    pub async fn register(&self, child: Wallet, referrer: Wallet) -> JobId {
        match self.store.register(&registration(child, Some(referrer))).await.unwrap() {
            Intake::Open(Registered::Accepted { job }) => job,
            other => panic!("{other:?}"),
        }
    }

    pub async fn accept(&self, payment: &Payment) -> Accepted {
        self.accept_held(payment, 0).await
    }

    pub async fn accept_held(&self, payment: &Payment, hold_ms: u64) -> Accepted {
        match self.store.accept_payment(payment, &rules(), hold_ms).await.unwrap() {
            Intake::Open(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    /// A fresh payment of 100 by `child`, accepted; its payout.
    pub async fn paid_by(&self, child: Wallet) -> (Payment, JobId) {
        let payment = payment(&format!("pay_{}", self.serial()), child, "100");
        let job = due(&self.accept(&payment).await);
        (payment, job)
    }

    /// A queued payout of a fresh payment of 100.
    pub async fn payout(&self) -> (Payment, JobId) {
        self.paid_by(self.referred().await).await
    }

    pub async fn payouts(&self, count: usize) -> Vec<JobId> {
        let mut jobs = Vec::new();
        for _ in 0..count {
            jobs.push(self.payout().await.1);
        }
        jobs
    }

    pub async fn refund(&self, refund: &Refund) -> Refunded {
        match self.store.refund(refund).await.unwrap() {
            Intake::Open(refunded) => refunded,
            other => panic!("{other:?}"),
        }
    }

    // --- the path of a job

    pub async fn claim(&self) -> Vec<Brief> {
        self.store.claims("worker").await.unwrap().next(256, SOON).await.unwrap()
    }

    /// Takes over everything that nobody touched for `min_idle`.
    pub async fn reclaim(&self, min_idle: Duration) -> Vec<Brief> {
        let (mut cursor, mut jobs) = ("0-0".to_owned(), Vec::new());
        loop {
            let found = self.store.reclaim("other", min_idle, &cursor).await.unwrap();
            jobs.extend(found.job);
            cursor = found.cursor;
            if cursor == "0-0" {
                return jobs;
            }
        }
    }

    /// The ten oldest that wait for a nonce; `None` when fenced.
    pub async fn read_ready(&self) -> Option<Vec<Brief>> {
        let mut ready = Ready::default();
        self.store.read_ready(&self.fence, &mut ready, 10).await.unwrap().then_some(ready.jobs)
    }

    /// Sweeps everything unfinished; what was rebuilt.
    pub async fn sweep(&self) -> Vec<(JobId, Stage)> {
        let mut rebuilt = Vec::new();
        for state in ["pending", "processing", "retrying"] {
            let mut cursor = Some(SweepCursor::default());
            while let Some(from) = cursor {
                let swept = self.store.sweep("sweeper", state, &from).await.unwrap();
                rebuilt.extend(swept.rebuilt);
                cursor = swept.next;
            }
        }
        rebuilt
    }

    /// Children whose payouts are to be moved, as the relayer whose turn it is sees them.
    pub async fn to_unblock(&self) -> Vec<Wallet> {
        self.store.chores("worker", MIN_IDLE).await.unwrap().expect("our turn").children
    }

    /// Takes away what the job's stage needs outside its hash, as a rollback or a hand in Redis might.
    pub async fn lose_place(&self, id: JobId) {
        let key = |rest: &str| self.key(rest);
        let job = self.hashes(&[&format!("job:{id}")]).await.remove(0);
        let field = |name: &str| job.get(name).cloned().unwrap_or_default();
        let command = match job["stage"].as_str() {
            "queued" | "retrying" | "checking" => {
                let mut ack = redis::cmd("XACK");
                let _: i64 = self.raw(ack.arg(key("jobs")).arg("relayers").arg(field("entry"))).await;
                redis::cmd("XDEL").arg(key("jobs")).arg(field("entry")).clone()
            }
            "ready" => redis::cmd("XDEL").arg(key("ready")).arg(field("entry")).clone(),
            "delayed" | "held" => redis::cmd("ZREM").arg(key("delayed")).arg(id.to_string()).clone(),
            "gated" => {
                let parked = key(&format!("parked:{}", field("gate")));
                redis::cmd("ZREM").arg(parked).arg(id.to_string()).clone()
            }
            "waiting" => {
                let payload: serde_json::Value = serde_json::from_str(&job["payload"]).unwrap();
                let waiting = key(&format!("waiting:{}", payload["child"].as_str().unwrap()));
                redis::cmd("SREM").arg(waiting).arg(id.to_string()).clone()
            }
            "confirming" if !job.contains_key("nonce") => {
                redis::cmd("ZREM").arg(key("settling")).arg(id.to_string()).clone()
            }
            "submitted" | "confirming" => {
                let open = key(&format!("open:{}", field("signer")));
                redis::cmd("ZREM").arg(open).arg(field("nonce")).clone()
            }
            // What is at its end needs nothing.
            _ => return,
        };
        let _: i64 = self.raw(&mut command.clone()).await;
    }

    /// Claims what is queued and returns the epoch of `job`, which is part of it.
    pub async fn claim_job(&self, job: JobId) -> Epoch {
        let claimed = self.claim().await;
        claimed.iter().find(|brief| brief.id == job).expect("the job was queued").epoch
    }

    /// A payout in somebody's hands.
    pub async fn checking(&self) -> (Payment, JobId, Epoch) {
        let (payment, job) = self.payout().await;
        let epoch = self.claim_job(job).await;
        (payment, job, epoch)
    }

    /// A checked payout.
    pub async fn ready(&self) -> (Payment, Held) {
        let (payment, job, epoch) = self.checking().await;
        assert_eq!(self.store.pass("worker", &[(job, epoch)]).await.unwrap(), [Ok(())]);
        (payment, Held { job, epoch })
    }

    /// A payout that the next nonce holds.
    pub async fn submitted(&self) -> (Payment, Held, Nonce) {
        let (payment, held) = self.ready().await;
        let nonce = self.sign(&[held]).await;
        (payment, held, nonce)
    }

    /// Journals a payout transaction over `jobs` at the next nonce.
    pub async fn sign(&self, jobs: &[Held]) -> Nonce {
        let nonce = self.store.next_nonce(SIGNER).await.unwrap().unwrap();
        let outcome = self.journal(nonce, &intent(jobs), &attempt(self.serial())).await;
        assert!(matches!(outcome, JournalOutcome::Journaled { .. }), "{outcome:?}");
        nonce
    }

    pub async fn journal(&self, nonce: Nonce, intent: &Intent, attempt: &Attempt) -> JournalOutcome {
        let tx = NewTx { signer: SIGNER, nonce, intent, attempt, max_open: MAX_OPEN };
        self.store.journal(&self.fence, &tx).await.unwrap()
    }

    pub async fn leave(&self, job: JobId, exit: Exit) -> Applied {
        let epoch = self.brief(job).await.epoch;
        self.leave_at(Departure { job, epoch, nonce: None, pack_max: None, exit }).await
    }

    pub async fn leave_at(&self, departure: Departure) -> Applied {
        self.store.leave("worker", Some(&self.fence), &[departure]).await.unwrap().remove(0)
    }

    pub async fn finish(&self, job: JobId) -> Applied {
        let epoch = self.brief(job).await.epoch;
        let finished =
            FinishedJob { job, epoch, block: BlockNumber::new(DONE_AT), event: Some((hash(7), 3)) };
        self.store.finish(&self.fence, &[finished]).await.unwrap().remove(0)
    }

    /// The leader sees the nonce's transaction there, or nowhere.
    pub async fn see(&self, nonce: Nonce, seen: Option<Inclusion>) {
        let said = self.store.include(&self.fence, SIGNER, nonce, seen).await.unwrap();
        assert!(matches!(said, Noted::At(_)), "{said:?}");
    }

    /// The leader saw this block as final, and all that was learned up to it in it.
    pub async fn is_final(&self, block: u64) {
        let block = BlockNumber::new(block);
        assert!(self.store.set_final(&self.fence, block, hash(9), Some(block)).await.unwrap());
    }

    // --- looking

    pub async fn job(&self, id: JobId) -> Job {
        self.store.job(id).await.unwrap().expect("the job exists")
    }

    pub async fn stage(&self, id: JobId) -> Stage {
        self.job(id).await.state.stage()
    }

    pub async fn brief(&self, id: JobId) -> Brief {
        self.store.briefs(&[id]).await.unwrap().remove(0).expect("the job exists")
    }

    /// The events of a job's timeline, oldest first.
    pub async fn events(&self, id: JobId) -> Vec<String> {
        self.store.timeline(id).await.unwrap().into_iter().map(|line| line.event).collect()
    }

    // --- raw keys

    pub fn key(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }

    /// Runs any command on this lane's Redis.
    pub async fn raw<T: redis::FromRedisValue>(&self, command: &mut redis::Cmd) -> T {
        command.query_async(&mut self.raw.clone()).await.unwrap()
    }

    /// Hashes of the lane, in one round trip.
    pub async fn hashes(&self, keys: &[&str]) -> Vec<HashMap<String, String>> {
        if keys.is_empty() {
            return Vec::new();
        }
        let mut pipe = redis::pipe();
        for key in keys {
            pipe.cmd("HGETALL").arg(self.key(key));
        }
        pipe.query_async(&mut self.raw.clone()).await.unwrap()
    }

    /// Every key with its value, in an order of our own (a hash's own order may change without a write): equal before
    /// and after means that nothing was written.
    pub async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let keys: Vec<String> = self.raw(redis::cmd("KEYS").arg("ail:*")).await;
        let mut out = BTreeMap::new();
        for key in keys {
            let kind: String = self.raw(redis::cmd("TYPE").arg(&key)).await;
            let mut read = match kind.as_str() {
                "string" => redis::cmd("GET"),
                "hash" => redis::cmd("HGETALL"),
                "list" => redis::cmd("LRANGE"),
                "set" => redis::cmd("SMEMBERS"),
                "zset" => redis::cmd("ZRANGE"),
                "stream" => redis::cmd("XRANGE"),
                other => panic!("{key} is a {other}"),
            };
            match kind.as_str() {
                "list" => read.arg(&key).arg(0).arg(-1),
                "zset" => read.arg(&key).arg(0).arg(-1).arg("WITHSCORES"),
                "stream" => read.arg(&key).arg("-").arg("+"),
                _ => read.arg(&key),
            };
            let mut lines = match self.raw(&mut read).await {
                redis::Value::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
                redis::Value::Array(items) if kind == "hash" => {
                    items.chunks(2).map(|pair| format!("{pair:?}")).collect()
                }
                redis::Value::Array(items) => items.iter().map(|item| format!("{item:?}")).collect(),
                other => vec![format!("{other:?}")],
            };
            if kind == "hash" || kind == "set" {
                lines.sort();
            }
            // That a zombie was refused is counted, and is no change of anything.
            lines.retain(|line| !line.contains("fenced_writes"));
            out.insert(key, lines);
        }
        out
    }
}

pub async fn take_lease(store: &Store, boot: &str) -> Fence {
    match store.acquire_lease(boot, TTL).await.unwrap() {
        Acquisition::Taken { fence, .. } => fence,
        other => panic!("{other:?}"),
    }
}

pub fn wallet(n: u64) -> Wallet {
    let mut bytes = [0xA0; 20];
    bytes[12..].copy_from_slice(&n.to_be_bytes());
    Wallet::try_from(Address::from(bytes)).unwrap()
}

pub fn hash(n: u64) -> Hash32 {
    Hash32::from(B256::from(U256::from(n)))
}

/// 10 % commission, of which a hybrid referrer gets a quarter in SGE at 12.5 per USDC.
pub fn rules() -> CommissionRules {
    CommissionRules {
        commission: "1000".parse().unwrap(),
        hybrid_sge: "2500".parse().unwrap(),
        sge_per_usdc: "12.5".parse().unwrap(),
    }
}

pub fn registration(child: Wallet, referrer: Option<Wallet>) -> Registration {
    Registration { child, referrer, actor: "merchant".into() }
}

pub fn payment(id: &str, wallet: Wallet, amount: &str) -> Payment {
    Payment {
        source: "payments".parse().unwrap(),
        event_id: format!("evt_{id}").parse().unwrap(),
        external_id: id.parse().unwrap(),
        wallet,
        amount: Usdc::parse_payment(amount).unwrap(),
        currency: "USD".into(),
    }
}

/// The `nth` refund of `payment`.
pub fn refund_of(payment: &Payment, nth: u32, amount: &str) -> Refund {
    Refund {
        source: payment.source.clone(),
        event_id: format!("evt_refund_{}_{nth}", payment.external_id).parse().unwrap(),
        external_id: payment.external_id.clone(),
        wallet: payment.wallet,
        amount: Usdc::parse_payment(amount).unwrap(),
        currency: payment.currency.clone(),
    }
}

pub fn id_of(payment: &Payment) -> PaymentId {
    PaymentId::derive(payment.source.as_str(), payment.external_id.as_str())
}

/// The job of a payment that was decided as due.
pub fn due(accepted: &Accepted) -> JobId {
    match accepted {
        Accepted::Decided { decision, job: Some(job), .. } if decision == "due" => *job,
        other => panic!("{other:?}"),
    }
}

pub fn decision(accepted: &Accepted) -> &str {
    match accepted {
        Accepted::Decided { decision, .. } => decision,
        Accepted::Conflict { .. } => "conflict",
    }
}

pub fn attempt(n: u64) -> Attempt {
    Attempt {
        hash: hash(1_000_000 + n),
        raw: Bytes::from(n.to_be_bytes().to_vec()),
        gas_limit: 150_000,
        fees: Fees { max_fee: 30_000_000_000, max_priority_fee: 1_000_000_000 },
        cancel: false,
        term: FencingTerm::new(1),
        head: BlockNumber::new(100),
        at: 0,
    }
}

pub fn cancelling(n: u64) -> Attempt {
    Attempt { cancel: true, ..attempt(n) }
}

pub fn intent(jobs: &[Held]) -> Intent {
    Intent {
        kind: IntentKind::Payout,
        to: Address::repeat_byte(0xC0),
        data: Bytes::from_static(&[1, 2, 3]),
        value: U256::ZERO,
        jobs: jobs.to_vec(),
    }
}

pub fn filler() -> Intent {
    Intent { kind: IntentKind::Filler, to: SIGNER, data: Bytes::new(), ..intent(&[]) }
}

pub fn failure(class: FailureClass) -> Failure {
    Failure::new(class, "as the test says")
}

pub fn fail() -> Exit {
    Exit::Fail { failure: failure(FailureClass::AboveCap), charge: false }
}

pub fn back_off() -> Exit {
    Exit::BackOff { delay: Duration::ZERO, charge: true, failure: Some(failure(FailureClass::UnclearRevert)) }
}

pub fn park(gate: &str) -> Exit {
    Exit::Park { gate: gate.into(), reason: failure(FailureClass::GateClosed) }
}
