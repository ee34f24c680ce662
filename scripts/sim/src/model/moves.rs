//! The transitions: which are possible, and what each comes to.

use std::sync::Arc;

use redis::Value;
use worker::chain::ChainError;

use super::action::{Action, Deed, Fill, Glance};
use super::effect::{Asked, Effect, Told};
use super::ghosts::Sight;
use super::ledger::Turn;
use super::mutants::{Mutant, Twist};
use super::settings::{Budget, Setting};
use super::setup;
use super::step::{Activity, Memory, Run, answer};
use super::world::{Actor, Busy, Doing, Rules, State};

/// One configuration, as the checker takes it.
pub(super) struct Checking {
    pub(super) setting: Setting,
    pub(super) rules: Rules,
}

impl Checking {
    pub(super) fn new(setting: Setting, mutant: Option<&Mutant>) -> Self {
        let rules = setup::rules(&setting, mutant);
        Self { setting, rules }
    }

    pub(super) fn is_signer(&self, who: usize) -> bool {
        who < self.setting.signers
    }

    pub(super) fn beginnings(&self, state: &State, who: usize, actions: &mut Vec<Action>) {
        let Some(memory) = state.memory(who) else { return };
        let mut begins = |activity| actions.push(Action::Begin(who, activity));
        match (self.is_signer(who), memory) {
            (true, Memory::Nothing) if state.db.lease.is_empty() || self.setting.contends => {
                begins(Activity::Acquire);
            }
            (true, Memory::Nothing) => {}
            (true, Memory::Leading(_)) => {
                begins(Activity::Pass);
                if state.left.resignations > 0 {
                    begins(Activity::Resign);
                }
            }
            (false, _) => {
                begins(Activity::Claim);
                begins(Activity::ClaimAmidWork);
                if state.left.ticks < self.setting.budget.ticks {
                    begins(Activity::Reclaim);
                }
                if state.db.payments.iter().any(|known| known.stage == "delayed") {
                    begins(Activity::Promote);
                }
                if state.ghosts.has_rolled_back {
                    begins(Activity::Sweep);
                }
            }
        }
    }

    pub(super) fn goings_on(&self, state: &State, who: usize, busy: &Busy, actions: &mut Vec<Action>) {
        let left = &state.left;
        if busy.told.is_some() {
            actions.push(Action::Deliver(who));
            return;
        }
        actions.push(Action::Step(who));
        if left.glances > 0 {
            actions.extend(self.setting.glances.iter().map(|glance| Action::StepSeeing(who, *glance)));
        }
        let mut may = |left: u8, action| {
            if left > 0 {
                actions.push(action)
            }
        };
        if busy.asked.writes {
            may(left.late, Action::Perform(who));
            may(left.lost, Action::LoseReply(who));
        }
        may(left.undelivered, Action::Undelivered(who));
    }

