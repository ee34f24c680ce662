//! The space of states as the checker walks through it, and the names of what it walks by.

use stateright::{Model, Property};

use super::action::Action;
use super::db::key;
use super::moves::Checking;
use super::setup;
use super::step::Memory;
use super::world::{Doing, State};

impl Model for Checking {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![setup::state(&self.setting, &self.rules)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // Nothing comes after a broken promise: the shortest way there is enough.
        if state.ghosts.breaks(self.rules.wanted) {
            return;
        }
        let left = &state.left;
        for who in 0..state.actors.len() {
            self.beginnings(state, who, actions);
            if let Some(busy) = state.busy(who) {
                self.goings_on(state, who, busy, actions);
            }
            if left.crashes > 0 {
                actions.push(Action::Crash(who));
            }
            if self.is_signer(who) && left.ticks > 0 && left.stalls > 0 {
                actions.push(Action::TickWithout(who));
            }
            let leads = match &state.actors[who].doing {
                Doing::Nothing(memory) => matches!(memory, Memory::Leading(_)),
                Doing::Something(busy) => matches!(busy.run.start, Memory::Leading(_)),
            };
            if left.renewals > 0 && leads {
                actions.push(Action::Renew(who));
            }
        }
        self.faults(state, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.take(&mut next, action).then_some(next)
    }

    fn format_action(&self, action: &Action) -> String {
        action.to_string()
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always("every promise", |model: &Self, state: &State| {
            !state.ghosts.breaks(model.rules.wanted)
        })]
    }
}

/// In words: what `action` does in `state`.
pub(super) fn describe(state: &State, action: Action, after: &State) -> String {
    let who = match action {
        Action::Step(who)
        | Action::StepSeeing(who, _)
        | Action::Perform(who)
        | Action::LoseReply(who)
        | Action::Undelivered(who) => Some(who),
        _ => None,
    };
    let asked =
        who.and_then(|who| state.busy(who)).map(|busy| format!(": {}", busy.asked)).unwrap_or_default();
    let waits = |state: &State, who: usize| match &state.actors[who].doing {
        Doing::Nothing(Memory::Nothing) => "rests".to_owned(),
        Doing::Nothing(Memory::Leading(term)) => format!("leads, {}", term.fence),
        Doing::Something(busy) => format!("{:?}, then: {}", busy.run.activity, busy.asked),
    };
    let next = match action {
        Action::Begin(who, _)
        | Action::Step(who)
        | Action::StepSeeing(who, _)
        | Action::Deliver(who)
        | Action::LoseReply(who)
        | Action::Undelivered(who) => format!(" -> {}", waits(after, who)),
        _ => String::new(),
    };
    let lease = after.db.ask(after.now(), &["GET", &key("lease")]).unwrap_or_default();
    let stages: Vec<&str> = after.db.payments.iter().map(|known| known.stage.as_str()).collect();
    let chain = &after.ledger.chain;
    format!(
        "{action}{asked}{next}\n        [lease {lease:?}, jobs {stages:?}, head {}, nonce {}, paid {:b}]",
        chain.head().number,
        chain.nonce(super::settings::SIGNER),
        after.ledger.paid
    )
}
