//! Revert data as the contracts and tokens really encode it.

use super::*;
use alloy::primitives::{B256, address};

const CONTRACTS: Contracts = Contracts {
    registry: Address::with_last_byte(1),
    payout: Address::with_last_byte(2),
    usdc: Address::with_last_byte(3),
    sge: Address::with_last_byte(4),
};
const REFERRER: Address = address!("00000000000000000000000000000000000000f1");

fn reverted(data: Vec<u8>) -> Revert {
    Revert { data: data.into(), message: "execution reverted".into() }
}

fn of_payout(error: impl SolError) -> Verdict {
    call_revert(&reverted(error.abi_encode()), CONTRACTS.payout, &CONTRACTS, Some(REFERRER))
}

fn refusal_of(token: Address, reason: Vec<u8>) -> Verdict {
    of_payout(IAffiliatePayout::TransferFailed { token, reason: reason.into() })
}

fn class(verdict: &Verdict) -> Option<FailureClass> {
    match verdict {
        Verdict::Fails(failure) => Some(failure.class),
        _ => None,
    }
}

fn gate_of(verdict: &Verdict) -> Option<Gate> {
    match verdict {
        Verdict::Gate { gate, .. } => Some(*gate),
        _ => None,
    }
}

fn text(reason: &str) -> Vec<u8> {
    TextRevert::from(reason).abi_encode()
}

#[test]
fn the_contracts_reasons_become_verdicts() {
    let id = B256::with_last_byte(7);
    let (child, amount, bound) = (Address::with_last_byte(9), U256::from(5), U256::from(3));
    let (usdc, sge) = (CONTRACTS.usdc, CONTRACTS.sge);
    assert_eq!(
        of_payout(IAffiliatePayout::AlreadyPaid { paymentId: id, blockNumber: amount }),
        Verdict::AlreadyDone
    );
    assert_eq!(of_payout(IAffiliatePayout::NotRegistered { child }), Verdict::NotRegistered);
    assert_eq!(class(&of_payout(IAffiliatePayout::ZeroAmount {})), Some(FailureClass::ZeroAmount));
    let wrong = of_payout(IAffiliatePayout::WrongReferrer { child, recorded: usdc, given: REFERRER });
    assert_eq!(class(&wrong), Some(FailureClass::InvalidReferrer));
    let above = of_payout(IAffiliatePayout::AboveCap { token: usdc, amount, cap: bound });
    assert_eq!(class(&above), Some(FailureClass::AboveCap));
    for (token, gate) in [(usdc, Gate::UsdcWindow), (sge, Gate::SgeWindow)] {
        assert_eq!(
            gate_of(&of_payout(IAffiliatePayout::WindowExhausted { token, amount, left: bound })),
            Some(gate)
        );
    }
    for (token, gate) in [(usdc, Gate::UsdcFloat), (sge, Gate::SgeFloat)] {
        assert_eq!(
            gate_of(&of_payout(IAffiliatePayout::FundsLow { token, amount, funds: bound })),
            Some(gate)
        );
    }
}

#[test]
fn a_pause_or_a_missing_role_closes_the_gate_of_its_contract() {
    let errors = [
        OpenZeppelin::EnforcedPause {}.abi_encode(),
        OpenZeppelin::AccessControlUnauthorizedAccount { account: REFERRER, neededRole: B256::ZERO }
            .abi_encode(),
    ];
    for data in errors {
        for (to, gate) in [(CONTRACTS.payout, Gate::PayoutPaused), (CONTRACTS.registry, Gate::RegistryPaused)]
        {
            assert_eq!(gate_of(&call_revert(&reverted(data.clone()), to, &CONTRACTS, None)), Some(gate));
        }
    }
}

#[test]
fn a_blocklisted_recipient_is_permanent_in_every_wording() {
    let custom = TokenErrors::Blocklisted { account: REFERRER }.abi_encode();
    for reason in [custom, text("Blacklistable: account is blacklisted")] {
        assert_eq!(class(&refusal_of(CONTRACTS.usdc, reason)), Some(FailureClass::RecipientRefused));
    }
}

