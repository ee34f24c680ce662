//! Processes that die or stand still, and the ways between them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;

use super::{Injector, Part, Undo};
use crate::chaos::kinds::Kind;
use crate::chaos::plan::Planned;
use crate::world::{Env, Fault, LinkFault};

/// How long may be asked who leads.
const WHO_LEADS: Duration = Duration::from_secs(1);

impl Injector<'_> {
    pub(super) async fn at_parts(&mut self, fault: &Planned) -> Result<(String, Undo)> {
        let fleet = self.world.relayers.len();
        let part = match fault.kind {
            Kind::KillApi | Kind::StopApi => Part::Api,
            Kind::KillRelayer | Kind::StopRelayer => Part::Relayer(fault.pick(0, fleet as u64) as usize),
            _ => Part::Relayer(self.leader_or(fault.pick(0, fleet as u64) as usize).await),
        };
        match fault.kind {
            Kind::StopApi | Kind::StopLeader | Kind::StopLeaderLong | Kind::StopRelayer => {
                self.signal(part, Signal::SIGSTOP)?;
                let lease = self.world.settings.lease_ttl;
                let until = match fault.kind {
                    Kind::StopLeader => lease.mul_f64(0.1 + fault.pick(1, 50) as f64 / 100.0),
                    Kind::StopLeaderLong => lease.mul_f64(1.5 + fault.pick(1, 150) as f64 / 100.0),
                    _ => return Ok((format!("{part:?}"), Undo::Continue(part))),
                };
                // Shorter and longer than the lease are what these two are about, so they keep their own time.
                tokio::time::sleep(until).await;
                self.signal(part, Signal::SIGCONT)?;
                Ok((format!("{part:?} for {until:.1?}"), Undo::Nothing))
            }
            Kind::KillFleet => {
                let all: Vec<Part> = (0..fleet).map(Part::Relayer).collect();
                for part in &all {
                    self.kill(*part)?;
                }
                Ok((format!("{fleet} relayers"), Undo::Start(all)))
            }
            _ => {
                self.kill(part)?;
                Ok((format!("{part:?}"), Undo::Start(vec![part])))
            }
        }
    }

    /// Who leads, as far as anybody says so in time.
    async fn leader_or(&mut self, other: usize) -> usize {
        let asked = tokio::time::timeout(WHO_LEADS, self.world.leads_now()).await;
        asked.ok().flatten().unwrap_or(other)
    }

    fn kill(&mut self, part: Part) -> Result<()> {
        self.down.insert(part);
        match part {
            Part::Api => self.world.api.as_mut().context("no API")?.process().kill(),
            Part::Relayer(index) => self.world.relayer(index)?.process().kill(),
        }
        Ok(())
    }

    pub(super) fn start(&mut self, part: Part) -> Result<()> {
        self.down.remove(&part);
        match part {
            Part::Api => self.world.api.as_mut().context("no API")?.restart(&Env::new()),
            Part::Relayer(index) => self.world.restart_relayer(index, &self.restart),
        }
    }

    pub(super) fn signal(&mut self, part: Part, signal: Signal) -> Result<()> {
        match part {
            Part::Api => self.world.api.as_mut().context("no API")?.process().signal(signal),
            Part::Relayer(index) => self.world.relayer(index)?.signal(signal),
        }
    }

    /// One way to Redis, or all of them.
    pub(super) fn at_links(&mut self, fault: &Planned) -> (String, Undo) {
        let what = match fault.kind {
            Kind::LinkDelay => LinkFault::Delay(5 + fault.pick(1, 200)),
            Kind::LinkCut => LinkFault::Cut,
            Kind::LinkStall => LinkFault::Stall,
            _ => LinkFault::Swallow,
        };
        let links = self.world.links.len();
        let chosen = fault.pick(0, links as u64 + 1) as usize;
        let name = match chosen {
            0 => String::from("of the API"),
            one if one < links => format!("of relayer {}", one - 1),
            _ => String::from("of all"),
        };
        for (n, link) in self.world.links.iter().enumerate() {
            if chosen == n || chosen == links {
                link.set(what);
            }
        }
        (format!("{what:?} {name}"), Undo::Links)
    }

    /// One endpoint, or all of them.
    pub(super) fn at_endpoints(&mut self, fault: &Planned) -> (String, Undo) {
        let few = 1 + fault.pick(1, 4);
        let what = match fault.kind {
            Kind::RpcDown | Kind::RpcAllDown => Fault::Down,
            Kind::RpcHang | Kind::RpcAllHang => Fault::Hang,
            Kind::RpcSlow => Fault::Slow(50 + fault.pick(1, 600)),
            Kind::RpcLimited => Fault::Status429,
            Kind::RpcGarbage => Fault::Garbage,
            Kind::RpcSwallowSend => Fault::SwallowSend,
            Kind::RpcDropSend => Fault::DropSend,
            Kind::RpcStaleNonce => Fault::StaleNonce(few),
            Kind::RpcHighNonce => Fault::HighNonce(few),
            Kind::RpcStaleState => Fault::StaleState(few * 2),
            Kind::RpcLag => Fault::Lag(few * 3),
            Kind::RpcWrongChain => Fault::WrongChainId,
            Kind::RpcNoLogs => Fault::NoLogs,
            Kind::RpcFork => Fault::Fork,
            _ => Fault::Tip(100_000_000_000 * few),
        };
        let is_of_all = matches!(
            fault.kind,
            Kind::RpcAllDown | Kind::RpcAllHang | Kind::RpcLimited | Kind::RpcSwallowSend
        );
        let chosen = fault.pick(0, self.world.proxies.len() as u64) as usize;
        for (n, proxy) in self.world.proxies.iter().enumerate() {
            if is_of_all || n == chosen {
                proxy.set(what);
            }
        }
        let name = if is_of_all { "every endpoint".to_owned() } else { format!("endpoint {chosen}") };
        (format!("{what:?} of {name}"), Undo::Endpoints)
    }
}
