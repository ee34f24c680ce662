//! One `affiliate-api` process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::client::Client;
use super::process::{Process, Reaper};
use super::settings::{self, Env};
use super::{paths, ports};

/// The running API.
pub struct Api {
    process: Process,
    port: u16,
    env: Env,
    log: PathBuf,
    reaper: Arc<Reaper>,
}

impl Api {
    pub(super) fn start(world: &Path, reaper: &Arc<Reaper>, mut env: Env, extra: &Env) -> Result<Self> {
        let port = ports::free()?;
        env.extend(settings::api(port));
        env.extend(extra.clone());
        let log = world.join("api.log");
        let process = launch(&env, &log, reaper)?;
        Ok(Self { process, port, env, log, reaper: reaper.clone() })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn client(&self) -> Result<Client> {
        Client::new(&self.url())
    }

    /// Sends `signal` and waits until the process has ended.
    pub async fn kill(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)?;
        self.process.wait(Duration::from_secs(30)).await.map(drop)
    }

    /// Starts it again on the same port, with `extra` added to its environment.
    pub fn restart(&mut self, extra: &Env) -> Result<()> {
        self.process.kill();
        self.env.extend(extra.clone());
        self.process = launch(&self.env, &self.log, &self.reaper)?;
        Ok(())
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn launch(env: &Env, log: &Path, reaper: &Arc<Reaper>) -> Result<Process> {
    let mut command = Command::new(paths::binary("affiliate-api")?);
    command.envs(env);
    Process::spawn("affiliate-api", command, log.to_owned(), reaper)
}
