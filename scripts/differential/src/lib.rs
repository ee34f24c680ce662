//! The simulated Redis and the simulated chain held against the real ones, in `tests/against`. A package of its own, because
//! that of the simulation is optimised and this need not be.
