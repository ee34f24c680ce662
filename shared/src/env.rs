//! The environment, read once, through an injectable getter. All problems are collected and reported together; a value
//! that is a secret is never part of a message.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Text that must not be shown: its debug form is a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself. Never log, print or put it into an error.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

type Getter<'a> = Box<dyn Fn(&str) -> Option<String> + 'a>;

/// Reads variables and remembers everything that is wrong with them.
pub struct Env<'a> {
    get: Getter<'a>,
    problems: Vec<String>,
}

impl<'a> Env<'a> {
    /// The process's own environment.
    #[allow(clippy::disallowed_methods, reason = "this is the one home of the environment")]
    pub fn process() -> Env<'static> {
        Env::new(|name| std::env::var(name).ok())
    }

    pub fn new(get: impl Fn(&str) -> Option<String> + 'a) -> Self {
        Self { get: Box::new(get), problems: Vec::new() }
    }

    /// The value of `name`, or the content of the file that `name_FILE` names. Empty means absent.
    fn raw(&mut self, name: &str) -> Option<String> {
        let direct = (self.get)(name).filter(|value| !value.is_empty());
        let file = (self.get)(&format!("{name}_FILE")).filter(|value| !value.is_empty());
        match (direct, file) {
            (Some(_), Some(_)) => {
                self.problem(format!("{name} and {name}_FILE are both set: keep one"));
                None
            }
            (None, Some(path)) => match std::fs::read_to_string(Path::new(&path)) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    self.problem(format!("{name}_FILE: cannot read {path}: {error}"));
                    None
                }
            },
            (direct, None) => direct,
        }
    }

    pub fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// A value that may be absent. `shown` is whether a bad value may stand in the message.
    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, shown: bool) -> Option<T> {
        let before = self.problems.len();
        let Some(text) = self.raw(name) else {
            // Unreadable files were reported already; the caller must not report the variable as missing too.
            if self.problems.len() > before {
                self.problems.dedup();
            }
            return None;
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) if shown => {
                self.problem(format!("{name}={text}: {error}"));
                None
            }
            Err(_) => {
                self.problem(format!("{name}: the secret is malformed"));
                None
            }
        }
    }

    pub fn optional<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        self.parsed(name, true)
    }

    pub fn or<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, default: T) -> T {
        self.parsed(name, true).unwrap_or(default)
    }

    /// A value that must be there; `example` helps who forgot it.
    pub fn need<T: FromStr<Err: fmt::Display>>(&mut self, name: &str, example: &str) -> Option<T> {
        let before = self.problems.len();
        let value = self.parsed(name, true);
        if value.is_none() && self.problems.len() == before {
            self.problem(format!("{name} is not set; for example {name}={example}"));
        }
        value
    }

    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.raw(name).map(Secret)
    }

    pub fn need_secret(&mut self, name: &str, what: &str) -> Option<Secret> {
        let before = self.problems.len();
        let value = self.secret(name);
        if value.is_none() && self.problems.len() == before {
            self.problem(format!(
                "{name} is not set: {what}; it may also come from a file named by {name}_FILE"
            ));
        }
        value
    }

    /// Everything that was wrong, in the order it was read.
    pub fn finish(self) -> Result<(), Vec<String>> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.problems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_reported_together_and_no_secret_among_them() {
        let mut env = Env::new(|name| match name {
            "PORT" => Some("seventy".into()),
            "KEY" => Some("hunter2".into()),
            "KEY_FILE" => Some("/nonexistent".into()),
            _ => None,
        });
        let _: Option<u16> = env.need("PORT", "8080");
        let _: Option<u16> = env.need("MISSING", "1");
        let _ = env.need_secret("KEY", "the key");
        let problems = env.finish().unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("PORT=seventy"));
        assert!(!problems.concat().contains("hunter2"));
    }

    #[test]
    fn a_secret_comes_from_a_file_without_its_last_newline() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let mut env = Env::new(move |name| (name == "KEY_FILE").then(|| path.clone()));
        assert_eq!(env.need_secret("KEY", "the key").unwrap().expose(), "s3cret");
        assert!(env.finish().is_ok());
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "<secret>");
    }
}
