//! Where the parts of the workspace are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// The top of the repository.
pub fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}

/// One of the workspace's binaries, beside the running executable: `target/<profile>/`, also for the tests of
/// `target/<profile>/deps/`.
pub fn binary(name: &str) -> Result<PathBuf> {
    let running = std::env::current_exe().context("find the running executable")?;
    for folder in running.ancestors().skip(1).take(3) {
        let candidate = folder.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!(
        "no `{name}` beside {}: build it first (`cargo build --workspace --bins --locked`)",
        running.display()
    )
}

/// Anvil, started without the Node wrapper, which would stand between us and our signals.
pub fn anvil() -> Result<PathBuf> {
    let contracts = root().join("contracts");
    ensure!(
        contracts.join("node_modules/@foundry-rs").is_dir(),
        "no Node packages in {}: run scripts/setup",
        contracts.display()
    );
    Ok(contracts.join("tools/anvil"))
}
