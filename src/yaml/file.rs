//! Reading a configuration file's bytes, within bounds.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::{Diagnostics, MAX_BYTES, Place};

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// A sentence without a full stop.
    pub message: String,
    /// What to do.
    pub remedy: &'static str,
}

impl Unread {
    /// Tells it as an error about the whole file.
    pub fn tell(self, diagnostics: &mut Diagnostics) {
        diagnostics.error(Place::default(), "", self.message).help(self.remedy);
    }
}

/// The bytes of a regular file of at most [`MAX_BYTES`].
pub fn read(path: &Path) -> Result<Vec<u8>, Unread> {
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let meta = fs::metadata(path).map_err(unread)?;
    if !meta.is_file() {
        return Err(Unread { message: "this is not a regular file".into(), remedy: "name a file" });
    }
    if meta.len() > MAX_BYTES as u64 {
        return Err(too_large(meta.len()));
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    let limit = MAX_BYTES as u64 + 1;
    File::open(path).and_then(|f| f.take(limit).read_to_end(&mut bytes)).map_err(unread)?;
    if bytes.len() > MAX_BYTES { Err(too_large(bytes.len() as u64)) } else { Ok(bytes) }
}

/// What is said about a file of so many bytes.
pub(super) fn too_large(bytes: u64) -> Unread {
    Unread {
        message: format!("the file has {bytes} bytes; at most {MAX_BYTES} (1 MiB) are read"),
        remedy: "check that this is the file that was meant",
    }
}

fn unread(e: io::Error) -> Unread {
    match e.kind() {
        io::ErrorKind::NotFound => Unread { message: "there is no such file".into(), remedy: "check the path" },
        io::ErrorKind::PermissionDenied => {
            Unread { message: "the file may not be read".into(), remedy: "give the router's user access to it" }
        }
        _ => Unread { message: format!("the file cannot be read: {e}"), remedy: "check the path" },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_why() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap_err().message.contains("not a regular file"));
        assert!(read(&dir.path().join("none")).unwrap_err().message.contains("no such file"));
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(10 << 20).unwrap();
        assert!(read(&large).unwrap_err().message.contains("10485760 bytes"));
        fs::write(dir.path().join("good"), "a: 1").unwrap();
        assert_eq!(read(&dir.path().join("good")).unwrap(), b"a: 1");
    }
}
