//! Sends the work of a schedule, each request again and again until it is answered: what a merchant and a payment processor
//! do when nobody answers. Nothing that was not answered with a 2xx counts as accepted.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;
use shared::clock::Clock;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::ledger::{Ledger, Paid, Registration, TakenBack};
use super::work::{Payment, TakeBack, Work};
use crate::world::client::payment;
use crate::world::settings::WEBHOOK_SECRET;
use crate::world::{Answer, Client, Delivery};

/// Requests in flight, where nothing else says when they are sent.
const AT_ONCE: usize = 16;
/// Between two attempts at a request that was not answered, or not well.
const AGAIN_AFTER: Duration = Duration::from_millis(150);

/// Deliveries on their way at a time: each takes a connection of its own, and a process has only so many.
const IN_FLIGHT: usize = 1_000;

/// Who sends, and until when.
pub struct Traffic<'a> {
    client: &'a Client,
    work: &'a Work,
    begun: Instant,
    deadline: Instant,
    ledger: Mutex<Ledger>,
    in_flight: Semaphore,
}

impl<'a> Traffic<'a> {
    pub fn new(client: &'a Client, work: &'a Work, limit: Duration) -> Self {
        let begun = Instant::now();
        let in_flight = Semaphore::new(IN_FLIGHT);
        Self { client, work, begun, deadline: begun + limit, ledger: Mutex::default(), in_flight }
    }

    pub fn work(&self) -> &Work {
        self.work
    }

    /// What was accepted so far.
    pub fn ledger(&self) -> Ledger {
        self.locked(|ledger| ledger.clone())
    }

    fn locked<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Modes of the referrers, and the children that are there from the beginning, all of them final.
    pub async fn set_up(&self) -> Result<()> {
        for referrer in self.work.referrers.iter().filter(|referrer| referrer.hybrid) {
            self.client.set_mode(&referrer.wallet, "hybrid").await?.expect(&[200])?;
        }
        for child in (0..self.work.children.len()).filter(|n| self.work.children[*n].registers_at.is_none()) {
            self.register(child).await?;
        }
        for job in self.ledger().jobs() {
            self.client.wait_for(job, &["done"], Duration::from_secs(40)).await?;
        }
        Ok(())
    }

    /// Everything else, from now on; what was set up stays.
    pub async fn send(&mut self) -> Result<()> {
        self.begun = Instant::now();
        let this = &*self;
        let known: Vec<watch::Sender<bool>> =
            this.work.children.iter().map(|child| watch::Sender::new(child.registers_at.is_none())).collect();
        let registrations = this.work.children.iter().enumerate().filter_map(|(n, child)| {
            let (at, known) = (child.registers_at?, &known[n]);
            Some(async move {
                sleep_until(this.begun + Duration::from_millis(at)).await;
                this.register(n).await?;
                known.send_replace(true);
                anyhow::Ok(())
            })
        });
        let payments = this.work.payments.iter().map(|payment| {
            let mut known = known[payment.child].subscribe();
            async move {
                sleep_until(this.begun + Duration::from_millis(payment.at)).await;
                known.wait_for(|known| *known).await?;
                this.pay(payment).await
            }
        });
        let (registered, paid) = tokio::join!(
            futures::future::try_join_all(registrations),
            futures::future::try_join_all(payments)
        );
        registered.and(paid).map(drop)
    }

