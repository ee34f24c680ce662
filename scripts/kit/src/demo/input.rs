//! The input files: what merchants and payment processors send, in order, one JSON object per line.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of `registrations.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Setup {
    /// `POST /register`.
    Register {
        wallet: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        referrer: Option<String>,
    },
    /// `PUT /api/affiliates/{wallet}`.
    Mode { wallet: String, mode: String },
    /// The token's issuer refuses this wallet from now on.
    Blocklist { wallet: String },
}

/// How a delivery is signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    #[default]
    Good,
    /// With the older of two live secrets.
    Older,
    /// With a secret that the API does not know.
    Foreign,
    /// Rightly, an hour ago.
    Stale,
    /// Rightly, for an hour ahead.
    Ahead,
}

fn is_good(sign: &Sign) -> bool {
    *sign == Sign::Good
}

/// One line of `payments.jsonl`: one webhook delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The delivery's id, `webhook-id`.
    pub id: String,
    #[serde(default, skip_serializing_if = "is_good")]
    pub sign: Sign,
    pub body: Value,
}

/// Both files.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    pub setup: Vec<Setup>,
    pub events: Vec<Event>,
}

pub const REGISTRATIONS: &str = "registrations.jsonl";
pub const PAYMENTS: &str = "payments.jsonl";

impl Input {
    pub fn load(folder: &Path) -> Result<Self> {
        Ok(Self { setup: lines(&folder.join(REGISTRATIONS))?, events: lines(&folder.join(PAYMENTS))? })
    }

    /// Writes both files.
    pub fn store(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join(REGISTRATIONS), text(&self.setup)?)?;
        std::fs::write(folder.join(PAYMENTS), text(&self.events)?)?;
        Ok(())
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(at, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), at + 1))
        })
        .collect()
}

fn text<T: Serialize>(items: &[T]) -> Result<String> {
    let mut text = String::new();
    for item in items {
        text.push_str(&serde_json::to_string(item)?);
        text.push('\n');
    }
    Ok(text)
}
