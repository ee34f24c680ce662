//! What the merchant and the operator do, through the store as the API does.

use alloy::primitives::Address;
use shared::ids::{ExternalId, JobId, PaymentId, Source, Wallet};
use shared::money::Usdc;
use shared::store::{Payment, Refund, Registration};
use worker::context::Context;

use super::action::Deed;
use super::settings::rules;
use super::step::Memory;

pub(super) async fn act(ctx: Context, deed: Deed, job: Option<JobId>) -> Memory {
    let store = &ctx.store;
    // What is answered matters to nobody here: whoever gets none delivers again, which is a deed of its own.
    match deed {
        Deed::Migrate => _ = store.migrate().await,
        Deed::Register => {
            let (child, referrer) = (wallet(0xc0), Some(wallet(0xa0)));
            _ = store.register(&Registration { child, referrer, actor: "shop".to_owned() }).await;
        }
        Deed::Pay(n) => _ = store.accept_payment(&payment(n, 0), &rules(), 0).await,
        Deed::PayAgain(n) => _ = store.accept_payment(&payment(n, 1), &rules(), 0).await,
        Deed::Refund(n) => {
            let Payment { source, external_id, wallet, amount, currency, .. } = payment(n, 0);
            let event_id = text(&format!("ref_{n}"));
            _ = store.refund(&Refund { source, event_id, external_id, wallet, amount, currency }).await;
        }
        Deed::Cancel(_) => {
            if let Some(job) = job {
                _ = store.cancel(job, "operator", "modelled").await;
            }
        }
        Deed::Retry(_) => {
            if let Some(job) = job {
                _ = store.retry(job, "operator", "modelled").await;
            }
        }
    }
    Memory::Nothing
}

/// The id on the chain of the n-th payment.
pub(super) fn payment_id(n: usize) -> PaymentId {
    let Payment { source, external_id, .. } = payment(n, 0);
    PaymentId::derive(source.as_str(), external_id.as_str())
}

fn payment(n: usize, delivery: usize) -> Payment {
    Payment {
        source: source(),
        event_id: text(&format!("evt_{n}_{delivery}")),
        external_id: text(&format!("pay_{n}")),
        wallet: wallet(0xc0),
        amount: Usdc::from_base_units(10_000_000 * (1 + n as u128)),
        currency: "USDC".to_owned(),
    }
}

fn wallet(kind: u8) -> Wallet {
    let mut bytes = [0; 20];
    bytes[0] = kind;
    Wallet::try_from(Address::from(bytes)).unwrap_or_else(|_| unreachable!("it is not zero"))
}

fn source() -> Source {
    "shop".parse().unwrap_or_else(|error| panic!("the source's name is refused: {error}"))
}

fn text(id: &str) -> ExternalId {
    id.parse().unwrap_or_else(|error| panic!("{id} is refused: {error}"))
}
