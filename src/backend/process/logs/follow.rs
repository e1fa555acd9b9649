//! The router's end: the last lines, then new ones as the kernel tells of writes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::record;
use super::segment::{self, Segment};
use crate::backend::LogLine;
use crate::backend::process::raw;

/// The most lines of the past that are given at once.
const MAX_TAIL: usize = 10_000;
/// How far a reader may lag behind in memory; the rest waits in the files.
const QUEUE: usize = 256;
const CHUNK: usize = 64 << 10;

/// A folder of segments, and which sources of it are wanted.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder.
    pub dir: PathBuf,
    /// One source; `None` for all.
    pub source: Option<String>,
}

impl Place {
    fn list(&self) -> io::Result<Vec<Segment>> {
        segment::list(&self.dir, |s| self.source.as_deref().is_none_or(|wanted| wanted == s))
    }
}

/// Opens a stream of the last `tail` lines of all `places`, and of those written from now on when
/// following.
pub async fn open(places: Vec<Place>, tail: usize, follow: bool) -> io::Result<mpsc::Receiver<LogLine>> {
    // Watched before the first look, so that nothing falls between.
    let watch = if follow { Some(Watch::new(&places)?) } else { None };
    let mut reader = Reader { places, done: HashMap::new(), order: Vec::new() };
    let look = move || reader.last(tail.min(MAX_TAIL)).map(|past| (past, reader));
    let (past, reader) = tokio::task::spawn_blocking(look).await.map_err(io::Error::other)??;
    let (lines, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = run(past, reader, watch, lines).await {
            tracing::warn!(%error, "a log cannot be read");
        }
    });
    Ok(receiver)
}

async fn run(
    past: Vec<LogLine>,
    mut reader: Reader,
    watch: Option<Watch>,
    to: mpsc::Sender<LogLine>,
) -> io::Result<()> {
    for line in past {
        if to.send(line).await.is_err() {
            return Ok(());
        }
    }
    let Some(watch) = watch else { return Ok(()) };
    loop {
        while let Some(lines) = reader.more()? {
            for line in lines {
                if to.send(line).await.is_err() {
                    return Ok(());
                }
            }
        }
        tokio::select! {
            changed = watch.changed() => changed?,
            () = to.closed() => return Ok(()),
        }
    }
}

/// Tells when a folder of segments changes.
struct Watch(AsyncFd<OwnedFd>);

impl Watch {
    fn new(places: &[Place]) -> io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .map_err(|e| io::Error::other(format!("cannot follow: {e}; is fs.inotify.max_user_instances used up?")))?;
        for place in places {
            inotify::add_watch(&fd, &place.dir, inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE)?;
        }
        Ok(Self(raw::watch(fd)?))
    }

    async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let mut events = [0u8; 4096];
            let mut any = false;
            // What changed does not matter: every segment is looked at.
            loop {
                match rustix::io::read(self.0.get_ref(), &mut events[..]) {
                    Ok(_) => any = true,
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            ready.clear_ready();
            if any {
                return Ok(());
            }
        }
    }
}

/// What was read of each segment.
struct Reader {
    places: Vec<Place>,
    /// By place and segment: the bytes whose lines were given.
    done: HashMap<(usize, Segment), u64>,
    /// What is still to be looked at in this round.
    order: Vec<(usize, Segment)>,
}

impl Reader {
    /// The last lines of every source, merged by time. Everything up to here counts as read.
    fn last(&mut self, tail: usize) -> io::Result<Vec<LogLine>> {
        let mut by_source: BTreeMap<(usize, String), Vec<Segment>> = BTreeMap::new();
        for (index, place) in self.places.iter().enumerate() {
            for segment in place.list()? {
                by_source.entry((index, segment.source.clone())).or_default().push(segment);
            }
        }
        let mut all: Vec<(SystemTime, LogLine)> = Vec::new();
        for ((index, _), segments) in by_source {
            let mut lines: VecDeque<LogLine> = VecDeque::new();
            for segment in segments.into_iter().rev() {
                let Some(file) = self.open(index, &segment)? else { continue };
                let needed = tail - lines.len();
                let (older, read) = last_of(file, &segment.source, needed)?;
                self.done.insert((index, segment), read);
                for line in older.into_iter().rev() {
                    lines.push_front(line);
                }
            }
            // A clock set back does not change the order within a source.
            let mut latest = SystemTime::UNIX_EPOCH;
            for line in lines {
                latest = latest.max(line.at);
                all.push((latest, line));
            }
        }
        all.sort_by_key(|(at, _)| *at);
        let surplus = all.len().saturating_sub(tail);
        Ok(all.into_iter().skip(surplus).map(|(_, line)| line).collect())
    }

    /// Some more new lines; `None` when everything was read.
    fn more(&mut self) -> io::Result<Option<Vec<LogLine>>> {
        if self.order.is_empty() {
            for (index, place) in self.places.iter().enumerate().rev() {
                self.order.extend(place.list()?.into_iter().rev().map(|s| (index, s)));
            }
            // Segments that are gone need no memory.
            let order = &self.order;
            self.done.retain(|key, _| order.contains(key));
        }
        while let Some((index, segment)) = self.order.last().cloned() {
            if let Some(file) = self.open(index, &segment)? {
                let key = (index, segment);
                let from = self.done.get(&key).copied().unwrap_or(0);
                let (lines, read) = chunk_of(file, &key.1.source, from)?;
                if read > 0 {
                    self.done.insert(key, from + read);
                    return Ok(Some(lines));
                }
            }
            self.order.pop();
        }
        Ok(None)
    }

