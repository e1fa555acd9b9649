//! What the leader does: it marks what is idle everywhere, commits what is closed everywhere, and has it
//! scaled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::object::{Mark, Marks, Phase, Report};
use super::super::view::Known;
use super::{Core, Output, Scaled, Slot, Told, When, Write};
use crate::landscape::ServiceKey;
use crate::lifecycle::consent::{Stand, Token};

/// While many services are scaled, it is told so often which of them have been.
const TIDY: Duration = Duration::from_secs(1);

/// What it remembers; nothing that a next leader needs.
#[derive(Debug, Default)]
pub(super) struct Leader {
    /// The marks as it has seen them, and since when they are so.
    since: BTreeMap<ServiceKey, (Mark, Instant)>,
    /// Not marked before.
    respite: BTreeMap<ServiceKey, Instant>,
    /// When services are marked again.
    next: Option<Instant>,
    /// When it is told again what has been scaled, if more is to come.
    tidy: Option<Instant>,
    scaling: BTreeMap<ServiceKey, (Token, Scaling)>,
    pub(super) burying: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scaling {
    Running,
    Ended(Scaled),
    RetryAt(Instant),
}

impl Leader {
    pub fn scaled(&mut self, key: &ServiceKey, token: Token, scaled: Scaled, retry: Instant) {
        if let Some((_, state)) = self.scaling.get_mut(key).filter(|(t, _)| *t == token) {
            *state = match scaled {
                Scaled::Failed => Scaling::RetryAt(retry),
                ended => Scaling::Ended(ended),
            };
        }
    }
}

impl Core {
    /// The other routers whose Leases have not run out, and what they say.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&str, &Known)> {
        self.view.items().filter_map(|known| {
            let identity = self.names.identity(&known.item.name)?;
            (identity != &*self.identity && !self.view.has_run_out(known)).then_some((identity, known))
        })
    }

    /// What the marks should be, by what is known now.
    pub(super) fn lead(&mut self, marks: &mut Marks, now: Instant) {
        self.look_at_marks(now);
        let reports: Vec<Arc<Report>> = self.peers().map(|(_, known)| known.report().clone()).collect();
        self.get_on(marks, &reports, now);
        self.mark_idle(marks, &reports, now);
    }

    fn look_at_marks(&mut self, now: Instant) {
        let (marks, leader, timing) = (&self.marks.1, &mut self.leader, &self.timing);
        leader.respite.retain(|_, until| *until > now);
        leader.since.retain(|key, (mark, _)| {
            let stays = marks.contains_key(key);
            if !stays && mark.phase == Phase::Draining {
                // Somebody wants it. Who that is has told the others by the next time.
                leader.respite.insert(key.clone(), now + timing.respite);
            }
            stays
        });
        for (key, mark) in marks {
            let known = leader.since.entry(key.clone()).or_insert_with(|| (mark.clone(), now));
            if known.0 != *mark {
                *known = (mark.clone(), now);
            }
        }
        leader.scaling.retain(|key, (token, _)| marks.get(key).is_some_and(|m| m.token == *token));
    }

    /// One step for each mark.
    fn get_on(&mut self, marks: &mut Marks, reports: &[Arc<Report>], now: Instant) {
        let seen = self.marks_are_seen();
        let mut over = Vec::new();
        let more = self.leader.scaling.values().any(|(_, state)| *state == Scaling::Running);
        let tidy = !more || self.leader.tidy.is_none_or(|at| now >= at);
        for (key, mark) in marks.iter_mut() {
            let age = self.leader.since.get(key).map(|(_, at)| now.saturating_duration_since(*at));
            let age = age.unwrap_or_default();
            match mark.phase {
                Phase::Draining => {
                    let here = self.services.get(key);
                    let closed_here = here.is_some_and(|l| {
                        l.closed && !l.wanted && matches!(&l.told, Told::Closed(told) if told.token == mark.token)
                    });
                    let everywhere = reports.iter().all(|r| r.closed.get(key) == Some(&mark.token));
                    if seen && closed_here && everywhere {
                        mark.phase = Phase::Committed;
                    } else if age >= self.timing.patience * if mark.force { 5 } else { 1 } {
                        over.push(key.clone());
                    }
                }
                Phase::Committed => match self.leader.scaling.get(key) {
                    Some((_, Scaling::Ended(Scaled::Done))) if tidy => {
                        mark.phase = Phase::Off;
                        self.leader.tidy = Some(now + TIDY);
                    }
                    Some((_, Scaling::Ended(Scaled::Overruled))) => {
                        self.leader.respite.insert(key.clone(), now + self.timing.respite);
                        over.push(key.clone());
                    }
                    _ => {}
                },
                Phase::Off if age >= self.timing.memory => over.push(key.clone()),
                Phase::Off => {}
            }
        }
        for key in over {
            marks.remove(&key);
        }
    }

    fn mark_idle(&mut self, marks: &mut Marks, reports: &[Arc<Report>], now: Instant) {
        if self.leader.next.is_some_and(|at| now < at) {
            return;
        }
        let mut count = 0;
        for (key, local) in &self.services {
            let free = marks.get(key).is_none_or(|m| m.phase == Phase::Off);
            let idle = local.stand == Stand::Idle || reports.iter().any(|r| r.idle.contains(key));
            let busy = local.stand == Stand::Busy || reports.iter().any(|r| r.busy.contains(key));
            if !free || !idle || busy || self.leader.respite.contains_key(key) || count == self.timing.batch {
                continue;
            }
            count += 1;
            let token = self.random.u64(1..);
            marks.insert(key.clone(), Mark { token, phase: Phase::Draining, force: false });
        }
        if count > 0 {
            self.leader.next = Some(now + self.timing.renew);
        }
    }

    /// Has scaled what is committed.
    pub(super) fn carry_out(&mut self, now: Instant) {
        if !self.is_leader(now) {
            return;
        }
        for (key, mark) in self.marks.1.iter().filter(|(_, mark)| mark.phase == Phase::Committed) {
            let due = match self.leader.scaling.get(key) {
                Some((token, state)) if *token == mark.token => match state {
                    Scaling::RetryAt(at) => now >= *at,
                    Scaling::Running | Scaling::Ended(_) => false,
                },
                _ => true,
            };
            if due {
                self.leader.scaling.insert(key.clone(), (mark.token, Scaling::Running));
                self.outputs.push(Output::ScaleDown(key.clone(), mark.token));
            }
        }
    }

    /// Deletes the Lease of a router that is long gone.
    pub(super) fn bury(&mut self, now: Instant) {
        if self.leader.burying || !self.is_leader(now) {
            return;
        }
        let long = self.timing.lease * 20;
        let dead = self.view.items().find(|k| {
            self.names.identity(&k.item.name).is_some_and(|i| i != &*self.identity)
                && self.view.has_run_out_for(k, long)
        });
        let Some(dead) = dead else { return };
        let (name, when) = (dead.item.name.clone(), When::Version(dead.item.version));
        self.leader.burying = true;
        self.outputs.push(Output::Write(Write { slot: Slot::Dead, name, when, content: None }));
    }
}
