//! Answers of several endpoints to one question, put together as the relayer does it: who is asked, how many must answer, and
//! what counts where they differ.

use shared::ids::{Hash32, Nonce};
use shared::job::FailureClass;
use worker::chain::agree::{pair, union};
use worker::chain::rules::{self, best_answer, kinder};
use worker::chain::{
    Answers, ChainError, ChainEvent, Conditions, Head, NonceRange, ReceiptView, Said, SendOutcome, Verdict,
};

use super::ask::{Answer, Question};
use super::sight::Sight;
use super::sim::SimChain;
use super::simulate::Simulator;
use super::view::{Eye, Mood, View};

type Answered<T> = Result<T, ChainError>;

impl SimChain {
    /// Answers `question` as endpoints do that see the chain as `view` says. A broadcast changes nothing here and is answered
    /// as it would be: see [`Self::broadcast`].
    pub fn ask(&self, view: &View, question: &Question) -> Answered<Answer> {
        let council = Council { chain: self, view };
        Ok(match question {
            Question::HasCode(address) => Answer::HasCode(council.first(
                "eth_getCode",
                "latest",
                |sight| Ok(sight.tip().state.has_code(*address)),
            )?),
            Question::HasRoles(account) => {
                Answer::HasRoles(council.first("eth_call", "latest", |sight| Ok(sight.has_roles(*account)))?)
            }
            Question::Head => Answer::Head(council.head()?),
            Question::BlockAt(number) => {
                Answer::BlockAt(
                    council.first("eth_getBlockByNumber", number, |sight| sight.block_at(*number))?,
                )
            }
            Question::AgreedBlock(number) => Answer::AgreedBlock(
                council.verdict("eth_getBlockByNumber", number, |sight| sight.block_at(*number))?.agreed(),
            ),
            Question::PriorityFees => {
                let fees = council.two("eth_maxPriorityFeePerGas", "latest", |sight| Ok(sight.eye.tip))?;
                Answer::PriorityFees(fees.into_iter().map(|(_, fee)| fee).collect())
            }
            Question::NonceAt { account, at } => {
                Answer::NonceAt(
                    council.verdict("eth_getTransactionCount", at, |sight| sight.nonce_at(*account, *at))?,
                )
            }
            Question::NonceLatest(account) => {
                Answer::NonceLatest(council.nonce_range(|sight| sight.nonce_latest(*account))?)
            }
            Question::TakeoverNonces(account) => {
                let all =
                    council.all("eth_getTransactionCount", "latest", |sight| Ok(sight.nonces(*account)))?;
                Answer::TakeoverNonces(all.into_iter().map(|(_, nonces)| nonces).collect())
            }
            Question::Conditions { signer, at } => {
                let found = council.two("batch", at, |sight| sight.conditions(*signer, *at))?;
                let found = found.into_iter().map(|(_, found)| found);
                Answer::Conditions(found.reduce(Conditions::kinder).ok_or_else(nobody)?)
            }
            Question::SimulatePayouts { items, at } => {
                Answer::SimulatePayouts(
                    council.judged(items, *at, |simulator, items| simulator.payouts(items))?,
                )
            }
            Question::SimulateRegistrations { items, at } => {
                Answer::SimulateRegistrations(
                    council.judged(items, *at, |simulator, items| simulator.registrations(items))?,
                )
            }
            Question::SimulateCall { to, data, gas, at } => {
                Answer::SimulateCall(council.revert_of(*at, |simulator| simulator.revert(*to, data, *gas))?)
            }
            Question::PaidAt { payments, at } => {
                Answer::PaidAt(council.verdict("eth_call", at, |sight| sight.paid_at(payments, *at))?)
            }
            Question::Referrers { children, at } => {
                Answer::Referrers(council.verdict("eth_call", at, |sight| sight.referrers(children, *at))?)
            }
            Question::Events { from, to } => Answer::Events(council.events(*from, *to)?),
            Question::EventsIn(block) => {
                let all = council.all("eth_getLogs", block, |sight| sight.events_in(*block))?;
                Answer::EventsIn(all.into_iter().map(said).collect())
            }
            Question::Receipt(tx) => Answer::Receipt(council.receipt(*tx)?),
            Question::Broadcast(raw) => Answer::Broadcast(self.clone().broadcast(view, raw)?),
        })
    }

    /// Hands signed bytes to every endpoint. The best of their answers counts; the pool has the bytes where the chain itself
    /// takes them and any endpoint got them.
    pub fn broadcast(&mut self, view: &View, raw: &alloy::primitives::Bytes) -> Answered<SendOutcome> {
        let answer = |eye: &Eye| {
            let sight = Sight::open(self, eye, "eth_sendRawTransaction", "latest")?;
            match &eye.refuses {
                Some(refusal) => Ok((refusal.clone(), false)),
                None => Ok((self.would_say(raw, sight.tip()).0, true)),
            }
        };
        let answers: Vec<Answered<(SendOutcome, bool)>> = view.eyes.iter().map(answer).collect();
        if answers.iter().any(|answer| matches!(answer, Ok((_, true)))) {
            self.send(raw);
        }
        let answers = answers.into_iter().map(|answer| answer.map(|(outcome, _)| outcome)).collect();
        best_answer(answers).unwrap_or_else(|| Err(nobody()))
    }
}