    pub(super) fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        let left = &state.left;
        if left.blocks > 0 {
            actions.extend([Fill::Nothing, Fill::Pool, Fill::Other].map(Action::Mine));
        }
        if left.calms > 0 {
            actions.push(Action::Calm);
        }
        if left.ticks > 0 {
            actions.push(Action::Tick);
        }
        if left.drops > 0 {
            actions.push(Action::Drop);
        }
        if left.reorgs > 0 {
            actions.extend([false, true].map(|hidden| Action::Reorg { hidden }));
        }
        if left.rollbacks > 0 {
            actions.push(if state.saved.is_some() { Action::Rollback } else { Action::Save });
        }
        for payment in 0..self.rules.payments.len() {
            let mut may = |left: u8, deed| {
                if left > 0 {
                    actions.push(Action::Deed(deed))
                }
            };
            may(left.deliveries, Deed::PayAgain(payment));
            may(left.refunds, Deed::Refund(payment));
            may(left.cancels, Deed::Cancel(payment));
            if state.db.payments[payment].stage == "failed" {
                may(left.retries, Deed::Retry(payment));
            }
        }
    }

    /// Spends one of a budget; `false` where none is left.
    fn spend(left: &mut u8) -> bool {
        left.checked_sub(1).map(|less| *left = less).is_some()
    }

    pub(super) fn take(&self, state: &mut State, action: Action) -> bool {
        let rules = &self.rules;
        match action {
            Action::Begin(who, activity) => {
                if activity == Activity::Resign && !Self::spend(&mut state.left.resignations) {
                    return false;
                }
                rules.begin(state, who, activity);
                true
            }
            Action::Step(who) => self.step(state, who, Glance::Clear),
            Action::StepSeeing(who, glance) => {
                Self::spend(&mut state.left.glances) && self.step(state, who, glance)
            }
            Action::Perform(who) => Self::spend(&mut state.left.late) && self.perform_only(state, who),
            Action::Deliver(who) => self.deliver(state, who),
            Action::LoseReply(who) => Self::spend(&mut state.left.lost) && self.lose_reply(state, who),
            Action::Undelivered(who) => {
                Self::spend(&mut state.left.undelivered) && self.undelivered(state, who)
            }
            Action::Crash(who) => Self::spend(&mut state.left.crashes) && crash(state, who),
            Action::Renew(who) => Self::spend(&mut state.left.renewals) && self.renew(state, who),
            Action::Tick => Self::spend(&mut state.left.ticks) && self.tick(state, None),
            Action::TickWithout(who) => {
                Self::spend(&mut state.left.ticks)
                    && Self::spend(&mut state.left.stalls)
                    && self.tick(state, Some(who))
            }
            Action::Mine(fill) => Self::spend(&mut state.left.blocks) && self.turn(state, Turn::Mine(fill)),
            Action::Calm => Self::spend(&mut state.left.calms) && self.turn(state, Turn::Calm),
            Action::Drop => Self::spend(&mut state.left.drops) && self.turn(state, Turn::Drop),
            Action::Reorg { hidden } => {
                Self::spend(&mut state.left.reorgs) && self.turn(state, Turn::Reorg { hidden })
            }
            Action::Save => {
                state.saved = Some(state.db.clone());
                true
            }
            Action::Rollback => Self::spend(&mut state.left.rollbacks) && self.roll_back(state),
            Action::Deed(deed) => self.act(state, deed),
        }
    }

    fn busy(state: &State, who: usize) -> Option<Busy> {
        state.busy(who).cloned()
    }

    fn step(&self, state: &mut State, who: usize, glance: Glance) -> bool {
        let Some(Busy { run, asked, told: None }) = Self::busy(state, who) else { return false };
        let told = self.rules.perform(state, &asked, glance);
        self.resume(state, who, &run, &asked, told, glance);
        true
    }

    fn resume(&self, state: &mut State, who: usize, run: &Run, asked: &Asked, told: Told, glance: Glance) {
        let run = run.after(answer(asked, told), state.clock(who));
        self.rules.go_on(state, who, run, glance);
    }

    fn perform_only(&self, state: &mut State, who: usize) -> bool {
        let Some(Busy { run, asked, told: None }) = Self::busy(state, who) else { return false };
        let told = self.rules.perform(state, &asked, Glance::Clear);
        state.actors[who].doing = Doing::Something(Busy { run, asked, told: Some(Arc::new(told)) });
        true
    }

    fn deliver(&self, state: &mut State, who: usize) -> bool {
        let Some(Busy { run, asked, told: Some(told) }) = Self::busy(state, who) else { return false };
        self.resume(state, who, &run, &asked, (*told).clone(), Glance::Clear);
        true
    }

    fn lose_reply(&self, state: &mut State, who: usize) -> bool {
        let Some(Busy { run, asked, told: None }) = Self::busy(state, who) else { return false };
        let told = self.rules.perform(state, &asked, Glance::Clear);
        state.ghosts.lost_answer(&asked, &told);
        let told = match (self.rules.twist(state), asked.script) {
            // Read as "not now": the signer goes on with the nonce that it believes to be free.
            (Some(Twist::SilenceIsRefusal), Some("journal")) => {
                Told::Redis(Value::Array(vec![Value::Int(5)]))
            }
            _ => silence(&asked),
        };
        self.resume(state, who, &run, &asked, told, Glance::Clear);
        true
    }

    fn undelivered(&self, state: &mut State, who: usize) -> bool {
        let Some(Busy { run, asked, told: None }) = Self::busy(state, who) else { return false };
        self.resume(state, who, &run, &asked, silence(&asked), Glance::Clear);
        true
    }

    fn renew(&self, state: &mut State, who: usize) -> bool {
        let Some(busy) = Self::busy(state, who) else {
            self.rules.at_once(state, who, Activity::Renew);
            return true;
        };
        // Beside what it is about: the very command, taken from a leader that does nothing else.
        let at = state.clock(who);
        let seat = self.rules.seat(state, who);
        let Memory::Leading(term) = &busy.run.start else { return false };
        let alone = Run::begin(seat, Activity::Renew, Memory::Leading(term.clone()), busy.run.began);
        let super::step::Reached::Asks(asked) = alone.step(seat) else { return false };
        let told = self.rules.perform(state, &asked, Glance::Clear);
        let run = busy.run.after(super::port::Event::Renewal(told), at);
        let Some(told) = busy.told else {
            self.rules.go_on(state, who, run, Glance::Clear);
            return true;
        };
        state.actors[who].doing = Doing::Something(Busy { run, asked: busy.asked, told: Some(told) });
        true
    }

    fn tick(&self, state: &mut State, asleep: Option<usize>) -> bool {
        state.ticks += 1;
        if let Some(actor) = asleep.and_then(|who| state.actors.get_mut(who)) {
            actor.behind += 1;
        }
        state.db = self.rules.server.at(&state.db, state.now());
        true
    }

    fn turn(&self, state: &mut State, turn: Turn) -> bool {
        let Some(ledger) = state.ledger.after(turn, &self.rules.payments) else { return false };
        if state.ledger.paid & !ledger.paid != 0 {
            self.rules.sights.note(Sight::Undone);
        }
        state.ledger = ledger;
        self.rules.watch(state);
        true
    }

    fn roll_back(&self, state: &mut State) -> bool {
        let Some(saved) = state.saved.take() else { return false };
        state.runs += 1;
        state.db = self.rules.server.restarted(&saved, state.runs, state.now());
        let has_job = |known: &super::db::Known| known.job.is_some();
        let bits = state.db.payments.iter().map(has_job).enumerate();
        let bits = bits.fold(0, |bits, (at, has)| bits | (u8::from(has) << at));
        state.ghosts.rolled_back(bits);
        true
    }

    fn act(&self, state: &mut State, deed: Deed) -> bool {
        let Budget { deliveries, refunds, cancels, retries, .. } = &mut state.left;
        let (left, payment) = match deed {
            Deed::PayAgain(payment) => (deliveries, payment),
            Deed::Refund(payment) => (refunds, payment),
            Deed::Cancel(payment) => (cancels, payment),
            Deed::Retry(payment) => (retries, payment),
            Deed::Migrate | Deed::Register | Deed::Pay(_) => return false,
        };
        if !Self::spend(left) {
            return false;
        }
        let job = state.db.payments[payment].job;
        let before = state.db.clone();
        self.rules.at_once(state, usize::MAX, Activity::Deed(deed, state.jobs, job));
        if state.db.payments != before.payments {
            state.jobs += u64::from(job != state.db.payments[payment].job);
        }
        true
    }
}

fn crash(state: &mut State, who: usize) -> bool {
    let actor = &mut state.actors[who];
    // A process that remembers nothing and is about nothing loses nothing.
    if matches!(actor.doing, Doing::Nothing(Memory::Nothing)) {
        return false;
    }
    *actor = Actor { incarnation: actor.incarnation + 1, ..Actor::default() };
    true
}

/// No answer came.
fn silence(asked: &Asked) -> Told {
    match asked.effect {
        Effect::Redis(_) => Told::Broken,
        Effect::Chain(_) => {
            Told::Chain(Err(ChainError::Timeout { endpoint: "modelled".to_owned(), method: "any" }))
        }
    }
}
