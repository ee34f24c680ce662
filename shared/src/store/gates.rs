//! Gates: conditions outside a job under which nothing of a kind can go on. Jobs that meet a closed gate are parked and
//! never charged. The two switches of operators, intake and signing, are gates as well.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::error::StoreError;
use super::script::{self, Args};
use super::{Store, codec};
use crate::ids::BlockNumber;

/// Closed: registrations and payments are answered with 503.
pub const INTAKE: &str = "intake";
/// Closed: no new nonces; bumps, rebroadcasts and confirmations go on.
pub const SIGNING: &str = "signing";
/// Closed by the relayer when the chain paid something else than a job says: no new nonces until an operator opens it.
pub const RECONCILE: &str = "lane:reconcile";

/// The signer cannot pay for gas.
pub const GAS_MONEY: &str = "lane:gas_money";
/// The base fee is above the configured cap.
pub const BASE_FEE: &str = "lane:base_fee";
/// A gate that closes again within this after a relayer opened it has not been open: it was opened for a try, or in vain.
const RELAPSE: Duration = Duration::from_secs(120);
/// Gates that keep the signer from giving out nonces. What waits for them stays checked.
const SIGNER_GATES: [&str; 4] = [SIGNING, RECONCILE, GAS_MONEY, BASE_FEE];

/// A closed gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClosedGate {
    pub gate: String,
    pub reason: String,
    pub by: String,
    /// Since when, in unix milliseconds of the Redis clock. An opening that did not last two minutes does not count, unless
    /// an operator was at it.
    pub since: u64,
    /// How many jobs wait for it: those parked under it, and under a gate of the signer those that are checked.
    pub parked: u64,
    /// The block in which its condition was first seen, where it is one of the chain's.
    pub block: Option<BlockNumber>,
}

#[derive(Deserialize)]
struct Stored {
    reason: String,
    by: String,
    since: String,
    #[serde(default)]
    block: Option<String>,
}

/// What a gate script is told.
struct Telling<'a> {
    reason: &'a str,
    by: &'a str,
    operator: bool,
    block: Option<BlockNumber>,
}

impl Telling<'_> {
    fn args(&self, gate: &str) -> Args {
        let block = self.block.map(|block| block.to_string()).unwrap_or_default();
        Args::new().arg(gate).arg(self.reason).arg(self.by).arg(u8::from(self.operator)).arg(block)
    }
}

impl Store {
    /// Closes a gate; `true` when it was open.
    pub async fn close_gate(&self, gate: &str, reason: &str, by: &str) -> Result<bool, StoreError> {
        let telling = Telling { reason, by, operator: false, block: None };
        self.close(gate, telling).await
    }

    /// As [`Store::close_gate`], for a condition seen in `block`; changes nothing when a later block opened the gate.
    pub async fn close_gate_at(
        &self,
        gate: &str,
        reason: &str,
        by: &str,
        block: BlockNumber,
    ) -> Result<bool, StoreError> {
        let telling = Telling { reason, by, operator: false, block: Some(block) };
        self.close(gate, telling).await
    }

    /// Opens a gate; `true` when it was closed. The jobs under it are then released by [`Store::release_parked`].
    pub async fn open_gate(&self, gate: &str, reason: &str, by: &str) -> Result<bool, StoreError> {
        let telling = Telling { reason, by, operator: false, block: None };
        self.open(gate, telling).await
    }

    /// As [`Store::open_gate`], for a condition that is over in `block`.
    pub async fn open_gate_at(
        &self,
        gate: &str,
        reason: &str,
        by: &str,
        block: BlockNumber,
    ) -> Result<bool, StoreError> {
        let telling = Telling { reason, by, operator: false, block: Some(block) };
        self.open(gate, telling).await
    }

    /// An operator stops intake or signing. Audited, and survives restarts.
    pub async fn pause(&self, what: &'static str, reason: &str, actor: &str) -> Result<bool, StoreError> {
        let telling = Telling { reason, by: actor, operator: true, block: None };
        self.close(what, telling).await
    }

    /// An operator lets intake or signing go on. Audited.
    pub async fn resume(&self, what: &'static str, reason: &str, actor: &str) -> Result<bool, StoreError> {
        let telling = Telling { reason, by: actor, operator: true, block: None };
        self.open(what, telling).await
    }

    async fn close(&self, gate: &str, telling: Telling<'_>) -> Result<bool, StoreError> {
        let args = telling.args(gate).arg(RELAPSE.as_millis());
        self.gate_script(&script::GATE_CLOSE, args, telling.operator).await
    }

    async fn open(&self, gate: &str, telling: Telling<'_>) -> Result<bool, StoreError> {
        self.gate_script(&script::GATE_OPEN, telling.args(gate), telling.operator).await
    }

    async fn gate_script(
        &self,
        script: &script::Script,
        args: Args,
        operator: bool,
    ) -> Result<bool, StoreError> {
        // What the chain shows is seen again; only an operator's word must outlive the server.
        let changed: i64 = match operator {
            true => self.run_durably(script, args).await?,
            false => self.run(script, args).await?,
        };
        Ok(changed == 1)
    }

    pub async fn closed_gates(&self) -> Result<Vec<ClosedGate>, StoreError> {
        let key = self.keys.gate();
        let stored: HashMap<String, String> =
            self.read_often("gates", redis::cmd("HGETALL").arg(&key)).await?;
        if stored.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&String> = stored.keys().collect();
        let mut pipe = redis::pipe();
        pipe.cmd("XLEN").arg(self.keys.ready());
        for gate in &names {
            pipe.cmd("ZCARD").arg(self.keys.parked(gate));
        }
        let counts: Vec<u64> = self.pipe("gates", &pipe).await?;
        let (ready, parked) = counts.split_first().unwrap_or((&0, &[]));
        let mut gates = Vec::with_capacity(names.len());
        for (gate, parked) in names.into_iter().zip(parked) {
            gates.push(closed(&key, gate, &stored[gate], *parked, *ready)?);
        }
        gates.sort_by(|a, b| a.gate.cmp(&b.gate));
        Ok(gates)
    }
}

/// Reads what is stored of a closed gate, with `parked` jobs under it and `ready` ones waiting for the signer.
pub(super) fn closed(
    key: &str,
    gate: &str,
    stored: &str,
    parked: u64,
    ready: u64,
) -> Result<ClosedGate, StoreError> {
    let parked = parked + if SIGNER_GATES.contains(&gate) { ready } else { 0 };
    let Stored { reason, by, since, block } = codec::json(key, "gate", stored, "a closed gate")?;
    let since = codec::parse(key, "since", &since, "unix milliseconds")?;
    let block = codec::optional(key, "block", &block.unwrap_or_default(), "a block number")?;
    Ok(ClosedGate { gate: gate.to_owned(), reason, by, since, parked, block })
}
