//! Who may know whom.

use super::lexer::{code, line_of, words};
use super::{Source, Violation};

/// Files under the folder never name these paths.
struct Wall {
    folder: &'static str,
    forbidden: &'static [&'static str],
    why: &'static str,
}

const WALLS: [Wall; 8] = [
    Wall { folder: "api/", forbidden: &["worker::"], why: "api and worker never depend on each other" },
    Wall { folder: "worker/", forbidden: &["api::"], why: "api and worker never depend on each other" },
    Wall {
        folder: "shared/",
        forbidden: &["api::", "worker::"],
        why: "shared imports neither api nor worker",
    },
    Wall {
        folder: "worker/src/consumer",
        forbidden: &["crate::signer"],
        why: "consumers never import the signer",
    },
    Wall {
        folder: "worker/src/chain",
        forbidden: &["crate::consumer", "crate::signer", "crate::reconcile"],
        why: "the chain client knows neither consumers nor signer",
    },
    Wall {
        folder: "api/src/webhook",
        forbidden: &["crate::routes"],
        why: "signature schemes know no routes",
    },
    Wall {
        folder: "shared/src/store",
        forbidden: &["crate::testing"],
        why: "production code knows no test helper",
    },
    Wall { folder: "shared/src/store", forbidden: &["crate::tasks"], why: "the store starts no tasks" },
];

/// Files of shared that are no domain: they wait, or speak to the outside.
const SHELL: [&str; 8] = ["store", "testing", "tasks", "telemetry", "env", "retry", "clock", "lib"];
const REDIS_CRATES: [&str; 2] = ["redis", "deadpool_redis"];
/// Where the Redis crates may be used: the store, its tests, the helper that starts a Redis for them, and the simulated
/// one with what holds it against the real one.
const REDIS_HOMES: [&str; 5] =
    ["shared/src/store", "shared/src/testing", "shared/tests", "scripts/sim", "scripts/differential"];

/// Where it is decided whether a signature is by the key's own account. Only keys of simulations may decide otherwise.
const SIGNATURE_CHECK: &str = "worker/src/keys/mod.rs";

pub(super) fn check_code(source: &Source, found: &mut Vec<Violation>) {
    let code = code(&source.text);
    let paths = paths(&module(&source.path), &code);
    let mut push = |line: usize, what: String| found.push(Violation::new(&source.path, line, what));
    for wall in WALLS.iter().filter(|wall| source.path.starts_with(wall.folder)) {
        for (line, path) in &paths {
            for forbidden in wall.forbidden {
                if begins(path, forbidden) {
                    push(*line, format!("`{path}`: {}", wall.why));
                }
            }
        }
    }
    if !REDIS_HOMES.iter().any(|home| source.path.starts_with(home)) {
        for (line, path) in paths
            .iter()
            .filter(|(_, path)| REDIS_CRATES.iter().any(|name| begins(path, &format!("{name}::"))))
        {
            push(*line, format!("`{path}`: only shared/src/store speaks to Redis"));
        }
    }
    let may_judge = [SIGNATURE_CHECK, "scripts/"].iter().any(|home| source.path.starts_with(home));
    for at in code.match_indices("fn has_signed").map(|(at, _)| at).filter(|_| !may_judge) {
        push(line_of(&code, at), format!("every key's signatures are checked as {SIGNATURE_CHECK} does"));
    }
    if is_domain(&source.path) {
        for (line, path) in &paths {
            if begins(path, "tokio::") || begins(path, "crate::store") {
                push(*line, format!("`{path}`: domain files know neither the store nor tokio"));
            }
        }
        for at in words(&code, "async").into_iter().chain(words(&code, "await")) {
            push(line_of(&code, at), String::from("domain code never awaits"));
        }
    }
}

/// Whether `path` is `prefix` or below it. A prefix that ends in `::` is a crate's name.
fn begins(path: &str, prefix: &str) -> bool {
    let name = prefix.trim_end_matches("::");
    path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"))
}

fn is_domain(path: &str) -> bool {
    let Some(inside) = path.strip_prefix("shared/src/") else { return false };
    let top = inside.split(['/', '.']).next().unwrap_or_default();
    !SHELL.contains(&top)
}

