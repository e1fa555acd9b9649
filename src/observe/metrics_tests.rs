use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::lifecycle::Service;

struct Fixed(Mutex<Vec<Sample>>);

impl Source for Fixed {
    fn services(&self) -> Vec<Sample> {
        self.0.lock().clone()
    }

    fn cluster(&self) -> Option<Arc<ClusterStatus>> {
        let routers = vec!["one".into(), "other".into()];
        Some(Arc::new(ClusterStatus { routers, leads: true, renew_failures: 3, ..ClusterStatus::default() }))
    }
}

fn sample(landscape: &str, service: &str) -> Sample {
    let stats = Arc::new(ServiceStats::default());
    let key = ServiceKey::new(landscape, service);
    let status = Service::new(key.clone(), stats.clone()).status();
    Sample { key, stats, status: Some(status) }
}

struct Scrape {
    source: Arc<Fixed>,
    router: Arc<RouterStats>,
    metrics: Metrics,
}

fn scrape(services: Vec<Sample>) -> Scrape {
    let source = Arc::new(Fixed(Mutex::new(services)));
    let router = Arc::new(RouterStats::default());
    let metrics = Metrics::new(router.clone(), source.clone()).unwrap();
    Scrape { source, router, metrics }
}

impl Scrape {
    fn text(&self) -> String {
        let text = self.metrics.text().unwrap();
        judge(&text);
        text
    }

    /// The lines of one metric, comments and suffixed names too.
    fn of(&self, name: &str) -> Vec<String> {
        let mine = |l: &&str| l.trim_start_matches("# HELP ").trim_start_matches("# TYPE ").starts_with(name);
        self.text().lines().filter(mine).map(str::to_owned).collect()
    }
}

/// Judges the text as a Prometheus server would: each family once, its HELP and TYPE first, its
/// samples together, no sample twice, values that are numbers, buckets that only grow and end at the
/// count.
fn judge(text: &str) {
    assert!(text.ends_with('\n') && !text.contains("\n\n"));
    let (mut types, mut samples, mut current) = (HashMap::new(), HashSet::new(), String::new());
    let mut last_bucket: Option<(String, f64)> = None;
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && !types.contains_key(name), "{line}");
            current = name.to_owned();
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, current, "TYPE follows HELP");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        assert!(samples.insert(series.to_owned()), "twice: {series}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap();
        let suffix = name.strip_prefix(&*current).unwrap_or_else(|| panic!("{name} outside of its family"));
        match types[&current].as_str() {
            "histogram" => match suffix {
                "_bucket" => {
                    let (rest, le) = labels.rsplit_once(",le=").unwrap();
                    if let Some((before, count)) = &last_bucket
                        && before == rest
                    {
                        assert!(value >= *count, "{line}");
                    }
                    last_bucket = Some((rest.to_owned(), value));
                    assert!(le == "\"+Inf\"" || le.trim_matches('"').parse::<f64>().is_ok(), "{line}");
                }
                "_count" => assert_eq!(last_bucket.take().map(|(_, c)| c), Some(value), "{line}"),
                other => assert_eq!(other, "_sum", "{line}"),
            },
            _ => assert_eq!(suffix, "", "{line}"),
        }
    }
}

#[test]
fn requests_are_told_by_status_and_those_without_a_service_under_a_dash() {
    let web = sample("4711", "web");
    web.stats.request(200, Duration::from_millis(3));
    web.stats.request(200, Duration::from_millis(3));
    web.stats.request(499, Duration::from_secs(100));
    let s = scrape(vec![web]);
    s.router.unrouted.request(404, Duration::from_micros(20));
    assert_eq!(
        s.of("landscape_router_requests_total"),
        [
            "# HELP landscape_router_requests_total Requests that ended, by the status the client got; 499 if it left \
             before one.",
            "# TYPE landscape_router_requests_total counter",
            "landscape_router_requests_total{landscape=\"-\",service=\"-\",code=\"404\"} 1",
            "landscape_router_requests_total{landscape=\"4711\",service=\"web\",code=\"200\"} 2",
            "landscape_router_requests_total{landscape=\"4711\",service=\"web\",code=\"499\"} 1",
        ]
    );
    let durations = s.of("landscape_router_request_duration_seconds");
    let web = |rest: &str| format!("landscape_router_request_duration_seconds{rest}");
    for line in [
        web("_bucket{landscape=\"4711\",service=\"web\",le=\"0.0025\"} 0"),
        web("_bucket{landscape=\"4711\",service=\"web\",le=\"0.005\"} 2"),
        web("_bucket{landscape=\"4711\",service=\"web\",le=\"60\"} 2"),
        web("_bucket{landscape=\"4711\",service=\"web\",le=\"+Inf\"} 3"),
        web("_sum{landscape=\"4711\",service=\"web\"} 100.006"),
        web("_count{landscape=\"4711\",service=\"web\"} 3"),
        web("_count{landscape=\"-\",service=\"-\"} 1"),
    ] {
        assert!(durations.contains(&line), "{line}\n{durations:#?}");
    }
}

