//! Makes the input files, the same ones every time: ordinary payments, and each special case between them.

use alloy::primitives::{Address, keccak256};
use serde_json::{Value, json};

use super::input::{Event, Input, Setup, Sign};

const AFFILIATES: usize = 14;
const CHILDREN: usize = 58;
/// The affiliates that are paid partly in SGE, and the one that the token refuses.
const HYBRID: [usize; 3] = [2, 7, 11];
const BLOCKLISTED: usize = 5;
const ORDINARY: usize = 240;

/// The whole input.
pub fn generate() -> Input {
    let mut events = Events::default();
    for at in 0..ORDINARY {
        events.ordinary(at);
        events.special(at);
    }
    Input { setup: setup(), events: events.0 }
}

fn address(role: &str, index: usize) -> Address {
    Address::from_slice(&keccak256(format!("affiliate instant liquidity demo {role} {index}"))[12..])
}

/// Merchants send wallets as they have them: most with checksum, every third in lower case.
fn spelled(address: Address, index: usize) -> String {
    if index.is_multiple_of(3) { format!("{address:#x}") } else { address.to_checksum(None) }
}

fn affiliate(index: usize) -> String {
    spelled(address("affiliate", index), index)
}

fn child(index: usize) -> String {
    spelled(address("child", index), index)
}

/// Registered without a referrer.
fn loner(index: usize) -> String {
    spelled(address("loner", index), index)
}

/// Never registered.
fn stranger(index: usize) -> String {
    spelled(address("stranger", index), index)
}

fn setup() -> Vec<Setup> {
    let register = |wallet: String, referrer: Option<String>| Setup::Register { wallet, referrer };
    let mut lines: Vec<Setup> = Vec::new();
    for index in 0..CHILDREN {
        lines.push(register(child(index), Some(affiliate(index % AFFILIATES))));
    }
    // Affiliates are wallets too: the second was brought by the first.
    lines.push(register(affiliate(1), Some(affiliate(0))));
    lines.extend((0..4).map(|index| register(loner(index), None)));
    lines.push(register(child(3), Some(affiliate(3)))); // again: the same answer
    lines.push(register(child(4), Some(affiliate(9)))); // a second, different referrer
    lines.push(register(affiliate(6), Some(affiliate(6)))); // itself
    lines.push(register(affiliate(0), Some(affiliate(1)))); // a cycle of two
    lines.push(register(format!("{:#x}", Address::ZERO), Some(affiliate(0))));
    lines.push(register(bad_checksum(), Some(affiliate(0))));
    lines.extend(HYBRID.map(|index| Setup::Mode { wallet: affiliate(index), mode: String::from("hybrid") }));
    lines.push(Setup::Blocklist { wallet: affiliate(BLOCKLISTED) });
    lines
}

/// A wallet with the case of one letter wrong.
fn bad_checksum() -> String {
    let good = address("child", 1).to_checksum(None);
    let flip = |c: char| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
    let at = good.char_indices().skip(2).find(|(_, c)| c.is_ascii_alphabetic()).map_or(0, |(at, _)| at);
    good.char_indices().map(|(i, c)| if i == at { flip(c) } else { c }).collect()
}

#[derive(Default)]
struct Events(Vec<Event>);

impl Events {
    fn push(&mut self, sign: Sign, body: Value) {
        let id = format!("msg_{:04}", self.0.len() + 1);
        self.0.push(Event { id, sign, body });
    }

    fn ordinary(&mut self, at: usize) {
        self.push(Sign::Good, payment(at));
    }

    fn good(&mut self, kind: &str, id: &str, wallet: &str, amount: &str) {
        self.push(Sign::Good, body(kind, id, wallet, amount, "USD"));
    }