fn nobody() -> ChainError {
    ChainError::Unreachable {
        endpoint: String::new(),
        method: "any",
        detail: "every endpoint is on another chain".to_owned(),
    }
}

fn said<T>((eye, answer): (&Eye, T)) -> Said<T> {
    Said { endpoint: eye.name.clone(), answer }
}

/// All endpoints, and the chain that they look at.
struct Council<'a> {
    chain: &'a SimChain,
    view: &'a View,
}

impl<'a> Council<'a> {
    /// What each says, as long as it is wanted.
    fn said<T>(
        &self,
        method: &'static str,
        about: impl ToString,
        question: impl Fn(&Sight<'a>) -> Answered<T>,
    ) -> impl Iterator<Item = (&'a Eye, Answered<T>)> {
        let chain = self.chain;
        self.view.eyes.iter().map(move |eye| {
            let answer = match eye.fault {
                Some(fault) => Err(fault.error(&eye.name, method, &about.to_string())),
                None => question(&Sight::of(chain, eye)),
            };
            (eye, answer)
        })
    }

    /// The first answers that are `enough`; the first error where there is none at all.
    fn gather<T>(
        said: impl Iterator<Item = (&'a Eye, Answered<T>)>,
        enough: impl Fn(&[(&'a Eye, T)]) -> bool,
    ) -> Answered<Vec<(&'a Eye, T)>> {
        let (mut answers, mut error) = (Vec::new(), None);
        for (eye, answer) in said {
            match answer {
                Ok(answer) => answers.push((eye, answer)),
                Err(failed) => _ = error.get_or_insert(failed),
            }
            if enough(&answers) {
                break;
            }
        }
        if answers.is_empty() { Err(error.unwrap_or_else(nobody)) } else { Ok(answers) }
    }

    /// Whoever answers first.
    fn first<T>(
        &self,
        method: &'static str,
        about: impl ToString,
        question: impl Fn(&Sight<'a>) -> Answered<T>,
    ) -> Answered<T> {
        let answers = Self::gather(self.said(method, about, question), |answers| !answers.is_empty())?;
        answers.into_iter().next().map(|(_, answer)| answer).ok_or_else(nobody)
    }

    /// Two, or whoever has one.
    fn two<T>(
        &self,
        method: &'static str,
        about: impl ToString,
        question: impl Fn(&Sight<'a>) -> Answered<T>,
    ) -> Answered<Vec<(&'a Eye, T)>> {
        Self::gather(self.said(method, about, question), |answers| answers.len() > 1)
    }

    fn all<T>(
        &self,
        method: &'static str,
        about: impl ToString,
        question: impl Fn(&Sight<'a>) -> Answered<T>,
    ) -> Answered<Vec<(&'a Eye, T)>> {
        Self::gather(self.said(method, about, question), |_| false)
    }

    /// What two say about money; where they contradict each other, two that agree outvote the rest.
    fn verdict<T: PartialEq>(
        &self,
        method: &'static str,
        about: impl ToString,
        question: impl Fn(&Sight<'a>) -> Answered<T>,
    ) -> Answered<Answers<T>> {
        let agreeing = |answers: &[(&Eye, T)]| pair(answers.iter().map(|(_, answer)| answer));
        let said_by_all = self.said(method, about, question);
        let answers = Self::gather(said_by_all, |answers| agreeing(answers).is_some())?;
        let two = agreeing(&answers).unwrap_or((0, 1));
        let chosen = answers.into_iter().enumerate().filter(|(at, _)| *at == two.0 || *at == two.1);
        let mut chosen = chosen.map(|(_, answer)| said(answer));
        match (chosen.next(), chosen.next()) {
            (Some(one), Some(other)) => Ok(Answers::Two(one, other)),
            (Some(one), None) if self.view.eyes.len() == 1 => Ok(Answers::Only(one)),
            (Some(one), None) => Ok(Answers::Alone(one)),
            (None, _) => Err(nobody()),
        }
    }

    fn head(&self) -> Answered<Head> {
        let heads = self.all("eth_getBlockByNumber", "latest", |sight| Ok(sight.tip().head))?;
        let heads = heads.into_iter().map(|(_, head)| head);
        heads.reduce(|best, head| if head.number > best.number { head } else { best }).ok_or_else(nobody)
    }

    fn nonce_range(&self, question: impl Fn(&Sight<'a>) -> Nonce) -> Answered<NonceRange> {
        let found = self.two("eth_getTransactionCount", "latest", |sight| Ok(question(sight)))?;
        NonceRange::of(found.into_iter().map(|(_, nonce)| nonce)).ok_or_else(nobody)
    }

    /// What two show that have the whole range, put together; of one where only one has it.
    fn events(
        &self,
        from: shared::ids::BlockNumber,
        to: shared::ids::BlockNumber,
    ) -> Answered<Vec<ChainEvent>> {
        if to < from {
            return Ok(Vec::new());
        }
        let whole = |shown: &[(&Eye, (shared::ids::BlockNumber, Vec<ChainEvent>))]| {
            shown.iter().filter(|(_, (upto, _))| *upto >= to).count()
        };
        let said_by_all = self.said("eth_getLogs", "latest", |sight| sight.walk(from, to));
        let shown = Self::gather(said_by_all, |shown| whole(shown) > 1)?;
        if whole(&shown) == 0 {
            let endpoint = shown.first().map(|(eye, _)| eye.name.to_string()).unwrap_or_default();
            return Err(ChainError::UnknownBlock { endpoint, block: to.to_string() });
        }
        Ok(union(shown.into_iter().map(|(_, (_, events))| events)))
    }

    /// The receipt of whoever has it whole, otherwise of whoever has one.
    fn receipt(&self, tx: Hash32) -> Answered<Option<ReceiptView>> {
        let contracts = self.chain.state().contracts;
        let shown = self.all("eth_getTransactionReceipt", tx, |sight| Ok(sight.receipt(tx)))?;
        let shown: Vec<ReceiptView> = shown.into_iter().filter_map(|(_, receipt)| receipt).collect();
        Ok(shown.iter().find(|found| rules::is_whole(found, &contracts)).or(shown.first()).cloned())
    }

    /// Verdicts of the first endpoint, and of a second about what the first does not call fine.
    fn judged<I: Clone>(
        &self,
        items: &[I],
        at: Hash32,
        simulate: impl Fn(&Simulator<'a>, &[I]) -> Vec<Verdict>,
    ) -> Answered<Vec<Verdict>> {
        let answer = |sight: &Sight<'a>, items: &[I]| {
            let simulator = self.simulator(sight, at)?;
            Ok(match sight.eye.mood {
                Mood::Honest => simulate(&simulator, items),
                Mood::Approves => vec![Verdict::Fine; items.len()],
                Mood::Refuses => vec![refusal(); items.len()],
            })
        };
        let mut said_by_all = self.said("eth_call", at, |sight| answer(sight, items));
        let mut error = None;
        let first = said_by_all.find_map(|(eye, found)| match found {
            Ok(found) => Some((eye, found)),
            Err(failed) => {
                error.get_or_insert(failed);
                None
            }
        });
        let Some((first, mut found)) = first else { return Err(error.unwrap_or_else(nobody)) };
        let doubted: Vec<usize> = (0..found.len()).filter(|item| found[*item] != Verdict::Fine).collect();
        if doubted.is_empty() {
            return Ok(found);
        }
        let again: Vec<I> = doubted.iter().map(|item| items[*item].clone()).collect();
        let others = self.said("eth_call", at, |sight| answer(sight, &again));
        let mut others = others.filter(|(eye, _)| !std::ptr::eq(*eye, first));
        match others.find_map(|(_, answer)| answer.ok()) {
            Some(others) => {
                for (item, other) in doubted.into_iter().zip(others) {
                    found[item] = kinder(found[item].clone(), other);
                }
            }
            None => {
                for item in doubted {
                    found[item] = self.unconfirmed(found[item].clone());
                }
            }
        }
        Ok(found)
    }

    /// Why a call reverts as two see it; `None` where one says that it does not.
    fn revert_of(
        &self,
        at: Hash32,
        simulate: impl Fn(&Simulator<'a>) -> Option<Verdict>,
    ) -> Answered<Option<Verdict>> {
        let answers = self.two("eth_call", at, |sight| {
            let simulator = self.simulator(sight, at)?;
            Ok(match sight.eye.mood {
                Mood::Honest => simulate(&simulator),
                Mood::Approves => None,
                Mood::Refuses => Some(refusal()),
            })
        })?;
        let mut answers = answers.into_iter().map(|(_, verdict)| verdict);
        Ok(match (answers.next().flatten(), answers.next()) {
            (Some(one), None) => Some(self.unconfirmed(one)),
            (one, second) => one.zip(second.flatten()).map(|(one, other)| kinder(one, other)),
        })
    }

    fn simulator(&self, sight: &Sight<'a>, at: Hash32) -> Answered<Simulator<'a>> {
        Ok(Simulator { block: sight.named(at)?, relayer: self.chain.site.relayer })
    }

    /// What a verdict is worth that nobody else confirms: what may end a job is put off for a while.
    fn unconfirmed(&self, verdict: Verdict) -> Verdict {
        let counts = self.view.eyes.len() == 1 || self.view.lone_refusals_count;
        if rules::may_end_a_job(&verdict) && !counts { Verdict::OutOfTime } else { verdict }
    }
}

/// What one comes to that says every call reverts.
fn refusal() -> Verdict {
    rules::fails(FailureClass::UnclearRevert, "reverted without data: simulated")
}
