//! The merchant: registers users, reports their payments, sometimes twice, refunds some, and delivers again until there is an
//! answer. And the operator, who cancels and retries at random.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use shared::ids::{ExternalId, JobId, Source, Wallet};
use shared::money::Usdc;
use shared::store::{
    Accepted, Cancelled, Intake, Payment, Refund, RefundOutcome, Refunded, Registered, Registration, Retried,
    Store,
};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::settings::{HOLD_MS, rules};

/// Delivers again until there is an answer, as every sender of webhooks does.
macro_rules! until_answered {
    ($delivery:expr) => {
        loop {
            match $delivery.await {
                Ok(Intake::Open(answer)) => break answer,
                other => tracing::info!(answer = ?other.err(), "the merchant delivers again"),
            }
            sleep(AGAIN).await;
        }
    };
}

const AGAIN: Duration = Duration::from_millis(1_000);

/// How often merchant and operator asked for something that crosses a payment's way, and how often that was granted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Deliveries of what had been delivered before.
    pub repeated: u64,
    pub refunds: u64,
    pub refunds_cancelled: u64,
    pub deletions: u64,
    pub deletions_granted: u64,
    pub retries: u64,
    pub retries_granted: u64,
}

impl Asked {
    pub fn add(&mut self, other: &Self) {
        self.repeated += other.repeated;
        self.refunds += other.refunds;
        self.refunds_cancelled += other.refunds_cancelled;
        self.deletions += other.deletions;
        self.deletions_granted += other.deletions_granted;
        self.retries += other.retries;
        self.retries_granted += other.retries_granted;
    }
}

/// What the merchant did and was told.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) asked: Asked,
    pub(super) users: Vec<User>,
    pub(super) sales: Vec<Sale>,
}

#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) child: Wallet,
    pub(super) referrer: Wallet,
    after: Duration,
    pub(super) job: Option<JobId>,
}

#[derive(Debug, Clone)]
pub(super) struct Sale {
    pub(super) external: ExternalId,
    pub(super) user: usize,
    pub(super) amount: Usdc,
    /// After the registration was accepted.
    after: Duration,
    repeats: u32,
    refund: Option<(Duration, Usdc)>,
    pub(super) job: Option<JobId>,
    /// Somebody asked for the whole of it back, or deleted its job, whatever was answered.
    pub(super) was_to_be_cancelled: bool,
    /// Somebody was told that it is cancelled.
    pub(super) is_cancelled: bool,
}

/// Who acts, and what is written down about it.
#[derive(Clone)]
pub(super) struct Merchant {
    pub(super) store: Store,
    pub(super) book: Arc<Mutex<Book>>,
}

/// The referrer who is paid in both tokens.
pub(super) const HYBRID: usize = 1;

/// The wallet of referrer `n`.
pub(super) fn referrer(n: usize) -> Wallet {
    wallet(0xa0, n)
}

fn wallet(kind: u8, n: usize) -> Wallet {
    let mut bytes = [0; 20];
    bytes[0] = kind;
    bytes[19] = u8::try_from(n).unwrap_or(u8::MAX);
    Wallet::try_from(alloy::primitives::Address::from(bytes))
        .unwrap_or_else(|_| unreachable!("it is not zero"))
}

