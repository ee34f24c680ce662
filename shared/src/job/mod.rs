//! What a job is: its kind, its payload and why it may have failed. How it moves is in [`crate::job_state`].

mod failure;
mod payout;
mod register;

pub use failure::{Failure, FailureClass, Severity};
pub use payout::{Payout, PayoutMode};
pub use register::Register;

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

use crate::ids::{JobId, Nonce};
use crate::job_state::JobState;

/// The work itself. The job's `kind` says which of them its `payload` holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Payload {
    Register(Register),
    Payout(Payout),
}

impl Payload {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Register(_) => Kind::Register,
            Self::Payout(_) => Kind::Payout,
        }
    }

    /// What a job of this kind keeps in `payload`.
    pub(crate) fn parse(kind: Kind, json: &str) -> serde_json::Result<Self> {
        Ok(match kind {
            Kind::Register => Self::Register(serde_json::from_str(json)?),
            Kind::Payout => Self::Payout(serde_json::from_str(json)?),
        })
    }
}

/// The two kinds of job. Jobs of different kinds never share a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Register,
    Payout,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Register, Self::Payout];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Register => Register::NAME,
            Self::Payout => Payout::NAME,
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A job as read from the store. Times are unix milliseconds of the Redis clock.
#[derive(Debug, Clone)]
pub struct Job {
    pub id: JobId,
    pub payload: Payload,
    pub state: JobState,
    /// Attempts charged since the job was accepted or last retried by hand.
    pub attempts: u32,
    /// How often the same event was delivered again.
    pub duplicates: u64,
    pub last_failure: Option<Failure>,
    /// A full refund arrived when the payout was already journaled.
    pub refund_requested: bool,
    /// The nonce of the latest transaction that held this job.
    pub last_nonce: Option<Nonce>,
    /// The account that nonce belongs to.
    pub last_signer: Option<Address>,
    pub created_at: u64,
    pub updated_at: u64,
}
