//! `affiliate-relayer reconcile`: every event of the contracts against what is recorded, and everything that is done against
//! the contracts. Only reads: what the chain alone decides the leader settles by itself, and says so.

use std::collections::BTreeSet;
use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use shared::ids::{BlockNumber, JobId, PaymentId, Wallet};
use shared::job::Payload;
use shared::job_state::Stage;
use shared::money::Commission;
use shared::store::{Brief, RecordedPayment, RecordedReferral, Store, StoreError};

use crate::chain::{Answers, Chain, ChainError, ChainEvent, ChainEventKind, EVENT_SPAN, Head};
use crate::commands::{EXIT_UNAVAILABLE, refuse};
use crate::config::Config;

/// What the command line says.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// Print one JSON object instead of the page for people.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no block is {0} deep yet, or two endpoints see different ones: try again")]
    NoFinalBlock(u64),
}

/// Sums of one side. Amounts in base units.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    registrations: u64,
    payouts: u64,
    usdc: String,
    sge: String,
    #[serde(skip)]
    sum: Commission,
}

impl Totals {
    fn add(&mut self, commission: Commission) {
        self.payouts += 1;
        self.sum.usdc = self.sum.usdc.checked_add(commission.usdc).unwrap_or(self.sum.usdc);
        self.sum.sge = self.sum.sge.checked_add(commission.sge).unwrap_or(self.sum.sge);
        (self.usdc, self.sge) = (self.sum.usdc.to_string(), self.sum.sge.to_string());
    }
}

/// One thing that chain and Redis differ in.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// Stable, for scripts.
    code: &'static str,
    detail: String,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    from_block: u64,
    to_block: u64,
    chain: Totals,
    redis: Totals,
    /// Paid or registered on the chain, and not final in Redis yet.
    under_way: u64,
    findings: Vec<Finding>,
}

