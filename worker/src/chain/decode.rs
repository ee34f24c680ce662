//! What the contracts' outcomes and reverts mean for a job. Pure: bytes in, [`Verdict`] out.
//!
//! Invariant: only a revert that names a lasting property of the job itself becomes a permanent failure. What concerns
//! everybody (pause, role, window, funds, a token that refuses the payer) is a gate, and what is not understood is
//! unclear, never permanent.

use alloy::primitives::{Address, Bytes, U256};
use alloy::sol_types::{Revert as TextRevert, SolError, SolInterface};
use shared::job::{Failure, FailureClass};

use super::bindings::contracts::{IAffiliatePayout, IAffiliateRegistry, PayoutOutcome, RegistrationOutcome};
use super::bindings::openzeppelin::OpenZeppelin;
use super::bindings::tokens::Token as TokenErrors;
use super::classify::Revert;
use super::{Gate, Verdict};

/// Where the contracts live. Immutable on-chain, so read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Contracts {
    pub registry: Address,
    pub payout: Address,
    pub usdc: Address,
    pub sge: Address,
}

/// Which of the two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Usdc,
    Sge,
}

impl Token {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Usdc => "USDC",
            Self::Sge => "SGE",
        }
    }

    pub(super) const fn window(self) -> Gate {
        match self {
            Self::Usdc => Gate::UsdcWindow,
            Self::Sge => Gate::SgeWindow,
        }
    }

    pub(super) const fn float(self) -> Gate {
        match self {
            Self::Usdc => Gate::UsdcFloat,
            Self::Sge => Gate::SgeFloat,
        }
    }

    const fn paused(self) -> Gate {
        match self {
            Self::Usdc => Gate::UsdcPaused,
            Self::Sge => Gate::SgePaused,
        }
    }
}

impl Contracts {
    fn token(&self, address: Address) -> Token {
        if address == self.sge { Token::Sge } else { Token::Usdc }
    }
}

pub fn fails(class: FailureClass, reason: impl Into<String>) -> Verdict {
    Verdict::Fails(Failure::new(class, reason))
}

pub(super) fn gate(gate: Gate, reason: impl Into<String>) -> Verdict {
    Verdict::Gate { gate, reason: reason.into() }
}

pub(super) fn above_cap(token: Token, amount: impl ToString, cap: U256) -> Verdict {
    let (name, amount) = (token.name(), amount.to_string());
    if cap.is_zero() {
        // A cap of 0 closes the token: somebody's decision about everybody, not a property of this job.
        return gate(token.window(), format!("{name} payouts are closed: the cap per payout is 0"));
    }
    fails(
        FailureClass::AboveCap,
        format!("{amount} base units of {name} are above the cap per payout of {cap}"),
    )
}

/// Why a call of one of the contracts reverted. `recipient`: who was to be paid, where that is known.
pub fn call_revert(
    revert: &Revert,
    to: Address,
    contracts: &Contracts,
    recipient: Option<Address>,
) -> Verdict {
    let of_registry = to == contracts.registry;
    if let Some(verdict) = inherited_revert(&revert.data, of_registry) {
        return verdict;
    }
    let own = if of_registry {
        registry_revert(&revert.data)
    } else {
        payout_revert(&revert.data, contracts, recipient)
    };
    own.unwrap_or_else(|| fails(FailureClass::UnclearRevert, describe(revert)))
}

/// What both contracts inherit: pause, missing role, and the guard against being entered again.
fn inherited_revert(data: &[u8], of_registry: bool) -> Option<Verdict> {
    use OpenZeppelin::OpenZeppelinErrors as Inherited;
    let closed = if of_registry { Gate::RegistryPaused } else { Gate::PayoutPaused };
    let name = if of_registry { "registry" } else { "payout contract" };
    match Inherited::abi_decode(data).ok()? {
        Inherited::EnforcedPause(_) => Some(gate(closed, format!("the {name} is paused"))),
        Inherited::AccessControlUnauthorizedAccount(error) => {
            Some(gate(closed, format!("{} lacks role {} on the {name}", error.account, error.neededRole)))
        }
        Inherited::ReentrancyGuardReentrantCall(_) => {
            Some(fails(FailureClass::UnclearRevert, "the payout contract was entered while it was paying"))
        }
    }
}

