//! The access log: data threads hand records to a bounded queue, one thread of its own writes them.
//!
//! A request never waits for the log. When the queue is full or the file cannot be written, records
//! are dropped and counted; the log goes on as soon as there is room again. Records are written in
//! batches a few milliseconds apart, so that a busy router wakes the writer some dozens of times a
//! second and not once a request.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::cell::Counter;
use super::sink::Sink;
use super::{AccessRecord, format};
use crate::config::settings;

/// Records that wait for the writer at most. At 50 batches a second that is 400,000 requests a second.
const QUEUE: usize = 8192;
/// The writer's rest between two batches.
const REST: Duration = Duration::from_millis(20);
/// A batch is handed to the file when it is so long.
const BATCH_BYTES: usize = 256 * 1024;

/// How long the end waits for the last records to be written.
const LAST: Duration = Duration::from_secs(5);

/// Why the access log cannot be written where the configuration wants it.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The file.
    #[error("the access log {} cannot be opened: {source}; check the folder and its permissions", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The writer.
    #[error("the access log's thread cannot be started: {0}")]
    Thread(io::Error),
}

/// Where the data path puts its records. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    on: AtomicBool,
    queue: Option<SyncSender<Message>>,
    dropped: Arc<Counter>,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would cost an allocation a request, and the queue's places are made once"
)]
enum Message {
    Record(AccessRecord),
    /// Look at the orders.
    Wake,
}

impl AccessLog {
    /// A log that takes nothing.
    pub fn off() -> Self {
        Self(Arc::new(Shared { on: AtomicBool::new(false), queue: None, dropped: Arc::default() }))
    }

    /// Whether records are wanted: where not, none need be made.
    pub fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Relaxed)
    }

    /// Hands a record over. Never waits; counts the record as dropped where there is no room.
    pub fn log(&self, record: AccessRecord) {
        let Some(queue) = self.0.queue.as_ref().filter(|_| self.is_on()) else { return };
        if queue.try_send(Message::Record(record)).is_err() {
            self.0.dropped.inc();
        }
    }
}

/// The writer's end: owned by whoever wires the router.
#[derive(Debug)]
pub struct AccessLogWriter {
    log: AccessLog,
    orders: Arc<Mutex<Orders>>,
    /// The thread, and the channel that closes when it ends.
    thread: Option<(JoinHandle<()>, Receiver<()>)>,
}

/// What the writer is to do before its next batch.
#[derive(Debug, Default)]
struct Orders {
    open: Option<Target>,
    reopen: bool,
    end: bool,
}

impl Orders {
    fn any(&self) -> bool {
        self.open.is_some() || self.reopen || self.end
    }
}

/// A new place to write to, opened by whoever ordered it so that the failure is theirs to tell.
#[derive(Debug)]
struct Target {
    json: bool,
    sink: Option<Sink>,
}

impl AccessLogWriter {
    /// Starts the writer's thread. `None` switches the log off; [`AccessLogWriter::configure`] can
    /// switch it on later. `dropped` counts what is lost.
    pub fn start(settings: Option<&settings::AccessLog>, dropped: Arc<Counter>) -> Result<Self, AccessLogError> {
        let (queue, records) = sync_channel(QUEUE);
        let log = AccessLog(Arc::new(Shared { on: AtomicBool::new(false), queue: Some(queue), dropped }));
        let orders = Arc::new(Mutex::new(Orders::default()));
        let mut writer = Self { log, orders: orders.clone(), thread: None };
        writer.configure(settings)?;
        let dropped = writer.log.0.dropped.clone();
        let (alive, ended) = sync_channel(0);
        let spawned = thread::Builder::new().name("access-log".into()).spawn(move || {
            let _alive: SyncSender<()> = alive;
            write(&records, &orders, &dropped);
        });
        writer.thread = Some((spawned.map_err(AccessLogError::Thread)?, ended));
        Ok(writer)
    }

    /// The end for the data path.
    pub fn log(&self) -> AccessLog {
        self.log.clone()
    }

    /// Changes format and place, or switches off. After an error everything is as before.
    pub fn configure(&self, settings: Option<&settings::AccessLog>) -> Result<(), AccessLogError> {
        let target = match settings {
            Some(s) => Target { json: s.json, sink: Some(Sink::open(s.path.clone())?) },
            None => Target { json: false, sink: None },
        };
        self.order(|o| o.open = Some(target));
        self.log.0.on.store(settings.is_some(), Ordering::Relaxed);
        Ok(())
    }

    /// Opens the file anew: after a rotation has renamed it.
    pub fn reopen(&self) {
        self.order(|o| o.reopen = true);
    }

