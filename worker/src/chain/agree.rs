//! What two endpoints' answers to one question come to, pure. Answers about money are pinned to a block, so they must be
//! equal; where they are not, somebody is wrong, and only what the chain itself recorded tells who.
//!
//! Invariants: of two that differ, neither is believed; without a proof nothing is decided; whom a proof refutes is named;
//! where a second could have confirmed that a job is done and did not, it takes a proof as well.

use std::sync::Arc;

use shared::ids::{BlockNumber, Nonce};

use super::ChainEvent;

/// An answer and the endpoint that gave it (host and port).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Said<T> {
    pub endpoint: Arc<str>,
    pub answer: T,
}

/// The answers of two endpoints, in the order of the configuration, or of the one that had one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Answers<T> {
    /// Of the only endpoint that is configured.
    Only(Said<T>),
    /// Of one of several: no other had an answer.
    Alone(Said<T>),
    Two(Said<T>, Said<T>),
}

impl<T> Answers<T> {
    /// The answer that nobody contradicts; `None` where two differ.
    pub fn agreed(self) -> Option<T>
    where
        T: PartialEq,
    {
        match self {
            Self::Only(said) | Self::Alone(said) => Some(said.answer),
            Self::Two(one, other) => (one.answer == other.answer).then_some(one.answer),
        }
    }

    /// Whether others should have confirmed it and did not.
    pub fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }

    /// The same of every answer.
    pub fn map<U>(&self, part: impl Fn(&T) -> U) -> Answers<U> {
        let of = |said: &Said<T>| Said { endpoint: said.endpoint.clone(), answer: part(&said.answer) };
        match self {
            Self::Only(said) => Answers::Only(of(said)),
            Self::Alone(said) => Answers::Alone(of(said)),
            Self::Two(one, other) => Answers::Two(of(one), of(other)),
        }
    }

    /// Every answer with who gave it.
    pub fn iter(&self) -> impl Iterator<Item = &Said<T>> {
        let (one, other) = match self {
            Self::Only(said) | Self::Alone(said) => (said, None),
            Self::Two(one, other) => (one, Some(other)),
        };
        std::iter::once(one).chain(other)
    }
}

/// The places of the first two equal answers: they outvote whoever says otherwise.
pub fn pair<'a, T: PartialEq + 'a>(answers: impl IntoIterator<Item = &'a T>) -> Option<(usize, usize)> {
    let answers: Vec<&T> = answers.into_iter().collect();
    (1..answers.len())
        .find_map(|at| (0..at).find(|before| answers[*before] == answers[at]).map(|one| (one, at)))
}

/// The account nonce as several endpoints see it at this moment, which need not be the same block for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NonceRange {
    /// Below it, all say, every nonce is consumed.
    pub lowest: Nonce,
    /// From it on, all say, none is.
    pub highest: Nonce,
}

impl NonceRange {
    /// `None` where nobody answered.
    pub fn of(answers: impl IntoIterator<Item = Nonce>) -> Option<Self> {
        answers.into_iter().fold(None, |range, nonce| {
            let range = range.unwrap_or(Self { lowest: nonce, highest: nonce });
            Some(Self { lowest: range.lowest.min(nonce), highest: range.highest.max(nonce) })
        })
    }
}

/// An account's nonces as one endpoint sees them at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AccountNonces {
    /// Its newest block, looked at before the nonces.
    pub head: BlockNumber,
    /// After the newest block.
    pub latest: Nonce,
    /// Counting what the pool holds without a gap.
    pub pending: Nonce,
}

/// A decision, and the endpoints whose answers the proof behind it refutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged<T> {
    pub verdict: T,
    pub refuted: Vec<Arc<str>>,
}

impl<T> Judged<T> {
    fn agreed(verdict: T) -> Self {
        Self { verdict, refuted: Vec::new() }
    }
}

/// How far an account's nonces are consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// Every nonce below it is.
    pub below: Nonce,
    /// No nonce from it on is. In between, nothing is decided yet.
    pub free_from: Nonce,
}

