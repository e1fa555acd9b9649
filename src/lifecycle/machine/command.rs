//! What operators, the configuration, other services and held requests ask for.

use std::sync::Arc;
use std::time::Instant;

use super::rep::Phase;
use super::{Config, Drain, Effect, Ending, Machine, State, Waker};
use crate::backend::Failure;
use crate::config::settings::{Mode, WhenIdle};
use crate::lifecycle::service::Refusal;

impl Machine {
    /// A request waits.
    pub(super) fn demanded(&mut self, now: Instant) {
        if self.runnable.is_err() || self.ending.is_some() {
            // The gate is shut and has answered it.
            return;
        }
        match self.state {
            State::Failed { until } if now < until => self.refuse(until, now),
            // It came while a replica became ready, or after the last one became suspect.
            State::Ready => self.effects.push(Effect::Release),
            _ => {
                self.slept = false;
                self.demand = true;
            }
        }
    }

    pub(super) fn derived(&mut self, landscape: bool, needed_by: Vec<Arc<str>>) {
        let rises = (landscape && !self.landscape) || needed_by.iter().any(|s| !self.needed_by.contains(s));
        if rises {
            self.slept = false;
        }
        self.landscape = landscape;
        self.needed_by = needed_by;
    }

    pub(super) fn preparation_ended(&mut self, result: Result<(), Failure>, now: Instant) {
        self.preparing = false;
        self.progress = None;
        match result {
            Ok(()) => {
                self.prepared = true;
                self.prepare_backoff = Default::default();
                self.prepare_at = None;
            }
            Err(failure) => {
                let wait = self.prepare_backoff.start_failed(failure.permanent);
                self.prepare_at = Some(now + wait);
                self.note_failure(failure);
                if matches!(self.state, State::Preparing) {
                    self.fail(now);
                }
            }
        }
    }

    pub(super) fn configure(&mut self, config: Config, now: Instant) {
        let digest = config.spec.run_digest();
        let changed = digest != self.digest || config.runnable != self.runnable;
        let again =
            changed || *config.spec != *self.spec || *config.policy != *self.policy || config.prepared != self.prepared;
        if config.policy.mode != self.policy.mode {
            self.slept = false;
        }
        self.forget_scale(&config.spec, &config.policy);
        self.spec = config.spec;
        self.digest = digest;
        if *config.policy != *self.policy {
            self.effects.push(Effect::Bounds(config.policy.clone()));
        }
        self.policy = config.policy;
        self.prepared = config.prepared;
        if again {
            // A change of its configuration clears what earlier failures made it wait for, and is tried.
            self.pardon(now);
            self.demand |= matches!(self.state, State::Failed { .. });
        } else if self.last_failure.as_ref().is_some_and(|f| f.permanent) {
            // What could not work may work now: a registry's password is no part of the service's own
            // configuration.
            self.pardon(now);
        }
        self.fit_slots(now);
        self.look_at = None;
        self.set_runnable(config.runnable, now);
        if matches!(self.state, State::Off) && (self.policy.when_idle == WhenIdle::Stop || changed) {
            self.stop_paused(now);
        }
        if matches!(self.state, State::Preparing) && !self.prepared && !self.preparing {
            self.ask_to_prepare(now);
        }
    }

    fn set_runnable(&mut self, runnable: Result<(), String>, now: Instant) {
        match (self.runnable.is_ok(), runnable.is_ok()) {
            (true, false) => {
                self.shut(Refusal::NotRunnable);
                self.demand = false;
                self.woken = None;
                match self.state {
                    State::Preparing => self.go(State::Off, now),
                    State::Off => self.stop_paused(now),
                    State::Draining { why: Drain::Idle, .. } | State::Starting | State::Ready => {
                        self.drain(Drain::NotRunnable, now);
                    }
                    _ => {}
                }
            }
            (false, true) => self.effects.push(Effect::Shut(None)),
            _ => {}
        }
        self.runnable = runnable;
    }

    pub(super) fn pardon(&mut self, now: Instant) {
        for slot in &mut self.slots {
            slot.pardon();
        }
        self.prepare_backoff = Default::default();
        self.prepare_at = None;
        if let State::Failed { until } = &mut self.state {
            *until = now;
        }
    }

    pub(super) fn sleep(&mut self, now: Instant) {
        if self.pinned || self.ending.is_some() {
            return;
        }
        if self.is_shared() {
            return self.sleep_everywhere(now);
        }
        self.put_to_sleep();
        match self.state {
            State::Starting | State::Ready => self.drain(Drain::Sleep, now),
            State::Preparing => self.go(State::Off, now),
            State::Failed { .. } => self.put_down(false, now),
            State::Off | State::Draining { .. } | State::Stopping | State::Gone => {}
        }
    }

    /// An operator wants it awake; this counts as one use.
    pub(super) fn wake(&mut self, now: Instant) {
        self.slept = false;
        if matches!(self.state, State::Ready) {
            self.idle_base = Some(now);
            self.look_at = None;
            return;
        }
        self.woken = Some(Waker::Operator);
        self.try_now(now);
    }

    /// What has failed is tried now; the waits after further failures go on growing.
    pub(super) fn try_now(&mut self, now: Instant) {
        if let State::Failed { until } = &mut self.state {
            *until = now;
            self.prepare_at = None;
            for slot in &mut self.slots {
                slot.retry_at = None;
            }
        }
    }

    /// Every replica is replaced: where one serves, after its successor is ready.
    pub(super) fn restart(&mut self, now: Instant) {
        self.pardon(now);
        for rep in self.slots.iter_mut().flat_map(|s| s.reps_mut()) {
            rep.unwanted = true;
            rep.adopted = false;
        }
        if matches!(self.state, State::Off) {
            self.stop_paused(now);
        }
        self.wake(now);
    }

    pub(super) fn pin(&mut self, pinned: bool, now: Instant) {
        self.pinned = pinned;
        if pinned {
            self.slept = false;
        } else {
            self.look_at = None;
        }
        if pinned && matches!(self.state, State::Failed { .. }) {
            self.wake(now);
        }
    }

    /// Frozen replicas are ended.
    pub(super) fn stop_paused(&mut self, now: Instant) {
        if matches!(self.state, State::Off) && self.is_paused() {
            self.put_down(false, now);
        }
    }

    pub(super) fn end(&mut self, ending: Ending, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(ending);
        self.demand = false;
        self.woken = None;
        self.shut(if ending == Ending::Removed { Refusal::Removed } else { Refusal::ShuttingDown });
        match self.state {
            // What is being stopped or is off already ends by itself.
            State::Off | State::Stopping if ending != Ending::Leave => {}
            State::Failed { .. } if ending != Ending::Leave => self.put_down(false, now),
            State::Off | State::Stopping | State::Failed { .. } => self.finish(now),
            _ => self.drain(Drain::Ending, now),
        }
    }

    /// Whether replicas may still be there when nobody wants them: for the bound on frozen memory.
    pub fn paused_memory(&self) -> Option<(Instant, u64)> {
        let frozen = self.slots.iter().flat_map(|s| s.reps()).filter(|r| matches!(r.phase, Phase::Paused));
        let bytes: u64 = frozen.map(|r| r.spec.plan.memory).sum();
        self.paused_at.filter(|_| bytes > 0).map(|at| (at, bytes))
    }

    /// The mode, for records.
    pub fn is_always_on(&self) -> bool {
        self.policy.mode == Mode::AlwaysOn
    }
}
