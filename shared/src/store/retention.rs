//! What leaves Redis: jobs that have ended, beyond a count or an age, and the transactions that carried them. Nothing
//! unfinished ever does, nor what failed: that waits for an operator; nor what a reorganisation may still undo.
//!
//! Invariants: a payment's record stays, so its id stays spent and a refund is still settled; what affiliates earned and
//! owe stays the same to the base unit.

use std::time::Duration;

use alloy::primitives::Address;

use super::codec;
use super::error::StoreError;
use super::script::{self, Args};
use super::sync::UNDOABLE;
use super::{SLICE, Store};

/// How much of what has ended stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Jobs of each state in which a job has ended.
    pub jobs: u64,
    /// For how long at most.
    pub age: Duration,
    /// The newest nonces of a signer whose transactions stay in any case: a takeover looks at them.
    pub nonces: u64,
}

/// The states whose jobs are removed in time.
const ENDED: [&str; 2] = ["done", "cancelled"];

/// What one look removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    pub jobs: u64,
    pub nonces: u64,
    /// Jobs that should go and cannot be read.
    pub unreadable: u64,
    /// Whether there may be more to remove at once.
    pub more: bool,
}

impl Store {
    /// Removes one slice of each kind of what need not stay.
    pub async fn retain(&self, retention: &Retention) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for state in ENDED {
            let mut unreadable = 0;
            loop {
                let args = Args::new().arg(state).arg(retention.jobs).arg(retention.age.as_millis());
                let args = args.arg(SLICE).arg(unreadable).arg(UNDOABLE);
                let (jobs, skipped): (u64, u64) = self.run(&script::RETAIN, args).await?;
                removed.jobs += jobs;
                removed.more |= jobs + skipped == SLICE as u64;
                unreadable += skipped;
                // Only where all that was looked at cannot be read is there a reason to look further at once.
                if skipped < SLICE as u64 {
                    break;
                }
            }
            removed.unreadable += unreadable;
        }
        let key = self.keys.signers();
        let signers: Vec<String> = self.read_often("signers", redis::cmd("SMEMBERS").arg(&key)).await?;
        for signer in signers {
            let signer: Address = codec::parse(&key, "signer", &signer, "an address")?;
            let args = Args::new().arg(format!("{signer:#x}")).arg(retention.nonces).arg(SLICE);
            let nonces: u64 = self.run(&script::RETAIN_TXS, args).await?;
            removed.nonces += nonces;
            removed.more |= nonces == SLICE as u64;
        }
        Ok(removed)
    }
}
