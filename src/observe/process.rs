//! What the system says of this process. What it does not say is left out.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricFamily;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::family::{CPU, Family, MAX_FDS, OPEN_FDS, RESIDENT, STARTED};

/// The `process_…` families.
pub(super) fn families(started: SystemTime) -> Vec<MetricFamily> {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let values: [(&Family, Option<f64>); 5] = [
        (&OPEN_FDS, open_fds()),
        (&MAX_FDS, getrlimit(Resource::Nofile).current.map(|n| n as f64)),
        (&RESIDENT, resident()),
        (&CPU, Some(cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9)),
        (&STARTED, started.duration_since(UNIX_EPOCH).ok().map(|d| d.as_secs_f64())),
    ];
    values.into_iter().filter_map(|(family, value)| Some(family.with(vec![family.sample(&[], value?)]))).collect()
}

/// Without the one that counting takes.
fn open_fds() -> Option<f64> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}
