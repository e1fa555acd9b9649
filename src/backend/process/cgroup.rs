//! Control groups: a replica's limits, its freezer, and the surest way to kill all of it.
//!
//! Groups are made beneath the router's own, so that they never escape its limits. The unified
//! hierarchy (version 2) kills and freezes even where it has no controllers; memory and cpu come
//! from it where they are delegated, else from version 1. Whatever cannot be had is left out: the
//! replica runs without.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::landscape::Plan;

/// One period of the cpu controller, in microseconds.
const PERIOD: u64 = 100_000;

/// The folders beneath which groups can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    unified: Option<PathBuf>,
    /// Whether the unified hierarchy's groups have limits.
    unified_limits: bool,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    freezer: Option<PathBuf>,
}

/// The groups of one replica, by their full paths. Also what is written down of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CgroupSpec {
    unified: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
    freezer: Option<PathBuf>,
    limits: Option<Limits>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Limits {
    memory: u64,
    cpu: f64,
}

impl Places {
    /// Looks at this process's own groups, and tries.
    pub fn detect() -> Self {
        let (Ok(groups), Ok(mounts)) =
            (fs::read_to_string("/proc/self/cgroup"), fs::read_to_string("/proc/self/mountinfo"))
        else {
            return Self::default();
        };
        let own = |controller: &str| own_group(&groups, &mounts, controller).filter(|dir| can_make_groups(dir));
        let unified = own("").map(|dir| delegated_parent(&dir).unwrap_or(dir));
        let unified_limits = unified.as_deref().is_some_and(enable_limits);
        let v1 = |controller| if unified_limits { None } else { own(controller) };
        let (memory, cpu) = (v1("memory"), v1("cpu"));
        // Version 1's freezer is needed only where version 2 cannot freeze.
        let freezer = if unified.is_some() { None } else { own("freezer") };
        Self { unified, unified_limits, memory, cpu, freezer }
    }

    /// What a plan asks and cannot have here; `None` when it has everything.
    pub fn shortcoming(&self) -> Option<String> {
        let missing: Vec<_> = [("memory", &self.memory), ("cpu", &self.cpu)]
            .into_iter()
            .filter(|(_, v1)| v1.is_none() && !self.unified_limits)
            .map(|(name, _)| name)
            .collect();
        (!missing.is_empty()).then(|| {
            format!(
                "plans do not limit {} of processes: no writable control group; run as root, or as a systemd unit \
                 with `Delegate=yes` and `DelegateSubgroup=router`",
                missing.join(" and ")
            )
        })
    }

    /// The groups for one replica.
    pub fn spec(&self, token: &str, plan: Option<&Plan>) -> CgroupSpec {
        let name = format!("landscape-router-{token}");
        let below = |dir: &Option<PathBuf>| dir.as_ref().map(|d| d.join(&name));
        let limits = plan.map(|p| Limits { memory: p.memory, cpu: p.cpu });
        let limited = |dir| limits.and_then(|_| below(dir));
        CgroupSpec {
            unified: below(&self.unified),
            memory: limited(&self.memory),
            cpu: limited(&self.cpu),
            freezer: below(&self.freezer),
            limits: limits.filter(|_| self.unified_limits || self.memory.is_some() || self.cpu.is_some()),
        }
    }
}

/// The folder of this process's group in the hierarchy of `controller` (`""`: the unified one).
fn own_group(groups: &str, mounts: &str, controller: &str) -> Option<PathBuf> {
    let group = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        controllers.split(',').any(|c| c == controller).then_some(path)
    })?;
    let (root, point) = mounts.lines().find_map(|line| mount_of(line, controller))?;
    // A mount shows the hierarchy from `root` on: a container's often begins at its own group.
    let inside = if root == "/" { Some(group) } else { group.strip_prefix(root) };
    let path = Path::new(point).join(inside.unwrap_or("").trim_start_matches('/'));
    path.is_dir().then_some(path)
}

