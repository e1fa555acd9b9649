//! router.yaml as it is written. These types are the one source of its JSON Schema, of the structural
//! checks and of the reference page: a doc comment here is a description there.

mod backend;
mod private;
mod service;
mod traffic;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::defaults as d;
use super::scalar::{Address, AdminAddress, Cidr, EnvValue, Host, Id, Positive, Prefix, Profile, Scalar, Size, Time};

pub use backend::{
    Attach, Docker, Kubernetes, KubernetesNames, KubernetesNamesSettings, Namespaces, OnExit, Process, Pull,
};
pub use private::{Private, PrivateSettings, Protocol};
pub use service::{Defaults, Mode, PauseThen, Service, ServiceHold, Sticky, Then, Wake, WhenIdle, WhenIdleWord};
pub use traffic::{Answer, Traffic, TrafficRule};

fn keys<T: Scalar>() -> serde_json::Value {
    json!({ "pattern": T::PATTERN, "x-kind": T::KIND })
}

/// One router.yaml.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "router.yaml")]
pub struct Router {
    /// Sockets.
    #[serde(default)]
    pub listen: Listen,
    /// The folder of what outlives a restart: last good landscapes, marks of what was prepared, sockets
    /// and logs. Relative to this file; never inside a landscape's root.
    #[schemars(extend("default" = d::STATE))]
    pub state: Option<String>,
    /// What runs services that do not choose a backend themselves.
    #[schemars(extend("default" = "process"))]
    pub backend: Option<Backend>,
    /// The suffix of development hosts: `<id>.<devDomain>` serves a landscape's path table and
    /// `<id>-<port>.<devDomain>` a public port of it.
    #[schemars(extend("default" = d::DEV_DOMAIN))]
    pub dev_domain: Option<Host>,
    /// Peers whose `X-Forwarded-*` headers count. From others they are dropped.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub trusted_proxies: Vec<Cidr>,
    /// Data threads: they accept connections and forward requests. Default: one for each processor.
    #[schemars(range(min = 1, max = 256))]
    pub threads: Option<u16>,
    /// How services run unless their landscape or they themselves say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// The memory that paused replicas may keep, counted by their plans: over it, the longest paused are
    /// stopped. Default: half of the machine's.
    pub paused_memory: Option<Size>,
    /// Requests that wait for a service that starts.
    #[serde(default)]
    pub hold: Hold,
    /// Deadlines of one request.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Bounds of one request.
    #[serde(default)]
    pub limits: Limits,
    /// How names of header fields go on, both ways: in lower case, or as they came, for old applications
    /// and clients that tell the two apart. What the router adds is then spelt `Like-This`. Connections
    /// that are open stay as they are.
    #[schemars(extend("default" = "lower"))]
    pub header_case: Option<HeaderCase>,
    /// The plans that a ci.yml names by number, and `default` for the ones that are not listed here.
    /// Without this key there is a default plan of one core, 1GiB and 10 replicas.
    pub plans: Option<IndexMap<String, Plan>>,
    /// Where `${{ vault.NAME }}` comes from: one of `file` and `env`.
    pub vault: Option<Vault>,
    /// Credentials of image registries, by host. They come before those of Docker's own configuration.
    #[serde(default)]
    pub registries: IndexMap<String, Registry>,
    /// Custom domains: host, then path prefix, then the ids of the landscapes that share its load. The
    /// longest prefix wins; the path is not changed. `*.example.com` stands for every name below.
    #[serde(default)]
    #[schemars(extend("propertyNames" = keys::<Host>()))]
    pub domains: IndexMap<String, DomainPaths>,
    /// One record a request, or `off`.
    pub access_log: Option<AccessLog>,
    /// What services write.
    #[serde(default)]
    pub logs: Logs,
    /// Routes to URLs elsewhere.
    #[serde(default)]
    pub headless: Headless,
    /// The process backend.
    #[serde(default)]
    pub process: Process,
    /// The Docker backend.
    #[serde(default)]
    pub docker: Docker,
    /// The Kubernetes backend.
    #[serde(default)]
    pub kubernetes: Kubernetes,
    /// The network between services.
    pub private: Option<Private>,
    /// The landscapes to serve.
    pub landscapes: Vec<Landscape>,
}

/// Sockets.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listen {
    /// Where requests arrive, plain HTTP.
    #[schemars(length(min = 1), extend("default" = [d::HTTP]))]
    pub http: Option<Vec<Address>>,
    /// Where the admin API, metrics and health answer; `off` for nowhere.
    #[schemars(extend("default" = d::ADMIN))]
    pub admin: Option<AdminAddress>,
    /// Allows an `admin` address beyond loopback. There, status and
    /// metrics need the token as well.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub admin_remote: bool,
    /// Client connections at a time, over all listeners. Default: (the limit of open files - 2000) / 2.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_connections: Option<usize>,
}

/// What runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Backend {
    /// Local processes; nothing else needed.
    Process,
    /// A Docker Engine.
    Docker,
    /// A Kubernetes cluster.
    Kubernetes,
}

/// Requests that wait for a service that starts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// Over all services; what is above is answered 503 with `Retry-After` at once.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = d::HOLD_REQUESTS))]
    pub max_requests: Option<usize>,
    /// Bytes of head and body that are kept for them, over all services.
    #[schemars(extend("default" = d::HOLD_BYTES.to_string()))]
    pub max_bytes: Option<Size>,
    /// How long one may wait.
    #[schemars(extend("default" = d::HOLD_TIMEOUT.to_string()))]
    pub timeout: Option<Positive>,
    /// A browser's navigation that is held for so long gets the loading page.
    #[schemars(extend("default" = d::PAGE_AFTER.to_string()))]
    pub page_after: Option<Time>,
    /// How many are released to one new replica at a time.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = d::RELEASE))]
    pub release: Option<usize>,
    /// What a client means that half-closes its connection while it waits.
    #[schemars(extend("default" = "leave"))]
    pub half_closed: Option<HalfClosed>,
    /// Bounds of each service.
    #[serde(default)]
    pub per_service: PerService,
}

