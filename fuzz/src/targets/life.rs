//! The state machine of a service in a world that lies: observations of replicas that never were, probes
//! that pass twice, ends of what has ended. It may make little of that, but never panics, never spins,
//! never lists a replica twice or starts one again under an old generation, and always comes to its end.
//!
//! What holds in an honest world is tested beside the machine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use landscape_router::backend::{Abilities, Addresses, Failure, FailureKind, Found, Goal, ReplicaId, Seen, Want};
use landscape_router::config::settings::{
    BackendKind, HalfClosed, Mode, Policy, ServiceHold, Sticky, WakeRule, WhenIdle,
};
use landscape_router::landscape::ServiceSpec;
use landscape_router::lifecycle::StateName;
use landscape_router::lifecycle::machine::{Config, Effect, Event, Facts, Machine};

const CI: &str = "schemaVersion: v0.4
run:
  web:
    replicas: 2
    steps: [{ command: x }]
";

/// See the module's words.
pub fn run(data: &[u8]) {
    let mut bytes = data.iter().copied();
    let mut world = World::new(bytes.next().unwrap_or(0));
    // Each byte is one thing that happens; some take another byte.
    for _ in 0..2000 {
        let Some(op) = bytes.next() else { break };
        let more = bytes.next().unwrap_or(0);
        world.happen(op, more);
        if world.done {
            return;
        }
    }
    world.end();
}

struct World {
    machine: Machine,
    now: Instant,
    facts: Facts,
    spec: ServiceSpec,
    policy: Policy,
    /// What was ever listed, and whether it was told to be gone since.
    known: BTreeMap<ReplicaId, bool>,
    listed: BTreeSet<ReplicaId>,
    retired: BTreeSet<ReplicaId>,
    preparing: bool,
    begun: bool,
    done: bool,
}

impl World {
    fn new(options: u8) -> Self {
        let Some(landscape) = super::landscape::read(CI.as_bytes()) else { panic!("our own file is refused") };
        let spec = ServiceSpec::clone(&landscape.services["web"]);
        let policy = policy(options);
        let now = Instant::now();
        let config = Config {
            spec: Arc::new(spec.clone()),
            policy: Arc::new(policy.clone()),
            runnable: if options & 0x40 == 0 { Ok(()) } else { Err("not here".into()) },
            prepared: options & 0x80 == 0,
        };
        let abilities = Abilities { pause: options & 2 != 0, local: true, shared_ports: options & 4 != 0 };
        let machine = Machine::new(config, abilities, 1000, now);
        let facts = Facts { in_flight: 0, held: 0, last_use: None };
        let known = BTreeMap::new();
        let (listed, retired) = (BTreeSet::new(), BTreeSet::new());
        Self { machine, now, facts, spec, policy, known, listed, retired, preparing: false, begun: false, done: false }
    }

    fn happen(&mut self, op: u8, more: u8) {
        let id = self.some_id(more);
        let event = match op % 27 {
            0 | 1 => return self.pass(Duration::from_millis(u64::from(more) * u64::from(more) * 10)),
            2 => {
                self.facts.held += 1;
                Event::Demand
            }
            3 => Event::Seen(Seen::Running(id, addresses(id))),
            4 if more & 4 == 0 => Event::Seen(Seen::Paused(id)),
            4 => Event::Seen(Seen::Stuck(id, "busy".into())),
            5 => Event::Seen(Seen::Ended(id, failure(more))),
            6 => {
                // Of one that is listed it would be a lie, and the machine need not believe it.
                if !self.listed.contains(&id) && self.known.contains_key(&id) {
                    self.known.insert(id, true);
                }
                Event::Seen(Seen::Stopped(id))
            }
            7 => Event::Seen(Seen::Health(id, more & 1 == 0)),
            8 => Event::Seen(Seen::EngineLost("away".into())),
            9 => Event::Seen(Seen::EngineBack),
            10 | 11 => Event::ProbePassed(id, addresses(id)),
            12 => Event::ProbeTaken(id, "somebody".into()),
            13 => Event::Checked {
                id,
                result: if more & 1 == 0 { Ok(()) } else { Err("500".into()) },
                answered: more & 2 != 0,
            },
            14 => Event::Suspect(id),
            15 => Event::Drained(id),
            16 => Event::Prepared(if more & 1 == 0 { Ok(()) } else { Err(failure(more)) }),
            17 => Event::Sleep,
            18 => Event::Wake,
            19 => Event::Restart,
            20 => {
                if more & 1 == 0 {
                    Event::Pin
                } else {
                    Event::Unpin
                }
            }
            21 => Event::Derived {
                landscape: more & 1 != 0,
                needed_by: if more & 2 != 0 { vec!["api".into()] } else { Vec::new() },
            },
            22 => self.configured(more),
            23 => Event::StopPaused,
            26 => Event::Seen(Seen::Scaled(u32::from(more % 6))),
            // At most once, before anything else: what an actor does of its own accord is no lie.
            24 if !self.begun => Event::Adopted(vec![Found {
                service: self.spec.key.clone(),
                id,
                digest: self.spec.run_digest(),
                goal: Some(if more & 1 == 0 { Goal::Run } else { Goal::Pause }),
                addresses: addresses(id),
                since: std::time::SystemTime::UNIX_EPOCH,
            }]),
            _ => {
                // Requests come and go, where there is somewhere to go.
                let ready = self.machine.state() == StateName::Ready;
                self.facts.in_flight = if ready { u64::from(more % 4) } else { 0 };
                self.facts.last_use = Some(self.now);
                Event::Used
            }
        };
        self.tell(event);
    }

