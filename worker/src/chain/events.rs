//! The contracts' logs as domain events. A log of ours that does not decode is an error, never skipped.

use std::sync::atomic::Ordering;

use alloy::primitives::{Address, B256, LogData};
use alloy::rpc::types::Log;
use alloy::sol_types::{SolEvent, SolEventInterface};
use serde_json::json;
use shared::ids::{BlockNumber, Wallet};
use shared::money::{Sge, Usdc};

use super::alloy::AlloyChain;
use super::bindings::contracts::IAffiliatePayout::{self, IAffiliatePayoutEvents};
use super::bindings::contracts::IAffiliateRegistry::{self, IAffiliateRegistryEvents};
use super::bindings::contracts::RegistrationOutcome;
use super::decode::{self, Contracts};
use super::endpoint::At;
use super::{ChainError, ChainEvent, ChainEventKind, classify};

/// Blocks of one `eth_getLogs`, to begin with.
pub(super) const FIRST_SPAN: u64 = 5_000;

/// The events that say what became of jobs.
const TOPICS: [B256; 4] = [
    IAffiliateRegistry::ReferralRegistered::SIGNATURE_HASH,
    IAffiliateRegistry::ReferralRejected::SIGNATURE_HASH,
    IAffiliatePayout::AffiliatePaid::SIGNATURE_HASH,
    IAffiliatePayout::PayoutFailed::SIGNATURE_HASH,
];

impl AlloyChain {
    /// Walks `from..=to` in spans that the node bears: halved when it asks for less, and slowly grown again.
    pub(super) async fn events_between(
        &self,
        from: BlockNumber,
        to: BlockNumber,
    ) -> Result<Vec<ChainEvent>, ChainError> {
        let contracts = self.contracts().await?;
        let mut events = Vec::new();
        let mut next = from.get();
        while next <= to.get() {
            let span = self.log_span.load(Ordering::Relaxed).max(1);
            let last = next.saturating_add(span - 1).min(to.get());
            let filter = json!([{
                "fromBlock": format!("{next:#x}"),
                "toBlock": format!("{last:#x}"),
                "address": [contracts.registry, contracts.payout],
                "topics": [TOPICS],
            }]);
            match self.ask::<_, Vec<Log>>("eth_getLogs", filter, At::Latest).await {
                Ok(logs) => {
                    events.extend(self.decode_logs("eth_getLogs", &logs, &contracts)?);
                    next = last + 1;
                    self.log_span.store((span + span / 8 + 1).min(FIRST_SPAN), Ordering::Relaxed);
                }
                Err(error) if classify::asks_for_smaller_range(&error, last - next + 1) => {
                    self.log_span.store((last - next).div_ceil(2).max(1), Ordering::Relaxed);
                }
                Err(error) => return Err(error),
            }
        }
        events.sort_by_key(|event| (event.block, event.log_index));
        Ok(events)
    }

    pub(super) fn decode_logs(
        &self,
        method: &'static str,
        logs: &[Log],
        contracts: &Contracts,
    ) -> Result<Vec<ChainEvent>, ChainError> {
        logs.iter()
            .filter(|log| !log.removed && is_ours(log.address(), log.data(), contracts))
            .map(|log| {
                event(log, contracts)
                    .ok_or_else(|| self.garbage(method, format!("a log that does not decode: {log:?}")))
            })
            .collect()
    }
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
