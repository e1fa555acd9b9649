//! A service as requests see it: its ready replicas, its gate, the clock of its last use.
//!
//! The actor is the only writer of the ready set; requests only read it. The cold path is in
//! [`super::hold`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::budget::GateBudget;
use super::hold::HeldRequests;
use super::replica::{Lease, Outcome, Replica, Use};
use super::signals::{self, Signals};
use super::status::{ServiceStatus, Snapshot};
use crate::backend::{Addresses, ReplicaId};
use crate::balance;
use crate::config::settings::{HalfClosed, ServiceHold};
use crate::landscape::ServiceKey;
use crate::observe::ServiceStats;

/// The replicas that may be given requests now.
#[derive(Debug, Default)]
pub struct ReadySet {
    /// In ordinal order.
    pub replicas: Vec<Arc<Replica>>,
}

/// See the module's words.
#[derive(Debug)]
pub struct Service {
    key: ServiceKey,
    pub(super) ready: ArcSwap<ReadySet>,
    /// Requests wait, or are being released: new ones queue behind them.
    pub(super) gated: AtomicBool,
    /// The actor wants to know of the next use.
    watched: AtomicBool,
    pub(super) held: Mutex<HeldRequests>,
    pub(super) hold: ArcSwap<ServiceHold>,
    pub(super) budget: Arc<GateBudget>,
    pub(super) signals: Signals,
    pub(super) stats: Arc<ServiceStats>,
    /// Every replica that has or may have requests in flight, those that are leaving too.
    everything: ArcSwap<Vec<Arc<Replica>>>,
    snapshot: ArcSwap<Snapshot>,
    epoch: Instant,
    /// Milliseconds after `epoch`; 0: never used.
    last_use: AtomicU64,
    /// Leases that another router process holds on these replicas, after a take-over.
    elsewhere: AtomicU64,
    /// The same service on another backend: once this one is shut, what waits here waits there.
    successor: OnceLock<Arc<Service>>,
}

/// What a request wants of a service that has nothing ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whether it counts as use.
    pub use_: Use,
    /// Bytes of head and body that we hold in memory for it.
    pub bytes: usize,
    /// Stop waiting after `page_after` and answer [`Refusal::Page`]: a browser's navigation.
    pub page: bool,
    /// A replica (its `uid`) that just failed this request before anything was sent.
    pub failed: Option<u64>,
    /// How much of its time it has spent before: held, or on replicas that did not accept.
    pub waited: Duration,
}

impl Demand {
    /// That of a request that has waited for nothing yet, of which nothing is held in memory, and by whom
    /// no person waits.
    pub fn of(use_: Use) -> Self {
        Self { use_, bytes: 0, page: false, failed: None, waited: Duration::ZERO }
    }
}

/// A lease that was waited for.
#[derive(Debug)]
pub struct Held {
    /// The lease.
    pub lease: Lease,
    /// How long the request was held; zero if a replica was ready after all.
    pub waited: Duration,
}

/// Why a held request is answered by the router itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The gate of the service, or of all, is full.
    Overflow {
        /// When to try again.
        retry_after: Duration,
    },
    /// Held for its whole deadline.
    Deadline {
        /// When to try again.
        retry_after: Duration,
    },
    /// The start failed, or failed a moment ago.
    Failed {
        /// The reason for the client.
        public: String,
        /// When a new start is tried.
        retry_after: Duration,
    },
    /// Answer the loading page now; the start goes on.
    Page,
    /// It cannot run here at all.
    NotRunnable,
    /// It was removed from the configuration.
    Removed,
    /// The router is ending.
    ShuttingDown,
}

impl Service {
    /// A service with nothing ready, the usual bounds and a budget of its own.
    pub fn new(key: ServiceKey, stats: Arc<ServiceStats>) -> Arc<Self> {
        let hold = ServiceHold {
            max_requests: 1000,
            max_bytes: usize::MAX,
            timeout: Duration::from_secs(60),
            page_after: Duration::from_secs(1),
            release: 256,
            half_closed: HalfClosed::Leave,
        };
        Self::with(key, stats, hold, GateBudget::new(usize::MAX, usize::MAX))
    }

    /// A service with nothing ready.
    pub fn with(key: ServiceKey, stats: Arc<ServiceStats>, hold: ServiceHold, budget: Arc<GateBudget>) -> Arc<Self> {
        Arc::new(Self {
            key,
            ready: ArcSwap::default(),
            gated: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            held: Mutex::default(),
            hold: ArcSwap::from_pointee(hold),
            budget,
            signals: Signals::default(),
            stats,
            everything: ArcSwap::default(),
            snapshot: ArcSwap::default(),
            epoch: Instant::now(),
            last_use: AtomicU64::new(0),
            elsewhere: AtomicU64::new(0),
            successor: OnceLock::new(),
        })
    }

    /// Its name.
    pub fn key(&self) -> &ServiceKey {
        &self.key
    }

    /// Its counters.
    pub fn stats(&self) -> &Arc<ServiceStats> {
        &self.stats
    }

    /// How its requests are held.
    pub fn hold_settings(&self) -> Arc<ServiceHold> {
        self.hold.load_full()
    }

    /// Replaces the ready set, and gives held requests their leases.
    pub fn publish(self: &Arc<Self>, set: ReadySet) {
        balance::readmit_surplus(&set.replicas, self.now_ms());
        self.ready.store(Arc::new(set));
        self.release_held();
    }

    /// Whether a replica is ready.
    pub fn is_ready(&self) -> bool {
        self.ready_count() > 0
    }

    /// How many replicas are ready.
    pub fn ready_count(&self) -> usize {
        self.ready.load().replicas.len()
    }

