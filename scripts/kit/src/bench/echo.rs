//! A server of the API's framework that does nothing but answer: what HTTP itself costs here.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use poem::listener::TcpListener;
use poem::web::Json;
use poem::{Route, Server, handler, post};
use serde_json::{Value, json};

use crate::world::ports;
use crate::world::process::{Process, Reaper, until};

/// What webhooks are posted to.
const PATH: &str = "/webhooks/payments";

/// An `echo` process of its own.
pub(super) struct Echo {
    port: u16,
    _process: Process,
}

impl Echo {
    pub(super) async fn start(threads: usize, folder: &Path, reaper: &Arc<Reaper>) -> Result<Self> {
        let port = ports::free()?;
        let mut command = Command::new(std::env::current_exe().context("find the running executable")?);
        command.args(["echo", &port.to_string()]).env("TOKIO_WORKER_THREADS", threads.to_string());
        let process = Process::spawn("echo", command, folder.join("echo.log"), reaper)?;
        let url = format!("http://127.0.0.1:{port}{PATH}");
        until("the echo server", Duration::from_secs(10), || async {
            let answer = reqwest::Client::new().post(&url).json(&json!({})).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await?;
        Ok(Self { port, _process: process })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }
}

#[handler]
fn echo(Json(body): Json<Value>) -> Json<Value> {
    Json(body)
}

/// Serves until the process is ended.
pub async fn serve(port: u16) -> Result<()> {
    let routes = Route::new().at(PATH, post(echo));
    Ok(Server::new(TcpListener::bind((Ipv4Addr::LOCALHOST, port))).run(routes).await?)
}
