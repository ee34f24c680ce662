//! The drawn state machines are the coded ones.

use std::collections::BTreeSet;

/// Compares the Mermaid state diagrams below `heading` with `edges` (from, event, to). Gives each difference with the
/// line of the document that it is about. Arrows from and to `[*]` are not compared.
pub fn check(document: &str, heading: &str, edges: &[(&str, &str, &str)]) -> Vec<(usize, String)> {
    let Some((first, section)) = section(document, heading) else {
        return vec![(1, format!("there is no section `{heading}`"))];
    };
    let mut found = Vec::new();
    let mut drawn: BTreeSet<(&str, &str, &str)> = BTreeSet::new();
    for (at, line) in diagram(&section) {
        match arrow(line) {
            Some((from, _, to)) if from == "[*]" || to == "[*]" => {}
            Some(edge) => {
                if !edges.contains(&edge) {
                    found.push((first + at, format!("`{}` is drawn but not coded", show(&edge))));
                }
                if !drawn.insert(edge) {
                    found.push((first + at, format!("`{}` is drawn twice", show(&edge))));
                }
            }
            None => found.push((first + at, format!("`{}`: expected `from --> to : event`", line.trim()))),
        }
    }
    if drawn.is_empty() {
        found.push((first, format!("no state diagram with arrows in `{heading}`")));
        return found;
    }
    let missing = edges.iter().filter(|edge| !drawn.contains(*edge));
    found.extend(missing.map(|edge| (first, format!("`{}` is coded but not drawn", show(edge)))));
    found
}

fn show((from, event, to): &(&str, &str, &str)) -> String {
    format!("{from} --> {to} : {event}")
}

/// The lines after the heading up to the next one of the same or a higher level, and the number of the heading's line.
fn section<'a>(document: &'a str, heading: &str) -> Option<(usize, Vec<&'a str>)> {
    let level = |line: &str| line.chars().take_while(|c| *c == '#').count();
    let lines: Vec<&str> = document.lines().collect();
    let at = lines.iter().position(|line| line.trim_end() == heading)?;
    let ends = |line: &&&str| (1..=level(heading)).contains(&level(line));
    let body = lines[at + 1..].iter().take_while(|line| !ends(line)).copied().collect();
    Some((at + 1, body))
}

/// The lines with an arrow inside the section's Mermaid blocks, with their distance from the heading.
fn diagram<'a>(section: &[&'a str]) -> Vec<(usize, &'a str)> {
    let mut inside = false;
    let mut found = Vec::new();
    for (at, line) in section.iter().enumerate() {
        if line.trim_start().starts_with("```") {
            inside = line.trim() == "```mermaid";
        } else if inside && line.contains("-->") {
            found.push((at + 1, *line));
        }
    }
    found
}

fn arrow(line: &str) -> Option<(&str, &str, &str)> {
    let (from, rest) = line.split_once("-->")?;
    let (to, event) = match rest.split_once(':') {
        Some((to, event)) => (to.trim(), event.trim()),
        None => (rest.trim(), ""),
    };
    let from = from.trim();
    let named = !event.is_empty() || from == "[*]" || to == "[*]";
    (named && !from.is_empty() && !to.is_empty()).then_some((from, event, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGES: &[(&str, &str, &str)] = &[("a", "go", "b"), ("b", "back", "a")];

    fn document(arrows: &str) -> String {
        format!(
            "# X\n### M\n```mermaid\nstateDiagram-v2\n{arrows}```\n### Other\n```mermaid\nx --> y : z\n```\n"
        )
    }

    fn found(arrows: &str) -> Vec<(usize, String)> {
        check(&document(arrows), "### M", EDGES)
    }

    #[test]
    fn the_same_edges_agree_in_any_order() {
        assert_eq!(found("  [*] --> a\n  b --> a : back\n  a --> b : go\n  b --> [*]\n"), []);
    }

    #[test]
    fn a_missing_a_foreign_and_a_doubled_edge_are_found() {
        assert!(found("a --> b : go\n")[0].1.contains("`b --> a : back` is coded but not drawn"));
        let foreign = found("a --> b : go\nb --> a : back\na --> a : stay\n");
        assert_eq!(foreign, [(7, "`a --> a : stay` is drawn but not coded".into())]);
        assert_eq!(found("a --> b : go\na --> b : go\nb --> a : back\n").len(), 1);
        assert_eq!(found("a --> b\nb --> a : back\na --> b : go\n").len(), 1);
    }

    #[test]
    fn a_missing_section_and_an_empty_one_are_found() {
        assert_eq!(check("# nothing\n", "### M", EDGES).len(), 1);
        assert_eq!(check("### M\ntext: a --> b : go\n", "### M", EDGES).len(), 1);
    }
}
