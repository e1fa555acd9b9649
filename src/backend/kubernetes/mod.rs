//! Services as workloads of a Kubernetes cluster.
//!
//! Each service is a Deployment that the router makes, or a workload that is there and is attached. One
//! [`keeper`] looks after each: it hears what the life cycle wants and what the watches show, and lets the
//! rules in [`core`] decide. Nothing is polled. Pods are watched rather than EndpointSlices: they tell
//! addresses, readiness and their end first hand, a controller's step earlier.
//!
//! | file | concept |
//! |---|---|
//! | `connect` | a client of the cluster |
//! | `names` | what objects are called, and what marks them as ours |
//! | `manifest` | a specification as objects; without IO |
//! | `private` | the names by which services find each other |
//! | `core` | the rules of one service; without IO |
//! | `keeper` | carries them out |
//! | `look` | the cluster's objects, as far as the rules need them |
//! | `mirror` | what is there, and who looks after it |
//! | `watch`, `own`, `attached` | watches |
//! | `objects` | writes |
//! | `connect`, `link`, `callers` | the way to a cluster, whether it is there, and what our own traffic looks like |
//! | `declare` | what the configuration says |
//! | `commons` | what a landscape has as a whole |
//! | `adopt` | what an earlier router left |
//! | `strangers`, `left_over` | what is not configured here, and what nobody looks after any more |
//! | `logs`, `job` | output, `prepare` and `test` |
//! | `stuck`, `trouble` | what can go wrong, and what is told of it |
//! | `plan` | what would change, without changing it |

mod adopt;
mod attached;
pub mod callers;
mod commons;
pub mod connect;
mod core;
mod declare;
mod job;
mod keeper;
mod left_over;
mod link;
mod logs;
mod look;
pub mod manifest;
mod mirror;
pub mod names;
mod objects;
mod own;
pub mod plan;
mod prepared;
pub mod private;
mod shared;
mod strangers;
mod stuck;
pub(crate) mod trouble;
mod watch;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use self::core::Event;
use self::declare::Rooms;
use self::keeper::Word;
use self::shared::Shared;
use crate::backend::{
    Abilities, Backend, BackendError, Door, Failure, Found, Job, LogLine, LogQuery, Observer, Progress, ReplicaId, Want,
};
use crate::cluster::KnownMembers;
use crate::config::settings::{Attach, BackendKind, KubernetesSettings, Settings};
use crate::landscape::{ServiceKey, ServiceSpec};

/// How long after the grace a stop of everything may take: pods vanish late.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// The Kubernetes backend. Dropping it ends its tasks and leaves the cluster as it is.
pub struct KubernetesBackend {
    shared: Arc<Shared>,
    /// Which routers of this installation there are.
    members: KnownMembers,
    tasks: Vec<AbortHandle>,
    rooms: Mutex<Rooms>,
    attached: Mutex<HashMap<ServiceKey, Attach>>,
}

impl KubernetesBackend {
    /// A backend that connects in the background; a cluster that is away is told as
    /// [`Seen::EngineLost`](crate::backend::Seen::EngineLost) and waited for. Has to be called in a tokio
    /// runtime. What `settings` say of the way to the cluster lasts as long as the process.
    pub fn new(settings: &Settings, members: KnownMembers, observer: Observer) -> Self {
        let shared = Arc::new(Shared::new(settings.kubernetes.clone(), observer));
        let (link, own) = (shared.clone(), shared.clone());
        let kubernetes = settings.kubernetes.clone();
        let tasks = vec![
            tokio::spawn(async move { link.link.supervise(kubernetes, |state| link.tell_link(state)).await })
                .abort_handle(),
            tokio::spawn(own::own(own)).abort_handle(),
        ];
        let backend = Self { shared, members, tasks, rooms: Mutex::default(), attached: Mutex::default() };
        backend.declare(settings);
        backend
    }

    /// Takes new settings, all but the way to the cluster, and what is configured.
    pub fn reconfigure(&self, settings: &Settings) {
        let before = self.shared.settings.load_full();
        let kubernetes = KubernetesSettings {
            kubeconfig: before.kubeconfig.clone(),
            context: before.context.clone(),
            namespace: before.namespace.clone(),
            instance: before.instance.clone(),
            ..settings.kubernetes.clone()
        };
        if kubernetes != *before {
            self.shared.settings.store(Arc::new(kubernetes));
        }
        self.declare(settings);
    }