    fn open(&self, index: usize, segment: &Segment) -> io::Result<Option<File>> {
        match File::open(segment.path(&self.places[index].dir)) {
            Ok(file) => Ok(Some(file)),
            // Removed for its age since it was listed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// The last lines of a file, and how many of its bytes are whole lines.
fn last_of(mut file: File, source: &str, wanted: usize) -> io::Result<(VecDeque<LogLine>, u64)> {
    let mut lines = VecDeque::new();
    let mut done = 0;
    if wanted == 0 {
        // Only where whole lines end is of interest: look from the back.
        let length = file.metadata()?.len();
        let from = length.saturating_sub(CHUNK as u64);
        file.seek(SeekFrom::Start(from))?;
        let mut end = Vec::new();
        file.take(CHUNK as u64).read_to_end(&mut end)?;
        return Ok((lines, end.iter().rposition(|&b| b == b'\n').map_or(from, |i| from + i as u64 + 1)));
    }
    loop {
        file.seek(SeekFrom::Start(done))?;
        let mut chunk = Vec::with_capacity(CHUNK);
        (&mut file).take(CHUNK as u64).read_to_end(&mut chunk)?;
        let Some(end) = chunk.iter().rposition(|&b| b == b'\n') else { return Ok((lines, done)) };
        for line in chunk[..end].split(|&b| b == b'\n') {
            if let Some(line) = record::decode(line, source) {
                if lines.len() == wanted {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        }
        done += end as u64 + 1;
    }
}

/// The whole lines of the next chunk, and how many bytes they are.
fn chunk_of(mut file: File, source: &str, from: u64) -> io::Result<(Vec<LogLine>, u64)> {
    file.seek(SeekFrom::Start(from))?;
    let mut chunk = Vec::with_capacity(CHUNK);
    file.take(CHUNK as u64).read_to_end(&mut chunk)?;
    let Some(end) = chunk.iter().rposition(|&b| b == b'\n') else { return Ok((Vec::new(), 0)) };
    Ok((chunk[..end].split(|&b| b == b'\n').filter_map(|l| record::decode(l, source)).collect(), end as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::super::writer::LogWriter;
    use super::*;
    use crate::backend::process::protocol::LogSpec;
    use std::time::Duration;

    fn writer(dir: &std::path::Path, source: &str, generation: u64, keep: u64) -> LogWriter {
        LogWriter::new(&LogSpec { dir: dir.to_path_buf(), source: source.into(), generation, keep })
    }

    async fn texts(from: &mut mpsc::Receiver<LogLine>, count: usize) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..count {
            let line = tokio::time::timeout(Duration::from_secs(10), from.recv()).await.unwrap().unwrap();
            all.push(line.text);
        }
        all
    }

    #[tokio::test]
    async fn the_tail_is_the_last_lines_of_all_sources_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut a = writer(dir.path(), "0", 1, 1 << 20);
        let mut b = writer(dir.path(), "1", 1, 1 << 20);
        for n in 0..10 {
            for (name, writer) in [("a", &mut a), ("b", &mut b)] {
                writer.write(1, false, &[format!("{name}{n}").into_bytes()]);
                // Times are kept in microseconds, and two lines of the same one have no order.
                let written = SystemTime::now();
                while written.elapsed().is_ok_and(|e| e < Duration::from_micros(2)) {}
            }
        }
        let place = |source| vec![Place { dir: dir.path().to_path_buf(), source }];
        let mut lines = open(place(None), 3, false).await.unwrap();
        assert_eq!(texts(&mut lines, 3).await, ["b8", "a9", "b9"]);
        assert_eq!(lines.recv().await, None);
        let mut lines = open(place(Some("0".into())), 2, false).await.unwrap();
        assert_eq!(texts(&mut lines, 2).await, ["a8", "a9"]);
        assert_eq!(lines.recv().await, None);
    }

    #[tokio::test]
    async fn following_sees_every_line_across_rotation_and_restart() {
        let dir = tempfile::tempdir().unwrap();
        writer(dir.path(), "0", 1, 1 << 20).write(1, false, &[b"old".to_vec()]);
        let mut lines = open(vec![Place { dir: dir.path().to_path_buf(), source: None }], 0, true).await.unwrap();
        let mut first = writer(dir.path(), "0", 2, 64 << 10);
        for n in 0..200 {
            first.write(1, false, &[format!("{n} {}", "x".repeat(200)).into_bytes()]);
            assert!(texts(&mut lines, 1).await[0].starts_with(&format!("{n} ")));
        }
        writer(dir.path(), "0", 3, 64 << 10).write(1, false, &[b"again".to_vec()]);
        assert_eq!(texts(&mut lines, 1).await, ["again"]);
    }
}
