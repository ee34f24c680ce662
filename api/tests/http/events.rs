//! The live feed over Server-Sent Events.

use std::time::{Duration, Instant};

use reqwest::RequestBuilder;
use serde_json::{Value, json};
use shared::store::EventId;

use crate::support::*;

/// Longer than the time between two keep-alive comments.
const LIMIT: Duration = Duration::from_secs(20);

/// What a stream brings.
#[derive(Debug, Clone, PartialEq)]
enum Frame {
    Comment,
    Event { id: Option<String>, event: String, data: Value },
}

impl Frame {
    fn id(&self) -> &str {
        match self {
            Self::Event { id: Some(id), .. } => id,
            other => panic!("an event with an id, not {other:?}"),
        }
    }
}

/// A client of the stream.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next frame; `None` when the server ended the stream.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let frame = frame_of(frame);
                self.text = rest.to_owned();
                return Some(frame);
            }
            let chunk = tokio::time::timeout(LIMIT, self.response.chunk()).await;
            match chunk.expect("a frame within the limit").unwrap() {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).unwrap()),
                None => {
                    assert_eq!(self.text, "", "a stream ends between frames");
                    return None;
                }
            }
        }
    }

    /// The next event, which must come within the limit: comments do not count.
    async fn event(&mut self) -> Frame {
        let event = async {
            loop {
                match self.frame().await.expect("the stream goes on") {
                    Frame::Comment => {}
                    event => return event,
                }
            }
        };
        tokio::time::timeout(LIMIT, event).await.expect("an event within the limit")
    }

    async fn ids(&mut self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        while ids.len() < count {
            ids.push(self.event().await.id().to_owned());
        }
        ids
    }
}

fn frame_of(text: &str) -> Frame {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    match field("data: ") {
        Some(data) => Frame::Event {
            id: field("id: "),
            event: field("event: ").expect("each event has a type"),
            data: serde_json::from_str(&data).unwrap(),
        },
        None => {
            assert_eq!(text, ":");
            Frame::Comment
        }
    }
}

/// Lets something happen; each registration is one event.
async fn happen(server: &Server, from: u64, count: u64) {
    for n in from..from + count {
        let body = json!({"wallet": wallet(10 * n + 1), "referrer": wallet(10 * n + 2)});
        assert_eq!(Answer::of(server.register(&body)).await.status, 202);
    }
}

/// The ids of the feed as Redis has it.
async fn all(server: &Server) -> Vec<String> {
    let (mut ids, mut at) = (Vec::new(), EventId::default());
    loop {
        let slice = server.store.events_after(Some(at)).await.unwrap();
        ids.extend(slice.events.iter().map(|event| event.id.to_string()));
        at = slice.last;
        if !slice.more {
            return ids;
        }
    }
}

#[tokio::test]
async fn events_come_in_order_as_they_happen() {
    let server = Server::start().await;
    happen(&server, 0, 2).await;
    let before = all(&server).await.len();
    let mut stream = Stream::open(server.get("/api/events")).await;
    let answer = Answer::of(server.register(&json!({"wallet": wallet(901), "referrer": wallet(902)}))).await;
    let event = stream.event().await;
    let Frame::Event { id, event, data } = &event else { panic!("{event:?}") };
    assert_eq!((event.as_str(), &data["type"], &data["event"]), ("job", &json!("job"), &json!("accept")));
    assert_eq!((&data["detail"]["job"], data["id"].as_str()), (&json!(answer.job()), id.as_deref()));
    assert!(data["at"].as_u64().unwrap() > 0 && data["detail"].get("type").is_none());
    happen(&server, 1000, 100).await;
    let ids = stream.ids(100).await;
    assert_eq!(ids, all(&server).await[before + 1..], "from the moment it was opened on");
    let pause = json!({"what": "signing", "reason": "test"});
    Answer::of(server.request(reqwest::Method::POST, "/api/pause").bearer_auth(OPERATOR).json(&pause)).await;
    let Frame::Event { event, .. } = stream.event().await else { panic!("an event") };
    assert_eq!(event, "gate");
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let server = Server::start().await;
    let start = all(&server).await.pop().unwrap();
    let writer = happen(&server, 0, 300);
    let reader = async {
        let (mut seen, mut last) = (Vec::new(), start.clone());
        while seen.len() < 300 {
            let request = server.get("/api/events?after=0-0").header("Last-Event-ID", &last);
            let mut stream = Stream::open(request).await;
            // In the middle of it all, at ever other places.
            let count = (1 + seen.len() % 17 * 3).min(300 - seen.len());
            seen.extend(stream.ids(count).await);
            last.clone_from(seen.last().unwrap());
        }
        seen
    };
    let ((), seen) = tokio::join!(writer, reader);
    let all = all(&server).await;
    let from = all.iter().position(|id| *id == start).unwrap() + 1;
    assert_eq!(seen, all[from..]);
}

