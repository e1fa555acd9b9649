//! Which replicas there are: filling empty ordinals, replacing outdated replicas one after the other.

use std::time::Instant;

use super::rep::{Phase, Rep, Slot};
use super::{Effect, Machine, RESUME, State};
use crate::backend::{Addresses, Failure, FailureKind, ReplicaId};
use crate::probe::schedule::Watch;

impl Machine {
    /// As many slots as there should be replicas; what is too much leaves.
    pub(super) fn fit_slots(&mut self, now: Instant) {
        let wanted = self.count();
        while self.slots.len() > wanted as usize {
            if let Some(slot) = self.slots.pop() {
                for rep in slot.rep.into_iter().chain(slot.next) {
                    self.leave(rep, now);
                }
            }
        }
        while (self.slots.len() as u32) < wanted {
            self.slots.push(Slot::new(self.slots.len() as u32));
        }
    }

    pub(super) fn is_outdated(&self, slot: &Slot) -> bool {
        slot.rep.as_ref().is_some_and(|r| self.is_old(r))
    }

    pub(super) fn is_old(&self, rep: &Rep) -> bool {
        rep.unwanted || rep.digest != self.digest
    }

    /// Brings every ordinal one step nearer to a ready replica of the current specification.
    pub(super) fn fill(&mut self, now: Instant) {
        for slot in self.slots.iter_mut().filter(|s| s.due(now)) {
            slot.retry_at = None;
        }
        self.prepare_at = self.prepare_at.filter(|at| *at > now);
        for at in 0..self.slots.len() {
            self.drop_old_unready(at, now);
            self.fill_slot(at, now);
        }
    }

    /// What never served, or does not serve now, is not waited for when it is outdated. One that was
    /// found at the router's start may still turn out to serve.
    fn drop_old_unready(&mut self, at: usize, now: Instant) {
        let starting = |r: &Rep| matches!(r.phase, Phase::Starting { .. } | Phase::Probing { .. });
        let serves = |r: &Rep| r.phase == Phase::Ready || (starting(r) && r.adopted);
        let slot = &self.slots[at];
        let drop_next = slot.next.as_ref().is_some_and(|r| self.is_old(r));
        let drop_rep = slot.rep.as_ref().is_some_and(|r| self.is_old(r) && !serves(r));
        let slot = &mut self.slots[at];
        let next = if drop_next { slot.next.take() } else { None };
        let rep = if drop_rep { slot.rep.take() } else { None };
        if slot.rep.is_none() {
            slot.rep = slot.next.take();
        }
        for rep in next.into_iter().chain(rep) {
            self.leave(rep, now);
        }
    }

    fn fill_slot(&mut self, at: usize, now: Instant) {
        let slot = &self.slots[at];
        let ordinal = slot.ordinal;
        // One start in flight an ordinal: what is on its way out is awaited. While it only drains, its
        // successor is there already, or has to wait for its port.
        let free = !self.leaving.iter().any(|r| r.id.ordinal == ordinal);
        let due = slot.due(now) && slot.next.is_none();
        match &slot.rep {
            None if due && free => self.start(at, now),
            Some(rep) if rep.phase == Phase::Paused => self.resume(at, now),
            Some(rep) if rep.phase == Phase::Ready && self.is_old(rep) && due && free && self.may_roll(at) => {
                if self.stop_first {
                    if let Some(rep) = self.slots[at].rep.take() {
                        self.leave(rep, now);
                    }
                } else {
                    self.start(at, now);
                }
            }
            _ => {}
        }
    }

    /// One ordinal is rolled at a time, the lowest first: the others serve meanwhile.
    fn may_roll(&self, at: usize) -> bool {
        let busy = |s: &Slot| {
            s.next.is_some()
                || s.rep.as_ref().is_none_or(|r| matches!(r.phase, Phase::Starting { .. } | Phase::Probing { .. }))
        };
        !self.slots.iter().enumerate().any(|(i, s)| i != at && busy(s) && s.retry_at.is_none())
    }

