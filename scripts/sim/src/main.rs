//! `sim`: simulation and model checking of the relayer.

fn main() {}
