//! The single steps of a walk. Nothing is asserted of their results: both servers must give the same.

use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use shared::ids::{BlockNumber, FencingTerm, Wallet};
use shared::job::{FailureClass, PayoutMode};
use shared::job_state::Stage;

use shared::store::{
    Accepted, Brief, Departure, Exit, FinishedJob, Heartbeat, INTAKE, Intake, JobFilter, JournalOutcome,
    NewTx, PaidPayment, Ready, Registered, Replay, Retention, SIGNING, SettledJob, SweepCursor,
};
use shared::tx::{Attempt, Held, Inclusion, IntentKind};

use super::support::{self, SIGNER};
use super::walk::Walk;

fn block(number: u64) -> BlockNumber {
    BlockNumber::new(number)
}

impl Walk {
    pub(crate) async fn intake(&mut self) {
        match self.random.random_range(0..10) {
            0..6 => self.pay().await,
            6 | 7 => self.register().await,
            8 => {
                let mode = self.one(&[PayoutMode::Usdc, PayoutMode::Hybrid]);
                let referrer = self.referrer();
                let _ = self.store.set_payout_mode(referrer, mode, "op").await;
            }
            _ => {
                let lately = self.payments.len().saturating_sub(40);
                let Some(payment) = self.payments[lately..].choose(&mut self.random).cloned() else { return };
                let (nth, amount) = (self.random.random_range(0..4), self.one(&["40", "10", "25"]));
                let wallet = if self.chance(10) { self.child() } else { payment.wallet };
                let refund = support::refund_of(&payment, nth, amount);
                let _ = self.store.refund(&shared::store::Refund { wallet, ..refund }).await;
            }
        }
    }

    async fn pay(&mut self) {
        let unreferred = support::wallet(self.random.random_range(500..505));
        let child = if self.chance(4) { unreferred } else { self.child() };
        let id = format!("pay_{}", self.serial());
        let known = self.payments.choose(&mut self.random).cloned();
        let again = self.chance(20);
        let mut payment = known.filter(|_| again).unwrap_or_else(|| support::payment(&id, child, "40"));
        if self.chance(5) {
            payment.amount = "0.01".parse().unwrap_or(payment.amount);
        }
        if self.chance(5) {
            // Its refund comes first.
            let amount = self.one(&["40", "15"]);
            let _ = self.store.refund(&support::refund_of(&payment, 9, amount)).await;
        }
        let hold = if self.chance(15) { self.random.random_range(1..2_000) } else { 0 };
        let accepted = self.store.accept_payment(&payment, &support::rules(), hold).await;
        if let Ok(Intake::Open(Accepted::Decided { job: Some(job), repeated: false, .. })) = accepted {
            self.jobs.push(job);
        }
        self.payments.push(payment);
    }

    async fn register(&mut self) {
        let (child, referrer) = (self.child(), self.referrer());
        if self.chance(30) {
            let referral = (child, referrer, block(self.random.random_range(1..100)));
            let _ = self.store.registered(&self.fence, &[referral]).await;
            return;
        }
        let referrer = if self.chance(10) { self.child() } else { referrer };
        let alone = self.chance(15);
        let child = if alone { support::wallet(self.random.random_range(500..504)) } else { child };
        let asked = support::registration(child, Some(referrer).filter(|_| !alone));
        if let Ok(Intake::Open(Registered::Accepted { job })) = self.store.register(&asked).await {
            self.jobs.push(job);
        }
    }

    pub(crate) async fn claim(&mut self) {
        let worker = self.one(&["amy", "bob"]);
        if self.chance(25) {
            let idle = self.one(&[Duration::ZERO, Duration::ZERO, support::MIN_IDLE]);
            let cursor = self.cursor.clone();
            if let Ok(found) = self.store.reclaim("cy", idle, &cursor).await {
                self.cursor = found.cursor;
            }
            return;
        }
        let count = self.random.random_range(1..6);
        if let Ok(mut claims) = self.store.claims(worker).await {
            let _ = claims.next(count, support::SOON).await;
            // The second time, the script reads the stream itself.
            if self.chance(50) {
                let _ = claims.next(count, support::SOON).await;
            }
        }
    }

