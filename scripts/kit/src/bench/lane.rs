//! A lane that is driven through `shared` alone, without processes of ours: what Redis and the scripts cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use shared::ids::{BlockNumber, ExternalId, Wallet};
use shared::money::{CommissionRules, Usdc};
use shared::store::{Accepted, Acquisition, Durability, Fence, Intake, Lane, Payment, Store};
use tokio::task::JoinSet;

use super::load;
use crate::world::World;

/// Longer than any measurement.
const LEASE: Duration = Duration::from_secs(3_600);

/// Children of one referrer.
const SIBLINGS: usize = 10;
/// Registrations at once.
const SLICE: usize = 250;

/// A lane that takes payments of so many children, all registered.
pub(super) struct BareLane {
    pub(super) store: Store,
    pub(super) fence: Fence,
    rules: CommissionRules,
    children: usize,
}

impl BareLane {
    pub(super) async fn set_up(world: &World, durability: &str, children: usize) -> Result<Self> {
        let store = connect(world, durability).await?;
        store.migrate().await?;
        let Acquisition::Taken { fence, .. } = store.acquire_lease("bench", LEASE).await? else {
            anyhow::bail!("somebody else leads this lane");
        };
        let state = store.sync_state().await?;
        ensure!(store.set_synced(&fence, &state.run_id, BlockNumber::new(1)).await?, "not synced");
        let pairs = (0..children).map(|n| {
            let (child, referrer) = (load::child(n).parse()?, load::referrer(n / SIBLINGS).parse()?);
            Ok((child, referrer, BlockNumber::new(1)))
        });
        let pairs = pairs.collect::<Result<Vec<(Wallet, Wallet, BlockNumber)>>>()?;
        for some in pairs.chunks(SLICE) {
            ensure!(store.registered(&fence, some).await?, "not registered");
        }
        Ok(Self { store, fence, rules: rules()?, children })
    }

    /// Accepts `count` payments, `callers` of them at once.
    pub(super) async fn accept(&self, prefix: &str, count: usize, callers: usize) -> Result<()> {
        accept_of(self.children, &self.store, self.rules, prefix, count, callers).await
    }

    /// Adds `count` jobs that belong to no payment, `callers` of them at once.
    pub(super) async fn add_noops(&self, count: usize, callers: usize) -> Result<()> {
        let store = self.store.clone();
        by_callers(callers, count, move |n| {
            let (store, child, referrer) = (store.clone(), load::child(n), load::referrer(n));
            async move {
                let payload = format!(
                    r#"{{"child":"{child}","external_id":"{n}","source":"payments","referrer":"{referrer}","usdc":"1000000","sge":"0"}}"#
                );
                store.add_noop(&payload).await.context("add")
            }
        })
        .await
    }
}

/// The store of a world's lane, over one connection.
pub(super) async fn connect(world: &World, durability: &str) -> Result<Store> {
    let lane: Lane = world.settings.lane.parse()?;
    let durability: Durability = durability.parse().map_err(anyhow::Error::msg)?;
    Ok(Store::connect(&world.redis.url(), &lane, durability).await?)
}

/// What is due of a payment: the programme of [`crate::world::Programme`].
pub(super) fn rules() -> Result<CommissionRules> {
    let commission = "1000".parse()?;
    Ok(CommissionRules { commission, hybrid_sge: "2500".parse()?, sge_per_usdc: "12.5".parse()? })
}

/// Accepts `count` payments of those that [`load::register`] registers, `callers` of them at once.
pub(super) async fn accept(
    store: &Store,
    rules: CommissionRules,
    prefix: &str,
    count: usize,
    callers: usize,
) -> Result<()> {
    accept_of(load::CHILDREN, store, rules, prefix, count, callers).await
}

async fn accept_of(
    children: usize,
    store: &Store,
    rules: CommissionRules,
    prefix: &str,
    count: usize,
    callers: usize,
) -> Result<()> {
    let (store, prefix) = (store.clone(), prefix.to_owned());
    by_callers(callers, count, move |n| {
        let (store, payment) = (store.clone(), payment(&prefix, n, children));
        async move {
            let accepted = store.accept_payment(&payment?, &rules, 0).await.context("accept")?;
            let is_new = matches!(accepted, Intake::Open(Accepted::Decided { job: Some(_), .. }));
            ensure!(is_new, "not accepted: {accepted:?}");
            Ok(())
        }
    })
    .await
}

/// Has `callers` make the calls 0 to `count`, each one after the other.
async fn by_callers<C, F>(callers: usize, count: usize, call: C) -> Result<()>
where
    C: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let mut calls = JoinSet::new();
    for _ in 0..callers {
        let (call, next) = (call.clone(), next.clone());
        calls.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return anyhow::Ok(());
                }
                call(n).await?;
            }
        });
    }
    calls.join_all().await.into_iter().collect()
}

fn payment(prefix: &str, n: usize, children: usize) -> Result<Payment> {
    let external_id: ExternalId = format!("{prefix}_{n}").parse()?;
    Ok(Payment {
        source: "payments".parse()?,
        event_id: external_id.clone(),
        external_id,
        wallet: load::child(n % children).parse()?,
        amount: Usdc::parse_payment("10.00")?,
        currency: "USD".into(),
    })
}