#[test]
fn a_blocklisted_payer_is_nobodys_failure() {
    let payer = TokenErrors::Blocklisted { account: CONTRACTS.payout }.abi_encode();
    assert_eq!(gate_of(&refusal_of(CONTRACTS.usdc, payer.clone())), Some(Gate::UsdcPaused));
    let treasury = TokenErrors::Blocklisted { account: Address::with_last_byte(77) }.abi_encode();
    assert_eq!(gate_of(&refusal_of(CONTRACTS.usdc, treasury)), Some(Gate::UsdcPaused));
    let event = payout_failed(PayoutOutcome::TransferFailed as u8, &payer.into(), &CONTRACTS);
    assert_eq!(event.as_ref().and_then(gate_of), Some(Gate::UsdcPaused));
}

#[test]
fn a_paused_token_closes_its_own_gate_in_every_wording() {
    for reason in [TokenErrors::EnforcedPause {}.abi_encode(), text("Pausable: paused")] {
        assert_eq!(gate_of(&refusal_of(CONTRACTS.usdc, reason.clone())), Some(Gate::UsdcPaused));
        assert_eq!(gate_of(&refusal_of(CONTRACTS.sge, reason)), Some(Gate::SgePaused));
    }
}

#[test]
fn a_token_that_is_not_understood_is_never_permanent() {
    for reason in [Vec::new(), vec![0xde, 0xad, 0xbe, 0xef], text("odd"), text(&"x".repeat(5_000))] {
        let verdict = refusal_of(CONTRACTS.usdc, reason);
        assert_eq!(class(&verdict), Some(FailureClass::UnclearRevert));
        let Verdict::Fails(failure) = verdict else { unreachable!() };
        assert!(failure.reason.len() < 300, "bounded: {}", failure.reason.len());
    }
    let unknown = call_revert(&reverted(vec![1, 2, 3, 4]), CONTRACTS.payout, &CONTRACTS, None);
    assert_eq!(class(&unknown), Some(FailureClass::UnclearRevert));
}

#[test]
fn a_failed_item_of_a_batch_tells_what_the_single_call_would() {
    let funds =
        IAffiliatePayout::FundsLow { token: CONTRACTS.sge, amount: U256::from(2), funds: U256::from(1) };
    let verdict = payout_failed(PayoutOutcome::FundsLow as u8, &funds.abi_encode().into(), &CONTRACTS);
    assert_eq!(verdict.as_ref().and_then(gate_of), Some(Gate::SgeFloat));
    assert_eq!(
        payout_failed(PayoutOutcome::AlreadyPaid as u8, &Bytes::new(), &CONTRACTS),
        Some(Verdict::AlreadyDone)
    );
    assert_eq!(payout_failed(PayoutOutcome::Paid as u8, &Bytes::new(), &CONTRACTS), None);
    assert_eq!(payout_failed(99, &Bytes::new(), &CONTRACTS), None);
}

#[test]
fn registrations_are_told_apart() {
    use RegistrationOutcome as Outcome;
    assert_eq!(registration(Outcome::Registered, None), Some(Verdict::Fine));
    assert_eq!(registration(Outcome::AlreadyRegistered, None), Some(Verdict::AlreadyDone));
    let classes = [
        (Outcome::SelfReferral, FailureClass::SelfReferral),
        (Outcome::ReferralCycle, FailureClass::ReferralCycle),
        (Outcome::ReferrerConflict, FailureClass::ReferrerConflict),
    ];
    for (outcome, expected) in classes {
        assert_eq!(registration(outcome, None).as_ref().and_then(class), Some(expected));
    }
    let single =
        IAffiliateRegistry::ReferrerConflict { child: REFERRER, recorded: CONTRACTS.usdc }.abi_encode();
    let verdict = call_revert(&reverted(single), CONTRACTS.registry, &CONTRACTS, None);
    assert_eq!(class(&verdict), Some(FailureClass::ReferrerConflict));
}

#[test]
fn only_want_of_gas_asks_for_fewer_items() {
    let gas = IAffiliatePayout::InsufficientGas { left: U256::ZERO, required: U256::ZERO }.abi_encode();
    assert!(wants_fewer_items(&reverted(gas)));
    assert!(wants_fewer_items(&reverted(Vec::new())));
    assert!(!wants_fewer_items(&reverted(OpenZeppelin::EnforcedPause {}.abi_encode())));
}
