//! A simulated API server, and routers around it, on simulated time: every message may be late, lost or
//! answered by nothing; routers die and are cut off.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::object::{Content, Item, Phase, read_marks};
use super::super::view::News;
use super::{Core, Input, Output, Scaled, Slot, Timing, Trouble, When, Write};
use crate::backend::{Abilities, Addresses, ReplicaId, Seen, Want};
use crate::landscape::ServiceKey;
use crate::lifecycle::consent::{Order, Token, Word};
use crate::lifecycle::fixtures;
use crate::lifecycle::machine::{Config, Effect, Event, Facts, Machine};

pub const IDLE_AFTER: Duration = Duration::from_secs(30);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The longest way of a message, in milliseconds.
    pub delay: u64,
    /// Of a hundred writes, so many whose answer gets lost after they were carried out, and as many that
    /// are not carried out.
    pub lost: u64,
    /// Of a hundred steps of a scaling, so many that take a minute.
    pub stuck: u64,
}

#[derive(Debug, Default)]
struct Store {
    version: u64,
    items: BTreeMap<Arc<str>, Item>,
    /// Of each service: its count, and the version of its last change.
    counts: BTreeMap<ServiceKey, (u32, u64)>,
}

/// One service as one router has it: the real machine, and around it a backend whose pods run at once.
pub struct Svc {
    machine: Machine,
    /// The count as the backend knows it, and its version.
    known: (u32, u64),
    wanted: BTreeSet<ReplicaId>,
    running: BTreeSet<ReplicaId>,
    rotation: Vec<ReplicaId>,
    /// Closed to new requests, until published again.
    closed: BTreeSet<ReplicaId>,
    retired: BTreeSet<ReplicaId>,
    in_flight: BTreeMap<ReplicaId, u32>,
    held: Vec<Duration>,
    used: Option<Instant>,
    watched: bool,
    waking: bool,
    over: bool,
}

impl std::fmt::Debug for Svc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} held {} {:#?}", self.rotation, self.in_flight, self.held.len(), self.machine)
    }
}

impl Svc {
    fn new(key: &ServiceKey, now: Instant, generation: u64, known: (u32, u64)) -> Self {
        let spec = fixtures::spec(&key.service, 1, 0);
        let policy = crate::config::settings::Policy { idle_after: IDLE_AFTER, ..fixtures::policy() };
        let config = Config { spec: Arc::new(spec), policy: Arc::new(policy), runnable: Ok(()), prepared: true };
        let abilities = Abilities { pause: false, local: false, shared_ports: true };
        Self {
            machine: Machine::new(config, abilities, generation, now).shared(),
            known: (0, known.1),
            wanted: BTreeSet::new(),
            running: BTreeSet::new(),
            rotation: Vec::new(),
            closed: BTreeSet::new(),
            retired: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            held: Vec::new(),
            used: None,
            watched: false,
            waking: false,
            over: false,
        }
    }

    fn facts(&self) -> Facts {
        Facts { in_flight: self.in_flight(), held: self.held.len(), last_use: self.used }
    }

    fn in_flight(&self) -> u64 {
        self.in_flight.values().map(|n| u64::from(*n)).sum()
    }

    /// The replica that a request would get now.
    fn free(&self) -> Option<ReplicaId> {
        self.rotation.iter().find(|id| !self.closed.contains(id)).copied().filter(|_| !self.over)
    }
}

pub struct Router {
    pub core: Core,
    pub services: BTreeMap<ServiceKey, Svc>,
    /// On its way here, in order.
    watch: VecDeque<(Instant, News)>,
    scales: VecDeque<(Instant, ServiceKey, u32, u64)>,
    pub cut: bool,
    /// By the store.
    renewed: Option<Instant>,
    /// Its Lease had run out, and was renewed then.
    healed: Option<Instant>,
    life: u64,
    pub ending: bool,
}

