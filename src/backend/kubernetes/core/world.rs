//! A simulated cluster around one core, and a life cycle that wants things of it.
//!
//! The controllers do what `pkg/controller/deployment` and `pkg/controller/replicaset` of Kubernetes do, as
//! far as counts and the choice of pods go. Everything takes steps that a test may put in any order: writes
//! reach the API, answers come back, each of the two watches delivers, controllers and the kubelet act.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::backend::kubernetes::trouble;
use crate::backend::{Goal, WantReplica};
use crate::landscape::ServiceKey;
use crate::lifecycle::fixtures;

/// The Deployment as the API has it.
#[derive(Clone, Debug)]
struct Deployment {
    version: u128,
    count: u32,
    template: Template,
    holds: bool,
    foreign: bool,
    refusal: Option<Failure>,
    /// `status.replicas`, as of the last time that it was true.
    made: Option<u32>,
    /// What its controller has scaled its sets to.
    scaled_to: u32,
}

#[derive(Clone, Debug)]
pub struct SimPod {
    pub pod: Pod,
    /// Its node was found.
    scheduled: bool,
    cost: i32,
    serial: u64,
    /// The kubelet is done with it.
    ended: bool,
}

/// How the next pods behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    Good,
    NoImage,
    NoRoom,
}

#[derive(Clone, Debug)]
struct Rep {
    id: ReplicaId,
    version: u32,
    at: Option<Addresses>,
    /// It was found, and may turn out to serve.
    found: bool,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    rep: Option<Rep>,
    next: Option<Rep>,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Write,
    Answer,
    WorkloadView,
    PodView,
    Hear,
    Drained,
    Deployments,
    Sets,
    Kubelet(usize),
}

pub const STEPS: [Step; 9] = [
    Step::Write,
    Step::Answer,
    Step::WorkloadView,
    Step::PodView,
    Step::Hear,
    Step::Drained,
    Step::Deployments,
    Step::Sets,
    Step::Kubelet(0),
];

/// See the module's words.
pub struct World {
    pub core: Core,
    attached: bool,
    version: u128,
    serial: u64,
    generation: u64,
    deployment: Option<Deployment>,
    sets: BTreeMap<String, u32>,
    /// Sets whose pods count as available only after a day: they were made so.
    held: BTreeSet<String>,
    pub pods: BTreeMap<String, SimPod>,
    pub next_app: App,
    /// The API takes writes, and its answers get lost.
    pub away: bool,
    /// The node does not end what was told to go.
    pub slow: bool,
    /// The API makes no pods.
    pub quota: Option<u32>,

    sent: VecDeque<Effect>,
    answers: VecDeque<Event>,
    workload_views: VecDeque<(u64, Event)>,
    pod_views: VecDeque<(u64, Event)>,
    views: u64,
    /// Both watches tell in the order in which things happened.
    pub in_order: bool,
    told: VecDeque<Seen>,

    // The life cycle.
    version_wanted: u32,
    replicas: u32,
    on: bool,
    slots: Vec<Slot>,
    draining: Vec<Rep>,
    stopping: BTreeSet<ReplicaId>,
    wanted: Vec<ReplicaId>,
    number: u32,
    pub ended: Vec<(ReplicaId, Failure)>,
    pub scaled: Vec<u32>,
    pub applies: usize,
    pub scales: usize,
    pub removals: usize,
    /// A replica that ended is not started again by itself.
    pub gives_up: bool,
    /// One that ended is started again by [`World::retry`].
    pub backs_off: bool,
    /// Ordinals that wait for that.
    failed: BTreeSet<usize>,
}

fn digest(version: u32) -> RunDigest {
    spec(version).run_digest()
}

fn spec(version: u32) -> Arc<ServiceSpec> {
    Arc::new(fixtures::spec("web", 1, version))
}

fn template(version: u32) -> Template {
    Template { digest: digest(version), hash: format!("hash {version}") }
}

impl World {
    /// A service that is declared with one replica, and off.
    pub fn own() -> Self {
        let mut world = Self::new(false);
        world.sync();
        world.quiet();
        world
    }

