//! After any sequence of operations, every index says what the hashes say.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use shared::ids::{BlockNumber, JobId, Nonce, Wallet};
use shared::job::FailureClass;
use shared::job_state::{JobEvent, Stage};
use shared::store::{Accepted, Departure, Exit, FinishedJob, INTAKE, Payment, SIGNING, SettledJob};
use shared::tx::{Held, Inclusion};

use crate::support;
use crate::support::inspect::assert_consistent;
use crate::support::{SIGNER, World};

const STEPS: usize = 2500;
const CHECK_EVERY: usize = 500;

/// What the walk knows of; it picks from here at random, right or wrong.
struct Walk<'a> {
    world: &'a World,
    rng: StdRng,
    children: Vec<Wallet>,
    payments: Vec<Payment>,
    jobs: Vec<JobId>,
    nonces: Vec<Nonce>,
}

/// Walks again as a failed run did, nearly: what depends on Redis's clock may fall otherwise.
const SEED: Option<u64> = None;

#[tokio::test]
async fn all_indexes_agree_with_the_hashes_after_a_random_walk() {
    let seed = SEED.unwrap_or_else(rand::random);
    eprintln!("the seed of this walk: {seed}");
    let (_redis, world) = support::start().await;
    let children = (0..8).map(|_| world.wallet()).collect();
    let rng = StdRng::seed_from_u64(seed);
    let mut walk = Walk { world: &world, rng, children, payments: vec![], jobs: vec![], nonces: vec![] };
    for step in 1..=STEPS {
        walk.step().await;
        if step % CHECK_EVERY == 0 {
            assert_consistent(&world).await;
        }
    }
    // A walk that goes in circles proves nothing. The events left out are too rare to count on.
    let seen = world.store.stats().await.unwrap().totals;
    let rare = [JobEvent::Await, JobEvent::CancelUnpaid, JobEvent::Requeue];
    for event in JobEvent::ALL.iter().filter(|event| !rare.contains(event)) {
        assert!(seen.contains_key(&format!("event:{}", event.name())), "{}: {seen:?}", event.name());
    }
}

