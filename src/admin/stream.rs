//! Answers without an end: events and followed logs.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::events::{Event, Watch};
use crate::backend::LogLine;

/// Every answer's body.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// So often something is sent, so that both ends notice when the other is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Log lines are sent together up to about so many bytes.
const CHUNK: usize = 32 * 1024;

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A JSON object a line.
    Lines,
    /// Server-sent events.
    Events,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    /// What readers skip: an empty line, a comment.
    fn nothing(self) -> &'static str {
        match self {
            Self::Lines => "\n",
            Self::Events => ": keep-alive\n\n",
        }
    }
}

/// What keeps an endless answer in bounds: its place among all of them, and the router's end.
#[derive(Debug)]
pub(super) struct Lifeline {
    pub _place: OwnedSemaphorePermit,
    pub closing: CancellationToken,
}

/// Events as they happen, those of one landscape where it is given.
pub(super) fn events(watch: Watch, landscape: Option<String>, lifeline: Lifeline) -> Body {
    // What was missed goes out at once, and before it something in any case: the client sees that it
    // is connected.
    let mut first = String::from("retry: 1000\n\n");
    if watch.gap {
        first.push_str(GAP);
    }
    let wanted = move |event: &Event| landscape.as_deref().is_none_or(|l| event.landscape.as_deref() == Some(l));
    watch.missed.iter().filter(|e| wanted(e)).for_each(|e| first.push_str(&written(e)));
    let live = Live { receiver: watch.live, wanted, ticks: ticks(), lifeline };
    body(stream::unfold((Some(first), live), async |(first, mut live)| {
        if let Some(text) = first {
            return Some((text, (None, live)));
        }
        Some((live.next().await?, (None, live)))
    }))
}

/// Told to a watcher that events passed it by: what it knows may be out of date.
const GAP: &str = "data: {\"event\":\"gap\"}\n\n";

fn written(event: &Event) -> String {
    format!("id: {}\ndata: {}\n\n", event.id, event.json)
}

struct Live<F> {
    receiver: broadcast::Receiver<Event>,
    wanted: F,
    ticks: tokio::time::Interval,
    lifeline: Lifeline,
}

impl<F: Fn(&Event) -> bool> Live<F> {
    async fn next(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                () = self.lifeline.closing.cancelled() => return None,
                _ = self.ticks.tick() => return Some(Format::Events.nothing().to_owned()),
                event = self.receiver.recv() => match event {
                    Ok(event) if (self.wanted)(&event) => return Some(written(&event)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return Some(GAP.to_owned()),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}

/// A service's output, until the channel closes.
pub(super) fn logs(lines: mpsc::Receiver<LogLine>, format: Format, lifeline: Lifeline) -> Body {
    body(stream::unfold((lines, ticks(), lifeline), move |(mut lines, mut ticks, lifeline)| async move {
        let line = tokio::select! {
            () = lifeline.closing.cancelled() => return None,
            _ = ticks.tick() => return Some((format.nothing().to_owned(), (lines, ticks, lifeline))),
            line = lines.recv() => line?,
        };
        let mut text = String::new();
        write(&line, format, &mut text);
        while text.len() < CHUNK
            && let Ok(line) = lines.try_recv()
        {
            write(&line, format, &mut text);
        }
        Some((text, (lines, ticks, lifeline)))
    }))
}

/// A log line as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    at_unix_ms: u64,
    source: &'a str,
    step: Option<u32>,
    stderr: bool,
    text: &'a str,
}

fn write(line: &LogLine, format: Format, out: &mut String) {
    let LogLine { at, source, step, stderr, text } = line;
    let line = Line { at_unix_ms: millis(*at), source, step: *step, stderr: *stderr, text };
    // Strings and numbers always serialise.
    let json = serde_json::to_string(&line).unwrap_or_default();
    match format {
        Format::Lines => out.push_str(&json),
        Format::Events => out.extend(["data: ", &json, "\n"]),
    }
    out.push('\n');
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(KEEP_ALIVE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick of an interval is at once.
    ticks.reset();
    ticks
}

fn body(texts: impl stream::Stream<Item = String> + Send + 'static) -> Body {
    let frames = stream::StreamExt::map(texts, |text| Ok(Frame::data(Bytes::from(text))));
    StreamBody::new(frames).boxed_unsync()
}

/// Milliseconds of the wall clock since 1970.
pub(super) fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
