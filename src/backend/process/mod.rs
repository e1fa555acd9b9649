//! Replicas as processes of this machine, with nothing else installed.
//!
//! Every replica lives under a shim (see [`shim`]), a process of this same binary that owns its
//! processes, its output and its control groups, and that the router talks to over a socket. One
//! task a replica drives the conversation ([`replica`]); `apply` only sets what that task aims at.
//! After a crash the next router finds the shims by their folders in `state` ([`adopt`]).

mod adopt;
mod cgroup;
mod environment;
mod failure;
mod handover;
mod harden;
mod job;
mod leftover;
mod link;
mod listeners;
mod listening;
mod logs;
mod notice;
mod paths;
mod ports;
mod procfs;
mod protocol;
mod raw;
mod replica;
mod room;
mod runnable;
mod shim;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;

use crate::backend::{
    Abilities, Backend, BackendError, Door, Failure, Found, Job, LogLine, LogQuery, Network, Observer, Progress,
    ReplicaId, Want,
};
use crate::config::settings::{BackendKind, ProcessSettings};
use crate::landscape::{ServiceKey, ServiceSpec};
use crate::private::Hosts;

pub use adopt::living_shims;
pub use harden::harden;
pub use runnable::trust_notice;
pub use shim::shim_main;

use room::Room;

/// What a process backend is made with.
#[derive(Clone, Debug)]
pub struct ProcessOptions {
    /// Of router.yaml.
    pub settings: ProcessSettings,
    /// The router's `state`.
    pub state: PathBuf,
    /// The program that is run as `<program> shim`.
    pub shim: PathBuf,
    /// Without a router for so long, a replica is ended by its shim.
    pub orphan_after: Duration,
    /// How long such a replica has from SIGTERM to SIGKILL.
    pub orphan_grace: Duration,
    /// Whether plans limit and freezers freeze through control groups where they can be made.
    pub control_groups: bool,
    /// Networks of landscapes, where there are any.
    pub network: Option<Arc<dyn Network>>,
    /// What replicas on the machine's own network are told of their landscape's services.
    pub hosts: Option<Arc<Hosts>>,
}

impl ProcessOptions {
    /// As a router uses them: its own binary as the shim, 10 s, control groups where they can be had.
    pub fn new(settings: ProcessSettings, state: &Path) -> Self {
        Self {
            settings,
            state: state.to_path_buf(),
            // Also right when the binary was replaced since.
            shim: PathBuf::from("/proc/self/exe"),
            orphan_after: Duration::from_secs(10),
            orphan_grace: Duration::from_secs(10),
            control_groups: true,
            network: None,
            hosts: None,
        }
    }
}

/// Replicas as processes. Dropping it is what a crash of the router is: replicas stay for the next
/// one.
pub struct ProcessBackend {
    room: Arc<Room>,
    expecting: Once,
    _hang_up: DropGuard,
}

impl ProcessBackend {
    /// Makes its folders in `state` and looks at what the system allows. Must be called on the
    /// runtime that is to run it.
    pub fn new(options: ProcessOptions, observer: Observer) -> Result<Self, BackendError> {
        let room = Arc::new(Room::new(options, observer)?);
        let _hang_up = room.cancel.clone().drop_guard();
        Ok(Self { room, expecting: Once::new(), _hang_up })
    }

    /// Takes over changed settings, for what is started from now on.
    pub fn configure(&self, settings: ProcessSettings) {
        self.room.configure(settings);
    }

    /// Something is to run here. What it cannot have is in the log, once: a router of containers alone has no use
    /// for that.
    pub fn expect_services(&self) {
        self.expecting.call_once(|| {
            if let Some(shortcoming) = self.shortcoming() {
                tracing::warn!("{shortcoming}");
            }
        });
    }

    /// Plans' limits that cannot be had here, in words; `None` when all can.
    pub fn shortcoming(&self) -> Option<String> {
        self.room.places.shortcoming()
    }
}

#[async_trait]
impl Backend for ProcessBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Process
    }

    fn abilities(&self) -> Abilities {
        Abilities { pause: true, local: true, shared_ports: false }
    }

    fn runnable(&self, spec: &ServiceSpec) -> Result<(), String> {
        runnable::check(spec, &self.room.settings(), self.room.own)
    }

    async fn adopt(&self) -> Result<Vec<Found>, BackendError> {
        adopt::adopt(&self.room).await
    }

    fn apply(&self, want: Want) {
        replica::apply(&self.room, want);
    }

    async fn run_job(&self, job: Job, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure> {
        job::run(&self.room, job, progress).await
    }

    async fn owns_listener(&self, service: &ServiceKey, id: ReplicaId, door: &Door) -> Result<(), String> {
        if door.is_inside() {
            return Ok(());
        }
        let known = self.room.known(service, id).ok_or_else(|| format!("{service} has no replica {id}"))?;
        let step: Vec<u32> = known.step.into_iter().collect();
        let owned = listeners::owner_at(door.address, &step, || known.processes()).await;
        if owned.is_err() {
            self.room.ports.clashed(door.address.port());
        }
        owned
    }

    async fn ignores_mapping(&self, service: &ServiceKey, id: ReplicaId, port: u16) -> Option<String> {
        let known = self.room.known(service, id)?;
        let step: Vec<u32> = known.step.into_iter().collect();
        let declared = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if !listeners::is_owner_at(declared, &step, || known.processes()) {
            return None;
        }
        // Nobody else has it any more, or it could not listen there: the next start may have it.
        self.room.ports.forgive(port);
        Some(format!("port {port} was not its own, and it listens there all the same: does it ignore PORT?"))
    }

    async fn logs(&self, service: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, BackendError> {
        let mut places = vec![logs::Place {
            dir: self.room.paths.logs(service),
            source: query.replica.map(|ordinal| ordinal.to_string()),
        }];
        if query.replica.is_none() {
            places.push(logs::Place { dir: self.room.paths.job_logs(&service.landscape), source: None });
        }
        for place in &places {
            paths::private_dir(&place.dir).map_err(|e| BackendError::Failed(e.to_string()))?;
        }
        logs::open(places, query.tail, query.follow)
            .await
            .map_err(|e| BackendError::Failed(format!("the log of {service} cannot be read: {e}")))
    }

    async fn shutdown(&self, stop: bool, grace: Duration) {
        self.room.shutdown(stop, grace).await;
    }
}