/// The root and the mount point of a line of mountinfo, if it is the controller's hierarchy.
fn mount_of<'a>(line: &'a str, controller: &str) -> Option<(&'a str, &'a str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    let matches = match controller {
        "" => kind == "cgroup2",
        name => kind == "cgroup" && right.nth(1)?.split(',').any(|option| option == name),
    };
    matches.then_some((root, point))
}

fn can_make_groups(dir: &Path) -> bool {
    let probe = dir.join(format!("landscape-router-probe-{}-{:x}", std::process::id(), fastrand::u32(..)));
    fs::create_dir(&probe).is_ok() && fs::remove_dir(&probe).is_ok()
}

/// A unit with `DelegateSubgroup=router` owns the group above: groups beside `router` may have
/// controllers, groups beneath it may not, because the router itself lives in it.
fn delegated_parent(own: &Path) -> Option<PathBuf> {
    let parent = own.parent().filter(|_| own.file_name().is_some_and(|n| n == "router"))?;
    can_make_groups(parent).then(|| parent.to_path_buf())
}

/// Whether groups made in `dir` have the memory and cpu controllers, now or after asking for them.
fn enable_limits(dir: &Path) -> bool {
    let has = || {
        fs::read_to_string(dir.join("cgroup.subtree_control"))
            .is_ok_and(|on| ["memory", "cpu"].iter().all(|c| on.split_whitespace().any(|o| o == *c)))
    };
    has() || (fs::write(dir.join("cgroup.subtree_control"), "+memory +cpu").is_ok() && has())
}

impl CgroupSpec {
    fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.unified, &self.memory, &self.cpu, &self.freezer].into_iter().flatten()
    }

    /// Makes the groups and sets their limits. Returns what could not be done; such a group is
    /// forgotten.
    pub fn create(&mut self) -> Vec<String> {
        let limits = self.limits;
        let mut problems = Vec::new();
        let mut make = |slot: &mut Option<PathBuf>, files: Vec<(&str, String)>| {
            let Some(dir) = slot.clone() else { return };
            if let Err(e) = make_group(&dir, &files) {
                problems.push(format!("control group {}: {e}", dir.display()));
                // Nothing is in it yet.
                let _ = fs::remove_dir(&dir);
                *slot = None;
            }
        };
        let quota = |cpu: f64| ((cpu * PERIOD as f64) as u64).max(1000);
        let v1_limits = self.memory.is_some() || self.cpu.is_some();
        let unified = match limits {
            Some(l) if !v1_limits => {
                vec![("memory.max", l.memory.to_string()), ("cpu.max", format!("{} {PERIOD}", quota(l.cpu)))]
            }
            _ => Vec::new(),
        };
        make(&mut self.unified, unified);
        if let Some(l) = limits {
            make(&mut self.memory, vec![("memory.limit_in_bytes", l.memory.to_string())]);
            let cpu = vec![("cpu.cfs_period_us", PERIOD.to_string()), ("cpu.cfs_quota_us", quota(l.cpu).to_string())];
            make(&mut self.cpu, cpu);
        }
        make(&mut self.freezer, Vec::new());
        problems
    }

    /// Files through which a process that writes `0` joins the groups, but for the unified one.
    pub fn joins(&self) -> io::Result<Vec<OwnedFd>> {
        // `tasks` moves one thread; `cgroup.procs` would wait for every processor.
        [&self.memory, &self.cpu, &self.freezer]
            .into_iter()
            .flatten()
            .map(|dir| for_writing(&dir.join("tasks")))
            .collect()
    }

    /// The same for the unified group.
    pub fn join_unified(&self) -> io::Result<Option<OwnedFd>> {
        self.unified.as_ref().map(|dir| for_writing(&dir.join("cgroup.procs"))).transpose()
    }

    /// The folder of the unified group, to start a process in it.
    pub fn open_unified(&self) -> io::Result<Option<OwnedFd>> {
        self.unified.as_ref().map(|dir| Ok(OwnedFd::from(File::open(dir)?))).transpose()
    }

    /// Kills everything in the unified group at once; `false` where that cannot be done.
    pub fn kill(&self) -> bool {
        self.unified.as_ref().is_some_and(|dir| write_existing(&dir.join("cgroup.kill"), "1").is_ok())
    }

    /// Whether freezing is possible.
    pub fn can_freeze(&self) -> bool {
        self.unified.as_ref().is_some_and(|dir| dir.join("cgroup.freeze").exists()) || self.freezer.is_some()
    }

    /// Freezes or thaws; takes effect a moment later, see [`CgroupSpec::is_frozen`].
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        if let Some(dir) = &self.unified {
            return write_existing(&dir.join("cgroup.freeze"), if frozen { "1" } else { "0" });
        }
        match &self.freezer {
            Some(dir) => write_existing(&dir.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" }),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "no control group that can freeze")),
        }
    }

    /// Whether everything is frozen by now.
    pub fn is_frozen(&self) -> io::Result<bool> {
        if let Some(dir) = &self.unified {
            let events = fs::read_to_string(dir.join("cgroup.events"))?;
            return Ok(events.lines().any(|l| l == "frozen 1"));
        }
        match &self.freezer {
            Some(dir) => Ok(fs::read_to_string(dir.join("freezer.state"))?.trim() == "FROZEN"),
            None => Ok(false),
        }
    }

    /// How many of its processes the kernel has killed for memory.
    pub fn memory_kills(&self) -> u64 {
        let counted = |dir: &Option<PathBuf>, file: &str| {
            let text = fs::read_to_string(dir.as_ref()?.join(file)).ok()?;
            text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok())
        };
        counted(&self.memory, "memory.oom_control").or_else(|| counted(&self.unified, "memory.events")).unwrap_or(0)
    }

    /// Everything that is in the groups.
    pub fn members(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self
            .dirs()
            .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|l| l.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Removes the groups that are empty by now; `true` when none is left.
    pub fn remove(&self) -> bool {
        let mut gone = true;
        for dir in self.dirs() {
            match fs::remove_dir(dir) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => gone = false,
            }
        }
        gone
    }
}

