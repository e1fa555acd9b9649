//! Who leads: the usual election by a Lease. Nothing depends on there being one leader at a time; it only
//! saves work.

use std::time::Instant;

use super::super::object::Content;
use super::{Core, Output, Slot, Timing, Trouble, When, Write};

/// See the module's words.
#[derive(Debug)]
pub(super) struct Election {
    /// The version of the Lease that we hold, and when the write that made it was sent.
    held: Option<(u64, Instant)>,
    /// A write is under way since.
    writing: Option<Instant>,
    next: Instant,
    /// It is being given up. What was under way when the end began is not that: it is waited for.
    released: bool,
}

impl Election {
    pub fn new(now: Instant) -> Self {
        Self { held: None, writing: None, next: now, released: false }
    }

    pub fn is_won(&self, now: Instant, timing: &Timing) -> bool {
        self.held.is_some_and(|(_, sent)| now < sent + timing.lease - timing.margin)
    }

    pub fn is_over(&self) -> bool {
        self.writing.is_none() && (self.released || self.held.is_none())
    }
}

impl Core {
    pub(super) fn election_wrote(&mut self, result: Result<u64, Trouble>, now: Instant) {
        let Some(sent) = self.election.writing.take() else { return };
        match result {
            Ok(_) if self.election.released => {}
            Ok(version) => {
                self.view.wrote(version, sent);
                if self.election.held.is_none() {
                    // What an earlier leader did, or we when we led before, is looked at afresh.
                    self.leader = Default::default();
                }
                self.election.held = Some((version, sent));
                self.election.next = sent + self.timing.renew;
            }
            Err(trouble) => {
                if trouble == Trouble::Conflict {
                    self.election.held = None;
                }
                self.election.next = now + self.timing.retry;
            }
        }
    }

    pub(super) fn stand_for_election(&mut self, now: Instant) {
        let known = self.view.get(&self.names.leader);
        let mine = |holder: &Option<String>| holder.as_deref() == Some(&*self.identity);
        if let (Some((version, _)), Some(known)) = (self.election.held, known)
            && known.item.version > version
            && !mine(&known.item.content.holder)
        {
            self.election.held = None;
        }
        if self.election.writing.is_some() || now < self.election.next || !self.has_joined() {
            return;
        }
        let when = match known {
            _ if let Some((version, _)) = self.election.held => When::Version(version),
            None => When::Absent,
            Some(known) => {
                let free = known.item.content.holder.as_deref().is_none_or(str::is_empty);
                // Ours from before a restart, or by a write of which nobody could tell what became of it.
                if !free && !mine(&known.item.content.holder) && !self.view.has_run_out(known) {
                    return;
                }
                When::Version(known.item.version)
            }
        };
        self.write_leader(when, Some(self.identity.to_string()), now);
    }

    fn write_leader(&mut self, when: When, holder: Option<String>, now: Instant) {
        self.election.writing = Some(now);
        let content = Content { holder, duration: self.timing.lease, note: None };
        let name = self.names.leader.clone();
        self.outputs.push(Output::Write(Write { slot: Slot::Leader, name, when, content: Some(content) }));
    }

    /// The router ends: another one may lead at once.
    pub(super) fn leave(&mut self, now: Instant) {
        if let Some((version, _)) = self.election.held
            && self.election.writing.is_none()
            && !self.election.released
        {
            self.election.released = true;
            self.write_leader(When::Version(version), None, now);
        }
    }
}
