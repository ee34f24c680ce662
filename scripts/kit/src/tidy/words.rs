//! What is not left behind: ignored tests and unwritten code.

use super::lexer::{code, line_of};
use super::{Source, Violation};

const FORBIDDEN: [(&str, &str); 3] = [
    ("#[ignore", "a test is ignored: mend it or remove it"),
    ("todo!", "unwritten code"),
    ("unimplemented!", "unwritten code"),
];

pub(super) fn check(source: &Source, found: &mut Vec<Violation>) {
    let code = code(&source.text);
    for (word, what) in FORBIDDEN {
        for (at, _) in code.match_indices(word) {
            found.push(Violation::new(&source.path, line_of(&code, at), format!("`{word}`: {what}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_tests_and_unwritten_code_are_found_outside_of_texts() {
        let text = "#[ignore = \"slow\"]\nfn a() { todo!() }\n// todo!\nconst B: &str = \"#[ignore]\";\nfn c() { unimplemented!() }\n";
        let mut found = Vec::new();
        check(&Source::new("a.rs", text), &mut found);
        let mut lines: Vec<usize> = found.iter().map(|violation| violation.line).collect();
        lines.sort_unstable();
        assert_eq!(lines, [1, 2, 5]);
    }
}
