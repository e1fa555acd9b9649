//! What one router says, reads and decides: without IO, and without a clock.
//!
//! [`Core::on`] takes what happened and gives what is to be done. What is safe here is so by four rules:
//!
//! * The marks are changed only where they are as they were last read ([`When::Version`]), whoever does it.
//! * A router that has told that it has closed a service for a token leases nothing of it until the mark
//!   with this token is gone, or the service has been scaled. A mark that it takes away itself is gone with
//!   the successful write. So an old word that arrives late is still true, or of a token that is dead.
//! * A mark is committed by who has read, in one view that includes the mark ([`View`]), that every router
//!   whose Lease has not run out has told so. A router begins with writing its Lease, and leases nothing
//!   before its view includes that: either it sees the mark, or it is seen by who would commit it.
//! * Only a committed mark is carried out, against the very count that was read before the mark was read
//!   once more ([`Output::ScaleDown`]); and nobody wakes a service whose mark is committed.

mod election;
mod lead;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::members::Members;
use super::object::{Content, Mark, Marks, Names, Phase, Report, read_marks, write_marks};
use super::view::{Known, News, View};
use crate::landscape::ServiceKey;
use crate::lifecycle::consent::{Order, Stand, Token, Word};
use election::Election;
use lead::Leader;

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// What a Lease is good for.
    pub lease: Duration,
    /// From one renewal to the next. In between only what a mark asks for is written.
    pub renew: Duration,
    /// A Lease of ours is relied upon for so much less.
    pub margin: Duration,
    /// After a write that failed.
    pub retry: Duration,
    /// A service whose mark was taken away is not marked again for so long.
    pub respite: Duration,
    /// A mark that does not get on is taken away.
    pub patience: Duration,
    /// How long [`Phase::Off`] is kept.
    pub memory: Duration,
    /// Services that are marked in one write.
    pub batch: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew: Duration::from_secs(5),
            margin: Duration::from_secs(2),
            retry: Duration::from_secs(2),
            respite: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            memory: Duration::from_secs(60),
            batch: 500,
        }
    }
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The watch said something.
    News(News),
    /// A write ended: the new version. One that deletes makes 0.
    Wrote(Slot, Result<u64, Trouble>),
    /// A service's life said something.
    Word(ServiceKey, Word),
    /// The answer to [`Output::ScaleDown`].
    Scaled(ServiceKey, Token, Scaled),
    /// The router has served its last request.
    End,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write this. At most one a slot is under way.
    Write(Write),
    /// Tell a service's life.
    Tell(ServiceKey, Order),
    /// Scale to nothing: read the count's version; then read the marks from the API server, and go on only
    /// if this one is still committed; then write, on condition of that version.
    ScaleDown(ServiceKey, Token),
}

/// How [`Output::ScaleDown`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaled {
    /// The count is 0, or there is no such workload.
    Done,
    /// Somebody else has changed the count meanwhile: theirs is respected.
    Overruled,
    /// Try again.
    Failed,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// Our own Lease.
    Own,
    /// The leader's.
    Leader,
    /// The marks.
    Marks,
    /// The Lease of a router that is gone.
    Dead,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Which.
    pub slot: Slot,
    /// The Lease's name.
    pub name: Arc<str>,
    /// On what condition.
    pub when: When,
    /// What it says from then on; `None`: it is deleted.
    pub content: Option<Content>,
}

/// On what condition a write is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// On none: it is made if it is not there.
    Always,
    /// It is not there.
    Absent,
    /// It has this version.
    Version(u64),
}

/// Why a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its condition does not hold.
    Conflict,
    /// It was refused, or nobody knows what became of it.
    Unknown,
}

/// What a service's life was told last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Open,
    Closed(Mark),
    Off,
}

/// One service here.
#[derive(Debug, Default)]
struct Local {
    stand: Stand,
    told: Told,
    /// It has closed for what it was told.
    closed: bool,
    /// It wants the mark that it was told of away.
    wanted: bool,
    /// An operator wants it off.
    sleep: bool,
}