    /// Some jobs in a stage, with their epochs; with a wrong one now and then.
    async fn some(&mut self, stages: &[Stage], most: usize) -> Vec<Held> {
        let lately = self.jobs.len().saturating_sub(14);
        let known = &self.jobs[lately..];
        let mut found: Vec<Brief> = Vec::new();
        match self.store.briefs(known).await {
            Ok(briefs) => found.extend(briefs.into_iter().flatten()),
            // A record that cannot be read keeps the others from being read with it.
            Err(_) => {
                for id in known {
                    found.extend(self.store.briefs(&[*id]).await.unwrap_or_default().into_iter().flatten());
                }
            }
        }
        found.retain(|brief| stages.contains(&brief.stage));
        let wrong = self.chance(8);
        let chosen = found.choose_multiple(&mut self.random, most);
        chosen
            .map(|brief| Held { job: brief.id, epoch: if wrong { brief.epoch.next() } else { brief.epoch } })
            .collect()
    }

    fn exit(&mut self) -> Exit {
        let charge = self.chance(50);
        match self.random.random_range(0..7) {
            0 => support::back_off(),
            1 => Exit::BackOff { delay: Duration::from_millis(700), charge, failure: None },
            2 | 3 => support::park(self.one(&["float", "chain"])),
            4 => Exit::Fail { failure: support::failure(FailureClass::RegistrationFailed), charge },
            5 => Exit::Unregistered {
                delay: Duration::from_millis(5),
                block: block(self.random.random_range(1..100)),
            },
            _ => Exit::Fail { failure: support::failure(FailureClass::AboveCap), charge },
        }
    }

    pub(crate) async fn verdict(&mut self) {
        let some = self.some(&[Stage::Checking, Stage::Ready, Stage::Failed], 4).await;
        let pairs: Vec<_> = some.iter().map(|held| (held.job, held.epoch)).collect();
        match self.random.random_range(0..10) {
            0..5 => drop(self.store.pass("amy", &pairs).await),
            5 => drop(self.store.hand_back("amy", &pairs).await),
            6 => {
                let block = block(self.random.random_range(1..200));
                let settled: Vec<_> =
                    pairs.iter().map(|(job, epoch)| SettledJob { job: *job, epoch: *epoch, block }).collect();
                let fence = Some(&self.fence).filter(|_| self.random.random_bool(0.8));
                let _ = self.store.settle("amy", fence, &settled).await;
            }
            _ => self.depart(&some).await,
        }
    }

    async fn depart(&mut self, some: &[Held]) {
        let mut departures = Vec::new();
        for held in some {
            let pack_max = self.chance(20).then_some(4);
            let nonce = if self.chance(10) { Some(self.some_nonce()) } else { None };
            let exit = self.exit();
            departures.push(Departure { job: held.job, epoch: held.epoch, nonce, pack_max, exit });
        }
        let fence = Some(&self.fence).filter(|_| self.random.random_bool(0.9));
        let _ = self.store.leave("amy", fence, &departures).await;
    }

    pub(crate) async fn sign(&mut self) {
        let _ = self.store.read_ready(&self.fence, &mut Ready::default(), 10).await;
        let jobs = self.some(&[Stage::Ready], 4).await;
        let Ok(Some(next)) = self.store.next_nonce(SIGNER).await else { return };
        let nonce = if self.chance(5) { self.some_nonce() } else { next };
        let intent = if jobs.is_empty() { support::filler() } else { support::intent(&jobs) };
        if intent.kind == IntentKind::Filler && self.chance(60) {
            return;
        }
        let attempt = support::attempt(self.serial());
        let tx =
            NewTx { signer: SIGNER, nonce, intent: &intent, attempt: &attempt, max_open: support::MAX_OPEN };
        for _ in 0..if self.chance(5) { 2 } else { 1 } {
            let outcome = self.store.journal(&self.fence, &tx).await;
            if matches!(outcome, Ok(JournalOutcome::Journaled { .. })) {
                self.nonces.push(nonce);
            }
        }
        if self.chance(30) {
            let (nonce, cancel) = (self.some_nonce(), self.chance(15));
            let attempt = Attempt { cancel, ..support::attempt(self.serial()) };
            let so_far = self.random.random_range(1..3);
            let _ = self.store.journal_attempt(&self.fence, SIGNER, nonce, so_far, &attempt).await;
        }
    }

