//! What an earlier router left running.

use std::time::Instant;

use super::rep::{Phase, Rep};
use super::{Drain, Effect, Machine, State};
use crate::backend::{Found, Goal};
use crate::lifecycle::events::Cause;
use crate::probe::schedule::Watch;

impl Machine {
    /// Takes over what was found: the newest of each wanted ordinal is probed and then serves, or stays
    /// frozen. One that it was about to replace serves until it is ready itself. Everything else leaves.
    /// Nothing is started.
    pub(super) fn adopt(&mut self, mut found: Vec<Found>, now: Instant) {
        found.sort_by_key(|f| std::cmp::Reverse(f.id));
        for f in &found {
            self.next_generation = self.next_generation.max(f.id.generation + 1);
        }
        for f in found {
            let rep = Rep {
                id: f.id,
                spec: self.spec.clone(),
                digest: f.digest,
                addresses: f.addresses,
                phase: Phase::Paused,
                since: now,
                started: now,
                running: Some(now),
                ready: None,
                watch: Watch::default(),
                problem: None,
                pulled: false,
                adopted: true,
                resumed: false,
                unwanted: false,
                unwell: false,
                passed: None,
            };
            self.adopt_one(rep, f.goal, now);
        }
        // What is there is said to be wanted even if that is nothing: the backend clears the rest.
        self.apply_again = true;
        let runs = self.slots.iter().flat_map(|s| s.reps()).any(|r| matches!(r.phase, Phase::Probing { .. }));
        if runs {
            self.cause = Cause::Adopted;
            self.idle_base = Some(now);
            self.go(State::Starting, now);
            if self.slept && !self.wanted() {
                self.drain(Drain::Sleep, now);
            }
        } else if self.is_paused() {
            self.paused_at = Some(now);
        } else if !self.leaving.is_empty() {
            self.go(State::Stopping, now);
        }
    }

    fn adopt_one(&mut self, mut rep: Rep, goal: Option<Goal>, now: Instant) {
        let Some(goal) = goal else {
            // Its ordinal is free when it is gone, and not before.
            self.tell_replica(rep.id, "was found on its way out");
            return self.stop(rep, now);
        };
        let old = self.is_old(&rep);
        let runnable = self.runnable.is_ok();
        let slot = self.slots.get_mut(rep.id.ordinal as usize).filter(|_| runnable);
        let probing = |r: &Rep| matches!(r.phase, Phase::Probing { .. });
        let slot = match (slot, goal) {
            (Some(slot), _) if slot.rep.is_none() && (goal == Goal::Run || !old) => slot,
            (Some(slot), Goal::Run) if slot.next.is_none() && slot.rep.as_ref().is_some_and(probing) => slot,
            _ => {
                self.tell_replica(rep.id, "was found and is not wanted any more");
                return self.stop(rep, now);
            }
        };
        if goal == Goal::Run {
            rep.enter(Phase::Probing { until: now + self.policy.start_timeout }, now);
            self.effects.push(Effect::Probe { id: rep.id, addresses: rep.addresses.clone(), spec: rep.spec.clone() });
        }
        let id = rep.id;
        // The newest came first.
        slot.next = slot.rep.replace(rep);
        self.tell_replica(id, "was found and is kept");
    }
}