/// Bounds of each service's held requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct PerService {
    /// Held requests of one service.
    #[schemars(range(min = 1, max = 10_000_000), extend("default" = d::HOLD_PER_SERVICE))]
    pub max_requests: Option<usize>,
    /// Bytes of head and body that are kept for them.
    #[schemars(extend("default" = d::HOLD_BYTES_PER_SERVICE.to_string()))]
    pub max_bytes: Option<Size>,
}

/// What a half-close means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum HalfClosed {
    /// It left; its place is freed.
    Leave,
    /// It waits for its answer.
    Keep,
}

/// Deadlines of one request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection to a replica or target.
    #[schemars(extend("default" = d::CONNECT.to_string()))]
    pub connect: Option<Positive>,
    /// For the whole header of a client's request.
    #[schemars(extend("default" = d::HEADER_TIME.to_string()))]
    pub header: Option<Positive>,
    /// From the whole request to the head of its answer.
    #[schemars(extend("default" = d::RESPONSE.to_string()))]
    pub response: Option<Positive>,
    /// Without a byte on an open connection or stream.
    #[schemars(extend("default" = d::IDLE.to_string()))]
    pub idle: Option<Positive>,
}

/// Bounds of one request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Its whole header, at least 8KiB.
    #[schemars(extend("default" = d::HEADER_SIZE.to_string()))]
    pub header: Option<Size>,
    /// Its header fields.
    #[schemars(range(min = 16, max = 10_000), extend("default" = d::HEADERS))]
    pub headers: Option<usize>,
    /// Its body.
    #[schemars(extend("default" = d::BODY.to_string()))]
    pub body: Option<Size>,
}

/// How names of header fields go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum HeaderCase {
    /// In lower case.
    Lower,
    /// As they came.
    Keep,
}

/// A share of the machine.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Cores of one replica; fractions are fine.
    #[schemars(range(min = 0.01, max = 1024.0))]
    pub cpu: f64,
    /// Memory of one replica.
    pub memory: Size,
    /// The most replicas a service of this plan may ask for.
    #[schemars(range(min = 1, max = 1000), extend("default" = d::MAX_REPLICAS))]
    pub max_replicas: Option<u32>,
}

/// Where secrets come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct Vault {
    /// A YAML file of `NAME: value`, relative to this file. Nobody but the router's user should be able
    /// to read it.
    #[schemars(length(min = 1))]
    pub file: Option<String>,
    /// The prefix of environment variables of the router: with `PREFIX_`, the key `NAME` is the variable
    /// `PREFIX_NAME`.
    #[schemars(length(min = 1))]
    pub env: Option<String>,
}

/// Credentials of one registry.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Registry {
    /// The user.
    #[schemars(length(min = 1))]
    pub username: String,
    /// A file that holds the password, relative to this file. A line break at its end is ignored.
    #[schemars(length(min = 1))]
    pub password_file: String,
}

/// Path prefix to the ids that share its load.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, extend("propertyNames" = keys::<Prefix>()))]
pub struct DomainPaths(pub IndexMap<String, Vec<Id>>);

/// How requests are logged.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum AccessLog {
    /// Not at all.
    Word(Off),
    /// Format and place.
    Settings(AccessLogSettings),
}

/// `off`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum Off {
    /// Not at all.
    Off,
}

/// Format and place of the access log.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct AccessLogSettings {
    /// A JSON object or a line of text a request.
    #[schemars(extend("default" = "json"))]
    pub format: Option<LogFormat>,
    /// A file, relative to this one; `-` for standard output.
    #[schemars(length(min = 1), extend("default" = "-"))]
    pub path: Option<String>,
}

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub enum LogFormat {
    /// A JSON object a line.
    Json,
    /// Words.
    Text,
}

/// What services write.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Logs {
    /// How much is kept for each replica, at least 64KiB.
    #[schemars(extend("default" = d::LOG_KEEP.to_string()))]
    pub keep: Option<Size>,
}

/// Routes to URLs elsewhere.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Headless {
    /// Networks that targets may lead to although loopback, link-local and the router's own addresses
    /// are refused.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub allow: Vec<Cidr>,
}

/// One landscape.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Landscape {
    /// Its id: the first label of its hosts.
    pub id: Id,
    /// Its ci.yml, relative to this file. Default: the `ci.yml` in `root`.
    #[schemars(length(min = 1))]
    pub ci: Option<String>,
    /// The folder its services share, relative to this file. Default: the folder of `ci`.
    #[schemars(length(min = 1))]
    pub root: Option<String>,
    /// With `prod`, `ci.prod.yml` is read instead of `ci.yml`.
    pub profile: Option<Profile>,
    /// Its team's id.
    #[serde(default)]
    #[schemars(extend("default" = ""))]
    pub team: String,
    /// What `${{ workspace.env.KEY }}` stands for.
    #[serde(default)]
    pub env: IndexMap<String, EnvValue>,
    /// How its services run unless they say otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// How each service runs, by its name in ci.yml.
    #[serde(default)]
    pub services: IndexMap<String, Service>,
}