    /// What the leader sees in blocks.
    pub(crate) async fn follow(&mut self) {
        let (nonce, at) = (self.some_nonce(), block(self.random.random_range(100..110)));
        let seen = Some(Inclusion { hash: support::hash(at.get()), block: at }).filter(|_| !self.chance(20));
        let _ = self.store.include(&self.fence, SIGNER, nonce, seen).await;
        match self.random.random_range(0..7) {
            0 => {
                let done = self.some(&[Stage::Done], 2).await;
                let done: Vec<_> = done.into_iter().map(|held| held.job).collect();
                let _ = self.store.undo(&self.fence, block(90), &done).await;
            }
            1 => {
                // High above now and then: only then does retention remove what is done.
                let deep = if self.chance(50) { block(at.get() + 500) } else { at };
                let compared = Some(deep).filter(|_| self.chance(50));
                let _ = self.store.set_final(&self.fence, deep, support::hash(1), compared).await;
            }
            2 => {
                let nonce = self.some_nonce();
                let _ = self.store.reopen(&self.fence, SIGNER, nonce, 2).await;
            }
            3 => drop(self.store.settling(at, 10).await),
            4 => {
                let learned = self.store.learned(block(0)..=at).await.unwrap_or_default();
                let some: Vec<_> = learned.into_iter().take(2).collect();
                let _ = self.store.unlearn(&self.fence, "leader", at, &some).await;
            }
            5 => drop(self.store.set_replayed(&self.fence, at, support::hash(2)).await),
            _ => {}
        }
    }

    /// What the leader does with journaled jobs, and then with their nonces.
    pub(crate) async fn conclude(&mut self) {
        let some = self.some(&[Stage::Submitted, Stage::Confirming], 4).await;
        if self.chance(70) {
            let event = Some((support::hash(1), 0)).filter(|_| self.chance(50));
            let finished: Vec<_> = some
                .iter()
                .map(|held| FinishedJob { job: held.job, epoch: held.epoch, block: block(120), event })
                .collect();
            let _ = self.store.finish(&self.fence, &finished).await;
        } else {
            self.depart(&some).await;
        }
        let lately = self.nonces.len().saturating_sub(5);
        let latest: Vec<_> = self.nonces.iter().skip(lately).copied().collect();
        for nonce in latest {
            let by = self.one(&["ours", "cancel", "stranger"]);
            let _ = self.store.close_nonce(&self.fence, SIGNER, nonce, by, None).await;
        }
    }

    pub(crate) async fn movers(&mut self) {
        match self.random.random_range(0..10) {
            0 | 1 => drop(self.store.promote().await),
            2..5 => {
                let worker = self.one(&["amy", "bob"]);
                if let Ok(Some(chores)) = self.store.chores(worker, support::MIN_IDLE).await {
                    for child in chores.children {
                        let _ = self.store.unblock(child).await;
                    }
                }
            }
            5 => drop(self.store.release_parked("float", 3).await),
            6 => drop(self.store.release_parked("chain", 256).await),
            7 => {
                for state in ["pending", "processing", "retrying"] {
                    let mut cursor = Some(SweepCursor::default());
                    while let Some(from) = cursor {
                        cursor =
                            self.store.sweep("sweeper", state, &from).await.ok().and_then(|swept| swept.next);
                    }
                }
            }
            8 => drop(self.store.drop_dead_consumers(Duration::from_millis(500)).await),
            _ => {
                let jobs = self.random.random_range(0..40);
                let age = Duration::from_secs(self.random.random_range(1..3_000));
                let _ = self.store.retain(&Retention { jobs, age, nonces: 2 }).await;
            }
        }
    }

    pub(crate) async fn operate(&mut self) {
        let job = self.some_job();
        let gate = self.one(&["chain", "float", "lane:reconcile"]);
        let at = block(self.random.random_range(1..50));
        match self.random.random_range(0..12) {
            0..4 => drop(self.store.retry(job, "op", "walk").await),
            4 => drop(self.store.cancel(job, "op", "walk").await),
            5 => drop(self.store.close_gate(gate, "walk", "op").await),
            6 => drop(self.store.close_gate_at(gate, "walk", "amy", at).await),
            7 | 8 => drop(self.store.open_gate(gate, "walk", "op").await),
            9 => drop(self.store.open_gate_at(gate, "walk", "amy", at).await),
            10 => {
                let _ = self.store.pause(INTAKE, "walk", "op").await;
                let _ = self.store.pause(SIGNING, "walk", "op").await;
                self.pay().await;
                self.register().await;
                self.sign().await;
                let _ = self.store.resume(INTAKE, "walk", "op").await;
                let _ = self.store.resume(SIGNING, "walk", "op").await;
            }
            _ => {
                for gate in ["chain", "float", "lane:reconcile"] {
                    let _ = self.store.open_gate(gate, "walk", "op").await;
                }
            }
        }
    }

