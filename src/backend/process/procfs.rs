//! Processes as `/proc` shows them: who they are beyond their number, and whose children.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::sync::OnceLock;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process beyond doubt: numbers are used again, the start time and the boot tell two apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// In clock ticks since the boot.
    pub start: u64,
    /// The kernel's name for this boot.
    pub boot: String,
}

impl Identity {
    /// Of a process that runs now.
    pub fn of(pid: u32) -> io::Result<Self> {
        Ok(Self { pid, start: stat(pid)?.start, boot: boot_id().to_owned() })
    }

    /// Whether exactly this process still exists (a zombie does not count).
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && stat(self.pid).is_ok_and(|s| s.start == self.start && s.state != b'Z')
    }

    /// Sends `signal` to exactly this process; `false` if it is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        if self.boot != boot_id() {
            return Ok(false);
        }
        signal_if(self.pid, self.start, signal)
    }
}

/// The kernel's name for this boot; empty where it has none, which compares equal to itself only.
pub fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
    })
}

/// The part of `/proc/<pid>/stat` that matters here.
#[derive(Clone, Debug)]
pub struct Stat {
    /// The command's name, 15 bytes at most.
    pub name: String,
    /// `R`, `S`, `Z`, `T`, …
    pub state: u8,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Clock ticks since the boot.
    pub start: u64,
}

/// Reads `/proc/<pid>/stat`.
pub fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat")))
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name may hold spaces and parentheses; what follows the last one may not.
    let open = text.iter().position(|&b| b == b'(')?;
    let close = text.iter().rposition(|&b| b == b')')?;
    let name = String::from_utf8_lossy(text.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(text.get(close + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let start = fields.nth(16)?.parse().ok()?;
    Some(Stat { name, state, parent, group, start })
}

/// Every process there is.
pub fn all() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|n| n.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Everything below `root`, itself not included: number and what is known of it.
pub fn descendants(root: u32) -> io::Result<Vec<(u32, Stat)>> {
    let mut children: HashMap<u32, Vec<(u32, Stat)>> = HashMap::new();
    for pid in all()? {
        // One that ended meanwhile is nobody's child any more.
        if let Ok(stat) = stat(pid) {
            children.entry(stat.parent).or_default().push((pid, stat));
        }
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for (pid, stat) in children.remove(&parent).unwrap_or_default() {
            if seen.insert(pid) {
                open.push(pid);
                found.push((pid, stat));
            }
        }
    }
    Ok(found)
}

/// Sends `signal` to everything below `root` that is in none of the process `groups`; returns how
/// many processes that is.
pub fn signal_descendants_outside(root: u32, signal: Signal, groups: &[u32]) -> io::Result<usize> {
    let mut alive = 0;
    let mut refused = None;
    let addressed = |s: &Stat| s.state != b'Z' && !groups.contains(&s.group);
    for (pid, stat) in descendants(root)?.into_iter().filter(|(_, s)| addressed(s)) {
        match signal_if(pid, stat.start, signal) {
            Ok(true) => alive += 1,
            Ok(false) => {}
            Err(e) => {
                alive += 1;
                refused = Some(io::Error::new(e.kind(), format!("{} (pid {pid}): {e}", stat.name)));
            }
        }
    }
    refused.map_or(Ok(alive), Err)
}

/// Every process whose environment holds exactly `mark` (`NAME=value`).
pub fn marked(mark: &str) -> io::Result<Vec<Identity>> {
    let mut found = Vec::new();
    for pid in all()? {
        // Others' environments cannot be read, and are not ours.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        if environment.split(|&b| b == 0).any(|v| v == mark.as_bytes())
            && let Ok(identity) = Identity::of(pid)
        {
            found.push(identity);
        }
    }
    Ok(found)
}

/// Signals `pid` if it is still the process that started at `start`.
pub fn signal_if(pid: u32, start: u64, signal: Signal) -> io::Result<bool> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
    // The descriptor pins whoever has the number now; the start time says who that is.
    let pinned = match pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(rustix::io::Errno::SRCH) => return Ok(false),
        Err(e) => return Err(e.into()),
    };
    if !stat(pid).is_ok_and(|s| s.start == start) {
        return Ok(false);
    }
    match pidfd_send_signal(pinned, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_parsed() {
        let text = b"42 (a) b (c) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 987654 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.state, stat.parent, stat.start), ("a) b (c", b'S', 7, 987_654));
    }

    #[test]
    fn a_process_is_told_from_a_later_one_with_its_number() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        let other = Identity { start: me.start + 1, ..me.clone() };
        assert!(!other.is_alive());
        assert!(!other.signal(Signal::KILL).unwrap());
        let before = Identity { boot: "another".into(), ..me };
        assert!(!before.is_alive());
        assert!(!before.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_child_is_a_descendant_and_found_by_its_mark() {
        let mark = format!("LR_TEST_MARK={}", fastrand::u64(..));
        let (name, value) = mark.split_once('=').unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").env(name, value).spawn().unwrap();
        assert!(descendants(std::process::id()).unwrap().iter().any(|(p, _)| *p == child.id()));
        let found = marked(&mark).unwrap();
        assert_eq!(found.iter().map(|i| i.pid).collect::<Vec<_>>(), [child.id()]);
        assert!(found[0].signal(Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!found[0].is_alive());
    }
}
