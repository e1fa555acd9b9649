//! Every metric that the router exports: its name, its type, its words; and samples of them.

use prometheus::core::Desc;
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::cell::Snapshot;

/// Name without prefix for what Prometheus itself names (`process_…`), labels, type and help.
#[derive(Debug)]
pub(super) struct Family {
    pub name: &'static str,
    pub kind: MetricType,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

macro_rules! families {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) static $id: Family =
            Family { name: $name, kind: MetricType::$kind, labels: &[$($label),*], help: $help };)*
        /// All of them.
        pub(super) static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    REQUESTS = COUNTER "landscape_router_requests_total" ["landscape", "service", "code"]
        "Requests that ended, by the status the client got; 499 if it left before one.";
    REQUEST_DURATION = HISTOGRAM "landscape_router_request_duration_seconds" ["landscape", "service"]
        "From a request's first byte to the end of its answer.";
    IN_FLIGHT = GAUGE "landscape_router_in_flight_requests" ["landscape", "service"]
        "Requests and open streams that replicas or targets work on.";
    HELD = GAUGE "landscape_router_held_requests" ["landscape", "service"]
        "Requests that wait for a replica.";
    HOLD_REJECTIONS = COUNTER "landscape_router_hold_rejections_total" ["landscape", "service", "reason"]
        "Requests that were not held, or no longer.";
    RETRIES = COUNTER "landscape_router_retries_total" ["landscape", "service"]
        "Attempts of requests after their first one.";
    COLD_STARTS = COUNTER "landscape_router_cold_starts_total" ["landscape", "service", "outcome"]
        "Starts of a service of which nothing was ready.";
    COLD_START_SECONDS = HISTOGRAM "landscape_router_cold_start_seconds" ["landscape", "service", "phase"]
        "Parts of a cold start: start until a replica runs, probe until it is ready, release until nobody waits.";
    SERVICE_STATE = GAUGE "landscape_router_service_state" ["landscape", "service", "state"]
        "1 for the state that the service is in, 0 for the others.";
    REPLICAS = GAUGE "landscape_router_replicas" ["landscape", "service", "state"]
        "Replicas by what they do.";
    REPLICAS_WANTED = GAUGE "landscape_router_replicas_wanted" ["landscape", "service"]
        "Replicas that there should be while the service is awake.";
    UNTIL_SLEEP = GAUGE "landscape_router_seconds_until_sleep" ["landscape", "service"]
        "Time until the service is switched off if nobody uses it; absent while something keeps it awake.";
    UPSTREAM_CONNECTIONS = GAUGE "landscape_router_upstream_connections" ["landscape", "service"]
        "Open connections to replicas and targets, in use or idle.";
    PRIVATE_CONNECTIONS = COUNTER "landscape_router_private_connections_total" ["landscape", "service", "peer"]
        "Connections to a service over the private network, by the service that called.";
    PRIVATE_OPEN = GAUGE "landscape_router_private_connections" ["landscape", "service", "peer"]
        "Connections to a service over the private network that are open, by the service that called.";
    PRIVATE_REQUESTS = COUNTER "landscape_router_private_requests_total" ["landscape", "service", "peer"]
        "HTTP requests to a service over the private network that ended, by the service that called.";
    PRIVATE_BYTES = COUNTER "landscape_router_private_bytes_total" ["landscape", "service", "peer", "direction"]
        "Bytes that a service received from a peer and sent to it over the private network.";
    CONNECTIONS = GAUGE "landscape_router_connections" []
        "Open connections of clients.";
    CONNECTIONS_REFUSED = COUNTER "landscape_router_connections_refused_total" []
        "Connections of clients that were closed at once because there were too many.";
    PRIVATE_REFUSED = COUNTER "landscape_router_private_refused_total" ["reason"]
        "Connections by a private name that were refused: nobody known calls, or a foreign landscape's service.";
    ACCESS_LOG_DROPPED = COUNTER "landscape_router_access_log_dropped_total" []
        "Access-log records that were lost.";
    CLUSTER_LEADER = GAUGE "landscape_router_cluster_leader" []
        "1 if this router switches off for all of them; absent without Kubernetes.";
    CLUSTER_ROUTERS = GAUGE "landscape_router_cluster_routers" []
        "Routers whose Leases have not run out, this one too.";
    CLUSTER_RENEW_FAILURES = COUNTER "landscape_router_cluster_renew_failures_total" []
        "Renewals of this router's Lease that failed.";
    RELOADS = COUNTER "landscape_router_config_reloads_total" ["result"]
        "Reloads of the configuration.";
    LAST_RELOAD = GAUGE "landscape_router_config_last_reload_successful" []
        "Whether the last reload of the configuration was applied.";
    BUILD_INFO = GAUGE "landscape_router_build_info" ["version"]
        "Always 1; the version is a label.";
    OPEN_FDS = GAUGE "process_open_fds" []
        "Open file descriptors.";
    MAX_FDS = GAUGE "process_max_fds" []
        "The most file descriptors that may be open.";
    RESIDENT = GAUGE "process_resident_memory_bytes" []
        "Resident memory.";
    CPU = COUNTER "process_cpu_seconds_total" []
        "User and system CPU time spent.";
    STARTED = GAUGE "process_start_time_seconds" []
        "When the process started, since the Unix epoch.";
}

impl Family {
    /// As the registry wants it described; `None` only if a name were not one, which a test excludes.
    pub(super) fn desc(&self) -> Option<Desc> {
        let labels = self.labels.iter().map(ToString::to_string).collect();
        Desc::new(self.name.into(), self.help.into(), labels, Default::default()).ok()
    }

    /// The family with these samples.
    pub(super) fn with(&self, samples: Vec<Metric>) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.into());
        family.set_help(self.help.into());
        family.set_field_type(self.kind);
        family.set_metric(samples);
        family
    }

    /// A sample of a counter or gauge; label values in the order of the family's labels.
    pub(super) fn sample(&self, labels: &[&str], value: f64) -> Metric {
        let mut metric = Metric::from_label(self.pairs(labels));
        if self.kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }

    /// A sample of a histogram.
    pub(super) fn distribution(&self, labels: &[&str], snapshot: &Snapshot) -> Metric {
        let mut metric = Metric::from_label(self.pairs(labels));
        let mut histogram = Histogram::default();
        histogram.set_sample_count(snapshot.count);
        histogram.set_sample_sum(snapshot.sum);
        let buckets = snapshot.cumulative.iter().map(|(bound, count)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        metric.set_histogram(histogram);
        metric
    }

    fn pairs(&self, values: &[&str]) -> Vec<LabelPair> {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        let pair = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).into());
            pair.set_value((*value).into());
            pair
        };
        self.labels.iter().zip(values).map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_valid_once_and_as_prometheus_asks() {
        let names: HashSet<_> = ALL.iter().map(|f| f.name).collect();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            assert!(family.desc().is_some(), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == MetricType::COUNTER, "{}", family.name);
            assert!(family.help.ends_with('.'), "{}", family.name);
        }
    }
}
