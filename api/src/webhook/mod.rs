//! Webhook signatures: one file per scheme. A source has one scheme and its live secrets; whatever the scheme, a delivery
//! that fails is told nothing but that.

pub(crate) mod standard;

use poem::http::HeaderMap;
use shared::env::Secret;
use shared::ids::Source;
use thiserror::Error;

/// Missing, wrong, old or from the future; never says which.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the signature is not valid")]
pub struct InvalidSignature;

/// How a source signs.
#[derive(Debug)]
pub enum Scheme {
    Standard(Vec<standard::Key>),
}

impl Scheme {
    /// Checks a delivery over its raw bytes and returns its delivery id. `now` is in unix seconds.
    pub fn verify<'h>(
        &self,
        headers: &'h HeaderMap,
        body: &[u8],
        now: u64,
    ) -> Result<&'h str, InvalidSignature> {
        match self {
            Self::Standard(keys) => standard::verify(keys, headers, body, now),
        }
    }
}

/// The configured sources.
#[derive(Debug)]
pub struct Webhooks(Vec<(Source, Scheme)>);

impl Webhooks {
    /// Reads `source=whsec_a|whsec_b,...`. Problems name an entry by its position, never by its content.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut sources, mut problems) = (Vec::<(Source, Scheme)>::new(), Vec::new());
        for (at, entry) in text.split(',').enumerate() {
            let at = at + 1;
            let Some((source, secrets)) = entry.trim().split_once('=') else {
                problems.push(format!("WEBHOOK_SECRETS: entry {at}: expected source=whsec_...|whsec_..."));
                continue;
            };
            let Ok(source) = source.parse::<Source>() else {
                problems.push(format!(
                    "WEBHOOK_SECRETS: entry {at}: the source must have 1 to 32 characters of a-z, 0-9 and -"
                ));
                continue;
            };
            if sources.iter().any(|(known, _)| *known == source) {
                problems.push(format!(
                    "WEBHOOK_SECRETS: entry {at}: {source} is given twice; join its secrets by |"
                ));
            }
            let mut keys = Vec::new();
            for (n, secret) in secrets.split('|').enumerate() {
                match standard::Key::parse(&Secret::new(secret)) {
                    Ok(key) => keys.push(key),
                    Err(why) => problems.push(format!("WEBHOOK_SECRETS: {source}: secret {}: {why}", n + 1)),
                }
            }
            sources.push((source, Scheme::Standard(keys)));
        }
        if problems.is_empty() { Ok(Self(sources)) } else { Err(problems) }
    }

    pub fn find(&self, source: &str) -> Option<(&Source, &Scheme)> {
        self.0.iter().find(|(known, _)| known.as_str() == source).map(|(source, scheme)| (source, scheme))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_secret_is_reported_without_its_content() {
        let problems = Webhooks::parse("payments=whsec_short|hunter2,Bad=x,none").unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(!problems.concat().contains("hunter2") && !problems.concat().contains("short|"));
    }

    #[test]
    fn several_secrets_of_a_source_are_live_at_once() {
        let secrets =
            "payments=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw|whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let Some((_, Scheme::Standard(keys))) = Webhooks::parse(secrets).unwrap().0.into_iter().next() else {
            panic!("one source");
        };
        assert_eq!(keys.len(), 2);
    }
}