#[tokio::test]
async fn everything_that_is_kept_is_read_from_the_beginning() {
    let server = Server::start().await;
    happen(&server, 0, 200).await;
    let mut stream = Stream::open(server.get("/api/events?after=0-0")).await;
    let expected = all(&server).await;
    assert_eq!(stream.ids(expected.len()).await, expected);
    happen(&server, 500, 1).await;
    assert_eq!(stream.event().await.id(), all(&server).await.last().unwrap());
}

#[tokio::test]
async fn a_gap_is_told_before_what_is_left() {
    let server = Server::start().await;
    happen(&server, 0, 20).await;
    let before = all(&server).await;
    server.redis_cli(&["XTRIM", "ail:{main}:events", "MAXLEN", "5"]);
    let newer = "99999999999999-0".to_owned();
    for (after, left) in [(&before[3], 5), (&newer, 0)] {
        let mut stream = Stream::open(server.get("/api/events").header("Last-Event-ID", after)).await;
        let gap = Frame::Event {
            id: None,
            event: "gap".into(),
            data: json!({"type": "gap", "event": "lost", "detail": {"after": after}}),
        };
        assert_eq!(stream.event().await, gap);
        assert_eq!(stream.ids(left).await, before[before.len() - left..]);
        happen(&server, 1000 + left as u64, 1).await;
        assert_eq!(stream.event().await.id(), all(&server).await.last().unwrap());
    }
    let kept = &before[before.len() - 3];
    let mut stream = Stream::open(server.get("/api/events").header("Last-Event-ID", kept)).await;
    assert_eq!(stream.ids(2).await, before[before.len() - 2..], "no gap where nothing is gone");
}

#[tokio::test]
async fn what_is_trimmed_before_the_servers_own_reader_sees_it_is_told() {
    let server = Server::start().await;
    let mut stream = Stream::open(server.get("/api/events")).await;
    happen(&server, 0, 1).await;
    let seen = stream.event().await.id().to_owned();
    // In one script, so that no reader is quick enough.
    let burst = "for n = 1, 100 do redis.call('XADD', KEYS[1], '*', 'at', 1, 'type', 'job', 'event', 'test') end \
         return redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1])";
    for left in ["5", "80"] {
        let before = all(&server).await.pop().unwrap();
        server.redis_cli(&["EVAL", burst, "1", "ail:{main}:events", left]);
        let gap = Frame::Event {
            id: None,
            event: "gap".into(),
            data: json!({"type": "gap", "event": "lost", "detail": {"after": before}}),
        };
        assert_eq!(stream.event().await, gap);
        let kept = all(&server).await;
        assert_eq!(stream.ids(kept.len()).await, kept);
        assert!(!kept.contains(&seen));
    }
    happen(&server, 1000, 1).await;
    assert_eq!(stream.event().await.id(), all(&server).await.last().unwrap(), "and goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_slowly_is_told_what_it_missed() {
    const COUNT: usize = 20_000;
    let server = Server::start().await;
    let mut stream = Stream::open(server.get("/api/events")).await;
    happen(&server, 0, 1).await;
    let mut ids: Vec<EventId> = vec![stream.event().await.id().parse().unwrap()];
    // Much more than sockets buffer, and twice what the feed keeps.
    let add = "for n = 1, ARGV[1] do redis.call('XADD', KEYS[1], 'MAXLEN', '~', 10000, '*', 'at', 1, 'type', 'job', \
         'event', 'test', 'filling', string.rep('x', 2000)) end";
    for _ in 0..40 {
        server.redis_cli(&["EVAL", add, "1", "ail:{main}:events", &(COUNT / 40).to_string()]);
    }
    let kept = all(&server).await;
    let mut gaps = Vec::new();
    let last: EventId = kept.last().unwrap().parse().unwrap();
    while ids.last() != Some(&last) {
        match stream.event().await {
            Frame::Event { id: Some(id), .. } => ids.push(id.parse().unwrap()),
            gap => {
                assert_eq!(
                    ids.last().map(ToString::to_string).unwrap(),
                    match &gap {
                        Frame::Event { data, .. } => data["detail"]["after"].as_str().unwrap().to_owned(),
                        Frame::Comment => unreachable!(),
                    }
                );
                gaps.push(ids.len());
            }
        }
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "in order, and none twice");
    assert!(ids.len() < COUNT && !gaps.is_empty(), "{} events, gaps at {gaps:?}", ids.len());
    let after_last_gap: Vec<String> = ids[gaps[gaps.len() - 1]..].iter().map(ToString::to_string).collect();
    assert_eq!(
        after_last_gap,
        kept[kept.len() - after_last_gap.len()..],
        "nothing is missing but what was told"
    );
}

#[tokio::test]
async fn a_stream_outlives_the_deadline_of_requests() {
    let server = Server::start().await;
    let mut stream = Stream::open(server.get("/api/events")).await;
    let opened = Instant::now();
    assert_eq!(stream.frame().await, Some(Frame::Comment));
    assert!(opened.elapsed() > Duration::from_secs(8), "{:?}", opened.elapsed());
    happen(&server, 0, 1).await;
    assert_eq!(stream.event().await.id(), all(&server).await.last().unwrap());
}

#[tokio::test]
async fn streams_end_at_once_at_shutdown() {
    let server = Server::start().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(Stream::open(server.get("/api/events")).await);
    }
    let stopped = Instant::now();
    assert!(server.tasks.drain(Duration::from_secs(8)).await);
    for stream in &mut streams {
        assert_eq!(stream.frame().await, None);
    }
    assert!(stopped.elapsed() < Duration::from_secs(2), "{:?}", stopped.elapsed());
}

