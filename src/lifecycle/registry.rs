//! Every service of the router, and the one way to change which there are.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, First, Input, Parts};
use super::adoption::Adoption;
use super::budget::GateBudget;
use super::command::Handle;
use super::consent::{Order, Voice};
use super::events::{LifeEvent, What};
use super::follower::Follower;
use super::landscape::Landscape;
use super::ledger::Ledger;
use super::machine::{Config, Event};
use super::neighbours::Neighbours;
use super::pins::Pins;
use super::prepare::{Prepare, Turn};
use super::service::Service;
use super::status::StateName;
use crate::backend::{Backend, Failure, Observation, Progress};
use crate::config::settings::{BackendKind, Policy};
use crate::landscape::{LandscapeSpec, ServiceKey, ServiceSpec};
use crate::observe::ServiceStats;
use crate::probe::Prober;

/// Events that a slow listener may lag behind before it misses some.
const EVENTS: usize = 1024;

/// One service as the configuration has it.
#[derive(Clone)]
pub struct ServiceSetup {
    /// What runs.
    pub spec: Arc<ServiceSpec>,
    /// How.
    pub policy: Arc<Policy>,
    /// Its landscape.
    pub landscape: Arc<LandscapeSpec>,
    /// Who runs it.
    pub backend: Arc<dyn Backend>,
    /// Where other routers have the same replicas: the way to them. What they say comes by
    /// [`Lifecycle::order`].
    pub voice: Option<Voice>,
}

/// What the lifecycles of all services share.
#[derive(Clone, Debug)]
pub struct LifecycleSettings {
    /// The router's state folder.
    pub state: PathBuf,
    /// Bounds of held requests.
    pub budget: Arc<GateBudget>,
    /// The most memory in bytes that frozen replicas may keep, by their plans; the longest frozen are ended.
    pub paused_memory: u64,
}

#[derive(Debug)]
struct Inner {
    settings: LifecycleSettings,
    services: Mutex<BTreeMap<ServiceKey, Handle>>,
    /// Removed or replaced, and not yet at their end; the oldest first.
    ending: Mutex<Vec<Handle>>,
    landscapes: Mutex<HashMap<Arc<str>, Arc<Landscape>>>,
    /// Of landscapes that were removed, while their steps are not at their end.
    turns: Mutex<HashMap<Arc<str>, Weak<Turn>>>,
    prober: Arc<Prober>,
    events: broadcast::Sender<LifeEvent>,
    ledger: Arc<Ledger>,
    pins: Arc<Pins>,
    adoption: Adoption,
    neighbours: Arc<Neighbours>,
}

/// See the module's words. Everything here runs on the control runtime.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

impl Lifecycle {
    /// No services yet. Reads what `state` knows: pins.
    pub fn new(settings: LifecycleSettings) -> Self {
        let inner = Arc::new(Inner {
            ledger: Arc::new(Ledger::new(settings.paused_memory)),
            pins: Arc::new(Pins::read(settings.state.join("pins.json"))),
            settings,
            services: Mutex::default(),
            ending: Mutex::default(),
            landscapes: Mutex::default(),
            turns: Mutex::default(),
            prober: Arc::default(),
            events: broadcast::channel(EVENTS).0,
            adoption: Adoption::default(),
            neighbours: Arc::default(),
        });
        Self { inner }
    }

    /// Who has which address on its landscape's network.
    pub fn neighbours(&self) -> &Arc<Neighbours> {
        &self.inner.neighbours
    }

    /// Another bound for what frozen replicas keep, see [`LifecycleSettings::paused_memory`].
    pub fn set_paused_memory(&self, bytes: u64) {
        self.inner.ledger.resize(bytes);
    }

    /// Connects a backend, before the first [`Lifecycle::configure`]: its observations go to the
    /// services, and what an earlier router left is found. Services of this backend do nothing until
    /// that is known; an engine that does not answer is asked again until it does.
    pub fn connect(&self, backend: Arc<dyn Backend>, observations: mpsc::UnboundedReceiver<Observation>) {
        tokio::spawn(self.clone().pump(backend.kind(), observations));
        let lifecycle = Arc::downgrade(&self.inner);
        self.inner.adoption.begin(backend, move |key, kind| {
            let inner = lifecycle.upgrade()?;
            let services = inner.services.lock();
            Some(services.get(key).is_some_and(|h| h.backend == kind))
        });
    }

