//! The same questions to both chains, and what may differ between the answers.

use std::collections::HashMap;

use shared::ids::{BlockNumber, Hash32};
use shared::job::{Failure, FailureClass};
use sim::chain::{Answer, Question};
use worker::chain::{Answers, Chain, ChainError, ChainEventKind, Head, Said, Verdict};

/// The simulated block hash of each real one, and the other way round.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    to_real: HashMap<Hash32, Hash32>,
    to_simulated: HashMap<Hash32, Hash32>,
}

impl Hashes {
    pub(super) fn know(&mut self, simulated: Hash32, real: Hash32) {
        self.to_real.insert(simulated, real);
        self.to_simulated.insert(real, simulated);
    }

    /// Whether the simulated block is the real one.
    pub fn is_real(&self, simulated: Hash32, real: Hash32) -> bool {
        self.to_real.get(&simulated) == Some(&real)
    }

    /// The question about simulated blocks, as it is asked about real ones.
    pub(super) fn real(&self, question: &Question) -> Question {
        let mut question = question.clone();
        match &mut question {
            Question::NonceAt { at, .. }
            | Question::Conditions { at, .. }
            | Question::SimulatePayouts { at, .. }
            | Question::SimulateRegistrations { at, .. }
            | Question::SimulateCall { at, .. }
            | Question::PaidAt { at, .. }
            | Question::Referrers { at, .. }
            | Question::EventsIn(at) => *at = self.to_real.get(at).copied().unwrap_or(*at),
            _ => {}
        }
        question
    }

    fn simulated(&self, real: Hash32) -> Hash32 {
        self.to_simulated.get(&real).copied().unwrap_or(real)
    }

    /// The real answer in the terms of the simulated chain.
    pub(super) fn translate(&self, answer: &mut Answer) {
        match answer {
            Answer::Head(head) | Answer::BlockAt(head) | Answer::AgreedBlock(Some(head)) => self.head(head),
            Answer::Receipt(Some(receipt)) => receipt.block_hash = self.simulated(receipt.block_hash),
            _ => {}
        }
    }

    fn head(&self, head: &mut Head) {
        head.hash = self.simulated(head.hash);
        head.parent = self.simulated(head.parent);
    }
}

/// Without what is rough in the simulation: gas, what it costs, and the words of a node.
pub(super) fn roughened(mut answer: Result<Answer, ChainError>) -> Result<Answer, ChainError> {
    match &mut answer {
        Ok(Answer::Conditions(conditions)) => conditions.signer_balance = 0,
        Ok(Answer::Receipt(Some(receipt))) => {
            receipt.gas_used = 0;
            receipt.events.iter_mut().for_each(|event| event_words(&mut event.kind));
        }
        Ok(Answer::SimulatePayouts(verdicts) | Answer::SimulateRegistrations(verdicts)) => {
            verdicts.iter_mut().for_each(words);
        }
        // What a node suggests is its own affair.
        Ok(Answer::PriorityFees(fees)) => fees.fill(0),
        Ok(Answer::SimulateCall(Some(verdict))) => words(verdict),
        Ok(Answer::Events(events)) => events.iter_mut().for_each(|event| event_words(&mut event.kind)),
        Ok(Answer::EventsIn(said)) => {
            let events = said.iter_mut().flat_map(|said| &mut said.answer);
            events.for_each(|event| event_words(&mut event.kind));
        }
        Ok(Answer::Broadcast(worker::chain::SendOutcome::Refused(words))) => words.clear(),
        Err(ChainError::UnknownBlock { endpoint, block }) => {
            endpoint.clear();
            block.clear();
        }
        _ => {}
    }
    answer
}

fn event_words(kind: &mut ChainEventKind) {
    if let ChainEventKind::PayoutFailed { verdict, .. } = kind {
        words(verdict);
    }
}

fn words(verdict: &mut Verdict) {
    if let Verdict::Fails(Failure { class: FailureClass::UnclearRevert, reason, .. }) = verdict {
        reason.clear();
    }
}

/// Asks by the trait.
pub(super) async fn ask(chain: &dyn Chain, question: Question) -> Result<Answer, ChainError> {
    use Question as Q;
    Ok(match question {
        Q::HasCode(address) => Answer::HasCode(chain.has_code(address).await?),
        Q::HasRoles(account) => Answer::HasRoles(chain.has_roles(account).await?),
        Q::Head => Answer::Head(chain.head().await?),
        Q::BlockAt(number) => Answer::BlockAt(chain.block_at(number).await?),
        Q::AgreedBlock(number) => Answer::AgreedBlock(chain.agreed_block(number).await?),
        Q::PriorityFees => Answer::PriorityFees(chain.priority_fees().await?),
        Q::NonceAt { account, at } => Answer::NonceAt(chain.nonce_at(account, at).await?),
        Q::NonceLatest(account) => Answer::NonceLatest(chain.nonce_latest(account).await?),
        Q::TakeoverNonces(account) => Answer::TakeoverNonces(chain.takeover_nonces(account).await?),
        Q::Conditions { signer, at } => Answer::Conditions(chain.conditions(signer, at).await?),
        Q::SimulatePayouts { items, at } => {
            Answer::SimulatePayouts(chain.simulate_payouts(&items, at).await?)
        }
        Q::SimulateRegistrations { items, at } => {
            Answer::SimulateRegistrations(chain.simulate_registrations(&items, at).await?)
        }
        Q::SimulateCall { to, data, gas, at } => {
            Answer::SimulateCall(chain.simulate_call(to, data, gas, at).await?)
        }
        Q::PaidAt { payments, at } => Answer::PaidAt(chain.paid_at(&payments, at).await?),
        Q::Referrers { children, at } => Answer::Referrers(chain.referrers(&children, at).await?),
        Q::Events { from, to } => Answer::Events(chain.events(from, to).await?),
        Q::EventsIn(block) => Answer::EventsIn(chain.events_in(block).await?),
        Q::Receipt(tx) => Answer::Receipt(chain.receipt(tx).await?),
        Q::Broadcast(raw) => Answer::Broadcast(chain.broadcast(&raw).await?),
    })
}

/// How many paid payments, verdicts and events an answer tells of: a comparison of nothing with nothing proves nothing.
pub(super) fn substance(answer: &Answer) -> usize {
    let many = |said: &Answers<Vec<Option<BlockNumber>>>| {
        said.iter().map(|Said { answer, .. }| answer.iter().flatten().count()).sum()
    };
    match answer {
        Answer::PaidAt(said) => many(said),
        Answer::SimulatePayouts(verdicts) => verdicts.len(),
        Answer::Events(events) => events.len(),
        _ => 1,
    }
}
