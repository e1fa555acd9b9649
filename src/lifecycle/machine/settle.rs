//! From what is known to what follows: the transitions of the service, the deadlines, and the
//! differences that are told.

use std::time::Instant;

use super::rep::{Phase, Rep, Slot};
use super::{ColdStart, Drain, Effect, Ending, Facts, Machine, State, Waker};
use crate::backend::{Want, WantReplica};
use crate::config::settings::WhenIdle;
use crate::lifecycle::events::{Cause, What};
use crate::lifecycle::service::Refusal;

impl Machine {
    pub(super) fn settle(&mut self, now: Instant, facts: &Facts) {
        self.expire(now);
        // Each round takes at most one transition; the table has no longer chain than this.
        for _ in 0..8 {
            let before = std::mem::discriminant(&self.state);
            self.step_share(now, facts);
            self.step(now, facts);
            if std::mem::discriminant(&self.state) == before {
                break;
            }
        }
        self.tell_rotation();
        self.tell_want();
        self.tell_awake(now, facts);
        self.tell_stand(now, facts);
    }

    fn step(&mut self, now: Instant, facts: &Facts) {
        match self.state.clone() {
            State::Off => self.step_off(now),
            State::Preparing => {
                if self.prepared && self.is_free() {
                    self.go(State::Starting, now);
                }
            }
            // What is there is probed, and no more.
            State::Starting if !self.is_free() => {}
            State::Starting => {
                self.fill(now);
                if self.has_ready() {
                    self.become_ready(now);
                } else if !self.has_hope(now) {
                    self.fail(now);
                }
            }
            State::Ready => {
                self.look_at_idleness(now, facts);
                if matches!(self.state, State::Ready) {
                    self.fill(now);
                    if !self.has_ready() {
                        // Requests that come now are held; the replicas that are left or started anew are
                        // waited for.
                        self.go(State::Starting, now);
                    }
                }
            }
            State::Draining { why: Drain::Idle | Drain::Shared, .. } => {}
            State::Draining { why, until } => self.step_draining(why, until, now),
            State::Stopping => {
                let busy = self.all_reps().any(|r| !matches!(r.phase, Phase::Paused));
                if !busy {
                    self.paused_at = self.is_paused().then_some(now);
                    self.go(State::Off, now);
                }
            }
            State::Failed { until } => {
                if self.wanted() && now >= until && self.is_free() {
                    self.begin(now);
                }
            }
            State::Gone => {}
        }
    }

    fn step_off(&mut self, now: Instant) {
        match self.ending {
            Some(Ending::Leave) => return self.finish(now),
            Some(_) if self.all_reps().next().is_none() => return self.finish(now),
            Some(_) => return self.put_down(false, now),
            None => {}
        }
        if self.wanted() && self.is_free() {
            return self.begin(now);
        }
        if self.then_stop_at().is_some_and(|at| now >= at) {
            self.put_down(false, now);
        }
    }

    /// When frozen replicas are ended.
    pub(super) fn then_stop_at(&self) -> Option<Instant> {
        let at = self.paused_at.filter(|_| self.is_paused())?;
        match self.policy.when_idle {
            _ if self.runnable.is_err() => Some(at),
            WhenIdle::Pause => None,
            WhenIdle::PauseThenStop { stop_after } => Some(at + stop_after),
            // It was another policy that froze them.
            WhenIdle::Stop => Some(at),
        }
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.cause = match () {
            () if self.woken == Some(Waker::Operator) || self.pinned => Cause::Operator,
            () if self.woken == Some(Waker::Outside) => Cause::Outside,
            () if self.demand => Cause::Demand,
            () if self.landscape || !self.needed_by.is_empty() => Cause::Landscape,
            () => Cause::Config,
        };
        self.cold = Some(ColdStart { since: now });
        self.idle_base = None;
        // Whatever it had to wait for has been waited for, or was given up with the sleep in between.
        self.prepare_at = None;
        let there = |r: &Rep| matches!(r.phase, Phase::Paused | Phase::Probing { .. }) && !self.is_old(r);
        let there = self.slots.iter().flat_map(Slot::reps).any(there);
        // What is there has been prepared for; what has to be started beside it waits for it in `fill`.
        if self.prepared || there {
            self.go(State::Starting, now);
        } else {
            self.go(State::Preparing, now);
            self.ask_to_prepare(now);
        }
    }