fn registry_revert(data: &[u8]) -> Option<Verdict> {
    use IAffiliateRegistry::IAffiliateRegistryErrors as Own;
    Some(match Own::abi_decode(data).ok()? {
        Own::ZeroAddress(_) => fails(FailureClass::UnclearRevert, "child or referrer is the zero address"),
        Own::SelfReferral(_) => registration_fails(FailureClass::SelfReferral, None),
        Own::ReferralCycle(_) => registration_fails(FailureClass::ReferralCycle, None),
        Own::ReferrerConflict(error) => {
            registration_fails(FailureClass::ReferrerConflict, Some(error.recorded))
        }
    })
}

fn registration_fails(class: FailureClass, recorded: Option<Address>) -> Verdict {
    let reason = match (class, recorded) {
        (FailureClass::SelfReferral, _) => "child and referrer are the same wallet".to_owned(),
        (FailureClass::ReferralCycle, _) => "the referrer was itself referred by this wallet".to_owned(),
        (_, Some(recorded)) => format!("the registry holds referrer {recorded} for this wallet"),
        (_, None) => "the registry holds another referrer for this wallet".to_owned(),
    };
    fails(class, reason)
}

/// The contract's own reasons, as the single call reverts with them and as `PayoutFailed` reports them.
pub(super) fn payout_revert(
    data: &[u8],
    contracts: &Contracts,
    recipient: Option<Address>,
) -> Option<Verdict> {
    use IAffiliatePayout::IAffiliatePayoutErrors as Own;
    Some(match Own::abi_decode(data).ok()? {
        Own::AlreadyPaid(_) => Verdict::AlreadyDone,
        Own::NotRegistered(_) => Verdict::NotRegistered,
        Own::ZeroAmount(_) => fails(FailureClass::ZeroAmount, "both amounts are zero"),
        Own::WrongReferrer(error) => wrong_referrer(Some(error.recorded)),
        Own::AboveCap(error) => above_cap(contracts.token(error.token), error.amount, error.cap),
        Own::WindowExhausted(error) => {
            let token = contracts.token(error.token);
            let text = format!(
                "needs {} base units of {}, the window has {} left",
                error.amount,
                token.name(),
                error.left
            );
            gate(token.window(), text)
        }
        Own::FundsLow(error) => {
            let token = contracts.token(error.token);
            gate(
                token.float(),
                format!("needs {} base units of {}, {} are at hand", error.amount, token.name(), error.funds),
            )
        }
        Own::TransferFailed(error) => {
            transfer_refused(&error.reason, Some(contracts.token(error.token)), contracts, recipient)
        }
        Own::InsufficientGas(error) => fails(
            FailureClass::UnclearRevert,
            format!("the gas limit is too low: {} left, {} required", error.left, error.required),
        ),
        Own::ZeroAddress(_) | Own::UnknownToken(_) | Own::NotTightening(_) => {
            fails(FailureClass::UnclearRevert, "an error that paying never raises")
        }
    })
}

pub fn wrong_referrer(recorded: Option<Address>) -> Verdict {
    let recorded = recorded.map_or_else(|| "another wallet".to_owned(), |recorded| recorded.to_string());
    fails(FailureClass::InvalidReferrer, format!("the registry names {recorded} as the referrer"))
}

/// What a token answered to a transfer it refused. Without `token` (an event does not tell) USDC is assumed: the job's
/// next simulation corrects it.
pub(super) fn transfer_refused(
    reason: &Bytes,
    token: Option<Token>,
    contracts: &Contracts,
    recipient: Option<Address>,
) -> Verdict {
    use TokenErrors::TokenErrors as Refusal;
    let token = token.unwrap_or(Token::Usdc);
    let name = token.name();
    let refused = |whom: &str| fails(FailureClass::RecipientRefused, format!("{name} refuses {whom}"));
    if let Ok(refusal) = Refusal::abi_decode(reason) {
        return match refusal {
            Refusal::EnforcedPause(_) => gate(token.paused(), format!("{name} is paused")),
            // The payer on the list stops every payout; no job is to blame.
            Refusal::Blocklisted(error)
                if error.account == contracts.payout || recipient.is_some_and(|to| to != error.account) =>
            {
                gate(token.paused(), format!("{name} refuses the payer {}", error.account))
            }
            Refusal::Blocklisted(error) => refused(&error.account.to_string()),
            Refusal::ERC20InvalidReceiver(error) => refused(&error.receiver.to_string()),
            Refusal::ERC20InsufficientBalance(_) => {
                gate(token.float(), format!("the {name} balance is too low"))
            }
            Refusal::ERC20InsufficientAllowance(_) => {
                gate(token.float(), format!("the {name} allowance is too low"))
            }
        };
    }
    if let Ok(TextRevert { reason: text, .. }) = TextRevert::abi_decode(reason) {
        return refused_in_words(&text, token);
    }
    let shown = if reason.is_empty() {
        "without a reason".to_owned()
    } else {
        format!("with {}", cut(&reason.to_string()))
    };
    fails(FailureClass::UnclearRevert, format!("{name} refused the transfer {shown}"))
}

