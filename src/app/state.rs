//! The folder of what outlives a restart: made private, and owned by one router at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another router runs on it.
    #[error(
        "another router (process {pid}) runs on the state folder {path}; stop it, use `run --take-over` to replace it \
         without losing a request, or give this one a `state` of its own"
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The other router, as the lock file names it.
        pid: String,
    },
    /// It belongs to someone else, or others may write it.
    #[error("the state folder {path} {what}; it must belong to the router's user alone")]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The system refused.
    #[error("the state folder {path} cannot be used: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A state folder. While the value lives and owns the lock, no other router runs on the folder.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    instance: String,
    lock: Option<File>,
}

impl State {
    /// Makes the folder if need be (mode 0700) and reads or makes the instance's name. Takes no lock.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let io = |source| StateError::Io { path: path.to_owned(), source };
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io(e)),
        }
        let meta = fs::metadata(path).map_err(io)?;
        if !meta.is_dir() {
            return Err(StateError::Unsafe { path: path.to_owned(), what: "is not a folder".into() });
        }
        if meta.uid() != rustix::process::geteuid().as_raw() {
            let what = format!("belongs to uid {}", meta.uid());
            return Err(StateError::Unsafe { path: path.to_owned(), what });
        }
        if meta.mode() & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io)?;
        }
        Ok(Self { instance: instance(path)?, path: path.to_owned(), lock: None })
    }

    /// Takes the folder for this process, or says who has it.
    pub fn lock(&mut self) -> Result<(), StateError> {
        let path = self.path.join("lock");
        let io = |source| StateError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(io)?;
                return Err(StateError::Taken { path: self.path.clone(), pid: pid.trim().to_owned() });
            }
            Err(e) => return Err(io(e.into())),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        self.lock = Some(file);
        Ok(())
    }

    /// Gives the folder to the next router, while this one still forwards.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of this installation, stable for as long as the folder is: 16 hex digits.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// The name of the installation whose state folder this is, if it has one yet. Makes nothing.
pub fn known_instance(state: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(state.join("instance")) {
        Ok(text) if is_instance(text.trim()) => Ok(Some(text.trim().to_owned())),
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn instance(state: &Path) -> Result<String, StateError> {
    let path = state.join("instance");
    let io = |source| StateError::Io { path: path.clone(), source };
    if let Some(known) = known_instance(state).map_err(io)? {
        return Ok(known);
    }
    let name = format!("{:016x}", fastrand::u64(..));
    let fresh = state.join(format!("instance.{}", std::process::id()));
    fs::write(&fresh, &name).map_err(io)?;
    fs::rename(&fresh, &path).map_err(io)?;
    Ok(name)
}

fn is_instance(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instance_is_the_same_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let first = State::open(&path).unwrap();
        assert_eq!(first.instance(), State::open(&path).unwrap().instance());
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_damaged_instance_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("instance"), "").unwrap();
        assert!(is_instance(State::open(dir.path()).unwrap().instance()));
    }

    #[test]
    fn two_routers_do_not_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = State::open(dir.path()).unwrap();
        let mut second = State::open(dir.path()).unwrap();
        first.lock().unwrap();
        let refused = second.lock().unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()) && refused.contains("--take-over"), "{refused}");
        first.unlock();
        second.lock().unwrap();
    }
}
