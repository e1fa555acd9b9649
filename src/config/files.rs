//! The files that a configuration was read from, and what stood in them.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::quiet::Digest;

/// The largest file whose content is compared.
const LARGEST: u64 = 4 << 20;

/// Files by path, each with a digest of what was read: a change is noticed even where it came between
/// the reading and the watching.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Files(BTreeMap<PathBuf, Digest>);

impl Files {
    /// Files as they stand now.
    pub fn as_they_are(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), now(&path))).collect())
    }

    /// The same files as they stand now.
    pub(super) fn again(&self) -> Self {
        Self::as_they_are(self.0.keys().cloned())
    }

    /// Adds one that was read, or that could not be.
    pub(super) fn add<E>(&mut self, path: &Path, read: Result<&[u8], E>) {
        let digest = match read {
            Ok(bytes) => of_bytes(bytes),
            Err(_) => now(path),
        };
        self.0.insert(path.to_owned(), digest);
    }

    /// Their paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// What stood in all of them.
    pub(super) fn digest(&self) -> Digest {
        let mut h = DefaultHasher::new();
        self.hash(&mut h);
        h.finish()
    }

    /// How long ago one of them was written last, where the clock of their file system is not ahead.
    pub(super) fn age(&self) -> Option<Duration> {
        let now = SystemTime::now();
        let written = self.paths().filter_map(|file| fs::metadata(file).ok()?.modified().ok());
        written.filter_map(|at| now.duration_since(at).ok()).min()
    }

    /// Sizes, times and identities as they are now: cheap, and enough to notice that something may have
    /// changed.
    pub(super) fn stamp(&self) -> Digest {
        let mut h = DefaultHasher::new();
        for file in self.paths() {
            let seen = fs::metadata(file).ok().map(|m| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
            (file, seen).hash(&mut h);
        }
        h.finish()
    }
}

fn of_bytes(bytes: &[u8]) -> Digest {
    let mut h = DefaultHasher::new();
    bytes.hash(&mut h);
    h.finish()
}

fn now(file: &Path) -> Digest {
    let mut h = DefaultHasher::new();
    match fs::metadata(file) {
        // What is too large to be a configuration is told apart by its size and time, and so is a pipe or
        // a device, whose reading may never end.
        Ok(m) if m.len() > LARGEST || !m.is_file() => (m.size(), m.mtime(), m.mtime_nsec()).hash(&mut h),
        _ => match fs::read(file) {
            Ok(bytes) => return of_bytes(&bytes),
            Err(e) => missing(&e).hash(&mut h),
        },
    }
    h.finish()
}

/// Told apart from every content, and why from every other reason.
fn missing(e: &io::Error) -> (&'static str, io::ErrorKind) {
    ("unread", e.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_compared_with_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&a, "1").unwrap();
        let mut files = Files::default();
        files.add::<()>(&a, Ok(b"1"));
        files.add(&b, Err(()));
        assert_eq!(files.again(), files);
        fs::write(&a, "2").unwrap();
        assert_ne!(files.again().digest(), files.digest());
        fs::write(&a, "1").unwrap();
        fs::write(&b, "").unwrap();
        assert_ne!(files.again(), files, "an empty file is not a missing one");
    }
}
