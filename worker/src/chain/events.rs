//! The contracts' logs as domain events. A log of ours that does not decode is an error, never skipped.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alloy::primitives::{Address, B256, LogData};
use alloy::rpc::types::Log;
use alloy::sol_types::{SolEvent, SolEventInterface};
use serde_json::{Value, json};
use shared::ids::{BlockNumber, Hash32, Wallet};
use shared::money::{Sge, Usdc};

use super::alloy::AlloyChain;
use super::bindings::contracts::IAffiliatePayout::{self, IAffiliatePayoutEvents};
use super::bindings::contracts::IAffiliateRegistry::{self, IAffiliateRegistryEvents};
use super::bindings::contracts::RegistrationOutcome;
use super::decode::{self, Contracts};
use super::endpoint::{At, Endpoint};
use super::{ChainError, ChainEvent, ChainEventKind, ReceiptView, agree, classify, questions};

/// Whether a receipt shows what it must: a node that has lost its logs shows a success of ours that did nothing.
pub fn is_whole(receipt: &ReceiptView, contracts: &Contracts) -> bool {
    let is_ours = receipt.to.is_some_and(|to| to == contracts.registry || to == contracts.payout);
    !(receipt.succeeded && receipt.events.is_empty() && is_ours)
}

/// Blocks of one `eth_getLogs`, to begin with, and of one question to two endpoints.
pub(super) const FIRST_SPAN: u64 = 5_000;

/// The events that say what became of jobs.
const TOPICS: [B256; 4] = [
    IAffiliateRegistry::ReferralRegistered::SIGNATURE_HASH,
    IAffiliateRegistry::ReferralRejected::SIGNATURE_HASH,
    IAffiliatePayout::AffiliatePaid::SIGNATURE_HASH,
    IAffiliatePayout::PayoutFailed::SIGNATURE_HASH,
];

/// Which blocks' events are asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum LogFilter {
    /// From and to, both included.
    Range(BlockNumber, BlockNumber),
    /// Of one canonical block, or an error.
    Block(Hash32),
}

impl LogFilter {
    pub(super) fn param(&self, contracts: &Contracts) -> Value {
        let mut filter = json!({"address": [contracts.registry, contracts.payout], "topics": [TOPICS]});
        match self {
            Self::Range(from, to) => {
                filter["fromBlock"] = questions::numbered(*from);
                filter["toBlock"] = questions::numbered(*to);
            }
            Self::Block(hash) => filter["blockHash"] = json!(hash.b256()),
        }
        filter
    }

    pub(super) fn blocks(&self) -> u64 {
        match self {
            Self::Range(from, to) => to.get().saturating_sub(from.get()) + 1,
            Self::Block(_) => 1,
        }
    }

    pub(super) fn at(&self) -> At {
        match self {
            Self::Range(..) => At::Latest,
            Self::Block(hash) => At::Hash(*hash),
        }
    }
}

/// What one endpoint shows of a range.
pub(super) struct Walked {
    /// As far as the endpoint has blocks: above it, it cannot say anything.
    upto: BlockNumber,
    events: Vec<ChainEvent>,
}