/// Circle's USDC before version 3, and most older tokens, refuse with `Error(string)`.
fn refused_in_words(text: &str, token: Token) -> Verdict {
    let (name, words) = (token.name(), text.to_ascii_lowercase());
    let has = |needles: &[&str]| needles.iter().any(|needle| words.contains(needle));
    let said = cut(text);
    if has(&["blacklist", "blocklist", "denylist", "frozen", "sanction"]) {
        fails(FailureClass::RecipientRefused, format!("{name} refuses the transfer: {said}"))
    } else if has(&["paused"]) {
        gate(token.paused(), format!("{name} is paused: {said}"))
    } else if has(&["exceeds balance", "exceeds allowance", "insufficient balance", "insufficient allowance"])
    {
        gate(token.float(), format!("{name}: {said}"))
    } else {
        fails(FailureClass::UnclearRevert, format!("{name} refused the transfer: {said}"))
    }
}

/// A `PayoutFailed` event: outcome and reason as the contract reported them. `None`: not an outcome of ours.
pub fn payout_failed(outcome: u8, reason: &Bytes, contracts: &Contracts) -> Option<Verdict> {
    match PayoutOutcome::try_from(outcome).ok()? {
        PayoutOutcome::Paid | PayoutOutcome::__Invalid => None,
        PayoutOutcome::TransferFailed => Some(transfer_refused(reason, None, contracts, None)),
        PayoutOutcome::AlreadyPaid => Some(Verdict::AlreadyDone),
        PayoutOutcome::NotRegistered => Some(Verdict::NotRegistered),
        _ => Some(payout_revert(reason, contracts, None).unwrap_or_else(|| {
            fails(FailureClass::UnclearRevert, format!("outcome {outcome} with {}", cut(&reason.to_string())))
        })),
    }
}

/// One outcome of a registration. `recorded`: the referrer in the registry, where it was read. `None`: not an outcome
/// of ours.
pub fn registration(outcome: RegistrationOutcome, recorded: Option<Address>) -> Option<Verdict> {
    use RegistrationOutcome as Outcome;
    Some(match outcome {
        Outcome::Registered => Verdict::Fine,
        Outcome::AlreadyRegistered => Verdict::AlreadyDone,
        Outcome::ZeroAddress => fails(FailureClass::UnclearRevert, "child or referrer is the zero address"),
        Outcome::SelfReferral => registration_fails(FailureClass::SelfReferral, None),
        Outcome::ReferralCycle => registration_fails(FailureClass::ReferralCycle, None),
        Outcome::ReferrerConflict => registration_fails(FailureClass::ReferrerConflict, recorded),
        Outcome::__Invalid => return None,
    })
}

/// Whether the whole call may have failed only for want of gas, so that fewer items might pass.
pub fn wants_fewer_items(revert: &Revert) -> bool {
    revert.data.is_empty() || IAffiliatePayout::InsufficientGas::abi_decode(&revert.data).is_ok()
}

fn describe(revert: &Revert) -> String {
    match TextRevert::abi_decode(&revert.data) {
        Ok(text) => format!("reverted: {}", cut(&text.reason)),
        Err(_) if revert.data.is_empty() => format!("reverted without data: {}", cut(&revert.message)),
        Err(_) => format!("reverted with {}", cut(&revert.data.to_string())),
    }
}

/// A token chooses these words: bounded, and without control characters.
fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
