//! What all tasks of the backend share: the parts, and who is there.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptionsBuilder;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;

use super::depart;
use super::engine::{Died, Engine, Listener, Up};
use super::images::Images;
use super::labels::{self, Instance, replica_of};
use super::mounts::Mounts;
use super::networks::Networks;
use super::replica::{Memory, Replica, Wish};
use super::trouble::{CALL, Trouble, judge, text, within};
use crate::backend::book::Book;
use crate::backend::{Network, Observation, Observer, ReplicaId, Seen, Want};
use crate::config::settings::DockerSettings;
use crate::landscape::{LandscapeId, ServiceKey};

/// Containers that are made and started at a time: the engine does little more at once.
const STARTS: usize = 8;
/// The grace of containers that nobody knows.
pub(super) const STRAY_GRACE: Duration = Duration::from_secs(10);

pub(super) struct Shared {
    pub(super) instance: Instance,
    pub(super) engine: Arc<Engine>,
    pub(super) settings: ArcSwap<DockerSettings>,
    pub(super) images: Arc<Images>,
    pub(super) networks: Networks,
    pub(super) mounts: Mounts,
    pub(super) starts: Semaphore,
    /// The engine was found to have no init to offer.
    pub(super) no_init: AtomicBool,
    /// What an earlier router left was looked through: from then on, what nobody knows is a stray.
    pub(super) adopted: AtomicBool,
    /// The landscapes of the configuration, once that is known.
    configured: ArcSwapOption<HashSet<LandscapeId>>,
    /// Names of the containers of jobs under way.
    pub(super) jobs: Mutex<HashSet<String>>,
    observer: Observer,
    services: Mutex<Services>,
    /// Changes whenever a replica is gone.
    gone: watch::Sender<()>,
}

#[derive(Default)]
struct Services {
    by_key: HashMap<ServiceKey, Service>,
    job_books: HashMap<LandscapeId, Arc<Book>>,
    /// Services were told that the engine is lost.
    lost: bool,
    /// The backend has ended: nothing new begins.
    closed: bool,
}

/// One service's replicas.
struct Service {
    replicas: HashMap<ReplicaId, Handle>,
    book: Arc<Book>,
    /// Changes whenever a replica begins to run.
    runs: watch::Sender<()>,
}

struct Handle {
    wish: watch::Sender<Wish>,
    nudge: Arc<Notify>,
    died: watch::Sender<Option<Died>>,
    task: AbortHandle,
}

/// What `logs` needs of a service.
pub(super) struct Sources {
    pub(super) ids: Vec<ReplicaId>,
    pub(super) book: Arc<Book>,
    pub(super) runs: watch::Receiver<()>,
}

impl Shared {
    pub(super) fn new(
        settings: DockerSettings,
        instance: Instance,
        folder: std::path::PathBuf,
        private: Option<Arc<dyn Network>>,
        observer: Observer,
    ) -> Self {
        Self {
            engine: Arc::new(Engine::new(settings.host.as_deref())),
            settings: ArcSwap::from_pointee(settings),
            images: Arc::new(Images::new()),
            networks: Networks::new(instance.clone(), private),
            mounts: Mounts::new(instance.clone(), folder),
            starts: Semaphore::new(STARTS),
            no_init: AtomicBool::new(false),
            adopted: AtomicBool::new(false),
            configured: ArcSwapOption::empty(),
            jobs: Mutex::default(),
            observer,
            services: Mutex::default(),
            gone: watch::Sender::new(()),
            instance,
        }
    }

    /// Tells what was seen. With nobody left to hear, the router is ending.
    pub(super) fn see(&self, service: &ServiceKey, seen: Seen) {
        let _ = self.observer.send(Observation { service: service.clone(), seen });
    }

    /// Hands every replica its new wish.
    pub(super) fn apply(self: &Arc<Self>, want: &Want) {
        let mut services = self.services.lock();
        if services.closed {
            return;
        }
        if !services.by_key.contains_key(&want.service)
            && let Some(why) = self.engine.down()
        {
            services.lost = true;
            self.see(&want.service, Seen::EngineLost(why));
        }
        let service = services.by_key.entry(want.service.clone()).or_default();
        for (id, handle) in &service.replicas {
            if !want.replicas.iter().any(|w| w.id == *id) {
                handle.wish.send_replace(Wish::Gone(want.grace));
            }
        }
        for wanted in &want.replicas {
            let wish = Wish::Be(Arc::clone(&wanted.spec), wanted.goal);
            match service.replicas.get(&wanted.id) {
                Some(handle) => {
                    handle.wish.send_if_modified(|now| now.follow(wish));
                }
                None => self.add(service, &want.service, wanted.id, wish, Memory::default()),
            }
        }
    }