    /// The special cases, spread between the ordinary payments.
    fn special(&mut self, at: usize) {
        match at {
            _ if at % 20 == 3 => self.push(Sign::Good, payment(at - 2)), // the same body, a new delivery
            _ if at % 48 == 7 => {
                let again = self.0[self.0.len() - 3].clone(); // the same delivery
                self.0.push(again);
            }
            _ if at % 60 == 11 => {
                self.good("succeeded", &payment_id(at - 4), &child(at % CHILDREN), "666.66")
            }
            _ if at % 48 == 13 => {
                self.good("succeeded", &format!("pay_unknown_{at}"), &stranger(at % 5), "50.00")
            }
            _ if at % 40 == 17 => self.good("succeeded", &format!("pay_loner_{at}"), &loner(at % 4), "80.00"),
            _ if at % 48 == 19 => {
                let (id, wallet) = (format!("pay_refunded_{at}"), child(at % CHILDREN));
                self.good("refunded", &id, &wallet, "120.00"); // the refund comes before the payment
                self.good("succeeded", &id, &wallet, "120.00");
            }
            _ if at % 80 == 26 => {
                self.good("refunded", &payment_id(at - 20), &child((at - 20) % CHILDREN), "0.50") // a part of it
            }
            30 | 150 => self.good("succeeded", &format!("pay_large_{at}"), &child(1), "15000.00"), // above the cap
            _ if at % 100 == 33 => self.good("succeeded", &format!("pay_dust_{at}"), &child(2), "0.000009"),
            _ if at % 120 == 35 => self.good("succeeded", &format!("pay_zero_{at}"), &child(3), "0.00"),
            _ if at % 120 == 37 => self.good("succeeded", &format!("pay_minus_{at}"), &child(3), "-10.00"),
            _ if at % 120 == 39 => self.good("succeeded", &format!("pay_fine_{at}"), &child(3), "1.0000001"),
            _ if at % 90 == 45 => {
                self.push(Sign::Good, body("succeeded", "pay_euro", &child(6), "10.00", "EUR"))
            }
            _ if at % 90 == 49 => self.push(Sign::Foreign, unique(at, "forged")),
            _ if at % 90 == 52 => self.push(Sign::Stale, unique(at, "stale")),
            _ if at % 90 == 54 => self.push(Sign::Ahead, unique(at, "ahead")),
            _ if at % 30 == 5 => self.push(Sign::Older, unique(at, "older")),
            70 => self.good("succeeded", "pay_huge", &child(8), "79228162514264337593543.950337"), // above 2^96
            75 => self.good("succeeded", "pay_checksum", &bad_checksum(), "10.00"),
            80 => self
                .push(Sign::Good, json!({"type": "payment.succeeded", "data": {"payment_id": "pay_short"}})),
            _ => {}
        }
    }
}

fn payment_id(at: usize) -> String {
    format!("pay_{:04}", at + 1)
}

/// An ordinary payment. Amounts of 1 to 400 USD, in cents, some to the sixth decimal.
fn payment(at: usize) -> Value {
    let cents = 100 + (at * 7_919) % 39_900;
    let fine = if at.is_multiple_of(7) { format!("{:04}", (at * 613) % 10_000) } else { String::new() };
    let amount = format!("{}.{:02}{fine}", cents / 100, cents % 100);
    // The affiliate that was brought by another buys something, too.
    let wallet = if at % 40 == 21 { affiliate(1) } else { child(at % CHILDREN) };
    body("succeeded", &payment_id(at), &wallet, &amount, "USD")
}

fn unique(at: usize, name: &str) -> Value {
    body("succeeded", &format!("pay_{name}_{at}"), &child(at % CHILDREN), "25.00", "USD")
}

fn body(kind: &str, id: &str, wallet: &str, amount: &str, currency: &str) -> Value {
    json!({
        "type": format!("payment.{kind}"),
        "data": {"payment_id": id, "wallet": wallet, "amount": amount, "currency": currency},
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::world::paths;

    #[test]
    fn the_files_are_what_this_makes() {
        let stored = Input::load(&paths::root().join("scripts/data")).unwrap();
        assert!(stored == generate(), "run `kit data` and commit scripts/data");
    }

    #[test]
    fn the_input_is_as_large_as_the_demo_promises() {
        let input = generate();
        let wallets: BTreeSet<String> = input
            .setup
            .iter()
            .filter_map(|line| match line {
                Setup::Register { wallet, .. } => Some(wallet.to_lowercase()),
                _ => None,
            })
            .collect();
        assert!(wallets.len() >= 60, "{}", wallets.len());
        assert!(input.events.len() >= 300, "{}", input.events.len());
    }
}
