//! What backends and probes say, applied to what is known.

use std::time::Instant;

use super::rep::{Phase, Rep};
use super::{Effect, Facts, Machine, PULL, SUSPECT, State};
use crate::backend::{Addresses, Failure, FailureKind, Progress, ReplicaId, Seen};
use crate::lifecycle::events::What;
use crate::probe::schedule::Verdict;

/// Where a replica is kept.
#[derive(Clone, Copy)]
enum Place {
    /// `rep` of this slot.
    Slot(usize),
    /// `next` of this slot.
    Next(usize),
    Leaving(usize),
}

impl Machine {
    fn place(&self, id: ReplicaId) -> Option<Place> {
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.rep.as_ref().is_some_and(|r| r.id == id) {
                return Some(Place::Slot(at));
            }
            if slot.next.as_ref().is_some_and(|r| r.id == id) {
                return Some(Place::Next(at));
            }
        }
        self.leaving.iter().position(|r| r.id == id).map(Place::Leaving)
    }

    pub(super) fn rep_mut(&mut self, id: ReplicaId) -> Option<&mut Rep> {
        let slots = self.slots.iter_mut().flat_map(|s| s.reps_mut());
        slots.chain(&mut self.leaving).find(|r| r.id == id)
    }

    /// Takes a replica out of wherever it is, with its slot if it has one.
    pub(super) fn take(&mut self, id: ReplicaId) -> Option<(Rep, Option<usize>)> {
        match self.place(id)? {
            Place::Slot(at) => {
                let slot = &mut self.slots[at];
                let rep = slot.rep.take()?;
                slot.rep = slot.next.take();
                Some((rep, Some(at)))
            }
            Place::Next(at) => Some((self.slots[at].next.take()?, Some(at))),
            Place::Leaving(at) => Some((self.leaving.remove(at), None)),
        }
    }

    pub(super) fn seen(&mut self, seen: Seen, now: Instant, facts: &Facts) {
        match seen {
            Seen::Progress(id, progress) => self.pulling(id, progress),
            Seen::Running(id, addresses) => self.running(id, addresses, now),
            Seen::Paused(id) => self.paused(id, now),
            Seen::Stuck(id, why) => self.stuck(id, &why, now),
            Seen::Ending(id, failure) => self.ended(id, Some(failure), true, now),
            Seen::Ended(id, failure) => self.ended(id, Some(failure), false, now),
            Seen::Stopped(id) => self.ended(id, None, false, now),
            Seen::Health(id, healthy) => self.engine_health(id, healthy, now),
            Seen::EngineLost(error) => {
                // Another reason is shown; that it is lost was told.
                if self.engine_lost.replace(error.clone()).is_none() {
                    self.tell(What::Engine { lost: Some(error) });
                }
            }
            Seen::EngineBack => self.engine_back(now),
            Seen::Scaled(replicas) => self.scaled(replicas, now, facts),
        }
    }

    fn pulling(&mut self, id: ReplicaId, progress: Progress) {
        if let Some(rep) = self.rep_mut(id)
            && let Phase::Starting { until } | Phase::Probing { until } = &mut rep.phase
        {
            // It has a deadline of its own: pulls wait for one another and move in leaps. One in which
            // nothing moves at all, the backend gives up.
            rep.pulled = true;
            *until = rep.started + PULL;
        }
        self.tell_progress(progress);
    }

    fn running(&mut self, id: ReplicaId, addresses: Addresses, now: Instant) {
        let start_timeout = self.policy.start_timeout;
        let Some(rep) = self.rep_mut(id) else { return };
        let until = match rep.phase {
            Phase::Starting { .. } if std::mem::take(&mut rep.pulled) => now + start_timeout,
            Phase::Starting { until } => until,
            Phase::Probing { until } if rep.addresses != addresses => until,
            Phase::Probing { until: pulled } => {
                // Where it is was known before it ran. It is probed already.
                let until = if std::mem::take(&mut rep.pulled) { now + start_timeout } else { pulled };
                rep.running = Some(now);
                rep.phase = Phase::Probing { until };
                self.progress = None;
                return;
            }
            // It is somewhere else than it was: an engine restarted it.
            Phase::Ready | Phase::Unready { .. } if !same_ports(&rep.addresses, &addresses) => now + start_timeout,
            _ => return,
        };
        rep.running = Some(now);
        rep.addresses = addresses.clone();
        rep.problem = None;
        rep.passed = None;
        rep.enter(Phase::Probing { until }, now);
        let spec = rep.spec.clone();
        self.progress = None;
        self.effects.push(Effect::Probe { id, addresses, spec });
    }

    /// It is gone: by itself with a failure, or as wanted. `early`: more will be told of the failure.
    fn ended(&mut self, id: ReplicaId, failure: Option<Failure>, early: bool, now: Instant) {
        let Some((rep, slot)) = self.take(id) else {
            if let Some(failure) = failure {
                self.explained(id, failure);
            }
            return;
        };
        self.effects.push(Effect::Unprobe(id));
        self.effects.push(Effect::Forget(id));
        let Some(at) = slot else {
            if failure.is_some() {
                // A replica that ended by itself is not listed any more; the backend is told so that it
                // clears what is left of it.
                self.apply_again = true;
            }
            return;
        };
        if matches!(rep.phase, Phase::Pausing { .. } | Phase::Paused | Phase::Draining { .. }) {
            self.tell_replica(id, "ended");
            return;
        }
        let failure = failure.unwrap_or_else(|| Failure {
            kind: FailureKind::Exited,
            public: "The service was stopped.".to_owned(),
            detail: "it was stopped from outside".to_owned(),
            log_tail: Vec::new(),
            permanent: false,
        });
        self.slot_failed(at, &rep, &failure, now);
        if early {
            self.unexplained.push(id);
            self.last_failure = Some(failure);
            self.effects.push(Effect::Failing);
        } else {
            self.tell_replica(id, failure.detail.clone());
            self.note_failure(failure);
        }
    }

    /// All that is known of a failure that was told early.
    fn explained(&mut self, id: ReplicaId, failure: Failure) {
        let Some(at) = self.unexplained.iter().position(|u| *u == id) else { return };
        self.unexplained.swap_remove(at);
        if let Some(said) = self.slots.get_mut(id.ordinal as usize).and_then(|s| s.last_failure.as_mut()) {
            said.clone_from(&failure.detail);
        }
        self.tell_replica(id, failure.detail.clone());
        self.note_failure(failure);
    }

    /// A replica that lives is given up: it is stopped, and replaced after its back-off.
    pub(super) fn give_up(&mut self, id: ReplicaId, failure: Failure, now: Instant) {
        let Some((rep, slot)) = self.take(id) else { return };
        self.tell_replica(id, failure.detail.clone());
        if let Some(at) = slot {
            self.slot_failed(at, &rep, &failure, now);
        }
        self.note_failure(failure);
        self.leave(rep, now);
    }

    /// What the image's own health check says. It counts beside the probe: ready is what passes both.
    fn engine_health(&mut self, id: ReplicaId, healthy: bool, now: Instant) {
        let Some(rep) = self.rep_mut(id) else { return };
        rep.unwell = !healthy;
        if healthy {
            if let Some(addresses) = rep.passed.take() {
                self.tell_replica(id, "is healthy by its own health check");
                self.probe_passed(id, addresses, now);
            }
        } else if rep.phase == Phase::Ready {
            let at = rep.addresses.clone();
            rep.passed_unwell(at, now);
            self.tell_replica(id, "is unhealthy by its own health check");
        }
    }

    fn engine_back(&mut self, now: Instant) {
        if self.engine_lost.take().is_none() {
            return;
        }
        // No deadline ran while nothing could be seen.
        let (start, stop) = (self.policy.start_timeout, self.policy.stop_grace + super::STOP_MARGIN);
        for rep in self.slots.iter_mut().flat_map(|s| s.reps_mut()).chain(&mut self.leaving) {
            match &mut rep.phase {
                Phase::Starting { until } | Phase::Probing { until } => *until = (*until).max(now + start),
                Phase::Stopping { until } | Phase::Pausing { until } => *until = (*until).max(now + stop),
                _ => {}
            }
        }
        // What was tried in vain meanwhile was not the service's fault.
        self.pardon(now);
        self.apply_again = true;
        self.tell(What::Engine { lost: None });
    }

    pub(super) fn probe_passed(&mut self, id: ReplicaId, addresses: Addresses, now: Instant) {
        let Some(place) = self.place(id) else { return };
        let Some(rep) = self.rep_mut(id) else { return };
        if !matches!(rep.phase, Phase::Probing { .. } | Phase::Unready { .. }) {
            return;
        }
        if rep.unwell {
            rep.passed_unwell(addresses, now);
            return;
        }
        rep.addresses = addresses.clone();
        rep.watch = Default::default();
        rep.problem = None;
        rep.ready = Some(now);
        rep.enter(Phase::Ready, now);
        let spec = rep.spec.clone();
        self.effects.push(Effect::Watch { id, addresses, spec });
        self.publish_again = true;
        self.tell_replica(id, "is ready");
        match place {
            Place::Next(at) => self.succeed(at, now),
            Place::Slot(at) => {
                self.slots[at].backoff.ports_fit();
                self.slots[at].last_failure = None;
            }
            Place::Leaving(_) => {}
        }
    }

    pub(super) fn probe_problem(&mut self, id: ReplicaId, problem: String) {
        if let Some(rep) = self.rep_mut(id) {
            rep.problem = Some(problem);
        }
    }

    pub(super) fn probe_taken(&mut self, id: ReplicaId, holder: &str, now: Instant) {
        let Some(rep) = self.rep_mut(id) else { return };
        if !matches!(rep.phase, Phase::Probing { .. } | Phase::Unready { .. }) {
            return;
        }
        let failure = Failure {
            kind: FailureKind::PortTaken,
            public: "The service's port is taken by another program.".to_owned(),
            detail: format!("its port is taken: {holder}"),
            log_tail: Vec::new(),
            permanent: false,
        };
        self.give_up(id, failure, now);
    }

    pub(super) fn checked(&mut self, id: ReplicaId, result: Result<(), String>, answered: bool, now: Instant) {
        let Some(rep) = self.rep_mut(id) else { return };
        if !matches!(rep.phase, Phase::Ready | Phase::Unready { until: None }) {
            return;
        }
        let verdict = rep.watch.note(result.is_ok(), answered);
        rep.problem = result.err();
        let problem = rep.problem.clone().unwrap_or_default();
        match (verdict, rep.phase) {
            (Verdict::Ready, Phase::Unready { .. }) if rep.unwell => {
                let at = rep.addresses.clone();
                rep.passed_unwell(at, now);
                self.tell_replica(id, "answers its probe again, and is unhealthy by its own health check");
            }
            (Verdict::Ready, Phase::Unready { .. }) => {
                rep.enter(Phase::Ready, now);
                self.tell_replica(id, "is ready again");
            }
            (Verdict::Unready, Phase::Ready) => {
                rep.enter(Phase::Unready { until: None }, now);
                self.tell_replica(id, format!("is unready: {problem}"));
            }
            (Verdict::Restart, _) => self.give_up(id, unhealthy(problem), now),
            _ => {}
        }
    }

    pub(super) fn suspect(&mut self, id: ReplicaId, now: Instant) {
        let Some(rep) = self.rep_mut(id) else { return };
        if !matches!(rep.phase, Phase::Ready | Phase::Unready { until: None }) {
            return;
        }
        rep.passed = None;
        rep.enter(Phase::Unready { until: Some(now + SUSPECT) }, now);
        let (addresses, spec) = (rep.addresses.clone(), rep.spec.clone());
        self.effects.push(Effect::Probe { id, addresses, spec });
        self.tell_replica(id, "does not accept connections, and is probed");
    }

    pub(super) fn drained(&mut self, id: ReplicaId, now: Instant) {
        match self.place(id) {
            Some(Place::Leaving(at)) if matches!(self.leaving[at].phase, Phase::Draining { .. }) => {
                let rep = self.leaving.remove(at);
                self.stop(rep, now);
            }
            Some(Place::Slot(_) | Place::Next(_)) => {
                if let Some(rep) = self.rep_mut(id)
                    && let Phase::Draining { drained, .. } = &mut rep.phase
                {
                    *drained = true;
                }
            }
            _ => {}
        }
    }

    /// A deadline of this replica has passed.
    pub(super) fn expired(&mut self, id: ReplicaId, now: Instant) {
        let Some(rep) = self.rep_mut(id) else { return };
        let problem = rep.problem.clone().unwrap_or_else(|| "nothing is known of it".to_owned());
        let after = now.saturating_duration_since(rep.started).as_secs_f64();
        let since = match () {
            () if rep.resumed => "that was asked for",
            () if rep.adopted => "it was found",
            () => "its start",
        };
        match rep.phase {
            Phase::Starting { .. } => {
                let what = if rep.resumed { "resumed" } else { "running" };
                self.give_up(id, late(format!("it was not {what} {after:.1} s after {since}")), now);
            }
            Phase::Probing { .. } => {
                self.give_up(id, late(format!("it was not ready {after:.1} s after {since}: {problem}")), now);
            }
            Phase::Unready { .. } => self.give_up(id, unhealthy(problem), now),
            Phase::Draining { .. } => {
                self.tell_replica(id, "is stopped with requests in flight: the drain timeout has passed");
                self.drained(id, now);
            }
            Phase::Pausing { .. } => self.not_frozen(id, "nothing came of it in time", now),
            Phase::Stopping { .. } => self.unstoppable(id, now),
            Phase::Ready | Phase::Paused => {}
        }
    }

    /// It was told to stop and is not seen to be gone. It is killed, and no longer waited for.
    fn unstoppable(&mut self, id: ReplicaId, now: Instant) {
        if self.take(id).is_none() {
            return;
        }
        self.kill = true;
        self.effects.push(Effect::Forget(id));
        let seconds = (self.policy.stop_grace + super::STOP_MARGIN).as_secs();
        self.note_failure(Failure {
            kind: FailureKind::Unstoppable,
            public: "The service could not be stopped.".to_owned(),
            detail: format!("replica {id} was told to stop and still runs {seconds} s later; it is killed"),
            log_tail: Vec::new(),
            permanent: false,
        });
        if matches!(self.state, State::Stopping) && self.ending.is_none() {
            // What was frozen in the same breath does not stay behind a failure.
            for at in 0..self.slots.len() {
                let slot = &mut self.slots[at];
                slot.retry_at = Some(now + slot.backoff.start_failed(false));
                if let Some(rep) = slot.rep.take() {
                    self.stop(rep, now);
                }
            }
            self.fail(now);
        }
    }
}

fn same_ports(a: &Addresses, b: &Addresses) -> bool {
    // The probe may have found it at the other loopback address.
    let ports = |a: &Addresses| a.ports().iter().map(|(declared, at)| (*declared, at.port())).collect::<Vec<_>>();
    let here = |a: &Addresses| a.ports().iter().all(|(_, at)| at.ip().is_loopback());
    a == b || (ports(a) == ports(b) && here(a) && here(b) && a.seen_as() == b.seen_as())
}

fn late(detail: String) -> Failure {
    Failure {
        kind: FailureKind::Deadline,
        public: "The service did not become ready in time.".to_owned(),
        detail,
        log_tail: Vec::new(),
        permanent: false,
    }
}

fn unhealthy(problem: String) -> Failure {
    Failure {
        kind: FailureKind::Unhealthy,
        public: "The service does not answer its health check.".to_owned(),
        detail: format!("it is replaced because its probes fail: {problem}"),
        log_tail: Vec::new(),
        permanent: false,
    }
}
