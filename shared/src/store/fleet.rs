//! The fleet as it tells of itself: each relayer's heartbeat, and one look at everything that operators ask first.
//!
//! A heartbeat is for people. Nothing is decided on it: who leads is the lease's to say, who holds a job the job's hash.

use std::collections::HashMap;
use std::time::Duration;

use alloy::primitives::Address;

use super::codec::{self, Record};
use super::error::StoreError;
use super::gates::{self, ClosedGate};
use super::script::{self, Args};
use super::sync::{self, SyncState};
use super::{Fence, Store};
use crate::ids::{BlockNumber, FencingTerm, Nonce};

/// How often a relayer tells of itself.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// A relayer that was silent for longer, three heartbeats, is taken for dead.
pub const ALIVE_WITHIN: Duration = Duration::from_secs(15);
/// A relayer that was silent for longer is forgotten.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(600);
/// The most relayers, and the most consumers, that one look shows.
const SHOWN: usize = 256;

/// What a relayer tells of itself.
#[derive(Debug, Clone)]
pub struct Heartbeat<'a> {
    /// `<host>-<pid>-<boot>`.
    pub worker: &'a str,
    pub host: &'a str,
    pub pid: u32,
    pub version: &'a str,
    pub boot: &'a str,
    /// While it leads.
    pub term: Option<FencingTerm>,
    /// Since it started.
    pub up: Duration,
    /// Jobs in its hands now.
    pub claims: u64,
    /// Jobs it ever claimed.
    pub claimed: u64,
    /// The newest block it saw.
    pub head: Option<BlockNumber>,
}

/// A relayer that was heard of within [`REMEMBERED_FOR`].
#[derive(Debug, Clone)]
pub struct RelayerView {
    pub worker: String,
    pub host: String,
    pub pid: u32,
    pub version: String,
    pub boot: String,
    /// Unix milliseconds of the Redis clock.
    pub started_at: u64,
    pub last_heartbeat: u64,
    /// Whether that is at most [`ALIVE_WITHIN`] ago.
    pub alive: bool,
    /// Its term while the lease is its own, by the lease itself.
    pub leads: Option<FencingTerm>,
    pub claims: u64,
    pub claimed: u64,
    pub head: Option<BlockNumber>,
}

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseView {
    pub boot: String,
    pub term: FencingTerm,
    pub remaining: Duration,
    /// Where the fleet knows a relayer with this boot.
    pub worker: Option<String>,
}

/// A consumer of the group; only those with pending entries or a relayer that is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerView {
    pub name: String,
    /// Entries delivered to it and not acknowledged.
    pub pending: u64,
    /// Since it last asked for something.
    pub idle: Duration,
    /// Whether its relayer is alive; `None` where none of this name is remembered.
    pub alive: Option<bool>,
}

/// The open nonces of one signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignerView {
    pub signer: Address,
    pub open: u64,
    /// The lowest open nonce, and since when (unix milliseconds) it is journaled.
    pub lowest: Option<(Nonce, u64)>,
}

/// What waits to be claimed and to be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueView {
    /// Entries of the stream, those in workers' hands included.
    pub queued: u64,
    /// Those in workers' hands.
    pub pending: u64,
    /// Unix milliseconds at which the oldest entry that no worker has was queued.
    pub oldest_queued: Option<u64>,
    /// Checked jobs that wait for a nonce.
    pub ready: u64,
}

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The Redis clock in unix milliseconds.
    pub now: u64,
    pub lease: Option<LeaseView>,
    /// Newest heartbeat first.
    pub relayers: Vec<RelayerView>,
    pub consumers: Vec<ConsumerView>,
    pub gates: Vec<ClosedGate>,
    pub signers: Vec<SignerView>,
    pub sync: SyncState,
    pub queue: QueueView,
}

impl Store {
    /// Tells the fleet that a relayer lives. Returns how many others were forgotten for their silence.
    pub async fn heartbeat(&self, beat: &Heartbeat<'_>) -> Result<u64, StoreError> {
        let text = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let args = Args::new().arg(beat.worker).arg(REMEMBERED_FOR.as_millis()).arg(beat.up.as_millis());
        let fields = [
            ("host", beat.host.to_owned()),
            ("pid", beat.pid.to_string()),
            ("version", beat.version.to_owned()),
            ("boot", beat.boot.to_owned()),
            ("role", if beat.term.is_some() { "leader" } else { "follower" }.to_owned()),
            ("term", text(beat.term.map(FencingTerm::get))),
            ("claims", beat.claims.to_string()),
            ("claimed", beat.claimed.to_string()),
            ("head", text(beat.head.map(BlockNumber::get))),
        ];
        let args = fields.iter().fold(args, |args, (field, value)| args.arg(field).arg(value));
        self.run(&script::HEARTBEAT, args).await
    }

    /// Takes a relayer that stops off the list; `false` when it was not on it.
    pub async fn leave_fleet(&self, worker: &str) -> Result<bool, StoreError> {
        Ok(self.run::<i64>(&script::FLEET_LEAVE, Args::new().arg(worker)).await? == 1)
    }