/// Our own Lease.
#[derive(Debug)]
struct Own {
    name: Arc<str>,
    /// A write is under way since.
    writing: Option<Instant>,
    next: Instant,
    /// Something is to be told at once.
    urgent: bool,
    /// When the last write that succeeded was sent.
    renewed: Option<Instant>,
    /// What the first one made.
    first: Option<u64>,
    failures: u64,
    /// It is being deleted.
    leaving: bool,
    gone: bool,
}

/// See the module's words.
#[derive(Debug)]
pub struct Core {
    names: Names,
    identity: Arc<str>,
    timing: Timing,
    view: View,
    own: Own,
    election: Election,
    leader: Leader,
    /// The newest marks that are known, from the watch or from a write of ours, and their version; `None`:
    /// there is no such Lease.
    marks: (Option<u64>, Marks),
    marks_writing: Option<(Instant, Marks)>,
    /// The marks have changed since this version, and the watch has yet to say to what; asked again at
    /// this moment at the latest.
    outdated: Option<(Option<u64>, Instant)>,
    services: BTreeMap<ServiceKey, Local>,
    /// What is being switched off and this router does not know: nobody uses it here, which is told as well.
    strange: BTreeMap<ServiceKey, Token>,
    random: fastrand::Rng,
    ending: bool,
    outputs: Vec<Output>,
}

impl Core {
    /// A router that has told nothing yet. `seed` makes its tokens.
    pub fn new(instance: &str, identity: &str, timing: Timing, seed: u64, now: Instant) -> Self {
        let names = Names::of(instance);
        let own = Own {
            name: names.router(identity),
            writing: None,
            next: now,
            urgent: false,
            renewed: None,
            first: None,
            failures: 0,
            leaving: false,
            gone: false,
        };
        Self {
            names,
            identity: identity.into(),
            timing,
            view: View::default(),
            own,
            election: Election::new(now),
            leader: Leader::default(),
            marks: (None, Marks::new()),
            marks_writing: None,
            outdated: None,
            services: BTreeMap::new(),
            strange: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
            ending: false,
            outputs: Vec::new(),
        }
    }

    /// Takes what happened, and tells what is to be done.
    pub fn on(&mut self, input: Input, now: Instant) -> Vec<Output> {
        match input {
            Input::Tick => {}
            Input::News(news) => {
                self.view.take(news, now);
                self.read_marks();
            }
            Input::Wrote(slot, result) => self.wrote(slot, result, now),
            Input::Word(key, word) => self.hear(key, word),
            Input::Scaled(key, token, scaled) => self.leader.scaled(&key, token, scaled, now + self.timing.retry),
            Input::End => self.ending = true,
        }
        self.settle(now);
        std::mem::take(&mut self.outputs)
    }

    fn settle(&mut self, now: Instant) {
        if self.ending {
            self.leave(now);
        } else {
            self.stand_for_election(now);
            self.edit_marks(now);
            self.tell();
            self.look_at_strangers();
            self.bury(now);
            self.carry_out(now);
        }
        self.write_own(now);
    }

    /// Whether its Lease has been written and its view includes it: see the module's words.
    pub fn has_joined(&self) -> bool {
        self.own.first.is_some_and(|first| self.view.reaches(first))
    }

    /// Whether others may count this router as gone. It serves what it knows nevertheless: as likely as not
    /// it is the API server that is away, and then nothing is switched off at all.
    pub fn is_cut_off(&self, now: Instant) -> bool {
        self.own.renewed.is_none_or(|at| now >= at + self.timing.lease - self.timing.margin)
    }

    /// Whether this router is the one that switches services off.
    pub fn is_leader(&self, now: Instant) -> bool {
        self.election.is_won(now, &self.timing)
    }

    /// Who holds the leader's Lease, as far as is known.
    pub fn leader(&self) -> Option<&str> {
        self.view.get(&self.names.leader)?.item.content.holder.as_deref().filter(|h| !h.is_empty())
    }

    /// Every router whose Lease has not run out, this one too.
    pub fn routers(&self) -> Vec<Arc<str>> {
        let others = self.peers().map(|(identity, _)| identity.into());
        let own = (!self.own.gone).then(|| self.identity.clone());
        let mut all: Vec<Arc<str>> = others.chain(own).collect();
        all.sort();
        all
    }

