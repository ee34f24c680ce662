//! The journal for people: every transaction of the lane, newest first, and one by its hash or nonce.
//!
//! There is no index of transactions. The nonces of a signer are dense between the first and the next one that the
//! journal gave out, so a list walks downwards through them, a bounded number per call.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::iter::Peekable;
use std::str::FromStr;

use alloy::primitives::Address;

use super::codec::{self, Record};
use super::error::StoreError;
use super::journal::read_tx;
use super::listing::SCAN;
use super::{SLICE, Store};
use crate::ids::{Hash32, IdError, JobId, Nonce, Wallet};
use crate::tx::TxRecord;
use crate::tx_state::TxState;

/// A transaction as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxView {
    pub signer: Address,
    pub tx: TxRecord,
    /// Once its nonce is consumed for good.
    pub end: Option<TxEnd>,
}

/// How a nonce ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxEnd {
    /// `ours`, `cancel` or `stranger`.
    pub consumed_by: String,
    /// What consumed it, where that is known.
    pub hash: Option<Hash32>,
    /// Unix milliseconds of the Redis clock.
    pub at: u64,
}

/// Names one transaction: by the hash of any of its attempts, or by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxRef {
    Hash(Hash32),
    Nonce(Address, Nonce),
}

impl FromStr for TxRef {
    type Err = IdError;
    /// `0x` and 64 hex digits, or `<signer>:<nonce>`.
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once(':') {
            None => text.parse().map(Self::Hash),
            Some((signer, nonce)) => {
                Ok(Self::Nonce(signer.parse::<Wallet>()?.address(), nonce.parse::<Nonce>()?))
            }
        }
    }
}

/// What a list of transactions is narrowed to. Fields combine with "and".
#[derive(Debug, Clone, Copy, Default)]
pub struct TxFilter {
    pub state: Option<TxState>,
    pub signer: Option<Address>,
}

/// Where a page begins: for each signer that still has transactions, the nonce below which to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TxCursor(BTreeMap<Address, u64>);

/// Signers per cursor. A lane has one, and one more for each rotation of its key.
const SIGNERS: usize = 64;

impl FromStr for TxCursor {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let malformed = || IdError::Malformed {
            what: "cursor",
            value: text.chars().take(80).collect(),
            expected: "`next` of the page before",
        };
        let mut below = BTreeMap::new();
        for part in text.split('.') {
            let (signer, nonce) = part.split_once(':').ok_or_else(malformed)?;
            let signer = signer.parse::<Wallet>().map_err(|_| malformed())?.address();
            let nonce: Nonce = nonce.parse().map_err(|_| malformed())?;
            if below.insert(signer, nonce.get()).is_some() || below.len() > SIGNERS {
                return Err(malformed());
            }
        }
        Ok(Self(below))
    }
}

