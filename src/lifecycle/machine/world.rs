//! A simulated backend, its applications and their clients, around one machine, on simulated time.
//!
//! Whatever happens, the world checks what must always hold: see [`World::carry_out`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Config, Effect, Event, Facts, Machine};
use crate::backend::{Abilities, Addresses, Found, Goal, ReplicaId, Seen, Want};
use crate::config::settings::Policy;
use crate::landscape::ServiceSpec;
use crate::lifecycle::fixtures;
use crate::lifecycle::service::Refusal;
use crate::lifecycle::status::StateName;

/// How the next replica that is started will behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    Good,
    ExitsAtOnce,
    NeverListens,
    IgnoresStop,
    WillNotPause,
    WillNotResume,
    /// What the backend tells at once.
    PauseFails,
    ResumeFails,
    TakesThePort,
    /// Its image takes [`PULL`] to come.
    Pulled,
}

/// Longer than any start may take.
pub const PULL: Duration = Duration::from_secs(20 * 60);

#[derive(Clone, Debug)]
struct Sim {
    app: App,
    spec: Arc<ServiceSpec>,
    runs: bool,
    frozen: bool,
    /// Asked to be frozen.
    pausing: bool,
    probed: bool,
    /// Its own health check fails.
    unwell: bool,
    stopping: bool,
    /// Somebody else ends it, whatever is wanted.
    cut: bool,
    /// When it was closed to new requests by force.
    retired: Option<Instant>,
    closed: bool,
    in_flight: u32,
}

#[derive(Clone, Debug, PartialEq)]
enum Later {
    Runs(ReplicaId),
    Exits(ReplicaId),
    ProbePasses(ReplicaId),
    PortTaken(ReplicaId),
    Stops(ReplicaId),
    Freezes(ReplicaId),
    Sticks(ReplicaId),
    RequestEnds(ReplicaId),
    PrepareEnds,
    Check(ReplicaId),
}

/// See the module's words.
pub struct World {
    pub machine: Machine,
    pub now: Instant,
    start: Instant,
    later: Vec<(Instant, Later)>,
    replicas: BTreeMap<ReplicaId, Sim>,
    used_ids: BTreeSet<ReplicaId>,
    wanted: BTreeSet<ReplicaId>,
    pub rotation: Vec<ReplicaId>,
    /// Requests that wait, and how long each will take.
    waiting: Vec<Duration>,
    pub refused: Vec<Refusal>,
    shut: bool,
    last_use: Option<Instant>,
    probing: BTreeSet<ReplicaId>,
    pub config: Config,
    pub next_app: App,
    pub prepare_fails: bool,
    pub engine_lost: bool,
    pub boot: Duration,
    pub starts: Vec<ReplicaId>,
    pub stops: usize,
    pub done: bool,
    /// How many replicas there should be while it is awake: the last word that anybody said.
    pub count: u32,
    /// As last told to the landscape.
    pub up: bool,
    last_state: StateName,
    states: Vec<StateName>,
}

impl World {
    pub fn new(spec: ServiceSpec, policy: Policy) -> Self {
        Self::with(spec, policy, Abilities { pause: true, local: true, shared_ports: true })
    }

    pub fn with(spec: ServiceSpec, policy: Policy, abilities: Abilities) -> Self {
        let now = Instant::now();
        let count = spec.replicas;
        let config = Config { spec: Arc::new(spec), policy: Arc::new(policy), runnable: Ok(()), prepared: true };
        Self {
            machine: Machine::new(config.clone(), abilities, 1000, now),
            now,
            start: now,
            later: Vec::new(),
            replicas: BTreeMap::new(),
            used_ids: BTreeSet::new(),
            wanted: BTreeSet::new(),
            rotation: Vec::new(),
            waiting: Vec::new(),
            refused: Vec::new(),
            shut: false,
            last_use: None,
            probing: BTreeSet::new(),
            config,
            next_app: App::Good,
            prepare_fails: false,
            engine_lost: false,
            boot: Duration::from_millis(100),
            starts: Vec::new(),
            stops: 0,
            done: false,
            count,
            up: false,
            last_state: StateName::Off,
            states: vec![StateName::Off],
        }
    }

