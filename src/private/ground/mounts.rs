//! What a process and those that it starts see in place of this machine's files.

use std::io;
use std::path::Path;

use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

/// Gives this process mounts of its own: what is mounted here is not seen outside; what is mounted outside
/// later is seen here. Only for a process of one thread.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: only the mount namespace is left; the table of descriptors stays shared, which is what the
    // call is unsafe for.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS)?;
    }
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Shows the file `ours` at `at`.
pub fn show(ours: &Path, at: &str) -> io::Result<()> {
    mount_bind(ours, at).map_err(|e| io::Error::new(e.kind(), format!("{at}: {e}")))
}
