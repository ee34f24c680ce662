use poem_openapi::{Enum, Object};
use shared::store::{ConsumerView, Fleet, LeaseView, RelayerView, Replay, SignerView};

use super::operations::GateView;

/// What a relayer does besides checking jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum RoleName {
    /// It signs: the lease is its own.
    Leader,
    /// It waits for the lease.
    Follower,
}

/// A relayer that was heard of within the last ten minutes.
#[derive(Debug, Object)]
pub(crate) struct RelayerAnswer {
    /// Its name, new at each start: host, process id and boot.
    pub(crate) name: String,
    /// The machine it runs on.
    pub(crate) host: String,
    /// Its process id there.
    pub(crate) pid: u32,
    /// Its version.
    pub(crate) version: String,
    /// When it started, in unix milliseconds.
    pub(crate) since: u64,
    /// By the lease, whatever it last said of itself.
    pub(crate) role: RoleName,
    /// The fencing term while it leads.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) term: Option<u64>,
    /// Jobs in its hands when it last told.
    pub(crate) claims: u64,
    /// Jobs it claimed since it started.
    pub(crate) claimed: u64,
    /// Height of the newest block it saw; absent before the first.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) head: Option<u64>,
    /// When it last told of itself, in unix milliseconds. It does every 5 seconds.
    pub(crate) last_heartbeat: u64,
    /// Whether that is at most 15 seconds ago. One that stops in good order is not listed any more.
    pub(crate) alive: bool,
}

impl From<RelayerView> for RelayerAnswer {
    fn from(view: RelayerView) -> Self {
        Self {
            name: view.worker,
            host: view.host,
            pid: view.pid,
            version: view.version,
            since: view.started_at,
            role: if view.leads.is_some() { RoleName::Leader } else { RoleName::Follower },
            term: view.leads.map(|term| term.get()),
            claims: view.claims,
            claimed: view.claimed,
            head: view.head.map(|block| block.get()),
            last_heartbeat: view.last_heartbeat,
            alive: view.alive,
        }
    }
}

/// The lease of the one relayer that signs.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct LeaseAnswer {
    /// The boot that holds it.
    pub(crate) holder: String,
    /// The name of the relayer with this boot; absent where none was heard of.
    pub(crate) relayer: Option<String>,
    /// The fencing term.
    pub(crate) term: u64,
    /// Milliseconds until it ends unless it is renewed.
    pub(crate) ms_left: u64,
}

impl From<LeaseView> for LeaseAnswer {
    fn from(view: LeaseView) -> Self {
        Self {
            holder: view.boot,
            relayer: view.worker,
            term: view.term.get(),
            ms_left: millis(view.remaining),
        }
    }
}

/// A consumer of the queue: a relayer as Redis knows it.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct ConsumerAnswer {
    /// Its name, that of its relayer.
    pub(crate) name: String,
    /// Entries that were delivered to it and are not acknowledged.
    pub(crate) pending: u64,
    /// Milliseconds since it last asked for something.
    pub(crate) idle_ms: u64,
    /// Whether its relayer is alive; absent where none of this name was heard of. Its entries are then taken over.
    pub(crate) alive: Option<bool>,
}

impl From<ConsumerView> for ConsumerAnswer {
    fn from(view: ConsumerView) -> Self {
        Self { name: view.name, pending: view.pending, idle_ms: millis(view.idle), alive: view.alive }
    }
}

/// The nonces of a signer that are journaled and not final.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct SignerAnswer {
    /// The signing account, with its EIP-55 checksum.
    pub(crate) signer: String,
    /// How many nonces are open.
    pub(crate) open: u64,
    /// The lowest open one: everything else waits for it.
    pub(crate) lowest: Option<u64>,
    /// Milliseconds since that one was journaled.
    pub(crate) oldest_age_ms: Option<u64>,
}

impl SignerAnswer {
    fn new(view: &SignerView, now: u64) -> Self {
        Self {
            signer: view.signer.to_checksum(None),
            open: view.open,
            lowest: view.lowest.map(|(nonce, _)| nonce.get()),
            oldest_age_ms: view.lowest.map(|(_, since)| now.saturating_sub(since)),
        }
    }
}

/// How far a replay of contract events has come.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct ReplayAnswer {
    /// Height of its first block.
    pub(crate) from: u64,
    /// Height of its last block.
    pub(crate) to: u64,
    /// Height up to which it has come; absent before the node's first answer.
    pub(crate) at: Option<u64>,
    /// Events so far.
    pub(crate) events: u64,
}

impl From<Replay> for ReplayAnswer {
    fn from(replay: Replay) -> Self {
        Self {
            from: replay.from.get(),
            to: replay.to.get(),
            at: replay.at.map(|block| block.get()),
            events: replay.events,
        }
    }
}

/// Whether Redis knows what the contracts did.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct SyncAnswer {
    /// Whether contract events were replayed since this Redis process started. Otherwise nothing is accepted, cancelled or
    /// signed.
    pub(crate) synced: bool,
    /// Height up to which events were ever replayed into this data.
    pub(crate) checkpoint: Option<u64>,
    /// While a replay is on its way.
    pub(crate) replay: Option<ReplayAnswer>,
}

/// What waits to be checked and to be signed.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct QueueAnswer {
    /// Entries in the queue, including those in workers' hands.
    pub(crate) queued: u64,
    /// Those in workers' hands.
    pub(crate) pending: u64,
    /// When the oldest entry that no worker has taken was queued, in unix milliseconds; absent where there is none.
    pub(crate) oldest_queued_at: Option<u64>,
    /// Checked jobs that wait for a nonce.
    pub(crate) ready: u64,
}

/// The fleet at one moment.
#[derive(Debug, Object)]
pub(crate) struct FleetAnswer {
    /// The moment, in unix milliseconds.
    pub(crate) now: u64,
    /// Who holds the lease; absent while nobody does.
    #[oai(skip_serializing_if_is_none)]
    pub(crate) lease: Option<LeaseAnswer>,
    /// Relayers that were heard of within ten minutes, at most 256, the newest heartbeat first.
    pub(crate) relayers: Vec<RelayerAnswer>,
    /// Consumers that have pending entries or a relayer in the list.
    pub(crate) consumers: Vec<ConsumerAnswer>,
    /// The gates that are closed now.
    pub(crate) closed_gates: Vec<GateView>,
    /// The open nonces, per signer.
    pub(crate) signers: Vec<SignerAnswer>,
    /// Whether Redis is synced with the chain.
    pub(crate) sync: SyncAnswer,
    /// What waits.
    pub(crate) queue: QueueAnswer,
}

impl From<Fleet> for FleetAnswer {
    fn from(fleet: Fleet) -> Self {
        Self {
            now: fleet.now,
            lease: fleet.lease.map(LeaseAnswer::from),
            relayers: fleet.relayers.into_iter().map(RelayerAnswer::from).collect(),
            consumers: fleet.consumers.into_iter().map(ConsumerAnswer::from).collect(),
            closed_gates: fleet.gates.into_iter().map(GateView::from).collect(),
            signers: fleet.signers.iter().map(|view| SignerAnswer::new(view, fleet.now)).collect(),
            sync: SyncAnswer {
                synced: fleet.sync.synced,
                checkpoint: fleet.sync.checkpoint.map(|block| block.get()),
                replay: fleet.sync.replay.map(ReplayAnswer::from),
            },
            queue: QueueAnswer {
                queued: fleet.queue.queued,
                pending: fleet.queue.pending,
                oldest_queued_at: fleet.queue.oldest_queued,
                ready: fleet.queue.ready,
            },
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