    /// Takes a container over that is there already; `false` if it has a task.
    pub(super) fn take_over(self: &Arc<Self>, key: &ServiceKey, id: ReplicaId, wish: Wish, memory: Memory) -> bool {
        let mut services = self.services.lock();
        if services.closed {
            return false;
        }
        let service = services.by_key.entry(key.clone()).or_default();
        if service.replicas.contains_key(&id) {
            return false;
        }
        self.add(service, key, id, wish, memory);
        true
    }

    fn add(self: &Arc<Self>, service: &mut Service, key: &ServiceKey, id: ReplicaId, wish: Wish, memory: Memory) {
        let (wish, wished) = watch::channel(wish);
        let (died, death) = watch::channel(None);
        let nudge = Arc::new(Notify::new());
        // One look right after the start of the task, for what happened before it listened.
        nudge.notify_one();
        let replica = Replica {
            shared: Arc::clone(self),
            key: key.clone(),
            id,
            wish: wished,
            nudge: Arc::clone(&nudge),
            death,
            book: Arc::clone(&service.book),
            memory,
        };
        let task = tokio::spawn(replica.run()).abort_handle();
        service.replicas.insert(id, Handle { wish, nudge, died, task });
    }

    /// A replica is gone, as wished.
    pub(super) fn over(&self, key: &ServiceKey, id: ReplicaId) {
        if let Some(service) = self.services.lock().by_key.get_mut(key) {
            service.replicas.remove(&id);
        }
        self.see(key, Seen::Stopped(id));
        self.gone.send_replace(());
    }

    /// Changes whenever a replica is gone.
    pub(super) fn gone(&self) -> watch::Receiver<()> {
        self.gone.subscribe()
    }

    /// A replica of the service began to run.
    pub(super) fn runs(&self, key: &ServiceKey) {
        if let Some(service) = self.services.lock().by_key.get(key) {
            service.runs.send_replace(());
        }
    }

    /// Where a service's lines come from.
    pub(super) fn sources(&self, key: &ServiceKey) -> Option<Sources> {
        let services = self.services.lock();
        let service = services.by_key.get(key)?;
        let mut ids: Vec<ReplicaId> = service.replicas.keys().copied().collect();
        ids.sort_unstable();
        Some(Sources { ids, book: Arc::clone(&service.book), runs: service.runs.subscribe() })
    }

    /// The lines of a landscape's jobs.
    pub(super) fn job_book(&self, landscape: &LandscapeId) -> Arc<Book> {
        Arc::clone(self.services.lock().job_books.entry(landscape.clone()).or_default())
    }

    /// Says which landscapes there are.
    pub(super) fn configured(&self, landscapes: &HashSet<LandscapeId>) {
        self.configured.store(Some(Arc::new(landscapes.clone())));
    }

    /// Removes what landscapes that left the configuration leave behind, once nothing uses it.
    pub(super) async fn tidy(&self, up: &Up) {
        let Some(configured) = self.configured.load_full() else { return };
        self.retain(|l| configured.contains(l));
        if let Err(trouble) = self.networks.sweep(up, |l| configured.contains(l) || self.is_used(l)).await {
            tracing::warn!("networks of removed landscapes stay for now: {trouble:?}");
        }
    }

    /// Whether nothing of a landscape that left the configuration runs any more.
    pub(super) fn is_forsaken(&self, landscape: &str) -> bool {
        self.configured.load().as_ref().is_some_and(|c| !c.contains(landscape)) && !self.is_used(landscape)
    }

    /// Forgets services without replicas that `keep` does not want.
    fn retain(&self, keep: impl Fn(&str) -> bool) {
        let mut services = self.services.lock();
        services.by_key.retain(|key, service| keep(&key.landscape) || !service.replicas.is_empty());
        services.job_books.retain(|landscape, _| keep(landscape));
    }

    /// Whether any replica of the landscape has a task.
    pub(super) fn is_used(&self, landscape: &str) -> bool {
        let services = self.services.lock();
        services.by_key.iter().any(|(key, s)| *key.landscape == *landscape && !s.replicas.is_empty())
    }

    /// Sends every replica away.
    pub(super) fn all_gone(&self, grace: Duration) {
        for service in self.services.lock().by_key.values() {
            for handle in service.replicas.values() {
                handle.wish.send_replace(Wish::Gone(grace));
            }
        }
    }