    /// Which routers there are; `None` where that is not known: before this one has joined, and while others may
    /// count it as gone.
    pub fn members(&self, now: Instant) -> Option<Members> {
        if !self.has_joined() || self.is_cut_off(now) || self.own.gone {
            return None;
        }
        let ran_out = |known: &&Known| self.view.has_run_out(known);
        let dead = self.view.items().filter(ran_out).filter_map(|known| self.names.identity(&known.item.name));
        Some(Members {
            there: self.routers().into_iter().collect(),
            run_out: dead.filter(|identity| *identity != &*self.identity).map(Into::into).collect(),
            complete: self.view.complete()?,
        })
    }

    /// How often its own Lease could not be renewed.
    pub fn failures(&self) -> u64 {
        self.own.failures
    }

    /// Whether it has ended: nothing more comes of it.
    pub fn is_over(&self) -> bool {
        self.ending && self.own.gone && self.election.is_over()
    }

    /// The marks, as far as is known.
    pub fn marks(&self) -> &Marks {
        &self.marks.1
    }

    /// Takes a word whose consequences can wait for the next input: there may be many at once.
    pub fn hear(&mut self, key: ServiceKey, word: Word) {
        if word == Word::Joined {
            self.services.insert(key, Local::default());
            return;
        }
        let Some(local) = self.services.get_mut(&key) else { return };
        let told = match &local.told {
            Told::Closed(mark) => Some(mark.token),
            _ => None,
        };
        match word {
            Word::Stand(stand) => local.stand = stand,
            Word::Closed(token) if told == Some(token) => {
                local.closed = true;
                self.own.urgent = true;
            }
            Word::Wanted(token) if told == Some(token) => local.wanted = true,
            // Of a mark that is gone.
            Word::Closed(_) | Word::Wanted(_) | Word::Joined => {}
            Word::Sleep => local.sleep = true,
            Word::Left => drop(self.services.remove(&key)),
        }
    }

    fn wrote(&mut self, slot: Slot, result: Result<u64, Trouble>, now: Instant) {
        match slot {
            Slot::Own => {
                let Some(sent) = self.own.writing.take() else { return };
                match result {
                    // What cannot be deleted runs out.
                    _ if self.own.leaving => self.own.gone = true,
                    Ok(version) => {
                        self.own.renewed = Some(sent);
                        self.own.first.get_or_insert(version);
                        self.own.next = sent + self.timing.renew;
                        self.view.wrote(version, sent);
                    }
                    Err(_) => {
                        self.own.failures += 1;
                        self.own.next = now + self.timing.retry;
                        self.own.urgent = false;
                    }
                }
            }
            Slot::Leader => self.election_wrote(result, now),
            Slot::Marks => {
                let Some((sent, marks)) = self.marks_writing.take() else { return };
                match result {
                    Ok(version) => {
                        self.view.wrote(version, sent);
                        self.marks = (Some(version), marks);
                        self.read_marks();
                    }
                    Err(_) => self.outdated = Some((self.marks.0, now + self.timing.retry)),
                }
            }
            Slot::Dead => self.leader.burying = false,
        }
    }

    /// What the watch says of the marks, unless a write of ours was later.
    fn read_marks(&mut self) {
        if !self.view.is_there() {
            return;
        }
        match self.view.get(&self.names.marks) {
            Some(known) if Some(known.item.version) > self.marks.0 => {
                self.marks = (Some(known.item.version), read_marks(known.item.content.note.as_deref()));
            }
            // Somebody has deleted it.
            None if self.marks.0.is_some_and(|v| self.view.reaches(v)) => self.marks = (None, Marks::new()),
            _ => {}
        }
    }

    /// What the view says of the marks, if that is the newest that is known.
    fn marks_are_seen(&self) -> bool {
        self.view.get(&self.names.marks).map(|k| k.item.version) == self.marks.0
    }

