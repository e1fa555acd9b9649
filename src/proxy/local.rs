//! What the requests of one data thread share.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use arc_swap::Cache;
use hyper::server::conn::http1;

use super::pool::Pool;
use super::snapshot::{CurrentSnapshot, Snapshot};
use super::targets::Targets;
use crate::observe::{AccessLog, RouterStats};

/// The smallest buffer that hyper takes.
const LEAST_BUFFER: usize = 8 * 1024;
/// What hyper reads at once of a client's body, and buffers of an answer.
const BUFFER: usize = 256 * 1024;

/// What all data threads share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Counters of the router.
    pub stats: Arc<RouterStats>,
    /// Where request records go.
    pub log: AccessLog,
    /// Connections to headless targets.
    pub targets: Targets,
}

/// See the module's words.
pub(crate) struct Local {
    shared: Shared,
    cache: RefCell<Cache<CurrentSnapshot, Arc<Snapshot>>>,
    loaded: RefCell<Rc<Loaded>>,
    pool: Pool,
    round: Cell<usize>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").finish_non_exhaustive()
    }
}

/// A snapshot, and what this thread has made of it.
pub(crate) struct Loaded {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// How connections are served under it.
    pub http: http1::Builder,
}

impl Loaded {
    fn new(snapshot: Arc<Snapshot>) -> Rc<Self> {
        let (limits, keep) = (&snapshot.rules.limits, snapshot.rules.keep_header_case);
        let mut http = http1::Builder::new();
        http
            // A client may shut its sending side and wait for its answer; the connection's own task
            // watches for those that leave.
            .half_close(true)
            .keep_alive(true)
            // With `keep` this is for the names that are the router's own.
            .title_case_headers(keep)
            .preserve_header_case(keep)
            .auto_date_header(true)
            // Batching answers to pipelined requests would buffer streams without bound: hyper then
            // takes a body as fast as it comes, however slow the client reads.
            .pipeline_flush(false)
            // The sweep keeps the header's deadline, which hyper would apply to idle connections too.
            .header_read_timeout(None)
            .max_headers(limits.headers)
            .max_header_size(limits.header)
            .max_buf_size(BUFFER.max(limits.header).max(LEAST_BUFFER));
        Rc::new(Self { snapshot, http })
    }
}

impl Local {
    /// For one thread.
    pub fn new(shared: Shared, current: Arc<ArcSwap<Snapshot>>) -> Rc<Self> {
        let loaded = Loaded::new(current.load_full());
        Rc::new(Self {
            shared,
            cache: RefCell::new(Cache::new(current)),
            loaded: RefCell::new(loaded),
            pool: Pool::default(),
            round: Cell::new(0),
        })
    }

    /// What all threads share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The current snapshot: one load and a comparison.
    pub fn loaded(&self) -> Rc<Loaded> {
        let mut cache = self.cache.borrow_mut();
        let current = cache.load();
        let mut loaded = self.loaded.borrow_mut();
        if !Arc::ptr_eq(&loaded.snapshot, current) {
            *loaded = Loaded::new(current.clone());
        }
        loaded.clone()
    }

    /// Idle upstream connections.
    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whose turn it is among `n`.
    pub fn turn(&self, n: usize) -> usize {
        let turn = self.round.get();
        self.round.set(turn.wrapping_add(1));
        turn % n.max(1)
    }

    /// Closes idle upstream connections whose time is up. True if none is left.
    pub fn sweep(&self) -> bool {
        if self.pool.is_empty() {
            return true;
        }
        self.pool.sweep(std::time::Instant::now());
        self.pool.is_empty()
    }

    /// Closes every idle upstream connection.
    pub fn close_idle_upstreams(&self) {
        self.pool.clear();
    }
}