    /// The same, where there are other routers.
    pub fn shared() -> Self {
        let mut world = Self::new(false);
        world.core = Core::new(false).shared();
        world.sync();
        world.quiet();
        world
    }

    /// With so many replicas, that run.
    pub fn up(mut self, replicas: u32) -> Self {
        self.resize(replicas);
        self.start();
        self.quiet();
        self
    }

    /// A workload that is there already, with so many replicas.
    pub fn attached(count: u32) -> Self {
        let mut world = Self::new(true);
        world.version = 1;
        world.deployment = Some(Deployment {
            version: 1,
            count,
            template: template(1),
            holds: false,
            foreign: false,
            refusal: None,
            made: None,
            scaled_to: 0,
        });
        world.sync();
        world.quiet();
        world.reborn();
        world.quiet();
        world
    }

    fn new(attached: bool) -> Self {
        Self {
            core: Core::new(attached),
            attached,
            version: 0,
            serial: 0,
            generation: 1000,
            deployment: None,
            sets: BTreeMap::new(),
            held: BTreeSet::new(),
            pods: BTreeMap::new(),
            next_app: App::Good,
            away: false,
            slow: false,
            quota: None,
            sent: VecDeque::new(),
            answers: VecDeque::new(),
            workload_views: VecDeque::new(),
            pod_views: VecDeque::new(),
            views: 0,
            in_order: false,
            told: VecDeque::new(),
            version_wanted: 1,
            replicas: 1,
            on: false,
            slots: Vec::new(),
            draining: Vec::new(),
            stopping: BTreeSet::new(),
            wanted: Vec::new(),
            number: 0,
            ended: Vec::new(),
            scaled: Vec::new(),
            applies: 0,
            scales: 0,
            removals: 0,
            gives_up: false,
            backs_off: false,
            failed: BTreeSet::new(),
        }
    }

    fn sync(&mut self) {
        self.declare();
        let pods = self.pods.values().map(|p| p.pod.clone()).collect();
        (self.workload_views, self.pod_views) = Default::default();
        self.tell_core(self.view());
        self.tell_core(Event::Pods(pods));
    }

    fn declare(&mut self) {
        let template = (!self.attached).then(|| template(self.version_wanted));
        let mut spec = (*spec(self.version_wanted)).clone();
        spec.replicas = self.replicas;
        self.tell_core(Event::Declared(Some(Declared { spec: Arc::new(spec), template })));
    }

