//! The whole system as real processes: one program, because each would be linked on its own otherwise.

mod chain;
mod chaos;
mod crash;
mod deploy;
mod docs;
mod doctor;
mod election;
mod emptied;
mod endpoints;
mod fleet_view;
mod gates;
mod idle;
mod inspect;
mod journal_first;
mod metrics;
mod pause;
mod reconcile;
mod recovery;
mod refunds;
mod sending;
mod start;
mod support;
mod waiting;
