//! One moment of the whole system, and how effects change it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use alloy::primitives::Bytes;
use shared::ids::PaymentId;
use worker::chain::ChainError;

use super::action::Glance;
use super::db::{Db, Server};
use super::effect::{Asked, Effect, Told};
use super::ghosts::{Around, Ghosts, Promise, Sight, Sights};
use super::ledger::Ledger;
use super::mutants::Twist;
use super::seats::Seat;
use super::settings::{Budget, TICK};
use super::step::{Activity, Memory, Reached, Run, answer};
use crate::chain::{Answer, Question};

/// The unix milliseconds at which every check begins.
const EPOCH: u64 = 1_700_000_000_000;
/// What every process's monotonic clock says then.
const UPTIME: u64 = 100_000;

/// One moment.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) db: Arc<Db>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) actors: Vec<Actor>,
    /// How often all clocks ticked.
    pub(super) ticks: u8,
    /// What Redis will know after the rollback.
    pub(super) saved: Option<Arc<Db>>,
    /// How often Redis was a new process.
    pub(super) runs: u8,
    /// How many jobs were made.
    pub(super) jobs: u64,
    pub(super) left: Budget,
    pub(super) ghosts: Ghosts,
    /// The check has not begun: mutants are not broken yet.
    pub(super) is_setup: bool,
}

/// One process.
#[derive(Debug, Clone, Default)]
pub(super) struct Actor {
    /// How often it died.
    pub(super) incarnation: u8,
    /// How many ticks its clock missed.
    pub(super) behind: u8,
    pub(super) doing: Doing,
}

#[derive(Debug, Clone)]
pub(super) enum Doing {
    Nothing(Memory),
    Something(Busy),
}

/// In the middle of an activity.
#[derive(Debug, Clone)]
pub(super) struct Busy {
    pub(super) run: Run,
    /// What it waits for.
    pub(super) asked: Arc<Asked>,
    /// The answer that is under way, where the effect has happened.
    pub(super) told: Option<Arc<Told>>,
}

impl Default for Doing {
    fn default() -> Self {
        Self::Nothing(Memory::Nothing)
    }
}

impl Hash for Doing {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Nothing(memory) => (0u8, memory).hash(state),
            Self::Something(busy) => (1u8, busy.run.id, &busy.told).hash(state),
        }
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.db.id);
        state.write_u64(self.ledger.id);
        for actor in &self.actors {
            (actor.incarnation, actor.behind, &actor.doing).hash(state);
        }
        (self.ticks, self.saved.as_ref().map(|saved| saved.id), self.runs, self.jobs).hash(state);
        (&self.left, &self.ghosts).hash(state);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        super::effect::hash_of(self) == super::effect::hash_of(other)
    }
}

impl State {
    /// Redis's clock.
    pub(super) fn now(&self) -> u64 {
        EPOCH + u64::from(self.ticks) * TICK
    }

    /// A process's monotonic clock.
    pub(super) fn clock(&self, who: usize) -> u64 {
        let behind = self.actors.get(who).map_or(0, |actor| actor.behind);
        UPTIME + u64::from(self.ticks.saturating_sub(behind)) * TICK
    }

    pub(super) fn memory(&self, who: usize) -> Option<&Memory> {
        match &self.actors.get(who)?.doing {
            Doing::Nothing(memory) => Some(memory),
            Doing::Something(_) => None,
        }
    }

    pub(super) fn busy(&self, who: usize) -> Option<&Busy> {
        match &self.actors.get(who)?.doing {
            Doing::Something(busy) => Some(busy),
            Doing::Nothing(_) => None,
        }
    }
}

/// What never changes in one check.
pub(super) struct Rules {
    pub(super) server: Server,
    pub(super) payments: Vec<PaymentId>,
    /// By process, then by incarnation.
    pub(super) seats: Vec<Vec<Seat>>,
    /// The merchant and the operator.
    pub(super) outside: Seat,
    pub(super) twist: Option<Twist>,
    /// The promises that are looked at, as bits: of a mutant only those that it is said to break.
    pub(super) wanted: u32,
    pub(super) fine: bool,
    /// The nodes say that they take no transaction that pays anybody; somebody keeps it all the same.
    pub(super) refusing: bool,
    pub(super) sights: Sights,
}

impl Rules {
    pub(super) fn seat(&self, state: &State, who: usize) -> &Seat {
        match state.actors.get(who) {
            Some(actor) => {
                let seats = &self.seats[who];
                &seats[usize::from(actor.incarnation).min(seats.len() - 1)]
            }
            None => &self.outside,
        }
    }

    /// The defect under check, once the check has begun.
    pub(super) fn twist(&self, state: &State) -> Option<Twist> {
        self.twist.filter(|_| !state.is_setup)
    }

