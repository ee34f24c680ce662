//! Tools of the workspace: the world of real processes that demo, tests and benchmarks play in.
pub mod world;
