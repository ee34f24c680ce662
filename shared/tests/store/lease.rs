//! The lease: one holder, rising terms, and only its exact value counts.

use std::time::Duration;

use shared::store::{Acquisition, Durability, Fence, Store};
use shared::testing::TestRedis;

use crate::support::{TTL, take_lease};

async fn store(redis: &TestRedis) -> Store {
    Store::connect(redis.url(), &"main".parse().unwrap(), Durability::None).await.unwrap()
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_holds_the_lease() {
    let redis = TestRedis::start().await;
    let store = store(&redis).await;
    let boots: Vec<String> = (0..20).map(|n| format!("boot-{n}")).collect();
    let asked = boots.iter().map(|boot| store.acquire_lease(boot, TTL));
    let answers = futures::future::try_join_all(asked).await.unwrap();
    let taken: Vec<&Fence> = answers
        .iter()
        .filter_map(|answer| match answer {
            Acquisition::Taken { fence, .. } => Some(fence),
            Acquisition::HeldBy { .. } => None,
        })
        .collect();
    assert_eq!(taken.len(), 1);
    for answer in &answers {
        if let Acquisition::HeldBy { value, remaining } = answer {
            assert_eq!(value, &taken[0].to_string());
            assert!(*remaining > Duration::ZERO && *remaining <= TTL);
        }
    }
    assert_eq!(store.lease_holder().await.unwrap().unwrap().0, taken[0].to_string());
}

#[tokio::test]
async fn every_term_is_higher_than_the_one_before_even_after_expiry() {
    let redis = TestRedis::start().await;
    let store = store(&redis).await;
    let mut last = 0;
    for n in 0..5 {
        let Acquisition::Taken { fence, term } = store
            .acquire_lease("boot", Duration::from_millis(if n == 2 { 1 } else { 60_000 }))
            .await
            .unwrap()
        else {
            panic!("held in round {n}")
        };
        assert!(term.get() > last, "{term} after {last}");
        assert_eq!(fence.term(), Some(term));
        last = term.get();
        if n == 2 {
            // Redis's own clock is the subject: the lease runs out by itself.
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(!store.release_lease(&fence).await.unwrap());
        } else {
            assert!(store.release_lease(&fence).await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_predecessor_neither_renews_nor_releases_its_successors_lease() {
    let redis = TestRedis::start().await;
    let store = store(&redis).await;
    let old = take_lease(&store, "boot").await;
    assert!(store.release_lease(&old).await.unwrap());
    // The same boot, so only the term tells the two apart.
    let new = take_lease(&store, "boot").await;
    assert!(!store.renew_lease(&old, TTL).await.unwrap());
    assert!(!store.release_lease(&old).await.unwrap());
    assert_eq!(store.lease_holder().await.unwrap().unwrap().0, new.to_string());
    assert!(store.renew_lease(&new, TTL * 2).await.unwrap());
    let (_, remaining) = store.lease_holder().await.unwrap().unwrap();
    assert!(remaining > TTL, "{remaining:?}");
}

#[tokio::test]
async fn a_watch_wakes_when_the_lease_is_released() {
    let redis = TestRedis::start().await;
    let store = store(&redis).await;
    let fence = take_lease(&store, "boot-a").await;
    let mut watch = store.watch_lease().await.unwrap();
    // Patience is far beyond what the test may take: it is the release that ends the wait.
    let patience = Duration::from_secs(30);
    let started = std::time::Instant::now();
    let (changed, released) = tokio::join!(watch.changed(patience), store.release_lease(&fence));
    changed.unwrap();
    assert!(released.unwrap());
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_watch_sees_a_release_from_before_its_first_wait() {
    let redis = TestRedis::start().await;
    let store = store(&redis).await;
    let fence = take_lease(&store, "boot-a").await;
    let mut watch = store.watch_lease().await.unwrap();
    assert!(store.release_lease(&fence).await.unwrap());
    let started = std::time::Instant::now();
    watch.changed(Duration::from_secs(30)).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
}