    /// What requests, operators and the leader want of the marks.
    fn edit_marks(&mut self, now: Instant) {
        let blocked = self.outdated.as_ref().is_some_and(|(version, until)| *version == self.marks.0 && now < *until);
        if self.marks_writing.is_some() || blocked || !self.has_joined() {
            return;
        }
        self.outdated = None;
        let mut new = self.marks.1.clone();
        for (key, local) in &mut self.services {
            let mark = new.get(key);
            if let Told::Closed(told) = &local.told
                && local.wanted
                && mark.is_some_and(|m| m.token == told.token && m.phase == Phase::Draining)
            {
                new.remove(key);
            } else if local.sleep {
                // One that drains already is not waited for in vain: it is another one, that does not ask.
                if mark.is_none_or(|m| m.phase == Phase::Off || (m.phase == Phase::Draining && !m.force)) {
                    let token = self.random.u64(1..);
                    new.insert(key.clone(), Mark { token, phase: Phase::Draining, force: true });
                }
                local.sleep = false;
            }
        }
        if self.is_leader(now) {
            self.lead(&mut new, now);
        }
        if new == self.marks.1 {
            return;
        }
        let when = self.marks.0.map_or(When::Absent, When::Version);
        let content = Content { holder: None, duration: self.timing.lease, note: Some(write_marks(&new)) };
        self.marks_writing = Some((now, new));
        let name = self.names.marks.clone();
        self.outputs.push(Output::Write(Write { slot: Slot::Marks, name, when, content: Some(content) }));
    }

    /// Tells the services what concerns them.
    fn tell(&mut self) {
        if !self.has_joined() {
            return;
        }
        for (key, local) in &mut self.services {
            let order = match (self.marks.1.get(key), &local.told) {
                (None, Told::Open) | (Some(Mark { phase: Phase::Off, .. }), Told::Open | Told::Off) => continue,
                (None, _) | (Some(Mark { phase: Phase::Off, .. }), Told::Nothing) => {
                    local.told = Told::Open;
                    Order::Open
                }
                (Some(Mark { phase: Phase::Off, .. }), Told::Closed(_)) => {
                    local.told = Told::Off;
                    Order::Off
                }
                (Some(mark), Told::Closed(told)) if mark.token == told.token => {
                    local.told = Told::Closed(mark.clone());
                    continue;
                }
                (Some(mark), _) => {
                    local.told = Told::Closed(mark.clone());
                    // One that is committed is not asked for any more.
                    let is_committed = mark.phase == Phase::Committed;
                    let (force, sleep) = (mark.force || is_committed, mark.force && !is_committed);
                    Order::Close { token: mark.token, force, sleep }
                }
            };
            local.closed = false;
            local.wanted = false;
            self.outputs.push(Output::Tell(key.clone(), order));
        }
    }

    /// A service that another router's configuration has and this one's has not, or not yet: should it come,
    /// it is told of the mark before it leases anything.
    fn look_at_strangers(&mut self) {
        let marked = self.marks.1.iter().filter(|(_, mark)| mark.phase == Phase::Draining);
        let strange = marked.filter(|(key, _)| !self.services.contains_key(*key));
        let strange: BTreeMap<_, _> = strange.map(|(key, mark)| (key.clone(), mark.token)).collect();
        self.own.urgent |= strange.iter().any(|(key, token)| self.strange.get(key) != Some(token));
        self.strange = strange;
    }

    fn report(&self) -> Report {
        let mut report = Report { closed: self.strange.clone(), ..Report::default() };
        for (key, local) in &self.services {
            match local.stand {
                Stand::Away => {}
                Stand::Idle => drop(report.idle.insert(key.clone())),
                Stand::Busy => drop(report.busy.insert(key.clone())),
            }
            if let Told::Closed(mark) = &local.told
                && local.closed
            {
                report.closed.insert(key.clone(), mark.token);
            }
        }
        report
    }

    fn write_own(&mut self, now: Instant) {
        let due = now >= self.own.next || self.own.urgent;
        if self.own.writing.is_some() || self.own.gone || !(due || self.ending) {
            return;
        }
        self.own.writing = Some(now);
        self.own.urgent = false;
        self.own.leaving = self.ending;
        let content = (!self.ending).then(|| Content {
            holder: Some(self.identity.to_string()),
            duration: self.timing.lease,
            note: Some(self.report().write()),
        });
        let name = self.own.name.clone();
        self.outputs.push(Output::Write(Write { slot: Slot::Own, name, when: When::Always, content }));
    }
}
