//! Numbers of the router as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use super::cell::{Counter, Gauge};
use super::stats::ServiceStats;

/// See the module's words. One a process, shared by all threads.
#[derive(Debug)]
pub struct RouterStats {
    /// Requests for which no service was found, and those that were refused before one was looked
    /// for. Their series carry `-` as landscape and service, which no name can be.
    pub unrouted: Arc<ServiceStats>,
    /// Open connections of clients.
    pub connections: Gauge,
    /// Connections of clients that were closed at once because there were too many.
    pub connections_refused: Counter,
    /// Connections by a private name that were refused: nobody is known at the caller's address.
    pub private_refused_unknown: Counter,
    /// The same where the caller's landscape has no such service.
    pub private_refused_foreign: Counter,
    /// Access-log records that were lost because the log could not keep up or could not be written.
    pub access_log_dropped: Arc<Counter>,
    reloads_success: Counter,
    reloads_error: Counter,
    last_reload_ok: AtomicBool,
    started: SystemTime,
}

impl Default for RouterStats {
    /// Of a process that starts now, with a configuration that was good.
    fn default() -> Self {
        Self {
            unrouted: Arc::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            private_refused_unknown: Counter::default(),
            private_refused_foreign: Counter::default(),
            access_log_dropped: Arc::default(),
            reloads_success: Counter::default(),
            reloads_error: Counter::default(),
            last_reload_ok: AtomicBool::new(true),
            started: SystemTime::now(),
        }
    }
}

impl RouterStats {
    /// The configuration that the router starts with; `ok` as [`RouterStats::reloaded`] has it.
    pub fn began(&self, ok: bool) {
        self.last_reload_ok.store(ok, Ordering::Relaxed);
    }

    /// A reload was applied, or left everything as it was.
    pub fn reloaded(&self, ok: bool) {
        if ok { &self.reloads_success } else { &self.reloads_error }.inc();
        self.last_reload_ok.store(ok, Ordering::Relaxed);
    }

    /// Reloads that were applied, and reloads that were not.
    pub fn reloads(&self) -> (u64, u64) {
        (self.reloads_success.get(), self.reloads_error.get())
    }

    /// Whether the last reload was applied.
    pub fn last_reload_ok(&self) -> bool {
        self.last_reload_ok.load(Ordering::Relaxed)
    }

    /// When the process started.
    pub fn started(&self) -> SystemTime {
        self.started
    }
}
