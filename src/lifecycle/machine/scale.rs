//! Somebody other than the router sets how many replicas there are: a person, an autoscaler.
//!
//! Whoever did that has done it already: replicas that are too many are being ended, whatever is wanted
//! here. So what is wanted has that many ordinals at once, and never some number on the way there, which a
//! backend would have to take for a wish and set against theirs.

use std::time::Instant;

use super::rep::{Phase, Rep, Slot};
use super::{Drain, Ending, Facts, Machine, State, Waker};
use crate::config::settings::{Mode, Policy};
use crate::landscape::ServiceSpec;

/// More than this is taken for this: each replica has its place in memory here.
pub(super) const MOST: u32 = 10_000;

impl Machine {
    /// How many replicas there should be while it is awake.
    pub(super) fn count(&self) -> u32 {
        self.scaled.unwrap_or(self.spec.replicas).max(1)
    }

    /// What somebody else has set the number of replicas to, at least one, as far as that is known before
    /// [`super::Event::Adopted`], which it holds for. Nothing is started or stopped for it.
    pub fn expect(&mut self, replicas: u32, now: Instant) {
        self.resize(replicas.max(1), now);
    }

    pub(super) fn scaled(&mut self, replicas: u32, now: Instant, facts: &Facts) {
        match replicas {
            0 if self.emptied(now) => {}
            0 => self.scaled_away(now, facts),
            n => {
                self.populated();
                self.scaled_to(n, now);
            }
        }
    }

    /// There are so many from now on, which is all that happens to what is awake; anything else wakes.
    fn scaled_to(&mut self, replicas: u32, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        self.resize(replicas, now);
        if self.runnable.is_err() || matches!(self.state, State::Starting | State::Ready) {
            return;
        }
        self.slept = false;
        self.woken.get_or_insert(Waker::Outside);
        self.try_now(now);
    }

    /// Off now, as after an operator's `sleep`, but nothing is waited for: every replica is being ended. What
    /// always runs and what requests wait for is started again.
    fn scaled_away(&mut self, now: Instant, facts: &Facts) {
        if self.ending == Some(Ending::Leave) {
            return;
        }
        self.woken = None;
        self.demand = facts.held > 0 && self.runnable.is_ok() && self.ending.is_none();
        if !self.demand && !self.pinned && self.policy.mode != Mode::AlwaysOn {
            self.slept = true;
        }
        self.stop_paused(now);
        self.lose(0, now);
        match self.state {
            State::Starting | State::Ready | State::Draining { why: Drain::Idle, .. } => {
                self.drain(Drain::Outside, now);
            }
            State::Preparing if !self.wanted() => self.go(State::Off, now),
            // Nothing runs, or it is ended already and need not be waited for any more.
            _ => {}
        }
    }

    /// Somebody else wants so many, at least one.
    fn resize(&mut self, replicas: u32, now: Instant) {
        self.scaled = Some(replicas.min(MOST)).filter(|n| *n != self.spec.replicas);
        self.lose(self.count(), now);
        self.fit_slots(now);
    }

    /// What somebody else set holds until the number of replicas is configured anew, or the service stands
    /// for another workload. What else changes is no word about the number.
    pub(super) fn forget_scale(&mut self, spec: &ServiceSpec, policy: &Policy) {
        if spec.replicas != self.spec.replicas || policy.attach != self.policy.attach {
            self.scaled = None;
        }
    }

    /// Replicas of this ordinal and above are being ended by somebody else: they get no more requests and
    /// are no longer wanted. What is in flight on them has the time that they have.
    fn lose(&mut self, from: u32, now: Instant) {
        let lost = self.slots.iter_mut().skip(from as usize);
        let mut lost: Vec<Rep> = lost.flat_map(|s: &mut Slot| s.rep.take().into_iter().chain(s.next.take())).collect();
        let gone = |r: &mut Rep| r.id.ordinal >= from && !matches!(r.phase, Phase::Stopping { .. });
        lost.extend(self.leaving.extract_if(.., gone));
        for rep in lost {
            if rep.goal().is_some() {
                self.retire.push(rep.id);
            }
            self.stop(rep, now);
        }
    }
}
