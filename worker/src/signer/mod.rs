//! The signer: pure decisions about fees, gas and the answers to broadcasts.

pub mod fees;
pub mod gas;
pub mod send;
