//! A service that several routers share: it is switched off by consent of all of them.
//!
//! It never goes from ready to draining by itself. It says whether it may be switched off, closes its
//! replicas when it is told to and nothing is in flight, and says so. Then its replicas are gone when
//! somebody has set their number to nothing; or it is told that it may open them again.

use std::time::{Duration, Instant};

use super::rep::{Phase, Rep, Slot};
use super::{Drain, Effect, Facts, Machine, State};
use crate::lifecycle::consent::{Order, Stand, Token, Word};
use crate::lifecycle::events::Cause;
use crate::lifecycle::service::Refusal;

/// That a service was scaled to nothing is seen so much later than it is told, at most.
const SEEN: Duration = Duration::from_secs(10);

/// What a shared service has said and was told.
#[derive(Debug)]
pub(super) struct Share {
    stand: Stand,
    gate: Gate,
    /// The number of its replicas is 0, as far as is known.
    empty: bool,
}

/// Whether it may lease and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Nothing has been told yet: neither.
    Unknown,
    Open,
    /// Told to close, which it does not: it is wanted, and has said so.
    Refused,
    /// Told to close: neither.
    Shut {
        token: Token,
        force: bool,
        said: Said,
    },
    /// Scaled to nothing; neither, until that is seen.
    Off {
        until: Instant,
    },
}

/// What was answered to the order to close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Closed,
    /// That it is wanted again.
    Wanted,
}

impl Machine {
    /// This service's replicas are other routers', too.
    pub fn shared(mut self) -> Self {
        self.share = Some(Share { stand: Stand::Away, gate: Gate::Unknown, empty: true });
        self
    }

    pub(super) fn is_shared(&self) -> bool {
        self.share.is_some()
    }

    /// Whether it may lease and start.
    pub(super) fn is_free(&self) -> bool {
        self.share.as_ref().is_none_or(|s| matches!(s.gate, Gate::Open | Gate::Refused))
    }

    /// Why it neither leases nor starts, if that is because nothing is known of the other routers.
    pub(super) fn unheard(&self) -> Option<String> {
        let unheard = self.share.as_ref().is_some_and(|s| s.gate == Gate::Unknown);
        unheard.then(|| "it is not known yet what the other routers do: their Leases have not been read".to_owned())
    }

    /// Whether it has told that it may be switched off.
    pub(super) fn offers_sleep(&self) -> bool {
        self.share.as_ref().is_some_and(|s| s.stand == Stand::Idle)
    }

    pub(super) fn ordered(&mut self, order: Order, now: Instant, facts: &Facts) {
        if self.share.is_none() {
            return;
        }
        match order {
            Order::Close { token, force, sleep } => self.close_for(token, force, sleep, now, facts),
            Order::Open => {
                self.gate(Gate::Open);
                self.reopen(now);
            }
            Order::Off if self.is_shut() => self.gate(Gate::Off { until: now + SEEN }),
            Order::Off => {
                self.gate(Gate::Open);
                if let Some(share) = &mut self.share {
                    share.empty = true;
                }
            }
        }
    }

    fn gate(&mut self, gate: Gate) {
        if let Some(share) = &mut self.share {
            share.gate = gate;
        }
    }

    fn say(&mut self, word: Word) {
        self.effects.push(Effect::Say(word));
    }

    /// Its replicas are closed, or being closed, for the others' sake.
    fn is_shut(&self) -> bool {
        matches!(self.state, State::Draining { why: Drain::Shared, .. })
    }

