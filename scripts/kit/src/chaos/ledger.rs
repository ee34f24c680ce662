//! What was asked and what was answered: all that a merchant, a payment processor and an operator know.

/// A registration that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub child: String,
    pub referrer: String,
    pub job: String,
}

/// What a refund or a deletion was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenBack {
    /// A full refund, with its outcome.
    Refunded(String),
    /// An operator's deletion, by whether the API says that the job is cancelled.
    Deleted(bool),
    /// An operator's retry, by whether the API says that the job is queued again.
    Retried(bool),
}

/// A payment that was answered with a 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// Its id at the source.
    pub id: String,
    pub child: String,
    pub referrer: String,
    /// Base units, six decimals.
    pub units: u128,
    /// Whether the referrer gets a part in SGE.
    pub hybrid: bool,
    /// Whether nobody can pay it: the token refuses to, or it kills whoever looks at it.
    pub blocked: bool,
    /// The newest answer: its decision, and its job where it has one.
    pub decision: String,
    pub job: Option<String>,
    pub back: Vec<TakenBack>,
}

/// Everything that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    pub registrations: Vec<Registration>,
    pub payments: Vec<Paid>,
    /// What the API answered that it should not have, in words.
    pub surprises: Vec<String>,
}

impl Ledger {
    /// Every job that anybody was told of.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        let registrations = self.registrations.iter().map(|registration| registration.job.as_str());
        registrations.chain(self.payments.iter().filter_map(|payment| payment.job.as_deref()))
    }
}