#[derive(Debug)]
enum Later {
    /// A write arrives at the store.
    Arrives(Write, bool),
    /// Its answer arrives.
    Answer(Slot, Result<u64, Trouble>),
    ReadCount(ServiceKey, Token),
    ReadMarks(ServiceKey, Token, u64, u32),
    WriteCount(ServiceKey, Token, u64, u32),
    Scaled(ServiceKey, Token, Scaled),
    Wake(ServiceKey),
    RequestEnds(ServiceKey, ReplicaId),
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub routers: BTreeMap<u64, Router>,
    store: Store,
    later: Vec<(Instant, u64, u64, Later)>,
    next: u64,
    pub weather: Weather,
    random: fastrand::Rng,
    pub keys: Vec<ServiceKey>,
    /// Scalings to nothing that were carried out.
    pub downs: BTreeMap<ServiceKey, u32>,
    pub wakes: u32,
    pub writes: BTreeMap<u64, u32>,
    pub served: u32,
    /// Requests that the routers answered themselves.
    pub refused: u32,
    away: bool,
    /// When each service's last mark was made.
    marked: BTreeMap<ServiceKey, (Token, Instant)>,
}

impl World {
    pub fn new(services: usize, weather: Weather, seed: u64) -> Self {
        let now = Instant::now();
        let keys: Vec<_> = (0..services).map(|n| ServiceKey::new("4711", format!("s{n}"))).collect();
        let counts = keys.iter().map(|k| (k.clone(), (0, 0))).collect();
        Self {
            now,
            start: now,
            routers: BTreeMap::new(),
            store: Store { counts, ..Store::default() },
            later: Vec::new(),
            next: 0,
            weather,
            random: fastrand::Rng::with_seed(seed),
            keys,
            downs: BTreeMap::new(),
            wakes: 0,
            writes: BTreeMap::new(),
            served: 0,
            refused: 0,
            away: false,
            marked: BTreeMap::new(),
        }
    }

    /// A router begins.
    pub fn join(&mut self, id: u64) {
        self.next += 1;
        let life = self.next;
        let core = Core::new("lr", &format!("r{id}"), Timing::default(), self.random.u64(..), self.now);
        let router = Router {
            core,
            services: BTreeMap::new(),
            watch: VecDeque::new(),
            scales: VecDeque::new(),
            cut: false,
            renewed: None,
            healed: None,
            life,
            ending: false,
        };
        self.routers.insert(id, router);
        self.relist(id);
        for key in self.keys.clone() {
            self.know(id, &key, true);
        }
    }

    /// A service enters or leaves its configuration.
    pub fn know(&mut self, id: u64, key: &ServiceKey, knows: bool) {
        self.next += 1;
        let (generation, now, (count, version)) = (self.next * 1_000_000, self.now, self.store.counts[key]);
        let Some(r) = self.routers.get_mut(&id).filter(|r| r.services.contains_key(key) != knows) else { return };
        if knows {
            r.services.insert(key.clone(), Svc::new(key, now, generation, (count, version)));
            self.input(id, Input::Word(key.clone(), Word::Joined));
            self.seen_count(id, key, count, version + 1);
        } else {
            r.services.remove(key);
            self.input(id, Input::Word(key.clone(), Word::Left));
        }
    }

    /// It is killed; what it has sent arrives nevertheless.
    pub fn kill(&mut self, id: u64) {
        self.routers.remove(&id);
    }

    /// It ends in order.
    pub fn end(&mut self, id: u64) {
        if let Some(r) = self.routers.get_mut(&id) {
            for svc in r.services.values_mut() {
                (svc.over, svc.rotation, svc.held) = (true, Vec::new(), Vec::new());
                svc.in_flight.clear();
            }
            r.ending = true;
            self.input(id, Input::End);
        }
    }

    pub fn cut(&mut self, id: u64, cut: bool) {
        let Some(r) = self.routers.get_mut(&id) else { return };
        if std::mem::replace(&mut r.cut, cut) && !cut && !self.away {
            self.relist(id);
        }
    }

    /// Nobody reaches the API server.
    pub fn away(&mut self, away: bool) {
        if std::mem::replace(&mut self.away, away) && !away {
            for id in self.routers.keys().copied().collect::<Vec<_>>() {
                self.relist(id);
            }
        }
    }

    fn relist(&mut self, id: u64) {
        let at = self.now + self.delay();
        let items = self.store.items.values().cloned().collect();
        let news = News::Listed { items, version: self.store.version, asked: self.now };
        let counts: Vec<_> = self.store.counts.iter().map(|(k, (n, v))| (at, k.clone(), *n, *v)).collect();
        if let Some(r) = self.routers.get_mut(&id) {
            r.watch.clear();
            r.scales.clear();
            r.watch.push_back((at, news));
            r.scales.extend(counts);
        }
    }