    /// Everything about the fleet, by one script.
    pub async fn fleet(&self) -> Result<Fleet, StoreError> {
        let reply: Vec<Vec<Vec<String>>> = self.look(&script::FLEET_VIEW, Args::new().arg(SHOWN)).await?;
        let [lane, synced, relayers, consumers, closed, signers] = &reply[..] else {
            return Err(unknown(&reply));
        };
        let ([lane], [synced]) = (&lane[..], &synced[..]) else { return Err(unknown(&reply)) };
        let [now, run_id, lease, remaining, queued, pending, oldest, ready] = &lane[..] else {
            return Err(unknown(&reply));
        };
        let (now, ready) = (number("now", now)?, number("ready", ready)?);
        let mut lease = lease_view(&self.keys.lease(), lease, remaining)?;
        let relayers = relayers.iter().map(|row| self.relayer(row, now, lease.as_ref()));
        let relayers: Vec<RelayerView> = relayers.collect::<Result<_, _>>()?;
        if let Some(lease) = &mut lease {
            let holder = relayers.iter().find(|relayer| relayer.boot == lease.boot);
            lease.worker = holder.map(|relayer| relayer.worker.clone());
        }
        let synced_key = self.keys.synced();
        let consumers = consumers.iter().map(|row| consumer_view(row, &relayers));
        let mut gates: Vec<ClosedGate> =
            closed.iter().map(|row| self.gate_view(row, ready)).collect::<Result<_, _>>()?;
        gates.sort_by(|a, b| a.gate.cmp(&b.gate));
        let mut signers: Vec<SignerView> =
            signers.iter().map(|row| self.signer_view(row)).collect::<Result<_, _>>()?;
        signers.sort_by_key(|view| view.signer);
        Ok(Fleet {
            now,
            consumers: consumers.collect::<Result<_, _>>()?,
            lease,
            relayers,
            gates,
            signers,
            sync: sync::state(run_id, &Record { key: &synced_key, fields: &pairs(synced) })?,
            queue: QueueView {
                queued: number("queued", queued)?,
                pending: number("pending", pending)?,
                oldest_queued: match oldest.split_once('-') {
                    Some((millis, _)) => Some(number("oldest", millis)?),
                    None => None,
                },
                ready,
            },
        })
    }

    fn relayer(
        &self,
        row: &[String],
        now: u64,
        lease: Option<&LeaseView>,
    ) -> Result<RelayerView, StoreError> {
        let [worker, beat, fields @ ..] = row else { return Err(unknown(&row)) };
        let key = self.keys.relayer(worker);
        let fields = pairs(fields);
        let record = Record { key: &key, fields: &fields };
        let last_heartbeat = codec::parse(&self.keys.fleet(), "heartbeat", beat, "unix milliseconds")?;
        let boot = record.text("boot").to_owned();
        Ok(RelayerView {
            worker: worker.clone(),
            host: record.text("host").to_owned(),
            pid: record.need("pid", "a process id")?,
            version: record.text("version").to_owned(),
            started_at: record.need("started_at", "unix milliseconds")?,
            last_heartbeat,
            alive: u128::from(now.saturating_sub(last_heartbeat)) <= ALIVE_WITHIN.as_millis(),
            leads: lease.filter(|lease| lease.boot == boot).map(|lease| lease.term),
            boot,
            claims: record.need("claims", "a number")?,
            claimed: record.need("claimed", "a number")?,
            head: record.maybe("head", "a block number")?,
        })
    }

    fn gate_view(&self, row: &[String], ready: u64) -> Result<ClosedGate, StoreError> {
        let [gate, stored, parked] = row else { return Err(unknown(&row)) };
        gates::closed(&self.keys.gate(), gate, stored, number("parked", parked)?, ready)
    }

    fn signer_view(&self, row: &[String]) -> Result<SignerView, StoreError> {
        let [signer, open, lowest, since] = row else { return Err(unknown(&row)) };
        let signer: Address = codec::parse(&self.keys.signers(), "signer", signer, "an address")?;
        let lowest = match codec::optional::<Nonce>(&self.keys.open(signer), "nonce", lowest, "a nonce")? {
            Some(nonce) => {
                let key = self.keys.tx(signer, nonce);
                Some((nonce, codec::parse(&key, "created_at", since, "unix milliseconds")?))
            }
            None => None,
        };
        Ok(SignerView { signer, open: number("open", open)?, lowest })
    }
}

fn lease_view(key: &str, value: &str, remaining: &str) -> Result<Option<LeaseView>, StoreError> {
    if value.is_empty() {
        return Ok(None);
    }
    let fence = Fence::of_stored(value);
    let (boot, term) = fence.boot().zip(fence.term()).ok_or_else(|| StoreError::Corrupt {
        key: key.to_owned(),
        field: "value",
        value: value.to_owned(),
        expected: "a boot and a term",
    })?;
    let remaining: i64 = codec::parse(key, "pttl", remaining, "milliseconds")?;
    let remaining = Duration::from_millis(u64::try_from(remaining).unwrap_or(0));
    Ok(Some(LeaseView { boot: boot.to_owned(), term, remaining, worker: None }))
}

fn consumer_view(row: &[String], relayers: &[RelayerView]) -> Result<ConsumerView, StoreError> {
    let [name, pending, idle] = row else { return Err(unknown(&row)) };
    let relayer = relayers.iter().find(|relayer| relayer.worker == *name);
    Ok(ConsumerView {
        name: name.clone(),
        pending: number("pending", pending)?,
        idle: Duration::from_millis(number("idle", idle)?),
        alive: relayer.map(|relayer| relayer.alive),
    })
}

fn pairs(flat: &[String]) -> HashMap<String, String> {
    flat.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn number(field: &'static str, text: &str) -> Result<u64, StoreError> {
    codec::parse("fleet_view", field, text, "a number")
}

fn unknown(reply: &impl std::fmt::Debug) -> StoreError {
    StoreError::UnknownReply { script: "fleet_view", value: format!("{reply:?}") }
}