    fn configured(&mut self, more: u8) -> Event {
        self.policy = policy(more);
        self.spec.replicas = u32::from(more % 4) + 1;
        if more & 0x10 != 0 {
            self.spec.primary_port ^= 1;
        }
        Event::Configured(Config {
            spec: Arc::new(self.spec.clone()),
            policy: Arc::new(self.policy.clone()),
            runnable: if more & 0x20 == 0 { Ok(()) } else { Err("not here".into()) },
            prepared: more & 0x40 == 0,
        })
    }

    /// One that was listed once, or one that never was.
    fn some_id(&self, more: u8) -> ReplicaId {
        let nth = usize::from(more >> 2);
        let known = self.known.keys().nth(nth % (self.known.len() + 1)).copied();
        known.unwrap_or(ReplicaId { ordinal: u32::from(more % 3), generation: u64::from(more) })
    }

    fn tell(&mut self, event: Event) {
        self.begun = true;
        let mut events = VecDeque::from([event]);
        let mut answered = 0;
        while let Some(event) = events.pop_front() {
            let effects = self.machine.on(event, self.now, &self.facts);
            assert!(!self.done || effects.is_empty(), "after the end: {effects:?}");
            for effect in effects {
                self.carry_out(effect, &mut events);
            }
            answered += 1;
            assert!(answered < 1000, "the machine and its actor talk for ever");
        }
    }

    fn carry_out(&mut self, effect: Effect, answers: &mut VecDeque<Event>) {
        match effect {
            Effect::Apply(want) => self.apply(&want),
            Effect::Publish(rotation) => {
                let ids: BTreeSet<_> = rotation.iter().map(|(id, _)| *id).collect();
                assert_eq!(ids.len(), rotation.len(), "a replica is in rotation twice");
                if !ids.is_empty() {
                    self.facts.held = 0;
                }
            }
            Effect::CloseIfIdle(_) => answers.push_back(Event::Closed(self.facts.in_flight == 0)),
            Effect::Retire(id) => drop(self.retired.insert(id)),
            Effect::Forget(id) => drop(self.retired.remove(&id)),
            Effect::Prepare => self.preparing = true,
            Effect::Refuse(_) | Effect::Shut(Some(_)) => self.facts.held = 0,
            Effect::Done => self.done = true,
            _ => {}
        }
    }

    fn apply(&mut self, want: &Want) {
        let listed: BTreeSet<_> = want.replicas.iter().map(|replica| replica.id).collect();
        assert_eq!(listed.len(), want.replicas.len(), "a replica is listed twice");
        let ordinals: BTreeSet<_> = listed.iter().map(|id| (id.ordinal, id.generation)).collect();
        assert!(ordinals.len() <= 64, "{} replicas", ordinals.len());
        for id in &listed {
            assert_ne!(self.known.get(id), Some(&true), "{id} is listed after it was told to be gone");
            self.known.entry(*id).or_insert(false);
        }
        self.listed = listed;
    }

    /// Time passes, tick by tick.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut ticks = 0;
        while let Some(due) = self.machine.next_deadline(&self.facts).filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tell(Event::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "it asks for {due:?} again and again");
            if self.done {
                return;
            }
        }
        self.now = end;
    }

    /// Removed, in a world that from now on does as it is told.
    fn end(&mut self) {
        self.facts.in_flight = 0;
        self.tell(Event::Seen(Seen::EngineBack));
        if !self.done {
            self.tell(Event::Remove);
        }
        for _ in 0..100 {
            let gone: Vec<_> = self.known.keys().filter(|id| !self.listed.contains(id)).copied().collect();
            for id in gone {
                if self.done {
                    return;
                }
                self.tell(Event::Drained(id));
                self.tell(Event::Seen(Seen::Stopped(id)));
                self.known.insert(id, true);
            }
            for id in std::mem::take(&mut self.retired) {
                if !self.done {
                    self.tell(Event::Drained(id));
                }
            }
            if std::mem::take(&mut self.preparing) && !self.done {
                self.tell(Event::Prepared(Ok(())));
            }
            if self.done {
                return;
            }
            self.pass(Duration::from_secs(60));
        }
        panic!("removed, and still {:?}", self.machine);
    }
}

fn policy(options: u8) -> Policy {
    Policy {
        mode: if options & 1 == 0 { Mode::OffWhenUnused } else { Mode::AlwaysOn },
        idle_after: Duration::from_secs(5),
        when_idle: match options >> 3 & 3 {
            0 | 1 => WhenIdle::Stop,
            2 => WhenIdle::Pause,
            _ => WhenIdle::PauseThenStop { stop_after: Duration::from_secs(10) },
        },
        start_timeout: Duration::from_secs(20),
        stop_grace: Duration::from_secs(2),
        drain_timeout: Duration::from_secs(3),
        backend: BackendKind::Process,
        depends_on: Vec::new(),
        protocols: Vec::new(),
        wake: WakeRule::WithLandscape,
        sticky: Sticky::Off,
        hold: ServiceHold {
            max_requests: 10,
            max_bytes: 1 << 20,
            timeout: Duration::from_secs(30),
            page_after: Duration::from_secs(1),
            release: 4,
            half_closed: HalfClosed::Leave,
        },
        traffic: Arc::from([]),
        idle_bytes: None,
        attach: None,
    }
}

fn addresses(id: ReplicaId) -> Addresses {
    Addresses::new(vec![(3000, ([127, 0, 0, 1], 20_000 + id.ordinal as u16).into())])
}

fn failure(more: u8) -> Failure {
    Failure {
        kind: FailureKind::Exited,
        public: "It ended.".into(),
        detail: "exit status 1".into(),
        log_tail: Vec::new(),
        permanent: more & 4 != 0,
    }
}