    fn close_for(&mut self, token: Token, force: bool, sleep: bool, now: Instant, facts: &Facts) {
        let shut = |said| Gate::Shut { token, force, said };
        let refuse = self.pinned || (!force && self.is_in_use(now, facts));
        if refuse {
            // What serves goes on; what does not waits until the mark is gone: it may be committed by somebody
            // who did not know of this router yet.
            self.gate(if self.is_free() { Gate::Refused } else { shut(Said::Wanted) });
            return self.say(Word::Wanted(token));
        }
        if sleep {
            self.put_to_sleep();
        }
        let drains = self.all_reps().any(|r| matches!(r.phase, Phase::Draining { drained: false, .. }));
        self.gate(shut(Said::Nothing));
        match self.state {
            // For an earlier mark, of whose end nothing was heard.
            State::Draining { why: Drain::Shared, .. } => {
                self.gate(Gate::Shut { token, force: force || drains, said: Said::Nothing });
                if !drains {
                    self.has_closed(token, force);
                }
            }
            State::Starting | State::Ready if force => self.drain(Drain::Shared, now),
            State::Starting | State::Ready => {
                self.go(State::Draining { why: Drain::Shared, until: now + self.policy.drain_timeout }, now);
                self.closing = true;
            }
            State::Preparing => self.go(State::Off, now),
            _ => {}
        }
    }

    fn is_in_use(&self, now: Instant, facts: &Facts) -> bool {
        let busy = facts.in_flight > 0 || facts.held > 0 || self.wanted();
        busy || (matches!(self.state, State::Ready) && !self.is_idle(now, facts))
    }

    /// Off for an operator: only a new reason wakes it.
    pub(super) fn put_to_sleep(&mut self) {
        self.slept = true;
        self.demand = false;
        self.woken = None;
        self.effects.push(Effect::Refuse(Refusal::Failed {
            public: "The service was put to sleep.".to_owned(),
            retry_after: Duration::from_secs(1),
        }));
    }

    /// An operator wants it off: everywhere, so all have to be asked.
    pub(super) fn sleep_everywhere(&mut self, now: Instant) {
        self.put_to_sleep();
        match self.state {
            State::Preparing => self.go(State::Off, now),
            State::Off | State::Stopping | State::Gone => {}
            _ => self.say(Word::Sleep),
        }
    }

    /// The answer to [`Effect::CloseIfIdle`] for the others' sake.
    pub(super) fn closed_for_all(&mut self, all: bool, now: Instant, facts: &Facts) {
        let Some(Gate::Shut { token, force, .. }) = self.share.as_ref().map(|s| s.gate) else { return };
        if all && facts.held == 0 && !self.wanted() && self.is_idle(now, facts) {
            self.has_closed(token, force);
        } else {
            // Somebody was faster. What is closed already is opened anew: nobody has been told.
            self.gate(Gate::Refused);
            self.say(Word::Wanted(token));
            self.reopen(now);
        }
    }

    /// What is closed for the others' sake serves again, at once where it can.
    fn reopen(&mut self, now: Instant) {
        if !self.is_shut() {
            return;
        }
        let until = now + self.policy.start_timeout;
        let mut probe = Vec::new();
        for rep in self.slots.iter_mut().flat_map(|s| s.reps_mut()) {
            if matches!(rep.phase, Phase::Draining { .. }) {
                rep.enter(Phase::Probing { until }, now);
                probe.push(Effect::Probe { id: rep.id, addresses: rep.addresses.clone(), spec: rep.spec.clone() });
            }
        }
        self.effects.extend(probe);
        self.retire.clear();
        self.publish_again = true;
        if self.has_ready() {
            return self.become_ready(now);
        }
        let next = match () {
            () if self.slots.iter().any(|s| s.reps().next().is_some()) => State::Starting,
            () => State::Off,
        };
        self.go(next, now);
    }

    /// One round of what follows from the gate.
    pub(super) fn step_share(&mut self, now: Instant, facts: &Facts) {
        let Some(share) = &self.share else { return };
        match share.gate {
            Gate::Shut { token, force, said: Said::Nothing } => self.step_closing(token, force, now, facts),
            // It is wanted again. An operator's sleep comes to its end first.
            Gate::Shut { token, force: force @ false, said: Said::Closed } if self.wanted() => {
                self.gate(Gate::Shut { token, force, said: Said::Wanted });
                self.say(Word::Wanted(token));
            }
            Gate::Off { until } if !self.is_shut() || now >= until => {
                self.gate(Gate::Open);
                self.vanish(now);
                // It was not seen: somebody may have woken it in the same moment, and that is all that was.
                self.populated();
            }
            _ => {}
        }
    }

