//! What the rest of the router reads of router.yaml: checked, with defaults filled in, and no text
//! left to parse.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

pub use super::model::{Namespaces, Protocol};
use crate::landscape::{LandscapeSpec, ServiceKey};

/// Everything that one version of router.yaml and the ci.yml files it names say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of what outlives a restart, absolute.
    pub state: PathBuf,
    /// Sockets.
    pub listen: Listen,
    /// `localhost` in `<id>.localhost`; lower case.
    pub dev_domain: Arc<str>,
    /// Peers whose forwarding headers count.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Bytes of memory that paused replicas may keep, by their plans.
    pub paused_memory: u64,
    /// Bounds of held requests, over all services.
    pub hold: Hold,
    /// Deadlines of one request.
    pub timeouts: Timeouts,
    /// Bounds of one request.
    pub limits: Limits,
    /// Names of header fields go on as they came, not in lower case.
    pub keep_header_case: bool,
    /// Custom domains: host (exact, or `*.` and a suffix) to path prefix to landscape ids.
    pub domains: Vec<Domain>,
    /// Where headless targets may lead although the address is refused by default.
    pub headless_allow: Arc<[IpNet]>,
    /// The access log; `None` switches it off.
    pub access_log: Option<AccessLog>,
    /// Process backend.
    pub process: ProcessSettings,
    /// Docker backend.
    pub docker: DockerSettings,
    /// Kubernetes backend.
    pub kubernetes: KubernetesSettings,
    /// The network between services; `None` switches it off.
    pub private: Option<PrivateSettings>,
    /// Every landscape of the file, in its order.
    pub landscapes: Vec<LandscapeSettings>,
}

/// One entry of `landscapes`.
#[derive(Clone, Debug)]
pub struct LandscapeSettings {
    /// Its id.
    pub id: Arc<str>,
    /// Its ci.yml as read; an error where no good version is known.
    pub spec: Result<Arc<LandscapeSpec>, String>,
    /// Where `spec` is an older, good version: why the current one is not used.
    pub stale: Option<String>,
    /// How each of its services is run, for every service of `spec`.
    pub policies: Vec<(ServiceKey, Arc<Policy>)>,
}

/// How one service is run: everything that ci.yml has no key for.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// When it runs.
    pub mode: Mode,
    /// Unused for so long, it is switched off.
    pub idle_after: Duration,
    /// What switching off means.
    pub when_idle: WhenIdle,
    /// From start to the first passed probe.
    pub start_timeout: Duration,
    /// From the polite signal to the kill.
    pub stop_grace: Duration,
    /// How long requests in flight may go on when a replica has to leave.
    pub drain_timeout: Duration,
    /// Which backend runs it.
    pub backend: BackendKind,
    /// The workload that stands for it, on Kubernetes.
    pub attach: Option<Attach>,
    /// Services that have to be awake with it, of the same landscape.
    pub depends_on: Vec<Arc<str>>,
    /// For a service without a public route: whether a routed service's being awake wakes it.
    pub wake: WakeRule,
    /// Stickiness.
    pub sticky: Sticky,
    /// Held requests of this service alone.
    pub hold: ServiceHold,
    /// Requests that are not use, in the file's order; the first that matches counts.
    pub traffic: Arc<[TrafficRule]>,
    /// An open stream on which no byte moved for so long is ended; `None`: never.
    pub idle_bytes: Option<Duration>,
    /// What its ports speak in the private network, where that is not told from the first bytes.
    pub protocols: Vec<(u16, Protocol)>,
}

/// When a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Off after `idle_after` without use.
    OffWhenUnused,
    /// Never off.
    AlwaysOn,
}

/// What switching off means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenIdle {
    /// The replicas end.
    Stop,
    /// The replicas freeze, in memory.
    Pause,
    /// They freeze, and end when not asked for within `stop_after`.
    PauseThenStop {
        /// `pause:`, from the moment of pausing.
        stop_after: Duration,
    },
}