    fn delay(&mut self) -> Duration {
        ms(self.random.u64(1..=self.weather.delay.max(1)))
    }

    fn after(&mut self, wait: Duration, id: u64, what: Later) {
        let life = self.routers.get(&id).map_or(0, |r| r.life);
        self.later.push((self.now + wait, id, life, what));
    }

    /// The routers that are told of what changes.
    fn watching(&self) -> Vec<u64> {
        self.routers.keys().copied().filter(|id| self.reaches(*id)).collect()
    }

    fn reaches(&self, id: u64) -> bool {
        !self.away && self.routers.get(&id).is_some_and(|r| !r.cut)
    }

    pub fn input(&mut self, id: u64, input: Input) {
        let now = self.now;
        let Some(r) = self.routers.get_mut(&id) else { return };
        for output in r.core.on(input, now) {
            match output {
                Output::Write(write) => self.send(id, write),
                Output::Tell(key, order) => self.order(id, &key, order),
                Output::ScaleDown(key, token) => self.step(id, Later::ReadCount(key, token)),
            }
        }
    }

    fn step(&mut self, id: u64, what: Later) {
        let stuck = self.random.u64(..100) < self.weather.stuck;
        let wait = if stuck { Duration::from_secs(60) } else { self.delay() };
        self.after(wait, id, what);
    }

    fn send(&mut self, id: u64, write: Write) {
        *self.writes.entry(id).or_default() += 1;
        let slot = write.slot;
        if !self.reaches(id) {
            return self.after(ms(1000), id, Later::Answer(slot, Err(Trouble::Unknown)));
        }
        let lost = self.random.u64(..100);
        if lost < self.weather.lost {
            return self.after(ms(1000), id, Later::Answer(slot, Err(Trouble::Unknown)));
        }
        let wait = self.delay();
        if lost < 2 * self.weather.lost {
            // It is carried out, late at that, and nobody knows.
            self.after(ms(1000), id, Later::Answer(slot, Err(Trouble::Unknown)));
            return self.after(wait * 3, id, Later::Arrives(write, false));
        }
        self.after(wait, id, Later::Arrives(write, true));
    }

    fn store(&mut self, id: u64, write: &Write) -> Result<u64, Trouble> {
        let there = self.store.items.get(&write.name).map(|i| i.version);
        let holds = match write.when {
            When::Always => true,
            When::Absent => there.is_none(),
            When::Version(version) => there == Some(version),
        };
        if !holds {
            return Err(Trouble::Conflict);
        }
        self.store.version += 1;
        let version = self.store.version;
        let news = match &write.content {
            Some(content) => {
                let item = Item { name: write.name.clone(), version, content: content.clone() };
                self.store.items.insert(write.name.clone(), item.clone());
                News::Changed(item)
            }
            None if there.is_none() => return Ok(0),
            None => {
                self.store.items.remove(&write.name);
                News::Gone { name: write.name.clone(), version }
            }
        };
        if write.slot == Slot::Own
            && let Some(r) = self.routers.get_mut(&id)
        {
            if r.renewed.is_some_and(|at| self.now >= at + Timing::default().lease) {
                r.healed = Some(self.now);
            }
            r.renewed = Some(self.now);
        }
        self.check_marks(&write.content);
        for id in self.watching() {
            let at = self.now + self.delay();
            let Some(r) = self.routers.get_mut(&id) else { continue };
            let at = r.watch.back().map_or(at, |(last, _)| at.max(*last));
            r.watch.push_back((at, news.clone()));
        }
        Ok(version)
    }

    fn check_marks(&mut self, content: &Option<Content>) {
        let Some(content) = content.as_ref().filter(|c| c.holder.is_none()) else { return };
        for (key, mark) in read_marks(content.note.as_deref()) {
            if self.marked.get(&key).is_none_or(|(token, _)| *token != mark.token) {
                self.marked.insert(key.clone(), (mark.token, self.now));
            }
            if mark.phase == Phase::Committed {
                self.nobody_uses(&key);
            }
        }
    }