    pub(super) fn ask_to_prepare(&mut self, now: Instant) {
        if !self.preparing && self.prepare_at.is_none_or(|at| at <= now) {
            self.preparing = true;
            self.prepare_at = None;
            self.effects.push(Effect::Prepare);
        }
    }

    pub(super) fn become_ready(&mut self, now: Instant) {
        // Who is awake only for others sleeps as soon as they do; a demand or a wake counts as use.
        if self.demand || self.woken.is_some() {
            self.idle_base = self.idle_base.max(Some(now));
        }
        self.demand = false;
        self.woken = None;
        self.progress = None;
        self.look_at = None;
        self.go(State::Ready, now);
        if let Some(cold) = self.cold.take() {
            let running = self.slots.iter().flat_map(Slot::reps).filter(|r| r.phase == Phase::Ready);
            let running = running.filter_map(|r| r.running).min().unwrap_or(now).max(cold.since);
            self.effects.push(Effect::ColdStart {
                start: running.saturating_duration_since(cold.since),
                probe: now.saturating_duration_since(running),
            });
        }
        if self.counted.is_none() {
            let replicas = self.count();
            self.counted = Some(replicas);
            self.tell(What::Start { replicas, mode: self.mode_name(), cause: self.cause });
        }
    }

    /// Closes the usage record.
    pub(super) fn count_stop(&mut self, cause: Cause, paused: bool) {
        if let Some(replicas) = self.counted.take() {
            self.tell(What::Stop { replicas, mode: self.mode_name(), cause, paused });
        }
    }

    /// The last hope of a start is gone: everything that waits is answered, with the reason.
    pub(super) fn fail(&mut self, now: Instant) {
        // Nothing stays frozen behind a failure.
        for at in 0..self.slots.len() {
            if self.slots[at].rep.as_ref().is_some_and(|r| r.phase == Phase::Paused)
                && let Some(rep) = self.slots[at].rep.take()
            {
                self.stop(rep, now);
            }
        }
        let due = self.slots.iter().filter_map(|s| s.retry_at).chain(self.prepare_at).filter(|at| *at > now);
        let until = due.min().unwrap_or(now);
        self.demand = false;
        self.woken = None;
        self.progress = None;
        if self.cold.take().is_some() {
            self.effects.push(Effect::ColdStartEnded { failed: true });
        }
        self.go(State::Failed { until }, now);
        self.refuse(until, now);
        self.count_stop(Cause::Failure, false);
    }

    pub(super) fn refuse(&mut self, until: Instant, now: Instant) {
        let public = match &self.last_failure {
            Some(failure) => failure.public.clone(),
            None => "The service could not be started.".to_owned(),
        };
        self.effects
            .push(Effect::Refuse(Refusal::Failed { public, retry_after: until.saturating_duration_since(now) }));
    }

    pub(super) fn finish(&mut self, now: Instant) {
        self.go(State::Gone, now);
        self.effects.push(Effect::Done);
    }

    pub(super) fn has_ready(&self) -> bool {
        self.slots.iter().flat_map(Slot::reps).any(|r| r.phase == Phase::Ready)
    }

    /// Whether some replica may become ready without waiting for a back-off.
    fn has_hope(&self, now: Instant) -> bool {
        let startable = self.prepared || self.preparing;
        self.slots.iter().any(|s| s.reps().any(Rep::hopeful) || (startable && s.due(now)))
    }

    /// Deadlines of single replicas that have passed.
    fn expire(&mut self, now: Instant) {
        if self.engine_lost.is_some() {
            return;
        }
        let late = |r: &Rep| r.deadline().is_some_and(|at| at <= now);
        let ids: Vec<_> = self.all_reps().filter(|r| late(r)).map(|r| r.id).collect();
        for id in ids {
            self.expired(id, now);
        }
    }

