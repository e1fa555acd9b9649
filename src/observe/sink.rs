//! Where log lines go: a file that can be rotated, or standard output; neither is trusted to work.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::access_log::AccessLogError;

/// An open place to write to. A failure loses the lines at hand, is told once, and the next batch
/// is tried again: a disk that is full today has room tomorrow.
#[derive(Debug)]
pub(super) struct Sink {
    path: Option<PathBuf>,
    out: Out,
    /// The last write stopped inside a line: the next one begins with a line break.
    torn: bool,
    failing: bool,
}

#[derive(Debug)]
enum Out {
    File(File),
    Stdout,
    #[cfg(test)]
    Small(Small),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(f) => f.write(bytes),
            Self::Stdout => io::stdout().lock().write(bytes),
            #[cfg(test)]
            Self::Small(s) => s.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(f) => f.flush(),
            Self::Stdout => io::stdout().lock().flush(),
            #[cfg(test)]
            Self::Small(_) => Ok(()),
        }
    }
}

impl Sink {
    /// Opens a file for appending (made with mode 0640: a log names people's addresses), or standard
    /// output for `None`.
    pub(super) fn open(path: Option<PathBuf>) -> Result<Self, AccessLogError> {
        let out = match &path {
            Some(p) => Out::File(append(p).map_err(|source| AccessLogError::Open { path: p.clone(), source })?),
            None => Out::Stdout,
        };
        Ok(Self { path, out, torn: false, failing: false })
    }

    /// Opens the file anew under its name; keeps the old one where that fails.
    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append(path) {
            Ok(file) => (self.out, self.torn) = (Out::File(file), false),
            Err(e) => {
                tracing::error!(path = %path.display(), "the access log cannot be opened anew: {e}; the old file is kept")
            }
        }
    }

    /// Writes `batch`, which holds `lines` whole lines, and empties it. Returns how many lines were
    /// lost.
    pub(super) fn write(&mut self, batch: &mut Vec<u8>, lines: u64) -> u64 {
        if batch.is_empty() {
            return 0;
        }
        let (written, result) = self.put(batch);
        let lost = match result {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the access log is written again");
                }
                0
            }
            Err(e) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let place =
                        self.path.as_ref().map_or_else(|| "standard output".into(), |p| p.display().to_string());
                    tracing::error!("the access log cannot be written to {place}: {e}; lines are lost until it can");
                }
                let done = batch.get(..written).unwrap_or_default();
                self.torn = done.last().map_or(self.torn, |b| *b != b'\n');
                lines - done.iter().filter(|b| **b == b'\n').count() as u64
            }
        };
        batch.clear();
        // One burst's memory is not kept for ever.
        batch.shrink_to(64 * 1024);
        lost
    }

    /// Writes what it can; how many bytes of `batch` that were, and why not all.
    fn put(&mut self, batch: &[u8]) -> (usize, io::Result<()>) {
        if self.torn {
            match self.out.write(b"\n") {
                Ok(1) => self.torn = false,
                Ok(_) => return (0, Err(io::ErrorKind::WriteZero.into())),
                Err(e) => return (0, Err(e)),
            }
        }
        let mut written = 0;
        while let Some(rest) = batch.get(written..).filter(|r| !r.is_empty()) {
            match self.out.write(rest) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return (written, Err(e)),
            }
        }
        (written, self.out.flush())
    }
}

fn append(path: &std::path::Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// A disk with little room.
#[cfg(test)]
#[derive(Debug)]
struct Small {
    written: Vec<u8>,
    room: usize,
}

#[cfg(test)]
impl Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.room);
        if n == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room -= n;
        self.written.extend_from_slice(&bytes[..n]);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_loses_lines_counts_them_and_leaves_no_half_line_before_a_whole_one() {
        let small = Small { written: Vec::new(), room: 6 };
        let mut sink = Sink { path: None, out: Out::Small(small), torn: false, failing: false };
        let lost = sink.write(&mut b"one\ntwo\nthree\n".to_vec(), 3);
        assert_eq!(lost, 2, "one was written, two only half");
        assert_eq!(sink.write(&mut b"four\n".to_vec(), 1), 1);
        let Out::Small(disk) = &mut sink.out else { unreachable!() };
        disk.room = 100;
        assert_eq!(sink.write(&mut b"five\n".to_vec(), 1), 0);
        let Out::Small(disk) = &sink.out else { unreachable!() };
        assert_eq!(String::from_utf8_lossy(&disk.written), "one\ntw\nfive\n");
    }

    #[test]
    fn a_device_that_is_always_full_is_survived() {
        let mut sink = Sink::open(Some("/dev/full".into())).unwrap();
        assert_eq!(sink.write(&mut b"one\n".to_vec(), 1), 1);
        assert_eq!(sink.write(&mut b"two\n".to_vec(), 1), 1);
    }
}