impl fmt::Display for TxCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (signer, below)) in self.0.iter().enumerate() {
            write!(f, "{}{signer:#x}:{below}", if n == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// One page, newest first.
#[derive(Debug)]
pub struct TxPage {
    pub txs: Vec<TxView>,
    /// Where the next page begins; `None` on the last page. A page may be short, or empty, and still have a next one:
    /// a call looks at a bounded number of nonces.
    pub next: Option<TxCursor>,
}

type Nonces = Box<dyn Iterator<Item = u64> + Send>;

/// What is left of one signer's transactions.
struct Walk {
    signer: Address,
    /// Nonces not loaded yet, downwards.
    ahead: Peekable<Nonces>,
    loaded: VecDeque<TxView>,
    /// Everything from here upwards was looked at.
    below: u64,
}

impl Walk {
    /// Nothing is left to load.
    fn is_loaded(&mut self) -> bool {
        self.ahead.peek().is_none()
    }
}

impl Store {
    /// The transaction that `name` means.
    pub async fn find_tx(&self, name: TxRef) -> Result<Option<TxView>, StoreError> {
        let place = match name {
            TxRef::Nonce(signer, nonce) => Some((signer, nonce)),
            TxRef::Hash(hash) => self.place_of(hash).await?,
        };
        let Some((signer, nonce)) = place else { return Ok(None) };
        Ok(self.load_txs(signer, &[nonce.get()]).await?.pop())
    }

    /// The jobs that the transaction with this attempt was to settle; none where there is no such transaction.
    pub(super) async fn jobs_of_tx(&self, hash: Hash32) -> Result<Vec<JobId>, StoreError> {
        let found = self.find_tx(TxRef::Hash(hash)).await?;
        Ok(found.into_iter().flat_map(|view| view.tx.intent.jobs).map(|held| held.job).collect())
    }

    /// One page of transactions. `cursor` comes from the page before.
    pub async fn txs(
        &self,
        filter: &TxFilter,
        cursor: Option<&TxCursor>,
        limit: usize,
    ) -> Result<TxPage, StoreError> {
        let mut walks = self.walks(filter, cursor).await?;
        let (mut txs, mut looked_at) = (Vec::new(), 0);
        while txs.len() < limit && looked_at < SCAN {
            let wanted = (limit - txs.len()).min(SLICE);
            for walk in &mut walks {
                while walk.loaded.is_empty() && !walk.is_loaded() && looked_at < SCAN {
                    looked_at += self.load_more(walk, wanted).await?;
                }
            }
            // The newest of all signers' next ones. A walk that has something left but nothing loaded ran into the bound.
            if walks.iter_mut().any(|walk| walk.loaded.is_empty() && !walk.is_loaded()) {
                break;
            }
            let newest = walks
                .iter_mut()
                .filter(|walk| !walk.loaded.is_empty())
                .max_by_key(|walk| walk.loaded.front().map(|view| view.tx.created_at));
            let Some(walk) = newest else { break };
            let Some(view) = walk.loaded.pop_front() else { break };
            walk.below = view.tx.nonce.get();
            if filter.state.is_none_or(|state| view.tx.state == state) {
                txs.push(view);
            }
        }
        let left = walks.iter_mut().filter_map(|walk| {
            (!walk.is_loaded() || !walk.loaded.is_empty()).then_some((walk.signer, walk.below))
        });
        let left: BTreeMap<Address, u64> = left.collect();
        Ok(TxPage { txs, next: (!left.is_empty()).then_some(TxCursor(left)) })
    }

    async fn walks(&self, filter: &TxFilter, cursor: Option<&TxCursor>) -> Result<Vec<Walk>, StoreError> {
        let key = self.keys.signers();
        let signers: Vec<String> = self.read("transactions", redis::cmd("SMEMBERS").arg(&key)).await?;
        let mut walks = Vec::new();
        for signer in signers {
            let signer: Address = codec::parse(&key, "signer", &signer, "an address")?;
            let below = match cursor {
                // A signer that a cursor does not name has no more, or came later.
                Some(cursor) => cursor.0.get(&signer).copied(),
                None => Some(u64::MAX),
            };
            if let Some(below) = below.filter(|_| filter.signer.is_none_or(|only| only == signer)) {
                let ahead = self.nonces(filter, signer, below).await?.peekable();
                walks.push(Walk { signer, ahead, loaded: VecDeque::new(), below });
            }
        }
        Ok(walks)
    }

    /// The nonces of `signer` below `below` that may match, downwards.
    async fn nonces(&self, filter: &TxFilter, signer: Address, below: u64) -> Result<Nonces, StoreError> {
        if matches!(filter.state, Some(TxState::Open | TxState::Cancelling)) {
            let key = self.keys.open(signer);
            let open: Vec<String> =
                self.read("transactions", redis::cmd("ZREVRANGE").arg(&key).arg(0).arg(-1)).await?;
            let open = open.iter().map(|nonce| codec::parse(&key, "nonce", nonce, "a nonce"));
            let open: Vec<u64> = open.collect::<Result<_, _>>()?;
            return Ok(Box::new(open.into_iter().filter(move |nonce| *nonce < below)));
        }
        let key = self.keys.signer(signer);
        let mut command = redis::cmd("HMGET");
        command.arg(&key).arg("first").arg("next");
        let (first, next): (Option<String>, Option<String>) = self.read("transactions", &command).await?;
        let number = |field, text: Option<String>| -> Result<u64, StoreError> {
            Ok(codec::optional(&key, field, &text.unwrap_or_default(), "a nonce")?.unwrap_or(0))
        };
        Ok(Box::new((number("first", first)?..number("next", next)?.min(below)).rev()))
    }

    /// Loads the next nonces of a walk. Returns how many were looked at.
    async fn load_more(&self, walk: &mut Walk, count: usize) -> Result<usize, StoreError> {
        let nonces: Vec<u64> = walk.ahead.by_ref().take(count).collect();
        let found = self.load_txs(walk.signer, &nonces).await?;
        if let (true, Some(lowest)) = (found.is_empty(), nonces.last()) {
            walk.below = *lowest;
        }
        walk.loaded.extend(found);
        Ok(nonces.len())
    }

    /// The transactions at these nonces; those that the journal never gave out are left out.
    async fn load_txs(&self, signer: Address, nonces: &[u64]) -> Result<Vec<TxView>, StoreError> {
        if nonces.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipe = redis::pipe();
        let keys: Vec<String> = nonces.iter().map(|n| self.keys.tx(signer, Nonce::new(*n))).collect();
        for key in &keys {
            pipe.cmd("HGETALL").arg(key);
        }
        let rows: Vec<HashMap<String, String>> = self.pipe("transactions", &pipe).await?;
        let found = nonces.iter().zip(&keys).zip(&rows).filter(|(_, fields)| !fields.is_empty());
        found.map(|((n, key), fields)| view(signer, Nonce::new(*n), &Record { key, fields })).collect()
    }

    async fn place_of(&self, hash: Hash32) -> Result<Option<(Address, Nonce)>, StoreError> {
        let key = self.keys.tx_of_hash(hash);
        let place: Option<String> = self.read("transaction", redis::cmd("GET").arg(&key)).await?;
        let Some(place) = place else { return Ok(None) };
        let (signer, nonce) = place.split_once(':').unwrap_or_default();
        Ok(Some((
            codec::parse(&key, "signer", signer, "an address")?,
            codec::parse(&key, "nonce", nonce, "a nonce")?,
        )))
    }
}

fn view(signer: Address, nonce: Nonce, record: &Record<'_>) -> Result<TxView, StoreError> {
    let end = match record.maybe("closed_at", "unix milliseconds")? {
        Some(at) => Some(TxEnd {
            consumed_by: record.text("consumed_by").to_owned(),
            hash: record.maybe("final_hash", "a hash")?,
            at,
        }),
        None => None,
    };
    Ok(TxView { signer, tx: read_tx(nonce, record)?, end })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let (a, b) = (Address::repeat_byte(0x51), Address::repeat_byte(0x52));
        for cursor in [TxCursor([(a, 7)].into()), TxCursor([(a, 0), (b, u64::MAX)].into())] {
            assert_eq!(cursor.to_string().parse::<TxCursor>().unwrap(), cursor);
        }
        let twice = format!("{a:#x}:1.{a:#x}:2");
        for text in ["", "7", "0x12:7", &format!("{a:#x}"), &format!("{a:#x}:-1"), &twice] {
            assert!(text.parse::<TxCursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_transaction_is_named_by_hash_or_by_signer_and_nonce() {
        let hash = format!("0x{}", "ab".repeat(32));
        assert_eq!(hash.parse::<TxRef>().unwrap(), TxRef::Hash(hash.parse().unwrap()));
        let signer = Address::repeat_byte(0x51);
        let place = TxRef::Nonce(signer, Nonce::new(7));
        assert_eq!(format!("{signer:#x}:7").parse::<TxRef>().unwrap(), place);
        assert_eq!(format!("{}:7", signer.to_checksum(None)).parse::<TxRef>().unwrap(), place);
        for text in ["", "7", "0x12", "0x12:7", &format!("{signer:#x}:"), &format!("{signer:#x}:seven")] {
            assert!(text.parse::<TxRef>().is_err(), "{text}");
        }
    }
}
