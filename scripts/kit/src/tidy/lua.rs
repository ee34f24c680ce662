//! Every script says what it takes and what it gives.

use super::{Source, Violation};

const FOLDER: &str = "shared/src/store/lua/";
/// What scripts share: functions, which take and give what they say of themselves.
const SHARED: &str = "shared/src/store/lua/lib/";
const NAMED: [&str; 3] = ["KEYS:", "ARGV:", "Returns:"];

pub(super) fn check(source: &Source, found: &mut Vec<Violation>) {
    if !source.path.ends_with(".lua") {
        return;
    }
    if !source.path.starts_with(FOLDER) {
        found.push(Violation::new(&source.path, 1, format!("scripts live in {FOLDER}")));
    }
    if source.path.starts_with(SHARED) {
        return;
    }
    let header: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("--")).collect();
    for name in NAMED {
        if !header.iter().any(|line| line.trim_start_matches('-').trim_start().starts_with(name)) {
            found.push(Violation::new(&source.path, 1, format!("the header has no line `-- {name} …`")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(path: &str, text: &str) -> usize {
        let mut found = Vec::new();
        check(&Source::new(path, text), &mut found);
        found.len()
    }

    #[test]
    fn a_header_names_keys_arguments_and_result() {
        let path = "shared/src/store/lua/a.lua";
        assert_eq!(
            violations(path, "-- Does it.\n-- KEYS: 1 = a\n-- ARGV: none\n-- Returns: 1\nreturn 1\n"),
            0
        );
        assert_eq!(violations(path, "-- KEYS: 1 = a\n-- Returns: 1\nlocal x\n-- ARGV: too late\n"), 1);
        assert_eq!(violations(path, "return 1\n"), 3);
        assert_eq!(violations("shared/src/store/lua/lib/a.lua", "local function a() end\n"), 0);
    }

    #[test]
    fn a_script_elsewhere_is_found() {
        assert_eq!(violations("worker/src/a.lua", "-- KEYS: 1\n-- ARGV: 1\n-- Returns: 1\n"), 1);
    }
}
