//! The router as the admin API sees it: what it shows and what it can be told.
//!
//! The views are the API's JSON, camelCase; they hold names of environment variables and never a
//! value of one.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::mpsc;

use super::EventLog;
use crate::backend::{BackendError, LogLine, LogQuery};
use crate::cluster::ClusterStatus;
use crate::landscape::{ServiceKey, ServiceSpec, Workload};
use crate::lifecycle::{Command, CommandError, ServiceStatus, Why};
use crate::observe::calls::CallerView;
use crate::private;

/// What the admin API needs of the router. Nothing here blocks: views are made from what is known.
#[async_trait]
pub trait Model: Send + Sync + 'static {
    /// Every landscape, in router.yaml's order.
    fn landscapes(&self) -> Vec<LandscapeView>;

    /// One landscape.
    fn landscape(&self, id: &str) -> Option<LandscapeView> {
        self.landscapes().into_iter().find(|l| l.id == id)
    }

    /// The router as a whole.
    fn router(&self) -> RouterView;

    /// Whether new requests should be sent here: not before the first configuration is served, not
    /// once the router ends. The error says which.
    fn readiness(&self) -> Result<(), String>;

    /// Gives a service a command. Returns when it is noted, not when it is done.
    async fn command(&self, service: &ServiceKey, command: Command) -> Result<(), Refused>;

    /// Runs a landscape's `prepare` again. Returns when that is noted.
    async fn prepare(&self, landscape: &str) -> Result<(), Refused>;

    /// A service's output.
    async fn logs(&self, service: &ServiceKey, query: LogQuery) -> Result<mpsc::Receiver<LogLine>, Refused>;

    /// Reads the configuration again and says how that went; returns when it is live.
    async fn reload(&self) -> Reloaded;

    /// What happens.
    fn events(&self) -> &EventLog;

    /// The text of `/metrics`; the error is for the operator.
    fn metrics(&self) -> Result<String, String>;
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such landscape or service. The message is the API's own.
    #[error("it does not exist")]
    Unknown,
    /// It cannot be done with what this is: nothing runs for it, or it cannot run here. The text
    /// says why and what to do.
    #[error("{0}")]
    Impossible(String),
    /// It cannot be done now: the router ends, the engine does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// It went wrong. The text is for the operator.
    #[error("{0}")]
    Failed(String),
}

impl From<CommandError> for Refused {
    fn from(e: CommandError) -> Self {
        match e {
            CommandError::Pinned | CommandError::NotRunnable(_) => Self::Impossible(e.to_string()),
            CommandError::NotYet | CommandError::Gone => Self::Unavailable(e.to_string()),
            CommandError::Failed(why) => Self::Failed(why),
        }
    }
}

impl From<BackendError> for Refused {
    fn from(e: BackendError) -> Self {
        match e {
            BackendError::Unreachable(why) => Self::Unavailable(why),
            BackendError::Failed(why) => Self::Failed(why),
        }
    }
}

/// The router as a whole.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouterView {
    /// Of the program.
    pub version: &'static str,
    /// When it started.
    #[serde(rename = "startedUnixMs", serialize_with = "unix_ms")]
    pub started: SystemTime,
    /// Its configuration.
    pub config: ConfigHealth,
    /// The routers that serve the same landscapes, this one among them, where services run on Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<ClusterStatus>>,
}

/// How the last reading of the configuration went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigHealth {
    /// The router.yaml, as it was named.
    pub file: String,
    /// Whether it was applied. If not, what was good before is still served.
    pub ok: bool,
    /// When it was read.
    #[serde(rename = "atUnixMs", serialize_with = "unix_ms")]
    pub at: SystemTime,
    /// Its mistakes and warnings, `file:line:column: …` each.
    pub mistakes: Vec<String>,
}

/// How a reload went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// Whether all of it was applied. If not, what has mistakes is as it was: the whole of it where
    /// router.yaml has one, a landscape alone where its ci.yml has.
    pub ok: bool,
    /// What is different now, for people: `4711/web: rolled`; empty for nothing.
    pub changes: Vec<String>,
    /// Mistakes and warnings, `file:line:column: …` each.
    pub mistakes: Vec<String>,
}

/// One landscape.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LandscapeView {
    /// Its id.
    pub id: String,
    /// Why its ci.yml is not used; the last good version, where there was one, still is.
    pub error: Option<String>,
    /// Where it is reached.
    pub urls: Vec<String>,
    /// Its services, in ci.yml's order.
    pub services: Vec<ServiceView>,
}