/// Every path that the code names: `use` trees flattened, and paths in expressions, with the line they begin in.
/// `self` and `super` are resolved against `module`, the file's own path.
fn paths(module: &[&str], code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut rest_of_code = String::from(code);
    for at in words(code, "use") {
        let Some(end) = code[at..].find(';') else { continue };
        // `use<'a>` in a type is no import.
        let tree: String = code[at + 3..at + end].split_whitespace().collect::<Vec<_>>().join(" ");
        if tree.starts_with('<') {
            continue;
        }
        let line = line_of(code, at);
        flatten("", &tree, &mut |path| found.push((line, resolve(module, &path))));
        let blank: String = code[at..at + end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        rest_of_code.replace_range(at..at + end, &blank);
    }
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut offset = 0;
    for token in rest_of_code.split(|c: char| !part(c)) {
        if token.contains("::") {
            found.push((line_of(&rest_of_code, offset), resolve(module, token.trim_matches(':'))));
        }
        offset += token.len() + rest_of_code[offset + token.len()..].chars().next().map_or(0, char::len_utf8);
    }
    found
}

/// `worker/src/consumer/check.rs` is the module `consumer::check`.
fn module(path: &str) -> Vec<&str> {
    let inside = path.split_once("src/").map_or("", |(_, inside)| inside).trim_end_matches(".rs");
    inside.split('/').filter(|part| !["", "mod", "lib", "main"].contains(part)).collect()
}

fn resolve(module: &[&str], path: &str) -> String {
    let mut parts: Vec<&str> = path.split("::").collect();
    let supers = parts.iter().take_while(|part| ["super", "self"].contains(part)).count();
    if supers == 0 {
        return path.to_owned();
    }
    let up = parts.drain(..supers).filter(|part| *part == "super").count();
    let kept = &module[..module.len().saturating_sub(up)];
    ["crate"].iter().chain(kept).copied().chain(parts).collect::<Vec<_>>().join("::")
}

/// Gives each leaf of a `use` tree as a full path.
fn flatten(prefix: &str, tree: &str, give: &mut impl FnMut(String)) {
    let tree = tree.trim().trim_start_matches("::");
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        if !path.is_empty() {
            give(format!("{prefix}{path}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inner = tree[open + 1..].trim_end().trim_end_matches('}');
    let inner = if tree.matches('{').count() > 1 {
        &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())]
    } else {
        inner
    };
    let (mut depth, mut start) = (0usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                flatten(&prefix, &inner[start..at], give);
                start = at + 1;
            }
            _ => {}
        }
    }
    flatten(&prefix, &inner[start..], give);
}

/// What each manifest may depend on.
pub(super) fn check_manifest(source: &Source, found: &mut Vec<Violation>) {
    let Some(member) = source.path.strip_suffix("/Cargo.toml") else { return };
    for (line, name) in dependencies(&source.text) {
        let why = match (member, name.as_str()) {
            ("shared", "ail-api" | "ail-worker" | "ail-kit") => "shared depends on nothing of the workspace",
            ("api", "ail-worker") | ("worker", "ail-api") => "api and worker never depend on each other",
            ("shared", _) | ("scripts/sim" | "scripts/differential", "redis") => continue,
            (_, "redis" | "deadpool-redis") => "only shared depends on the Redis crates",
            _ => continue,
        };
        found.push(Violation::new(&source.path, line, format!("`{name}`: {why}")));
    }
}

/// The names under all `dependencies` tables, renamed ones by their package.
fn dependencies(manifest: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (at, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            inside = header.ends_with("dependencies");
            // [dependencies.redis]
            if let Some((_, name)) = header.split_once("dependencies.") {
                found.push((at + 1, name.to_owned()));
            }
        } else if inside && let Some((key, value)) = line.split_once('=') {
            let name = key.trim().trim_end_matches(".workspace").trim_matches('"');
            let package = value.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
            found.push((at + 1, package.unwrap_or(name).to_owned()));
        }
    }
    found
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
