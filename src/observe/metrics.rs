//! `/metrics`: nothing is kept here, a scrape reads the counters and the state of every service of
//! the current configuration. So a removed service vanishes with the reload that removes it, and
//! labels are bounded by the configuration.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily};
use prometheus::{Registry, TextEncoder};

use super::calls::NOBODY;
use super::family as f;
use super::stats::{ColdStart, HoldRejection, Phase};
use super::{RouterStats, ServiceStats, process};
use crate::cluster::ClusterStatus;
use crate::landscape::ServiceKey;
use crate::lifecycle::{ReplicaState, ServiceStatus, StateName};

/// What `Content-Type` a scrape is answered with.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One service at the moment of a scrape.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Which.
    pub key: ServiceKey,
    /// Its counters.
    pub stats: Arc<ServiceStats>,
    /// What it does; `None` for what the router only forwards to.
    pub status: Option<ServiceStatus>,
}

/// Where a scrape finds the services of the current configuration.
pub trait Source: Send + Sync + 'static {
    /// All of them.
    fn services(&self) -> Vec<Sample>;

    /// The routers, where there may be several.
    fn cluster(&self) -> Option<Arc<ClusterStatus>> {
        None
    }
}

/// See the module's words.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Metrics {
    /// Over the router's own numbers and those of every service that `source` names.
    pub fn new(router: Arc<RouterStats>, source: Arc<dyn Source>) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let descs = f::ALL.iter().filter_map(|f| f.desc()).collect();
        registry.register(Box::new(Everything { router, source, descs }))?;
        Ok(Self(registry))
    }

    /// The whole text.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.0.gather())
    }

    /// The name of every metric, without a histogram's suffixes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        f::ALL.iter().map(|f| f.name)
    }
}

/// The one collector.
struct Everything {
    router: Arc<RouterStats>,
    source: Arc<dyn Source>,
    descs: Vec<Desc>,
}

impl Collector for Everything {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let services = self.source.services();
        let mut families = traffic(&services, &self.router.unrouted);
        families.extend(private(&services));
        families.extend(life(&services));
        families.extend(router(&self.router));
        families.extend(self.source.cluster().map(|status| cluster(&status)).unwrap_or_default());
        families.extend(process::families(self.router.started()));
        families
    }
}

/// What requests did, those without a service too.
fn traffic(services: &[Sample], unrouted: &ServiceStats) -> Vec<MetricFamily> {
    let (mut requests, mut durations, mut retries, mut upstream) = (vec![], vec![], vec![], vec![]);
    let mut in_flight = vec![];
    let named = services.iter().map(|s| (&*s.key.landscape, &*s.key.service, &*s.stats));
    for (landscape, service, stats) in named.clone().chain([(NOBODY, NOBODY, unrouted)]) {
        // There from the start: a counter that appears with its first count hides that one from `rate()`.
        let usual = if service == NOBODY { 404 } else { 200 };
        let mut codes = stats.requests_by_code();
        if !codes.iter().any(|(code, _)| *code == usual) {
            codes.push((usual, 0));
        }
        for (code, count) in codes {
            requests.push(f::REQUESTS.sample(&[landscape, service, &code.to_string()], count as f64));
        }
        durations.push(f::REQUEST_DURATION.distribution(&[landscape, service], &stats.request_duration.snapshot()));
    }
    for (landscape, service, stats) in named {
        retries.push(f::RETRIES.sample(&[landscape, service], stats.retries.get() as f64));
        upstream.push(f::UPSTREAM_CONNECTIONS.sample(&[landscape, service], stats.upstream_connections.get() as f64));
    }
    for s in services {
        let count = s.status.as_ref().map_or(s.stats.forwarding.get() as f64, |status| status.in_flight as f64);
        in_flight.push(f::IN_FLIGHT.sample(&[&s.key.landscape, &s.key.service], count));
    }
    vec![
        f::REQUESTS.with(requests),
        f::IN_FLIGHT.with(in_flight),
        f::REQUEST_DURATION.with(durations),
        f::RETRIES.with(retries),
        f::UPSTREAM_CONNECTIONS.with(upstream),
    ]
}

/// Who calls whom over the private network.
fn private(services: &[Sample]) -> Vec<MetricFamily> {
    let (mut connections, mut open, mut requests, mut bytes) = (vec![], vec![], vec![], vec![]);
    for sample in services {
        let (landscape, service) = (&*sample.key.landscape, &*sample.key.service);
        for (peer, caller) in sample.stats.calls.all() {
            let labels = [landscape, service, &peer];
            connections.push(f::PRIVATE_CONNECTIONS.sample(&labels, caller.connections.get() as f64));
            open.push(f::PRIVATE_OPEN.sample(&labels, caller.open.get() as f64));
            requests.push(f::PRIVATE_REQUESTS.sample(&labels, caller.requests.get() as f64));
            for (direction, count) in [("received", &caller.received), ("sent", &caller.sent)] {
                bytes.push(f::PRIVATE_BYTES.sample(&[landscape, service, &peer, direction], count.get() as f64));
            }
        }
    }
    vec![
        f::PRIVATE_CONNECTIONS.with(connections),
        f::PRIVATE_OPEN.with(open),
        f::PRIVATE_REQUESTS.with(requests),
        f::PRIVATE_BYTES.with(bytes),
    ]
}

