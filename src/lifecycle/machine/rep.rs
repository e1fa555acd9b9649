//! One replica, and the slot of an ordinal that replicas take one after the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::SUSPECT;
use super::backoff::Backoff;
use crate::backend::{Addresses, Goal, ReplicaId};
use crate::landscape::{RunDigest, ServiceSpec};
use crate::lifecycle::status::ReplicaState;
use crate::probe::Watch;

/// A replica that the backend was told to have.
#[derive(Clone, Debug)]
pub struct Rep {
    pub id: ReplicaId,
    pub spec: Arc<ServiceSpec>,
    pub digest: RunDigest,
    pub addresses: Addresses,
    pub phase: Phase,
    /// When it came into its phase.
    pub since: Instant,
    pub started: Instant,
    pub running: Option<Instant>,
    pub ready: Option<Instant>,
    pub watch: Watch,
    /// Why its probe has not passed yet.
    pub problem: Option<String>,
    /// An image is pulled for it: its start deadline waits for that.
    pub pulled: bool,
    /// Found at the router's start.
    pub adopted: bool,
    /// It was frozen and is being resumed.
    pub resumed: bool,
    /// An operator wants another in its place.
    pub unwanted: bool,
    /// The image's own health check fails.
    pub unwell: bool,
    /// Its probe has passed, at these addresses; its own health check is waited for.
    pub passed: Option<Addresses>,
}

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Applied; the backend has not seen it run yet.
    Starting { until: Instant },
    /// It runs, and its probe has not passed yet.
    Probing { until: Instant },
    /// It may be given requests.
    Ready,
    /// It was ready and its probes or connects fail; at `until` it is replaced.
    Unready { until: Option<Instant> },
    /// Its requests are awaited: it is closed to new ones.
    Draining { until: Instant, drained: bool },
    /// Being frozen.
    Pausing { until: Instant },
    /// Frozen.
    Paused,
    /// No longer listed in what is wanted, and not seen to be gone yet.
    Stopping { until: Instant },
}

impl Rep {
    pub fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    /// Its probe passes, at these addresses, and its own health check does not: it is not ready before that
    /// does too. What is waited for already keeps its deadline.
    pub fn passed_unwell(&mut self, at: Addresses, now: Instant) {
        self.passed = Some(at);
        self.problem = Some("its own health check fails".to_owned());
        if matches!(self.phase, Phase::Ready | Phase::Unready { until: None }) {
            self.enter(Phase::Unready { until: Some(now + SUSPECT) }, now);
        }
    }

    /// What the backend is asked for; `None`: that it goes.
    pub fn goal(&self) -> Option<Goal> {
        match self.phase {
            Phase::Stopping { .. } => None,
            Phase::Pausing { .. } | Phase::Paused => Some(Goal::Pause),
            _ => Some(Goal::Run),
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Starting { until }
            | Phase::Probing { until }
            | Phase::Draining { until, drained: false }
            | Phase::Pausing { until }
            | Phase::Stopping { until } => Some(until),
            Phase::Unready { until } => until,
            Phase::Ready | Phase::Paused | Phase::Draining { drained: true, .. } => None,
        }
    }

    /// Whether it may become ready without being started anew.
    pub fn hopeful(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Probing { .. } | Phase::Ready | Phase::Unready { .. })
    }

    pub fn ready_for(&self, now: Instant) -> Option<Duration> {
        self.ready.map(|at| now.saturating_duration_since(at))
    }

    pub fn state(&self) -> ReplicaState {
        match self.phase {
            Phase::Starting { .. } | Phase::Probing { .. } => ReplicaState::Starting,
            Phase::Ready => ReplicaState::Ready,
            Phase::Unready { .. } => ReplicaState::Unready,
            Phase::Draining { .. } => ReplicaState::Draining,
            Phase::Pausing { .. } => ReplicaState::Pausing,
            Phase::Paused => ReplicaState::Paused,
            Phase::Stopping { .. } => ReplicaState::Stopping,
        }
    }
}

/// An ordinal and who has it.
#[derive(Clone, Debug)]
pub struct Slot {
    pub ordinal: u32,
    pub rep: Option<Rep>,
    /// Its successor while a newer specification is rolled out.
    pub next: Option<Rep>,
    pub backoff: Backoff,
    /// Not started before.
    pub retry_at: Option<Instant>,
    pub last_failure: Option<String>,
}

impl Slot {
    pub fn new(ordinal: u32) -> Self {
        Self { ordinal, rep: None, next: None, backoff: Backoff::default(), retry_at: None, last_failure: None }
    }

    pub fn due(&self, now: Instant) -> bool {
        self.retry_at.is_none_or(|at| at <= now)
    }

    pub fn reps(&self) -> impl Iterator<Item = &Rep> {
        self.rep.iter().chain(&self.next)
    }

    pub fn reps_mut(&mut self) -> impl Iterator<Item = &mut Rep> {
        self.rep.iter_mut().chain(&mut self.next)
    }

    /// Failures are forgotten: the configuration has changed, or an operator insists.
    pub fn pardon(&mut self) {
        self.backoff = Backoff::default();
        self.retry_at = None;
    }
}
