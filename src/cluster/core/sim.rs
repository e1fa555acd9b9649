//! A simulated API server, and routers around it, on simulated time: every message may be late, lost or
//! answered by nothing; routers die and are cut off.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::object::{Content, Item, Phase, read_marks};
use super::super::view::News;
use super::{Core, Input, Output, Scaled, Slot, Timing, Trouble, When, Write};
use crate::landscape::ServiceKey;
use crate::lifecycle::consent::{Order, Stand, Token, Word};

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

/// One service as one router has it.
#[derive(Debug, Default)]
pub struct Svc {
    /// Replicas are known.
    pub up: bool,
    /// Told that there is no mark at the time.
    free: bool,
    mark: Option<(Token, bool)>,
    /// Nothing is leased, for the mark.
    closing: bool,
    /// And nothing is in flight.
    closed: bool,
    /// The mark ended in the scaling; the count of 0 has yet to be seen, or the other way round.
    off: bool,
    stand: Stand,
    pub in_flight: u32,
    pub held: u32,
    used: Option<Instant>,
    waking: bool,
    /// The newest version of the count that this router knows.
    version: u64,
    pub pinned: bool,
}

impl Svc {
    /// Whether a request would get a lease now.
    pub fn serves(&self) -> bool {
        self.up && self.free && !self.closing
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
    RequestEnds(ServiceKey),
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
            away: false,
            marked: BTreeMap::new(),
        }
    }

    /// A router begins.
    pub fn join(&mut self, id: u64) {
        self.next += 1;
        let life = self.next;
        let core = Core::new("lr", &format!("r{id}"), Timing::default(), self.random.u64(..), self.now);
        let mut router = Router {
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
        for key in &self.keys {
            let (count, version) = self.store.counts[key];
            let svc = Svc { up: count > 0, used: Some(self.now), version, ..Svc::default() };
            router.services.insert(key.clone(), svc);
        }
        self.routers.insert(id, router);
        self.relist(id);
        for key in self.keys.clone() {
            self.input(id, Input::Word(key.clone(), Word::Joined));
            self.stand(id, &key);
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
                *svc = Svc::default();
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
        for id in self.routers.keys().copied().collect::<Vec<_>>() {
            if !self.reaches(id) {
                continue;
            }
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
            let svc = &r.services[key];
            assert!(!svc.serves(), "router {id} leases {key} after {:?}: {svc:?}", self.now - self.start);
            let forced = svc.mark.is_some_and(|(_, force)| force);
            assert!(svc.in_flight == 0 || forced, "router {id} uses {key}: {svc:?}");
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
            Later::RequestEnds(key) => {
                let now = self.now;
                if let Some(svc) = self.routers.get_mut(&id).and_then(|r| r.services.get_mut(&key)) {
                    svc.in_flight = svc.in_flight.saturating_sub(1);
                    svc.used = Some(now);
                    self.served += 1;
                    if svc.in_flight == 0
                        && svc.closing
                        && !svc.closed
                        && let Some((token, true)) = svc.mark
                    {
                        svc.closed = true;
                        self.input(id, Input::Word(key, Word::Closed(token)));
                    }
                }
            }
        }
    }

    fn set_count(&mut self, key: &ServiceKey, count: u32) {
        self.store.version += 1;
        let version = self.store.version;
        self.store.counts.insert(key.clone(), (count, version));
        for id in self.routers.keys().copied().collect::<Vec<_>>() {
            if !self.reaches(id) {
                continue;
            }
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
        let now = self.now;
        let Some(svc) = self.svc(id, key) else { return };
        match order {
            Order::Close { token, force } => {
                let was_closed = svc.closed;
                svc.mark = Some((token, force));
                svc.off = false;
                let idle = svc.used.is_none_or(|at| now >= at + IDLE_AFTER);
                let wanted = svc.in_flight > 0 || svc.held > 0 || (svc.up && !idle && !was_closed);
                if svc.pinned || (!force && wanted) {
                    svc.closed = false;
                    return self.input(id, Input::Word(key.clone(), Word::Wanted(token)));
                }
                svc.closing = true;
                svc.closed = svc.in_flight == 0;
                if svc.closed {
                    self.input(id, Input::Word(key.clone(), Word::Closed(token)));
                }
            }
            Order::Open => {
                svc.mark = None;
                svc.free = true;
                svc.closing = false;
                svc.closed = false;
                svc.off = false;
                self.go_on(id, key);
            }
            Order::Off => {
                svc.mark = None;
                svc.free = true;
                svc.closing = false;
                svc.closed = false;
                if svc.up {
                    // The replicas are gone when that is seen, too.
                    svc.off = true;
                    svc.free = false;
                }
                self.go_on(id, key);
            }
        }
        self.stand(id, key);
    }

    fn go_on(&mut self, id: u64, key: &ServiceKey) {
        let Some(svc) = self.svc(id, key) else { return };
        if svc.serves() {
            let held = std::mem::take(&mut svc.held);
            svc.in_flight += held;
            svc.waking = false;
            for _ in 0..held {
                self.after(ms(50), id, Later::RequestEnds(key.clone()));
            }
        } else if svc.held > 0 && svc.free && svc.mark.is_none() && !svc.up && !svc.waking {
            if self.reaches(id) {
                self.svc(id, key).expect("known").waking = true;
                let wait = self.delay();
                self.after(wait, id, Later::Wake(key.clone()));
            }
        }
        self.stand(id, key);
    }

    fn seen_count(&mut self, id: u64, key: &ServiceKey, count: u32, version: u64) {
        let now = self.now;
        let Some(svc) = self.svc(id, key) else { return };
        if version <= svc.version {
            return;
        }
        svc.version = version;
        svc.up = count > 0;
        svc.waking = false;
        if count == 0 && std::mem::take(&mut svc.off) {
            svc.free = true;
        }
        svc.used = svc.used.max(Some(now).filter(|_| count > 0));
        self.go_on(id, key);
    }

    fn stand(&mut self, id: u64, key: &ServiceKey) {
        let now = self.now;
        let Some(svc) = self.svc(id, key) else { return };
        let idle = svc.in_flight == 0 && svc.held == 0 && svc.used.is_none_or(|at| now >= at + IDLE_AFTER);
        let stand = match () {
            () if !svc.up && svc.held == 0 => Stand::Away,
            () if idle && !svc.pinned => Stand::Idle,
            () => Stand::Busy,
        };
        if std::mem::replace(&mut svc.stand, stand) != stand {
            self.input(id, Input::Word(key.clone(), Word::Stand(stand)));
        }
    }

    /// A request at this router.
    pub fn request(&mut self, id: u64, key: &ServiceKey, takes: Duration) {
        let Some(r) = self.routers.get_mut(&id).filter(|r| !r.ending) else { return };
        let svc = r.services.get_mut(key).expect("known");
        if svc.serves() {
            svc.in_flight += 1;
            self.after(takes, id, Later::RequestEnds(key.clone()));
            return self.stand(id, key);
        }
        svc.held += 1;
        if let Some((token, false)) = svc.mark {
            self.input(id, Input::Word(key.clone(), Word::Wanted(token)));
        }
        self.go_on(id, key);
    }

    pub fn sleep(&mut self, id: u64, key: &ServiceKey) {
        self.input(id, Input::Word(key.clone(), Word::Sleep));
    }

    pub fn count(&self, key: &ServiceKey) -> u32 {
        self.store.counts[key].0
    }

    /// Requests that wait, at routers that reach the API server.
    pub fn held(&self) -> u32 {
        self.routers.values().flat_map(|r| r.services.values()).map(|s| s.held).sum()
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
                        self.stand(id, &key);
                        self.go_on(id, &key);
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
