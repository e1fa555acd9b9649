//! Everything of the configuration that a request reads: immutable, swapped whole.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;

use super::Endpoint;
use super::private::PrivatePorts;
use crate::config::settings::{BackendKind, Limits, Settings, Timeouts};
use crate::landscape::TargetGuard;
use crate::route::Table;

/// Where the current [`Snapshot`] is found; a reload stores the next one.
pub type CurrentSnapshot = Arc<ArcSwap<Snapshot>>;

/// One version of what requests read. A request loads it once and keeps it for its retries.
#[derive(Debug)]
pub struct Snapshot {
    /// Host and path to endpoint.
    pub table: Table<Arc<Endpoint>>,
    /// Virtual address to private port.
    pub private: PrivatePorts,
    /// The rest.
    pub rules: Rules,
}

/// What holds for every request.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Peers whose forwarding headers count.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Bounds.
    pub limits: Limits,
    /// Names of fields go on as they came.
    pub keep_header_case: bool,
    /// Which addresses headless targets may lead to.
    pub targets: TargetGuard,
}

impl Rules {
    /// The part of the settings that requests read. `listeners` and `admin` are where the router itself
    /// listens, as bound, so that no headless target leads back into it.
    pub fn new(settings: &Settings, listeners: Vec<SocketAddr>, admin: Option<SocketAddr>) -> Self {
        let mut policies = settings.landscapes.iter().flat_map(|l| &l.policies);
        // Unused, the default range may well be someone else's.
        let ranges = match policies.any(|(_, policy)| policy.backend == BackendKind::Docker) {
            true => settings.docker.subnets.clone(),
            false => Vec::new(),
        };
        Self {
            trusted_proxies: settings.trusted_proxies.clone(),
            timeouts: settings.timeouts.clone(),
            limits: settings.limits.clone(),
            keep_header_case: settings.keep_header_case,
            targets: TargetGuard::new(settings.headless_allow.clone(), listeners, admin, ranges),
        }
    }
}