impl Endpoint {
    /// Both contracts' events in `from..=to`, as far as this node has blocks, in spans that it bears: halved when it asks for
    /// less, and slowly grown again.
    async fn walk(
        &self,
        contracts: &Contracts,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Result<Walked, ChainError> {
        // Of blocks that a node does not have yet it shows no logs, which is no error.
        let newest = self.header(json!("latest")).await?.number;
        if newest < from {
            return Err(self.unknown_block(from));
        }
        let upto = to.min(newest);
        let mut events = Vec::new();
        let mut next = from.get();
        while next <= upto.get() {
            let span = self.log_span.load(Ordering::Relaxed).max(1);
            let last = next.saturating_add(span - 1).min(upto.get());
            let filter = LogFilter::Range(BlockNumber::new(next), BlockNumber::new(last));
            match self.logs(contracts, &filter).await {
                Ok(shown) => {
                    events.extend(shown);
                    next = last + 1;
                    self.log_span.store((span + span / 8 + 1).min(FIRST_SPAN), Ordering::Relaxed);
                }
                Err(error) if classify::asks_for_smaller_range(&error, last - next + 1) => {
                    self.log_span.store((last - next).div_ceil(2).max(1), Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Walked { upto, events })
    }
}

impl AlloyChain {
    /// What two endpoints show that have the whole range is put together: one that has lost its logs must not hide a payment.
    /// Where only one has all of it, it counts alone; where none has, it is an error.
    pub(super) async fn events_between(
        &self,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Result<Vec<ChainEvent>, ChainError> {
        let contracts = self.contracts().await?;
        let mut events = Vec::new();
        let mut next = from.get();
        while next <= to.get() {
            let first = BlockNumber::new(next);
            let last = BlockNumber::new(next.saturating_add(FIRST_SPAN - 1).min(to.get()));
            let ask = |endpoint: Arc<Endpoint>| async move { endpoint.walk(&contracts, first, last).await };
            let whole = |shown: &[(Arc<Endpoint>, Walked)]| {
                shown.iter().filter(|(_, walked)| walked.upto >= last).count()
            };
            let shown = self.pool.gather(&self.pool.voices(), None, ask, |shown| whole(shown) > 1).await?;
            match (whole(&shown), shown.first()) {
                (0, Some((endpoint, _))) => return Err(endpoint.unknown_block(last)),
                (0 | 1, _) => self.pool.note_lone(),
                _ => {}
            }
            events.extend(agree::union(shown.into_iter().map(|(_, walked)| walked.events)));
            next = last.get() + 1;
        }
        events.sort_by_key(|event| (event.block, event.log_index));
        Ok(events)
    }
}

/// The logs of ours as events; an error shows one that does not decode.
pub(super) fn decode_logs(logs: &[Log], contracts: &Contracts) -> Result<Vec<ChainEvent>, String> {
    logs.iter()
        .filter(|log| !log.removed && is_ours(log.address(), log.data(), contracts))
        .map(|log| event(log, contracts).ok_or_else(|| format!("a log that does not decode: {log:?}")))
        .collect()
}

fn is_ours(address: Address, data: &LogData, contracts: &Contracts) -> bool {
    let named = data.topics().first().is_some_and(|topic| TOPICS.contains(topic));
    named && (address == contracts.registry || address == contracts.payout)
}

fn event(log: &Log, contracts: &Contracts) -> Option<ChainEvent> {
    let kind = if log.address() == contracts.registry {
        registry_event(log.data())?
    } else {
        payout_event(log.data(), contracts)?
    };
    Some(ChainEvent {
        block: BlockNumber::new(log.block_number?),
        tx_hash: log.transaction_hash?.into(),
        log_index: log.log_index?,
        kind,
    })
}

fn registry_event(data: &LogData) -> Option<ChainEventKind> {
    let wallet = |address| Wallet::try_from(address).ok();
    match IAffiliateRegistryEvents::decode_raw_log(data.topics(), &data.data).ok()? {
        IAffiliateRegistryEvents::ReferralRegistered(event) => Some(ChainEventKind::Registered {
            child: wallet(event.child)?,
            referrer: wallet(event.referrer)?,
        }),
        IAffiliateRegistryEvents::ReferralRejected(event) => Some(ChainEventKind::RegistrationRejected {
            child: wallet(event.child)?,
            referrer: wallet(event.referrer)?,
            verdict: decode::registration(RegistrationOutcome::try_from(event.outcome).ok()?, None)?,
        }),
    }
}

fn payout_event(data: &LogData, contracts: &Contracts) -> Option<ChainEventKind> {
    match IAffiliatePayoutEvents::decode_raw_log(data.topics(), &data.data).ok()? {
        IAffiliatePayoutEvents::AffiliatePaid(event) => Some(ChainEventKind::Paid {
            payment: event.paymentId.into(),
            referrer: Wallet::try_from(event.referrer).ok()?,
            child: Wallet::try_from(event.child).ok()?,
            usdc: Usdc::try_from(event.usdcAmount).ok()?,
            sge: Sge::try_from(event.sgeAmount).ok()?,
        }),
        IAffiliatePayoutEvents::PayoutFailed(event) => Some(ChainEventKind::PayoutFailed {
            payment: event.paymentId.into(),
            verdict: decode::payout_failed(event.outcome, &event.reason, contracts)?,
        }),
        _ => None,
    }
}
