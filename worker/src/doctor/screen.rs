//! The report as a table for people. Pure.

use super::report::{Check, Report, Status};

/// The widest `found` that pushes the next column; longer ones hang over.
const WIDEST: usize = 64;

/// Where the report is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    pub colours: bool,
}

impl Screen {
    /// The whole table. `title` stands above it.
    pub fn render(self, title: &str, report: &Report) -> String {
        let id = widest(report.checks.iter().map(|check| check.id.as_str()), usize::MAX);
        let firsts = report.checks.iter().map(|check| check.found.lines().next().unwrap_or_default());
        let found = widest(firsts, WIDEST);
        let mut out = format!("{}\n", self.paint("1", title));
        let mut part = "";
        for check in &report.checks {
            if check.part != part {
                part = &check.part;
                out.push('\n');
            }
            self.line(&mut out, check, id, found);
        }
        let colour = match (report.failed, report.warnings) {
            (0, 0) => "1;32",
            (0, _) => "1;33",
            _ => "1;31",
        };
        out.push_str(&format!("\n{}\n", self.paint(colour, &report.summary())));
        out
    }

    fn line(self, out: &mut String, check: &Check, id: usize, found: usize) {
        let (word, colour) = match check.status {
            Status::Ok => ("ok", "32"),
            Status::Warning => ("warning", "1;33"),
            Status::Failed => ("FAILED", "1;31"),
            Status::Skipped => ("skipped", "2"),
        };
        let mut lines = check.found.lines();
        let first = lines.next().unwrap_or_default();
        let status = self.paint(colour, &format!("{word:<7}"));
        let line =
            format!("{status}  {:<id$}  {first:<found$}  {}", check.id, self.paint("2", &check.expected));
        out.push_str(line.trim_end());
        out.push('\n');
        let indent = " ".repeat(9 + id + 2);
        for further in lines {
            out.push_str(&format!("{indent}{further}\n"));
        }
        if let Some(advice) = &check.advice {
            out.push_str(&format!("{indent}{}\n", self.paint(colour, &format!("→ {advice}"))));
        }
    }

    fn paint(self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>, most: usize) -> usize {
    texts.map(|text| text.chars().count()).filter(|width| *width <= most).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::report::Question;
    use super::*;

    fn report() -> Report {
        let checks = vec![
            Question::new("redis.version", "7.0 or newer").ok("7.0.15"),
            Question::new("redis.eviction", "noeviction").failed("allkeys-lru", "set noeviction"),
            Question::new("lane.gates", "none closed").warning("one\ntwo", "mend them"),
            Question::new("lane.queue", "short").skipped("Redis is away"),
        ];
        Report::new(checks, false)
    }

    #[test]
    fn the_table_is_aligned_and_advice_stands_below_its_line() {
        let shown = Screen { colours: false }.render("doctor", &report());
        let expected = "\
doctor

ok       redis.version   7.0.15         7.0 or newer
FAILED   redis.eviction  allkeys-lru    noeviction
                         → set noeviction

warning  lane.gates      one            none closed
                         two
                         → mend them
skipped  lane.queue      Redis is away  short

1 ok, 1 warning, 1 failed, 1 skipped
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let (plain, coloured) = (Screen { colours: false }, Screen { colours: true });
        let coloured = coloured.render("doctor", &report());
        assert!(coloured.contains("\x1b[1;31mFAILED \x1b[0m"), "{coloured}");
        let mut text = String::new();
        for (n, piece) in coloured.split("\x1b[").enumerate() {
            text.push_str(if n == 0 { piece } else { piece.split_once('m').unwrap().1 });
        }
        assert_eq!(text, plain.render("doctor", &report()));
    }
}
