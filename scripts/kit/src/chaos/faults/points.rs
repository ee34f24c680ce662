//! A relayer that dies, stands still or loses a reply at a step between two durable effects.

use std::time::Instant;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::{Injector, Part, unarmed};
use crate::chaos::kinds::Kind;
use crate::world::Env;

/// What happens at the step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Kill,
    /// For three lives of the lease.
    Pause,
    /// The step's reply is lost: what it did is done, and the relayer is told that it failed.
    Error,
}

impl Action {
    pub const ALL: [Self; 3] = [Self::Kill, Self::Pause, Self::Error];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Error => "error",
        }
    }

    pub const fn kind(self) -> Kind {
        match self {
            Self::Kill => Kind::PointKill,
            Self::Pause => Kind::PointPause,
            Self::Error => Kind::PointError,
        }
    }

    pub const fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::PointKill => Some(Self::Kill),
            Kind::PointPause => Some(Self::Pause),
            Kind::PointError => Some(Self::Error),
            _ => None,
        }
    }
}

/// A step at which something is to happen, to each relayer once, when it gets there after `passes` other times.
#[derive(Debug, Clone)]
pub struct Armed {
    pub point: &'static str,
    pub action: Action,
    pub passes: u64,
    mark: String,
    /// Relayers that were there, and those that stand still since.
    acted: Vec<usize>,
    paused: Vec<(usize, Instant)>,
}

impl Armed {
    pub fn new(point: &'static str, action: Action, passes: u64) -> Self {
        let mark = format!("reached {point}");
        Self { point, action, passes, mark, acted: Vec::new(), paused: Vec::new() }
    }

    /// The same under another mark, where a log may hold earlier ones.
    #[must_use]
    pub fn called(self, mark: String) -> Self {
        Self { mark, ..self }
    }

    /// The mark in the log of a relayer that is there.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// `FAILPOINTS` of a relayer: it says that it is there, and stays until it is dealt with.
    pub fn env(&self) -> Env {
        let Self { point, passes, .. } = self;
        let skip = if *passes == 0 { String::new() } else { format!("{passes}*off->") };
        let stays = match self.action {
            Action::Kill => "1*pause",
            // Long enough to be frozen there, and over when it is thawed: it goes on from there at once.
            Action::Pause => "1*sleep(2500)",
            Action::Error => "1*return",
        };
        let text = format!("at_{point}={skip}1*print({});{point}={skip}{stays}", self.mark());
        Env::from([("FAILPOINTS".to_owned(), text)])
    }
}

impl Injector<'_> {
    /// Deals with every relayer that has reached the step.
    pub(super) fn at_points(&mut self) -> Result<()> {
        let Some(mut armed) = self.armed.take() else { return Ok(()) };
        for index in 0..self.world.relayers.len() {
            if armed.acted.contains(&index) || !self.world.logs(index).contains(armed.mark()) {
                continue;
            }
            armed.acted.push(index);
            match armed.action {
                Action::Kill => {
                    self.world.relayer(index)?.process().kill();
                    self.world.restart_relayer(index, &unarmed())?;
                }
                Action::Pause => {
                    self.signal(Part::Relayer(index), Signal::SIGSTOP)?;
                    armed.paused.push((index, Instant::now()));
                }
                Action::Error => {}
            }
            self.tell(format!("{} of relayer {index} at {}", armed.action.name(), armed.point));
            self.injected.push(armed.action.kind());
        }
        let long = self.world.settings.lease_ttl * 3;
        for (index, since) in std::mem::take(&mut armed.paused) {
            if since.elapsed() < long {
                armed.paused.push((index, since));
            } else {
                self.signal(Part::Relayer(index), Signal::SIGCONT).ok();
                self.tell(format!("relayer {index} goes on"));
            }
        }
        self.armed = Some(armed);
        Ok(())
    }

    /// Whoever stands still goes on.
    pub(super) fn end_pauses(&mut self) -> Result<()> {
        let paused = self.armed.as_mut().map(|armed| std::mem::take(&mut armed.paused));
        for (index, _) in paused.into_iter().flatten() {
            self.signal(Part::Relayer(index), Signal::SIGCONT).ok();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relayer_says_that_it_is_there_as_often_as_it_stays_there() {
        let armed = Armed::new("after_sign", Action::Kill, 2);
        assert_eq!(
            armed.env()["FAILPOINTS"],
            "at_after_sign=2*off->1*print(reached after_sign);after_sign=2*off->1*pause"
        );
        let at_once = Armed::new("after_sign", Action::Error, 0);
        assert_eq!(
            at_once.env()["FAILPOINTS"],
            "at_after_sign=1*print(reached after_sign);after_sign=1*return"
        );
    }
}