impl Walk<'_> {
    fn pick<T: Clone>(&mut self, from: impl Fn(&Self) -> &Vec<T>) -> Option<T> {
        let mut rng = self.rng.clone();
        let picked = from(self).choose(&mut rng).cloned();
        self.rng = rng;
        picked
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..10 => self.pay().await,
            10..14 => self.register().await,
            14..18 => self.refund().await,
            18..34 => self.claim().await,
            34..46 => self.verdict().await,
            46..56 => self.sign().await,
            56..70 => self.include().await,
            70..74 => self.conclude().await,
            74..76 => self.take_back().await,
            76..86 => self.movers().await,
            _ => self.operate().await,
        }
    }

    async fn pay(&mut self) {
        let Some(child) = self.pick(|walk| &walk.children) else { return };
        let again = self.rng.random_bool(0.2).then(|| self.payments.choose(&mut self.rng).cloned()).flatten();
        let id = format!("pay_{}", self.world.serial());
        let payment = again.unwrap_or_else(|| support::payment(&id, child, "40"));
        let hold = u64::from(self.rng.random_bool(0.15));
        let accepted = self.world.store.accept_payment(&payment, &support::rules(), hold).await.unwrap();
        if let shared::store::Intake::Open(Accepted::Decided { job: Some(job), repeated: false, .. }) =
            accepted
        {
            self.jobs.push(job);
        }
        self.payments.push(payment);
    }

    async fn register(&mut self) {
        let Some(child) = self.pick(|walk| &walk.children) else { return };
        let referrer = support::wallet(9_000 + self.rng.random_range(0..3));
        if self.rng.random_bool(0.3) {
            self.world.refer(child, referrer).await;
            return;
        }
        use shared::store::{Intake, Registered};
        let asked = support::registration(child, Some(referrer));
        if let Intake::Open(Registered::Accepted { job }) = self.world.store.register(&asked).await.unwrap() {
            self.jobs.push(job);
        }
    }

    async fn refund(&mut self) {
        let Some(payment) = self.pick(|walk| &walk.payments) else { return };
        let amount = ["40", "10", "25"].choose(&mut self.rng).unwrap();
        let nth = self.rng.random_range(0..4);
        self.world.store.refund(&support::refund_of(&payment, nth, amount)).await.unwrap();
    }

    async fn claim(&mut self) {
        if self.rng.random_bool(0.2) {
            self.world.store.reclaim("other", Duration::ZERO, "0-0").await.unwrap();
            return;
        }
        let count = self.rng.random_range(1..6);
        let mut claims = self.world.store.claims("worker").await.unwrap();
        claims.next(count, Duration::from_millis(1)).await.unwrap();
    }

    /// Some jobs in a stage, with their epochs; one of them with a wrong epoch now and then.
    async fn some(&mut self, stages: &[Stage], most: usize) -> Vec<Held> {
        let known: Vec<_> = self.jobs.choose_multiple(&mut self.rng, 60).copied().collect();
        let briefs = self.world.store.briefs(&known).await.unwrap();
        let fitting: Vec<_> = briefs.into_iter().flatten().filter(|b| stages.contains(&b.stage)).collect();
        let chosen = fitting.choose_multiple(&mut self.rng, most);
        let wrong = self.rng.random_bool(0.1);
        chosen.map(|b| Held { job: b.id, epoch: if wrong { b.epoch.next() } else { b.epoch } }).collect()
    }

    fn exit(&mut self) -> Exit {
        let charge = self.rng.random_bool(0.5);
        match self.rng.random_range(0..5) {
            0 | 1 => support::back_off(),
            2 => support::park(["float", "chain"].choose(&mut self.rng).unwrap()),
            3 => Exit::Fail { failure: support::failure(FailureClass::RegistrationFailed), charge },
            _ => Exit::Fail { failure: support::failure(FailureClass::AboveCap), charge },
        }
    }

    async fn verdict(&mut self) {
        let some = self.some(&[Stage::Checking, Stage::Ready], 3).await;
        let pairs: Vec<_> = some.iter().map(|held| (held.job, held.epoch)).collect();
        match self.rng.random_range(0..10) {
            0..5 => drop(self.world.store.pass("worker", &pairs).await.unwrap()),
            5 => drop(self.world.store.hand_back("worker", &pairs).await.unwrap()),
            6 => {
                let block = BlockNumber::new(self.rng.random_range(1..200));
                let settled: Vec<_> =
                    pairs.iter().map(|(job, epoch)| SettledJob { job: *job, epoch: *epoch, block }).collect();
                self.world.store.settle("worker", Some(&self.world.fence), &settled).await.unwrap();
            }
            _ => self.depart(&some).await,
        }
    }

    async fn depart(&mut self, some: &[Held]) {
        let mut departures = Vec::new();
        for held in some {
            let (pack_max, exit) = (self.rng.random_bool(0.2).then_some(4), self.exit());
            departures.push(Departure { job: held.job, epoch: held.epoch, nonce: None, pack_max, exit });
        }
        let fence = self.rng.random_bool(0.9).then_some(&self.world.fence);
        self.world.store.leave("worker", fence, &departures).await.unwrap();
    }

    async fn sign(&mut self) {
        let jobs = self.some(&[Stage::Ready], 4).await;
        let next = self.world.store.next_nonce(SIGNER).await.unwrap().unwrap();
        let intent = if jobs.is_empty() { support::filler() } else { support::intent(&jobs) };
        let attempt = support::attempt(self.world.serial());
        let outcome = self.world.journal(next, &intent, &attempt).await;
        if matches!(outcome, shared::store::JournalOutcome::Journaled { .. }) {
            self.nonces.push(next);
        }
        if let Some(nonce) = self.pick(|walk| &walk.nonces) {
            let cancel = self.rng.random_bool(0.1);
            let attempt = support::attempt(self.world.serial());
            let attempt = shared::tx::Attempt { cancel, ..attempt };
            let (store, fence) = (&self.world.store, &self.world.fence);
            store.journal_attempt(fence, SIGNER, nonce, 1, &attempt).await.unwrap();
        }
    }

    async fn include(&mut self) {
        let Some(nonce) = self.pick(|walk| &walk.nonces) else { return };
        let block = BlockNumber::new(self.rng.random_range(100..110));
        let seen = self.rng.random_bool(0.8).then_some(Inclusion { hash: support::hash(block.get()), block });
        let _ = self.world.store.include(&self.world.fence, SIGNER, nonce, seen).await.unwrap();
    }

    /// What the leader does with journaled jobs, and then with their nonce.
    async fn conclude(&mut self) {
        let some = self.some(&[Stage::Submitted, Stage::Confirming], 3).await;
        if self.rng.random_bool(0.6) {
            let block = BlockNumber::new(120);
            let event = self.rng.random_bool(0.5).then_some((support::hash(1), 0));
            let finished: Vec<_> = some
                .iter()
                .map(|held| FinishedJob { job: held.job, epoch: held.epoch, block, event })
                .collect();
            self.world.store.finish(&self.world.fence, &finished).await.unwrap();
        } else {
            self.depart(&some).await;
        }
        for nonce in std::mem::take(&mut self.nonces) {
            let (store, fence) = (&self.world.store, &self.world.fence);
            if !store.close_nonce(fence, SIGNER, nonce, "ours", None).await.unwrap() {
                self.nonces.push(nonce);
            }
        }
    }

    async fn movers(&mut self) {
        let store = &self.world.store;
        match self.rng.random_range(0..5) {
            0 => drop(store.promote().await.unwrap()),
            1 => {
                for child in self.world.to_unblock().await {
                    store.unblock(child).await.unwrap();
                }
            }
            2 => drop(store.release_parked("float", 3).await.unwrap()),
            3 => drop(store.release_parked("chain", 256).await.unwrap()),
            _ => {
                let Some(job) = self.pick(|walk| &walk.jobs) else { return };
                self.world.lose_place(job).await;
                self.world.sweep().await;
                assert!(self.world.sweep().await.is_empty(), "a second sweep finds nothing");
            }
        }
    }

    /// A reorganisation deeper than the confirmations.
    async fn take_back(&mut self) {
        let done: Vec<_> = self.some(&[Stage::Done], 2).await.into_iter().map(|held| held.job).collect();
        self.world.store.undo(&self.world.fence, BlockNumber::new(90), &done).await.unwrap();
    }

    async fn operate(&mut self) {
        let Some(job) = self.pick(|walk| &walk.jobs) else { return };
        let store = &self.world.store;
        match self.rng.random_range(0..12) {
            0..6 => drop(store.retry(job, "op", "walk").await.unwrap()),
            6..8 => drop(store.cancel(job, "op", "walk").await.unwrap()),
            8 => drop(store.close_gate("chain", "walk", "op").await.unwrap()),
            9 => drop(store.open_gate("chain", "walk", "op").await.unwrap()),
            10 => {
                store.pause(INTAKE, "walk", "op").await.unwrap();
                store.pause(SIGNING, "walk", "op").await.unwrap();
                self.pay().await;
                self.refund().await;
                self.sign().await;
                self.world.store.resume(INTAKE, "walk", "op").await.unwrap();
                self.world.store.resume(SIGNING, "walk", "op").await.unwrap();
            }
            _ => drop(self.world.read_ready().await),
        }
    }
}
