use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use poem::web::Data;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::EventStream;
use poem_openapi::{ApiResponse, OpenApi};
use shared::store::EventId;

use super::Tag;
use crate::app::App;
use crate::auth::Reader;
use crate::dto::FeedMessage;
use crate::error::Problem;

pub(crate) struct Events;

/// A comment this often keeps connections from being taken for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(ApiResponse)]
enum EventsResponse {
    /// Server-Sent Events, until the client leaves or the server stops.
    #[oai(status = 200)]
    Stream(EventStream<BoxStream<'static, FeedMessage>>),
}

#[OpenApi(tag = "Tag::Operations")]
impl Events {
    /// Watch what happens
    ///
    /// The live feed as Server-Sent Events: `id` is the event's id, `event` its type, `data` a JSON object. Begins after
    /// the given id, otherwise now. The feed keeps about the newest 10000 events: where some after the given id are gone,
    /// an event `gap` comes first, then what is left. A stream ends when the server stops or the client reads too slowly:
    /// connect again with the last id, and nothing is missed or repeated.
    #[oai(path = "/api/events", method = "get", operation_id = "watch_events")]
    async fn watch(
        &self,
        app: Data<&Arc<App>>,
        _caller: Reader,
        /// The id of the last event that was seen, as browsers send it when they connect again. Goes before `after`.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
        /// The id of the last event that was seen; `0-0` for everything that is kept.
        after: Query<Option<String>>,
    ) -> Result<EventsResponse, Problem> {
        let after = match (last_event_id.0, after.0) {
            (Some(id), _) => Some(parse_id(&id, "Last-Event-ID")?),
            (None, Some(id)) => Some(parse_id(&id, "after")?),
            (None, None) => None,
        };
        let messages = app.feed.watch(after).await?.map(FeedMessage::from).boxed();
        let stream = EventStream::new(messages).keep_alive(KEEP_ALIVE).to_event(FeedMessage::into_sse);
        Ok(EventsResponse::Stream(stream))
    }
}

fn parse_id(text: &str, field: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|error| Problem::id(&error, field, text))
}