    async fn pump(self, kind: BackendKind, mut observations: mpsc::UnboundedReceiver<Observation>) {
        let inner = Arc::downgrade(&self.inner);
        drop(self);
        while let Some(Observation { service, seen }) = observations.recv().await {
            let Some(inner) = inner.upgrade() else { return };
            inner.neighbours.observe(&service, &seen);
            // A service's replicas are the oldest life's that goes on: the next one waits for its end.
            let its = |h: &&Handle| h.backend == kind && *h.service.key() == service && !h.done.is_cancelled();
            let ending = inner.ending.lock().iter().find(its).cloned();
            let handle = ending.or_else(|| inner.services.lock().get(&service).filter(its).cloned());
            if let Some(handle) = handle {
                // A failed send: it has ended since.
                drop(handle.to.send(Input::Event(Event::Seen(seen))));
            }
        }
    }

    /// Makes the services be these: new ones are made, changed ones told, absent ones removed. The
    /// first call is for what runs from the start; afterwards what was found and is in none of
    /// `setups` is stopped.
    pub fn configure(&self, setups: Vec<ServiceSetup>) {
        let inner = &self.inner;
        inner.ending.lock().retain(|h| !h.done.is_cancelled());
        let mut gone: Vec<ServiceKey> = inner.services.lock().keys().cloned().collect();
        gone.retain(|key| !setups.iter().any(|s| s.spec.key == *key));
        for key in gone {
            self.remove(&key);
        }
        for setup in &setups {
            let landscape = self.landscape(&setup.landscape);
            landscape.prepare.configure(setup.landscape.clone());
        }
        for setup in setups {
            let landscape = self.landscape(&setup.landscape);
            let key = setup.spec.key.clone();
            let known = inner.services.lock().get(&key).cloned();
            match known {
                Some(handle) if handle.backend == setup.backend.kind() => {
                    let config = config_of(&setup, &landscape);
                    // A failed send: the router is ending.
                    drop(handle.to.send(Input::Event(Event::Configured(config))));
                }
                Some(old) => self.replace(old, setup, landscape),
                None => {
                    self.spawn(setup, landscape, Arc::default());
                }
            }
        }
        let used: Vec<Arc<str>> = inner.services.lock().keys().map(|k| k.landscape.clone()).collect();
        let mut turns = inner.turns.lock();
        turns.retain(|_, turn| turn.strong_count() > 0);
        inner.landscapes.lock().retain(|id, landscape| {
            let stays = used.contains(id);
            if !stays {
                landscape.prepare.remove();
                turns.insert(id.clone(), Arc::downgrade(landscape.prepare.turn()));
            }
            stays
        });
        drop(turns);
        inner.adoption.configured();
    }

    fn landscape(&self, spec: &Arc<LandscapeSpec>) -> Arc<Landscape> {
        let folder = self.inner.settings.state.join("prepare");
        let turn = self.inner.turns.lock().get(&spec.home.id).and_then(Weak::upgrade).unwrap_or_default();
        let new = || Arc::new(Landscape::new(Prepare::new(&folder, spec.clone(), turn)));
        let mut all = self.inner.landscapes.lock();
        all.entry(spec.home.id.clone()).or_insert_with(new).clone()
    }

    fn remove(&self, key: &ServiceKey) {
        let Some(handle) = self.inner.services.lock().remove(key) else { return };
        self.inner.pins.set(key, false);
        self.inner.ending.lock().push(handle.clone());
        // A failed send: it has ended already.
        drop(handle.to.send(Input::Event(Event::Remove)));
    }

    /// The same service on another backend: another life, with the same counters and pin. What is held,
    /// and what comes by the old routes, waits for the new one.
    fn replace(&self, old: Handle, setup: ServiceSetup, landscape: Arc<Landscape>) {
        self.inner.ending.lock().push(old.clone());
        let new = self.spawn(setup, landscape, old.service.stats().clone());
        old.service.succeeded_by(new);
        // A failed send: it has ended already.
        drop(old.to.send(Input::Event(Event::Remove)));
    }

