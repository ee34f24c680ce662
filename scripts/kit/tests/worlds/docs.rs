//! `/docs` in a browser that reaches nothing but the API.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::support::quick;

/// The document as the browser has it once the page's scripts have run.
async fn rendered(url: &str) -> Result<String> {
    let profile = tempfile::tempdir()?;
    let mut command = tokio::process::Command::new("/usr/bin/chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1");
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    command.args(["--virtual-time-budget=10000", "--dump-dom", url]);
    command.env("HOME", profile.path()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(35), command.output())
        .await
        .context("chromium took more than 35 s")?
        .context("run chromium")?;
    ensure!(output.status.success(), "chromium: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn the_docs_render_every_operation_without_network() -> Result<()> {
    let world = quick().start().await?;
    let client = world.client()?;
    let document = client.get("/openapi.json").await?.expect(&[200])?.body;
    let url = world.api.as_ref().context("the API")?.url();
    let dom = rendered(&format!("{url}/docs")).await?;

    let paths = document["paths"].as_object().context("paths")?;
    let operations: Vec<&str> = paths
        .values()
        .filter_map(|methods| methods.as_object())
        .flat_map(|methods| methods.values())
        .filter_map(|operation| operation["operationId"].as_str())
        .collect();
    ensure!(operations.contains(&"deliver_event"), "{operations:?}");
    for operation in operations {
        // Swagger UI makes these ids from tag and operation once it has read the document.
        let id = format!("-{operation}\"");
        let shown = dom
            .split("id=\"operations-")
            .skip(1)
            .any(|rest| rest.lines().next().is_some_and(|line| line.contains(&id)));
        ensure!(
            shown,
            "`{operation}` is not rendered in {} bytes:\n{}",
            dom.len(),
            &dom[dom.len().saturating_sub(3000)..]
        );
    }
    ensure!(dom.contains("data-path=\"/register\""), "/register is not rendered");
    Ok(())
}