    /// Lets `asked` happen, and watches.
    pub(super) fn perform(&self, state: &mut State, asked: &Asked, glance: Glance) -> Told {
        match &asked.effect {
            Effect::Redis(_) if !asked.writes => Told::Redis(self.server.read(&state.db, state.now(), asked)),
            Effect::Redis(_) => {
                if self.twist(state) == Some(Twist::SendsBeforeItPersists) {
                    self.send_early(state, asked);
                }
                let executed = self.server.execute(&state.db, state.now(), asked);
                let around = Around { ledger: &state.ledger, payments: &self.payments, sights: &self.sights };
                state.ghosts.executed(asked, &executed, state.db.id, &around);
                state.db = executed.db.clone();
                self.watch(state);
                Told::Redis(executed.reply.clone())
            }
            Effect::Chain(Question::Broadcast(raw)) => {
                Told::Chain(self.broadcast(state, raw, asked.hash, glance))
            }
            Effect::Chain(question) => Told::Chain(self.answer(state, question, asked.hash, glance)),
        }
    }

    fn broadcast(
        &self,
        state: &mut State,
        raw: &Bytes,
        hash: u64,
        glance: Glance,
    ) -> Result<Answer, ChainError> {
        state.ghosts.sent(raw, &self.sights);
        let pays = super::ghosts::decode(raw).is_some_and(|sent| sent.pays);
        // The registration of their child, before there is any payment, is taken.
        let is_refused = self.refusing && pays && state.db.payments.iter().any(|known| known.job.is_some());
        let glance = if is_refused { Glance::Refusing } else { glance };
        let (reply, ledger) = state.ledger.send(glance, raw, hash, &self.payments);
        state.ledger = ledger;
        let known: Vec<u64> = state.ledger.chain.pool().known().map(|tx| tx.nonce).collect();
        if !pays && known.iter().any(|nonce| known.iter().filter(|other| *other == nonce).count() > 1) {
            self.sights.note(Sight::CancelRaced);
        }
        reply
    }

    /// A mutant's: bytes go out while the journal does not have them.
    fn send_early(&self, state: &mut State, asked: &Asked) {
        let at = match asked.script {
            Some("journal") => 5,
            Some("journal_attempt") => 4,
            _ => return,
        };
        let attempt: serde_json::Value = serde_json::from_str(asked.arg(at)).unwrap_or_default();
        if let Some(raw) = attempt["raw"].as_str().and_then(|raw| raw.parse::<Bytes>().ok()) {
            let _ = self.broadcast(state, &raw, super::effect::hash_of(&raw), Glance::Clear);
        }
    }

    fn answer(
        &self,
        state: &State,
        question: &Question,
        hash: u64,
        glance: Glance,
    ) -> Result<Answer, ChainError> {
        match (self.twist(state), question) {
            (Some(Twist::NullReceiptIsProof), _) => {
                super::mutants::null_receipt(state, question, state.ledger.ask(glance, question, hash))
            }
            _ => state.ledger.ask(glance, question, hash),
        }
    }

    /// What holds in every state.
    pub(super) fn watch(&self, state: &mut State) {
        if state.ledger.paid_twice {
            state.ghosts.break_promise(Promise::OnePayment);
        }
        for (payment, known) in state.db.payments.iter().enumerate() {
            let is_paid = state.ledger.paid & (1 << payment) != 0;
            state.ghosts.watch(payment, &known.stage, is_paid, &self.sights);
        }
    }

    /// Begins something, and goes on to its first effect.
    pub(super) fn begin(&self, state: &mut State, who: usize, activity: Activity) {
        let Some(memory) = state.memory(who).cloned() else { return };
        let run = Run::begin(self.seat(state, who), activity, memory, state.clock(who));
        self.go_on(state, who, run, Glance::Clear);
    }

    /// Goes on to the next effect that is a step, or to rest.
    pub(super) fn go_on(&self, state: &mut State, who: usize, mut run: Run, glance: Glance) {
        let doing = loop {
            let asked = match run.step(self.seat(state, who)) {
                Reached::Rests(memory) => break Doing::Nothing(memory),
                Reached::Asks(asked) => asked,
            };
            if asked.writes || self.fine {
                break Doing::Something(Busy { run, asked, told: None });
            }
            let told = self.perform(state, &asked, glance);
            run = run.after(answer(&asked, told), state.clock(who));
        };
        if let Doing::Something(Busy { asked, .. }) = &doing {
            self.on_pending(state, who, asked);
        }
        state.actors[who].doing = doing;
    }

    /// A signature was made just now.
    fn on_pending(&self, state: &mut State, who: usize, asked: &Asked) {
        let signs = matches!(asked.script, Some("journal" | "journal_attempt"));
        let clock_runs = state.actors[who].behind == 0 && !state.ghosts.has_rolled_back;
        if signs && clock_runs && asked.arg(0) != state.db.lease {
            state.ghosts.break_promise(Promise::Lease);
        }
    }

    /// What a single deed comes to, at once and undisturbed.
    pub(super) fn at_once(&self, state: &mut State, who: usize, activity: Activity) {
        let seat = self.seat(state, who);
        let memory = state.memory(who).cloned().unwrap_or_default();
        let mut run = Run::begin(seat, activity, memory, state.clock(who));
        let memory = loop {
            match run.step(seat) {
                Reached::Rests(memory) => break memory,
                Reached::Asks(asked) => {
                    let told = self.perform(state, &asked, Glance::Clear);
                    run = run.after(answer(&asked, told), state.clock(who));
                }
            }
        };
        if let Some(actor) = state.actors.get_mut(who) {
            actor.doing = Doing::Nothing(memory);
        }
    }
}
