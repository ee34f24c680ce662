use std::collections::HashMap;

use poem_openapi::Object;
use shared::ids::Wallet;
use shared::store::{AffiliateView, PaymentView, ReferralView};

use super::{Amounts, JobView, ModeName};

/// A payout mode that was set.
#[derive(Debug, Object)]
pub(crate) struct ModeAnswer {
    /// The affiliate's wallet, with its EIP-55 checksum.
    pub(crate) wallet: String,
    /// The mode from the next accepted payment on.
    pub(crate) mode: ModeName,
    /// The mode before.
    pub(crate) previous: ModeName,
}

/// Who brought a wallet.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct ReferralAnswer {
    /// `unreferred`, `registering`, `registered` or `failed`.
    pub(crate) status: String,
    /// The referrer, with its EIP-55 checksum.
    pub(crate) referrer: Option<String>,
    /// The job that writes it on-chain.
    pub(crate) job_id: Option<String>,
}

impl From<ReferralView> for ReferralAnswer {
    fn from(view: ReferralView) -> Self {
        Self {
            status: view.status,
            referrer: view.referrer.map(|wallet| wallet.to_string()),
            job_id: view.job.map(|job| job.to_string()),
        }
    }
}

/// A wallet: what it earned as an affiliate, and who brought it.
#[derive(Debug, Object)]
pub(crate) struct AffiliateAnswer {
    /// The wallet, with its EIP-55 checksum.
    pub(crate) wallet: String,
    /// How it is paid.
    pub(crate) mode: ModeName,
    /// Paid on-chain.
    pub(crate) paid: Amounts,
    /// Accepted, neither paid nor failed yet.
    pub(crate) pending: Amounts,
    /// In failed jobs.
    pub(crate) failed: Amounts,
    /// Owed back because of refunds.
    pub(crate) owed: Amounts,
    /// Payouts per state.
    pub(crate) payouts: HashMap<String, u64>,
    /// Wallets it brought, by accepted registrations.
    pub(crate) children: u64,
    /// Who brought this wallet; null where it never registered.
    pub(crate) referral: Option<ReferralAnswer>,
    /// The newest payouts, at most 100; `GET /api/jobs?wallet=` lists all.
    pub(crate) recent: Vec<JobView>,
    /// Whether there are more jobs than one call looks at (4096), so that sums are lower bounds.
    pub(crate) truncated: bool,
}

impl AffiliateAnswer {
    pub(crate) fn new(wallet: Wallet, view: AffiliateView, referral: Option<ReferralView>) -> Self {
        Self {
            wallet: wallet.to_string(),
            mode: view.mode.into(),
            paid: view.paid.into(),
            pending: view.pending.into(),
            failed: view.failed.into(),
            owed: view.owed.into(),
            payouts: view.payouts.into_iter().map(|(state, count)| (state.to_owned(), count)).collect(),
            children: view.children,
            referral: referral.map(ReferralAnswer::from),
            recent: view.recent.iter().map(JobView::from).collect(),
            truncated: view.truncated,
        }
    }
}

/// A payment as recorded.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct PaymentAnswer {
    /// The on-chain payment id, 0x and 64 hex digits.
    pub(crate) id: String,
    /// The source that reported it; absent where only the chain is known.
    pub(crate) source: Option<String>,
    /// Its id at the source.
    pub(crate) external_id: Option<String>,
    /// The wallet that paid, with its EIP-55 checksum.
    pub(crate) wallet: Option<String>,
    /// What was paid, in base units (6 decimals), as a decimal string; absent before the payment itself came.
    pub(crate) amount: Option<String>,
    /// What was decided on it: see `POST /webhooks/{source}`.
    pub(crate) decision: Option<String>,
    /// The payout job.
    pub(crate) job_id: Option<String>,
    /// Who is paid, with its EIP-55 checksum.
    pub(crate) referrer: Option<String>,
    /// The commission.
    pub(crate) commission: Amounts,
    /// What was refunded so far, in base units (6 decimals), as a decimal string.
    pub(crate) refunded: String,
    /// What the last refund came to.
    pub(crate) refund_outcome: Option<String>,
    /// What the affiliate owes back.
    pub(crate) owed: Amounts,
    /// Height of the block in which the payout was made.
    pub(crate) paid_block: Option<u64>,
    /// Hash of the transaction that made it, 0x and 64 hex digits.
    pub(crate) paid_hash: Option<String>,
    /// When it was first heard of, in unix milliseconds.
    pub(crate) created_at: Option<u64>,
}

impl From<PaymentView> for PaymentAnswer {
    fn from(view: PaymentView) -> Self {
        Self {
            id: view.id.to_string(),
            source: view.source.map(|source| source.to_string()),
            external_id: view.external_id.map(|id| id.to_string()),
            wallet: view.wallet.map(|wallet| wallet.to_string()),
            amount: view.amount.map(|amount| amount.to_string()),
            decision: view.decision,
            job_id: view.job.map(|job| job.to_string()),
            referrer: view.referrer.map(|wallet| wallet.to_string()),
            commission: view.commission.into(),
            refunded: view.refunded.to_string(),
            refund_outcome: view.refund_outcome,
            owed: view.owed.into(),
            paid_block: view.paid.map(|(block, _)| block.get()),
            paid_hash: view.paid.and_then(|(_, hash)| hash).map(|hash| hash.to_string()),
            created_at: view.created_at,
        }
    }
}
