//! What a shim that was killed left behind.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::paths::META;
use super::procfs;
use super::protocol::{MARK, Meta};

/// For so long what is left is killed again and again; only what the kernel holds lives longer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Meta {
    /// What a shim wrote into its folder; `None` where it wrote nothing, or nothing that can be understood.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(META)) {
            Ok(json) => Ok(serde_json::from_slice(&json).ok()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Ends what runs of a replica without a shim, by its mark and control groups, and removes its
/// folder. The error names what would not go.
pub async fn clean(dir: &Path) -> io::Result<()> {
    if let Some(meta) = Meta::read(dir)? {
        // After a boot nothing of it can be left, but its groups' paths may be someone else's.
        if meta.shim.as_ref().is_some_and(|s| s.boot == procfs::boot_id()) {
            end(&meta).await?;
        }
    }
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

async fn end(meta: &Meta) -> io::Result<()> {
    let mark = format!("{MARK}={}", meta.token);
    let started = Instant::now();
    loop {
        if let Some(shim) = &meta.shim {
            shim.signal(Signal::KILL)?;
        }
        meta.cgroups.kill();
        let mut left = procfs::marked(&mark)?;
        for pid in meta.cgroups.members() {
            if let Ok(identity) = procfs::Identity::of(pid) {
                left.push(identity);
            }
        }
        left.retain(procfs::Identity::is_alive);
        for process in &left {
            process.signal(Signal::KILL)?;
        }
        if meta.cgroups.can_freeze() {
            // A version 1 freezer keeps what was killed; a group that is gone needs nothing.
            let _ = meta.cgroups.freeze(false);
        }
        if left.is_empty() && meta.cgroups.remove() {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            let pids: Vec<_> = left.iter().map(|i| i.pid.to_string()).collect();
            return Err(io::Error::other(format!("processes {} do not end", pids.join(", "))));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
