//! What a landscape is once its file's version, its templates and its synonyms are behind us.
//!
//! Nothing here knows `schemaVersion`, YAML or a runtime. A [`ServiceSpec`] is complete: a backend
//! can run it from this value alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A landscape's id, as hosts and private names spell it: `[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?`.
pub type LandscapeId = Arc<str>;

/// The name of one service in the whole router: `<landscape>/<service>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The landscape's id.
    pub landscape: LandscapeId,
    /// The service's name inside it.
    pub service: Arc<str>,
}

impl ServiceKey {
    /// A key of its two parts.
    pub fn new(landscape: impl Into<Arc<str>>, service: impl Into<Arc<str>>) -> Self {
        Self { landscape: landscape.into(), service: service.into() }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.landscape, self.service)
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value that may hold a secret. Its `Debug` shows only that there is one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value {
    /// The expanded text.
    pub text: Arc<str>,
    /// Whether a vault key went into it.
    pub secret: bool,
}

impl Value {
    /// A value that may be shown.
    pub fn plain(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), secret: false }
    }
    /// A value that is never shown.
    pub fn secret(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into(), secret: true }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret { f.write_str("<secret>") } else { write!(f, "{:?}", self.text) }
    }
}

/// One application: its services, and what runs once before them.
#[derive(Clone, Debug)]
pub struct LandscapeSpec {
    /// Where it lives: shared by all its services.
    pub home: Arc<Home>,
    /// Runs once, before the first run.
    pub prepare: Vec<Step>,
    /// Runs once, on request.
    pub test: Vec<Step>,
    /// By name, in file order.
    pub services: IndexMap<Arc<str>, Arc<ServiceSpec>>,
}

/// What the services of one landscape share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    /// The landscape's (workspace's) id.
    pub id: LandscapeId,
    /// The team's id, `""` where none is configured.
    pub team: Arc<str>,
    /// `<id>.<devDomain suffix>`.
    pub dev_domain: Arc<str>,
    /// The shared file system (`_workspace`), absolute.
    pub root: PathBuf,
}

impl Home {
    /// A landscape's home; `suffix` is what follows `<id>.` in its hosts.
    pub fn new(id: impl Into<LandscapeId>, team: impl Into<Arc<str>>, suffix: &str, root: PathBuf) -> Self {
        let id = id.into();
        let dev_domain = format!("{id}.{suffix}").into();
        Self { id, team: team.into(), dev_domain, root }
    }
}

/// A shell command with an optional name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Step {
    /// For people; may be absent, empty or used twice.
    pub name: Option<String>,
    /// Shell text, templates not expanded. May be empty: such a step does nothing.
    pub command: String,
}

/// One service, ready to be run and routed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServiceSpec {
    /// Its name.
    pub key: ServiceKey,
    /// Its landscape.
    pub home: Arc<Home>,
    /// What runs.
    pub workload: Workload,
    /// How much of the machine one replica gets, and how many there may be.
    pub plan: Plan,
    /// Replicas while awake, 1 to `plan.max_replicas`.
    pub replicas: u32,
    /// How a replica is probed.
    pub health: Health,
    /// Declared ports in file order; `3000` where the file declares none. Never empty for what runs.
    pub ports: Vec<Port>,
    /// The port of path `/`, else of the first path, else of the health endpoint, else the first
    /// declared, else 3000.
    pub primary_port: u16,
    /// Public routes.
    pub paths: Vec<PathRule>,
    /// Environment, expanded.
    pub env: BTreeMap<String, Value>,
    /// `runAsUser`.
    pub user: Option<u32>,
    /// `runAsGroup`.
    pub group: Option<u32>,
    /// Parts of the shared file system and where they appear.
    pub mounts: Vec<Mount>,
}

/// What a service runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Workload {
    /// Shell steps on the shared base; the last one stays up.
    Reactive {
        /// In order; a failing one stops the rest.
        steps: Vec<Step>,
        /// The bare name of an older file's `baseImage`, such as `ubuntu-24.04`: on Docker one of
        /// `docker.bases`, or where that does not list it an image; processes do not look at it.
        base: Option<String>,
    },
    /// An OCI image.
    Container {
        /// Reference by tag or digest, expanded.
        image: Value,
        /// Replaces CMD, keeps ENTRYPOINT.
        command: Option<Vec<String>>,
    },
    /// Shell steps by `/bin/sh` inside an image.
    CustomBase {
        /// Reference by tag or digest, expanded.
        image: Value,
        /// In order.
        steps: Vec<Step>,
    },
    /// Nothing: its paths lead to URLs elsewhere.
    Headless,
    /// A database or queue from a catalogue; nothing the router provides.
    Managed {
        /// The provider's name.
        provider: String,
    },
}

