//! The cold path: a request waits for a replica.
//!
//! A waiter is an entry in the gate's queue and one oneshot channel, a few hundred bytes with its
//! timer. It leaves by exactly one of four ways: a lease or a refusal is sent to it, its deadline
//! passes, or its future is dropped (the client left). A lease that was sent to a waiter which leaves
//! at the same moment is dropped with the channel, and so given back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::budget::Place;
use super::gate::Gate;
use super::queue::Ticket;
use super::replica::{Lease, Replica, Use};
use super::service::{Demand, Held, Refusal, Service};
use super::signals;
use crate::balance::Candidate;
use crate::observe::stats::{HoldRejection, Phase};

/// Leases handed out in one hold of the lock.
const BATCH: usize = 64;
/// When to try again where nothing better is known.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What a service's lock protects.
#[derive(Debug, Default)]
pub(super) struct HeldRequests {
    gate: Gate<Waiting>,
    /// Nobody may wait, for this reason.
    shut: Option<Refusal>,
    /// Since when the gate is being emptied.
    opened: Option<Instant>,
    /// How long the last start took.
    retry_after: Option<Duration>,
}

#[derive(Debug)]
struct Waiting {
    to: oneshot::Sender<Result<Lease, Refusal>>,
    use_: Use,
}

/// A place in the gate, left by dropping it.
struct Waiter<'a> {
    service: &'a Arc<Service>,
    ticket: Ticket,
    from: oneshot::Receiver<Result<Lease, Refusal>>,
    _place: Place,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let left = {
            let mut held = self.service.held.lock();
            let left = held.gate.leave(self.ticket);
            held.emptied(self.service);
            left
        };
        drop(left);
    }
}

enum Joined<'a> {
    Lease(Lease),
    Refused(Refusal),
    Waits(Waiter<'a>),
}

impl HeldRequests {
    pub(super) fn len(&self) -> usize {
        self.gate.len()
    }

    /// To be called whenever the queue may have become empty: opens the warm path again.
    fn emptied(&mut self, service: &Service) {
        if !self.gate.is_empty() {
            return;
        }
        service.gated.store(false, Ordering::Relaxed);
        if let Some(opened) = self.opened.take() {
            service.stats.cold_phase(Phase::Release, opened.elapsed());
        }
    }
}

impl Service {
    /// The cold path: asks for a replica and waits for a lease. Dropping the future frees its place
    /// at once.
    pub async fn hold(self: &Arc<Self>, demand: Demand) -> Result<Held, Refusal> {
        let came = Instant::now();
        let mut result = self.wait(demand, None).await;
        let mut service = self;
        while let (Err(Refusal::Removed), Some(next)) = (&result, service.successor()) {
            result = next.wait(demand, Some(came)).await;
            service = next;
        }
        let rejection = match &result {
            Ok(_) | Err(Refusal::Page) => return result,
            Err(Refusal::Overflow { .. }) => HoldRejection::Overflow,
            Err(Refusal::Deadline { .. }) => HoldRejection::Deadline,
            Err(Refusal::Failed { .. }) => HoldRejection::Failed,
            Err(Refusal::NotRunnable) => HoldRejection::NotRunnable,
            Err(Refusal::Removed) => HoldRejection::Removed,
            Err(Refusal::ShuttingDown) => HoldRejection::Shutdown,
        };
        self.stats.hold_rejected(rejection);
        result
    }

    /// `before` is since when the request has been waiting, if it has: for a predecessor.
    async fn wait(self: &Arc<Self>, demand: Demand, before: Option<Instant>) -> Result<Held, Refusal> {
        if let Some(failed) = demand.failed
            && let Some(replica) = self.ready.load().replicas.iter().find(|r| r.uid == failed)
        {
            self.suspect(replica);
        }
        let mut waiter = match self.join(&demand) {
            Joined::Lease(lease) => {
                return Ok(Held { lease, waited: before.map_or(Duration::ZERO, |since| since.elapsed()) });
            }
            Joined::Refused(refusal) => return Err(refusal),
            Joined::Waits(waiter) => waiter,
        };
        let since = before.unwrap_or_else(Instant::now);
        self.signals.raise(signals::DEMAND);
        let (limit, paged) = {
            let hold = self.hold.load();
            match demand.page {
                true if hold.page_after < hold.timeout => (hold.page_after, true),
                _ => (hold.timeout, false),
            }
        };
        let deadline = since + limit.saturating_sub(demand.waited);
        let answer = match tokio::time::timeout_at(deadline.into(), &mut waiter.from).await {
            Ok(answer) => answer.ok(),
            // Sent in the very moment that the deadline passed: better late than never.
            Err(_) => waiter.from.try_recv().ok(),
        };
        match answer {
            Some(Ok(lease)) => Ok(Held { lease, waited: since.elapsed() }),
            Some(Err(refusal)) => Err(refusal),
            None if paged => Err(Refusal::Page),
            None => Err(Refusal::Deadline { retry_after: self.retry_after() }),
        }
    }