/// One service: what it is, and what it does.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// `reactive`, `container`, `customBase`, `headless` or `managed`.
    pub kind: &'static str,
    /// Its public paths.
    pub paths: Vec<String>,
    /// Where it is reached.
    pub urls: Vec<String>,
    /// The names of its environment variables; their values are never shown.
    pub env: Vec<String>,
    /// What to know about it: `not provided here: postgres`.
    pub note: Option<String>,
    /// Kept awake by an operator.
    pub pinned: bool,
    /// Services that are awake whenever it is.
    pub depends_on: Vec<Arc<str>>,
    /// How other services of its landscape reach it; `None` where they do not find it by name.
    pub private: Option<PrivateView>,
    /// Who has called it over the private network since the router started.
    pub callers: Vec<CallerView>,
    /// Its name, and what it does.
    #[serde(flatten)]
    pub life: Life,
}

/// How other services of its landscape reach a service, asleep or not.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrivateView {
    /// Its virtual address; `None` in a cluster, where its names alone are known.
    pub address: Option<Ipv4Addr>,
    /// What it is called, the shortest first.
    pub names: Vec<String>,
    /// The ports that it answers at.
    pub ports: Vec<u16>,
}

/// What a service does. In JSON its fields lie among those of its [`ServiceView`].
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Life {
    /// Something runs for it, or could.
    Runs(Box<ServiceStatus>),
    /// Nothing does: it is only forwarded to, or not provided here.
    Nothing {
        /// The landscape's id.
        landscape: Arc<str>,
        /// The service's name.
        service: Arc<str>,
        /// `null`, so that it is told apart by the field that everyone looks at.
        state: (),
    },
}

impl LandscapeView {
    /// See [`ServiceView::without_output`].
    pub(super) fn without_output(mut self) -> Self {
        self.services = self.services.into_iter().map(ServiceView::without_output).collect();
        self
    }
}

impl ServiceView {
    /// A view of a service; `base` is its landscape's URL without a slash at the end.
    pub fn of(spec: &ServiceSpec, base: &str, status: Option<ServiceStatus>) -> Self {
        let (kind, note) = match &spec.workload {
            Workload::Reactive { .. } => ("reactive", None),
            Workload::Container { .. } => ("container", None),
            Workload::CustomBase { .. } => ("customBase", None),
            Workload::Headless => ("headless", Some("forwards to another address; nothing runs here".to_owned())),
            Workload::Managed { provider } => ("managed", Some(format!("not provided here: {provider}"))),
        };
        let paths: Vec<String> = spec.paths.iter().map(|p| p.prefix.clone()).collect();
        Self {
            kind,
            urls: paths.iter().map(|p| format!("{base}{p}")).collect(),
            paths,
            env: spec.env.keys().cloned().collect(),
            note: note.or_else(|| status.as_ref().and_then(|s| s.not_runnable.clone())),
            pinned: status.as_ref().is_some_and(|s| s.why.contains(&Why::Pinned)),
            depends_on: Vec::new(),
            private: None,
            callers: Vec::new(),
            life: match status {
                Some(status) => Life::Runs(Box::new(status)),
                None => Life::nothing(&spec.key),
            },
        }
    }

    /// Without what the application wrote, as logs need the token.
    pub(super) fn without_output(mut self) -> Self {
        if let Life::Runs(status) = &mut self.life
            && let Some(last) = &mut status.last_failure
        {
            last.failure.log_tail.clear();
        }
        self
    }

    /// Its name in its landscape.
    pub fn name(&self) -> &str {
        match &self.life {
            Life::Runs(status) => &status.service,
            Life::Nothing { service, .. } => service,
        }
    }
}

impl PrivateView {
    /// How a service with this virtual address is reached.
    pub fn of(spec: &ServiceSpec, address: Ipv4Addr) -> Self {
        let names = private::names::names_of(&spec.key.landscape, &spec.key.service);
        Self { address: Some(address), names, ports: private::ports_of(spec) }
    }

    /// How a service is reached in a cluster whose names are in this namespace; `None` if it is not.
    pub fn in_cluster(spec: &ServiceSpec, namespace: &str) -> Option<Self> {
        let label = private::names::label_of(&spec.key.landscape, &spec.key.service)?;
        let ports = private::ports_of(spec);
        let names = vec![label.clone(), format!("{label}.{namespace}")];
        (!ports.is_empty()).then_some(Self { address: None, names, ports })
    }
}

impl Life {
    /// Nothing runs for the service of this name.
    pub fn nothing(key: &ServiceKey) -> Self {
        Self::Nothing { landscape: key.landscape.clone(), service: key.service.clone(), state: () }
    }
}

/// Milliseconds of the wall clock since 1970, as every moment in the API.
pub(super) fn unix_ms<S: serde::Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(super::stream::millis(*at))
}