#[tokio::test]
async fn more_streams_than_configured_are_503_until_one_leaves() {
    let server = Server::with(|name| (name == "MAX_EVENT_STREAMS").then(|| "2".into())).await;
    server.sync().await;
    let first = Stream::open(server.get("/api/events")).await;
    let _second = Stream::open(server.get("/api/events")).await;
    let refused = Answer::of(server.get("/api/events")).await;
    refused.is_problem(503, "too_many_streams");
    assert_eq!(refused.header("retry-after"), "30");
    let metrics = Answer::of(server.request(reqwest::Method::GET, "/metrics")).await.text;
    assert!(metrics.contains("affiliate_api_event_streams 2"), "{metrics}");
    drop(first);
    // Its leaving is noticed when the next event, or comment, is written to it.
    let (deadline, mut n) = (Instant::now() + LIMIT, 0);
    while server.get("/api/events").send().await.unwrap().status() != 200 {
        assert!(Instant::now() < deadline, "the place of a client that left is not given away");
        happen(&server, n, 1).await;
        n += 1;
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_redis_was_restarted() {
    let mut server = Server::start().await;
    let mut stream = Stream::open(server.get("/api/events")).await;
    happen(&server, 0, 1).await;
    stream.event().await;
    if !server.redis.as_mut().unwrap().restart() {
        return; // A container gets a new port.
    }
    server.sync().await;
    // Most likely before the server's reader is connected again: nobody pushes this one.
    server.store.close_gate("chain", "no answer", "test").await.unwrap();
    assert_eq!(stream.event().await.id(), all(&server).await.last().unwrap());
    let ready = || Answer::of(server.request(reqwest::Method::GET, "/readyz"));
    eventually(ready, |answer| answer.status == 200).await;
    happen(&server, 1, 1).await;
    assert_eq!(stream.event().await.id(), all(&server).await.last().unwrap());
}

#[tokio::test]
async fn an_id_that_is_none_is_422() {
    let server = Server::start().await;
    for id in ["7", "x-y", "1-", "-1"] {
        let answer = Answer::of(server.get("/api/events").header("Last-Event-ID", id)).await;
        answer.is_problem(422, "invalid_value").at("Last-Event-ID", id);
        let answer = Answer::of(server.get(&format!("/api/events?after={id}"))).await;
        answer.is_problem(422, "invalid_value").at("after", id);
    }
}
