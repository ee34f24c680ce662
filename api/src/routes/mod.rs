//! The routes: one file per resource. Each handler parses, asks the store one question, and words the answer.

mod affiliates;
mod events;
mod fleet;
mod health;
mod jobs;
mod operations;
mod payments;
mod register;
mod transactions;
mod webhooks;

pub(crate) use affiliates::Affiliates;
pub(crate) use events::Events;
pub(crate) use fleet::FleetRoutes;
pub(crate) use health::Health;
pub(crate) use jobs::Jobs;
pub(crate) use operations::Operations;
pub(crate) use payments::Payments;
pub(crate) use register::Registration;
pub(crate) use transactions::Transactions;
pub(crate) use webhooks::Webhooks;

use poem_openapi::Tags;

#[derive(Tags)]
enum Tag {
    /// What merchants and payment processors send.
    Intake,
    /// What was accepted, and what became of it.
    Records,
    /// What operators do.
    Operations,
    /// What machines ask.
    Health,
}
