//! Gas per payout over a bare batch transfer of the same token to the same recipients, from the contracts' own measurement.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::figures::{Figure, Report};
use crate::world::paths;

pub(super) async fn measure() -> Result<Report> {
    let contracts = paths::root().join("contracts");
    let mut forge = tokio::process::Command::new(contracts.join("tools/forge"));
    forge.current_dir(&contracts).args(["test", "--match-path", "test/gas/Gas.t.sol"]).kill_on_drop(true);
    let output = forge.output().await.context("run forge")?;
    ensure!(output.status.success(), "forge test: {}", String::from_utf8_lossy(&output.stdout));
    let snapshot = std::fs::read(contracts.join("snapshots/gas.json"))?;
    let snapshot: BTreeMap<String, String> = serde_json::from_slice(&snapshot)?;
    let gas = |name: &str| -> Result<f64> {
        Ok(snapshot.get(name).with_context(|| format!("no `{name}` in the snapshot"))?.parse()?)
    };
    let bare = gas("bare batch of 100, per item")?;
    let over = |name: &str| -> Result<f64> { Ok(gas(name)? - bare) };
    let figure = |name: &str, value: f64| Figure::of(name, "gas", &[value]);
    Ok(Report {
        subject: "gas".into(),
        about:
            "whole transactions, recipients that return, TestUSDC; contracts/snapshots/gas.json has the rest"
                .into(),
        figures: vec![
            figure("a bare batch of 100, per transfer", bare),
            figure("ours over it, per payout", over("batch of 100, per item, returning")?)
                .at_most(27_000.0)
                .ratio(),
            figure("identity, registry and event alone over it", over("floor batch of 100, per item")?),
            figure("the same with packed calldata", over("floor batch of 100, packed, per item")?),
            figure("a lone payout, window off", gas("lone: returning recipient, window off")?)
                .at_most(95_000.0)
                .ratio(),
            figure("a lone payout, live window", gas("lone: returning recipient, live window")?)
                .at_most(95_000.0)
                .ratio(),
        ],
    })
}
