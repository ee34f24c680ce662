//! Tools of the workspace: the world of real processes that demo, tests and benchmarks play in, and what plays there.
pub mod bench;
pub mod chaos;
pub mod demo;
pub mod idle;
pub mod inspect;
pub mod mutants;
pub mod tidy;
pub mod world;
