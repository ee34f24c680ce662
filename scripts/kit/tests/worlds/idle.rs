//! A fleet that has nothing to do costs next to nothing, and is there at once when something comes. The figures for thirty
//! relayers and five minutes are `kit idle`'s; this is its short form, which a busy machine does not make fail: of the
//! wake-ups it holds the median against the bound that `kit idle` holds the 99th percentile against.

use anyhow::{Result, ensure};
use kit::idle::{Options, measure};

#[tokio::test]
async fn an_idle_fleet_costs_next_to_nothing_and_wakes_up_within_10_ms() -> Result<()> {
    let idle = measure(&Options { relayers: 20, seconds: 20, wakeups: 100 }).await?;
    eprintln!("{idle}");
    ensure!(idle.commands <= 5.0, "{idle}");
    ensure!(idle.cpu_mean <= 0.01, "{idle}");
    ensure!(idle.wake_p50 <= 10, "{idle}");
    Ok(())
}
