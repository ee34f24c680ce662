//! The two contracts, what they hold and let go, and what the signer has for gas.

use alloy::primitives::Address;
use shared::money::{Sge, Usdc};

use super::report::{Check, Fact, Question};
use super::text;
use crate::chain::{Conditions, Head, TokenRoom, Wiring};
use crate::config::Config;
use crate::max_loss::MaxLoss;
use crate::signer::{fees, gas};

/// Lone payouts that the gas money should last for.
const PAYOUTS_WARNING: u128 = 100;
/// Percent of a window that should be left, as the alert `AilWindowNearlyUsed` has it.
const WINDOW_WARNING: u128 = 20;
/// What no amount reaches: no limit.
const OFF: u128 = u128::MAX;

/// What the contracts say of themselves.
#[derive(Debug)]
pub(crate) struct ContractFacts {
    /// Whether there is code at the address.
    pub(crate) registry_code: Fact<bool>,
    pub(crate) payout_code: Fact<bool>,
    pub(crate) wiring: Fact<Wiring>,
    /// On the registry, on the payout contract.
    pub(crate) roles: Fact<(bool, bool)>,
}

/// What must be so, or nothing starts.
pub(crate) fn deployment(facts: &ContractFacts, config: &Config, relayer: Address) -> Vec<Check> {
    let wired = facts.wiring.known();
    let hint = wired.filter(|wired| wired.registry != config.registry);
    let hint = hint.map(|wired| format!("set it to {}, which the payout contract names", wired.registry));
    vec![
        code("registry", "AFFILIATE_REGISTRY_ADDRESS", config.registry, &facts.registry_code, hint),
        code("payout", "AFFILIATE_PAYOUT_ADDRESS", config.payout, &facts.payout_code, None),
        wiring(facts, config),
        role("registry", "AffiliateRegistry", relayer, &facts.roles, |roles| roles.0),
        role("payout", "AffiliatePayout", relayer, &facts.roles, |roles| roles.1),
    ]
}

fn code(name: &str, variable: &str, address: Address, found: &Fact<bool>, hint: Option<String>) -> Check {
    let question = Question::new(format!("contracts.{name}_code"), "a contract at the address");
    question.judge(found, |question, there| {
        if *there {
            return question.ok(address.to_string());
        }
        let advice = hint.unwrap_or_else(|| format!("set {variable} to what scripts/deploy printed"));
        question.failed(format!("{variable}={address}: there is no contract at this address"), advice)
    })
}

fn wiring(facts: &ContractFacts, config: &Config) -> Check {
    let question = Question::new("contracts.wiring", "the payout contract points to this registry");
    if facts.registry_code.known() == Some(&false) {
        return question.skipped("there is no registry to point to");
    }
    question.judge(&facts.wiring, |question, wired| {
        if wired.registry == config.registry {
            return question.ok(format!("registry {}", wired.registry));
        }
        let found = format!("AffiliatePayout points to {}, not to {}", wired.registry, config.registry);
        question.failed(found, "set both addresses to what one run of scripts/deploy printed")
    })
}

fn role(
    name: &str,
    contract: &str,
    relayer: Address,
    roles: &Fact<(bool, bool)>,
    held: impl Fn(&(bool, bool)) -> bool,
) -> Check {
    let question = Question::new(format!("contracts.{name}_role"), "this key holds RELAYER_ROLE");
    question.judge(roles, |question, roles| match held(roles) {
        true => question.ok("held"),
        false => {
            let found = format!("{relayer} does not hold RELAYER_ROLE on {contract}");
            question.failed(found, "grant it as admin, or use the key that holds it")
        }
    })
}

pub(super) fn decimals(found: &Fact<(u8, u8)>) -> Check {
    let (usdc, sge) = (Usdc::DECIMALS, Sge::DECIMALS);
    let question = Question::new("contracts.decimals", format!("USDC {usdc}, SGE {sge}"));
    question.judge(found, |question, found| {
        let text = format!("USDC {}, SGE {}", found.0, found.1);
        if (u32::from(found.0), u32::from(found.1)) == (usdc, sge) {
            return question.ok(text);
        }
        question
            .failed(text, "deploy the contracts with the right tokens: amounts would be off by powers of ten")
    })
}

pub(super) fn paused(conditions: &Fact<Conditions>) -> [Check; 2] {
    let check = |name: &str, paused: fn(&Conditions) -> bool| {
        let question = Question::new(format!("contracts.{name}_paused"), "not paused");
        question.judge(conditions, |question, conditions| match paused(conditions) {
            false => question.ok("not paused"),
            true => question.failed("paused", "find out who paused it and why, then unpause as admin"),
        })
    };
    [check("registry", |found| found.registry_paused), check("payout", |found| found.payout_paused)]
}