#[test]
fn every_counter_is_there_before_its_first_count() {
    let web = sample("4711", "web");
    // Whoever has not called is not known.
    web.stats.calls.of("api");
    let s = scrape(vec![web]);
    let text = s.text();
    for family in f::ALL.iter().filter(|f| f.kind == prometheus::proto::MetricType::COUNTER) {
        assert!(text.contains(&format!("# TYPE {} counter", family.name)), "{} is absent", family.name);
    }
    let web = "landscape_router_requests_total{landscape=\"4711\",service=\"web\",code=\"200\"} 0";
    assert!(text.contains(web), "{text}");
}

#[test]
fn holds_and_cold_starts_are_told_by_reason_outcome_and_phase() {
    let web = sample("4711", "web");
    web.stats.hold_rejected(HoldRejection::Overflow);
    web.stats.cold_start(ColdStart::Success);
    web.stats.cold_phase(Phase::Probe, Duration::from_secs(200));
    let s = scrape(vec![web]);
    let tail = |name: &str, skip: usize| {
        s.of(name).split_off(skip).join("\n").replace("landscape=\"4711\",service=\"web\",", "")
    };
    assert_eq!(
        tail("landscape_router_cold_starts_total", 2),
        "landscape_router_cold_starts_total{outcome=\"cancelled\"} 0\n\
         landscape_router_cold_starts_total{outcome=\"failed\"} 0\n\
         landscape_router_cold_starts_total{outcome=\"success\"} 1"
    );
    assert!(tail("landscape_router_hold_rejections_total", 2).contains("{reason=\"overflow\"} 1"));
    let seconds = tail("landscape_router_cold_start_seconds", 2);
    for line in ["{phase=\"probe\",le=\"120\"} 0", "{phase=\"probe\",le=\"300\"} 1", "_count{phase=\"start\"} 0"] {
        assert!(seconds.contains(line), "{line}\n{seconds}");
    }
}

#[test]
fn who_the_routers_are_is_told() {
    let s = scrape(Vec::new());
    for (name, value) in [("leader", 1), ("routers", 2), ("renew_failures_total", 3)] {
        let name = format!("landscape_router_cluster_{name}");
        assert_eq!(s.of(&name).pop().unwrap(), format!("{name} {value}"));
    }
}

#[test]
fn the_state_of_a_service_is_one_of_six() {
    let mut web = sample("4711", "web");
    let status = web.status.as_mut().unwrap();
    status.state = StateName::Preparing;
    status.held = 3;
    status.in_flight = 2;
    status.wanted_replicas = 4;
    let mut forward = sample("4711", "api");
    forward.status = None;
    let s = scrape(vec![web, forward]);
    let states = s.of("landscape_router_service_state").split_off(2);
    assert_eq!(states.len(), 6, "what is only forwarded to has no state: {states:?}");
    assert_eq!(
        states.iter().filter(|l| l.ends_with(" 1")).collect::<Vec<_>>(),
        ["landscape_router_service_state{landscape=\"4711\",service=\"web\",state=\"starting\"} 1"]
    );
    assert_eq!(
        s.of("landscape_router_held_requests").pop().unwrap(),
        "landscape_router_held_requests{landscape=\"4711\",service=\"web\"} 3"
    );
    assert!(s.of("landscape_router_in_flight_requests").pop().unwrap().ends_with("} 2"));
    assert!(s.of("landscape_router_replicas_wanted").pop().unwrap().ends_with("} 4"));
    assert_eq!(s.of("landscape_router_replicas{").len(), 8);
    assert!(s.of("landscape_router_seconds_until_sleep").is_empty(), "nothing will sleep");
}