/// A share of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// As the file or the configuration names it.
    pub id: Arc<str>,
    /// Cores; fractions allowed.
    pub cpu: f64,
    /// Bytes.
    pub memory: u64,
    /// The most replicas a service of this plan may ask for.
    pub max_replicas: u32,
}

impl Eq for Plan {}

impl std::hash::Hash for Plan {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        (&self.id, self.cpu.to_bits(), self.memory, self.max_replicas).hash(h);
    }
}

/// A declared port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port {
    /// 1 to 65535.
    pub number: u16,
    /// Whether `<id>-<port>.<devDomain>` leads to it.
    pub public: bool,
}

/// One public route of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathRule {
    /// Begins with `/`, no trailing slash but for `/` itself.
    pub prefix: String,
    /// Whether the prefix is removed before forwarding.
    pub strip: bool,
    /// Where it leads.
    pub to: PathTarget,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathTarget {
    /// A port of the service's replicas.
    Port(u16),
    /// A URL elsewhere (headless).
    Url(TargetUrl),
}

/// An `http` or `https` URL of a headless target, taken apart once. What shows it (`Display`, `Debug`)
/// leaves out one that a vault key went into.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TargetUrl {
    /// `https` rather than `http`.
    pub tls: bool,
    /// Name or address literal, lower case, IPv6 without brackets.
    pub host: Arc<str>,
    /// Explicit or the scheme's own.
    pub port: u16,
    /// What stands before the request's path, `""` for none; no trailing slash.
    pub base_path: Arc<str>,
    /// Whether a vault key went into it.
    pub secret: bool,
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.secret {
            return write!(f, "{scheme}://<secret>");
        }
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.base_path)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.base_path)
        }
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a replica is probed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// No `healthEndpoint`: connect to the primary port, then any answer below 500.
    Default,
    /// GET; 200 to 399 is healthy, redirects not followed.
    Http {
        /// As seen inside the replica; declared or not.
        port: u16,
        /// Path and query.
        path: String,
        /// `https` (the certificate is not checked: the host is the replica itself).
        tls: bool,
    },
    /// A connect is enough.
    Tcp {
        /// As seen inside the replica.
        port: u16,
    },
}

/// A part of the shared file system inside a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mount {
    /// Relative to the root, normalised, `""` for all of it; never leaves it lexically.
    pub workspace_path: String,
    /// Absolute, inside the replica.
    pub mount_path: String,
}

impl ServiceSpec {
    /// Whether a backend has to run something for it.
    pub fn runs(&self) -> bool {
        !matches!(self.workload, Workload::Headless | Workload::Managed { .. })
    }

    /// Whether any public path or port leads to it.
    pub fn is_routed(&self) -> bool {
        !self.paths.is_empty() || self.ports.iter().any(|p| p.public)
    }

    /// Every port that a replica must offer: the declared ones, those of paths, the health port and
    /// the primary one; each once, the primary first.
    pub fn all_ports(&self) -> Vec<u16> {
        let mut all = vec![self.primary_port];
        let routed = self.paths.iter().filter_map(|p| match p.to {
            PathTarget::Port(n) => Some(n),
            PathTarget::Url(_) => None,
        });
        let probed = match self.health {
            Health::Http { port, .. } | Health::Tcp { port } => Some(port),
            Health::Default => None,
        };
        for n in self.ports.iter().map(|p| p.number).chain(routed).chain(probed) {
            if !all.contains(&n) {
                all.push(n);
            }
        }
        all
    }

    /// A stable digest of everything that a running replica depends on (not its routes and not its
    /// replica count): equal digests mean that a replica need not be replaced. Stable across builds
    /// and restarts, so that adopted replicas can be compared.
    pub fn run_digest(&self) -> RunDigest {
        super::digest::of(self)
    }
}

impl LandscapeSpec {
    /// A digest of what `prepare` runs and where: 64 hex digits. Stable across builds and restarts.
    pub fn prepare_digest(&self) -> String {
        super::digest::of_prepare(self)
    }
}

/// See [`ServiceSpec::run_digest`]: 16 hex digits.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct RunDigest(pub String);