    fn step_closing(&mut self, token: Token, force: bool, now: Instant, facts: &Facts) {
        let over = match self.state {
            State::Draining { why: Drain::Shared, .. } if !force => return,
            State::Draining { why: Drain::Shared, until } => {
                let waits = |r: &Rep| matches!(r.phase, Phase::Draining { drained: false, .. });
                now >= until || !self.all_reps().any(waits)
            }
            _ => facts.in_flight == 0 || force,
        };
        if over {
            self.has_closed(token, force);
        }
    }

    fn has_closed(&mut self, token: Token, force: bool) {
        self.gate(Gate::Shut { token, force, said: Said::Closed });
        self.say(Word::Closed(token));
    }

    /// When [`Machine::step_share`] has to look again.
    pub(super) fn share_deadline(&self) -> Option<Instant> {
        match (self.share.as_ref()?.gate, &self.state) {
            (Gate::Off { until }, _) => Some(until),
            (Gate::Shut { force: true, said: Said::Nothing, .. }, State::Draining { until, .. }) => Some(*until),
            _ => None,
        }
    }

    /// The number of its replicas was set to nothing. True if it was closed for that.
    pub(super) fn emptied(&mut self, now: Instant) -> bool {
        let Some(share) = &mut self.share else { return false };
        share.empty = true;
        if !self.is_shut() {
            return false;
        }
        match self.share.as_ref().map(|s| s.gate) {
            Some(Gate::Off { .. }) => self.gate(Gate::Open),
            Some(Gate::Shut { token, force, said: Said::Nothing }) => self.has_closed(token, force),
            _ => {}
        }
        self.vanish(now);
        true
    }

    /// Some of its replicas may be there.
    pub(super) fn populated(&mut self) {
        if let Some(share) = &mut self.share {
            share.empty = false;
        }
    }

    /// Its replicas are being ended by agreement. Nothing is in flight on them, and nobody waits for them.
    fn vanish(&mut self, now: Instant) {
        if !self.is_shut() {
            return;
        }
        let reps: Vec<Rep> =
            self.slots.iter_mut().flat_map(|s: &mut Slot| s.rep.take().into_iter().chain(s.next.take())).collect();
        for rep in reps.into_iter().chain(std::mem::take(&mut self.leaving)) {
            self.effects.push(Effect::Unprobe(rep.id));
            self.effects.push(Effect::Forget(rep.id));
        }
        self.retire.clear();
        if let Some(share) = &mut self.share {
            share.empty = true;
        }
        self.count_stop(if self.slept { Cause::Operator } else { Cause::Idle }, false);
        self.go(State::Off, now);
    }

    /// Tells how it stands, if that has changed.
    pub(super) fn tell_stand(&mut self, now: Instant, facts: &Facts) {
        let Some(share) = &self.share else { return };
        let wanted = self.wanted();
        let stand = match self.state {
            State::Preparing | State::Starting => Stand::Busy,
            State::Ready if wanted || !self.is_idle(now, facts) => Stand::Busy,
            State::Ready => Stand::Idle,
            _ if wanted => Stand::Busy,
            // What it said last is still being read, and would go with its replicas.
            _ if !self.unexplained.is_empty() => Stand::Busy,
            State::Draining { why: Drain::Shared, .. } => Stand::Idle,
            // Nothing serves; if there is anything all the same, nobody here minds its end.
            _ if share.empty => Stand::Away,
            _ => Stand::Idle,
        };
        let applied = !self.applied.is_empty();
        if let Some(share) = &mut self.share {
            share.empty &= !applied;
            if std::mem::replace(&mut share.stand, stand) != stand {
                self.say(Word::Stand(stand));
            }
        }
    }
}
