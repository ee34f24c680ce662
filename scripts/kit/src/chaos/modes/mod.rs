//! Long runs about one thing each, with the same world, the same faults and the same verifier.

mod flood;
mod paused;
mod power;

use std::path::Path;

use anyhow::{Result, bail};

use super::schedule::Outcome;

/// Which long runs the command line asks for, and how long.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Wanted {
    /// So many leaders, each paused for three lives of its lease at a step that is followed by a write.
    #[arg(long, value_name = "N")]
    pub paused_leader: Option<u64>,
    /// So many payments, refunded, deleted and retried at random moments.
    #[arg(long, value_name = "N")]
    pub refunds: Option<u64>,
    /// So many requests, acknowledged by a Redis whose power fails again and again.
    #[arg(long, value_name = "N")]
    pub power_loss: Option<u64>,
    /// So many times an old append-only file is restored while payments flow.
    #[arg(long, value_name = "N")]
    pub old_aof: Option<u64>,
    /// So many times a replica without the last writes is promoted while payments flow.
    #[arg(long, value_name = "N")]
    pub replica: Option<u64>,
    /// So many payments, while three of ten sends are accepted by the node and never answered.
    #[arg(long, value_name = "N")]
    pub lost_replies: Option<u64>,
    /// So many payments, each delivered a hundred times.
    #[arg(long, value_name = "N")]
    pub storm: Option<u64>,
    /// So many payments, of which one in a hundred kills whoever looks at it.
    #[arg(long, value_name = "N")]
    pub poison: Option<u64>,
}

impl Wanted {
    /// Each with its count.
    pub fn modes(&self) -> Vec<(Mode, u64)> {
        let all = [
            (Mode::PausedLeader, self.paused_leader),
            (Mode::Refunds, self.refunds),
            (Mode::PowerLoss, self.power_loss),
            (Mode::OldAof, self.old_aof),
            (Mode::Replica, self.replica),
            (Mode::LostReplies, self.lost_replies),
            (Mode::Storm, self.storm),
            (Mode::Poison, self.poison),
        ];
        all.into_iter().filter_map(|(mode, count)| Some((mode, count?))).collect()
    }
}

/// What one long run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    PausedLeader,
    Refunds,
    PowerLoss,
    OldAof,
    Replica,
    LostReplies,
    Storm,
    Poison,
}

impl Mode {
    /// The name it has on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PausedLeader => "paused-leader",
            Self::Refunds => "refunds",
            Self::PowerLoss => "power-loss",
            Self::OldAof => "old-aof",
            Self::Replica => "replica",
            Self::LostReplies => "lost-replies",
            Self::Storm => "storm",
            Self::Poison => "poison",
        }
    }
}

/// Runs `mode`, `count` times whatever it counts.
pub async fn run(mode: Mode, count: u64, seed: u64, keep: &Path) -> Result<Outcome> {
    if count == 0 {
        bail!("{} of nothing", mode.name());
    }
    Ok(match mode {
        Mode::PausedLeader => paused::run(count, seed, keep).await,
        Mode::PowerLoss => power::run(count, seed, keep).await,
        flooded => flood::run(flooded, count, seed, keep).await,
    })
}
