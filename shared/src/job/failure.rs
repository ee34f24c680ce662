use serde::{Deserialize, Serialize};

/// Why an attempt, or the whole job, failed. Stored with the job and shown to operators as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Failure {
    pub class: FailureClass,
    /// What happened, with the values decoded from the chain.
    pub reason: String,
}

impl Failure {
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Charged as an attempt and tried again after a backoff.
    Transient,
    /// No retry can mend it without an operator.
    Permanent,
}

macro_rules! failure_classes {
    ($($variant:ident = $name:literal, $severity:ident, $hint:literal;)*) => {
        /// The closed list of failures. The names are part of the HTTP interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FailureClass {
            $(#[serde(rename = $name)] $variant,)*
        }

        impl FailureClass {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What an operator can do about it.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)* }
            }
        }
    };
}

failure_classes! {
    UnclearRevert = "unclear_revert", Transient,
        "The contract or token reverted for a reason the relayer does not know. Read the reason, then retry the job.";
    BatchReverted = "batch_reverted", Transient,
        "The transaction that carried this job alone reverted as a whole. Read the reason, then retry the job.";
    RefusedByNodes = "refused_by_nodes", Transient,
        "Every node refused the transaction with this job alone. Read the relayer's log for their words, then retry the job.";
    GateClosed = "gate_closed", Transient,
        "A condition outside the job keeps it waiting. It goes on by itself when the gate opens; nothing was charged.";
    InvalidReferrer = "invalid_referrer", Permanent,
        "The registry names another referrer for this wallet. Check the registration, then cancel the job.";
    AboveCap = "above_cap", Permanent,
        "The amount is above the contract's cap per payout. Raise the cap as admin, then retry, or pay by hand and cancel.";
    RecipientRefused = "recipient_refused", Permanent,
        "The token refuses this recipient (blocklist). Retry once the token accepts the wallet again.";
    ZeroAmount = "zero_amount", Permanent,
        "Both amounts are zero, so nothing is due. Cancel the job.";
    SelfReferral = "self_referral", Permanent,
        "A wallet cannot refer itself. Cancel the job and register another referrer.";
    ReferralCycle = "referral_cycle", Permanent,
        "The referrer was itself referred by this wallet. Cancel the job and register another referrer.";
    ReferrerConflict = "referrer_conflict", Permanent,
        "The registry holds another referrer for this wallet, for good. Cancel the job.";
    RegistrationFailed = "registration_failed", Permanent,
        "The wallet's registration failed. Register the wallet again: its payouts are then picked up.";
    TooLarge = "transaction_too_large", Permanent,
        "No node would take a transaction with this job alone. Raise BATCH_GAS or the block gas limit, then retry.";
    Poison = "poison", Permanent,
        "Workers died repeatedly while handling this job. Read their logs before retrying.";
}

impl FailureClass {
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|class| class.name() == name)
    }
}
