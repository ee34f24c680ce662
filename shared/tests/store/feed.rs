//! The live feed: in order, without loss, and never silent about what is gone.

use std::time::Duration;

use shared::store::{EventId, FeedSlice};

use crate::support;
use crate::support::World;

async fn after(world: &World, id: EventId) -> FeedSlice {
    world.store.events_after(Some(id)).await.unwrap()
}

/// Everything after `id`, slice by slice.
async fn all(world: &World, mut id: EventId) -> (bool, Vec<EventId>) {
    let (mut gap, mut ids) = (false, Vec::new());
    loop {
        let slice = after(world, id).await;
        gap |= slice.gap;
        ids.extend(slice.events.iter().map(|event| event.id));
        id = slice.last;
        if !slice.more {
            return (gap, ids);
        }
    }
}

/// Trims the feed to its newest entries.
async fn trim(world: &World, keep: usize) {
    let mut command = redis::cmd("XTRIM");
    let _: i64 = world.raw(command.arg(world.key("events")).arg("MAXLEN").arg(keep)).await;
}

async fn length(world: &World) -> usize {
    world.raw(redis::cmd("XLEN").arg(world.key("events"))).await
}

#[tokio::test]
async fn the_feed_is_read_in_order_from_the_beginning_to_its_end() {
    let (_redis, world) = support::start().await;
    for _ in 0..70 {
        world.payout().await;
    }
    let (gap, ids) = all(&world, EventId::default()).await;
    assert_eq!((gap, ids.len()), (false, length(&world).await));
    assert!(ids.len() > 64, "more than a slice");
    assert!(ids.is_sorted_by(|a, b| a < b));
    let slice = after(&world, *ids.last().unwrap()).await;
    assert!(!slice.gap && slice.events.is_empty() && !slice.more && slice.last == *ids.last().unwrap());
}

#[tokio::test]
async fn an_event_says_what_when_and_about_whom() {
    let (_redis, world) = support::start().await;
    let start = world.store.events_after(None).await.unwrap();
    assert!(!start.gap && start.events.is_empty() && start.last > EventId::default());
    let (_, job) = world.payout().await;
    let [event] = &after(&world, start.last).await.events[..] else { panic!("one") };
    assert_eq!((&*event.kind, &*event.event), ("job", "accept"));
    assert_eq!((&event.detail["job"], &*event.detail["stage"]), (&job.to_string(), "queued"));
    assert!(event.at > 0 && !event.detail.contains_key("type"));
}

#[tokio::test]
async fn what_was_trimmed_away_is_told_and_the_rest_follows() {
    let (_redis, world) = support::start().await;
    for _ in 0..10 {
        world.payout().await;
    }
    let (_, ids) = all(&world, EventId::default()).await;
    trim(&world, 5).await;
    let kept = &ids[ids.len() - 5..];
    assert_eq!(all(&world, ids[0]).await, (true, kept.to_vec()));
    assert_eq!(all(&world, EventId::default()).await, (true, kept.to_vec()));
    assert_eq!(all(&world, kept[0]).await, (false, kept[1..].to_vec()));
    trim(&world, 0).await;
    assert_eq!(all(&world, kept[3]).await, (true, vec![]));
    assert_eq!(all(&world, kept[4]).await, (false, vec![]), "nothing is missing");
}

#[tokio::test]
async fn an_id_of_another_redis_is_a_gap() {
    let (_redis, world) = support::start().await;
    world.payout().await;
    let (_, ids) = all(&world, EventId::default()).await;
    let newer: EventId = "99999999999999-0".parse().unwrap();
    let slice = after(&world, newer).await;
    assert!(slice.gap && slice.events.is_empty());
    assert_eq!(slice.last, *ids.last().unwrap(), "it goes on from what there is");

    let _: () = world.raw(&mut redis::cmd("FLUSHALL")).await;
    let slice = after(&world, ids[0]).await;
    assert!(slice.gap && slice.last == EventId::default());
    assert!(!after(&world, EventId::default()).await.gap);
}

#[tokio::test]
async fn a_watch_gives_each_entry_once_and_what_it_follows() {
    let (_redis, world) = support::start().await;
    let mut watch = world.store.watch_events().await.unwrap();
    let start = world.store.events_after(None).await.unwrap().last;
    let heard = watch.next(Duration::from_millis(10)).await.unwrap();
    assert_eq!((heard.after, heard.gap, heard.events.len()), (start, false, 0));
    let (_, job) = world.payout().await;
    let heard = watch.next(Duration::from_secs(5)).await.unwrap();
    assert_eq!((heard.after, heard.gap, heard.events.len()), (start, false, 1));
    assert_eq!(heard.events, after(&world, start).await.events);
    world.store.cancel(job, "op", "test").await.unwrap();
    let more = watch.next(Duration::from_secs(5)).await.unwrap();
    assert_eq!((more.after, more.gap), (heard.events[0].id, false));
    assert_eq!(more.events.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(), ["cancel"]);
}

#[tokio::test]
async fn a_watch_that_is_slower_than_the_trim_says_that_entries_are_gone() {
    let (_redis, world) = support::start().await;
    world.payout().await;
    let mut watch = world.store.watch_events().await.unwrap();
    for _ in 0..10 {
        world.payout().await;
    }
    trim(&world, 11).await;
    let heard = watch.next(Duration::from_secs(5)).await.unwrap();
    assert_eq!((heard.gap, heard.events.len()), (false, 10), "the one seen last is still there");
    for _ in 0..10 {
        world.payout().await;
    }
    trim(&world, 5).await;
    let lost = watch.next(Duration::from_secs(5)).await.unwrap();
    assert_eq!((lost.gap, lost.events.len()), (true, 5));
    assert_eq!(lost.after, heard.events[9].id);
    world.payout().await;
    let next = watch.next(Duration::from_secs(5)).await.unwrap();
    assert_eq!((next.after, next.gap, next.events.len()), (lost.events[4].id, false, 1));
    // Emptied, and filled again: what was there in between is gone as well.
    let _: i64 = world.raw(redis::cmd("DEL").arg(world.key("events"))).await;
    world.payout().await;
    assert!(watch.next(Duration::from_secs(5)).await.unwrap().gap);
}
