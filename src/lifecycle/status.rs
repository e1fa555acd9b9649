//! What is known of a service, for people and programs.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

use super::service::Service;
use crate::backend::{Failure, Progress, ReplicaId};
use crate::config::settings::{BackendKind, Mode};
use crate::landscape::ServiceKey;

/// The state of a service, as metrics and the API name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StateName {
    /// Nothing runs; its replicas may be paused.
    #[default]
    Off,
    /// The landscape's `prepare` runs.
    Preparing,
    /// No replica is ready yet.
    Starting,
    /// At least one replica is ready.
    Ready,
    /// Out of rotation, the last requests go on.
    Draining,
    /// The replicas are being stopped or paused.
    Stopping,
    /// The last start failed.
    Failed,
}

impl StateName {
    /// Every state, for metrics.
    pub const ALL: [Self; 7] =
        [Self::Off, Self::Preparing, Self::Starting, Self::Ready, Self::Draining, Self::Stopping, Self::Failed];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// The state of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaState {
    /// Started or resumed; its probe has not passed yet.
    Starting,
    /// In rotation.
    Ready,
    /// Running, out of rotation because its probes fail.
    Unready,
    /// Being frozen.
    Pausing,
    /// Frozen.
    Paused,
    /// Out of rotation, its last requests go on.
    Draining,
    /// Being stopped.
    Stopping,
    /// It failed, and is started again later.
    Waiting,
}

/// Why a service is awake, or is being woken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "reason", rename_all = "camelCase")]
pub enum Why {
    /// Requests wait for it.
    Demand,
    /// It was used less than `idleAfter` ago.
    Use,
    /// Requests, streams or private connections are in flight.
    InFlight {
        /// How many.
        count: u64,
    },
    /// Its mode.
    AlwaysOn,
    /// An operator pinned it.
    Pinned,
    /// An operator woke it.
    Operator,
    /// Somebody set the number of its replicas where it runs, and that woke it.
    Outside,
    /// A routed service of its landscape is awake.
    Landscape,
    /// Services that depend on it are awake.
    NeededBy {
        /// Their names.
        services: Vec<Arc<str>>,
    },
}

/// One replica.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// `CS_REPLICA`.
    pub ordinal: u32,
    /// Grows with every start.
    pub generation: u64,
    /// What it does.
    pub state: ReplicaState,
    /// Its primary port's address.
    pub address: Option<std::net::SocketAddr>,
    /// Requests in flight.
    pub in_flight: u64,
    /// Left out for a while, because connections to it broke.
    pub ejected: bool,
    /// Whether it runs an older specification than the configured one.
    pub outdated: bool,
    /// Milliseconds in this state.
    pub for_ms: u64,
    /// When a waiting one is started again.
    pub retry_in_ms: Option<u64>,
    /// What went wrong last with this ordinal.
    pub last_failure: Option<String>,
}

/// The last failure of a service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// What it was.
    #[serde(flatten)]
    pub failure: Failure,
    /// When.
    #[serde(serialize_with = "unix_ms", rename = "atUnixMs")]
    pub at: SystemTime,
    /// When the next start may be tried, while the service is failed.
    pub retry_in_ms: Option<u64>,
}

/// One service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The landscape's id.
    pub landscape: Arc<str>,
    /// The service's name.
    pub service: Arc<str>,
    /// What it does.
    pub state: StateName,
    /// Off, with its replicas frozen in memory.
    pub paused: bool,
    /// Milliseconds in this state.
    pub for_ms: u64,
    /// Since when, by the wall clock.
    #[serde(serialize_with = "unix_ms", rename = "sinceUnixMs")]
    pub since: SystemTime,
    /// `off-when-unused` or `always-on`.
    pub mode: &'static str,
    /// Where it runs.
    pub backend: BackendKind,
    /// Why it is awake.
    pub why: Vec<Why>,
    /// Its replicas, in ordinal order, older generations too.
    pub replicas: Vec<ReplicaStatus>,
    /// How many replicas there should be while it is awake.
    pub wanted_replicas: u32,
    /// The same, if it was set where the service runs and its ci.yml says otherwise.
    pub outside_replicas: Option<u32>,
    /// Replicas are being replaced by ones of a newer specification.
    pub rolling: bool,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that wait.
    pub held: usize,
    /// Milliseconds since the end of the last use.
    pub last_use_ms: Option<u64>,
    /// When it will be switched off if nobody uses it. Absent while something keeps it awake.
    pub seconds_until_sleep: Option<f64>,
    /// What went wrong last.
    pub last_failure: Option<FailureStatus>,
    /// How far something slow is.
    pub progress: Option<Progress>,
    /// The engine does not answer, so this may be out of date: its error.
    pub unknown: Option<String>,
    /// Why it cannot run here, and what to do about it.
    pub not_runnable: Option<String>,
}