    fn spawn(&self, setup: ServiceSetup, landscape: Arc<Landscape>, stats: Arc<ServiceStats>) -> Arc<Service> {
        let inner = &self.inner;
        let key = setup.spec.key.clone();
        let service = Service::with(key.clone(), stats, setup.policy.hold.clone(), inner.settings.budget.clone());
        let (to, inbox) = mpsc::unbounded_channel();
        let (state_to, state) = watch::channel(StateName::Off);
        let done = CancellationToken::new();
        let kind = setup.backend.kind();
        landscape.join(&setup.spec, &setup.policy, &to);
        let actor = Actor::new(Parts {
            service: service.clone(),
            config: config_of(&setup, &landscape),
            backend: setup.backend,
            prober: inner.prober.clone(),
            voice: setup.voice,
            landscape,
            ledger: inner.ledger.clone(),
            events: inner.events.clone(),
            to_self: to.clone(),
            inbox,
            state: state_to,
            done: done.clone(),
        });
        let handle = Handle { service: service.clone(), to, state, done, backend: kind, pins: inner.pins.clone() };
        if inner.pins.has(&key) {
            // The actor has not begun: its channel is open.
            drop(handle.to.send(Input::Event(Event::Pin)));
        }
        inner.services.lock().insert(key.clone(), handle);
        let before: Vec<CancellationToken> =
            inner.ending.lock().iter().filter(|h| *h.service.key() == key).map(|h| h.done.clone()).collect();
        let found = inner.adoption.found(&key, kind);
        let trouble = inner.adoption.trouble(kind);
        let found = Box::pin(async move {
            // The same name was removed a moment ago: two actors would undo each other's work.
            for before in before {
                before.cancelled().await;
            }
            found.await
        });
        tokio::spawn(actor.run(First { found, trouble }));
        service
    }

    /// Tells a service what all routers that share it have come to.
    pub fn order(&self, key: &ServiceKey, order: Order) {
        let its = |h: &&Handle| h.service.key() == key && !h.done.is_cancelled();
        let ending = self.inner.ending.lock().iter().find(its).cloned();
        if let Some(handle) = ending.or_else(|| self.get(key)) {
            // A failed send: it has ended since.
            drop(handle.to.send(Input::Event(Event::Ordered(order))));
        }
    }

    /// One service.
    pub fn get(&self, key: &ServiceKey) -> Option<Handle> {
        self.inner.services.lock().get(key).cloned()
    }

    /// All services, in the order of their names.
    pub fn all(&self) -> Vec<Handle> {
        self.inner.services.lock().values().cloned().collect()
    }

    /// Everything that happens from now on.
    pub fn events(&self) -> broadcast::Receiver<LifeEvent> {
        self.inner.events.subscribe()
    }

    /// Runs a landscape's `prepare` again (`again`), or unless it has run; told as events of the landscape.
    /// `None`: no such landscape, or none of its services can run here.
    pub async fn prepare(&self, id: &str, backend: &Arc<dyn Backend>, again: bool) -> Option<Result<(), Failure>> {
        let landscape = self.inner.landscapes.lock().get(id).cloned()?;
        let tell = |what| {
            // Without a listener there is nobody to tell.
            drop(self.inner.events.send(LifeEvent::of_landscape(id, what)));
        };
        let mut progress = landscape.prepare.progress();
        let mut run = std::pin::pin!(landscape.prepare.run(backend, again));
        let result = loop {
            tokio::select! {
                result = &mut run => break result,
                Ok(()) = progress.changed() => {
                    if let Some(progress) = progress.borrow_and_update().clone() {
                        tell(What::Progress { progress });
                    }
                }
            }
        };
        tell(match &result {
            Ok(()) => What::Progress { progress: Progress { text: "prepare is done".to_owned(), fraction: Some(1.0) } },
            Err(failure) => What::Failed { failure: failure.clone() },
        });
        Some(result)
    }

    /// Gives every life to another process: nothing more is started, stopped or probed here. What is
    /// left forwards.
    pub async fn hand_over(&self) -> Vec<Follower> {
        let mut followers = Vec::new();
        for handle in self.all() {
            let (reply, answer) = tokio::sync::oneshot::channel();
            // A failed send, or no answer: it has ended already, and holds nothing.
            if handle.to.send(Input::HandOver(reply)).is_ok()
                && let Ok(follower) = answer.await
            {
                followers.push(follower);
            }
        }
        followers
    }

    /// Ends every lifecycle: requests in flight have their drain timeout, held ones are answered.
    /// Where `stops` says so the replicas end too, and are awaited; otherwise they are left to the next
    /// router.
    pub async fn shutdown(&self, stops: impl Fn(BackendKind) -> bool) {
        let mut handles = self.all();
        handles.extend(self.inner.ending.lock().iter().cloned());
        for handle in &handles {
            let stop = stops(handle.backend);
            // A failed send: it has ended already.
            drop(handle.to.send(Input::Event(Event::Shutdown { stop })));
        }
        for handle in handles {
            handle.done.cancelled().await;
        }
    }
}

fn config_of(setup: &ServiceSetup, landscape: &Landscape) -> Config {
    Config {
        spec: setup.spec.clone(),
        policy: setup.policy.clone(),
        runnable: setup.backend.runnable(&setup.spec),
        prepared: landscape.prepare.is_done(),
    }
}
