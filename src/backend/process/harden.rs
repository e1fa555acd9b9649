//! What `main` does first, so that no child gets what is the router's.

use std::io;
use std::sync::OnceLock;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use super::raw;

static ORIGINAL_FILES: OnceLock<(u64, u64)> = OnceLock::new();

/// Keeps memory and environment from other processes of the same user, marks every inherited
/// descriptor to be closed at exec, and raises the soft limit of descriptors to the hard one.
/// Children still get the limit the router was started with. Returns the limit there is now.
pub fn harden() -> io::Result<u64> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    if let Err(error) = raw::close_on_exec_from(3) {
        // Before Linux 5.11; what we open ourselves is close-on-exec anyway.
        tracing::warn!("inherited file descriptors may reach children: close_range: {error}");
    }
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(u64::MAX);
    let hard = limit.maximum.unwrap_or(u64::MAX);
    let _ = ORIGINAL_FILES.set((soft, hard));
    if soft < hard {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    }
    Ok(hard)
}

/// The limit of descriptors before [`harden`]; `None` if that was not called.
pub(super) fn original_files() -> Option<(u64, u64)> {
    ORIGINAL_FILES.get().copied()
}