    fn start(&mut self, at: usize, now: Instant) {
        if !self.prepared {
            self.ask_to_prepare(now);
            return;
        }
        let generation = self.next_generation;
        self.next_generation += 1;
        let id = ReplicaId { ordinal: self.slots[at].ordinal, generation };
        let rep = Rep {
            id,
            spec: self.spec.clone(),
            digest: self.digest.clone(),
            addresses: Addresses::default(),
            phase: Phase::Starting { until: now + self.policy.start_timeout },
            since: now,
            started: now,
            running: None,
            ready: None,
            watch: Watch::default(),
            problem: None,
            pulled: false,
            adopted: false,
            resumed: false,
            unwanted: false,
            unwell: false,
            passed: None,
        };
        self.tell_replica(id, "is started");
        let slot = &mut self.slots[at];
        slot.retry_at = None;
        if slot.rep.is_none() {
            slot.rep = Some(rep);
        } else {
            slot.next = Some(rep);
        }
    }

    fn resume(&mut self, at: usize, now: Instant) {
        let until = now + RESUME;
        if let Some(rep) = self.slots[at].rep.as_mut() {
            rep.resumed = true;
            rep.started = now;
            rep.running = None;
            rep.enter(Phase::Starting { until }, now);
            let id = rep.id;
            self.tell_replica(id, "is resumed");
        }
    }

    /// On its way out: what serves, or may serve for the router before this one, is drained first;
    /// everything else goes at once.
    pub(super) fn leave(&mut self, mut rep: Rep, now: Instant) {
        self.effects.push(Effect::Unprobe(rep.id));
        let may_serve = rep.adopted && matches!(rep.phase, Phase::Probing { .. });
        if may_serve || matches!(rep.phase, Phase::Ready | Phase::Unready { .. }) {
            rep.enter(Phase::Draining { until: now + self.policy.drain_timeout, drained: false }, now);
            self.retire.push(rep.id);
            self.leaving.push(rep);
        } else if matches!(rep.phase, Phase::Draining { drained: false, .. }) {
            self.leaving.push(rep);
        } else {
            self.stop(rep, now);
        }
    }

    /// No longer wanted, whatever it is doing.
    pub(super) fn stop(&mut self, mut rep: Rep, now: Instant) {
        self.effects.push(Effect::Unprobe(rep.id));
        if !rep.adopted && !self.applied.iter().any(|(id, _)| *id == rep.id) {
            // The backend was never told of it, and will not tell of its end.
            return;
        }
        rep.enter(Phase::Stopping { until: now + self.policy.stop_grace + super::STOP_MARGIN }, now);
        self.leaving.push(rep);
    }

    /// The successor passed its probe: it takes the slot, and the old one leaves.
    pub(super) fn succeed(&mut self, at: usize, now: Instant) {
        let slot = &mut self.slots[at];
        let Some(next) = slot.next.take() else { return };
        let old = slot.rep.replace(next);
        slot.backoff.ports_fit();
        slot.last_failure = None;
        if let Some(old) = old {
            self.tell_replica(old.id, "is replaced");
            self.leave(old, now);
        }
    }

    /// A replica of this slot failed; the slot's next start waits.
    pub(super) fn slot_failed(&mut self, at: usize, rep: &Rep, failure: &Failure, now: Instant) {
        let port_clash = failure.kind == FailureKind::PortTaken && !self.abilities.shared_ports;
        let slot = &mut self.slots[at];
        slot.last_failure = Some(failure.detail.clone());
        if port_clash && !self.stop_first && slot.rep.is_some() {
            // The successor wants the port that its predecessor still has.
            self.stop_first = true;
            slot.retry_at = None;
            return;
        }
        if port_clash && slot.backoff.port_clashed() {
            slot.retry_at = None;
            self.tell_replica(rep.id, "is started again on other ports");
            return;
        }
        if rep.resumed && rep.ready.is_none_or(|at| at < rep.started) {
            // It would not resume: that says nothing about a fresh one.
            slot.retry_at = None;
            return;
        }
        let wait = match rep.ready_for(now) {
            Some(ready) => slot.backoff.lost(ready, failure.permanent),
            None => slot.backoff.start_failed(failure.permanent),
        };
        slot.retry_at = (!wait.is_zero()).then(|| now + wait);
        if matches!(self.state, State::Ready | State::Starting) && !wait.is_zero() {
            self.tell_replica(rep.id, format!("failed; the next start is in {} s", wait.as_secs()));
        }
    }
}