/// When a service without a public route wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeRule {
    /// With any routed service of its landscape.
    WithLandscape,
    /// Only when called or depended on.
    OnCall,
}

/// Which replica a returning client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// Any.
    Off,
    /// The one its cookie names, while that one is ready.
    Cookie,
}

/// Which backend runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// Local processes.
    Process,
    /// A Docker Engine.
    Docker,
    /// A Kubernetes cluster.
    Kubernetes,
}

/// A class of requests that are not use.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficRule {
    /// All that are given have to match; at least one is given.
    pub path: Option<PathPattern>,
    /// Part of the User-Agent, compared without case.
    pub agent: Option<String>,
    /// Methods; empty for any.
    pub methods: Vec<String>,
    /// The client's address; empty for any.
    pub sources: Vec<IpNet>,
    /// What such a request does.
    pub then: TrafficClass,
}

/// A path as traffic rules give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path.
    Exact(String),
    /// `…/*` in the file: the prefix, whole segments.
    Prefix(String),
}

/// What a classed request does.
#[derive(Clone, Debug, PartialEq)]
pub enum TrafficClass {
    /// Wakes and counts, as requests without a rule do; ends the search for a rule.
    Wake,
    /// Forwarded while a replica is ready, else 503 at once; never extends.
    OnlyIfAwake,
    /// Forwarded while a replica is ready (never extends), else this answer.
    AnswerWhileAsleep {
        /// 200 to 599.
        status: u16,
        /// Plain text.
        body: Arc<str>,
    },
    /// Wakes, but does not put off the next sleep.
    NeverExtends,
}

/// Sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// The admin API; `None` switches it off.
    pub admin: Option<SocketAddr>,
    /// Client connections at a time, over all listeners.
    pub max_connections: usize,
    /// Data threads.
    pub threads: usize,
}

/// Bounds of held requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Requests, over all services.
    pub max_requests: usize,
    /// Bytes of head and body that are buffered for them.
    pub max_bytes: usize,
}

/// Bounds and ways of one service's held requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHold {
    /// Requests of this service.
    pub max_requests: usize,
    /// Bytes of head and body that are buffered for them.
    pub max_bytes: usize,
    /// How long one may wait.
    pub timeout: Duration,
    /// A browser's navigation held for so long gets the loading page.
    pub page_after: Duration,
    /// How many are released to one replica at a time.
    pub release: usize,
    /// What a half-close while held means.
    pub half_closed: HalfClosed,
}

/// What a client means that half-closes while its request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClosed {
    /// It left.
    Leave,
    /// It waits for its answer.
    Keep,
}

/// Deadlines of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To a replica or target.
    pub connect: Duration,
    /// For a client's whole header.
    pub header: Duration,
    /// From the whole request to the answer's head.
    pub response: Duration,
    /// Without a byte on an open connection or stream.
    pub idle: Duration,
}

/// Bounds of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole header.
    pub header: usize,
    /// Header fields.
    pub headers: usize,
    /// Bytes of a body.
    pub body: u64,
}

/// One custom domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Lower case; `*.example.com` for every name below.
    pub host: Arc<str>,
    /// Prefix (whole segments) to the ids that share its load.
    pub paths: Vec<(String, Vec<Arc<str>>)>,
}

/// How the access log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// A JSON object or a line of text a request.
    pub json: bool,
    /// `None`: standard output.
    pub path: Option<PathBuf>,
}

/// Process backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSettings {
    /// Host ports for replicas whose declared ones are taken, inclusive.
    pub ports: (u16, u16),
    /// Whether `runAsUser: 0` is allowed.
    pub allow_root: bool,
    /// Whether replicas get a network namespace of their own, where that is possible.
    pub namespaces: Namespaces,
    /// Whether replicas may have host ports below 1024.
    pub low_ports: bool,
    /// Bytes of log kept a replica.
    pub log_keep: u64,
}

