//! The shim's end: lines into segments, bounded, and never in the application's way.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::SystemTime;

use super::record::{self, MAX_LINE};
use super::segment::{self, Segment};
use crate::backend::process::protocol::LogSpec;

/// How many of the last lines are told when a replica fails.
pub const TAIL: usize = 20;
/// Of each of them at most so many bytes.
const TAIL_LINE: usize = 1024;
/// A source keeps its newest bytes in about so many segments.
const SEGMENTS: u64 = 4;
/// The smallest segment, so that a tiny `logs.keep` does not make a file a line.
const MIN_SEGMENT: u64 = 4 << 10;

/// Writes one run's segments. What cannot be written (the disk is full) is counted and left out.
#[derive(Debug)]
pub struct LogWriter {
    dir: PathBuf,
    next: Segment,
    keep: u64,
    file: Option<File>,
    written: u64,
    tail: VecDeque<String>,
    dropped: u64,
    buffer: Vec<u8>,
}

impl LogWriter {
    /// The first file is made with the first line.
    pub fn new(spec: &LogSpec) -> Self {
        Self {
            dir: spec.dir.clone(),
            next: Segment { source: spec.source.clone(), generation: spec.generation, part: 0 },
            keep: spec.keep.max(SEGMENTS * MIN_SEGMENT),
            file: None,
            written: 0,
            tail: VecDeque::with_capacity(TAIL),
            dropped: 0,
            buffer: Vec::new(),
        }
    }

    /// Writes lines that arrived together.
    pub fn write(&mut self, step: u32, stderr: bool, lines: &[Vec<u8>]) {
        if lines.is_empty() {
            return;
        }
        let now = SystemTime::now();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        for line in lines {
            record::encode(&mut buffer, now, step, stderr, line);
            self.remember(line);
        }
        if self.append(&buffer).is_err() {
            self.dropped += lines.len() as u64;
        }
        // One large burst does not keep its memory.
        buffer.shrink_to(64 << 10);
        self.buffer = buffer;
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// How many lines could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn remember(&mut self, line: &[u8]) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(String::from_utf8_lossy(&line[..line.len().min(TAIL_LINE)]).into_owned());
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let segment_size = self.keep / SEGMENTS;
        if self.written > 0 && self.written + bytes.len() as u64 > segment_size {
            self.file = None;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.roll(segment_size)?,
        };
        let before = self.written;
        let result = file.write_all(bytes);
        self.written += bytes.len() as u64;
        if result.is_err() {
            // Half a record would be glued to the next one.
            if file.set_len(before).is_ok() {
                self.written = before;
            }
        }
        self.file = Some(file);
        result
    }

    /// Opens the next segment and removes the oldest beyond the share.
    fn roll(&mut self, segment_size: u64) -> io::Result<File> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.next.path(&self.dir))?;
        let current = self.next.clone();
        self.next.part += 1;
        self.written = 0;
        let mut old: Vec<(PathBuf, u64)> = segment::list(&self.dir, |s| s == current.source)?
            .into_iter()
            .filter(|s| *s != current)
            .map(|s| s.path(&self.dir))
            .map(|path| (fs::metadata(&path).map_or(0, |m| m.len()), path))
            .map(|(size, path)| (path, size))
            .collect();
        let mut total: u64 = old.iter().map(|(_, size)| size).sum();
        for (path, size) in old.drain(..) {
            if total + segment_size <= self.keep {
                break;
            }
            // Another run's shim may have removed it just now.
            let _ = fs::remove_file(path);
            total -= size;
        }
        Ok(file)
    }
}

/// Cuts a stream into lines of at most [`MAX_LINE`] bytes.
#[derive(Debug, Default)]
pub struct LineSplitter {
    partial: Vec<u8>,
}

impl LineSplitter {
    /// The lines that `bytes` completes.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            let (text, ended) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let mut rest = text;
            while self.partial.len() + rest.len() > MAX_LINE {
                let (now, later) = rest.split_at(MAX_LINE - self.partial.len());
                self.partial.extend_from_slice(now);
                lines.push(std::mem::take(&mut self.partial));
                rest = later;
            }
            self.partial.extend_from_slice(rest);
            if ended {
                let mut line = std::mem::take(&mut self.partial);
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                lines.push(line);
            }
        }
        lines
    }

    /// What is left at the end of the stream.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then(|| std::mem::take(&mut self.partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &std::path::Path, generation: u64, keep: u64) -> LogSpec {
        LogSpec { dir: dir.to_path_buf(), source: "0".into(), generation, keep }
    }

    #[test]
    fn lines_are_cut_at_breaks_and_at_the_limit() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.push(b"one\r\ntw"), [b"one".to_vec()]);
        assert_eq!(splitter.push(b"o\n\nthree"), [b"two".to_vec(), b"".to_vec()]);
        assert_eq!(splitter.finish(), Some(b"three".to_vec()));
        assert_eq!(splitter.finish(), None);
        let long = splitter.push(&vec![b'x'; MAX_LINE * 2 + 5]);
        assert_eq!(long.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE]);
        assert_eq!(splitter.finish().unwrap().len(), 5);
    }

    #[test]
    fn what_is_kept_is_bounded_over_all_runs() {
        let dir = tempfile::tempdir().unwrap();
        let keep = 64 << 10;
        for generation in 0..5 {
            let mut writer = LogWriter::new(&spec(dir.path(), generation, keep));
            for _ in 0..200 {
                writer.write(1, false, &[vec![b'x'; 500]]);
            }
            assert_eq!(writer.dropped(), 0);
        }
        let total: u64 = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(total <= keep && total > keep / 2, "{total}");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_counted_and_the_tail_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::new(&spec(&dir.path().join("missing"), 0, 1 << 20));
        for n in 0..30 {
            writer.write(1, true, &[n.to_string().into_bytes()]);
        }
        assert_eq!(writer.dropped(), 30);
        assert_eq!(writer.tail().len(), TAIL);
        assert_eq!(writer.tail().last().unwrap(), "29");
    }
}
