//! Jobs that nobody is paid by, for measurements of the job machine alone: no payment, no delivery and no wallet is recorded
//! with them. No program that is shipped can make one.

use std::sync::LazyLock;

use super::Store;
use super::error::StoreError;
use super::script::{Args, Script};

static ADD_NOOP: LazyLock<Script> =
    LazyLock::new(|| Script::new("add_noop", include_str!("lua/add_noop.lua")));

impl Store {
    /// Adds a job with this payload, a payout's, together with those that others add at the same time. Not while payments are
    /// accepted over the same store: both are gathered at one place, and a run is of one script.
    pub async fn add_noop(&self, payload: &str) -> Result<(), StoreError> {
        let args = Args::new().arg(self.new_id()).arg(payload);
        self.gatherer.ask(args, |args| self.run_durably(&ADD_NOOP, args)).await.map(drop)
    }
}
