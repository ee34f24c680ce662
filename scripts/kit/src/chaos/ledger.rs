//! What was asked and what was answered: all that a merchant, a payment processor and an operator know.

use std::collections::BTreeMap;

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
    /// One that was refused after an attempt that nobody answered: that attempt may have been granted.
    PerhapsDeleted,
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
    /// Where nobody can pay it, the class of failure it must end with: the token refuses to, or it kills whoever looks at it.
    pub doomed: Option<&'static str>,
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
    /// How refunds, deletions and retries were answered; none where nothing was taken back.
    pub fn taken_back(&self) -> Option<String> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for back in self.payments.iter().flat_map(|payment| &payment.back) {
            let answer = match back {
                TakenBack::Refunded(outcome) => format!("refund {outcome}"),
                TakenBack::Deleted(granted) => {
                    format!("deletion {}", if *granted { "granted" } else { "refused" })
                }
                TakenBack::PerhapsDeleted => "deletion refused, after one without an answer".to_owned(),
                TakenBack::Retried(granted) => {
                    format!("retry {}", if *granted { "granted" } else { "refused" })
                }
            };
            *counts.entry(answer).or_default() += 1;
        }
        let words: Vec<String> =
            counts.into_iter().map(|(answer, count)| format!("{answer} {count}×")).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }

    /// Every job that anybody was told of.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        let registrations = self.registrations.iter().map(|registration| registration.job.as_str());
        registrations.chain(self.payments.iter().filter_map(|payment| payment.job.as_deref()))
    }
}