    /// A replay of what the chain shows.
    pub(crate) async fn sync(&mut self) {
        let Ok(state) = self.store.sync_state().await else { return };
        let replay = Replay { from: block(1), to: block(90), at: Some(block(50)), events: 7 };
        if self.chance(50) {
            let _ = self.store.show_replay(&self.fence, &state.run_id, &replay).await;
        }
        let run_id = if self.chance(10) { "another" } else { &state.run_id };
        let _ = self.store.set_synced(&self.fence, run_id, block(100)).await;
        if self.chance(30) {
            self.compare_payments().await;
        }
    }

    async fn compare_payments(&mut self) {
        let mut paid = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            let known = self.payments.choose(&mut self.random).cloned();
            let Some(payment) = known.filter(|_| !self.chance(20)) else {
                let id = format!("pay_{}", self.serial());
                let payment = support::payment(&id, self.child(), "40");
                paid.push(self.paid(&payment, self.children[0]));
                self.payments.push(payment);
                continue;
            };
            let referrer = self.referrer();
            let mut paid_now = self.paid(&payment, referrer);
            // As it is recorded, as a rule.
            if let Ok(Some(known)) = self.store.payment(paid_now.payment).await
                && let Some(referrer) = known.referrer
                && self.chance(70)
            {
                (paid_now.referrer, paid_now.commission) = (referrer, known.commission);
            }
            paid.push(paid_now);
        }
        let _ = self.store.mark_paid(&self.fence, "amy", &paid).await;
    }

    fn paid(&self, payment: &shared::store::Payment, referrer: Wallet) -> PaidPayment {
        PaidPayment {
            payment: support::id_of(payment),
            block: block(80),
            hash: support::hash(80),
            referrer,
            child: payment.wallet,
            commission: support::rules().usdc(payment.amount),
        }
    }

    pub(crate) async fn look(&mut self) {
        let (child, referrer) = (self.child(), self.referrer());
        let (job, nonce) = (self.some_job(), self.some_nonce());
        match self.random.random_range(0..12) {
            0 | 1 => {
                let worker = self.one(&["amy", "bob", "cy"]);
                let term = Some(FencingTerm::new(3)).filter(|_| self.chance(50));
                let beat = Heartbeat {
                    worker,
                    host: "host",
                    pid: 1,
                    version: "0.1.0",
                    boot: "boot",
                    term,
                    up: Duration::from_secs(5),
                    claims: 2,
                    claimed: 30,
                    head: Some(block(100)),
                };
                let _ = self.store.heartbeat(&beat).await;
            }
            2 => {
                let worker = self.one(&["amy", "bob"]);
                let _ = self.store.leave_fleet(worker).await;
            }
            3 => drop(self.store.fleet().await),
            4 => {
                let _ = self.store.events_after(None).await;
                let _ = self.store.events_after(Some("1732000000500-0".parse().unwrap())).await;
            }
            5 => {
                let filter = JobFilter {
                    state: Some("failed".to_owned()).filter(|_| self.chance(50)),
                    wallet: Some(child).filter(|_| self.chance(50)),
                    ..JobFilter::default()
                };
                if let Ok(page) = self.store.jobs(&filter, None, 5).await {
                    let _ = self.store.jobs(&filter, page.next.as_ref(), 5).await;
                }
            }
            6 => {
                let _ = self.store.job(job).await;
                let _ = self.store.timeline(job).await;
                let _ = self.store.referral(child).await;
            }
            7 => {
                let _ = self.store.tx(SIGNER, nonce).await;
                let _ = self.store.open_nonces(SIGNER).await;
                let _ = self.store.open_txs(SIGNER, &[nonce]).await;
                let _ = self.store.txs(&Default::default(), None, 5).await;
            }
            8 => {
                let _ = self.store.checkup(Duration::from_secs(60)).await;
                let _ = self.store.affiliate(referrer).await;
            }
            9 => {
                let _ = self.store.server().await;
                let _ = self.store.closed_gates().await;
            }
            10 => {
                let _ = self.store.stats().await;
                let _ = self.store.done(0).await;
            }
            _ => {
                if let Ok(mut watch) = self.store.watch_ready().await {
                    let _ = watch.wait(support::SOON).await;
                }
                let _ = self.store.take_turn("bob").await;
            }
        }
    }
}