/// What services that run here do.
fn life(services: &[Sample]) -> Vec<MetricFamily> {
    let (mut rejections, mut starts, mut phases) = (vec![], vec![], vec![]);
    let (mut states, mut replicas, mut wanted, mut sleeps) = (vec![], vec![], vec![], vec![]);
    let mut held: Vec<Metric> = vec![];
    for (sample, status) in services.iter().filter_map(|s| Some((s, s.status.as_ref()?))) {
        let (landscape, service, stats) = (&*sample.key.landscape, &*sample.key.service, &sample.stats);
        for r in HoldRejection::ALL {
            let count = stats.hold_rejections(r) as f64;
            rejections.push(f::HOLD_REJECTIONS.sample(&[landscape, service, r.label()], count));
        }
        for o in ColdStart::ALL {
            starts.push(f::COLD_STARTS.sample(&[landscape, service, o.label()], stats.cold_starts(o) as f64));
        }
        for (p, histogram) in Phase::ALL.iter().zip(&stats.cold_phases) {
            let labels = [landscape, service, p.label()];
            phases.push(f::COLD_START_SECONDS.distribution(&labels, &histogram.snapshot()));
        }
        for state in STATES {
            let now = f64::from(shown(status.state) == state);
            states.push(f::SERVICE_STATE.sample(&[landscape, service, state.as_str()], now));
        }
        for (state, name) in REPLICA_STATES {
            let count = status.replicas.iter().filter(|r| r.state == state).count();
            replicas.push(f::REPLICAS.sample(&[landscape, service, name], count as f64));
        }
        wanted.push(f::REPLICAS_WANTED.sample(&[landscape, service], f64::from(status.wanted_replicas)));
        held.push(f::HELD.sample(&[landscape, service], status.held as f64));
        sleeps.extend(status.seconds_until_sleep.map(|s| f::UNTIL_SLEEP.sample(&[landscape, service], s)));
    }
    vec![
        f::HOLD_REJECTIONS.with(rejections),
        f::COLD_STARTS.with(starts),
        f::COLD_START_SECONDS.with(phases),
        f::SERVICE_STATE.with(states),
        f::REPLICAS.with(replicas),
        f::REPLICAS_WANTED.with(wanted),
        f::UNTIL_SLEEP.with(sleeps),
        f::HELD.with(held),
    ]
}

/// The states of `service_state`; a preparing service counts as starting.
const STATES: [StateName; 6] = [
    StateName::Off,
    StateName::Starting,
    StateName::Ready,
    StateName::Draining,
    StateName::Stopping,
    StateName::Failed,
];

fn shown(state: StateName) -> StateName {
    if state == StateName::Preparing { StateName::Starting } else { state }
}

const REPLICA_STATES: [(ReplicaState, &str); 8] = [
    (ReplicaState::Starting, "starting"),
    (ReplicaState::Ready, "ready"),
    (ReplicaState::Unready, "unready"),
    (ReplicaState::Pausing, "pausing"),
    (ReplicaState::Paused, "paused"),
    (ReplicaState::Draining, "draining"),
    (ReplicaState::Stopping, "stopping"),
    (ReplicaState::Waiting, "waiting"),
];

/// The router as a whole.
fn router(stats: &RouterStats) -> Vec<MetricFamily> {
    let one = |family: &f::Family, value: f64| family.with(vec![family.sample(&[], value)]);
    let (success, error) = stats.reloads();
    vec![
        one(&f::CONNECTIONS, stats.connections.get() as f64),
        one(&f::CONNECTIONS_REFUSED, stats.connections_refused.get() as f64),
        f::PRIVATE_REFUSED.with(vec![
            f::PRIVATE_REFUSED.sample(&["unknown"], stats.private_refused_unknown.get() as f64),
            f::PRIVATE_REFUSED.sample(&["foreign"], stats.private_refused_foreign.get() as f64),
        ]),
        one(&f::ACCESS_LOG_DROPPED, stats.access_log_dropped.get() as f64),
        f::RELOADS
            .with(vec![f::RELOADS.sample(&["success"], success as f64), f::RELOADS.sample(&["error"], error as f64)]),
        one(&f::LAST_RELOAD, f64::from(stats.last_reload_ok())),
        f::BUILD_INFO.with(vec![f::BUILD_INFO.sample(&[env!("CARGO_PKG_VERSION")], 1.0)]),
    ]
}

/// Several routers.
fn cluster(status: &ClusterStatus) -> Vec<MetricFamily> {
    let one = |family: &f::Family, value: f64| family.with(vec![family.sample(&[], value)]);
    vec![
        one(&f::CLUSTER_LEADER, f64::from(status.leads)),
        one(&f::CLUSTER_ROUTERS, status.routers.len() as f64),
        one(&f::CLUSTER_RENEW_FAILURES, status.renew_failures as f64),
    ]
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