    /// There is no other router of this installation: what is not wanted here is not wanted.
    pub fn alone(&self) {
        let all: Vec<(ServiceKey, Option<Attach>)> =
            self.shared.mirror.lock().kept.iter().map(|(key, kept)| (key.clone(), kept.attach.clone())).collect();
        for (key, attach) in &all {
            self.shared.say(key, attach.as_ref(), Word::Event(Event::Alone));
        }
    }

    fn attach_of(&self, key: &ServiceKey) -> Option<Attach> {
        self.attached.lock().get(key).cloned()
    }
}

impl Drop for KubernetesBackend {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.rooms.lock().abort();
        self.shared.abort();
    }
}

#[async_trait]
impl Backend for KubernetesBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Kubernetes
    }

    fn abilities(&self) -> Abilities {
        Abilities { pause: false, local: false, shared_ports: true }
    }

    fn runnable(&self, spec: &ServiceSpec) -> Result<(), String> {
        if self.attached.lock().contains_key(&spec.key) {
            return Ok(());
        }
        manifest::runnable(spec, &self.shared.settings.load())
    }

    async fn adopt(&self) -> Result<Vec<Found>, BackendError> {
        let found = adopt::adopt(&self.shared).await?;
        self.shared.spawn(self.shared.clone().part_with_strangers(self.members.clone()));
        Ok(found)
    }

    fn patience(&self) -> Option<Duration> {
        Some(keeper::PATIENCE)
    }

    fn scaled(&self, service: &ServiceKey) -> Option<u32> {
        self.shared.mirror.lock().kept.get(service).and_then(|kept| *kept.scaled.borrow())
    }

    fn apply(&self, want: Want) {
        let key = want.service.clone();
        self.shared.say(&key, self.attach_of(&key).as_ref(), Word::Want(want));
    }

    async fn run_job(&self, job: Job, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure> {
        job::run(&self.shared, job, progress).await
    }

    async fn owns_listener(&self, _: &ServiceKey, _: ReplicaId, _: &Door) -> Result<(), String> {
        // A pod has an address of its own: nobody else can listen there.
        Ok(())
    }

    async fn logs(&self, service: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, BackendError> {
        let kept = self.shared.mirror.lock().kept.get(service).map(|k| (k.sources.clone(), k.attach.clone()));
        let Some((sources, attach)) = kept else {
            let (_, empty) = mpsc::channel(1);
            return Ok(empty);
        };
        let cluster = self.shared.link.now();
        let cluster = cluster.ok_or_else(|| BackendError::Unreachable("the cluster is not known yet".into()))?;
        let jobs = match query.replica {
            None => self.shared.job_book(&service.landscape).lines(),
            Some(_) => Vec::new(),
        };
        Ok(logs::read(cluster, attach.and_then(|a| a.namespace), sources, jobs, query))
    }

    async fn shutdown(&self, stop: bool, grace: Duration) {
        if stop {
            self.stop_everything(grace).await;
        }
        self.tasks.iter().for_each(AbortHandle::abort);
        self.rooms.lock().abort();
        self.shared.abort();
    }
}

impl KubernetesBackend {
    async fn stop_everything(&self, grace: Duration) {
        let all: Vec<(ServiceKey, Option<Attach>)> =
            self.shared.mirror.lock().kept.iter().map(|(key, kept)| (key.clone(), kept.attach.clone())).collect();
        for (key, attach) in &all {
            let want = Want { service: key.clone(), replicas: Vec::new(), number: 0, grace };
            self.shared.say(key, attach.as_ref(), Word::Want(want));
        }
        let gone = async {
            loop {
                let still = self.shared.mirror.lock().kept.values().any(|kept| !kept.sources.borrow().is_empty());
                if !still {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(grace + STOP_SLACK, gone).await.is_err() {
            tracing::warn!("some pods are not gone yet: the cluster ends them");
        }
    }
}