    /// No router that counts leases it, or has anything of it in flight.
    fn nobody_uses(&self, key: &ServiceKey) {
        for (id, r) in &self.routers {
            // One whose Lease ran out serves on, and is not protected, until the next mark.
            let run_out = r.renewed.is_none_or(|at| self.now >= at + Timing::default().lease);
            let marked = self.marked.get(key).map(|(_, at)| *at);
            if run_out || r.healed.is_some_and(|healed| marked.is_some_and(|at| healed >= at)) {
                continue;
            }
            let Some(svc) = r.services.get(key) else { continue };
            assert!(svc.free().is_none(), "router {id} leases {key} after {:?}: {svc:?}", self.now - self.start);
            // An operator's sleep waits for no longer than the drain timeout.
            let forced = !svc.retired.is_empty();
            assert!(svc.in_flight() == 0 || forced, "router {id} uses {key}: {svc:?}");
        }
    }

    fn happens(&mut self, id: u64, life: u64, what: Later) {
        let alive = self.routers.get(&id).is_some_and(|r| r.life == life);
        match what {
            Later::Arrives(write, answered) => {
                let slot = write.slot;
                let result = self.store(if alive { id } else { u64::MAX }, &write);
                let wait = self.delay();
                if answered && alive {
                    self.after(wait, id, Later::Answer(slot, result));
                }
            }
            Later::WriteCount(key, token, version, before) => {
                // It is on its way, whatever becomes of its sender.
                let (count, current) = self.store.counts[&key];
                if current != version {
                    let overruled = count != before && count != 0;
                    let scaled = if overruled { Scaled::Overruled } else { Scaled::Failed };
                    return self.after(ms(5), id, Later::Scaled(key, token, scaled));
                }
                self.nobody_uses(&key);
                *self.downs.entry(key.clone()).or_default() += 1;
                self.set_count(&key, 0);
                self.after(ms(5), id, Later::Scaled(key, token, Scaled::Done));
            }
            Later::Wake(key) => {
                if self.store.counts[&key].0 == 0 {
                    self.wakes += 1;
                    self.set_count(&key, 1);
                }
            }
            _ if !alive => {}
            Later::Answer(slot, result) => self.input(id, Input::Wrote(slot, result)),
            Later::ReadCount(key, token) => {
                let (count, version) = self.store.counts[&key];
                if !self.reaches(id) {
                    return self.input(id, Input::Scaled(key, token, Scaled::Failed));
                }
                if count == 0 {
                    return self.input(id, Input::Scaled(key, token, Scaled::Done));
                }
                self.step(id, Later::ReadMarks(key, token, version, count));
            }
            Later::ReadMarks(key, token, version, count) => {
                let marks = self.store.items.get("lr-drains").map(|i| read_marks(i.content.note.as_deref()));
                let mark = marks.and_then(|m| m.get(&key).cloned());
                let holds = mark.is_some_and(|m| m.token == token && m.phase == Phase::Committed);
                if !holds || !self.reaches(id) {
                    return self.input(id, Input::Scaled(key, token, Scaled::Failed));
                }
                self.step(id, Later::WriteCount(key, token, version, count));
            }
            Later::Scaled(key, token, scaled) => self.input(id, Input::Scaled(key, token, scaled)),
            Later::RequestEnds(key, replica) => {
                let now = self.now;
                let Some(svc) = self.svc(id, &key) else { return };
                let Some(n) = svc.in_flight.get_mut(&replica).filter(|n| **n > 0) else { return };
                *n -= 1;
                svc.used = Some(now);
                let drained = *n == 0 && svc.retired.contains(&replica);
                self.served += 1;
                if drained {
                    self.tell(id, &key, Event::Drained(replica));
                }
            }
        }
    }

    fn set_count(&mut self, key: &ServiceKey, count: u32) {
        self.store.version += 1;
        let version = self.store.version;
        self.store.counts.insert(key.clone(), (count, version));
        for id in self.watching() {
            let at = self.now + self.delay();
            let Some(r) = self.routers.get_mut(&id) else { continue };
            let at = r.scales.back().map_or(at, |(last, ..)| at.max(*last));
            r.scales.push_back((at, key.clone(), count, version));
        }
    }

    /// Somebody else sets the count.
    pub fn scale_from_outside(&mut self, key: &ServiceKey, count: u32) {
        self.set_count(key, count);
    }

