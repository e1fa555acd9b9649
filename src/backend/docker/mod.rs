//! Replicas as containers of a Docker Engine.
//!
//! [`Engine`](engine::Engine) holds the connection and reads the event stream; a
//! [`Replica`](replica::Replica) task per container brings it to what is wished; [`Shared`]
//! is where both meet. Nothing is polled: an event of the engine nudges the task it is about, which
//! then looks for itself, and after a lost connection every task looks anew.
//!
//! | file | concept |
//! |---|---|
//! | `engine` | the connection, lost and made again |
//! | `replica`, `depart` | one container, from wish to world, and out of it |
//! | `ending` | an end that nobody asked for |
//! | `shared` | who is there; strays |
//! | `adopt` | what an earlier router left |
//! | `container` | a specification as a container's configuration |
//! | `images`, `pull`, `credentials` | images |
//! | `mounts`, `beneath` | the shared file system, which cannot be left |
//! | `networks` | one a landscape |
//! | `logs`, `follow` | output |
//! | `job` | `prepare` and `test` |
//! | `labels`, `state`, `trouble`, `clock` | what things are called and what the engine's words mean |

mod adopt;
mod beneath;
mod clock;
mod container;
mod credentials;
mod depart;
mod ending;
mod engine;
mod follow;
mod images;
mod job;
mod labels;
mod logs;
mod mounts;
mod networks;
mod pull;
mod replica;
mod shared;
mod state;
mod trouble;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use self::labels::Instance;
use self::shared::Shared;
use crate::backend::{
    Abilities, Backend, BackendError, Door, Failure, Found, Job, LogLine, LogQuery, Network, Observer, Progress,
    ReplicaId, Want,
};
use crate::config::settings::{BackendKind, DockerSettings};
use crate::landscape::{LandscapeId, ServiceKey, ServiceSpec};

/// How long after the grace a stop of everything may take.
const STOP_SLACK: Duration = Duration::from_secs(10);

/// The Docker backend. Dropping it ends its tasks and leaves the containers as they are.
pub struct DockerBackend {
    shared: Arc<Shared>,
    supervisor: AbortHandle,
}

impl DockerBackend {
    /// A backend that connects in the background; an engine that is away is told as
    /// [`Seen::EngineLost`](crate::backend::Seen::EngineLost) and waited for. Has to be called in a
    /// tokio runtime.
    ///
    /// `instance` is this router's own id: random, kept in `state`, never shared by two routers that
    /// run side by side. `state` is the router's folder for what outlives it. `network`: the private network,
    /// if the router has one.
    pub fn new(
        settings: DockerSettings,
        instance: String,
        state: &Path,
        network: Option<Arc<dyn Network>>,
        observer: Observer,
    ) -> Self {
        let instance = Instance(instance);
        let shared = Arc::new(Shared::new(settings, instance.clone(), state.join("docker-mounts"), network, observer));
        let listener = Arc::new(Arc::clone(&shared));
        let supervisor = tokio::spawn(Arc::clone(&shared.engine).supervise(instance, listener)).abort_handle();
        Self { shared, supervisor }
    }

    /// Takes new settings (all but `host`, which lasts as long as the process) and the ids of the
    /// landscapes that are configured: networks of others are removed, in the background, once nothing
    /// uses them.
    pub async fn reconfigure(&self, settings: DockerSettings, landscapes: &HashSet<LandscapeId>) {
        self.shared.settings.store(Arc::new(settings));
        self.keep_only(landscapes);
        let shared = Arc::clone(&self.shared);
        // A reload does not wait for the engine.
        tokio::spawn(async move {
            if let Ok(up) = shared.engine.up_now().await {
                shared.tidy(&up).await;
            }
        });
    }

    /// Says which landscapes are configured: what others leave behind is removed once nothing uses it.
    pub fn keep_only(&self, landscapes: &HashSet<LandscapeId>) {
        self.shared.configured(landscapes);
    }

    async fn stop_everything(&self, grace: Duration) {
        self.shared.all_gone(grace);
        let Ok(up) = self.shared.engine.up_now().await else {
            tracing::warn!("the Docker engine does not answer: the containers stay");
            return;
        };
        let mut gone = self.shared.gone();
        let all = async {
            while !self.shared.is_empty() {
                gone.changed().await.ok()?;
            }
            Some(())
        };
        if tokio::time::timeout(grace + STOP_SLACK, all).await.is_err() {
            tracing::warn!("some containers did not stop in time: the next router removes them");
        }
        if let Err(trouble) = self.shared.networks.sweep(&up, |l| self.shared.is_used(l)).await {
            tracing::warn!("networks stay: {trouble:?}");
        }
    }
}

impl Drop for DockerBackend {
    fn drop(&mut self) {
        self.supervisor.abort();
        self.shared.abort();
    }
}

#[async_trait]
impl Backend for DockerBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Docker
    }

    fn abilities(&self) -> Abilities {
        Abilities { pause: true, local: self.shared.engine.is_local(), shared_ports: true }
    }

    fn runnable(&self, spec: &ServiceSpec) -> Result<(), String> {
        container::ground(&self.shared.settings.load()).runnable(spec)
    }

    async fn adopt(&self) -> Result<Vec<Found>, BackendError> {
        adopt::adopt(&self.shared).await
    }

    fn apply(&self, want: Want) {
        self.shared.apply(&want);
    }

    async fn run_job(&self, job: Job, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure> {
        job::run(&self.shared, job, progress).await
    }

    async fn owns_listener(&self, _: &ServiceKey, _: ReplicaId, _: &Door) -> Result<(), String> {
        // A container has an address of its own: nobody else can listen there.
        Ok(())
    }

    async fn logs(&self, service: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, BackendError> {
        follow::logs(&self.shared, service, query).await
    }

    async fn shutdown(&self, stop: bool, grace: Duration) {
        self.shared.close();
        job::end_all(&self.shared).await;
        if stop {
            self.stop_everything(grace).await;
        }
        self.supervisor.abort();
        self.shared.abort();
    }
}
