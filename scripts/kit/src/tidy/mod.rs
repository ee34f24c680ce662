//! `kit tidy`: the rules of STYLE that a machine can check. Each rule is a function from texts to violations, and has
//! a test in which it finds one: a check that cannot fail is a defect.

mod config_table;
pub mod diagrams;
mod layers;
mod lexer;
mod lua;
mod size;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

/// A broken rule, where it is broken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl Violation {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A file of the repository; the path is relative to its top, with slashes.
#[derive(Debug, Clone)]
pub struct Source {
    pub path: String,
    pub text: String,
}

impl Source {
    #[cfg(test)]
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// What no rule looks into.
const SKIPPED: [&str; 7] = [".git", "target", "node_modules", "out", "cache", "broadcast", "contracts"];
const READ: [&str; 4] = [".rs", ".lua", ".md", "Cargo.toml"];

/// Checks the repository at `root` and prints every violation.
pub fn run(root: &Path) -> Result<ExitCode> {
    let mut sources = Vec::new();
    collect(root, root, &mut sources)?;
    let violations = check(&sources);
    for violation in &violations {
        println!("{violation}");
    }
    println!("tidy: {} files, {} violations", sources.len(), violations.len());
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every rule on every file.
pub fn check(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources {
        if source.is_rust() {
            size::check(source, &mut found);
            words::check(source, &mut found);
            layers::check_code(source, &mut found);
        }
        if source.path.ends_with("Cargo.toml") {
            layers::check_manifest(source, &mut found);
        }
        lua::check(source, &mut found);
    }
    let machines =
        [("### Job machine", shared::job_state::EDGES), ("### Transaction machine", shared::tx_state::EDGES)];
    let document = text_of(sources, "ARCHITECTURE.md");
    for (heading, edges) in machines {
        for (line, what) in diagrams::check(document, heading, edges) {
            found.push(Violation::new("ARCHITECTURE.md", line, what));
        }
    }
    config_table::check(sources, text_of(sources, "README.md"), &mut found);
    found.sort();
    found
}

fn text_of<'a>(sources: &'a [Source], path: &str) -> &'a str {
    sources.iter().find(|source| source.path == path).map_or("", |source| &source.text)
}

fn collect(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if !SKIPPED.contains(&name.as_ref()) {
                collect(root, &path, sources)?;
            }
        } else if READ.iter().any(|end| name.ends_with(end)) {
            let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).with_context(|| relative.clone())?;
            sources.push(Source { path: relative, text });
        }
    }
    Ok(())
}
