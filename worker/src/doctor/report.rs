//! What the doctor found: checks with stable ids, their sum, and the exit code. Pure.

use serde::Serialize;

use crate::commands::EXIT_UNAVAILABLE;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Ok,
    /// The lane works, and somebody should look.
    Warning,
    /// The lane does not work, or not as promised.
    Failed,
    /// Not asked, because of something else that failed.
    Skipped,
}

impl Status {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One line. docs/doctor.md lists every id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    pub id: String,
    /// The id's first word.
    pub part: String,
    pub status: Status,
    /// The value; several lines where there are several.
    pub found: String,
    pub expected: String,
    /// One short sentence, where it is not ok.
    pub advice: Option<String>,
}

impl Check {
    /// What stands in a list of problems.
    pub fn problem(&self) -> String {
        match &self.advice {
            Some(advice) => format!("{}: {}: {advice}", self.id, self.found),
            None => format!("{}: {}", self.id, self.found),
        }
    }
}

/// A check that has not been answered yet.
#[derive(Debug, Clone)]
pub struct Question {
    id: String,
    expected: String,
}

impl Question {
    pub fn new(id: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { id: id.into(), expected: expected.into() }
    }

    pub fn ok(self, found: impl Into<String>) -> Check {
        self.ended(Status::Ok, found, None)
    }

    pub fn warning(self, found: impl Into<String>, advice: impl Into<String>) -> Check {
        self.ended(Status::Warning, found, Some(advice.into()))
    }

    pub fn failed(self, found: impl Into<String>, advice: impl Into<String>) -> Check {
        self.ended(Status::Failed, found, Some(advice.into()))
    }

    pub fn skipped(self, why: impl Into<String>) -> Check {
        self.ended(Status::Skipped, why, None)
    }

    /// Answers with what `verdict` makes of a known fact. One that could not be read is a failure, one that was not asked
    /// for is skipped.
    pub fn judge<T>(self, fact: &Fact<T>, verdict: impl FnOnce(Self, &T) -> Check) -> Check {
        match fact {
            Fact::Known(value) => verdict(self, value),
            Fact::Unreadable(error) => self.failed(error.clone(), "mend what keeps it from being read"),
            Fact::NotAsked(why) => self.skipped(*why),
        }
    }

    fn ended(self, status: Status, found: impl Into<String>, advice: Option<String>) -> Check {
        let part = self.id.split('.').next().unwrap_or_default().to_owned();
        Check { id: self.id, part, status, found: found.into(), expected: self.expected, advice }
    }
}

/// Something that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact<T> {
    Known(T),
    /// With the error.
    Unreadable(String),
    /// Because of what.
    NotAsked(&'static str),
}

impl<T> Fact<T> {
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unreadable(_) | Self::NotAsked(_) => None,
        }
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Fact<T> {
    fn from(answer: Result<T, E>) -> Self {
        match answer {
            Ok(value) => Self::Known(value),
            Err(error) => Self::Unreadable(error.to_string()),
        }
    }
}

/// All checks, in the order in which they are shown.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
    pub ok: usize,
    pub warnings: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Neither Redis nor any endpoint answered.
    #[serde(skip)]
    unreachable: bool,
}

impl Report {
    pub fn new(checks: Vec<Check>, unreachable: bool) -> Self {
        let count = |status| checks.iter().filter(|check| check.status == status).count();
        Self {
            ok: count(Status::Ok),
            warnings: count(Status::Warning),
            failed: count(Status::Failed),
            skipped: count(Status::Skipped),
            checks,
            unreachable,
        }
    }

    /// 0: nothing failed; 1: something did, or, where it is `strict`, is to be looked at; 69: nobody answered.
    pub fn exit_code(&self, strict: bool) -> u8 {
        if self.unreachable {
            return EXIT_UNAVAILABLE;
        }
        u8::from(self.failed > 0 || (strict && self.warnings > 0))
    }

    /// The last line.
    pub fn summary(&self) -> String {
        let warnings = if self.warnings == 1 { "warning" } else { "warnings" };
        let skipped = if self.skipped > 0 { format!(", {} skipped", self.skipped) } else { String::new() };
        format!("{} ok, {} {warnings}, {} failed{skipped}", self.ok, self.warnings, self.failed)
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(statuses: &[Status], unreachable: bool) -> Report {
        let check = |status: &Status| Question::new("redis.version", "7.0").ended(*status, "6.2", None);
        Report::new(statuses.iter().map(check).collect(), unreachable)
    }

    #[test]
    fn warnings_fail_only_where_they_are_asked_to() {
        use Status::{Failed, Ok, Skipped, Warning};
        let codes = |statuses: &[Status]| {
            let report = report(statuses, false);
            (report.exit_code(false), report.exit_code(true))
        };
        assert_eq!(codes(&[Ok, Skipped]), (0, 0));
        assert_eq!(codes(&[Ok, Warning]), (0, 1));
        assert_eq!(codes(&[Failed, Warning]), (1, 1));
        assert_eq!(report(&[Failed, Skipped], true).exit_code(false), 69);
    }

    #[test]
    fn the_sum_names_what_was_skipped_only_where_something_was() {
        use Status::{Failed, Ok, Skipped, Warning};
        assert_eq!(report(&[Ok, Ok, Warning], false).summary(), "2 ok, 1 warning, 0 failed");
        let all = report(&[Ok, Warning, Warning, Failed, Skipped], false);
        assert_eq!(all.summary(), "1 ok, 2 warnings, 1 failed, 1 skipped");
    }

    #[test]
    fn json_has_the_documented_fields() {
        let check = Question::new("money.usdc.float", "more than 0").warning("0 USDC", "fund it");
        let json: serde_json::Value = serde_json::from_str(&Report::new(vec![check], false).json()).unwrap();
        let expected = serde_json::json!({
            "checks": [{
                "id": "money.usdc.float", "part": "money", "status": "warning", "found": "0 USDC",
                "expected": "more than 0", "advice": "fund it"
            }],
            "ok": 0, "warnings": 1, "failed": 0, "skipped": 0
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_could_not_be_read_failed_and_what_was_not_asked_is_skipped() {
        let question = || Question::new("a.b", "c");
        let fine = |question: Question, value: &u8| question.ok(value.to_string());
        assert_eq!(question().judge(&Fact::Known(7), fine).status, Status::Ok);
        assert_eq!(question().judge(&Fact::Unreadable("no".into()), fine).status, Status::Failed);
        assert_eq!(question().judge(&Fact::NotAsked("why"), fine).found, "why");
    }
}