fn make_group(dir: &Path, files: &[(&str, String)]) -> io::Result<()> {
    fs::create_dir(dir)?;
    for (file, value) in files {
        write_existing(&dir.join(file), value)
            .map_err(|e| io::Error::new(e.kind(), format!("cannot write {value} to {file}: {e}")))?;
    }
    Ok(())
}

fn for_writing(path: &Path) -> io::Result<OwnedFd> {
    Ok(OpenOptions::new().write(true).open(path)?.into())
}

/// Unlike `fs::write` makes no file and truncates none.
fn write_existing(path: &Path, value: &str) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 23 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 23 0:28 /docker/x /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
";

    #[test]
    fn a_hierarchy_is_found_by_its_controller() {
        assert_eq!(MOUNTS.lines().find_map(|l| mount_of(l, "")), Some(("/", "/sys/fs/cgroup/unified")));
        assert_eq!(MOUNTS.lines().find_map(|l| mount_of(l, "cpu")), Some(("/", "/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(MOUNTS.lines().find_map(|l| mount_of(l, "memory")), Some(("/docker/x", "/sys/fs/cgroup/memory")));
        assert_eq!(MOUNTS.lines().find_map(|l| mount_of(l, "freezer")), None);
    }

    #[test]
    fn without_places_nothing_is_made_and_the_shortcoming_has_a_remedy() {
        let places = Places::default();
        let plan = Plan { id: "1".into(), cpu: 1.0, memory: 1 << 30, max_replicas: 1 };
        let mut spec = places.spec("t", Some(&plan));
        assert!(spec.create().is_empty());
        assert_eq!(spec, CgroupSpec::default());
        assert!(places.shortcoming().unwrap().contains("Delegate=yes"));
    }
}
