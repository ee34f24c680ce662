use shared::env::Env;
use shared::ids::{BlockNumber, Hash32};

use super::super::report::Status;
use super::*;

const GWEI: u128 = 1_000_000_000;

pub(in super::super) fn config() -> Config {
    let env = Env::new(|name| {
        let value = match name {
            "REDIS_URL" => "redis://127.0.0.1:6379/",
            "ETH_RPC_HTTPS" => "http://a.invalid",
            "CHAIN_ID" => "7",
            "AFFILIATE_REGISTRY_ADDRESS" => "0x5FbDB2315678afecb367f032d93F642f64180aa3",
            "AFFILIATE_PAYOUT_ADDRESS" => "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512",
            "RELAYER_PRIVATE_KEY" => "0x01",
            "RPC_TIMEOUT_MS" => "1000",
            _ => return None,
        };
        Some(value.to_owned())
    });
    Config::read(env).unwrap()
}

fn head(number: u64) -> Head {
    let hash: Hash32 = alloy::primitives::B256::with_last_byte(1).into();
    Head {
        number: BlockNumber::new(number),
        hash,
        parent: hash,
        timestamp: 1_000,
        gas_limit: 30_000_000,
        base_fee: 10 * GWEI,
    }
}

fn view(answer: Result<Head, ChainError>) -> EndpointView {
    EndpointView { name: "a.example".into(), answer, took: Duration::from_millis(12) }
}

fn silent() -> EndpointView {
    view(Err(ChainError::Timeout { endpoint: "a.example".into(), method: "eth_chainId" }))
}

fn statuses(views: &[EndpointView]) -> Vec<Status> {
    endpoints(views, &config()).into_iter().map(|check| check.status).collect()
}

#[test]
fn a_silent_endpoint_is_a_warning_as_long_as_another_answers() {
    use Status::{Failed, Ok, Warning};
    let fine = || view(Result::Ok(head(100)));
    assert_eq!(statuses(&[fine(), fine()]), [Ok, Ok, Ok]);
    assert_eq!(statuses(&[fine(), silent(), fine()]), [Ok, Ok, Warning, Ok]);
    assert_eq!(statuses(&[fine(), silent()]), [Warning, Ok, Warning]);
    assert_eq!(statuses(&[silent(), silent()]), [Failed, Failed, Failed]);
}

#[test]
fn an_endpoint_on_another_chain_is_a_failure_whatever_the_others_say() {
    let error = ChainError::WrongChain { endpoint: "a.example".into(), found: 1, expected: 7 };
    let checks = endpoints(&[view(Ok(head(1))), view(Err(error))], &config());
    assert_eq!(checks[2].status, Status::Failed);
    assert_eq!(checks[2].found, "CHAIN_ID=7 but a.example is on chain 1");
}

#[test]
fn lag_and_slowness_are_warnings() {
    use Status::{Ok, Warning};
    let at = |number| view(Result::Ok(head(number)));
    assert_eq!(statuses(&[at(100), at(98), at(97)]), [Ok, Ok, Ok, Warning]);
    let slow = EndpointView { took: Duration::from_millis(501), ..at(100) };
    assert_eq!(statuses(&[at(100), slow]), [Ok, Ok, Warning]);
}

#[test]
fn a_block_may_be_neither_old_nor_from_the_future() {
    use Status::{Failed, Ok, Warning};
    let at = |now| clock(&Fact::Known(head(1)), now).status;
    assert_eq!([at(1_000), at(1_060), at(1_061), at(1_900), at(1_901)], [Ok, Ok, Warning, Warning, Failed]);
    assert_eq!([at(985), at(984), at(880), at(879)], [Ok, Warning, Warning, Failed]);
}

#[test]
fn a_base_fee_above_the_cap_signs_nothing() {
    use Status::{Failed, Ok, Warning};
    let under = |gwei| base_fee(&Fact::Known(head(1)), gwei * GWEI).status;
    assert_eq!([under(20), under(19), under(10), under(9)], [Ok, Warning, Warning, Failed]);
}
