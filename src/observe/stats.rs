//! Counters of one service, made when its configuration is.
//!
//! They belong to the service and not to a registry: a scrape walks the services of the current
//! configuration, so a removed service takes its series with it, and a reload that keeps a service
//! keeps its numbers.

use std::sync::OnceLock;
use std::time::Duration;

use super::calls::Calls;
use super::cell::{Counter, Gauge, Histogram};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Buckets of `request_duration_seconds`.
static REQUEST_BUCKETS: [Duration; 15] = [
    Duration::from_micros(500),
    ms(1),
    Duration::from_micros(2500),
    ms(5),
    ms(10),
    ms(25),
    ms(50),
    ms(100),
    ms(250),
    ms(500),
    ms(1_000),
    ms(2_500),
    ms(5_000),
    ms(10_000),
    ms(60_000),
];

/// Buckets of `cold_start_seconds`: from a resumed container to the longest start that is usual.
static COLD_BUCKETS: [Duration; 15] = [
    ms(5),
    ms(10),
    ms(25),
    ms(50),
    ms(100),
    ms(250),
    ms(500),
    ms(1_000),
    ms(2_500),
    ms(5_000),
    ms(10_000),
    ms(30_000),
    ms(60_000),
    ms(120_000),
    ms(300_000),
];

/// How a cold start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdStart {
    /// A replica became ready.
    Success,
    /// None did.
    Failed,
    /// It was called off: nobody wanted it any more, or the service was removed.
    Cancelled,
}

impl ColdStart {
    /// All, in the order of their labels.
    pub const ALL: [Self; 3] = [Self::Success, Self::Failed, Self::Cancelled];

    /// The value of the label `outcome`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A part of a cold start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the demand to a running replica.
    Start,
    /// From a running replica to the first passed probe.
    Probe,
    /// From the first passed probe to the last held request's release.
    Release,
}

impl Phase {
    /// All, in the order of their time.
    pub const ALL: [Self; 3] = [Self::Start, Self::Probe, Self::Release];

    /// The value of the label `phase`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Probe => "probe",
            Self::Release => "release",
        }
    }
}

/// Why a request was not held, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldRejection {
    /// The gate, the service's or that of all, was full.
    Overflow,
    /// It was held for its whole deadline.
    Deadline,
    /// The start failed, or failed a moment ago.
    Failed,
    /// The service cannot run here.
    NotRunnable,
    /// The service was removed from the configuration.
    Removed,
    /// The router ends.
    Shutdown,
}

impl HoldRejection {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Overflow, Self::Deadline, Self::Failed, Self::NotRunnable, Self::Removed, Self::Shutdown];

    /// The value of the label `reason`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::Deadline => "deadline",
            Self::Failed => "failed",
            Self::NotRunnable => "not_runnable",
            Self::Removed => "removed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Counters of one service: plain atomics that a scrape reads.
#[derive(Debug)]
pub struct ServiceStats {
    codes: Codes,
    /// `request_duration_seconds`.
    pub(super) request_duration: Histogram<15>,
    /// `cold_start_seconds`, by [`Phase`].
    pub(super) cold_phases: [Histogram<15>; Phase::ALL.len()],
    cold_starts: [Counter; ColdStart::ALL.len()],
    hold_rejections: [Counter; HoldRejection::ALL.len()],
    /// Attempts after a first one that went wrong before any byte was sent or answered.
    pub retries: Counter,
    /// Open connections to its replicas or targets, in use or idle.
    pub upstream_connections: Gauge,
    /// Who calls it over the private network.
    pub calls: Calls,
    /// Requests and open streams to a URL; those to replicas are counted by their leases.
    pub forwarding: Gauge,
}

