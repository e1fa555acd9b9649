//! What the kernel knows of a process: CPU time and resident memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

/// Nanoseconds of a clock that every process of this machine reads alike.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A process and those of its descendants that run the same program: a master and its workers, a
/// router and its shims, but not the applications that these start.
#[derive(Clone, Copy, Debug)]
pub struct Tree {
    root: u32,
}

/// CPU time and memory of a [`Tree`] at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// User and system time, in microseconds, of threads that have ended too.
    pub cpu_us: f64,
    /// Resident memory.
    pub rss_kib: u64,
    /// How many processes.
    pub processes: usize,
}

impl Tree {
    /// Of this process.
    pub fn of(root: u32) -> Self {
        Self { root }
    }

    /// Reads the whole tree.
    pub fn sample(&self) -> Result<Sample> {
        let wanted = program(self.root).with_context(|| format!("process {} is gone", self.root))?;
        let mut sample = Sample::default();
        for pid in self.members()? {
            // Only the root has to be there: a worker or shim may end while we read.
            if pid != self.root && program(pid).as_ref() != Some(&wanted) {
                continue;
            }
            let Some(stat) = Stat::read(pid) else { continue };
            sample.cpu_us += stat.ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64;
            sample.rss_kib += stat.rss_pages * rustix::param::page_size() as u64 / 1024;
            sample.processes += 1;
        }
        Ok(sample)
    }

    fn members(&self) -> Result<BTreeSet<u32>> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(stat) = Stat::read(pid) {
                children.entry(stat.parent).or_default().push(pid);
            }
        }
        let mut members = BTreeSet::new();
        let mut open = vec![self.root];
        while let Some(pid) = open.pop() {
            if members.insert(pid) {
                open.extend(children.get(&pid).into_iter().flatten());
            }
        }
        Ok(members)
    }
}

/// Whether a process is there and not a zombie.
pub fn alive(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.state != 'Z')
}

/// What a process runs. The router is not dumpable: to anybody but root it shows its name alone.
fn program(pid: u32) -> Option<PathBuf> {
    let name = || fs::read_to_string(format!("/proc/{pid}/comm")).map(PathBuf::from);
    fs::read_link(format!("/proc/{pid}/exe")).or_else(|_| name()).ok()
}

/// The fields of `/proc/<pid>/stat` (see proc_pid_stat(5)) that are needed here.
struct Stat {
    state: char,
    parent: u32,
    ticks: u64,
    rss_pages: u64,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name (field 2) may hold spaces and parentheses; what follows its last one does not.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            state: fields.first()?.chars().next()?,
            parent: number(4)? as u32,
            ticks: number(14)? + number(15)?,
            rss_pages: number(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() -> Result<()> {
        let sample = Tree::of(std::process::id()).sample()?;
        assert!(sample.rss_kib > 100 && sample.processes >= 1);
        assert!(alive(std::process::id()));
        Ok(())
    }
}
