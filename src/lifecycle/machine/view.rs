//! The machine as others may see it.

use std::time::{Instant, SystemTime};

use super::rep::{Phase, Slot};
use super::{Machine, State, Waker};
use crate::backend::ReplicaId;
use crate::config::settings::Mode;
use crate::lifecycle::status::{ReplicaSnapshot, ReplicaState, Snapshot, StateName, Why};

impl Machine {
    /// The service's state.
    pub fn state(&self) -> StateName {
        self.state.name()
    }

    /// For the status; `since` is when the state was entered, by the wall clock.
    pub(in crate::lifecycle) fn snapshot(&self, since: SystemTime, failed_at: Option<SystemTime>) -> Snapshot {
        let mut replicas: Vec<ReplicaSnapshot> = Vec::new();
        for slot in &self.slots {
            replicas.extend(slot.reps().map(|r| ReplicaSnapshot {
                id: r.id,
                state: r.state(),
                address: r.addresses.of(r.spec.primary_port).map(|door| door.address),
                outdated: self.is_old(r),
                since: r.since,
                retry_at: slot.retry_at,
                last_failure: r.problem.clone().filter(|_| r.phase != Phase::Ready).or(slot.last_failure.clone()),
            }));
            replicas.extend(self.waiting(slot));
        }
        replicas.extend(self.leaving.iter().map(|r| ReplicaSnapshot {
            id: r.id,
            state: r.state(),
            address: r.addresses.of(r.spec.primary_port).map(|door| door.address),
            outdated: self.is_old(r),
            since: r.since,
            retry_at: None,
            last_failure: r.problem.clone(),
        }));
        replicas.sort_by_key(|r| r.id);
        Snapshot {
            state: self.state.name(),
            paused: matches!(self.state, State::Off) && self.is_paused(),
            since: (self.since, since),
            mode: self.policy.mode,
            backend: self.policy.backend,
            why: self.why(),
            replicas,
            wanted_replicas: self.count(),
            outside_replicas: self.scaled,
            rolling: matches!(self.state, State::Ready) && self.slots.iter().any(|s| self.is_outdated(s)),
            last_failure: self.last_failure.clone().zip(failed_at),
            retry_at: match self.state {
                State::Failed { until } => Some(until),
                _ => None,
            },
            progress: self.progress.clone(),
            unknown: self.engine_lost.clone().or_else(|| self.unheard()),
            not_runnable: self.runnable.clone().err(),
            idle: (matches!(self.state, State::Ready) && !self.wanted_anyway())
                .then_some((self.policy.idle_after, self.idle_base)),
        }
    }

    /// An ordinal whose next start waits.
    fn waiting(&self, slot: &Slot) -> Option<ReplicaSnapshot> {
        let retry_at = slot.retry_at.filter(|_| slot.rep.is_none())?;
        Some(ReplicaSnapshot {
            id: ReplicaId { ordinal: slot.ordinal, generation: self.next_generation },
            state: ReplicaState::Waiting,
            address: None,
            outdated: false,
            since: self.since,
            retry_at: Some(retry_at),
            last_failure: slot.last_failure.clone(),
        })
    }

    fn why(&self) -> Vec<Why> {
        let mut why = Vec::new();
        let mut add = |holds: bool, reason: Why| {
            if holds {
                why.push(reason);
            }
        };
        add(self.demand, Why::Demand);
        add(self.policy.mode == Mode::AlwaysOn && !self.slept, Why::AlwaysOn);
        add(self.pinned, Why::Pinned);
        add(self.woken == Some(Waker::Operator), Why::Operator);
        add(self.woken == Some(Waker::Outside), Why::Outside);
        add(self.landscape && !self.slept, Why::Landscape);
        add(!self.needed_by.is_empty() && !self.slept, Why::NeededBy { services: self.needed_by.clone() });
        why
    }

    /// Seconds since the state was entered, for records.
    pub fn in_state_since(&self) -> Instant {
        self.since
    }
}
