//! The live feed, fanned out to everybody who watches it.
//!
//! One task per process reads the feed, on one connection, while somebody watches, and tells all watchers what it read.
//! A watcher trusts only the chain of ids: where a message does not follow what it delivered last (it fell behind, the
//! reader began anew), it reads the feed itself up to the end. So nothing is lost or delivered twice, and where Redis
//! says that events are gone, the watcher is told.
//!
//! Watchers are bounded in number. Each is a task with a short queue; one whose client takes nothing for [`STALL`] ends.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use shared::store::{EventId, FeedEvent, FeedSlice, Store, StoreError};
use shared::tasks::Tasks;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::code::Code;
use crate::error::Problem;

/// How long one blocking read lasts; also how long the reader goes on when nobody watches any more.
const PATIENCE: Duration = Duration::from_secs(5);
const AFTER_ERROR: Duration = Duration::from_millis(500);
/// How often a watcher asks Redis again before it ends; its client then comes back with the last id.
const TRIES: u32 = 5;
/// Messages, of at most 64 entries of sixteen jobs each, that a watcher may fall behind before it reads for itself.
const BEHIND: usize = 64;
/// Events on their way to one client.
const QUEUED: usize = 64;
/// How long a client may take nothing before it is given up.
const STALL: Duration = Duration::from_secs(30);

/// What a watcher is given.
#[derive(Debug, Clone)]
pub(crate) enum Delivery {
    Event(FeedEvent),
    /// Events after this one are gone; what follows is what is left.
    Gap {
        after: EventId,
    },
}

/// What the reader tells.
#[derive(Debug, Clone)]
enum Message {
    /// It began to read, began anew, or was slower than the feed is trimmed: whoever watches looks for what it missed.
    Began,
    /// What follows directly on `after`.
    Events { after: EventId, events: Arc<[FeedEvent]> },
}

pub(crate) struct Feed {
    store: Store,
    tasks: Tasks,
    messages: broadcast::Sender<Message>,
    wanted: Notify,
    seats: Arc<Semaphore>,
    limit: usize,
}

impl Feed {
    /// A feed for at most `limit` watchers at once, and its reader.
    pub(crate) fn start(store: Store, limit: usize, tasks: &Tasks) -> Arc<Self> {
        let feed = Arc::new(Self {
            store,
            tasks: tasks.clone(),
            messages: broadcast::Sender::new(BEHIND),
            wanted: Notify::new(),
            seats: Arc::new(Semaphore::new(limit)),
            limit,
        });
        tasks.critical("feed", Arc::clone(&feed).read(tasks.shutdown()));
        feed
    }

    /// How many watch now.
    pub(crate) fn watchers(&self) -> usize {
        self.limit - self.seats.available_permits()
    }

    /// Everything after `after`, then everything as it happens; with `None`, from now on. Ends at shutdown.
    pub(crate) async fn watch(
        &self,
        after: Option<EventId>,
    ) -> Result<BoxStream<'static, Delivery>, Problem> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| {
            let detail =
                format!("{} event streams are open already (MAX_EVENT_STREAMS); try again later", self.limit);
            Problem::new(Code::TooManyStreams, detail)
        })?;
        // Before the first look, so that nothing falls between it and the messages.
        let messages = self.messages.subscribe();
        self.wanted.notify_one();
        let first = self.store.events_after(after).await?;
        let (out, mut deliveries) = mpsc::channel(QUEUED);
        let at = after.unwrap_or(first.last);
        let watcher = Watcher { store: self.store.clone(), at, out, _seat: seat };
        self.tasks.spawn(watcher.run(first, messages, self.tasks.shutdown()));
        Ok(futures::stream::poll_fn(move |context| deliveries.poll_recv(context)).boxed())
    }

    async fn read(self: Arc<Self>, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let reading = async {
                if self.messages.receiver_count() == 0 {
                    return self.wanted.notified().await;
                }
                if let Err(error) = self.read_while_watched().await {
                    tracing::warn!(%error, "reading the feed failed; connecting again");
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            };
            tokio::select! {
                () = reading => {}
                () = shutdown.cancelled() => {}
            }
        }
    }

    async fn read_while_watched(&self) -> Result<(), StoreError> {
        let mut watch = self.store.watch_events().await?;
        // A failure to send means that nobody watches.
        let mut listened = self.messages.send(Message::Began).is_ok();
        while listened {
            let heard = watch.next(PATIENCE).await?;
            listened = match heard.events {
                events if events.is_empty() => self.messages.receiver_count() > 0,
                _ if heard.gap => self.messages.send(Message::Began).is_ok(),
                events => {
                    let events = Message::Events { after: heard.after, events: events.into() };
                    self.messages.send(events).is_ok()
                }
            };
        }
        Ok(())
    }
}

/// Why a watcher ends.
enum End {
    /// Its client is gone, or takes nothing.
    Client,
    Store(StoreError),
}

struct Watcher {
    store: Store,
    /// The last event that was delivered, or the one to begin after.
    at: EventId,
    out: mpsc::Sender<Delivery>,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    async fn run(
        mut self,
        first: FeedSlice,
        messages: broadcast::Receiver<Message>,
        shutdown: CancellationToken,
    ) {
        let out = self.out.clone();
        let end = tokio::select! {
            end = self.watch(first, messages) => end,
            () = out.closed() => End::Client,
            () = shutdown.cancelled() => return,
        };
        if let End::Store(error) = end {
            tracing::warn!(%error, "an event stream ends: the feed cannot be read");
        }
    }

    async fn watch(&mut self, first: FeedSlice, mut messages: broadcast::Receiver<Message>) -> End {
        let mut behind = match self.deliver_slice(first).await {
            Ok(more) => more,
            Err(end) => return end,
        };
        loop {
            if behind && let Err(end) = self.catch_up().await {
                return end;
            }
            behind = false;
            match messages.recv().await {
                Ok(Message::Events { after, events }) if after <= self.at => {
                    for event in events.iter() {
                        if event.id > self.at
                            && let Err(end) = self.deliver(event.clone()).await
                        {
                            return end;
                        }
                    }
                }
                Ok(Message::Began | Message::Events { .. }) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    behind = true;
                }
                Err(broadcast::error::RecvError::Closed) => return End::Client,
            }
        }
    }

    /// Delivers what the feed holds after the last delivery.
    async fn catch_up(&mut self) -> Result<(), End> {
        loop {
            let slice = self.slice().await?;
            if !self.deliver_slice(slice).await? {
                return Ok(());
            }
        }
    }

    async fn slice(&self) -> Result<FeedSlice, End> {
        let mut tries = 1;
        loop {
            match self.store.events_after(Some(self.at)).await {
                Ok(slice) => return Ok(slice),
                Err(error) if tries == TRIES => return Err(End::Store(error)),
                Err(_) => tokio::time::sleep(AFTER_ERROR).await,
            }
            tries += 1;
        }
    }

    /// Returns whether there may be more.
    async fn deliver_slice(&mut self, slice: FeedSlice) -> Result<bool, End> {
        if slice.gap {
            self.send(Delivery::Gap { after: self.at }).await?;
        }
        for event in slice.events {
            self.deliver(event).await?;
        }
        self.at = slice.last;
        Ok(slice.more)
    }

    async fn deliver(&mut self, event: FeedEvent) -> Result<(), End> {
        self.at = event.id;
        self.send(Delivery::Event(event)).await
    }

    async fn send(&self, delivery: Delivery) -> Result<(), End> {
        self.out.send_timeout(delivery, STALL).await.map_err(|_| End::Client)
    }
}