/// Reconciles and prints. Exit code 0: nothing differs; 1: something does; 69: a side could not be read.
pub async fn run(config: &Config, store: &Store, chain: &dyn Chain, options: Options) -> ExitCode {
    let report = match reconcile(config, store, chain).await {
        Ok(report) => report,
        Err(error) => return refuse("cannot reconcile", &[error.to_string()], EXIT_UNAVAILABLE),
    };
    match options.json {
        // A struct of numbers and texts always serialises.
        true => println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
        false => println!("{report}"),
    }
    if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn reconcile(config: &Config, store: &Store, chain: &dyn Chain) -> Result<Report, Failed> {
    let none = || Failed::NoFinalBlock(config.confirmations);
    let deep = chain.head().await?.number.below(config.confirmations).ok_or_else(none)?;
    let deep = chain.agreed_block(deep).await?.ok_or_else(none)?;
    // What came after the checkpoint, other hands' doing included, the leader may not have read yet.
    let checkpoint = store.sync_state().await?.checkpoint.unwrap_or(BlockNumber::new(0));
    // After a replay it is the head, and payments are told only once they are deep.
    let told = BlockNumber::new(checkpoint.get().saturating_sub(config.confirmations));
    let mut report =
        Report { from_block: config.start_block.get(), to_block: deep.number.get(), ..Report::default() };
    let mut seen = BTreeSet::new();
    let mut from = config.start_block.get();
    while from <= deep.number.get() {
        let to = BlockNumber::new(deep.number.get().min(from + EVENT_SPAN - 1));
        let events = chain.events(BlockNumber::new(from), to).await?;
        compare_events(store, &events, told, &mut seen, &mut report).await?;
        from = to.get() + 1;
    }
    let mut offset = 0;
    loop {
        let ids: Vec<_> = store.done(offset).await?.into_iter().map(|(id, _)| id).collect();
        if ids.is_empty() {
            return Ok(report);
        }
        offset += ids.len();
        let mut jobs: Vec<Brief> = Vec::with_capacity(ids.len());
        for (job, brief) in ids.iter().zip(store.each_brief(&ids).await?) {
            match brief {
                Ok(brief) => jobs.extend(brief),
                Err(error) if error.is_of_one_record() => report.findings.push(Finding {
                    code: "unreadable_job",
                    detail: format!("job {job} is done by its index, and its record cannot be read: {error}"),
                }),
                Err(error) => return Err(error.into()),
            }
        }
        for job in not_done(chain, &jobs, deep).await? {
            report.findings.push(Finding {
                code: "done_but_unpaid",
                detail: format!(
                    "job {job} is done by its record; the contracts do not show it at block {}",
                    deep.number
                ),
            });
        }
    }
}

async fn compare_events(
    store: &Store,
    events: &[ChainEvent],
    told: BlockNumber,
    seen: &mut BTreeSet<PaymentId>,
    report: &mut Report,
) -> Result<(), Failed> {
    let (mut payments, mut children): (Vec<PaymentId>, Vec<Wallet>) = Default::default();
    for event in events {
        match &event.kind {
            ChainEventKind::Paid { payment, .. } => payments.push(*payment),
            ChainEventKind::Registered { child, .. } => children.push(*child),
            ChainEventKind::RegistrationRejected { .. } | ChainEventKind::PayoutFailed { .. } => {}
        }
    }
    let mut payments = store.recorded_payments(&payments).await?.into_iter();
    let mut referrals = store.recorded_referrals(&children).await?.into_iter();
    for event in events {
        let known = event.block <= told;
        match &event.kind {
            ChainEventKind::Paid { payment, referrer, usdc, sge, .. } => {
                let paid = Commission { usdc: *usdc, sge: *sge };
                report.chain.add(paid);
                if !seen.insert(*payment) {
                    report.findings.push(Finding {
                        code: "paid_twice",
                        detail: format!("payment {payment} has a second event, in block {}", event.block),
                    });
                }
                let found = payment_differs(payments.next().flatten(), *referrer, paid, known);
                report.note(&format!("payment {payment}, paid in block {}", event.block), found, |redis| {
                    redis.add(paid);
                });
            }
            ChainEventKind::Registered { child, referrer } => {
                report.chain.registrations += 1;
                let found = referral_differs(referrals.next().flatten(), *referrer, known);
                report.note(
                    &format!("wallet {child}, registered in block {}", event.block),
                    found,
                    |redis| {
                        redis.registrations += 1;
                    },
                );
            }
            ChainEventKind::RegistrationRejected { .. } | ChainEventKind::PayoutFailed { .. } => {}
        }
    }
    Ok(())
}

/// What an event and the record of it come to.
#[derive(Debug, PartialEq, Eq)]
enum Compared {
    Same,
    UnderWay,
    Differs(&'static str, String),
}

impl Report {
    fn note(&mut self, what: &str, found: Compared, count: impl FnOnce(&mut Totals)) {
        match found {
            Compared::Same => count(&mut self.redis),
            Compared::UnderWay => self.under_way += 1,
            Compared::Differs(code, how) => {
                self.findings.push(Finding { code, detail: format!("{what}: {how}") })
            }
        }
    }
}

/// `known`: Redis has been told of this block.
fn payment_differs(
    recorded: Option<RecordedPayment>,
    referrer: Wallet,
    paid: Commission,
    known: bool,
) -> Compared {
    let Some(recorded) = recorded else {
        return match known {
            true => Compared::Differs("unknown_payment", "nothing is recorded of it".to_owned()),
            false => Compared::UnderWay,
        };
    };
    if recorded.decision == "paid_on_chain" {
        return Compared::Same;
    }
    let job = recorded.job.map_or_else(|| "no job".to_owned(), |job| format!("job {job}"));
    if (recorded.referrer, recorded.commission) != (Some(referrer), paid) {
        let (was, is) = (paid, recorded.commission);
        return Compared::Differs(
            "other_amounts",
            format!(
                "{job} says {} USDC and {} SGE in base units, the chain paid {} and {} to {referrer}",
                is.usdc, is.sge, was.usdc, was.sge
            ),
        );
    }
    match recorded.stage {
        Some(Stage::Done) => Compared::Same,
        Some(Stage::Cancelled) => Compared::Differs("paid_but_cancelled", format!("{job} was cancelled")),
        Some(Stage::Failed) if known => Compared::Differs("paid_but_failed", format!("{job} is failed")),
        Some(_) => Compared::UnderWay,
        None => Compared::Differs(
            "paid_without_job",
            format!("it was decided as {}, with {job}", recorded.decision),
        ),
    }
}

fn referral_differs(recorded: Option<RecordedReferral>, referrer: Wallet, known: bool) -> Compared {
    match recorded {
        Some(recorded) if recorded.status == "registered" && recorded.referrer == Some(referrer) => {
            Compared::Same
        }
        _ if !known => Compared::UnderWay,
        Some(recorded) => {
            let whose = recorded.referrer.map_or_else(|| "nobody".to_owned(), |wallet| wallet.to_string());
            let how = format!("recorded as {} by {whose}, the chain says {referrer}", recorded.status);
            Compared::Differs("other_referral", how)
        }
        None => Compared::Differs("unknown_referral", "nothing is recorded of it".to_owned()),
    }
}

/// Those of `jobs` that the contracts' state at `deep` does not show as done, whoever is asked.
async fn not_done(chain: &dyn Chain, jobs: &[Brief], deep: Head) -> Result<Vec<JobId>, Failed> {
    let (mut payouts, mut payments) = (Vec::new(), Vec::new());
    let (mut registrations, mut children) = (Vec::new(), Vec::new());
    for job in jobs {
        match &job.payload {
            Payload::Payout(payout) => {
                payouts.push(job.id);
                payments.push(payout.payment_id);
            }
            Payload::Register(register) => {
                registrations.push((job.id, register.referrer));
                children.push(register.child);
            }
        }
    }
    let mut found = Vec::new();
    if !payouts.is_empty() {
        let answers = chain.paid_at(&payments, deep.hash).await?;
        let unpaid = |at: usize| nobody(&answers, |paid| paid.get(at).copied().flatten().is_some());
        found.extend(payouts.iter().enumerate().filter(|(at, _)| unpaid(*at)).map(|(_, job)| *job));
    }
    if !registrations.is_empty() {
        let answers = chain.referrers(&children, deep.hash).await?;
        for (at, (job, referrer)) in registrations.iter().enumerate() {
            if nobody(&answers, |known| known.get(at).copied().flatten() == Some(*referrer)) {
                found.push(*job);
            }
        }
    }
    Ok(found)
}

fn nobody<T>(answers: &Answers<T>, says: impl Fn(&T) -> bool) -> bool {
    !answers.iter().any(|said| says(&said.answer))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Blocks {} to {}", self.from_block, self.to_block)?;
        writeln!(f, "{:<32}{:>24}{:>24}", "", "chain", "Redis")?;
        let rows = [
            ("registrations", self.chain.registrations.to_string(), self.redis.registrations.to_string()),
            ("payouts", self.chain.payouts.to_string(), self.redis.payouts.to_string()),
            ("USDC, base units", self.chain.sum.usdc.to_string(), self.redis.sum.usdc.to_string()),
            ("SGE, base units", self.chain.sum.sge.to_string(), self.redis.sum.sge.to_string()),
        ];
        for (name, chain, redis) in rows {
            writeln!(f, "{name:<32}{chain:>24}{redis:>24}")?;
        }
        writeln!(f, "{:<32}{:>24}", "on the chain, not final here", self.under_way)?;
        if self.findings.is_empty() {
            return write!(f, "Nothing differs.");
        }
        writeln!(f, "{} findings:", self.findings.len())?;
        for finding in &self.findings {
            writeln!(f, "  {:<20}{}", finding.code, finding.detail)?;
        }
        write!(f, "See deploy/runbook.md, AilReconcileMismatch.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::money::{Sge, Usdc};

    fn wallet(n: u8) -> Wallet {
        format!("0x{n:040x}").parse().unwrap()
    }

    fn usdc(units: u128) -> Commission {
        Commission { usdc: Usdc::from_base_units(units), sge: Sge::ZERO }
    }

    fn record(stage: Option<Stage>) -> Option<RecordedPayment> {
        let job = Some(JobId::generate());
        Some(RecordedPayment {
            decision: "due".into(),
            job,
            stage,
            referrer: Some(wallet(1)),
            commission: usdc(5),
        })
    }

    fn code(found: Compared) -> &'static str {
        match found {
            Compared::Same => "same",
            Compared::UnderWay => "under_way",
            Compared::Differs(code, _) => code,
        }
    }

    #[test]
    fn an_event_agrees_with_a_done_job_of_the_same_amounts_only() {
        let of = |record, known| code(payment_differs(record, wallet(1), usdc(5), known));
        assert_eq!(of(record(Some(Stage::Done)), true), "same");
        assert_eq!(of(record(Some(Stage::Confirming)), true), "under_way");
        assert_eq!(of(record(Some(Stage::Failed)), true), "paid_but_failed");
        assert_eq!(of(record(Some(Stage::Failed)), false), "under_way");
        assert_eq!(of(record(Some(Stage::Cancelled)), false), "paid_but_cancelled");
        assert_eq!(of(record(None), true), "paid_without_job");
        assert_eq!((of(None, true), of(None, false)), ("unknown_payment", "under_way"));
        let other = |to, paid| code(payment_differs(record(Some(Stage::Done)), to, paid, true));
        assert_eq!(
            (other(wallet(2), usdc(5)), other(wallet(1), usdc(6))),
            ("other_amounts", "other_amounts")
        );
    }

    #[test]
    fn a_registration_agrees_with_the_same_referrer_only() {
        let of = |status: &str, referrer, known| {
            let recorded = RecordedReferral { status: status.into(), referrer: Some(referrer) };
            code(referral_differs(Some(recorded), wallet(1), known))
        };
        assert_eq!(of("registered", wallet(1), true), "same");
        assert_eq!(of("registered", wallet(2), true), "other_referral");
        assert_eq!(of("registering", wallet(1), false), "under_way");
        assert_eq!(of("failed", wallet(1), true), "other_referral");
        assert_eq!(code(referral_differs(None, wallet(1), true)), "unknown_referral");
    }
}
