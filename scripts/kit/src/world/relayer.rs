//! One `affiliate-relayer` process of the fleet.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

use super::process::{Process, Reaper};
use super::settings::{Env, env};
use super::{contracts, paths, ports};

/// A relayer that runs, or ran.
pub struct Relayer {
    pub index: usize,
    process: Process,
    port: u16,
    env: Env,
    log: PathBuf,
    reaper: Arc<Reaper>,
    http: reqwest::Client,
}

impl Relayer {
    pub(super) fn start(index: usize, world: &Path, reaper: &Arc<Reaper>, mut env: Env) -> Result<Self> {
        let port = ports::free()?;
        env.extend(own(port));
        let log = world.join(format!("relayer-{index}.log"));
        let process = launch(index, &env, &log, reaper)?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
        Ok(Self { index, process, port, env, log, reaper: reaper.clone(), http })
    }

    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.port)
    }

    /// What `/metrics` says now.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.http.get(self.metrics_url()).send().await?.error_for_status()?.text().await?)
    }

    /// Whether it says that it holds the lease. One that does not answer does not hold it.
    pub async fn leads(&mut self) -> bool {
        if !self.process.is_running() {
            return false;
        }
        self.metrics().await.is_ok_and(|text| metric(&text, "ail_lease_held") == Some(1.0))
    }

    /// Sends `signal` to the process, whatever it makes of it.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Sends `signal` and waits until the process has ended.
    pub async fn kill(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)?;
        self.process.wait(Duration::from_secs(30)).await.map(drop)
    }

    /// Starts it again, a new boot of the same place in the fleet, with `extra` added to its environment. An empty
    /// value takes a variable away.
    pub fn restart(&mut self, extra: &Env) -> Result<()> {
        self.process.kill();
        for (name, value) in extra {
            if value.is_empty() {
                self.env.remove(name);
            } else {
                self.env.insert(name.clone(), value.clone());
            }
        }
        self.process = launch(self.index, &self.env, &self.log, &self.reaper)?;
        Ok(())
    }

    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// All it has logged, over all its boots.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// The variables that only relayers take.
fn own(port: u16) -> Env {
    env([
        ("METRICS_LISTEN", format!("127.0.0.1:{port}")),
        ("RELAYER_PRIVATE_KEY", contracts::RELAYER_KEY.to_owned()),
    ])
}

fn launch(index: usize, env: &Env, log: &Path, reaper: &Arc<Reaper>) -> Result<Process> {
    let mut command = Command::new(paths::binary("affiliate-relayer")?);
    command.arg("run").envs(env);
    Process::spawn(&format!("relayer {index}"), command, log.to_owned(), reaper)
}

/// Runs a short subcommand (`migrate`, `max-loss`, `reconcile`) to its end and gives what it prints. A failure is an
/// error with its exit code and output.
pub(super) async fn subcommand(arguments: &[&str], base: &Env) -> Result<String> {
    let mut command = tokio::process::Command::new(paths::binary("affiliate-relayer")?);
    command.args(arguments).envs(base).envs(own(ports::free()?)).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output())
        .await
        .with_context(|| format!("affiliate-relayer {} took more than 60 s", arguments.join(" ")))??;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        bail!("affiliate-relayer {}: {}\n{out}{err}", arguments.join(" "), output.status);
    }
    Ok(out.into_owned())
}

/// The value of the first sample of `name` in a Prometheus text.
pub fn metric(text: &str, name: &str) -> Option<f64> {
    let sample = text.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
    })?;
    sample.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text =
            "# HELP ail_lease_held 1\nail_lease_held_total 7\nail_lease_held{lane=\"main\"} 1\nother 2.5\n";
        assert_eq!(metric(text, "ail_lease_held"), Some(1.0));
        assert_eq!(metric(text, "other"), Some(2.5));
        assert_eq!(metric(text, "ail_lease"), None);
    }
}
