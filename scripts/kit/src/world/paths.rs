//! Where the parts of the workspace are.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

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

/// The native Anvil of the npm package: its Node wrapper would stand between us and our signals.
pub fn anvil() -> Result<PathBuf> {
    let scope = root().join("contracts/node_modules/@foundry-rs");
    let entries = std::fs::read_dir(&scope)
        .with_context(|| format!("read {}: run `npm ci` in contracts/, or scripts/setup", scope.display()))?;
    for entry in entries {
        let folder = entry?.path();
        let native = folder.join("bin/anvil");
        if native.is_file() {
            return Ok(native);
        }
    }
    bail!("no anvil binary for this platform under {}", scope.display())
}