/// What the signer has, and for how many lone payouts at the fee that would be offered now.
pub(super) fn gas_money(
    conditions: &Fact<Conditions>,
    head: &Fact<Head>,
    tip: &Fact<u128>,
    max_fee: u128,
) -> Check {
    let question = Question::new("money.gas", format!("{PAYOUTS_WARNING} payouts at the present fee"));
    question.judge(conditions, |question, conditions| {
        let balance = format!("{} coins", text::wei(conditions.signer_balance, 18));
        let Some(head) = head.known() else { return question.skipped("the fee is not known") };
        let tip = tip.known().copied().unwrap_or(fees::Tips::USUAL.first());
        let Some(fees) = fees::initial(head.base_fee, tip, max_fee) else {
            return question.skipped(format!("{balance}; the base fee is above MAX_FEE_GWEI"));
        };
        let one = u128::from(gas::lone()).saturating_mul(fees.max_fee).max(1);
        let payouts = conditions.signer_balance / one;
        let found = format!("{balance}, enough for {payouts} payouts now");
        match payouts {
            0 => question.failed(found, "send gas money to the signer: nothing can be signed"),
            1..PAYOUTS_WARNING => question.warning(found, "send gas money to the signer"),
            _ => question.ok(found),
        }
    })
}

/// Two lines for each token: what can be spent, and what the limits leave of it.
pub(super) fn tokens(conditions: &Fact<Conditions>) -> Vec<Check> {
    let usdc = |question: Question, found: &Conditions, judge: Judge| {
        judge(
            question,
            &Room::of(&found.usdc, "USDC", Usdc::base_units, Usdc::to_decimal, MaxLoss::from(found).usdc_now),
        )
    };
    let sge = |question: Question, found: &Conditions, judge: Judge| {
        judge(
            question,
            &Room::of(&found.sge, "SGE", Sge::base_units, Sge::to_decimal, MaxLoss::from(found).sge_now),
        )
    };
    let float = |token: &str| Question::new(format!("money.{token}.float"), "more than 0");
    let limits =
        |token: &str| Question::new(format!("money.{token}.limits"), "open, with room in the window");
    vec![
        float("usdc").judge(conditions, |question, found| usdc(question, found, has_float)),
        limits("usdc").judge(conditions, |question, found| usdc(question, found, has_room)),
        float("sge").judge(conditions, |question, found| sge(question, found, has_float)),
        limits("sge").judge(conditions, |question, found| sge(question, found, has_room)),
    ]
}

type Judge = fn(Question, &Room) -> Check;

/// A token's room, in base units and as people read it.
struct Room {
    token: &'static str,
    funds: u128,
    cap: u128,
    left: u128,
    limit: u128,
    seconds: u64,
    shown: [String; 5],
}

impl Room {
    fn of<T: Copy>(
        room: &TokenRoom<T>,
        token: &'static str,
        units: fn(T) -> u128,
        decimal: fn(T) -> String,
        at_risk: T,
    ) -> Self {
        let shown = |amount: T| {
            if units(amount) == OFF { "no limit".to_owned() } else { text::short(&decimal(amount)) }
        };
        Self {
            token,
            funds: units(room.funds),
            cap: units(room.cap),
            left: units(room.window_left),
            limit: units(room.window_limit),
            seconds: room.window_seconds,
            shown: [room.funds, room.cap, room.window_left, room.window_limit, at_risk].map(shown),
        }
    }
}

fn has_float(question: Question, room: &Room) -> Check {
    let [funds, _, _, _, at_risk] = &room.shown;
    let found = format!("{funds} {}, {at_risk} of it could leave now", room.token);
    match room.funds {
        0 => {
            question.warning(found, "fund the payout contract, or raise the treasury's balance and allowance")
        }
        _ => question.ok(found),
    }
}

fn has_room(question: Question, room: &Room) -> Check {
    let [_, cap, left, limit, _] = &room.shown;
    let window = match (room.limit, room.seconds) {
        (OFF, _) => "window off".to_owned(),
        (_, seconds) => {
            format!("{left} of {limit} left in {}", text::span(std::time::Duration::from_secs(seconds)))
        }
    };
    let found = format!("cap {cap}, {window}");
    let is_off = room.limit == OFF;
    if room.cap == 0 || (!is_off && room.limit == 0) {
        question.warning(found, format!("{} is closed: set its cap and window as admin", room.token))
    } else if !is_off && room.left.saturating_mul(100) < room.limit.saturating_mul(WINDOW_WARNING) {
        question.warning(found, "the window is nearly used: wait until it has passed, or raise its limit")
    } else {
        question.ok(found)
    }
}

#[cfg(test)]
#[path = "contracts_tests.rs"]
mod tests;