    /// Writes what is queued and ends the thread. Records that come later are dropped silently.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.log.0.on.store(false, Ordering::Relaxed);
        self.order(|o| o.end = true);
        let Some((thread, ended)) = self.thread.take() else { return };
        // A reader of standard output that stopped reading must not keep the router from ending.
        if ended.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            tracing::error!("the access log takes no more lines; its last records are lost");
        } else if thread.join().is_err() {
            tracing::error!("the access log's writer panicked; its last records may be lost");
        }
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock());
        // A full queue means that the writer is awake, and it reads its orders before every batch.
        let Some(queue) = &self.log.0.queue else { return };
        if let Err(TrySendError::Disconnected(_)) = queue.try_send(Message::Wake) {
            tracing::error!("the access log's writer has ended");
        }
    }
}

impl Drop for AccessLogWriter {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

/// The writer's thread.
fn write(records: &Receiver<Message>, orders: &Mutex<Orders>, dropped: &Counter) {
    let mut target = Target { json: false, sink: None };
    let mut batch = Vec::new();
    loop {
        // Orders given while the queue was full have no message that announces them, so the thread
        // waits for one only when there are none.
        let first = if orders.lock().any() { None } else { records.recv().ok() };
        let todo = std::mem::take(&mut *orders.lock());
        // What was queued before the order was meant for the old place; a batch more or less in the
        // new one does no harm.
        if let Some(new) = todo.open {
            target = new;
        }
        if let Some(sink) = target.sink.as_mut().filter(|_| todo.reopen) {
            sink.reopen();
        }
        let mut lines = 0;
        for message in first.into_iter().chain(records.try_iter().take(QUEUE)) {
            let (Message::Record(record), Some(sink)) = (message, target.sink.as_mut()) else { continue };
            format::line(&record, target.json, &mut batch);
            lines += 1;
            if batch.len() >= BATCH_BYTES {
                dropped.add(sink.write(&mut batch, std::mem::take(&mut lines)));
            }
        }
        if let Some(sink) = target.sink.as_mut() {
            dropped.add(sink.write(&mut batch, lines));
        }
        if todo.end {
            return;
        }
        thread::sleep(REST);
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::record;
    use super::*;
    use std::fs;

    fn to(path: &std::path::Path) -> settings::AccessLog {
        settings::AccessLog { json: true, path: Some(path.to_owned()) }
    }

    fn lines(path: &std::path::Path) -> usize {
        fs::read_to_string(path).unwrap().lines().count()
    }

    #[test]
    fn every_record_is_written_before_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let dropped = Arc::new(Counter::default());
        let writer = AccessLogWriter::start(Some(&to(&path)), dropped.clone()).unwrap();
        let log = writer.log();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let log = log.clone();
                thread::spawn(move || (0..500).for_each(|_| log.log(record())))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        writer.finish();
        assert_eq!((lines(&path), dropped.get()), (2000, 0));
        log.log(record());
        assert_eq!(dropped.get(), 0, "a log that ended takes nothing and counts nothing");
    }

    #[test]
    fn a_rotated_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let writer = AccessLogWriter::start(Some(&to(&path)), Arc::default()).unwrap();
        fs::rename(&path, &old).unwrap();
        writer.reopen();
        writer.log().log(record());
        writer.finish();
        assert_eq!((lines(&path), lines(&old)), (1, 0));
    }

    #[test]
    fn it_is_switched_on_and_off_while_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let writer = AccessLogWriter::start(None, Arc::default()).unwrap();
        assert!(!writer.log().is_on());
        writer.log().log(record());
        writer.configure(Some(&to(&path))).unwrap();
        writer.log().log(record());
        writer.finish();
        assert_eq!(lines(&path), 1);
    }

    #[test]
    fn a_place_that_cannot_be_opened_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let writer = AccessLogWriter::start(Some(&to(&path)), Arc::default()).unwrap();
        let error = writer.configure(Some(&to(&dir.path().join("missing/access.log")))).unwrap_err();
        assert!(error.to_string().contains("missing/access.log"), "{error}");
        writer.log().log(record());
        writer.finish();
        assert_eq!(lines(&path), 1);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (queue, _records) = sync_channel(2);
        let dropped = Arc::new(Counter::default());
        let shared = Shared { on: AtomicBool::new(true), queue: Some(queue), dropped: dropped.clone() };
        let log = AccessLog(Arc::new(shared));
        (0..5).for_each(|_| log.log(record()));
        assert_eq!(dropped.get(), 3);
    }
}
