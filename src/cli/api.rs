//! What the commands read of the admin API's answers. Lenient: a router of another version may say
//! less, or more.

use serde::Deserialize;

/// `GET /api/v1/landscapes`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overview {
    pub router: Router,
    pub landscapes: Vec<Landscape>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Router {
    pub version: String,
    pub config: Config,
    pub cluster: Option<Cluster>,
}

/// Several routers as one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Cluster {
    pub identity: String,
    pub leader: Option<String>,
    pub routers: Vec<String>,
    pub cut_off: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    pub ok: bool,
    pub mistakes: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { ok: true, mistakes: Vec::new() }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Landscape {
    pub id: String,
    pub error: Option<String>,
    #[serde(default)]
    pub urls: Vec<String>,
    pub services: Vec<Service>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    #[serde(rename = "service")]
    pub name: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub urls: Vec<String>,
    pub note: Option<String>,
    #[serde(default)]
    pub pinned: bool,
    #[serde(default)]
    pub depends_on: Vec<String>,
    pub private: Option<Private>,
    #[serde(default)]
    pub callers: Vec<Caller>,
    /// Absent where nothing runs for it, and then the rest says nothing.
    pub state: Option<String>,
    #[serde(flatten)]
    pub status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Private {
    pub names: Vec<String>,
    pub ports: Vec<u16>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Caller {
    pub service: String,
    pub connections: u64,
    pub requests: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub paused: bool,
    pub mode: String,
    pub replicas: Vec<Replica>,
    pub wanted_replicas: u32,
    pub outside_replicas: Option<u32>,
    pub rolling: bool,
    pub in_flight: u64,
    pub held: u64,
    pub seconds_until_sleep: Option<f64>,
    pub last_failure: Option<Failed>,
    pub progress: Option<Progress>,
    pub unknown: Option<String>,
    pub not_runnable: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Replica {
    pub state: String,
    pub ejected: bool,
    pub address: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Failed {
    pub detail: String,
    pub log_tail: Vec<String>,
    pub at_unix_ms: u64,
    pub retry_in_ms: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Progress {
    pub text: String,
    pub fraction: Option<f64>,
}

/// `GET …/why`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Why {
    pub sentences: Vec<String>,
}

/// `POST /api/v1/reload`, when it went well.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Reloaded {
    pub changes: Vec<String>,
    pub mistakes: Vec<String>,
}

/// A line of `GET …/logs`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct LogLine {
    pub at_unix_ms: u64,
    pub source: String,
    pub stderr: bool,
    pub text: String,
}

/// RFC 9457.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    pub detail: String,
    pub code: String,
    pub mistakes: Vec<String>,
    pub changes: Vec<String>,
}