impl Default for ServiceStats {
    fn default() -> Self {
        Self {
            codes: Codes::default(),
            request_duration: Histogram::new(&REQUEST_BUCKETS),
            cold_phases: std::array::from_fn(|_| Histogram::new(&COLD_BUCKETS)),
            cold_starts: Default::default(),
            hold_rejections: Default::default(),
            retries: Counter::default(),
            upstream_connections: Gauge::default(),
            calls: Calls::default(),
            forwarding: Gauge::default(),
        }
    }
}

impl ServiceStats {
    /// One request ended: the status the client got (499 if it left before one), from its first
    /// byte to the end of the answer.
    pub fn request(&self, status: u16, duration: Duration) {
        self.codes.of(status).inc();
        self.request_duration.observe(duration);
    }

    /// One cold start ended.
    pub fn cold_start(&self, outcome: ColdStart) {
        self.cold_starts[outcome as usize].inc();
    }

    /// One part of a cold start took so long.
    pub fn cold_phase(&self, phase: Phase, duration: Duration) {
        self.cold_phases[phase as usize].observe(duration);
    }

    /// One request was not held, or no longer.
    pub fn hold_rejected(&self, reason: HoldRejection) {
        self.hold_rejections[reason as usize].inc();
    }

    /// How many cold starts ended so.
    pub fn cold_starts(&self, outcome: ColdStart) -> u64 {
        self.cold_starts[outcome as usize].get()
    }

    /// How many requests were refused so.
    pub fn hold_rejections(&self, reason: HoldRejection) -> u64 {
        self.hold_rejections[reason as usize].get()
    }

    /// Status and number of requests, for each status that occurred.
    pub fn requests_by_code(&self) -> Vec<(u16, u64)> {
        self.codes.seen()
    }
}

/// Requests by status: a page of counters a class, made when the class first occurs, so that a
/// service costs a few hundred bytes and not four thousand.
#[derive(Debug, Default)]
struct Codes([OnceLock<Box<[Counter; 100]>>; 5]);

impl Codes {
    /// What no server may answer (below 100, above 599) counts as 500, as clients are told to read it
    /// (RFC 9110 §15).
    fn of(&self, status: u16) -> &Counter {
        let status = if (100..600).contains(&status) { usize::from(status) } else { 500 };
        let page = self.0[status / 100 - 1].get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
        &page[status % 100]
    }

    fn seen(&self) -> Vec<(u16, u64)> {
        let pages = (1u16..).zip(&self.0).filter_map(|(class, page)| page.get().map(|p| (class, p)));
        pages
            .flat_map(|(class, page)| (0u16..).zip(page.iter()).map(move |(n, c)| (class * 100 + n, c.get())))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_status() {
        let stats = ServiceStats::default();
        for status in [200, 200, 404, 499, 503, 599, 0, 1000] {
            stats.request(status, ms(1));
        }
        let want = [(200, 2), (404, 1), (499, 1), (500, 2), (503, 1), (599, 1)];
        assert_eq!(stats.requests_by_code(), want);
        assert_eq!(stats.request_duration.snapshot().count, 8);
    }

    #[test]
    fn outcomes_phases_and_reasons_do_not_mix() {
        let stats = ServiceStats::default();
        stats.cold_start(ColdStart::Failed);
        stats.cold_phase(Phase::Probe, ms(20));
        stats.hold_rejected(HoldRejection::Shutdown);
        assert_eq!(ColdStart::ALL.map(|o| stats.cold_starts(o)), [0, 1, 0]);
        assert_eq!(HoldRejection::ALL.map(|r| stats.hold_rejections(r)), [0, 0, 0, 0, 0, 1]);
        assert_eq!(Phase::ALL.map(|p| stats.cold_phases[p as usize].snapshot().count), [0, 1, 0]);
    }

    #[test]
    fn buckets_ascend_and_cold_starts_reach_300_seconds() {
        assert!(REQUEST_BUCKETS.is_sorted() && COLD_BUCKETS.is_sorted());
        assert_eq!(COLD_BUCKETS.last(), Some(&Duration::from_secs(300)));
    }
}
