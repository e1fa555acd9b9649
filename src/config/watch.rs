//! Watches the files that a configuration was read from, and tells when one has changed.
//!
//! The folders are watched rather than the files, because editors and Kubernetes replace files; so is every
//! folder above, which may be replaced or not be there yet, and every one that a path leads through by a
//! symbolic link (a ConfigMap's `..data`). A slow
//! look at sizes and times covers file systems whose changes are made elsewhere, and what events miss.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::ModifyKind;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::files::Files;
use super::quiet::{Digest, Quiet};

/// From one look at sizes and times to the next.
const POLL: Duration = Duration::from_secs(2);

/// More links than a path may sensibly lead through.
const MAX_LINKS: usize = 16;

enum Message {
    /// Something was written, or comes, goes or is renamed.
    Stirred {
        moved: bool,
    },
    Files(Files),
    End,
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    messages: mpsc::Sender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches `files` and calls `changed` after each change, also after one since they were read.
    pub fn start(files: Files, changed: impl FnMut() + Send + 'static) -> std::io::Result<Self> {
        let (messages, inbox) = mpsc::channel();
        let events = messages.clone();
        let watching = Loop::new(files, events, changed);
        let thread = std::thread::Builder::new().name("config-watch".into()).spawn(move || watching.run(&inbox))?;
        Ok(Self { messages, thread: Some(thread) })
    }

    /// Watches these instead, after a reload named others. What changed since they were read is told.
    pub fn files(&self, files: Files) {
        let _ = self.messages.send(Message::Files(files));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Loop<F> {
    files: Files,
    events: mpsc::Sender<Message>,
    watcher: Option<RecommendedWatcher>,
    quiet: Quiet,
    stamp: Digest,
    /// Whether what has to be watched may be elsewhere by now.
    moved: bool,
    changed: F,
}

impl<F: FnMut()> Loop<F> {
    fn new(files: Files, events: mpsc::Sender<Message>, changed: F) -> Self {
        let (quiet, stamp) = (Quiet::new(files.digest()), files.stamp());
        let mut new = Self { files, events, watcher: None, quiet, stamp, moved: false, changed };
        new.watch();
        // A file may have changed between its being read and its being watched.
        new.quiet.stir(Instant::now());
        new
    }

    fn run(mut self, inbox: &mpsc::Receiver<Message>) {
        let mut poll = Instant::now() + POLL;
        loop {
            let wake = self.quiet.due().map_or(poll, |due| due.min(poll));
            match inbox.recv_timeout(wake.saturating_duration_since(Instant::now())) {
                Ok(Message::Stirred { moved }) => {
                    self.moved |= moved;
                    self.quiet.stir(Instant::now());
                }
                Ok(Message::Files(files)) => {
                    self.quiet.knows(files.digest());
                    let same = files.paths().eq(self.files.paths());
                    self.files = files;
                    if !same {
                        self.watch();
                    }
                    // As at the start.
                    self.quiet.stir(Instant::now());
                }
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.quiet.due().is_some_and(|due| due <= now) && !self.quiet.put_off(now, self.files.age()) {
                // First watched, then read: what comes between is an event.
                if std::mem::take(&mut self.moved) {
                    self.watch();
                }
                if self.quiet.read(now, self.files.again().digest()) {
                    self.stamp = self.files.stamp();
                    (self.changed)();
                }
            }
            if poll <= now {
                poll = now + POLL;
                let stamp = self.files.stamp();
                if stamp != self.stamp {
                    self.stamp = stamp;
                    self.moved = true;
                    self.quiet.stir(now);
                }
            }
        }
    }

    /// Watches the folders of all files, the ones above them, and those of every link on the way.
    fn watch(&mut self) {
        let places = places(self.files.paths());
        let folders: BTreeSet<PathBuf> = places.iter().filter_map(|p| p.parent().map(Path::to_owned)).collect();
        let events = self.events.clone();
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let ours = match &event {
                Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
                // An application may write much beside its ci.yml.
                Ok(event) => event.paths.is_empty() || event.paths.iter().any(|p| places.contains(p)),
                Err(_) => true,
            };
            if ours {
                let moved = !matches!(&event, Ok(e) if matches!(e.kind, EventKind::Modify(ModifyKind::Data(_))));
                let _ = events.send(Message::Stirred { moved });
            }
        });
        let mut watcher = match made {
            Ok(watcher) => watcher,
            Err(e) => {
                tracing::warn!("files cannot be watched ({e}); a change is noticed within {} s", POLL.as_secs());
                return;
            }
        };
        for folder in &folders {
            if let Err(e) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                // Missing folders are normal: a landscape that does not exist yet. The one above is watched.
                tracing::debug!("{} cannot be watched: {e}", folder.display());
            }
        }
        self.watcher = Some(watcher);
    }
}

