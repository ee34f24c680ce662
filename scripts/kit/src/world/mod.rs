//! Real parts as child processes.
mod anvil;
mod bindings;
mod contracts;
pub mod paths;
pub mod ports;
mod process;
mod redis;
