//! Freezing and resuming, and what comes of it.

use std::time::Instant;

use super::rep::Phase;
use super::{Effect, Machine, RESUME, State};
use crate::backend::{Failure, FailureKind, ReplicaId};

impl Machine {
    pub(super) fn paused(&mut self, id: ReplicaId, now: Instant) {
        let wanted_frozen = matches!(self.state, State::Stopping | State::Off);
        let Some(rep) = self.rep_mut(id) else { return };
        match rep.phase {
            Phase::Pausing { .. } => rep.enter(Phase::Paused, now),
            Phase::Probing { .. } | Phase::Ready | Phase::Unready { .. } if !wanted_frozen => {
                // Somebody froze it behind our back: what is wanted is said again.
                rep.resumed = true;
                rep.started = now;
                rep.enter(Phase::Starting { until: now + RESUME }, now);
                self.apply_again = true;
                self.effects.push(Effect::Unprobe(id));
                self.tell_replica(id, "was paused from outside, and is resumed");
            }
            _ => {}
        }
    }

    /// It could not be frozen or resumed. One that is to be resumed is replaced; one that is to be frozen
    /// serves on if somebody has come to want it, and is stopped if not.
    pub(super) fn stuck(&mut self, id: ReplicaId, why: &str, now: Instant) {
        let wanted = self.wanted() && !matches!(self.state, State::Draining { .. });
        let until = now + self.policy.start_timeout;
        let Some(rep) = self.rep_mut(id) else { return };
        match rep.phase {
            Phase::Pausing { .. } if wanted => {
                rep.started = now;
                rep.enter(Phase::Probing { until }, now);
                let (addresses, spec) = (rep.addresses.clone(), rep.spec.clone());
                self.effects.push(Effect::Probe { id, addresses, spec });
                self.tell_replica(id, format!("cannot be paused, and serves on: {why}"));
                if matches!(self.state, State::Stopping) {
                    self.begin(now);
                }
            }
            Phase::Pausing { .. } => self.not_frozen(id, why, now),
            Phase::Starting { .. } if rep.resumed => self.give_up(id, failure("resumed, and is replaced", why), now),
            _ => {}
        }
    }

    /// It cannot be frozen: then it is off as one that never freezes is.
    pub(super) fn not_frozen(&mut self, id: ReplicaId, why: &str, now: Instant) {
        let Some((rep, slot)) = self.take(id) else { return };
        let failure = failure("paused, and is stopped", why);
        self.tell_replica(id, failure.detail.clone());
        if let Some(at) = slot {
            self.slots[at].last_failure = Some(failure.detail.clone());
        }
        self.note_failure(failure);
        self.stop(rep, now);
    }
}

fn failure(what: &str, why: &str) -> Failure {
    Failure {
        kind: FailureKind::Backend,
        public: "The service could not be paused or resumed.".to_owned(),
        detail: format!("it cannot be {what}: {why}"),
        log_tail: Vec::new(),
        permanent: false,
    }
}
