//! How long a file and a function may be.

use super::lexer::{code, line_of, production_lines, words};
use super::{Source, Violation};

const FILE: usize = 350;
const MAIN: usize = 150;
const FUNCTION: usize = 70;

pub(super) fn check(source: &Source, found: &mut Vec<Violation>) {
    if is_test(&source.path) {
        return;
    }
    let lines = production_lines(&source.text);
    let most = if source.path.ends_with("/main.rs") { MAIN } else { FILE };
    if lines > most {
        let what = format!("{lines} lines of production code, at most {most} are allowed");
        found.push(Violation::new(&source.path, lines, what));
    }
    for (name, line, length) in functions(&source.text) {
        if line <= lines && length > FUNCTION {
            let what = format!("function `{name}` has {length} lines, at most {FUNCTION} are allowed");
            found.push(Violation::new(&source.path, line, what));
        }
    }
}

/// Test code is as long as its cases are many.
fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs")
}

/// Name, first line and number of lines of each function with a body.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let code = code(text);
    let mut found = Vec::new();
    for at in words(&code, "fn") {
        let rest = &code[at + 2..];
        let name: String =
            rest.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // `fn(…)` without a name is a type.
        if name.is_empty() {
            continue;
        }
        if let Some(length) = body_end(rest) {
            let (first, last) = (line_of(&code, at), line_of(&code, at + 2 + length));
            found.push((name, first, last - first + 1));
        }
    }
    found
}

/// Where the body that follows a signature ends; none where there is no body.
fn body_end(rest: &str) -> Option<usize> {
    let (mut brackets, mut braces) = (0usize, 0usize);
    for (at, c) in rest.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets = brackets.saturating_sub(1),
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 && brackets == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        check(&Source::new(path, text), &mut found);
        found
    }

    #[test]
    fn a_file_over_the_limit_is_found_and_its_tests_do_not_count() {
        let long = "const A: u8 = 1;\n".repeat(351);
        assert_eq!(violations("api/src/a.rs", &long).len(), 1);
        let fine = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(350), "//\n".repeat(400));
        assert!(violations("api/src/a.rs", &fine).is_empty());
        assert!(violations("api/tests/a.rs", &long).is_empty());
    }

    #[test]
    fn a_main_file_has_a_smaller_limit() {
        let text = "//\n".repeat(151);
        assert_eq!(violations("api/src/main.rs", &text).len(), 1);
        assert!(violations("api/src/lib.rs", &text).is_empty());
    }

    #[test]
    fn a_long_function_is_found_and_a_short_one_is_not() {
        let function = |lines: usize| {
            format!(
                "impl A {{\n    pub async fn long(x: [u8; 2]) -> u8 {{\n{}    }}\n}}\n",
                "x;\n".repeat(lines)
            )
        };
        let found = violations("api/src/a.rs", &function(69));
        assert_eq!((found.len(), found[0].line), (1, 2));
        assert!(found[0].what.contains("`long` has 71 lines"));
        assert!(violations("api/src/a.rs", &function(68)).is_empty());
    }

    #[test]
    fn braces_in_literals_do_not_count() {
        let text =
            format!("fn a() {{\n let x = \"{{{{\"; let y = '{{';\n}}\nfn b() {{}}\n{}", "//\n".repeat(100));
        assert_eq!(functions(&text), [("a".into(), 1, 3), ("b".into(), 4, 1)]);
    }
}
