use std::collections::BTreeMap;

use poem::web::sse::Event;
use poem_openapi::Object;
use poem_openapi::types::ToJSON;

use crate::feed::Delivery;

/// One event of the live feed: the `data` of a Server-Sent Event, whose `event` is the type and whose `id` is the id.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct FeedMessage {
    /// Its id, for `Last-Event-ID`: `<milliseconds>-<number>`, and `.<n>` where n more follow that happened at once; absent in a gap.
    pub(crate) id: Option<String>,
    /// What it is about: `job`, `tx`, `gate`, `lease` or `relayer`; `gap` where events are gone.
    #[oai(rename = "type")]
    pub(crate) kind: String,
    /// What happened: a job's event as in its timeline; `journaled`, `bumped`, `cancelling` or `closed` of a transaction;
    /// `opened` or `closed` of a gate; `acquired` or `released` of the lease; `joined` or `left` of a relayer; `lost` in a
    /// gap.
    pub(crate) event: String,
    /// When, in unix milliseconds; absent in a gap.
    pub(crate) at: Option<u64>,
    /// Everything else about it: job, kind, stage, signer, nonce, hash, gate, reason, value, worker…; in a gap `after`,
    /// the id after which events are gone.
    pub(crate) detail: BTreeMap<String, String>,
}

impl From<Delivery> for FeedMessage {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Event(event) => Self {
                id: Some(event.id.to_string()),
                kind: event.kind,
                event: event.event,
                at: Some(event.at),
                detail: event.detail,
            },
            Delivery::Gap { after } => Self {
                id: None,
                kind: "gap".to_owned(),
                event: "lost".to_owned(),
                at: None,
                detail: [("after".to_owned(), after.to_string())].into(),
            },
        }
    }
}

impl FeedMessage {
    /// As it goes over the wire. A gap has no id, so that a client that comes back is told of it again.
    pub(crate) fn into_sse(self) -> Event {
        let event = Event::message(self.to_json_string()).event_type(self.kind);
        event.id(self.id.unwrap_or_default())
    }
}