/// How far nonces are consumed at the block `deep`. `seen`: in which canonical blocks receipts of our own attempts are, by
/// nonce. Nonces are consumed in order, so a receipt proves its own nonce and all below it consumed as of its block, and its
/// own and all above it not consumed before.
pub fn consumed(
    answers: &Answers<Nonce>,
    seen: &[(Nonce, BlockNumber)],
    deep: BlockNumber,
) -> Judged<Consumed> {
    let (one, other) = match answers {
        Answers::Two(one, other) if one.answer != other.answer => (one, other),
        Answers::Only(said) | Answers::Alone(said) | Answers::Two(said, _) => {
            return Judged::agreed(Consumed { below: said.answer, free_from: said.answer });
        }
    };
    let consumed = seen.iter().filter(|(_, block)| *block <= deep).map(|(nonce, _)| nonce.next()).max();
    let free = seen.iter().filter(|(_, block)| *block > deep).map(|(nonce, _)| *nonce).min();
    let (low, high) = if one.answer < other.answer { (one, other) } else { (other, one) };
    let mut refuted = Vec::new();
    if consumed.is_some_and(|consumed| low.answer < consumed) {
        refuted.push(low.endpoint.clone());
    }
    if free.is_some_and(|free| high.answer > free) {
        refuted.push(high.endpoint.clone());
    }
    let below = consumed.map_or(low.answer, |consumed| consumed.max(low.answer));
    let free_from = free.map_or(high.answer, |free| free.min(high.answer)).max(below);
    Judged { verdict: Consumed { below, free_from }, refuted }
}

/// What the contracts' state says about one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It became what the job wants in this block.
    In(BlockNumber),
    /// It is not what the job wants.
    Not,
    /// Two endpoints contradict each other, or one alone says that it is, and no event says who is right.
    Undecided,
}

impl Settled {
    pub const fn block(self) -> Option<BlockNumber> {
        match self {
            Self::In(block) => Some(block),
            Self::Not | Self::Undecided => None,
        }
    }
}

/// One item of an answer: the block in which it was settled, if it was.
type Claim = Option<BlockNumber>;

/// Whether it takes an event to decide about one item: two contradict each other, or nobody confirms that it is settled.
pub fn needs_proof(answers: &Answers<Claim>) -> bool {
    match answers {
        Answers::Only(_) => false,
        Answers::Alone(said) => said.answer.is_some(),
        Answers::Two(one, other) => one.answer != other.answer,
    }
}

/// Decides about one item. `proven`: the canonical block, not above the one asked about, that has the item's event.
pub fn settled(answers: &Answers<Claim>, proven: Claim) -> Judged<Settled> {
    let of = |claim: Claim| claim.map_or(Settled::Not, Settled::In);
    let (one, other) = match answers {
        Answers::Only(said) => return Judged::agreed(of(said.answer)),
        // That it is not costs one more look at the chain; that it is would end the job.
        Answers::Alone(said) => {
            let verdict = match (said.answer, proven) {
                (None, _) => Settled::Not,
                (Some(_), Some(block)) => Settled::In(block),
                (Some(_), None) => Settled::Undecided,
            };
            return Judged::agreed(verdict);
        }
        Answers::Two(one, other) if one.answer == other.answer => return Judged::agreed(of(one.answer)),
        Answers::Two(one, other) => (one, other),
    };
    match (proven, one.answer, other.answer) {
        (Some(block), ..) => {
            let wrong = [one, other].into_iter().filter(|said| said.answer != proven);
            let refuted = wrong.map(|said| said.endpoint.clone()).collect();
            Judged { verdict: Settled::In(block), refuted }
        }
        // They differ about the block only.
        (None, Some(block), Some(also)) => Judged::agreed(Settled::In(block.max(also))),
        (None, ..) => Judged::agreed(Settled::Undecided),
    }
}

/// Who left out an event that another endpoint shows in the same block.
pub fn omitted_by(shown: &[Said<Vec<ChainEvent>>], wanted: impl Fn(&ChainEvent) -> bool) -> Vec<Arc<str>> {
    let shows = |said: &&Said<Vec<ChainEvent>>| said.answer.iter().any(&wanted);
    if !shown.iter().any(|said| shows(&said)) {
        return Vec::new();
    }
    shown.iter().filter(|said| !shows(said)).map(|said| said.endpoint.clone()).collect()
}

/// Everything that anybody shows of the same blocks, each once, in the order of the chain.
pub fn union(shown: impl IntoIterator<Item = Vec<ChainEvent>>) -> Vec<ChainEvent> {
    let mut events: Vec<ChainEvent> = shown.into_iter().flatten().collect();
    events.sort_by_key(|event| (event.block, event.log_index, event.tx_hash));
    // Those that share a place and differ are few: forks, and lies.
    let mut united: Vec<ChainEvent> = Vec::with_capacity(events.len());
    for event in events {
        let place = |other: &&ChainEvent| (other.block, other.log_index) == (event.block, event.log_index);
        if !united.iter().rev().take_while(place).any(|other| *other == event) {
            united.push(event);
        }
    }
    united
}

#[cfg(test)]
#[path = "agree_tests.rs"]
mod tests;
