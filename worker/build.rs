//! Turns the Solidity interfaces into Rust bindings: one `sol!` invocation in `OUT_DIR`, which `chain/bindings.rs`
//! includes. The Solidity sources are the only place where the ABI is written down.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Read in this order: types first, because the interfaces name them.
const FOLDERS: [&str; 2] = ["../contracts/src/types", "../contracts/src/interfaces"];

fn main() -> io::Result<()> {
    let mut body = String::new();
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={folder}");
        for file in sources(Path::new(folder))? {
            println!("cargo:rerun-if-changed={}", file.display());
            append(&mut body, &fs::read_to_string(&file)?);
        }
    }
    let out = out_dir()?.join("contracts.rs");
    // `extra_derives` and not `all_derives`: the latter derives `Default`, and no outcome has a default.
    let attributes = "#![sol(extra_derives(Debug, PartialEq, Eq))]";
    fs::write(out, format!("alloy::sol! {{\n{attributes}\n{body}\n}}\n"))
}

#[allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script where to write through the environment"
)]
fn out_dir() -> io::Result<PathBuf> {
    env::var("OUT_DIR").map(PathBuf::from).map_err(io::Error::other)
}

fn sources(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sol") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Appends a file without what means nothing inside one macro: licence, pragma and imports (which may span lines).
/// Comments go too: NatSpec is not rustdoc.
fn append(body: &mut String, source: &str) {
    let mut inside_import = false;
    for line in source.lines() {
        let text = line.trim();
        inside_import |= text.starts_with("import");
        if !(inside_import || text.starts_with("//") || text.starts_with("pragma")) {
            body.push_str(line);
            body.push('\n');
        }
        inside_import &= !text.ends_with(';');
    }
}