    pub fn tell_core(&mut self, event: Event) {
        let effects = self.core.on(event);
        self.take(effects);
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::See(seen) => self.told.push_back(seen),
                Effect::Explain { id, failure, .. } => self.told.push_back(Seen::Ended(id, failure)),
                effect => {
                    if let Effect::Delete { pod, .. } = &effect {
                        let bound = self.core.sources().into_iter().find(|(_, name)| name == pod);
                        assert_eq!(bound, None, "a wanted replica's pod is deleted");
                        assert!(!self.attached, "a pod of somebody else is deleted");
                    }
                    self.sent.push_back(effect);
                }
            }
        }
    }

    fn view(&self) -> Event {
        let Some(d) = &self.deployment else { return Event::NoWorkload(Version(self.version)) };
        Event::Workload(Workload {
            version: Version(d.version),
            count: d.count,
            template: (!self.attached).then(|| d.template.clone()),
            holds: d.holds,
            made: d.made,
            refusal: d.refusal.clone(),
            foreign: d.foreign,
        })
    }

    fn changed(&mut self) {
        self.version += 1;
        if let Some(deployment) = &mut self.deployment {
            deployment.version = self.version;
        }
        let view = self.view();
        self.views += 1;
        self.workload_views.push_back((self.views, view));
    }

    fn pod_changed(&mut self, view: Event) {
        self.views += 1;
        self.pod_views.push_back((self.views, view));
    }

    // What others do.

    /// `kubectl scale`.
    pub fn scale_outside(&mut self, count: u32) {
        if let Some(deployment) = &mut self.deployment {
            deployment.count = count;
            deployment.made = None;
            deployment.foreign = true;
            self.changed();
        }
    }

    /// Another router has rolled it, and is done with that.
    pub fn roll_outside(&mut self, version: u32) {
        if let Some(deployment) = &mut self.deployment {
            deployment.template = template(version);
            deployment.made = None;
            self.changed();
        }
    }

    /// Of two routers each one wrote last onto some pods which replica of its own they are.
    pub fn number_all(&mut self, ordinal: u32) {
        for (generation, sim) in (1..).zip(self.pods.values_mut()) {
            sim.pod.replica = Some(ReplicaId { ordinal, generation });
        }
    }

    /// The life cycle hears of ends, and of nothing else yet.
    pub fn hear_ends(&mut self) {
        let is_end = |seen: &Seen| matches!(seen, Seen::Ended(..));
        let (ends, rest) = std::mem::take(&mut self.told).into_iter().partition(is_end);
        self.told = rest;
        let ends: VecDeque<Seen> = ends;
        for end in ends {
            self.hear(end);
        }
    }

    /// `kubectl delete pod`.
    pub fn kill(&mut self, at: usize) {
        let name = self.pods.keys().nth(at).cloned();
        if let Some(name) = name {
            self.terminate(&name);
        }
    }

    /// Its application exits.
    pub fn crash(&mut self, at: usize) {
        let name = self.pods.keys().nth(at).cloned();
        if let Some(sim) = name.and_then(|name| self.pods.get_mut(&name)).filter(|p| p.pod.state == PodState::Running) {
            sim.pod.ends += 1;
            sim.pod.state = PodState::Exited(trouble::exited(3, None, "Error", None));
            (sim.pod.ready, sim.pod.ranked) = (false, false);
            let view = Event::Pod(sim.pod.clone());
            self.pod_changed(view);
        }
    }

    /// The same, of this ordinal's.
    pub fn crash_of(&mut self, ordinal: u32) {
        let pod = self.core.sources().into_iter().find(|(id, _)| id.ordinal == ordinal).map(|(_, pod)| pod);
        if let Some(at) = pod.and_then(|pod| self.pods.keys().position(|name| *name == pod)) {
            self.crash(at);
        }
    }

    pub fn delete_workload(&mut self) {
        if self.deployment.take().is_some() {
            self.changed();
        }
    }

    // What the life cycle does.

    /// The back-off of all that failed is over.
    pub fn retry(&mut self) {
        self.failed.clear();
        self.live();
    }

    pub fn start(&mut self) {
        self.on = true;
        self.live();
    }

    pub fn stop(&mut self) {
        self.on = false;
        self.live();
    }

    pub fn resize(&mut self, replicas: u32) {
        self.replicas = replicas;
        self.declare();
        self.live();
    }

    pub fn roll(&mut self, version: u32) {
        self.version_wanted = version;
        self.declare();
        self.live();
    }

    /// Another replica in the place of each, of the same specification.
    pub fn restart(&mut self) {
        for slot in &mut self.slots {
            if let Some(rep) = slot.rep.as_mut().filter(|r| r.at.is_some()) {
                rep.version = 0;
            }
        }
        self.live();
    }

    /// Another router comes, with no memory.
    pub fn reborn(&mut self) {
        // What was sent may be done.
        while self.step(Step::Write) {}
        self.answers.clear();
        self.told.clear();
        let shared = self.core.shared;
        self.core = Core::new(self.attached);
        self.core.shared = shared;
        (self.slots, self.draining, self.stopping, self.wanted) = Default::default();
        self.sync();
        self.generation += 1000;
        let (found, effects) = self.core.adopt(&ServiceKey::new("4711", "web"), self.generation);
        self.generation += 1000;
        self.take(effects);
        self.on = found.iter().any(|f| f.goal.is_some());
        // Said before, it holds for what was found.
        for seen in std::mem::take(&mut self.told) {
            match seen {
                Seen::Scaled(count) => {
                    self.scaled.push(count);
                    (self.on, self.replicas) = (true, count);
                }
                seen => self.told.push_back(seen),
            }
        }
        let mut found = found;
        found.sort_by_key(|f| std::cmp::Reverse(f.id));
        self.slots = vec![Slot::default(); self.replicas as usize];
        self.wanted = found.iter().map(|f| f.id).collect();
        for f in found {
            let version = (1..99).find(|v| digest(*v) == f.digest).unwrap();
            let at = (!f.addresses.ports().is_empty()).then_some(f.addresses);
            let rep = Rep { id: f.id, version, at, found: true };
            match self.slots.get_mut(f.id.ordinal as usize).filter(|_| f.goal.is_some()) {
                Some(slot) if slot.rep.is_none() => slot.rep = Some(rep),
                Some(slot) if slot.next.is_none() => slot.next = slot.rep.replace(rep),
                _ => {
                    self.stopping.insert(rep.id);
                }
            }
        }
        // What was found is said something of, be it that it shall go.
        self.wanted.push(ReplicaId { ordinal: u32::MAX, generation: 0 });
        self.live();
    }

    fn fresh(&mut self, ordinal: usize) -> Rep {
        self.generation += 1;
        let id = ReplicaId { ordinal: ordinal as u32, generation: self.generation };
        Rep { id, version: self.version_wanted, at: None, found: false }
    }

    /// As the machine does: empty ordinals are filled, outdated ones replaced, one after the other.
    fn live(&mut self) {
        let wanted = if self.on { self.replicas as usize } else { 0 };
        while self.slots.len() > wanted {
            let slot = self.slots.pop().unwrap();
            for rep in slot.rep.into_iter().chain(slot.next) {
                self.leave(rep);
            }
        }
        while self.slots.len() < wanted {
            self.slots.push(Slot::default());
        }
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if slot.next.as_ref().is_some_and(|r| r.at.is_some())
                && let Some(next) = slot.next.take()
                && let Some(old) = slot.rep.replace(next)
            {
                self.leave(old);
            }
            let current = self.version_wanted;
            let slot = &mut self.slots[at];
            if let Some(next) = slot.next.take_if(|r| r.version != current) {
                self.leave(next);
            }
            let slot = &mut self.slots[at];
            if let Some(rep) = slot.rep.take_if(|r| r.version != current && r.at.is_none() && !r.found) {
                slot.rep = slot.next.take();
                self.leave(rep);
            }
            let free = !self.stopping.iter().any(|id| id.ordinal as usize == at)
                && !self.draining.iter().any(|r| r.id.ordinal as usize == at);
            let busy = self
                .slots
                .iter()
                .enumerate()
                .any(|(i, s)| i != at && (s.next.is_some() || s.rep.as_ref().is_none_or(|r| r.at.is_none())));
            let outdated = self.slots[at].rep.as_ref().is_some_and(|r| r.version != current);
            if self.failed.contains(&at) {
                continue;
            }
            if self.slots[at].rep.is_none() && free && (!self.gives_up || self.ended.is_empty()) {
                self.slots[at].rep = Some(self.fresh(at));
            } else if outdated && self.slots[at].next.is_none() && free && !busy {
                self.slots[at].next = Some(self.fresh(at));
            }
        }
        self.want();
    }

    fn leave(&mut self, rep: Rep) {
        if rep.at.is_some() {
            self.draining.push(rep);
        } else if self.wanted.contains(&rep.id) {
            self.stopping.insert(rep.id);
        }
    }

    fn want(&mut self) {
        let reps = self.slots.iter().flat_map(|s| s.rep.iter().chain(&s.next)).chain(&self.draining);
        let mut replicas: Vec<WantReplica> = reps
            .map(|r| {
                let version = if r.version == 0 { self.version_wanted } else { r.version };
                WantReplica { id: r.id, spec: spec(version), goal: Goal::Run }
            })
            .collect();
        replicas.sort_by_key(|w| w.id);
        let ids: Vec<_> = replicas.iter().map(|w| w.id).collect();
        let number = self.replicas;
        if ids != self.wanted || (!ids.is_empty() && number != self.number) {
            (self.wanted, self.number) = (ids, number);
            let (service, grace) = (ServiceKey::new("4711", "web"), Duration::from_secs(10));
            self.tell_core(Event::Want(Want { service, replicas, number, grace }));
        }
    }

    fn hear(&mut self, seen: Seen) {
        match seen {
            Seen::Running(id, at) => {
                let runs = |p: &SimPod| p.pod.state == PodState::Running;
                let is = |p: &&SimPod| super::pods::addresses(&p.pod, &[3000]).as_ref() == Some(&at);
                if !self.pods.values().find(is).is_some_and(runs) {
                    // It is probed in vain.
                    return;
                }
                for rep in self.slots.iter_mut().flat_map(|s| s.rep.iter_mut().chain(&mut s.next)) {
                    if rep.id == id {
                        rep.at = Some(at.clone());
                    }
                }
            }
            Seen::Ended(id, failure) => {
                if self.stopping.remove(&id) || !self.wanted.contains(&id) {
                    return self.live();
                }
                for slot in &mut self.slots {
                    slot.next.take_if(|r| r.id == id);
                    if slot.rep.take_if(|r| r.id == id).is_some() {
                        slot.rep = slot.next.take();
                    }
                }
                self.draining.retain(|r| r.id != id);
                if self.backs_off {
                    self.failed.insert(id.ordinal as usize);
                }
                self.ended.push((id, failure));
            }
            Seen::Stopped(id) => assert!(self.stopping.remove(&id), "{id} was not told to stop"),
            Seen::Scaled(count) => {
                self.scaled.push(count);
                self.on = count > 0;
                if count > 0 {
                    self.replicas = count;
                }
            }
            _ => {}
        }
        self.live();
    }

    // Steps.

    /// Does one thing, if there is one to do.
    pub fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Write => match self.sent.pop_front() {
                Some(effect) => self.execute(effect),
                None => return false,
            },
            Step::Answer => match self.answers.pop_front() {
                Some(event) => self.tell_core(event),
                None => return false,
            },
            Step::WorkloadView | Step::PodView => {
                let first = |queue: &VecDeque<(u64, Event)>| queue.front().map_or(u64::MAX, |(at, _)| *at);
                let workload = match self.in_order {
                    true => first(&self.workload_views) < first(&self.pod_views),
                    false => step == Step::WorkloadView,
                };
                let queue = if workload { &mut self.workload_views } else { &mut self.pod_views };
                match queue.pop_front() {
                    Some((_, event)) => self.tell_core(event),
                    None => return false,
                }
            }
            Step::Hear => match self.told.pop_front() {
                Some(seen) => self.hear(seen),
                None => return false,
            },
            Step::Drained => {
                if self.draining.is_empty() {
                    return false;
                }
                self.stopping.extend(self.draining.drain(..).map(|r| r.id));
                self.live();
            }
            Step::Deployments => return self.deployments(),
            Step::Sets => return self.set_pods(),
            Step::Kubelet(at) => return self.kubelet(at),
        }
        true
    }

    /// Does everything that there is to do.
    pub fn quiet(&mut self) {
        for _ in 0..1_000 {
            let mut steps = STEPS.to_vec();
            steps.extend((1..self.pods.len()).map(Step::Kubelet));
            let mut any = false;
            for step in steps {
                any |= self.step(step);
            }
            if !any {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.core);
    }

    /// What goes has had its time to end.
    pub fn be_late(&mut self) {
        let going: Vec<String> = self.core.going().map(str::to_owned).collect();
        for pod in going {
            self.tell_core(Event::Late(pod));
        }
    }

    /// The same, with all the time in the world.
    pub fn rest(&mut self) {
        self.quiet();
        self.tell_core(Event::Overdue);
        self.quiet();
    }

    fn execute(&mut self, effect: Effect) {
        let away = self.away && matches!(effect, Effect::Apply { .. } | Effect::Scale { .. } | Effect::Remove);
        match effect {
            Effect::Apply { spec, count, holds, .. } => {
                self.applies += 1;
                let digest = spec.run_digest();
                let version = (1..99).find(|v| self::digest(*v) == digest).unwrap();
                let (scaled_to, refusal) =
                    self.deployment.as_ref().map_or((0, None), |d| (d.scaled_to, d.refusal.clone()));
                let (template, foreign, made) = (template(version), false, None);
                self.deployment =
                    Some(Deployment { version: 0, count, template, holds, foreign, refusal, made, scaled_to });
                self.changed();
                if let Event::Workload(view) = self.view() {
                    self.answers.push_back(Event::Applied(view));
                }
            }
            Effect::Scale { count, first } => {
                self.scales += 1;
                for name in first {
                    if let Some(sim) = self.pods.get_mut(&name) {
                        sim.cost = -100;
                    }
                }
                let Some(deployment) = &mut self.deployment else {
                    self.answers.push_back(Event::Failed(Problem::Missing));
                    return;
                };
                if deployment.count != count {
                    deployment.count = count;
                    deployment.made = None;
                    deployment.foreign = false;
                    self.changed();
                }
                let version = self.deployment.as_ref().map_or(0, |d| d.version);
                self.answers.push_back(Event::Scaled(count, Version(version)));
            }
            Effect::Remove => {
                self.removals += 1;
                if self.deployment.take().is_some() {
                    self.changed();
                }
                self.answers.push_back(Event::Removed);
            }
            Effect::Delete { pod, .. } => self.terminate(&pod),
            Effect::Mark { pod, id } => {
                if let Some(sim) = self.pods.get_mut(&pod) {
                    sim.pod.replica = Some(id);
                    sim.cost = 0;
                    let view = Event::Pod(sim.pod.clone());
                    self.pod_changed(view);
                }
            }
            Effect::See(_) | Effect::Explain { .. } => {}
        }
        if away {
            self.answers.pop_back();
            self.answers.push_back(Event::Failed(Problem::Away));
            self.answers.push_back(Event::Retry);
        }
    }

    fn terminate(&mut self, name: &str) {
        if let Some(sim) = self.pods.get_mut(name)
            && !sim.pod.terminating
        {
            sim.pod.terminating = true;
            (sim.pod.ready, sim.pod.ranked) = (false, false);
            let view = Event::Pod(sim.pod.clone());
            self.pod_changed(view);
        }
    }

    fn available(&self, set: &str) -> u32 {
        let ready = |p: &&SimPod| p.pod.digest.as_ref().is_some_and(|d| d.0 == set) && p.pod.ready && p.pod.lives();
        if self.held.contains(set) { 0 } else { self.pods.values().filter(ready).count() as u32 }
    }

    /// `syncDeployment`: scaling, else a rolling update with maxSurge 100 % and maxUnavailable 0.
    fn deployments(&mut self) -> bool {
        let Some(d) = self.deployment.clone() else {
            let any = self.sets.values().any(|n| *n > 0);
            // The garbage collector.
            self.sets.values_mut().for_each(|n| *n = 0);
            return any;
        };
        let before = self.sets.clone();
        let new = d.template.digest.0.clone();
        self.sets.entry(new.clone()).or_default();
        match d.holds {
            true => self.held.insert(new.clone()),
            false => self.held.remove(&new),
        };
        let total = |sets: &BTreeMap<String, u32>| sets.values().sum::<u32>();
        let active: Vec<String> = self.sets.iter().filter(|(_, n)| **n > 0).map(|(k, _)| k.clone()).collect();
        if d.scaled_to != d.count && d.count == 0 {
            self.sets.values_mut().for_each(|n| *n = 0);
        } else if d.scaled_to != d.count && active.len() > 1 {
            // In proportion, more or less.
            let allowed = 2 * d.count;
            while total(&self.sets) > allowed {
                let largest = active.iter().max_by_key(|k| self.sets[*k]).unwrap();
                *self.sets.get_mut(largest).unwrap() -= 1;
            }
            while total(&self.sets) < allowed {
                let largest = active.iter().max_by_key(|k| self.sets[*k]).unwrap();
                *self.sets.get_mut(largest).unwrap() += 1;
            }
        } else if d.scaled_to != d.count && active.len() == 1 && active[0] == new {
            self.sets.insert(new.clone(), d.count);
        } else {
            let (all, mine) = (total(&self.sets), self.sets[&new]);
            if mine > d.count {
                self.sets.insert(new.clone(), d.count);
            } else if mine < d.count {
                let up = (2 * d.count).saturating_sub(all).min(d.count - mine);
                self.sets.insert(new.clone(), mine + up);
            }
            let mine = self.sets[&new];
            let unavailable = mine - self.available(&new).min(mine);
            let mut down = total(&self.sets).saturating_sub(d.count).saturating_sub(unavailable);
            // `cleanupUnhealthyReplicas`, then the rest.
            for unhealthy in [true, false] {
                for old in active.iter().filter(|k| **k != new) {
                    let all = self.sets[old];
                    let n = if unhealthy { all - self.available(old).min(all) } else { all }.min(down);
                    down -= n;
                    *self.sets.get_mut(old).unwrap() -= n;
                }
            }
        }
        if let Some(deployment) = &mut self.deployment {
            deployment.scaled_to = d.count;
        }
        before != self.sets || d.scaled_to != d.count
    }

    /// `syncReplicaSet`, with its order of who goes first.
    fn set_pods(&mut self) -> bool {
        let mut any = false;
        for (set, wanted) in self.sets.clone() {
            let of_set = |p: &&SimPod| p.pod.digest.as_ref().is_some_and(|d| d.0 == set) && p.pod.lives();
            let mut there: Vec<_> = self.pods.values().filter(of_set).cloned().collect();
            there.sort_by_key(|p| {
                let pending = p.pod.state != PodState::Running && p.pod.ends == 0;
                (p.scheduled, !pending, p.pod.ready, p.cost, std::cmp::Reverse(p.serial))
            });
            let count = there.len() as u32;
            for extra in there.iter().take(count.saturating_sub(wanted) as usize) {
                self.terminate(&extra.pod.name.clone());
                any = true;
            }
            for _ in count..wanted {
                let room = self.quota.is_none_or(|most| (self.pods.len() as u32) < most);
                self.refuse((!room).then(|| trouble::not_made("FailedCreate", "exceeded quota")));
                if room {
                    self.make(&set);
                    any = true;
                }
            }
            if count >= wanted && wanted == 0 {
                self.refuse(None);
            }
        }
        let settled = self.deployment.as_ref().is_some_and(|d| d.scaled_to == d.count);
        let made = self.pods.values().filter(|p| p.pod.lives()).count() as u32;
        if let Some(d) = self.deployment.as_mut().filter(|d| settled && d.made != Some(made)) {
            d.made = Some(made);
            self.changed();
            any = true;
        }
        any
    }

    fn refuse(&mut self, why: Option<Failure>) {
        if let Some(d) = self.deployment.as_mut().filter(|d| d.refusal != why) {
            d.refusal = why;
            self.changed();
        }
    }

    fn make(&mut self, set: &str) {
        self.serial += 1;
        let name = format!("web-{set}-{:04}", self.serial);
        let pod = Pod {
            name: name.clone(),
            digest: Some(RunDigest(set.to_owned())),
            replica: None,
            created: SystemTime::UNIX_EPOCH + Duration::from_secs(self.serial),
            ip: None,
            state: PodState::Starting,
            ends: 0,
            last_end: None,
            since: None,
            ready: false,
            ranked: false,
            terminating: false,
            over: false,
            cause: None,
        };
        self.pod_changed(Event::Pod(pod.clone()));
        let serial = self.serial;
        self.pods.insert(name, SimPod { pod, scheduled: false, cost: 0, serial, ended: false });
    }

    /// One pod gets one step further.
    fn kubelet(&mut self, at: usize) -> bool {
        let Some(name) = self.pods.keys().nth(at).cloned() else { return false };
        let app = self.next_app;
        let Some(sim) = self.pods.get_mut(&name) else { return false };
        let pod = &mut sim.pod;
        if pod.terminating && sim.ended {
            self.pods.remove(&name);
            self.pod_changed(Event::PodGone(name));
            return true;
        }
        match &pod.state {
            _ if pod.terminating && self.slow => return false,
            _ if pod.terminating => (sim.ended, pod.over) = (true, true),
            PodState::Starting if !sim.scheduled && app == App::NoRoom => {
                pod.state = PodState::Unscheduled(trouble::unschedulable("0/1 nodes are available"));
            }
            PodState::Starting if !sim.scheduled => sim.scheduled = true,
            PodState::Starting if app == App::NoImage => {
                pod.state = PodState::Failing(trouble::image("ErrImagePull", "not found"));
            }
            // Its sandbox is there before its application runs.
            PodState::Starting if pod.ip.is_none() => {
                pod.ip = Some(Ipv4Addr::from(0x0a00_0000 + sim.serial as u32).into());
            }
            PodState::Starting | PodState::Exited(_) => pod.state = PodState::Running,
            PodState::Failing(_) if app == App::Good => pod.state = PodState::Starting,
            PodState::Unscheduled(_) if app != App::NoRoom => pod.state = PodState::Starting,
            PodState::Running if !pod.ready => (pod.ready, pod.ranked) = (true, true),
            _ => return false,
        }
        let view = Event::Pod(pod.clone());
        self.pod_changed(view);
        true
    }

    // What must hold once nothing moves.

    /// Every replica that is wanted runs in a pod of its own of the right kind, and no pod runs beside them.
    pub fn check_at_rest(&self) {
        assert!(self.stopping.is_empty(), "never told to be gone: {:?}", self.stopping);
        let mut used = BTreeSet::new();
        for (at, slot) in self.slots.iter().enumerate() {
            let rep = slot.rep.as_ref().unwrap_or_else(|| panic!("ordinal {at} is lost: {:?}", self.core));
            let told = rep.at.as_ref().unwrap_or_else(|| panic!("{} was never told to run: {:?}", rep.id, self.core));
            let pod = self.pods.values().find(|p| super::pods::addresses(&p.pod, &[3000]).as_ref() == Some(told));
            let pod = pod.unwrap_or_else(|| panic!("{} is told to be where nothing is: {:?}", rep.id, self.core));
            assert!(pod.pod.lives() && pod.pod.ready, "{} is not well", rep.id);
            assert!(used.insert(pod.pod.name.clone()), "two replicas in one pod");
            if !self.attached {
                assert_eq!(pod.pod.digest, Some(digest(self.version_wanted)), "it runs the wrong thing");
                assert_eq!(pod.pod.replica, Some(rep.id), "the next router will not know it");
            }
        }
        let living: Vec<_> = self.pods.values().filter(|p| p.pod.lives()).map(|p| &p.pod.name).collect();
        assert_eq!(living.len(), used.len(), "pods that nobody asked for: {living:?}, {used:?}, {:?}", self.core);
        let deployment = self.deployment.as_ref().expect("no workload");
        assert_eq!(deployment.count as usize, self.slots.len());
        assert!(!deployment.holds, "it is held for ever");
        if !self.attached {
            assert_eq!(deployment.template, template(self.version_wanted));
        }
    }

    /// The pods that replicas were told to be in.
    pub fn served(&self) -> Vec<String> {
        let told: Vec<_> = self.slots.iter().filter_map(|s| s.rep.as_ref()?.at.clone()).collect();
        let is = |p: &&SimPod| super::pods::addresses(&p.pod, &[3000]).is_some_and(|a| told.contains(&a));
        self.pods.values().filter(is).map(|p| p.pod.name.clone()).collect()
    }

    pub fn count(&self) -> Option<u32> {
        self.deployment.as_ref().map(|d| d.count)
    }

    /// What the life cycle has not heard yet.
    pub fn unheard(&self) -> impl Iterator<Item = &Seen> {
        self.told.iter()
    }

    pub fn leave_configuration(&mut self) {
        self.stop();
        self.tell_core(Event::Left);
    }
}
