//! Model checking: every order in which a few processes, faults and blocks can follow each other, over the production code.
//!
//! The code under check is the product itself: leaders, consumers and scripts. It awaits nothing but its two ports, so what a
//! process does next depends on what it remembered and on what it was told since, and on nothing else ([`step`]). A state of
//! the model is Redis ([`db`]), the chain ([`ledger`]), and where each process is; a transition is one durable effect with all
//! the reading that follows it, or one fault ([`action`]). What must hold is watched from outside ([`ghosts`]).
//!
//! What is left out, so that spaces are finite: time passes in ticks, each longer than half a lease; reads that follow each
//! other happen at one moment, but in configurations that are `fine`; delays have no length; what is kept for people only
//! (feed, audit, totals, timelines) is taken out of Redis.

mod action;
mod check;
mod db;
mod deeds;
mod effect;
mod ghosts;
mod ledger;
mod moves;
mod mutants;
mod port;
mod seats;
mod settings;
mod setup;
mod space;
mod step;
mod world;

pub use check::{Checked, Finding, Options, Summary, check_all, check_mutant};
pub use ghosts::{Promise, Sight};
pub use mutants::{Mutant, mutants};
