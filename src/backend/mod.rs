//! Where replicas run: one trait, and an implementation for processes and one for Docker.
//!
//! The trait is level-based. [`Backend::apply`] says what one service's replicas should be; the
//! backend brings the world there, in the background, and tells what it sees as [`Observation`]s on
//! the channel it was made with. Applying the same [`Want`] twice does nothing the second time; a
//! newer `Want` replaces an older one that is still under way.

mod book;
mod container;
pub mod docker;
mod door;
pub mod kubernetes;
mod network;
pub mod process;
mod reference;
mod registry;
mod script;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::settings::BackendKind;
use crate::landscape::{LandscapeSpec, RunDigest, ServiceKey, ServiceSpec};

pub use door::{Addresses, Door, Inside};
pub use network::{Attached, Network};

/// One replica of one service, over its whole life: a restart is a new generation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct ReplicaId {
    /// From 0: what the application sees as `CS_REPLICA`.
    pub ordinal: u32,
    /// Grows with every start of the service, across restarts of the router too.
    pub generation: u64,
}

impl std::fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.ordinal, self.generation)
    }
}

/// What one service's replicas should be. A replica that is not listed should not exist and is
/// stopped with `grace`.
#[derive(Clone, Debug)]
pub struct Want {
    /// Whose.
    pub service: ServiceKey,
    /// All that should exist.
    pub replicas: Vec<WantReplica>,
    /// How many there are to be while it is used. An ordinal below that is not listed waits for its next start.
    pub number: u32,
    /// From the polite signal to the kill, for those that are not listed.
    pub grace: Duration,
}

/// What one replica should be.
#[derive(Clone, Debug)]
pub struct WantReplica {
    /// Which.
    pub id: ReplicaId,
    /// What it runs; two generations of one service may differ.
    pub spec: Arc<ServiceSpec>,
    /// Running or frozen.
    pub goal: Goal,
}

/// What a listed replica should be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Running: started if it does not exist, resumed if frozen. One that has exited is *not*
    /// started again: a restart is a new generation, and the life cycle's decision.
    Run,
    /// Frozen in memory.
    Pause,
}

/// Something a backend saw.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Whose replica.
    pub service: ServiceKey,
    /// What was seen.
    pub seen: Seen,
}

/// What was seen of a service.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Something slow goes on before the replica's own start: an image is pulled.
    Progress(ReplicaId, Progress),
    /// It runs (again) at these addresses; whether it listens, the probe finds out. Where the addresses are
    /// known before it runs it may be told then, and is told again when it does.
    Running(ReplicaId, Addresses),
    /// It is frozen.
    Paused(ReplicaId),
    /// It could not be frozen, or not be resumed, and is as it was before: why.
    Stuck(ReplicaId, String),
    /// It has just ended by itself. What is known at once, so that nobody waits for more; always
    /// followed by [`Seen::Ended`] with all that can be found out.
    Ending(ReplicaId, Failure),
    /// It ended, or never started, without having been told to stop.
    Ended(ReplicaId, Failure),
    /// It is gone, as wanted.
    Stopped(ReplicaId),
    /// The image's own health check changed its mind.
    Health(ReplicaId, bool),
    /// Somebody else set the number of replicas of this service, to this: in Kubernetes a person or an
    /// autoscaler. Said before the ends of replicas that follow from it.
    ///
    /// What is wanted follows. In answer to a number above zero so many ordinals are listed, and none while
    /// the service is on its way out, is prepared or cannot run here. In answer to zero nothing is listed,
    /// until everything is gone; then again what always runs and what requests wait for.
    Scaled(u32),
    /// The engine does not answer: what is known may be stale. Sent once for each service.
    EngineLost(String),
    /// The engine answers again; what is there follows as fresh observations of every replica.
    EngineBack,
}

/// How far something slow is, for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Progress {
    /// `pulling shop/web:1.2`; no secrets, no paths of the host.
    pub text: String,
    /// 0 to 1 where it is known.
    pub fraction: Option<f32>,
}

/// Why a replica, a start or a preparation failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// What kind, for programs.
    pub kind: FailureKind,
    /// For the waiting client: no internals. `The service exited right after its start.`
    pub public: String,
    /// For the operator: `exit status 3 after 12 ms in step 2 (run server)`.
    pub detail: String,
    /// The last lines of its output, for the operator.
    pub log_tail: Vec<String>,
    /// Whether trying again without a change is pointless (a missing image, a mount that escapes).
    pub permanent: bool,
}

/// Kinds of [`Failure`]; their names are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// A process or container ended by itself.
    Exited,
    /// It was killed for its memory.
    OutOfMemory,
    /// An image could not be had.
    Image,
    /// A port it needs is taken by someone else.
    PortTaken,
    /// It did not become ready in time.
    Deadline,
    /// It runs, and answers its probe wrongly.
    Unhealthy,
    /// The preparation failed.
    Prepare,
    /// The backend refused or failed.
    Backend,
    /// The specification cannot run here.
    NotRunnable,
    /// It did not stop when told.
    Unstoppable,
}