/// Docker backend.
#[derive(Clone, Debug, PartialEq)]
pub struct DockerSettings {
    /// `unix://…` or `http://…`; `None`: the environment's or the usual socket.
    pub host: Option<String>,
    /// The image that runs Reactives; `None`: they are not runnable on Docker.
    pub base: Option<String>,
    /// Named bases.
    pub bases: Vec<(String, String)>,
    /// Networks for landscapes are cut from these, each a /24.
    pub subnets: Vec<IpNet>,
    /// When an image is pulled.
    pub pull: Pull,
    /// What happens to containers when the router ends.
    pub on_exit: OnExit,
    /// Whether `runAsUser: 0` is allowed.
    pub allow_root: bool,
    /// Credentials by registry host.
    pub registries: Vec<(String, Registry)>,
}

/// Kubernetes backend.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSettings {
    /// A kubeconfig file; `None`: the pod's own service account, else `KUBECONFIG`, else the user's.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; `None`: its current one.
    pub context: Option<String>,
    /// Where workloads are; `None`: the context's, or the router's own.
    pub namespace: Option<String>,
    /// What this installation's objects are told apart by from those of others: a label's value.
    pub instance: String,
    /// Who reaches the pods besides those of their landscape and the router's own.
    pub allow_from: Vec<IpNet>,
    /// The image that runs Reactives; `None`: they are not runnable on Kubernetes.
    pub base: Option<String>,
    /// Named bases.
    pub bases: Vec<(String, String)>,
    /// The PersistentVolumeClaim of a landscape's shared file system, `{id}` standing for its id; `None`:
    /// what needs the file system is not runnable.
    pub claim: Option<String>,
    /// Secrets that images are pulled with, beside those made of `registries`.
    pub image_pull_secrets: Vec<String>,
    /// When an image is pulled.
    pub pull: Pull,
    /// What happens to replicas when the router ends.
    pub on_exit: OnExit,
    /// Whether `runAsUser: 0` is allowed.
    pub allow_root: bool,
    /// Credentials by registry host.
    pub registries: Vec<(String, Registry)>,
}

/// An existing workload that stands for a service: the router changes its replica count alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attach {
    /// What it is.
    pub kind: AttachKind,
    /// Its name.
    pub name: String,
    /// Where it is; `None`: where the backend's workloads are.
    pub namespace: Option<String>,
}

/// Kinds of workloads with a scale subresource that can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttachKind {
    /// `apps/v1` Deployment.
    Deployment,
    /// `apps/v1` StatefulSet.
    StatefulSet,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Only where the engine does not have it.
    IfNotPresent,
    /// Before every start.
    Always,
    /// Never.
    Never,
}

/// What happens to replicas when the router ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// They run on; the next router finds them.
    Leave,
    /// They are stopped.
    Stop,
}

/// The network between the services of a landscape.
#[derive(Clone, Debug, PartialEq)]
pub struct PrivateSettings {
    /// Services' virtual addresses are of this range; `None`: of the first usual one that is free here.
    pub addresses: Option<Ipv4Net>,
    /// Without rights, services' addresses are of this part of loopback; `None`: they have none then.
    pub loopback: Option<Ipv4Net>,
    /// Networks for process replicas are cut from these, each a /24.
    pub subnets: Vec<Ipv4Net>,
    /// Whether the configuration says so: then this machine may not use any of them.
    pub subnets_given: bool,
    /// Those of Docker, which a range of virtual addresses that the router chooses keeps clear of.
    pub docker: Vec<Ipv4Net>,
    /// Who is asked for names that are not ours; empty: those that this machine asks.
    pub resolvers: Vec<SocketAddr>,
    /// Raw TCP on which nothing moved for so long is ended.
    pub idle: Duration,
    /// Whether replicas, containers too, reach what is outside of this machine.
    pub egress: bool,
}

/// Credentials of one registry, read when needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The user.
    pub username: String,
    /// A file that holds the password, a trailing line break ignored.
    pub password_file: PathBuf,
}
