//! Where a check begins: the product has run without faults until it is at work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::action::{Deed, Fill};
use super::db::Server;
use super::deeds::payment_id;
use super::ghosts::{Ghosts, Promise, Sights};
use super::ledger::{Ledger, Turn};
use super::mutants::{Mutant, Twist};
use super::seats::Seat;
use super::settings::{self, Budget, CONFIRMATIONS, SIGNER, Setting, Start};
use super::step::Activity;
use super::world::{Actor, Doing, Rules, State};
use crate::chain::{Genesis, SimChain};

/// Numbers models, so that what a thread remembers of one is not taken for another's.
static MODELS: AtomicU64 = AtomicU64::new(1);

/// More jobs than any check makes.
const MOST_JOBS: u64 = 12;

pub(super) fn rules(setting: &Setting, mutant: Option<&Mutant>) -> Rules {
    let model = MODELS.fetch_add(1, Ordering::Relaxed);
    let twist = mutant.and_then(|mutant| mutant.twist);
    let mut config = settings::config();
    if twist == Some(Twist::NothingIsDeep) {
        config.confirmations = 0;
    }
    let config = Arc::new(config);
    let late = twist == Some(Twist::TrustsFromAfterTheCall);
    let processes = setting.signers + setting.consumers;
    let lives = usize::from(setting.budget.crashes) + 2;
    let seats = (0..processes)
        .map(|who| (0..lives).map(|life| Seat::new(model, who, life, &config, late)).collect())
        .collect();
    let payments: Vec<_> = (0..setting.payments).map(payment_id).collect();
    let patches = mutant.map_or(&[][..], |mutant| mutant.patches);
    let promises = mutant.map_or(Promise::ALL, |mutant| mutant.breaks);
    Rules {
        server: Server::new(model, patches, payments.clone(), MOST_JOBS),
        payments,
        seats,
        outside: Seat::new(model, 25, 0, &config, false),
        twist,
        wanted: promises.iter().fold(0, |bits, promise| bits | promise.bit()),
        fine: setting.fine,
        refusing: setting.start == Start::Refused,
        sights: Sights::default(),
    }
}

/// The first state.
pub(super) fn state(setting: &Setting, rules: &Rules) -> State {
    let mut genesis = Genesis::development(SIGNER);
    genesis.state.payout.pays_again = rules.twist == Some(Twist::ContractPaysAgain);
    let ledger = Ledger::new(SimChain::new(genesis), &rules.payments);
    let processes = setting.signers + setting.consumers;
    let mut state = State {
        db: rules.server.empty(0),
        ledger,
        actors: vec![Actor::default(); processes],
        ticks: 0,
        saved: None,
        runs: 0,
        jobs: 1,
        left: Budget::default(),
        ghosts: Ghosts::default(),
        is_setup: true,
    };
    let (leader, outside) = (0, usize::MAX);
    let deed = |state: &mut State, deed: Deed| {
        rules.at_once(state, outside, Activity::Deed(deed, state.jobs, None));
        state.jobs += 1;
    };
    deed(&mut state, Deed::Migrate);
    rules.at_once(&mut state, leader, Activity::Acquire);
    rules.at_once(&mut state, leader, Activity::Pass);
    deed(&mut state, Deed::Register);
    claim(rules, &mut state, leader);
    rules.at_once(&mut state, leader, Activity::Pass);
    mine(rules, &mut state, Fill::Pool);
    for _ in 0..=CONFIRMATIONS {
        rules.at_once(&mut state, leader, Activity::Pass);
        mine(rules, &mut state, Fill::Nothing);
    }
    for payment in 0..setting.payments {
        deed(&mut state, Deed::Pay(payment));
    }
    match setting.start {
        Start::Queued => {}
        Start::Ready => claim(rules, &mut state, leader),
        Start::Refused => {
            claim(rules, &mut state, leader);
            rules.at_once(&mut state, leader, Activity::Pass);
            for _ in 1..worker::signer::send::REFUSALS_BEFORE_CANCEL {
                mine(rules, &mut state, Fill::Nothing);
                rules.at_once(&mut state, leader, Activity::Pass);
            }
        }
    }
    if !setting.leads {
        rules.at_once(&mut state, leader, Activity::Resign);
        assert!(state.db.lease.is_empty(), "the lease was not given up");
        state.actors[leader] = Actor { incarnation: 1, behind: 0, doing: Doing::default() };
    }
    // What a mutant is configured with shows before anything went wrong; it shall be found where something may.
    let broken = std::mem::take(&mut state.ghosts.broken);
    assert!(
        broken == 0 || rules.twist.is_some(),
        "a promise is broken before anything went wrong: {broken:b}"
    );
    (state.left, state.is_setup) = (setting.budget, false);
    state
}

/// The claim is a consumer's, but consumers remember nothing: it is made on the leader's seat, beside its memory.
fn claim(rules: &Rules, state: &mut State, leader: usize) {
    let leading = std::mem::take(&mut state.actors[leader].doing);
    rules.at_once(state, leader, Activity::Claim);
    state.actors[leader].doing = leading;
}

fn mine(rules: &Rules, state: &mut State, fill: Fill) {
    match state.ledger.after(Turn::Mine(fill), &rules.payments) {
        Some(ledger) => state.ledger = ledger,
        None => panic!("there is nothing to mine: {}", state.ledger.chain.head().number),
    }
}