    pub fn state(&self) -> StateName {
        self.machine.state()
    }

    /// Every state since this was asked last.
    pub fn states(&mut self) -> Vec<StateName> {
        std::mem::take(&mut self.states)
    }

    pub fn held(&self) -> usize {
        self.waiting.len()
    }

    pub fn in_flight(&self) -> u64 {
        self.replicas.values().map(|r| u64::from(r.in_flight)).sum()
    }

    /// Ids of replicas that exist, and are not being stopped.
    pub fn running(&self) -> Vec<ReplicaId> {
        self.replicas.iter().filter(|(_, r)| !r.stopping).map(|(id, _)| *id).collect()
    }

    pub fn frozen(&self) -> usize {
        self.replicas.values().filter(|r| r.frozen).count()
    }

    fn facts(&self) -> Facts {
        Facts { in_flight: self.in_flight(), held: self.held(), last_use: self.last_use }
    }

    pub fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let effects = self.machine.on(event, self.now, &self.facts());
            for effect in effects {
                self.carry_out(effect, &mut events);
            }
            let state = self.machine.state();
            if std::mem::replace(&mut self.last_state, state) != state {
                self.states.push(state);
            }
        }
        assert!(!self.rotation.is_empty() || self.state() != StateName::Ready, "ready without a replica");
        assert_eq!(self.rotation.is_empty(), self.state() != StateName::Ready, "requests go where nothing is ready");
        let busy = self.replicas.values().any(|r| r.in_flight > 0 && !r.stopping);
        assert!(self.up || !busy, "what it depends on is let go of under its requests");
    }

    fn carry_out(&mut self, effect: Effect, answers: &mut VecDeque<Event>) {
        match effect {
            Effect::Apply(want) => self.apply(want),
            Effect::Publish(rotation) => {
                self.rotation = rotation.into_iter().map(|(id, _)| id).collect();
                for id in self.rotation.clone() {
                    let r = self.replicas.get_mut(&id).expect("in rotation without existing");
                    assert!(!r.stopping && !r.frozen && r.retired.is_none(), "a leaving replica is in rotation");
                    assert!(!r.unwell, "in rotation against its own health check");
                    assert!(self.wanted.contains(&id), "in rotation without being wanted");
                    r.closed = false;
                }
                if !self.rotation.is_empty() {
                    for takes in std::mem::take(&mut self.waiting) {
                        self.lease(takes);
                    }
                }
            }
            Effect::CloseIfIdle(ids) => {
                assert!(self.rotation.is_empty(), "closed while in rotation");
                let mut all = true;
                for id in ids {
                    // One may be started and given up in the same breath.
                    let Some(r) = self.replicas.get_mut(&id) else { continue };
                    if r.in_flight > 0 {
                        all = false;
                        break;
                    }
                    r.closed = true;
                }
                answers.push_back(Event::Closed(all));
            }
            Effect::Retire(id) => {
                assert!(!self.rotation.contains(&id), "retired while in rotation");
                if let Some(r) = self.replicas.get_mut(&id) {
                    r.closed = true;
                    r.retired.get_or_insert(self.now);
                    if r.in_flight == 0 {
                        answers.push_back(Event::Drained(id));
                    }
                }
            }
            Effect::Probe { id, .. } => {
                self.probing.insert(id);
                self.probe_later(id);
            }
            Effect::Unprobe(id) => {
                self.probing.remove(&id);
                self.later.retain(|(_, l)| *l != Later::Check(id));
            }
            Effect::Watch { id, .. } => {
                self.later.retain(|(_, l)| *l != Later::Check(id));
                self.after(Duration::from_secs(10), Later::Check(id));
            }
            Effect::Prepare => self.after(Duration::from_secs(2), Later::PrepareEnds),
            Effect::Refuse(refusal) => self.refuse(refusal),
            Effect::Shut(refusal) => {
                self.shut = refusal.is_some();
                refusal.into_iter().for_each(|r| self.refuse(r));
            }
            Effect::Up(up) => self.up = up,
            Effect::Done => {
                assert_eq!(self.held(), 0, "it ends with requests waiting");
                self.done = true;
            }
            Effect::Forget(_)
            | Effect::Release
            | Effect::Awake(_)
            | Effect::WatchUse
            | Effect::Bounds(_)
            | Effect::ColdStart { .. }
            | Effect::ColdStartEnded { .. }
            | Effect::Say(_)
            | Effect::Tell(_)
            | Effect::Failing
            | Effect::FetchLogTail => {}
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refused.extend(std::iter::repeat_n(refusal, std::mem::take(&mut self.waiting).len()));
    }

    fn apply(&mut self, want: Want) {
        let ids: BTreeSet<_> = want.replicas.iter().map(|w| w.id).collect();
        assert_eq!(ids.len(), want.replicas.len(), "a replica is listed twice");
        for w in want.replicas {
            if let Some(r) = self.replicas.get_mut(&w.id) {
                r.pausing = w.goal == Goal::Pause;
            }
            match (self.replicas.get_mut(&w.id), w.goal) {
                (None, Goal::Run) if !self.used_ids.contains(&w.id) => self.start(w.id, w.spec),
                (None, _) => {}
                (Some(r), Goal::Pause) if !r.frozen => {
                    assert!(r.in_flight == 0, "frozen with requests in flight");
                    assert!(r.closed, "frozen while open to requests");
                    match r.app {
                        App::WillNotPause => {}
                        App::PauseFails => self.after(Duration::from_millis(500), Later::Sticks(w.id)),
                        _ => self.after(Duration::from_millis(5), Later::Freezes(w.id)),
                    }
                }
                (Some(r), Goal::Run) if r.frozen && r.app == App::ResumeFails => {
                    self.after(Duration::from_millis(5), Later::Sticks(w.id));
                }
                (Some(r), Goal::Run) if r.frozen && r.app != App::WillNotResume => {
                    r.frozen = false;
                    self.after(Duration::from_millis(5), Later::Runs(w.id));
                }
                (Some(_), _) => {}
            }
        }
        for id in self.replicas.keys().copied().collect::<Vec<_>>() {
            let r = self.replicas.get_mut(&id).expect("a key");
            if ids.contains(&id) || (r.stopping && !want.grace.is_zero()) {
                continue;
            }
            let forced = r.retired.is_some_and(|at| self.now >= at + self.config.policy.drain_timeout);
            assert!(r.in_flight == 0 || r.stopping || r.cut || forced, "{id} is stopped with requests in flight");
            self.stops += usize::from(!r.stopping);
            r.stopping = true;
            r.closed = true;
            if r.app != App::IgnoresStop || want.grace.is_zero() {
                self.after(Duration::from_millis(30), Later::Stops(id));
            }
        }
        self.wanted = ids;
    }

    fn start(&mut self, id: ReplicaId, spec: Arc<ServiceSpec>) {
        let starting = |o: &(&ReplicaId, &Sim)| o.0.ordinal == id.ordinal && !o.1.probed && !o.1.stopping;
        assert!(self.replicas.iter().find(starting).is_none(), "two starts of ordinal {} in flight", id.ordinal);
        let last = self.used_ids.iter().map(|u| u.generation).max().unwrap_or(0);
        assert!(id.generation > last, "generations grow");
        self.used_ids.insert(id);
        self.starts.push(id);
        let app = self.next_app;
        let sim = Sim {
            app,
            spec,
            runs: false,
            frozen: false,
            pausing: false,
            probed: false,
            unwell: false,
            stopping: false,
            cut: false,
            retired: None,
            closed: false,
            in_flight: 0,
        };
        self.replicas.insert(id, sim);
        let (wait, what) = match app {
            App::ExitsAtOnce => (Duration::from_millis(10), Later::Exits(id)),
            App::Pulled => (PULL, Later::Runs(id)),
            _ => (Duration::from_millis(10), Later::Runs(id)),
        };
        self.after(wait, what);
    }

    fn probe_later(&mut self, id: ReplicaId) {
        match self.replicas.get(&id).map(|r| r.app) {
            Some(App::NeverListens) | None => {}
            Some(App::TakesThePort) if self.replicas.keys().any(|o| o.ordinal == id.ordinal && o < &id) => {
                self.after(self.boot, Later::PortTaken(id));
            }
            Some(_) => self.after(self.boot, Later::ProbePasses(id)),
        }
    }

    fn after(&mut self, wait: Duration, what: Later) {
        self.later.push((self.now + wait, what));
    }

    /// A request that takes so long, and waits if nothing is ready.
    pub fn request(&mut self, takes: Duration) {
        if !self.lease(takes) && !self.shut {
            self.waiting.push(takes);
            self.tell(Event::Demand);
        }
    }

    fn lease(&mut self, takes: Duration) -> bool {
        let Some(id) = self.rotation.iter().min_by_key(|id| self.replicas[*id].in_flight).copied() else {
            return false;
        };
        let r = self.replicas.get_mut(&id).expect("in rotation");
        assert!(!r.closed, "a request on a closed replica");
        r.in_flight += 1;
        self.after(takes, Later::RequestEnds(id));
        true
    }

    /// A replica ends by itself.
    pub fn crash(&mut self, nth: usize) {
        let running = self.running();
        if !running.is_empty() {
            self.happens(Later::Exits(running[nth % running.len()]));
        }
    }

    /// What a replica's own health check says.
    pub fn health(&mut self, nth: usize, healthy: bool) {
        let running = self.running();
        if !running.is_empty() {
            let id = running[nth % running.len()];
            self.replicas.get_mut(&id).expect("it runs").unwell = !healthy;
            self.tell(Event::Seen(Seen::Health(id, healthy)));
        }
    }

    /// Somebody else sets the number of replicas, and what is too much is ended whatever is wanted.
    pub fn scale(&mut self, replicas: u32) {
        let before = self.wanted.clone();
        if replicas > 0 {
            self.count = replicas;
        }
        let surplus = self.replicas.iter_mut().filter(|(id, r)| id.ordinal >= replicas && !r.stopping);
        let surplus: Vec<_> = surplus.map(|(id, r)| (*id, r.cut = true).0).collect();
        let leaves = self.machine.ending == Some(super::Ending::Leave);
        self.tell(Event::Seen(Seen::Scaled(replicas)));
        for id in surplus {
            self.after(Duration::from_millis(20), Later::Exits(id));
        }
        let kept = self.wanted.iter().find(|id| id.ordinal >= replicas && before.contains(id));
        assert!(kept.is_none() || leaves, "{kept:?} is wanted against somebody else's word");
    }

    pub fn configure(&mut self, change: impl FnOnce(&mut ServiceSpec, &mut Policy)) {
        let (mut spec, mut policy) = ((*self.config.spec).clone(), (*self.config.policy).clone());
        change(&mut spec, &mut policy);
        if (spec.replicas, &policy.attach) != (self.config.spec.replicas, &self.config.policy.attach) {
            self.count = spec.replicas;
        }
        self.config.spec = Arc::new(spec);
        self.config.policy = Arc::new(policy);
        self.tell(Event::Configured(self.config.clone()));
    }

    fn happens(&mut self, what: Later) {
        match what {
            Later::Runs(id) => {
                if let Some(r) = self.replicas.get_mut(&id).filter(|r| !r.stopping) {
                    r.runs = true;
                    self.tell(Event::Seen(Seen::Running(id, addresses(id))));
                }
            }
            Later::Exits(id) => {
                if let Some(r) = self.replicas.remove(&id) {
                    self.rotation_meets(id, r.in_flight);
                    // Some backends tell it twice: at once, and with all that they find out.
                    if id.generation % 2 == 0 {
                        self.tell(Event::Seen(Seen::Ending(id, fixtures::exited())));
                    }
                    self.tell(Event::Seen(Seen::Ended(id, fixtures::exited())));
                }
            }
            Later::ProbePasses(id) => {
                let runs = self.replicas.get(&id).is_some_and(|r| r.runs && !r.frozen && !r.stopping);
                if runs && self.probing.remove(&id) {
                    self.replicas.get_mut(&id).expect("seen").probed = true;
                    self.tell(Event::ProbePassed(id, addresses(id)));
                }
            }
            Later::PortTaken(id) => {
                if self.replicas.contains_key(&id) && self.probing.remove(&id) {
                    self.tell(Event::ProbeTaken(id, "another".to_owned()));
                }
            }
            Later::Stops(id) => {
                if let Some(r) = self.replicas.remove(&id) {
                    self.rotation_meets(id, r.in_flight);
                    self.tell(Event::Seen(Seen::Stopped(id)));
                }
            }
            Later::Freezes(id) => {
                let wanted = self.wanted.contains(&id);
                if let Some(r) = self.replicas.get_mut(&id).filter(|r| !r.stopping && wanted) {
                    r.frozen = true;
                    // It comes back as another replica to requests.
                    r.retired = None;
                    self.tell(Event::Seen(Seen::Paused(id)));
                }
            }
            Later::Sticks(id) => {
                if let Some(r) = self.replicas.get_mut(&id).filter(|r| !r.stopping) {
                    // It comes back as another replica to requests, unless something else is wanted by now.
                    r.retired = r.retired.filter(|_| r.frozen || !r.pausing);
                    self.tell(Event::Seen(Seen::Stuck(id, "not everything froze".to_owned())));
                }
            }
            Later::RequestEnds(id) => {
                self.last_use = Some(self.now);
                if let Some(r) = self.replicas.get_mut(&id)
                    && r.in_flight > 0
                {
                    r.in_flight -= 1;
                    if r.in_flight == 0 && r.retired.is_some() {
                        self.tell(Event::Drained(id));
                    }
                }
            }
            Later::Check(id) => {
                self.after(Duration::from_secs(10), Later::Check(id));
                self.tell(Event::Checked { id, result: Ok(()), answered: false });
            }
            Later::PrepareEnds => {
                let result = if self.prepare_fails { Err(fixtures::exited()) } else { Ok(()) };
                self.tell(Event::Prepared(result));
            }
        }
    }

    /// Requests on a replica that is gone are gone with it.
    fn rotation_meets(&mut self, id: ReplicaId, _in_flight: u32) {
        self.later.retain(|(_, l)| *l != Later::RequestEnds(id));
    }

    /// Lets so much time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut at_once = 0;
        loop {
            let due = self.machine.next_deadline(&self.facts());
            let next = self.later.iter().map(|(at, _)| *at).chain(due).min().filter(|at| *at <= until);
            let Some(next) = next else { break };
            if next > self.now {
                at_once = 0;
            }
            assert!(at_once < 20, "it is busy for ever at {:?}: {:#?}", self.now - self.start, self.machine);
            self.now = self.now.max(next);
            match self.later.iter().enumerate().filter(|(_, (at, _))| *at <= self.now).min_by_key(|(_, (at, _))| *at) {
                Some((i, _)) => {
                    let (_, what) = self.later.remove(i);
                    self.happens(what);
                }
                None => {
                    at_once += 1;
                    self.tell(Event::Tick);
                }
            }
        }
        self.now = until;
    }

    /// What a next router would find.
    pub fn found(&self) -> Vec<Found> {
        let found = self.replicas.iter().map(|(id, r)| Found {
            service: self.config.spec.key.clone(),
            id: *id,
            digest: r.spec.run_digest(),
            goal: (!r.stopping).then_some(if r.frozen { Goal::Pause } else { Goal::Run }),
            addresses: addresses(*id),
            since: std::time::SystemTime::UNIX_EPOCH,
        });
        found.collect()
    }

    /// What the wall clock gives a next router to begin with.
    pub fn later_generation(&self) -> u64 {
        self.used_ids.iter().map(|id| id.generation).max().unwrap_or(0) + 1000
    }

    /// The router dies; another one is about to take its place, and finds this.
    pub fn begin_router(&mut self, generation: u64) -> Vec<Found> {
        let found = self.found();
        let abilities = Abilities { pause: true, local: true, shared_ports: true };
        self.machine = Machine::new(self.config.clone(), abilities, generation, self.now);
        self.rotation.clear();
        self.waiting.clear();
        self.shut = false;
        self.up = false;
        self.probing.clear();
        self.later.retain(|(_, l)| {
            !matches!(l, Later::RequestEnds(_) | Later::ProbePasses(_) | Later::PrepareEnds | Later::Check(_))
        });
        for r in self.replicas.values_mut() {
            r.in_flight = 0;
            r.retired = None;
            r.closed = true;
            r.runs = true;
        }
        found
    }

    /// The router dies; another one takes its place.
    pub fn restart_router(&mut self, generation: u64) {
        let found = self.begin_router(generation);
        let (starts, stops) = (self.starts.len(), self.stops);
        let stays: Vec<_> = found.iter().filter(|f| f.goal.is_some()).cloned().collect();
        // What is frozen is ended where that is not asked for any more.
        let thaws = self.config.policy.when_idle == crate::config::settings::WhenIdle::Stop;
        let kept = self.config.runnable.is_ok()
            && (!thaws || stays.iter().all(|f| f.goal == Some(Goal::Run)))
            && stays.iter().all(|f| f.id.ordinal < self.count)
            && stays.iter().all(|f| f.digest == self.config.spec.run_digest())
            && stays.iter().map(|f| f.id.ordinal).collect::<BTreeSet<_>>().len() == stays.len();
        let complete = stays.len() == self.count as usize;
        if self.count != self.config.spec.replicas {
            self.machine.expect(self.count, self.now);
        }
        self.tell(Event::Adopted(found));
        // The backend tells it of what it finds, as it does of every change.
        for id in self.replicas.iter().filter(|(_, r)| r.unwell).map(|(id, _)| *id).collect::<Vec<_>>() {
            self.tell(Event::Seen(Seen::Health(id, false)));
        }
        assert!(!kept || self.stops == stops, "what was found was stopped");
        assert!(!(kept && complete) || self.starts.len() == starts, "what was found was doubled");
    }

    /// The engine stops answering, or answers again and says what is there.
    pub fn engine(&mut self, lost: bool) {
        if lost == self.engine_lost {
            return;
        }
        self.engine_lost = lost;
        if lost {
            self.tell(Event::Seen(Seen::EngineLost("gone".to_owned())));
            return;
        }
        self.tell(Event::Seen(Seen::EngineBack));
        for (id, runs, frozen) in self.replicas.iter().map(|(id, r)| (*id, r.runs, r.frozen)).collect::<Vec<_>>() {
            if frozen {
                self.tell(Event::Seen(Seen::Paused(id)));
            } else if runs {
                self.tell(Event::Seen(Seen::Running(id, addresses(id))));
            }
        }
    }
}

pub fn addresses(id: ReplicaId) -> Addresses {
    Addresses::new(vec![(3000, std::net::SocketAddr::from(([127, 0, 0, 1], 20_000 + id.ordinal as u16)))])
}

pub fn simple() -> World {
    World::new(fixtures::spec("web", 1, 1), fixtures::policy())
}