impl Merchant {
    /// Draws the users and their sales: `jobs` in all.
    pub(super) fn draw(store: Store, dice: &mut StdRng, jobs: usize) -> Self {
        let users: Vec<User> = (0..jobs / 4)
            .map(|n| User {
                child: wallet(0xc0, n),
                referrer: referrer(dice.random_range(0..4)),
                after: Duration::from_millis(dice.random_range(0..6_000)),
                job: None,
            })
            .collect();
        let sales = (users.len()..jobs)
            .map(|n| {
                let amount = Usdc::from_base_units(dice.random_range(1_000_000..500_000_000));
                let part = if dice.random_bool(0.8) { amount } else { Usdc::from_base_units(500_000) };
                Sale {
                    external: text(&format!("pay_{n}")),
                    user: dice.random_range(0..users.len()),
                    amount,
                    after: Duration::from_millis(dice.random_range(0..8_000)),
                    repeats: if dice.random_bool(0.3) { dice.random_range(1..4) } else { 0 },
                    refund: dice
                        .random_bool(0.2)
                        .then(|| (Duration::from_millis(dice.random_range(0..10_000)), part)),
                    job: None,
                    was_to_be_cancelled: false,
                    is_cancelled: false,
                }
            })
            .collect();
        Self { store, book: Arc::new(Mutex::new(Book { users, sales, ..Book::default() })) }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything, each at its time, until each has an answer. `at_once`: delivered again, without pauses between.
    pub(super) fn act(&self, tasks: &mut JoinSet<()>, at_once: bool) {
        let users = self.book().users.len();
        for user in 0..users {
            tasks.spawn(self.clone().serve(user, at_once));
        }
    }

    /// Registers one user, then reports the user's payments.
    async fn serve(self, n: usize, at_once: bool) {
        let user = self.book().users[n].clone();
        pause(user.after, at_once).await;
        let registration =
            Registration { child: user.child, referrer: Some(user.referrer), actor: "shop".to_owned() };
        let registered = Box::pin(async { until_answered!(self.store.register(&registration)) }).await;
        self.book().users[n].job = match registered {
            Registered::Accepted { job } | Registered::Known { job: Some(job), .. } => Some(job),
            _ => None,
        };
        let sales: Vec<usize> = {
            let book = self.book();
            (0..book.sales.len()).filter(|sale| book.sales[*sale].user == n).collect()
        };
        let sold = sales.into_iter().map(|sale| self.sell(sale, user.child, at_once));
        futures::future::join_all(sold).await;
    }

    async fn sell(&self, n: usize, wallet: Wallet, at_once: bool) {
        let sale = self.book().sales[n].clone();
        let paid = async {
            pause(sale.after, at_once).await;
            for delivery in 0..=sale.repeats {
                // Its future is large and short-lived: one in place would be kept for the whole of the sale.
                Box::pin(self.pay(n, &sale, wallet, delivery)).await;
                pause(Duration::from_millis(700), at_once).await;
            }
        };
        let refunded = async {
            let Some((after, amount)) = sale.refund else { return };
            pause(after, at_once).await;
            Box::pin(self.refund(n, &sale, wallet, amount)).await;
        };
        tokio::join!(paid, refunded);
    }

    /// Half of the repeated deliveries are new ones of the same payment.
    async fn pay(&self, n: usize, sale: &Sale, wallet: Wallet, delivery: u32) {
        let payment = Payment {
            source: source(),
            event_id: text(&format!("evt_{n}_{}", delivery / 2)),
            external_id: sale.external.clone(),
            wallet,
            amount: sale.amount,
            currency: "USDC".to_owned(),
        };
        self.book().asked.repeated += u64::from(delivery > 0);
        let rules = rules();
        let accepted = until_answered!(self.store.accept_payment(&payment, &rules, HOLD_MS));
        if let Accepted::Decided { job: Some(job), .. } = accepted {
            self.book().sales[n].job = Some(job);
        }
    }

    async fn refund(&self, n: usize, sale: &Sale, wallet: Wallet, amount: Usdc) {
        let refund = Refund {
            source: source(),
            event_id: text(&format!("ref_{n}")),
            external_id: sale.external.clone(),
            wallet,
            amount,
            currency: "USDC".to_owned(),
        };
        {
            let mut book = self.book();
            book.asked.refunds += 1;
            book.sales[n].was_to_be_cancelled |= amount == sale.amount;
        }
        let refunded = until_answered!(self.store.refund(&refund));
        if let Refunded::Applied { outcome: RefundOutcome::Cancelled, .. } = refunded {
            let mut book = self.book();
            book.sales[n].is_cancelled = true;
            book.asked.refunds_cancelled += 1;
        }
    }

    /// Cancels and retries at random, one try each.
    pub(super) async fn meddle(self, mut dice: StdRng, times: u32) {
        for _ in 0..times {
            sleep(Duration::from_millis(dice.random_range(100..3_000))).await;
            let (n, job) = {
                let book = self.book();
                let n = dice.random_range(0..book.sales.len());
                (n, book.sales[n].job)
            };
            let Some(job) = job else { continue };
            if dice.random_bool(0.5) {
                {
                    let mut book = self.book();
                    book.asked.deletions += 1;
                    book.sales[n].was_to_be_cancelled = true;
                }
                let cancelled = self.store.cancel(job, "operator", "simulated").await;
                if let Ok(Cancelled::Cancelled { .. }) = cancelled {
                    let mut book = self.book();
                    book.sales[n].is_cancelled = true;
                    book.asked.deletions_granted += 1;
                }
            } else {
                self.book().asked.retries += 1;
                if let Ok(Retried::Queued) = self.store.retry(job, "operator", "simulated").await {
                    self.book().asked.retries_granted += 1;
                }
            }
        }
    }
}

async fn pause(duration: Duration, at_once: bool) {
    if !at_once {
        sleep(duration).await;
    }
}

fn source() -> Source {
    "shop".parse().unwrap_or_else(|error| panic!("the source's name is refused: {error}"))
}

fn text(id: &str) -> ExternalId {
    id.parse().unwrap_or_else(|error| panic!("{id} is refused: {error}"))
}