    fn svc(&mut self, id: u64, key: &ServiceKey) -> Option<&mut Svc> {
        self.routers.get_mut(&id)?.services.get_mut(key)
    }

    fn order(&mut self, id: u64, key: &ServiceKey, order: Order) {
        self.tell(id, key, Event::Ordered(order));
    }

    /// Gives a machine an event, and carries out what it says.
    pub fn tell(&mut self, id: u64, key: &ServiceKey, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.now;
            let Some(svc) = self.svc(id, key).filter(|s| !s.over) else { return };
            let facts = svc.facts();
            for effect in svc.machine.on(event, now, &facts) {
                self.carry_out(id, key, effect, &mut events);
            }
        }
    }

    fn carry_out(&mut self, id: u64, key: &ServiceKey, effect: Effect, events: &mut VecDeque<Event>) {
        let Some(svc) = self.svc(id, key) else { return };
        match effect {
            Effect::Apply(want) => self.apply(id, key, want, events),
            Effect::Publish(rotation) => {
                svc.rotation = rotation.into_iter().map(|(id, _)| id).collect();
                for id in svc.rotation.clone() {
                    assert!(svc.running.contains(&id), "in rotation without running");
                    svc.closed.remove(&id);
                    svc.retired.remove(&id);
                }
                self.release(id, key);
            }
            Effect::Release => self.release(id, key),
            Effect::CloseIfIdle(ids) => {
                assert!(svc.rotation.is_empty(), "closed while in rotation");
                let all = ids.iter().all(|id| svc.in_flight.get(id).is_none_or(|n| *n == 0));
                if all {
                    svc.closed.extend(ids);
                }
                events.push_back(Event::Closed(all));
            }
            Effect::Retire(replica) => {
                svc.closed.insert(replica);
                svc.retired.insert(replica);
                if svc.in_flight.get(&replica).is_none_or(|n| *n == 0) {
                    events.push_back(Event::Drained(replica));
                }
            }
            Effect::Forget(replica) => {
                svc.running.remove(&replica);
                svc.retired.remove(&replica);
            }
            Effect::Probe { id: replica, addresses, .. } => {
                events.push_back(Event::ProbePassed(replica, addresses));
            }
            Effect::Refuse(_) | Effect::Shut(Some(_)) => self.refused += std::mem::take(&mut svc.held).len() as u32,
            Effect::WatchUse => svc.watched = true,
            Effect::Say(word) => self.input(id, Input::Word(key.clone(), word)),
            _ => {}
        }
    }

    /// The backend: it writes a count only to wake.
    fn apply(&mut self, id: u64, key: &ServiceKey, want: Want, events: &mut VecDeque<Event>) {
        let Some(svc) = self.svc(id, key) else { return };
        let wanted: BTreeSet<ReplicaId> = want.replicas.iter().map(|w| w.id).collect();
        let gone: Vec<_> = svc.wanted.difference(&wanted).copied().collect();
        svc.wanted = wanted;
        events.extend(gone.into_iter().map(|id| Event::Seen(Seen::Stopped(id))));
        self.run(id, key, events);
        self.wake(id, key);
    }

    fn run(&mut self, id: u64, key: &ServiceKey, events: &mut VecDeque<Event>) {
        let Some(svc) = self.svc(id, key).filter(|s| s.known.0 > 0) else { return };
        for id in svc.wanted.clone() {
            if svc.running.insert(id) {
                events.push_back(Event::Seen(Seen::Running(id, addresses(id))));
            }
        }
    }

    fn wake(&mut self, id: u64, key: &ServiceKey) {
        let reaches = self.reaches(id);
        let Some(svc) = self.svc(id, key) else { return };
        if reaches && svc.known.0 == 0 && !svc.wanted.is_empty() && !svc.waking {
            svc.waking = true;
            let wait = self.delay();
            self.after(wait, id, Later::Wake(key.clone()));
        }
    }

    fn release(&mut self, id: u64, key: &ServiceKey) {
        while let Some(svc) = self.svc(id, key)
            && let Some(replica) = svc.free()
            && let Some(takes) = svc.held.pop()
        {
            *svc.in_flight.entry(replica).or_default() += 1;
            self.after(takes, id, Later::RequestEnds(key.clone(), replica));
        }
    }

    fn seen_count(&mut self, id: u64, key: &ServiceKey, count: u32, version: u64) {
        let Some(svc) = self.svc(id, key) else { return };
        if version <= svc.known.1 {
            return;
        }
        let before = std::mem::replace(&mut svc.known, (count, version)).0;
        let ours = std::mem::take(&mut svc.waking) && count > 0;
        if before != count && !ours {
            if count == 0 {
                // What was in flight is broken off; what was closed well has nothing in flight.
                svc.in_flight.clear();
            }
            let running = svc.running.clone();
            self.tell(id, key, Event::Seen(Seen::Scaled(count)));
            for replica in running.into_iter().filter(|_| count == 0) {
                let Some(svc) = self.svc(id, key) else { return };
                if svc.running.remove(&replica) {
                    self.tell(id, key, Event::Seen(Seen::Ended(replica, fixtures::exited())));
                }
            }
        }
        let mut events = VecDeque::new();
        self.run(id, key, &mut events);
        for event in events {
            self.tell(id, key, event);
        }
        self.wake(id, key);
    }

    /// A request at this router.
    pub fn request(&mut self, id: u64, key: &ServiceKey, takes: Duration) {
        let Some(svc) = self.svc(id, key).filter(|s| !s.over) else { return };
        svc.held.push(takes);
        if svc.free().is_some() {
            let used = std::mem::take(&mut svc.watched);
            self.release(id, key);
            if used {
                self.tell(id, key, Event::Used);
            }
        } else {
            self.tell(id, key, Event::Demand);
        }
    }

    pub fn sleep(&mut self, id: u64, key: &ServiceKey) {
        if self.svc(id, key).is_some_and(|s| !s.machine.is_pinned()) {
            self.tell(id, key, Event::Sleep);
        }
    }

    pub fn pin(&mut self, id: u64, key: &ServiceKey, pin: bool) {
        self.tell(id, key, if pin { Event::Pin } else { Event::Unpin });
    }

    pub fn count(&self, key: &ServiceKey) -> u32 {
        self.store.counts[key].0
    }

    /// Requests that wait, at routers that reach the API server.
    pub fn held(&self) -> u32 {
        self.routers.values().flat_map(|r| r.services.values()).map(|s| s.held.len() as u32).sum()
    }

    pub fn leader(&self) -> Option<u64> {
        self.routers.iter().find(|(_, r)| r.core.is_leader(self.now)).map(|(id, _)| *id)
    }

    /// Lets so much time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut tick = self.now;
        while self.now < until {
            let later = self.later.iter().map(|(at, ..)| *at);
            let watches = self.routers.iter().filter(|(id, _)| self.reaches(**id));
            let watches = watches
                .flat_map(|(_, r)| r.watch.front().map(|w| w.0).into_iter().chain(r.scales.front().map(|s| s.0)));
            let next = later.chain(watches).chain([tick, until]).min().unwrap_or(until).max(self.now);
            self.now = next;
            if tick <= self.now {
                tick = self.now + ms(500);
                for id in self.routers.keys().copied().collect::<Vec<_>>() {
                    self.input(id, Input::Tick);
                    for key in self.keys.clone() {
                        self.tell(id, &key, Event::Tick);
                        self.wake(id, &key);
                    }
                }
            }
            while let Some(i) = self.later.iter().position(|(at, ..)| *at <= self.now) {
                let (_, id, life, what) = self.later.remove(i);
                self.happens(id, life, what);
            }
            for id in self.routers.keys().copied().collect::<Vec<_>>() {
                while self.reaches(id)
                    && let Some(r) = self.routers.get_mut(&id)
                    && let Some((_, news)) = r.watch.pop_front_if(|w| w.0 <= self.now)
                {
                    self.input(id, Input::News(news));
                }
                while self.reaches(id)
                    && let Some(r) = self.routers.get_mut(&id)
                    && let Some((_, key, count, version)) = r.scales.pop_front_if(|w| w.0 <= self.now)
                {
                    self.seen_count(id, &key, count, version);
                }
            }
            self.routers.retain(|_, r| !(r.ending && r.core.is_over()));
        }
    }
}

fn addresses(id: ReplicaId) -> Addresses {
    Addresses::new(vec![(3000, std::net::SocketAddr::from(([127, 0, 0, 1], 20_000 + id.ordinal as u16)))])
}
