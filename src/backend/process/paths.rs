//! Where things are in `state`, and sockets whose paths are longer than a socket's name may be.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::landscape::ServiceKey;

/// The control socket inside a replica's folder.
pub const SOCKET: &str = "ctl";
/// Its metadata.
pub const META: &str = "meta.json";

/// The process backend's part of `state`:
///
/// ```text
/// state/process/run/<token>/ctl        a replica's control socket
/// state/process/run/<token>/meta.json  what it is
/// state/process/logs/<landscape>/<service>/<ordinal>.<generation>.<part>.log
/// state/process/logs/<landscape>/.jobs/prepare.<generation>.<part>.log
/// state/process/home/<landscape>/app   -> the landscape's root
/// ```
#[derive(Clone, Debug)]
pub struct Paths {
    base: PathBuf,
}

impl Paths {
    /// Makes what is missing.
    pub fn new(state: &Path) -> io::Result<Self> {
        let paths = Self::at(&std::path::absolute(state)?);
        private_dir(&paths.run())?;
        private_dir(&paths.base.join("logs"))?;
        private_dir(&paths.base.join("home"))?;
        Ok(paths)
    }

    /// In a state folder that may not be there; makes nothing.
    pub fn at(state: &Path) -> Self {
        Self { base: state.join("process") }
    }

    /// The folders of all replicas and jobs.
    pub fn run(&self) -> PathBuf {
        self.base.join("run")
    }

    /// The folder of one of them.
    pub fn replica(&self, token: &str) -> PathBuf {
        self.run().join(token)
    }

    /// A service's logs.
    pub fn logs(&self, service: &ServiceKey) -> PathBuf {
        self.base.join("logs").join(&*service.landscape).join(&*service.service)
    }

    /// A landscape's `prepare` and `test` logs. No service's name begins with a dot.
    pub fn job_logs(&self, landscape: &str) -> PathBuf {
        self.base.join("logs").join(landscape).join(".jobs")
    }

    /// A landscape's HOME.
    pub fn home(&self, landscape: &str) -> PathBuf {
        self.base.join("home").join(landscape)
    }
}

/// Makes a folder and those above it, for this user alone.
pub fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot make {}: {e}", path.display())))
}

/// Writes a file whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

/// A name for the control socket of `dir` that is always short enough, good while this lives.
pub struct SocketName {
    _dir: OwnedFd,
    path: PathBuf,
}

impl SocketName {
    /// Opens `dir`.
    pub fn in_dir(dir: &Path) -> io::Result<Self> {
        let fd = openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", fd.as_raw_fd()));
        Ok(Self { _dir: fd, path })
    }

    /// For `bind` and `connect`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
