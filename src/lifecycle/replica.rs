//! A replica as a request sees it, and the lease that a request holds on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::service::Service;
use super::word::{LeaseWord, Released};
use crate::backend::{Addresses, Door, ReplicaId};
use crate::balance::{Candidate, Passive};

/// A replica in rotation (or leaving it). Shared by every request that holds a lease on it.
#[derive(Debug)]
pub struct Replica {
    /// Which.
    pub id: ReplicaId,
    /// Unique in this process, never used again: what connection pools are keyed by.
    pub uid: u64,
    /// Where its ports are.
    pub addresses: Addresses,
    /// Closed or open, and in flight.
    pub word: LeaseWord,
    /// What ejection knows of it.
    pub health: Passive,
}

impl Replica {
    /// A replica that serves at these addresses.
    pub fn new(id: ReplicaId, addresses: Addresses) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id,
            uid: NEXT.fetch_add(1, Ordering::Relaxed),
            addresses,
            word: LeaseWord::default(),
            health: Passive::default(),
        }
    }
}

impl Candidate for Arc<Replica> {
    fn ordinal(&self) -> u32 {
        self.id.ordinal
    }
    fn load(&self) -> u64 {
        self.word.in_flight()
    }
    fn passive(&self) -> &Passive {
        &self.health
    }
}

/// One request's (or stream's) right to use a replica. While it lives the replica is not stopped for
/// idleness; dropping it is the end of the use.
#[derive(Debug)]
pub struct Lease {
    service: Arc<Service>,
    replica: Arc<Replica>,
    use_: Use,
    /// The gate's window in which it was released; 0: not by the gate, or answered since.
    paced: AtomicU32,
}

/// Whether a request counts as use of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It puts off the next sleep, counted from its end.
    Counts,
    /// It does not.
    NeverExtends,
}

/// How an attempt on a replica went, for ejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer's head arrived.
    Answered,
    /// The connect was refused or timed out.
    ConnectFailed,
    /// The connection broke before an answer's head.
    Reset,
}

impl Lease {
    /// Takes a place on `replica`; `None` when it is closed.
    pub(super) fn take(service: &Arc<Service>, replica: &Arc<Replica>, use_: Use) -> Option<Self> {
        replica.word.acquire().then(|| Self {
            service: service.clone(),
            replica: replica.clone(),
            use_,
            paced: AtomicU32::new(0),
        })
    }

    /// Marks it as released by the gate in `window`.
    pub(super) fn paced(mut self, window: u32) -> Self {
        *self.paced.get_mut() = window;
        self
    }

    pub(super) fn counting_as(mut self, use_: Use) -> Self {
        self.use_ = use_;
        self
    }

    /// Ends a lease that never reached its request, and tells what it was released as.
    pub(super) fn unpaced(mut self) -> (Arc<Replica>, u32) {
        self.use_ = Use::NeverExtends;
        let window = std::mem::take(self.paced.get_mut());
        (self.replica.clone(), window)
    }

    /// The replica.
    pub fn replica(&self) -> &Arc<Replica> {
        &self.replica
    }

    /// The service.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Where the declared `port` of the replica is reached.
    pub fn door(&self, port: u16) -> Option<Door> {
        self.replica.addresses.of(port)
    }

    /// Tells how the attempt went; once an attempt. Cheap when it went well.
    pub fn report(&self, outcome: Outcome) {
        self.service.report(&self.replica, outcome);
        self.unpace();
    }

    /// The gate may release the next one: at the answer's head, so that a stream without end does not
    /// keep others waiting, or at the end if there was none.
    fn unpace(&self) {
        if self.paced.load(Ordering::Relaxed) == 0 {
            return;
        }
        let window = self.paced.swap(0, Ordering::Relaxed);
        if window != 0 {
            self.service.answered(&self.replica, window);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // The use is noted before the place is given back: who finds nothing in flight finds it too.
        if self.use_ == Use::Counts {
            self.service.touch();
        }
        if self.replica.word.release() == Released::ClosedAndIdle {
            self.service.drained();
        }
        self.unpace();
    }
}
