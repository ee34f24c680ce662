use shared::ids::{BlockNumber, Hash32};

use super::super::chain::tests::config;
use super::super::report::Status;
use super::*;

const GWEI: u128 = 1_000_000_000;

fn room<T>(of: fn(u128) -> T, [funds, cap, left, limit]: [u128; 4]) -> TokenRoom<T> {
    TokenRoom {
        funds: of(funds),
        window_left: of(left),
        cap: of(cap),
        window_limit: of(limit),
        window_seconds: 60,
    }
}

fn conditions(usdc: [u128; 4]) -> Conditions {
    Conditions {
        registry_paused: false,
        payout_paused: true,
        usdc: room(Usdc::from_base_units, usdc),
        sge: room(Sge::from_base_units, [1, OFF, OFF, OFF]),
        signer_balance: 0,
    }
}

fn of_usdc(usdc: [u128; 4]) -> (Status, Status) {
    let checks = tokens(&Fact::Known(conditions(usdc)));
    (checks[0].status, checks[1].status)
}

#[test]
fn a_token_without_float_or_room_is_a_warning() {
    use Status::{Ok, Warning};
    assert_eq!(of_usdc([1_000, 10, 50, 100]), (Ok, Ok));
    assert_eq!(of_usdc([0, 10, 50, 100]), (Warning, Ok));
    assert_eq!(of_usdc([1_000, 0, 50, 100]), (Ok, Warning), "closed by its cap");
    assert_eq!(of_usdc([1_000, 10, 0, 0]), (Ok, Warning), "closed by its window");
    assert_eq!(of_usdc([1_000, 10, 19, 100]), (Ok, Warning), "nearly used");
    assert_eq!(of_usdc([1_000, OFF, OFF, OFF]), (Ok, Ok), "no limits");
}

#[test]
fn limits_that_are_off_are_called_so() {
    let checks = tokens(&Fact::Known(conditions([1_500_000, 2_000_000, 500_000, 1_000_000])));
    assert_eq!(checks[0].found, "1.5 USDC, 0.5 of it could leave now");
    assert_eq!(checks[1].found, "cap 2, 0.5 of 1 left in 60 s");
    assert_eq!(checks[3].found, "cap no limit, window off");
}

#[test]
fn gas_money_is_counted_in_payouts_at_the_fee_that_would_be_offered() {
    let hash: Hash32 = alloy::primitives::B256::ZERO.into();
    let head = Head {
        number: BlockNumber::new(1),
        hash,
        parent: hash,
        timestamp: 0,
        gas_limit: 30_000_000,
        base_fee: GWEI,
    };
    // Twice the base fee and the tip: 4 Gwei.
    let one = u128::from(gas::lone()) * 4 * GWEI;
    let with = |balance| {
        let found = Conditions { signer_balance: balance, ..conditions([1; 4]) };
        gas_money(&Fact::Known(found), &Fact::Known(head), &Fact::Known(2 * GWEI), 500 * GWEI).status
    };
    assert_eq!(
        [with(one - 1), with(one), with(100 * one - 1)],
        [Status::Failed, Status::Warning, Status::Warning]
    );
    assert_eq!(with(100 * one), Status::Ok);
}

#[test]
fn each_contract_is_named_by_itself() {
    let [registry, payout] = paused(&Fact::Known(conditions([1; 4])));
    assert_eq!((registry.status, payout.status), (Status::Ok, Status::Failed));
}

fn facts() -> ContractFacts {
    let config = config();
    ContractFacts {
        registry_code: Fact::Known(true),
        payout_code: Fact::Known(true),
        wiring: Fact::Known(Wiring { registry: config.registry, usdc: Address::ZERO, sge: Address::ZERO }),
        roles: Fact::Known((true, false)),
    }
}

fn of(facts: &ContractFacts) -> Vec<Status> {
    deployment(facts, &config(), Address::ZERO).into_iter().map(|check| check.status).collect()
}

#[test]
fn a_wrong_registry_is_named_once_and_the_right_one_with_it() {
    use Status::{Failed, Ok, Skipped};
    assert_eq!(of(&facts()), [Ok, Ok, Ok, Ok, Failed]);
    let right = Address::repeat_byte(7);
    let wiring = Fact::Known(Wiring { registry: right, usdc: Address::ZERO, sge: Address::ZERO });
    let elsewhere = ContractFacts { wiring, ..facts() };
    assert_eq!(of(&elsewhere)[2], Failed);
    let nowhere = ContractFacts { registry_code: Fact::Known(false), ..elsewhere };
    let checks = deployment(&nowhere, &config(), Address::ZERO);
    assert_eq!((checks[0].status, checks[2].status), (Failed, Skipped));
    assert!(checks[0].advice.as_ref().unwrap().contains(&right.to_string()));
}

#[test]
fn tokens_of_other_decimals_would_pay_powers_of_ten_too_much() {
    assert_eq!(decimals(&Fact::Known((6, 18))).status, Status::Ok);
    assert_eq!(decimals(&Fact::Known((18, 6))).status, Status::Failed);
}
