//! What happened, for those who watch: the last events, and a channel of new ones.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use super::Reloaded;

/// Events kept for those who come back with `Last-Event-ID`, and the most that a slow watcher may
/// fall behind.
const KEPT: usize = 1024;

/// One event, as JSON already: it is written once however many watch.
#[derive(Clone, Debug)]
pub struct Event {
    /// Grows, over restarts of the router too (unless the clock goes back).
    pub id: u64,
    /// The landscape it concerns; absent for the router's own.
    pub landscape: Option<Arc<str>>,
    /// The whole of it, one line.
    pub json: Arc<str>,
}

/// See the module's words. Share it in an `Arc`.
#[derive(Debug)]
pub struct EventLog {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Event>,
}

#[derive(Debug)]
struct Kept {
    next: u64,
    events: VecDeque<Event>,
}

/// What a watcher gets.
#[derive(Debug)]
pub struct Watch {
    /// The watcher missed events that are no longer kept.
    pub gap: bool,
    /// What it missed and is still known.
    pub missed: Vec<Event>,
    /// What comes.
    pub live: broadcast::Receiver<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        // Milliseconds times a thousand: ids of a later router are greater, and a JavaScript number
        // holds them exactly until the year 2255.
        let first = super::stream::millis(SystemTime::now()) * 1000;
        let kept = Kept { next: first, events: VecDeque::with_capacity(KEPT) };
        Self { kept: Mutex::new(kept), live: broadcast::channel(KEPT).0 }
    }
}

impl EventLog {
    /// Tells everyone. `what` is an object; a [`crate::lifecycle::LifeEvent`] is one.
    pub fn publish(&self, landscape: Option<Arc<str>>, what: &impl Serialize) {
        let json: Arc<str> = match serde_json::to_string(what) {
            Ok(text) => text.into(),
            Err(e) => return tracing::error!("an event cannot be told: {e}"),
        };
        // Under the lock, so that nobody who begins to watch in between misses it or gets it twice.
        let mut kept = self.kept.lock();
        let event = Event { id: kept.next, landscape, json };
        kept.next += 1;
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(event.clone());
        // An error only means that nobody watches.
        let _ = self.live.send(event);
    }

    /// Tells everyone how a reading of the configuration went.
    pub fn reloaded(&self, how: &Reloaded) {
        let at = super::stream::millis(SystemTime::now());
        self.publish(None, &serde_json::json!({ "atUnixMs": at, "event": "reload", "reload": how }));
    }

    /// Tells everyone that some events could not be told.
    pub fn gap(&self) {
        self.publish(None, &serde_json::json!({ "event": "gap" }));
    }

    /// Begins to watch: with what comes, or with what came after the event `after`.
    pub fn watch(&self, after: Option<u64>) -> Watch {
        let kept = self.kept.lock();
        let live = self.live.subscribe();
        let Some(after) = after else { return Watch { gap: false, missed: Vec::new(), live } };
        let oldest = kept.events.front().map_or(kept.next, |e| e.id);
        let missed = kept.events.iter().filter(|e| e.id > after).cloned().collect();
        // An id that is yet to come is of a router whose clock was ahead of ours: who knows what it missed.
        Watch { gap: after.saturating_add(1) < oldest || after >= kept.next, missed, live }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_is_told_with_its_time() {
        let log = EventLog::default();
        let mut watch = log.watch(None);
        log.reloaded(&Reloaded { ok: true, changes: vec!["4711: added".into()], mistakes: Vec::new() });
        let event: serde_json::Value = serde_json::from_str(&watch.live.try_recv().unwrap().json).unwrap();
        assert!(event["atUnixMs"].as_u64().is_some_and(|at| at > 1_700_000_000_000), "{event}");
        assert_eq!((&event["event"], &event["reload"]["changes"][0]), (&"reload".into(), &"4711: added".into()));
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_and_is_told_of_a_gap() {
        let log = EventLog::default();
        let mut first = log.watch(None);
        log.publish(None, &1);
        let id = first.live.try_recv().unwrap().id;
        (2..4).for_each(|n| log.publish(Some("4711".into()), &n));
        let mut again = log.watch(Some(id));
        assert!(!again.gap);
        assert_eq!(again.missed.iter().map(|e| &*e.json).collect::<Vec<_>>(), ["2", "3"]);
        assert!(again.live.try_recv().is_err(), "nothing twice");
        (0..KEPT).for_each(|n| log.publish(None, &n));
        let late = log.watch(Some(id));
        assert!(late.gap);
        assert_eq!(late.missed.len(), KEPT);
        let newest = late.missed.last().unwrap().id;
        assert!(!log.watch(Some(newest)).gap);
        assert!(log.watch(Some(newest + 1)).gap, "no router has told that yet");
    }
}