    /// These payments, now.
    pub async fn send_some(&self, payments: std::ops::Range<usize>) -> Result<()> {
        let sent = self.work.payments[payments].iter().map(|payment| self.deliver(payment, "first"));
        futures::stream::iter(sent).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// One attempt at one payment, which counts as accepted only where it is sent again later. Gives its job; none where it was
    /// not answered well.
    pub async fn once(&self, payment: usize) -> Result<Option<String>> {
        let (id, event) = self.delivery(&self.work.payments[payment], "first");
        let answer = self.post(&id, &event).await?;
        if answer.status >= 300 {
            return Ok(None);
        }
        answer.job_id().map(Some)
    }

    /// The same delivery again, until it is answered. Gives its job, and whether it was recognised.
    pub async fn again(&self, payment: usize) -> Result<(Option<String>, bool)> {
        let (id, event) = self.delivery(&self.work.payments[payment], "first");
        let answer = self.until_answered("a delivery that comes again", || self.post(&id, &event)).await?;
        Ok((answer.job_id().ok(), answer.body["repeated"] == true))
    }

    fn delivery(&self, paid: &Payment, which: &str) -> (String, Value) {
        let child = &self.work.children[paid.child].wallet;
        let event = payment("succeeded", &paid.id, child, &decimal(paid.units));
        (format!("msg_{}_{which}", paid.id), event)
    }

    /// Everything once more, for a Redis that may have forgotten it: registrations first, as a merchant would.
    pub async fn send_again(&self) -> Result<()> {
        for child in 0..self.work.children.len() {
            self.register(child).await?;
        }
        let again = self.work.payments.iter().map(|payment| self.deliver(payment, "again"));
        futures::stream::iter(again).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn register(&self, child: usize) -> Result<()> {
        let (wallet, referrer) = (&self.work.children[child].wallet, &self.work.referrer_of(child).wallet);
        let what = format!("the registration of {wallet}");
        let answer = self.until_answered(&what, || self.client.register(wallet, Some(referrer))).await?;
        // Known from the chain alone there is no job, and none is needed.
        let Ok(job) = answer.job_id() else { return Ok(()) };
        let accepted = Registration { child: wallet.clone(), referrer: referrer.clone(), job };
        self.locked(|ledger| {
            ledger.registrations.retain(|known| known.child != accepted.child);
            ledger.registrations.push(accepted);
        });
        Ok(())
    }

    async fn pay(&self, payment: &Payment) -> Result<()> {
        self.deliver(payment, "first").await?;
        let answered = Instant::now();
        let again = payment.again.iter().enumerate().map(|(n, after)| async move {
            sleep_until(answered + Duration::from_millis(*after)).await;
            // Half of them as the processor repeats a delivery, half as one that it believes to be new.
            self.deliver(payment, if n % 2 == 0 { "first" } else { "second" }).await
        });
        let back = payment.back.iter().map(|(after, how)| async move {
            sleep_until(answered + Duration::from_millis(*after)).await;
            self.take_back(payment, *how).await
        });
        let (again, back) =
            tokio::join!(futures::future::try_join_all(again), futures::future::try_join_all(back));
        again.and(back).map(drop)
    }

    /// Delivers the payment, under a delivery id that `which` tells apart.
    async fn deliver(&self, paid: &Payment, which: &str) -> Result<()> {
        let (id, event) = self.delivery(paid, which);
        let what = format!("the payment {}", paid.id);
        let answer = self.until_answered(&what, || self.post(&id, &event)).await?;
        let referrer = self.work.referrer_of(paid.child);
        let doomed = match (paid.deadly, referrer.blocked) {
            (true, _) => Some("poison"),
            (false, true) => Some("recipient_refused"),
            (false, false) => None,
        };
        let accepted = Paid {
            id: paid.id.clone(),
            child: self.work.children[paid.child].wallet.clone(),
            referrer: referrer.wallet.clone(),
            units: paid.units,
            hybrid: referrer.hybrid,
            doomed,
            decision: answer.text("decision").unwrap_or_default().to_owned(),
            job: answer.job_id().ok(),
            back: Vec::new(),
        };
        self.locked(|ledger| match ledger.payments.iter_mut().find(|known| known.id == accepted.id) {
            Some(known) => (known.decision, known.job) = (accepted.decision, accepted.job),
            None => ledger.payments.push(accepted),
        });
        Ok(())
    }

    async fn take_back(&self, paid: &Payment, how: TakeBack) -> Result<()> {
        let taken = match how {
            TakeBack::Refund => {
                let child = &self.work.children[paid.child].wallet;
                let event = payment("refunded", &paid.id, child, &decimal(paid.units));
                let id = format!("msg_{}_refund", paid.id);
                let what = format!("the refund of {}", paid.id);
                let answer = self.until_answered(&what, || self.post(&id, &event)).await?;
                TakenBack::Refunded(answer.text("outcome").unwrap_or_default().to_owned())
            }
            TakeBack::Delete => {
                let Some(job) = self.job_of(paid) else { return Ok(()) };
                let what = format!("the deletion of {job}");
                let archive = || self.client.archive(&job, "chaos");
                let (answer, is_first) = self.until_decided(&what, &[409], archive).await?;
                match answer.status == 200 {
                    false if !is_first => TakenBack::PerhapsDeleted,
                    granted => TakenBack::Deleted(granted),
                }
            }
            TakeBack::Retry => {
                let Some(job) = self.job_of(paid) else { return Ok(()) };
                let what = format!("the retry of {job}");
                let (answer, _) = self.until_decided(&what, &[409], || self.client.retry(&job)).await?;
                TakenBack::Retried(answer.status < 300)
            }
        };
        self.locked(|ledger| {
            if let Some(known) = ledger.payments.iter_mut().find(|known| known.id == paid.id) {
                known.back.push(taken);
            }
        });
        Ok(())
    }

    fn job_of(&self, paid: &Payment) -> Option<String> {
        self.locked(|ledger| ledger.payments.iter().find(|known| known.id == paid.id)?.job.clone())
    }

    /// One attempt at a delivery: the same id and content each time, signed for now.
    async fn post(&self, id: &str, event: &Value) -> Result<Answer> {
        let _permit = self.in_flight.acquire().await?;
        let delivery = Delivery {
            id: id.to_owned(),
            timestamp: Clock::start().unix_seconds(),
            secret: WEBHOOK_SECRET.to_owned(),
            body: event.to_string().into_bytes(),
        };
        self.client.deliver(&delivery).await
    }

    async fn until_answered<F>(&self, what: &str, send: impl FnMut() -> F) -> Result<Answer>
    where
        F: Future<Output = Result<Answer>>,
    {
        self.until_decided(what, &[], send).await.map(|(answer, _)| answer)
    }

    /// Sends until there is a 2xx or one of `refusals`, and tells whether that was the first attempt. Any other refusal is a
    /// surprise: nothing that is sent here deserves one.
    async fn until_decided<F>(
        &self,
        what: &str,
        refusals: &[u16],
        mut send: impl FnMut() -> F,
    ) -> Result<(Answer, bool)>
    where
        F: Future<Output = Result<Answer>>,
    {
        let mut is_first = true;
        let mut last = String::from("never sent");
        loop {
            ensure!(Instant::now() < self.deadline, "{what} was never answered: {last}");
            match send().await {
                Ok(answer) if answer.status < 300 || refusals.contains(&answer.status) => {
                    return Ok((answer, is_first));
                }
                Ok(answer) => {
                    last = format!("{} {}", answer.status, answer.body);
                    if answer.status < 500 {
                        self.locked(|ledger| ledger.surprises.push(format!("{what}: {last}")));
                        anyhow::bail!("{what}: {last}");
                    }
                }
                Err(error) => last = format!("{error:#}"),
            }
            is_first = false;
            sleep(AGAIN_AFTER).await;
        }
    }
}

/// Base units of six decimals as the decimal text of a webhook.
pub fn decimal(units: u128) -> String {
    format!("{}.{:06}", units / 1_000_000, units % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_units_are_written_with_six_decimals() {
        assert_eq!((decimal(1_000_000), decimal(12_345)), ("1.000000".into(), "0.012345".into()));
    }
}
