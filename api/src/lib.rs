//! The HTTP service: registration, payment webhooks, jobs and operators.
//!
//! Invariants:
//! * A 2xx to a merchant is given only after the store said that the write is as durable as the policy asks (G9).
//! * Whatever goes wrong before that is answered with a problem document; where it is unclear whether a write happened,
//!   sending the same request again is safe, because the store recognises it.
//! * Nothing is opened per request: the store's connections are long-lived, configuration is read once.
//!
//! Layers: `main → server → shell → routes → (auth, body, dto, webhook) → store`. `error` and `code` alone know which
//! failure becomes which status; `spec` alone knows the document.

mod app;
mod auth;
mod body;
mod code;
mod config;
mod dto;
mod error;
mod feed;
mod health;
mod memory;
mod metrics;
mod recent;
mod route_table;
mod routes;
mod server;
mod shell;
mod spec;
pub mod webhook;

pub use app::App;
pub use code::Code;
pub use config::Config;
pub use server::{DRAIN, Listening};
pub use spec::text as openapi;
