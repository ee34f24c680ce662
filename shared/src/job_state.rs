//! The job machine, pure: which event takes a job from which stage to which. The store's scripts enforce the same edges
//! as compare-and-set; a test drives both with every stage and event and compares (`shared/tests/store/job_machine.rs`), and
//! `scripts/test` holds ARCHITECTURE.md's drawing against [`EDGES`].

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{BlockNumber, Epoch, Nonce};

/// Where a job is, with the data that belongs to that place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    Pending(Pending),
    Processing { epoch: Epoch, step: Processing },
    Retrying,
    Done { block: BlockNumber },
    Failed,
    Cancelled,
}

/// Waiting for something. `due` is in unix milliseconds of the Redis clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// In the `jobs` stream.
    Queued,
    /// For its child's registration to be included in a block.
    Waiting,
    /// For its backoff to end.
    Delayed { due: u64 },
    /// For the programme's hold to end.
    Held { due: u64 },
    /// For a closed gate to open.
    Gated { gate: String },
}

/// In the hands of a worker, or of the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processing {
    Checking {
        worker: String,
    },
    /// Checked, waiting for a nonce.
    Ready,
    /// Journaled: from here on only the chain decides.
    Submitted {
        nonce: Nonce,
    },
    /// Included in a block that is not yet deep enough.
    Confirming {
        block: BlockNumber,
        nonce: Option<Nonce>,
    },
}

macro_rules! stages {
    ($($variant:ident = $name:literal in $state:literal;)*) => {
        /// The flat name of a place, as stored in the job's `stage` field.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Stage { $($variant,)* }

        impl Stage {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The state that this stage is part of, as stored in the job's `state` field.
            pub const fn state(self) -> &'static str {
                match self { $(Self::$variant => $state,)* }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|stage| stage.name() == name)
            }
        }
    };
}

stages! {
    Queued = "queued" in "pending";
    Waiting = "waiting" in "pending";
    Delayed = "delayed" in "pending";
    Held = "held" in "pending";
    Gated = "gated" in "pending";
    Checking = "checking" in "processing";
    Ready = "ready" in "processing";
    Submitted = "submitted" in "processing";
    Confirming = "confirming" in "processing";
    Retrying = "retrying" in "retrying";
    Done = "done" in "done";
    Failed = "failed" in "failed";
    Cancelled = "cancelled" in "cancelled";
}