#[test]
fn the_time_until_sleep_is_told_where_there_is_one() {
    let mut web = sample("4711", "web");
    web.status.as_mut().unwrap().seconds_until_sleep = Some(12.5);
    let lines = scrape(vec![web]).of("landscape_router_seconds_until_sleep");
    assert_eq!(lines.last().unwrap(), "landscape_router_seconds_until_sleep{landscape=\"4711\",service=\"web\"} 12.5");
}

#[test]
fn the_router_tells_of_its_reloads_connections_and_version() {
    let s = scrape(vec![]);
    let last = |name: &str| s.of(name).pop().unwrap();
    assert_eq!(
        last("landscape_router_config_last_reload_successful"),
        "landscape_router_config_last_reload_successful 1"
    );
    s.router.reloaded(true);
    s.router.reloaded(false);
    s.router.connections.inc();
    s.router.access_log_dropped.add(7);
    assert_eq!(
        s.of("landscape_router_config_reloads_total").split_off(2),
        [
            "landscape_router_config_reloads_total{result=\"error\"} 1",
            "landscape_router_config_reloads_total{result=\"success\"} 1"
        ]
    );
    assert_eq!(
        last("landscape_router_config_last_reload_successful"),
        "landscape_router_config_last_reload_successful 0"
    );
    assert_eq!(last("landscape_router_connections "), "landscape_router_connections 1");
    assert_eq!(last("landscape_router_access_log_dropped_total"), "landscape_router_access_log_dropped_total 7");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(last("landscape_router_build_info"), format!("landscape_router_build_info{{version=\"{version}\"}} 1"));
}

#[test]
fn the_process_tells_of_itself() {
    let s = scrape(vec![]);
    for name in [
        "process_open_fds",
        "process_max_fds",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
    ] {
        let line = s.of(name).pop().unwrap();
        let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
        assert!(value > 0.0, "{line}");
    }
}

#[test]
fn a_removed_service_vanishes_and_one_that_stays_keeps_its_numbers() {
    let (web, api) = (sample("4711", "web"), sample("4711", "api"));
    web.stats.request(200, Duration::ZERO);
    let s = scrape(vec![web.clone(), api]);
    assert!(s.text().contains("service=\"api\""));
    *s.source.0.lock() = vec![web];
    let text = s.text();
    assert!(!text.contains("service=\"api\""));
    assert!(text.contains("landscape_router_requests_total{landscape=\"4711\",service=\"web\",code=\"200\"} 1"));
}

#[test]
fn label_values_are_escaped() {
    let odd = sample("a\"b\\c", "d\ne");
    odd.stats.request(200, Duration::ZERO);
    let text = scrape(vec![odd]).text();
    assert!(text.contains("landscape=\"a\\\"b\\\\c\",service=\"d\\ne\",code=\"200\""), "{text}");
}

#[test]
fn what_moves_is_told_for_forwarded_services_too() {
    let mut forward = sample("4711", "api");
    forward.status = None;
    forward.stats.upstream_connections.inc();
    forward.stats.retries.inc();
    forward.stats.forwarding.inc();
    let s = scrape(vec![forward]);
    for name in [
        "landscape_router_upstream_connections",
        "landscape_router_retries_total",
        "landscape_router_in_flight_requests",
    ] {
        assert_eq!(s.of(name).pop().unwrap(), format!("{name}{{landscape=\"4711\",service=\"api\"}} 1"));
    }
}

/// The words of a text that could be names of our metrics.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|w| w.starts_with("landscape_router_") || w.starts_with("process_"))
}

#[test]
fn dashboards_and_alerts_use_metrics_that_exist() {
    let dashboard = include_str!("../../deploy/grafana/dashboard.json");
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    let alerts = include_str!("../../deploy/prometheus/alerts.yml");
    let known: HashSet<&str> = Metrics::names().collect();
    for text in [dashboard, alerts] {
        let mut used = 0;
        for name in names_in(text) {
            let base =
                ["_bucket", "_count", "_sum"].iter().find_map(|s| name.strip_suffix(s)).filter(|n| known.contains(n));
            assert!(known.contains(base.unwrap_or(name)), "{name} is not exported");
            used += 1;
        }
        assert!(used > 5, "{used}");
    }
    for name in known.iter().filter(|n| n.starts_with("landscape_router_")) {
        let shown = names_in(dashboard).any(|n| n.starts_with(name));
        assert!(shown, "{name} is not on the dashboard");
    }
}
