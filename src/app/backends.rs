//! The backends of this process: processes always, Kubernetes and Docker from the first service that asks
//! for them; Docker also
//! from the start where an earlier router used it: what that one left has to be looked through, though
//! nothing may ask for Docker any more.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::cluster::{Routers, Seat};
use super::private::Private;
use super::router::landscape_ids;
use crate::backend::docker::DockerBackend;
use crate::backend::kubernetes::KubernetesBackend;
use crate::backend::process::{ProcessBackend, ProcessOptions};
use crate::backend::{Backend, BackendError, Network};
use crate::config::settings::{BackendKind, OnExit, Settings};
use crate::lifecycle::Lifecycle;

/// A file in `state`: an engine was used from here.
const DOCKER_USED: &str = "docker-used";

/// See the module's words.
pub struct Backends {
    process: Arc<ProcessBackend>,
    docker: Mutex<Option<Arc<DockerBackend>>>,
    seat: Seat,
    /// Where services run on Kubernetes, or have names there.
    routers: OnceLock<Routers>,
    kubernetes: Mutex<Option<Arc<KubernetesBackend>>>,
    instance: String,
    for_containers: Option<Arc<dyn Network>>,
}

impl Backends {
    /// Starts the process backend and connects it to the life cycles.
    pub fn start(
        settings: &Settings,
        instance: &str,
        lifecycle: &Lifecycle,
        private: Option<&Private>,
        seat: Seat,
    ) -> Result<Self, BackendError> {
        // An engine's bridges are the machine's.
        let network = private.and_then(Private::network).cloned();
        let for_containers = network.clone().filter(|n| n.hub().is_none()).map(|n| n as Arc<dyn Network>);
        let network = network.map(|n| n as Arc<dyn Network>);
        let (observer, observations) = mpsc::unbounded_channel();
        let options = ProcessOptions {
            network,
            hosts: private.map(|p| p.hosts().clone()),
            ..ProcessOptions::new(settings.process.clone(), &settings.state)
        };
        let process = Arc::new(ProcessBackend::new(options, observer)?);
        lifecycle.connect(process.clone(), observations);
        let backends = Self {
            process,
            docker: Mutex::default(),
            seat,
            routers: OnceLock::new(),
            kubernetes: Mutex::default(),
            instance: instance.to_owned(),
            for_containers,
        };
        if settings.state.join(DOCKER_USED).exists() {
            backends.of(BackendKind::Docker, settings, lifecycle);
        }
        if settings.kubernetes.names.is_some() {
            backends.take_part(settings, lifecycle);
        }
        Ok(backends)
    }

    /// The backend of this kind. An engine that does not answer is no error: what needs it waits.
    pub fn of(&self, kind: BackendKind, settings: &Settings, lifecycle: &Lifecycle) -> Arc<dyn Backend> {
        match kind {
            BackendKind::Process => {
                self.process.expect_services();
                self.process.clone()
            }
            BackendKind::Docker => self.docker(settings, lifecycle),
            BackendKind::Kubernetes => self.kubernetes(settings, lifecycle),
        }
    }

    fn kubernetes(&self, settings: &Settings, lifecycle: &Lifecycle) -> Arc<dyn Backend> {
        let mut kubernetes = self.kubernetes.lock();
        let kubernetes = kubernetes.get_or_insert_with(|| {
            let (observer, observations) = mpsc::unbounded_channel();
            let new = Arc::new(KubernetesBackend::new(settings, self.seat.members(), observer));
            lifecycle.connect(new.clone(), observations);
            self.take_part(settings, lifecycle);
            new
        });
        kubernetes.clone()
    }

    fn take_part(&self, settings: &Settings, lifecycle: &Lifecycle) {
        self.routers.get_or_init(|| Routers::start(settings, lifecycle, &self.seat));
    }

    fn docker(&self, settings: &Settings, lifecycle: &Lifecycle) -> Arc<dyn Backend> {
        let mut docker = self.docker.lock();
        let docker = docker.get_or_insert_with(|| {
            let (observer, observations) = mpsc::unbounded_channel();
            let (docker, state) = (settings.docker.clone(), &settings.state);
            if let Err(error) = std::fs::write(state.join(DOCKER_USED), "") {
                tracing::warn!(%error, "a next router that uses no Docker will not look for what this one leaves");
            }
            let new = Arc::new(DockerBackend::new(
                docker,
                self.instance.clone(),
                state,
                self.for_containers.clone(),
                observer,
            ));
            new.keep_only(&landscape_ids(settings));
            lifecycle.connect(new.clone(), observations);
            new
        });
        docker.clone()
    }

    /// This router as one of several, if anything runs on Kubernetes or has a name there.
    pub fn routers(&self) -> Option<&Routers> {
        self.routers.get()
    }

    /// The backend of this kind, if anything has asked for it.
    pub fn running(&self, kind: BackendKind) -> Option<Arc<dyn Backend>> {
        match kind {
            BackendKind::Process => Some(self.process.clone()),
            BackendKind::Docker => self.docker.lock().clone().map(|d| d as Arc<dyn Backend>),
            BackendKind::Kubernetes => self.kubernetes.lock().clone().map(|k| k as Arc<dyn Backend>),
        }
    }

    /// Takes new settings, for what is started from now on.
    pub async fn configure(&self, settings: &Settings) {
        self.process.configure(settings.process.clone());
        if let Some(routers) = self.routers() {
            routers.configure(settings);
        }
        let docker = self.docker.lock().clone();
        if let Some(docker) = docker {
            docker.reconfigure(settings.docker.clone(), &landscape_ids(settings)).await;
        }
        let kubernetes = self.kubernetes.lock().clone();
        if let Some(kubernetes) = kubernetes {
            kubernetes.reconfigure(settings);
        }
    }

    /// Whether the replicas of this backend end with the router.
    pub fn end_with_router(kind: BackendKind, settings: &Settings) -> bool {
        match kind {
            BackendKind::Process => true,
            BackendKind::Docker => settings.docker.on_exit == OnExit::Stop,
            BackendKind::Kubernetes => settings.kubernetes.on_exit == OnExit::Stop,
        }
    }

    /// Whether no other router is there, as far as is known.
    pub fn is_alone(&self) -> bool {
        self.routers().is_none_or(Routers::is_alone)
    }

    /// What the last router leaves behind is nobody's: it may end with it.
    pub fn leave_nothing(&self, settings: &Settings) {
        let ends = self.is_alone() && Self::end_with_router(BackendKind::Kubernetes, settings);
        if let Some(kubernetes) = self.kubernetes.lock().as_ref().filter(|_| ends) {
            kubernetes.alone();
        }
    }

    /// The router ends: processes end with it, containers as the configuration says.
    pub async fn shutdown(&self, settings: &Settings, grace: Duration) {
        let docker = self.docker.lock().clone();
        let containers = async {
            if let Some(docker) = docker {
                docker.shutdown(Self::end_with_router(BackendKind::Docker, settings), grace).await;
            }
        };
        let kubernetes = self.kubernetes.lock().clone();
        let pods = async {
            if let Some(kubernetes) = kubernetes {
                kubernetes.shutdown(Self::end_with_router(BackendKind::Kubernetes, settings), grace).await;
            }
        };
        tokio::join!(self.process.shutdown(true, grace), containers, pods);
    }
}
