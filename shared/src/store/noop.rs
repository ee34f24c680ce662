//! Jobs that nobody is paid by, for measurements of the job machine alone: no payment, no delivery and no wallet is recorded
//! with them. No program that is shipped can make one.

use std::sync::LazyLock;

use super::Store;
use super::error::StoreError;
use super::script::{Args, Script};

/// Per job its id and its payload; gives a row for each, as [`super::gather`] wants it.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "add_noop",
        "local out, line = {}, { by = 'bench' }
for i = 1, #ARGV, 2 do
  local id = ARGV[i]
  enqueue(id, { kind = 'payout' }, 'queued', 'accept', line, 'kind', 'payout', 'payload', ARGV[i + 1], 'created_at', NOW)
  out[#out + 1] = { 0, '', id }
end
return out",
    )
});

impl Store {
    /// Adds a job with this payload, a payout's, together with those that others add at the same time.
    pub async fn add_noop(&self, payload: &str) -> Result<(), StoreError> {
        let args = Args::new().arg(self.new_id()).arg(payload);
        self.gatherer.ask(args, |args| self.run_durably(&ADD, args)).await.map(drop)
    }
}
