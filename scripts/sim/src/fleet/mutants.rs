//! Defects on purpose, one at a time: a simulation that does not find one of them within a few seeds looks at too little.

use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;
use worker::config::Config;

use super::Size;
use super::settings::SIGNER;
use super::world::World;
use crate::chain::{Genesis, SimChain};
use crate::patch::{CANCEL_JOURNALED, NO_DEDUPE, NO_FENCE, Patch, Patches, REFUND_JOURNALED};

/// A defect that no text of a script is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twist {
    /// What is in the newest block is final.
    NothingIsDeep,
    /// The contract does not look whether it paid already.
    ContractPaysAgain,
}

/// One defect, and what must find it.
#[derive(Debug, Clone)]
pub struct Mutant {
    pub name: &'static str,
    patches: &'static [Patch],
    twist: Option<Twist>,
    /// What a violation that it brings about says.
    pub shows_as: &'static [&'static str],
}

impl Mutant {
    /// What shows it, where this seed does.
    pub fn shown_by(&self, seed: u64, size: Size) -> Option<String> {
        let report = super::run_mutant(seed, size, Some(self));
        report.violations.into_iter().find(|told| self.shows_as.iter().any(|words| told.contains(words)))
    }
}

const fn patched(name: &'static str, patches: &'static [Patch], shows_as: &'static [&'static str]) -> Mutant {
    Mutant { name, patches, twist: None, shows_as }
}

const fn twisted(name: &'static str, twist: Twist, shows_as: &'static [&'static str]) -> Mutant {
    Mutant { name, patches: &[], twist: Some(twist), shows_as }
}

/// All of them.
pub fn mutants() -> Vec<Mutant> {
    const PAID_ALL_THE_SAME: &str = "on the chain Some";
    const ANSWERED: &str = "answered as cancelled, and is paid";
    vec![
        patched("no fence", &[NO_FENCE], &["G5:"]),
        patched("no dedupe of payments", &[NO_DEDUPE], &["G1:"]),
        patched("cancel of what is journaled", &[CANCEL_JOURNALED], &[PAID_ALL_THE_SAME, ANSWERED]),
        patched("refund cancels what is journaled", &[REFUND_JOURNALED], &[PAID_ALL_THE_SAME, ANSWERED]),
        patched("nobody takes over from the silent", &[NO_TAKEOVER], &["not over"]),
        patched("sweep misses lost entries", &[BLIND_SWEEP], &["not over"]),
        patched("parked jobs are never let go", &[NO_RELEASE], &["not over"]),
        twisted("depth ignored", Twist::NothingIsDeep, &["G6:"]),
        twisted("contract pays again", Twist::ContractPaysAgain, &["is paid twice"]),
    ]
}

/// No defect, but bad luck: whatever the leader takes back, it gets the answer to a second copy of the command.
pub fn second_copies() -> Mutant {
    patched("undo answers as its second copy", &[UNDO_TWICE], &[])
}

const UNDO_TWICE: Patch = Patch {
    script: Some("undo"),
    from: "if no == 0 then undo(id, job) end",
    to: "if no == 0 then undo(id, job) no = 3 end",
};
const NO_TAKEOVER: Patch = Patch {
    script: Some("reclaim"),
    from: "if not found then return out end",
    to: "if true then return { '0-0', 0, '' } end",
};
const BLIND_SWEEP: Patch = Patch { script: Some("sweep"), from: "if rebuild[stage] and", to: "if false and" };
const NO_RELEASE: Patch = Patch {
    script: Some("chores"),
    from: "if redis.call('HEXISTS', key('gate'), gate) == 0 then open[#open + 1] = gate end",
    to: "",
};

/// The world of a seed, with what is broken in it.
pub(super) fn world(dice: &mut StdRng, size: Size, mutant: Option<&Mutant>) -> Arc<World> {
    let mut genesis = Genesis::development(SIGNER);
    let twist = mutant.and_then(|mutant| mutant.twist);
    genesis.state.payout.pays_again = twist == Some(Twist::ContractPaysAgain);
    let patches = mutant.map_or_else(Patches::default, |mutant| Patches::new(mutant.patches));
    // One more process than relayers: the API.
    World::new(dice.random(), size.relayers + 1, SimChain::new(genesis), patches)
}

pub(super) fn misconfigure(config: &mut Config, mutant: Option<&Mutant>) {
    if mutant.is_some_and(|mutant| mutant.twist == Some(Twist::NothingIsDeep)) {
        config.confirmations = 0;
    }
}
