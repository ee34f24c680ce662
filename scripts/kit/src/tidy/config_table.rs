//! Every variable that the code reads is in the README's table.

use super::lexer::{literals, production_lines};
use super::{Source, Violation};

/// Where variables are read: `src/config.rs`, or the files of `src/config/`.
const READERS: [&str; 2] = ["api/src/config", "worker/src/config"];

pub(super) fn check(sources: &[Source], readme: &str, found: &mut Vec<Violation>) {
    for reader in READERS {
        let files = sources.iter().filter(|source| source.is_rust() && source.path.starts_with(reader));
        let mut names = 0;
        for source in files {
            let shipped = production_lines(&source.text);
            for (line, name) in literals(&source.text) {
                if line > shipped || !is_variable(&name) {
                    continue;
                }
                names += 1;
                if !in_table(readme, &name) {
                    let what = format!("`{name}` is read here, but not in the README's table");
                    found.push(Violation::new(&source.path, line, what));
                }
            }
        }
        if names == 0 {
            found.push(Violation::new(&format!("{reader}.rs"), 1, "no variable is read here: has it moved?"));
        }
    }
}

fn is_variable(text: &str) -> bool {
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    text.len() > 2 && text.starts_with(|c: char| c.is_ascii_uppercase()) && text.bytes().all(upper)
}

/// Whether the first cell of some row names the variable.
fn in_table(readme: &str, name: &str) -> bool {
    let cell = |line: &str| line.strip_prefix('|').and_then(|rest| rest.split('|').next()).map(str::to_owned);
    readme.lines().filter_map(cell).any(|cell| cell.contains(&format!("`{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(config: &str, readme: &str) -> Vec<Violation> {
        let sources = [
            Source::new("api/src/config.rs", config),
            Source::new("worker/src/config/mod.rs", "get(\"REDIS_URL\")"),
        ];
        let mut found = Vec::new();
        check(&sources, readme, &mut found);
        found
    }

    const NONE: [Violation; 0] = [];
    const README: &str =
        "| variable | type |\n|---|---|\n| `REDIS_URL` | url |\n`API_KEYS` in prose\n| x | `LANE` |\n";

    #[test]
    fn a_variable_outside_of_the_table_is_found() {
        assert_eq!(violations("get(\"REDIS_URL\")", README), NONE);
        let found = violations("a\nget(\"API_KEYS\")\nget(\"LANE\")", README);
        assert_eq!(found.iter().map(|violation| violation.line).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_only_tests_name_does_not_count() {
        assert_eq!(violations("get(\"REDIS_URL\")\n#[cfg(test)]\nmod t { \"NO_SUCH\" }", README), NONE);
    }

    #[test]
    fn a_config_that_reads_nothing_is_found() {
        assert_eq!(violations("fn nothing() {}", README).len(), 1);
    }
}