    fn join(self: &Arc<Self>, demand: &Demand) -> Joined<'_> {
        let hold = self.hold.load();
        let mut held = self.held.lock();
        if let Some(refusal) = &held.shut {
            return Joined::Refused(refusal.clone());
        }
        // The second look, under the lock: see the gate's rules.
        if held.gate.is_empty()
            && let Some(lease) = self.lease_now(demand.use_, None)
        {
            return Joined::Lease(lease);
        }
        let fits =
            held.gate.len() < hold.max_requests && held.gate.bytes().saturating_add(demand.bytes) <= hold.max_bytes;
        let place = fits.then(|| self.budget.take(demand.bytes)).flatten();
        let Some(place) = place else {
            return Joined::Refused(Refusal::Overflow { retry_after: held.retry_after.unwrap_or(RETRY_AFTER) });
        };
        let (to, from) = oneshot::channel();
        let ticket = held.gate.join(Waiting { to, use_: demand.use_ }, demand.bytes);
        self.gated.store(true, Ordering::Relaxed);
        drop(held);
        Joined::Waits(Waiter { service: self, ticket, from, _place: place })
    }

    /// Gives held requests their leases, in their order, as far as the pace allows.
    pub(super) fn release_held(self: &Arc<Self>) {
        let release = self.hold.load().release.max(1);
        let mut batch = Vec::new();
        loop {
            {
                let mut held = self.held.lock();
                let ready = self.ready.load();
                if !held.gate.is_empty() && !ready.replicas.is_empty() && held.opened.is_none() {
                    held.opened = Some(Instant::now());
                }
                while batch.len() < BATCH && !held.gate.is_empty() {
                    let Some(replica) = self.roomiest(&held.gate, &ready.replicas, release) else { break };
                    // Only a replica that is just leaving refuses; a set without it is on its way.
                    let Some(lease) = Lease::take(self, replica, Use::NeverExtends) else { break };
                    let Some(waiting) = held.gate.pop() else { break };
                    let window = held.gate.released(replica.uid);
                    batch.push((waiting.to, lease.counting_as(waiting.use_).paced(window)));
                }
                held.emptied(self);
            }
            if batch.is_empty() {
                return;
            }
            for (to, lease) in batch.drain(..) {
                // The waiter may have left in this moment: its lease goes to the next one instead, in
                // this loop rather than from the lease's drop, which would nest as deep as the queue.
                if let Err(Ok(lease)) = to.send(Ok(lease)) {
                    let (replica, window) = lease.unpaced();
                    self.held.lock().gate.answered(replica.uid, window);
                }
            }
        }
    }

    /// The replica with the fewest requests that may be given one more. Ejected ones only where no
    /// other may be used.
    fn roomiest<'r>(
        &self,
        gate: &Gate<Waiting>,
        ready: &'r [Arc<Replica>],
        release: usize,
    ) -> Option<&'r Arc<Replica>> {
        let usable = |r: &&Arc<Replica>| !r.health.is_suspect() && !r.word.is_closed();
        let ejected = |r: &Arc<Replica>| r.health.is_ejected(|| self.now_ms());
        let fresh = ready.iter().filter(usable).any(|r| !ejected(r));
        ready
            .iter()
            .filter(usable)
            .filter(|r| !fresh || !ejected(r))
            .filter(|r| gate.has_room(r.uid, release))
            .min_by_key(|r| r.load())
    }

    /// A request that the gate released has its answer's head, or ended.
    pub(super) fn answered(self: &Arc<Self>, replica: &Replica, window: u32) {
        let more = {
            let mut held = self.held.lock();
            held.gate.answered(replica.uid, window);
            !held.gate.is_empty()
        };
        if more {
            self.release_held();
        }
    }

    /// Another batch for replicas that take their time; the actor calls this once a second while
    /// requests wait and something is ready.
    pub(super) fn renew_pace(self: &Arc<Self>) {
        self.held.lock().gate.renew();
        self.release_held();
    }

    /// Answers everything that is held.
    pub(super) fn refuse_held(&self, refusal: &Refusal) {
        let waiting: Vec<Waiting> = {
            let mut held = self.held.lock();
            held.opened = None;
            let waiting = std::iter::from_fn(|| held.gate.pop()).collect();
            held.emptied(self);
            waiting
        };
        for w in waiting {
            // A failed send is a waiter that left: answered by nobody, as it wished.
            drop(w.to.send(Err(refusal.clone())));
        }
    }

    /// Answers everything that is held, and whatever comes, until opened again with `None`.
    pub(super) fn shut(&self, refusal: Option<Refusal>) {
        self.held.lock().shut.clone_from(&refusal);
        if let Some(refusal) = refusal {
            self.refuse_held(&refusal);
        }
    }

    /// The same, unless it was told another reason before.
    pub(super) fn shut_if_open(&self, refusal: Refusal) {
        if self.held.lock().shut.is_none() {
            self.shut(Some(refusal));
        }
    }

    /// Opened again, if it is this that it was shut for.
    pub(super) fn reopen(&self, refusal: &Refusal) {
        let mut held = self.held.lock();
        if held.shut.as_ref() == Some(refusal) {
            held.shut = None;
        }
    }

    pub(super) fn set_retry_after(&self, start: Duration) {
        self.held.lock().retry_after = Some(start.clamp(Duration::from_secs(1), Duration::from_secs(30)));
    }

    fn retry_after(&self) -> Duration {
        self.held.lock().retry_after.unwrap_or(RETRY_AFTER)
    }
}