    fn tell_rotation(&mut self) {
        let serving = matches!(self.state, State::Ready);
        let ready = self.slots.iter().flat_map(Slot::reps).filter(|r| serving && r.phase == Phase::Ready);
        let rotation: Vec<_> = ready.map(|r| (r.id, r.addresses.clone())).collect();
        let again = std::mem::take(&mut self.publish_again);
        if rotation != self.published || again {
            self.published.clone_from(&rotation);
            self.effects.push(Effect::Publish(rotation));
        }
        // Only what is out of rotation is closed.
        for id in std::mem::take(&mut self.retire) {
            self.effects.push(Effect::Retire(id));
        }
        if std::mem::take(&mut self.closing) {
            let ids = self.slots.iter().flat_map(Slot::reps).map(|r| r.id).collect();
            self.effects.push(Effect::CloseIfIdle(ids));
        }
    }

    fn tell_want(&mut self) {
        if self.ending == Some(Ending::Leave) {
            return;
        }
        let (kill, again) = (std::mem::take(&mut self.kill), std::mem::take(&mut self.apply_again));
        let mut wanted: Vec<_> = self.all_reps().filter_map(|r| Some((r, r.goal()?))).collect();
        wanted.sort_by_key(|(r, _)| r.id);
        let now: Vec<_> = wanted.iter().map(|(r, goal)| (r.id, *goal)).collect();
        let number = self.count();
        let same = now == self.applied && (number == self.applied_number || now.is_empty());
        if same && !again && !kill {
            return;
        }
        let replicas =
            wanted.iter().map(|(r, goal)| WantReplica { id: r.id, spec: r.spec.clone(), goal: *goal }).collect();
        let grace = if kill { std::time::Duration::ZERO } else { self.policy.stop_grace };
        self.effects.push(Effect::Apply(Want { service: self.key.clone(), replicas, number, grace }));
        (self.applied, self.applied_number) = (now, number);
    }

    fn tell_awake(&mut self, now: Instant, facts: &Facts) {
        let active = match self.state {
            State::Preparing | State::Starting | State::Ready => true,
            // A crash loop does not make those it depends on go up and down with it.
            State::Failed { .. } => self.wanted_anyway(),
            _ => false,
        };
        let used = matches!(self.state, State::Ready) && !self.is_idle(now, facts);
        let always = !self.slept && self.policy.mode == crate::config::settings::Mode::AlwaysOn;
        let own = self.pinned || always || self.demand || self.woken.is_some() || used;
        if self.awake != (active && own) {
            self.awake = active && own;
            self.effects.push(Effect::Awake(self.awake));
        }
        // What prepares or waits for a port is about to run; requests may be left on what a failure left.
        let up = matches!(self.state, State::Preparing | State::Starting)
            || self.all_reps().any(|r| r.phase != Phase::Paused);
        if self.up != up {
            self.up = up;
            self.effects.push(Effect::Up(up));
        }
        let watch = matches!(self.state, State::Ready) && !self.awake;
        if watch && !self.watching_use {
            self.effects.push(Effect::WatchUse);
        }
        self.watching_use = watch;
    }

    /// When [`super::Event::Tick`] is due.
    pub fn next_deadline(&self, facts: &Facts) -> Option<Instant> {
        let own = match &self.state {
            State::Gone => return None,
            State::Off => self.then_stop_at(),
            State::Ready => self.idle_deadline(facts),
            State::Draining { why: Drain::Shared, .. } => None,
            State::Draining { until, .. } => Some(*until),
            State::Failed { until } if self.wanted() && self.is_free() => Some(*until),
            _ => None,
        };
        let reps = self.all_reps().filter(|_| self.engine_lost.is_none()).filter_map(Rep::deadline);
        let starting = matches!(self.state, State::Starting | State::Ready);
        let retries = self.slots.iter().filter(|s| starting && (s.rep.is_none() || self.is_outdated(s)));
        let retries = retries.filter_map(|s| s.retry_at).chain(self.prepare_at.filter(|_| starting));
        own.into_iter().chain(self.share_deadline()).chain(reps).chain(retries).min()
    }
}
