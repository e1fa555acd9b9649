//! The way to sleep: idleness, draining, stopping or freezing.

use std::time::Instant;

use super::rep::Phase;
use super::{Drain, Effect, Ending, Facts, LOOK_AGAIN, Machine, State};
use crate::config::settings::WhenIdle;
use crate::lifecycle::events::Cause;

impl Machine {
    /// When idleness has lasted long enough, counted from the end of the last use; `None`: it was
    /// never used for its own sake.
    fn idle_at(&self, facts: &Facts) -> Option<Instant> {
        self.idle_base.max(facts.last_use).map(|at| at + self.policy.idle_after)
    }

    pub(super) fn is_idle(&self, now: Instant, facts: &Facts) -> bool {
        facts.in_flight == 0 && facts.held == 0 && self.idle_at(facts).is_none_or(|at| now >= at)
    }

    /// When idleness has to be looked at.
    pub(super) fn idle_deadline(&self, facts: &Facts) -> Option<Instant> {
        let always = !self.slept && self.policy.mode == crate::config::settings::Mode::AlwaysOn;
        if self.pinned || always || self.offers_sleep() || (self.wanted_anyway() && !self.awake) {
            return None;
        }
        self.idle_at(facts).max(self.look_at)
    }

    /// In [`State::Ready`]: goes to sleep if nobody wants the service.
    pub(super) fn look_at_idleness(&mut self, now: Instant, facts: &Facts) {
        if !self.has_ready() {
            return;
        }
        if self.is_idle(now, facts) {
            // A shared one is told when to go.
            if !self.is_shared() && !self.wanted() && self.look_at.is_none_or(|at| now >= at) {
                self.look_at = None;
                self.go(State::Draining { why: Drain::Idle, until: now + self.policy.drain_timeout }, now);
                self.closing = true;
            }
        } else if self.idle_at(facts).is_none_or(|at| now >= at) && self.look_at.is_none_or(|at| now >= at) {
            // Only what is in flight keeps it awake. Its end is either use, which counts from then on, or
            // it is not, and then this finds out.
            self.look_at = Some(now + self.policy.idle_after.min(LOOK_AGAIN).max(std::time::Duration::from_millis(10)));
        }
    }

    /// The answer to [`Effect::CloseIfIdle`].
    pub(super) fn closed(&mut self, all: bool, now: Instant, facts: &Facts) {
        match self.state {
            State::Draining { why: Drain::Idle, .. } => {}
            State::Draining { why: Drain::Shared, .. } => return self.closed_for_all(all, now, facts),
            _ => return,
        }
        if all && self.is_idle(now, facts) && !self.wanted() {
            let pause = self.abilities.pause && self.policy.when_idle != WhenIdle::Stop;
            self.put_down(pause, now);
            self.count_stop(Cause::Idle, pause);
        } else {
            // Somebody was faster. What is closed already is opened anew.
            self.publish_again = true;
            self.go(State::Ready, now);
        }
    }

    /// Out of rotation, whatever is in flight: it has until the drain timeout to end.
    pub(super) fn drain(&mut self, why: Drain, now: Instant) {
        let until = now + self.policy.drain_timeout;
        if self.cold.take().is_some() {
            self.effects.push(Effect::ColdStartEnded { failed: false });
        }
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            slot.retry_at = None;
            for rep in slot.rep.take().into_iter().chain(slot.next.take()) {
                match rep.phase {
                    Phase::Ready | Phase::Unready { .. } if self.slots[at].rep.is_none() => {
                        let mut rep = rep;
                        self.effects.push(Effect::Unprobe(rep.id));
                        rep.enter(Phase::Draining { until, drained: false }, now);
                        self.retire.push(rep.id);
                        self.slots[at].rep = Some(rep);
                    }
                    Phase::Draining { .. } => self.slots[at].rep = Some(rep),
                    Phase::Paused | Phase::Pausing { .. } if why == Drain::Sleep => self.slots[at].rep = Some(rep),
                    // Frozen ones are left to the next router as they are.
                    Phase::Paused if self.ending == Some(Ending::Leave) => self.slots[at].rep = Some(rep),
                    _ => self.leave(rep, now),
                }
            }
        }
        self.go(State::Draining { why, until }, now);
    }

    pub(super) fn step_draining(&mut self, why: Drain, until: Instant, now: Instant) {
        let waiting = self.all_reps().any(|r| matches!(r.phase, Phase::Draining { drained: false, .. }));
        if waiting && now < until {
            return;
        }
        if self.ending == Some(Ending::Leave) {
            self.count_stop(Cause::Shutdown, false);
            return self.finish(now);
        }
        let pause =
            why == Drain::Sleep && now < until && self.abilities.pause && self.policy.when_idle != WhenIdle::Stop;
        self.put_down(pause, now);
        let cause = match (why, self.ending) {
            (_, Some(Ending::Removed)) => Cause::Config,
            (_, Some(_)) => Cause::Shutdown,
            (Drain::NotRunnable, None) => Cause::Config,
            (Drain::Outside, None) => Cause::Outside,
            (_, None) => Cause::Operator,
        };
        self.count_stop(cause, pause);
    }

    /// Every replica is frozen or stopped.
    pub(super) fn put_down(&mut self, pause: bool, now: Instant) {
        let until = now + self.policy.stop_grace + super::STOP_MARGIN;
        for at in 0..self.slots.len() {
            self.slots[at].retry_at = None;
            if let Some(next) = self.slots[at].next.take() {
                self.stop(next, now);
            }
            let Some(mut rep) = self.slots[at].rep.take() else { continue };
            let served = matches!(rep.phase, Phase::Ready | Phase::Draining { drained: true, .. });
            if pause && served && !self.is_old(&rep) {
                self.effects.push(Effect::Unprobe(rep.id));
                rep.enter(Phase::Pausing { until }, now);
                self.slots[at].rep = Some(rep);
            } else if pause && matches!(rep.phase, Phase::Paused | Phase::Pausing { .. }) {
                self.slots[at].rep = Some(rep);
            } else {
                self.stop(rep, now);
            }
        }
        self.paused_at = None;
        self.go(State::Stopping, now);
    }
}