impl Stage {
    /// The states whose jobs are not at their end.
    pub const UNFINISHED: [&'static str; 3] = ["pending", "processing", "retrying"];
    /// The six states in the order people list them.
    pub const STATES: [&'static str; 6] =
        ["pending", "processing", "retrying", "done", "failed", "cancelled"];
}

impl JobState {
    pub fn stage(&self) -> Stage {
        match self {
            Self::Pending(Pending::Queued) => Stage::Queued,
            Self::Pending(Pending::Waiting) => Stage::Waiting,
            Self::Pending(Pending::Delayed { .. }) => Stage::Delayed,
            Self::Pending(Pending::Held { .. }) => Stage::Held,
            Self::Pending(Pending::Gated { .. }) => Stage::Gated,
            Self::Processing { step: Processing::Checking { .. }, .. } => Stage::Checking,
            Self::Processing { step: Processing::Ready, .. } => Stage::Ready,
            Self::Processing { step: Processing::Submitted { .. }, .. } => Stage::Submitted,
            Self::Processing { step: Processing::Confirming { .. }, .. } => Stage::Confirming,
            Self::Retrying => Stage::Retrying,
            Self::Done { .. } => Stage::Done,
            Self::Failed => Stage::Failed,
            Self::Cancelled => Stage::Cancelled,
        }
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed | Self::Cancelled)
    }
}

macro_rules! events {
    ($($variant:ident = $name:literal;)*) => {
        /// The name of an event, as it stands in the timeline and in ARCHITECTURE.md's drawing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum JobEvent { $($variant,)* }

        impl JobEvent {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

events! {
    Claim = "claim";
    HandBack = "hand_back";
    Pass = "ready";
    BackOff = "back_off";
    Park = "park";
    Fail = "fail";
    Settle = "settle";
    Journal = "journal";
    Include = "include";
    Exclude = "exclude";
    Finish = "finish";
    Promote = "promote";
    Await = "await";
    Release = "release";
    Retry = "retry";
    Cancel = "cancel";
    CancelUnpaid = "cancel_unpaid";
    Rebuild = "rebuild";
    Requeue = "requeue";
    Undo = "undo";
}

/// Every edge of the machine: from, event, to.
pub const EDGES: &[(&str, &str, &str)] = &[
    ("queued", "claim", "checking"),
    ("retrying", "claim", "checking"),
    ("checking", "claim", "checking"),
    ("checking", "hand_back", "queued"),
    ("checking", "ready", "ready"),
    ("checking", "back_off", "delayed"),
    ("ready", "back_off", "delayed"),
    ("submitted", "back_off", "delayed"),
    ("confirming", "back_off", "delayed"),
    ("checking", "park", "gated"),
    ("ready", "park", "gated"),
    ("submitted", "park", "gated"),
    ("confirming", "park", "gated"),
    ("waiting", "fail", "failed"),
    ("checking", "fail", "failed"),
    ("checking", "await", "waiting"),
    ("ready", "fail", "failed"),
    ("submitted", "fail", "failed"),
    ("confirming", "fail", "failed"),
    ("queued", "settle", "confirming"),
    ("waiting", "settle", "confirming"),
    ("delayed", "settle", "confirming"),
    ("held", "settle", "confirming"),
    ("gated", "settle", "confirming"),
    ("retrying", "settle", "confirming"),
    ("checking", "settle", "confirming"),
    ("ready", "settle", "confirming"),
    ("failed", "settle", "confirming"),
    ("ready", "journal", "submitted"),
    ("submitted", "include", "confirming"),
    ("confirming", "exclude", "submitted"),
    ("submitted", "finish", "done"),
    ("confirming", "finish", "done"),
    ("delayed", "promote", "queued"),
    ("held", "promote", "queued"),
    ("held", "await", "waiting"),
    ("gated", "release", "queued"),
    ("waiting", "release", "queued"),
    ("failed", "release", "queued"),
    ("failed", "retry", "retrying"),
    ("queued", "cancel", "cancelled"),
    ("waiting", "cancel", "cancelled"),
    ("delayed", "cancel", "cancelled"),
    ("held", "cancel", "cancelled"),
    ("gated", "cancel", "cancelled"),
    ("retrying", "cancel", "cancelled"),
    ("checking", "cancel", "cancelled"),
    ("ready", "cancel", "cancelled"),
    ("failed", "cancel", "cancelled"),
    ("submitted", "cancel_unpaid", "cancelled"),
    ("confirming", "cancel_unpaid", "cancelled"),
    ("queued", "rebuild", "queued"),
    ("waiting", "rebuild", "waiting"),
    ("delayed", "rebuild", "delayed"),
    ("held", "rebuild", "held"),
    ("gated", "rebuild", "gated"),
    ("retrying", "rebuild", "retrying"),
    ("checking", "rebuild", "queued"),
    ("ready", "rebuild", "ready"),
    ("submitted", "rebuild", "submitted"),
    ("confirming", "rebuild", "confirming"),
    ("submitted", "requeue", "queued"),
    ("confirming", "requeue", "queued"),
    ("done", "undo", "submitted"),
    ("done", "requeue", "queued"),
];

/// The event does not apply where the job is.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("`{event}` does not apply to a job that is {stage}")]
pub struct IllegalTransition {
    pub stage: &'static str,
    pub event: &'static str,
}

/// Where `event` takes a job from `stage`.
pub fn apply(stage: Stage, event: JobEvent) -> Result<Stage, IllegalTransition> {
    EDGES
        .iter()
        .find(|(from, name, _)| *from == stage.name() && *name == event.name())
        .and_then(|(_, _, to)| Stage::from_name(to))
        .ok_or(IllegalTransition { stage: stage.name(), event: event.name() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_edge_names_known_stages_and_events() {
        for (from, event, to) in EDGES {
            assert!(Stage::from_name(from).is_some() && Stage::from_name(to).is_some(), "{from} {to}");
            assert!(JobEvent::ALL.iter().any(|known| known.name() == *event), "{event}");
        }
    }

    #[test]
    fn an_event_leads_to_one_stage_only() {
        for (i, (from, event, _)) in EDGES.iter().enumerate() {
            assert!(!EDGES[i + 1..].iter().any(|(f, e, _)| f == from && e == event), "{from} {event}");
        }
    }

    #[test]
    fn nothing_leaves_cancelled_and_only_a_chain_that_takes_back_its_word_leaves_done() {
        for event in JobEvent::ALL {
            let takes_back = matches!(event, JobEvent::Undo | JobEvent::Requeue);
            assert_eq!(apply(Stage::Done, *event).is_ok(), takes_back);
            assert!(apply(Stage::Cancelled, *event).is_err());
        }
    }

    #[test]
    fn a_journaled_job_is_cancelled_only_by_the_chain() {
        assert!(apply(Stage::Submitted, JobEvent::Cancel).is_err());
        assert!(apply(Stage::Confirming, JobEvent::Cancel).is_err());
        assert_eq!(apply(Stage::Submitted, JobEvent::CancelUnpaid), Ok(Stage::Cancelled));
    }

    #[test]
    fn a_nonce_is_given_only_to_a_checked_job() {
        for stage in Stage::ALL {
            assert_eq!(apply(*stage, JobEvent::Journal).is_ok(), *stage == Stage::Ready);
        }
    }

    #[test]
    fn every_stage_can_be_reached_from_acceptance() {
        let mut seen = vec!["queued", "held"];
        loop {
            let next: Vec<_> =
                EDGES.iter().filter(|(f, _, t)| seen.contains(f) && !seen.contains(t)).map(|e| e.2).collect();
            if next.is_empty() {
                break;
            }
            seen.extend(next);
        }
        assert!(Stage::ALL.iter().all(|stage| seen.contains(&stage.name())), "{seen:?}");
    }
}
