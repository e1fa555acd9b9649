//! Where a route leads, with everything a request to it needs, made when the configuration is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ErrorCode;
use super::sticky::StickyCookie;
use super::traffic::Traffic;
use crate::config::settings::{Policy, Sticky};
use crate::landscape::{ServiceKey, TargetUrl};
use crate::lifecycle::Service;
use crate::observe::ServiceStats;

/// What a route leads to: the `T` of `route::Table<Arc<Endpoint>>`.
#[derive(Debug)]
pub struct Endpoint {
    /// Whose: for the log, the pages and the metrics.
    pub key: ServiceKey,
    /// Its counters.
    pub stats: Arc<ServiceStats>,
    /// How the service is run.
    pub policy: Arc<Policy>,
    /// Where its requests go.
    pub target: Target,
    pub(super) traffic: Traffic,
    pub(super) sticky: Option<StickyCookie>,
    /// Never used again in this process; no replica's number.
    pub(super) uid: u64,
}

/// Where requests go.
#[derive(Debug)]
pub enum Target {
    /// To this declared port of the service's replicas.
    Replicas {
        /// The service.
        service: Arc<Service>,
        /// The declared port.
        port: u16,
    },
    /// To a URL elsewhere.
    Url(TargetUrl),
    /// Nowhere: every request gets this answer.
    Nowhere {
        /// Its code.
        code: ErrorCode,
        /// More than the code's own sentence, for the client; no internals.
        detail: Option<Arc<str>>,
    },
}

impl Endpoint {
    /// An endpoint of the service `key`.
    pub fn new(key: ServiceKey, stats: Arc<ServiceStats>, policy: Arc<Policy>, target: Target) -> Arc<Self> {
        // Replicas count upwards from 1; targets have the upper half.
        static NEXT: AtomicU64 = AtomicU64::new(1 << 63);
        Arc::new(Self {
            traffic: Traffic::new(&policy.traffic),
            sticky: (policy.sticky == Sticky::Cookie).then(|| StickyCookie::new(&key.service)),
            uid: NEXT.fetch_add(1, Ordering::Relaxed),
            key,
            stats,
            policy,
            target,
        })
    }
}