/// Every path whose being replaced changes what one of `files` holds.
fn places<'f>(files: impl Iterator<Item = &'f Path>) -> BTreeSet<PathBuf> {
    let mut all = BTreeSet::new();
    for file in files {
        let mut at = file.to_owned();
        for _ in 0..MAX_LINKS {
            // Each link among the folders on the way, outermost first.
            let link = at.ancestors().collect::<Vec<_>>().into_iter().rev().find_map(|p| {
                let target = fs::read_link(p).ok()?;
                Some((p.to_owned(), target))
            });
            let Some((link, target)) = link else { break };
            let rest = at.strip_prefix(&link).map(Path::to_owned).unwrap_or_default();
            let folder = link.parent().unwrap_or(Path::new("/")).to_owned();
            all.insert(link);
            at = if rest.as_os_str().is_empty() { folder.join(target) } else { folder.join(target).join(rest) };
        }
        let above = [at.as_path(), file].into_iter().flat_map(Path::ancestors);
        all.extend(above.filter(|p| p.parent().is_some()).map(Path::to_owned));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Watched {
        dir: tempfile::TempDir,
        changes: mpsc::Receiver<Instant>,
        _watch: Watch,
    }

    /// A watch of `name` in a folder that `prepare` filled.
    fn watch(name: &str, prepare: impl FnOnce(&Path)) -> Watched {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let (tell, changes) = mpsc::channel();
        let files = Files::as_they_are([dir.path().join(name)]);
        let watch = Watch::start(files, move || tell.send(Instant::now()).unwrap()).unwrap();
        Watched { dir, changes, _watch: watch }
    }

    impl Watched {
        fn told_after(&self, change: impl FnOnce(&Path)) -> Duration {
            change(self.dir.path());
            let done = Instant::now();
            self.changes.recv_timeout(Duration::from_secs(10)).unwrap().saturating_duration_since(done)
        }
    }

    #[test]
    fn a_write_and_a_rename_are_told() {
        let w = watch("router.yaml", |d| fs::write(d.join("router.yaml"), "a").unwrap());
        let slowest = w.told_after(|d| fs::write(d.join("router.yaml"), "b").unwrap()).max(w.told_after(|d| {
            fs::write(d.join("fresh"), "c").unwrap();
            fs::rename(d.join("fresh"), d.join("router.yaml")).unwrap();
        }));
        assert!(slowest < POLL, "by events, not by the poll: {slowest:?}");
    }

    #[test]
    fn a_config_maps_swap_is_told() {
        let w = watch("router.yaml", |d| {
            fs::create_dir(d.join("..1")).unwrap();
            fs::write(d.join("..1/router.yaml"), "a").unwrap();
            symlink("..1", d.join("..data")).unwrap();
            symlink("..data/router.yaml", d.join("router.yaml")).unwrap();
        });
        let after = w.told_after(|d| {
            fs::create_dir(d.join("..2")).unwrap();
            fs::write(d.join("..2/router.yaml"), "b").unwrap();
            symlink("..2", d.join("..fresh")).unwrap();
            fs::rename(d.join("..fresh"), d.join("..data")).unwrap();
        });
        assert!(after < POLL, "{after:?}");
        // And what is watched has moved along.
        let after = w.told_after(|d| fs::write(d.join("..2/router.yaml"), "c").unwrap());
        assert!(after < POLL, "{after:?}");
    }

    #[test]
    fn a_folder_that_is_replaced_or_comes_late_is_told() {
        let w = watch("app/conf/ci.yml", |_| ());
        let after = w.told_after(|d| {
            fs::create_dir_all(d.join("app/conf")).unwrap();
            fs::write(d.join("app/conf/ci.yml"), "a").unwrap();
        });
        assert!(after < POLL / 2, "{after:?}");
        let after = w.told_after(|d| {
            fs::create_dir_all(d.join("new/conf")).unwrap();
            fs::write(d.join("new/conf/ci.yml"), "b").unwrap();
            fs::rename(d.join("app"), d.join("old")).unwrap();
            fs::rename(d.join("new"), d.join("app")).unwrap();
        });
        assert!(after < POLL / 2, "{after:?}");
        let after = w.told_after(|d| fs::write(d.join("app/conf/ci.yml"), "c").unwrap());
        assert!(after < POLL / 2, "{after:?}");
    }

    #[test]
    fn a_file_that_goes_and_comes_is_told_twice() {
        let w = watch("router.yaml", |d| fs::write(d.join("router.yaml"), "a").unwrap());
        w.told_after(|d| fs::remove_file(d.join("router.yaml")).unwrap());
        w.told_after(|d| fs::write(d.join("router.yaml"), "a").unwrap());
    }

    #[test]
    fn a_change_since_the_reading_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("router.yaml");
        fs::write(&file, "a").unwrap();
        let read = Files::as_they_are([file.clone()]);
        fs::write(&file, "b").unwrap();
        let (tell, changes) = mpsc::channel();
        let watch = Watch::start(read, move || tell.send(()).unwrap()).unwrap();
        changes.recv_timeout(Duration::from_secs(10)).unwrap();
        // What a reload read is known, and no reason for another.
        watch.files(Files::as_they_are([file.clone()]));
        fs::write(&file, "c").unwrap();
        changes.recv_timeout(Duration::from_secs(10)).unwrap();
    }
}
