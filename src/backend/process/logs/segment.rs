//! The names of segments, and which of them a folder holds.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A segment's name, in the order of writing within its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// `0`, `1`, …, `prepare`, `test`.
    pub source: String,
    /// The run that wrote it.
    pub generation: u64,
    /// From 0.
    pub part: u64,
}

impl Segment {
    /// Its file in `dir`.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.{}.{}.log", self.source, self.generation, self.part))
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".log")?.rsplitn(3, '.');
        let part = parts.next()?.parse().ok()?;
        let generation = parts.next()?.parse().ok()?;
        Some(Self { source: parts.next()?.to_owned(), generation, part })
    }
}

/// The segments in `dir` that `wanted` likes, sorted. A missing folder has none.
pub fn list(dir: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        if let Some(segment) = entry?.file_name().to_str().and_then(Segment::parse)
            && wanted(&segment.source)
        {
            found.push(segment);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_sorts_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let name = |generation, part| Segment { source: "0".into(), generation, part };
        for s in [name(10, 0), name(9, 10), name(9, 9)] {
            fs::write(s.path(dir.path()), "").unwrap();
        }
        fs::write(dir.path().join("other.txt"), "").unwrap();
        assert_eq!(list(dir.path(), |_| true).unwrap(), [name(9, 9), name(9, 10), name(10, 0)]);
        assert!(list(dir.path(), |s| s == "1").unwrap().is_empty());
        assert!(list(&dir.path().join("missing"), |_| true).unwrap().is_empty());
    }
}