/// A replica that an earlier router left running.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whose.
    pub service: ServiceKey,
    /// Which.
    pub id: ReplicaId,
    /// Of the spec it was started with: [`ServiceSpec::run_digest`].
    pub digest: RunDigest,
    /// What it is doing; `None`: it was told to stop, and is not gone yet.
    pub goal: Option<Goal>,
    /// Where its ports are.
    pub addresses: Addresses,
    /// When it started.
    pub since: SystemTime,
}

/// What a backend can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Freeze and resume.
    pub pause: bool,
    /// Replicas are on this machine: a connect costs microseconds.
    pub local: bool,
    /// Several replicas may listen on the same declared port.
    pub shared_ports: bool,
}

/// A landscape's `prepare` (or `test`) steps to run once.
#[derive(Clone, Debug)]
pub struct Job {
    /// The landscape.
    pub landscape: Arc<LandscapeSpec>,
    /// `prepare` or `test`: which steps, and the name of its log.
    pub stage: Stage,
    /// It is ended and fails after so long.
    pub deadline: Duration,
    /// Also where it is known to have been done for these steps.
    pub again: bool,
    /// Cancelled, it is ended and fails.
    pub called_off: CancellationToken,
}

impl Job {
    /// One that nobody calls off yet.
    pub fn new(landscape: Arc<LandscapeSpec>, stage: Stage, deadline: Duration) -> Self {
        Self { landscape, stage, deadline, again: false, called_off: CancellationToken::new() }
    }
}

/// Which steps a [`Job`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Before the first run.
    Prepare,
    /// On request.
    Test,
}

/// A line of a replica's or a job's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When it was written.
    pub at: SystemTime,
    /// `0`, `1`, …, or `prepare`.
    pub source: String,
    /// The step's number from 1, where the backend knows it.
    pub step: Option<u32>,
    /// Standard error rather than output.
    pub stderr: bool,
    /// Without its line break; lossy UTF-8.
    pub text: String,
}

/// Which log lines are asked for.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// So many of the last lines first.
    pub tail: usize,
    /// Go on with new ones.
    pub follow: bool,
    /// One ordinal only.
    pub replica: Option<u32>,
}

/// A backend's own failure, not a replica's.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The engine cannot be reached; what was applied is done when it is back.
    #[error("{0}")]
    Unreachable(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Where observations go.
pub type Observer = mpsc::UnboundedSender<Observation>;

/// A place where replicas run. See the module's words for the contract.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Which one.
    fn kind(&self) -> BackendKind;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// Whether it can run this service; the error is the remedy, for people.
    fn runnable(&self, spec: &ServiceSpec) -> Result<(), String>;

    /// Finds what an earlier router of the same instance left, takes it over, and from then on
    /// observes it. Called once, before the first `apply`. What is found and not wanted is then
    /// stopped by an `apply` that does not list it.
    async fn adopt(&self) -> Result<Vec<Found>, BackendError>;

    /// How long a request waits for an engine that has not answered once, so that it is not known what runs;
    /// `None`: as long as for anything else.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// How many replicas somebody else has set for a service, where that is known and the router's own word
    /// is not the last. Asked after [`Backend::adopt`], once before anything is wanted of the service;
    /// what changes from then on is told as [`Seen::Scaled`].
    fn scaled(&self, _service: &ServiceKey) -> Option<u32> {
        None
    }

    /// Says what one service's replicas should be. Returns once that is noted, before it is so.
    fn apply(&self, want: Want);

    /// Runs `prepare` or `test` to its end. Of one that is called off nothing is left when this
    /// returns; dropping the future ends what it started, too, and waits for nothing.
    async fn run_job(&self, job: Job, progress: &(dyn Fn(Progress) + Send + Sync)) -> Result<(), Failure>;

    /// Whether the socket that accepts at `door` belongs to this replica; the error names the
    /// holder. A backend whose replicas have addresses of their own says yes.
    async fn owns_listener(&self, service: &ServiceKey, id: ReplicaId, door: &Door) -> Result<(), String>;

    /// Whether a replica that starts, and does not accept where its `port` is mapped to, listens on the
    /// declared number itself: it will not come to the other. The text says so to people.
    async fn ignores_mapping(&self, _service: &ServiceKey, _id: ReplicaId, _port: u16) -> Option<String> {
        None
    }

    /// A service's output, oldest first. The channel closes after the last line, or with the
    /// receiver when following.
    async fn logs(&self, service: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, BackendError>;

    /// The router ends: `stop` ends every replica and waits for it (at most `grace`), otherwise they
    /// stay for the next router.
    async fn shutdown(&self, stop: bool, grace: Duration);
}