/// What the actor knows; [`Snapshot::status`] adds what changes with every request.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub state: StateName,
    pub paused: bool,
    pub since: (Instant, SystemTime),
    pub mode: Mode,
    pub backend: BackendKind,
    pub why: Vec<Why>,
    pub replicas: Vec<ReplicaSnapshot>,
    pub wanted_replicas: u32,
    pub outside_replicas: Option<u32>,
    pub rolling: bool,
    pub last_failure: Option<(Failure, SystemTime)>,
    pub retry_at: Option<Instant>,
    pub progress: Option<Progress>,
    pub unknown: Option<String>,
    pub not_runnable: Option<String>,
    /// `idleAfter`, and the moment before which idleness does not count; absent while something else
    /// keeps the service awake, or nothing runs.
    pub idle: Option<(Duration, Option<Instant>)>,
}

#[derive(Clone, Debug)]
pub(super) struct ReplicaSnapshot {
    pub id: ReplicaId,
    pub state: ReplicaState,
    pub address: Option<std::net::SocketAddr>,
    pub outdated: bool,
    pub since: Instant,
    pub retry_at: Option<Instant>,
    pub last_failure: Option<String>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            state: StateName::Off,
            paused: false,
            since: (Instant::now(), SystemTime::now()),
            mode: Mode::OffWhenUnused,
            backend: BackendKind::Process,
            why: Vec::new(),
            replicas: Vec::new(),
            wanted_replicas: 0,
            outside_replicas: None,
            rolling: false,
            last_failure: None,
            retry_at: None,
            progress: None,
            unknown: None,
            not_runnable: None,
            idle: None,
        }
    }
}

impl Snapshot {
    pub(super) fn status(&self, service: &Service) -> ServiceStatus {
        let now = Instant::now();
        let ms = |d: Duration| d.as_millis() as u64;
        let key: &ServiceKey = service.key();
        let in_flight = service.in_flight();
        let last_use = service.last_use();
        let handles = service.everything();
        let live = |id: ReplicaId| handles.iter().filter(move |r| r.id == id);
        let until_sleep = self.idle.filter(|_| in_flight == 0).map(|(after, base)| {
            let base = base.max(last_use).unwrap_or(now);
            (base + after).saturating_duration_since(now).as_secs_f64()
        });
        let mut why = self.why.clone();
        if in_flight > 0 {
            why.push(Why::InFlight { count: in_flight });
        }
        if until_sleep.is_some_and(|s| s > 0.0) {
            why.push(Why::Use);
        }
        ServiceStatus {
            landscape: key.landscape.clone(),
            service: key.service.clone(),
            state: self.state,
            paused: self.paused,
            for_ms: ms(now.saturating_duration_since(self.since.0)),
            since: self.since.1,
            mode: match self.mode {
                Mode::OffWhenUnused => "off-when-unused",
                Mode::AlwaysOn => "always-on",
            },
            backend: self.backend,
            why,
            replicas: self
                .replicas
                .iter()
                .map(|r| ReplicaStatus {
                    ordinal: r.id.ordinal,
                    generation: r.id.generation,
                    state: r.state,
                    address: r.address,
                    in_flight: live(r.id).map(|h| h.word.in_flight()).sum(),
                    ejected: live(r.id).any(|h| h.health.is_ejected(|| service.now_ms())),
                    outdated: r.outdated,
                    for_ms: ms(now.saturating_duration_since(r.since)),
                    retry_in_ms: r.retry_at.map(|at| ms(at.saturating_duration_since(now))),
                    last_failure: r.last_failure.clone(),
                })
                .collect(),
            wanted_replicas: self.wanted_replicas,
            outside_replicas: self.outside_replicas,
            rolling: self.rolling,
            in_flight,
            held: service.held(),
            last_use_ms: last_use.map(|at| ms(now.saturating_duration_since(at))),
            seconds_until_sleep: until_sleep,
            last_failure: self.last_failure.clone().map(|(failure, at)| FailureStatus {
                failure,
                at,
                retry_in_ms: self.retry_at.map(|at| ms(at.saturating_duration_since(now))),
            }),
            progress: self.progress.clone(),
            unknown: self.unknown.clone(),
            not_runnable: self.not_runnable.clone(),
        }
    }
}

/// Milliseconds of the wall clock since 1970.
pub(super) fn unix_ms<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64)
}