    /// Whether no replica is left.
    pub(super) fn is_empty(&self) -> bool {
        self.services.lock().by_key.values().all(|s| s.replicas.is_empty())
    }

    /// Nothing new begins.
    pub(super) fn close(&self) {
        self.services.lock().closed = true;
    }

    /// Ends every task where it stands.
    pub(super) fn abort(&self) {
        let mut services = self.services.lock();
        services.closed = true;
        for (_, service) in services.by_key.drain() {
            for handle in service.replicas.values() {
                handle.task.abort();
            }
        }
    }

    /// Whether a start that failed so goes better at the next attempt, because what it lacked is done
    /// without from now on, or made anew.
    pub(super) fn mended(&self, landscape: &LandscapeId, error: &bollard::errors::Error) -> bool {
        let said = text(error);
        if said.contains("docker-init") && !self.no_init.swap(true, Ordering::Relaxed) {
            tracing::warn!("the engine has no docker-init: services with steps run without an init");
            return true;
        }
        let network = said.contains("network") && said.contains("not found");
        if network {
            self.networks.forget(landscape);
        }
        network
    }

    /// Every container of this instance.
    pub(super) async fn containers(&self, up: &Up) -> Result<Vec<ContainerSummary>, Trouble> {
        let filters = HashMap::from([("label".to_owned(), vec![self.instance.filter()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        within(CALL, up.docker.list_containers(Some(options))).await.map_err(|e| judge("list containers", &e))
    }

    /// Sends away what carries our labels and nobody here knows: what an answer that was lost left
    /// behind, or a job that the engine's absence ended.
    async fn strays(self: &Arc<Self>, up: &Up) -> Result<(), Trouble> {
        for found in self.containers(up).await? {
            let labels = found.labels.unwrap_or_default();
            let Some(id) = found.id else { continue };
            match replica_of(&labels) {
                Some((key, replica)) => {
                    let ran = matches!(
                        found.state,
                        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
                    );
                    let memory = Memory { epoch: up.epoch, made: true, ran, ..Memory::default() };
                    if self.take_over(&key, replica, Wish::Gone(STRAY_GRACE), memory) {
                        tracing::info!(service = %key, %replica, "removing a container that nobody wants");
                    }
                }
                None if self.jobs.lock().iter().any(|j| is_called(found.names.as_deref(), j)) => {}
                None => {
                    tracing::info!(container = %id, landscape = ?labels::landscape_of(&labels), "removing a job's rest");
                    depart::remove(up, &id).await?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a container has the name; the engine writes a slash before it.
fn is_called(names: Option<&[String]>, name: &str) -> bool {
    names.unwrap_or_default().iter().any(|n| n.trim_start_matches('/') == name)
}

impl Default for Service {
    fn default() -> Self {
        Self { replicas: HashMap::new(), book: Arc::default(), runs: watch::Sender::new(()) }
    }
}

impl Wish {
    /// Takes a newer wish; says whether it is another one. Who was told to go goes.
    fn follow(&mut self, newer: Wish) -> bool {
        let same = match (&*self, &newer) {
            (Wish::Gone(_), _) => true,
            (Wish::Be(_, a), Wish::Be(_, b)) => a == b,
            _ => false,
        };
        if !same {
            *self = newer;
        }
        !same
    }
}

impl Listener for Arc<Shared> {
    async fn back(&self, up: &Up) {
        {
            let mut services = self.services.lock();
            if std::mem::take(&mut services.lost) {
                for key in services.by_key.keys() {
                    self.see(key, Seen::EngineBack);
                }
            }
        }
        if self.adopted.load(Ordering::Acquire)
            && let Err(trouble) = self.strays(up).await
        {
            tracing::warn!("strays are looked for at the next connection: {trouble:?}");
        }
        self.tidy(up).await;
    }

    fn lost(&self, why: &str) {
        let mut services = self.services.lock();
        services.lost = true;
        for key in services.by_key.keys() {
            self.see(key, Seen::EngineLost(why.to_owned()));
        }
    }

    fn nudge(&self, labels: &HashMap<String, String>, died: Option<Died>) {
        let Some((key, id)) = replica_of(labels) else { return };
        let services = self.services.lock();
        if let Some(handle) = services.by_key.get(&key).and_then(|s| s.replicas.get(&id)) {
            if died.is_some() {
                handle.died.send_replace(died);
            }
            handle.nudge.notify_one();
        }
    }
}