    /// The warm path: a lease on the better of two ready replicas, or on the one that `sticky`
    /// names by its ordinal. `None`: nothing ready, or the gate is still being emptied; see
    /// [`Service::hold`].
    pub fn try_lease(self: &Arc<Self>, use_: Use, sticky: Option<u32>) -> Option<Lease> {
        if self.gated.load(Ordering::Relaxed) {
            return None;
        }
        self.lease_now(use_, sticky)
    }

    /// A lease on a ready replica that is not the one with this `uid`, for a request that has had its turn.
    pub fn try_lease_other(self: &Arc<Self>, use_: Use, uid: u64) -> Option<Lease> {
        let ready = self.ready.load();
        let others: Vec<_> = ready.replicas.iter().filter(|r| r.uid != uid).cloned().collect();
        let at = balance::pick(&others, || self.now_ms(), |n| fastrand::usize(..n))?;
        Lease::take(self, &others[at], use_)
    }

    pub(super) fn lease_now(self: &Arc<Self>, use_: Use, sticky: Option<u32>) -> Option<Lease> {
        let ready = self.ready.load();
        let all = &ready.replicas;
        let now = || self.now_ms();
        let at = sticky
            .and_then(|ordinal| balance::sticky(all, ordinal, now))
            .or_else(|| balance::pick(all, now, |n| fastrand::usize(..n)))?;
        let lease = Lease::take(self, &all[at], use_).or_else(|| {
            // It is leaving; a set without it is about to be published.
            let usable = all.iter().filter(|r| !r.health.is_suspect());
            usable.filter_map(|r| Lease::take(self, r, use_)).next()
        })?;
        if use_ == Use::Counts && self.watched.load(Ordering::Relaxed) {
            self.tell_of_use();
        }
        Some(lease)
    }

    /// A lease on this very replica, for a connection that is open to it; `None` once it is leaving.
    pub fn lease_on(self: &Arc<Self>, replica: &Arc<Replica>) -> Option<Lease> {
        let lease = Lease::take(self, replica, Use::Counts)?;
        if self.watched.load(Ordering::Relaxed) {
            self.tell_of_use();
        }
        Some(lease)
    }

    /// The same by a replica's id: one that left rotation and came back is another [`Replica`].
    pub fn lease_by_id(self: &Arc<Self>, id: ReplicaId) -> Option<Lease> {
        let ready = self.ready.load();
        self.lease_on(ready.replicas.iter().find(|replica| replica.id == id)?)
    }

    #[cold]
    fn tell_of_use(&self) {
        if self.watched.swap(false, Ordering::Relaxed) {
            self.signals.raise(signals::USED);
        }
    }

    /// Tells how an attempt went.
    pub fn report(&self, replica: &Arc<Replica>, outcome: Outcome) {
        match outcome {
            Outcome::Answered => replica.health.answered(),
            Outcome::ConnectFailed => self.suspect(replica),
            Outcome::Reset => {
                if replica.health.reset() {
                    let ready = self.ready.load();
                    let now = self.now_ms();
                    if balance::may_eject(&ready.replicas, now) {
                        replica.health.eject(now);
                    }
                }
            }
        }
    }

    /// Nothing listens there: no more requests until a probe, which is made at once, has passed.
    pub(super) fn suspect(&self, replica: &Replica) {
        if replica.health.suspect() {
            self.signals.raise(signals::SUSPECT);
        }
    }

    /// Stores now as the last use.
    pub fn touch(&self) {
        let now = self.now_ms().max(1);
        // Reading first keeps the cache line shared while several threads end requests.
        if self.last_use.load(Ordering::Relaxed) != now {
            self.last_use.store(now, Ordering::Relaxed);
        }
    }

    /// When it was last used.
    pub fn last_use(&self) -> Option<Instant> {
        match self.last_use.load(Ordering::Relaxed) {
            0 => None,
            ms => Some(self.epoch + Duration::from_millis(ms)),
        }
    }

    /// Requests and streams in flight, on replicas that are leaving too.
    pub fn in_flight(&self) -> u64 {
        let here: u64 = self.everything.load().iter().map(|r| r.word.in_flight()).sum();
        here + self.elsewhere.load(Ordering::Acquire)
    }

    /// The replicas that may be given requests now, and where they are.
    pub fn rotation(&self) -> Vec<(ReplicaId, Addresses)> {
        self.ready.load().replicas.iter().map(|r| (r.id, r.addresses.clone())).collect()
    }

    /// Requests that wait in the gate.
    pub fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// How many leases another router process still holds on these replicas (after a take-over).
    pub fn set_elsewhere(&self, leases: u64) {
        let before = self.elsewhere.swap(leases, Ordering::AcqRel);
        if leases < before {
            self.touch();
            self.signals.raise(signals::DRAINED);
        }
    }

    pub(super) fn elsewhere(&self) -> u64 {
        self.elsewhere.load(Ordering::Acquire)
    }

    /// Sends whoever finds this service removed to another one, from now on.
    pub(super) fn succeeded_by(&self, other: Arc<Service>) {
        // A life is replaced once: then the registry has forgotten it.
        let _first = self.successor.set(other);
    }

    pub(super) fn successor(&self) -> Option<&Arc<Service>> {
        self.successor.get()
    }

    /// What is known of it, for people and programs.
    pub fn status(&self) -> ServiceStatus {
        self.snapshot.load().status(self)
    }

    pub(super) fn set_snapshot(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    pub(super) fn set_everything(&self, all: Vec<Arc<Replica>>) {
        self.everything.store(Arc::new(all));
    }

    pub(super) fn everything(&self) -> Arc<Vec<Arc<Replica>>> {
        self.everything.load_full()
    }

    /// Asks for [`signals::USED`] at the next use.
    pub(super) fn watch_use(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    pub(super) fn drained(&self) {
        self.signals.raise(signals::DRAINED);
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }
}
