//! The Leases as one watch tells of them: always the state of the API server at some moment, never a
//! mixture of two, and how far that moment is behind.

use std::cell::OnceCell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::object::{Item, Report};

/// What the watch says.
#[derive(Clone, Debug)]
pub enum News {
    /// All there is.
    Listed {
        /// Everything.
        items: Vec<Item>,
        /// The list's own resourceVersion.
        version: u64,
        /// When it was asked for.
        asked: Instant,
    },
    /// This is new, or has changed.
    Changed(Item),
    /// This is gone.
    Gone {
        /// Its name.
        name: Arc<str>,
        /// The resourceVersion of its end.
        version: u64,
    },
}

/// A Lease, and when this version of it was first seen.
#[derive(Clone, Debug)]
pub struct Known {
    /// The Lease.
    pub item: Item,
    at: Instant,
    report: OnceCell<Arc<Report>>,
}

impl Known {
    fn new(item: Item, at: Instant) -> Self {
        Self { item, at, report: OnceCell::new() }
    }

    /// What it says, if it is a router's. Read once.
    pub fn report(&self) -> &Arc<Report> {
        self.report.get_or_init(|| Arc::new(Report::read(self.item.content.note.as_deref())))
    }
}

/// See the module's words.
#[derive(Debug, Default)]
pub struct View {
    items: BTreeMap<Arc<str>, Known>,
    version: Option<u64>,
    /// Nothing that happened before this moment is missing.
    complete: Option<Instant>,
    /// Writes of ours that the watch has not told of: what version they made, and when they were sent.
    echoes: VecDeque<(u64, Instant)>,
}

impl View {
    /// Takes what the watch says.
    pub fn take(&mut self, news: News, now: Instant) {
        let version = match news {
            News::Listed { items, version, asked } => {
                let before = std::mem::take(&mut self.items);
                for item in items {
                    let same = before.get(&item.name).filter(|k| k.item.version == item.version);
                    let known = same.cloned().unwrap_or_else(|| Known::new(item, now));
                    self.items.insert(known.item.name.clone(), known);
                }
                self.complete = self.complete.max(Some(asked));
                version
            }
            News::Changed(item) => {
                let version = item.version;
                self.items.insert(item.name.clone(), Known::new(item, now));
                version
            }
            News::Gone { name, version } => {
                self.items.remove(&name);
                version
            }
        };
        self.version = self.version.max(Some(version));
        while let Some((_, sent)) = self.echoes.front().filter(|(v, _)| self.reaches(*v)) {
            self.complete = self.complete.max(Some(*sent));
            self.echoes.pop_front();
        }
    }

    /// A write of ours made this version.
    pub fn wrote(&mut self, version: u64, sent: Instant) {
        let at = self.echoes.partition_point(|(v, _)| *v < version);
        self.echoes.insert(at, (version, sent));
        // A watch that says nothing for long is listed anew, which tells as much.
        self.echoes.truncate(64);
    }

    /// Whether everything up to this version is in it.
    pub fn reaches(&self, version: u64) -> bool {
        self.version >= Some(version)
    }

    /// Nothing that happened before this moment is missing; `None` before it has been listed.
    pub fn complete(&self) -> Option<Instant> {
        self.complete
    }

    /// Whether it has been listed at all.
    pub fn is_there(&self) -> bool {
        self.version.is_some()
    }

    /// A Lease.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.items.get(name)
    }

    /// All of them.
    pub fn items(&self) -> impl Iterator<Item = &Known> {
        self.items.values()
    }

    /// Whether its holder has not renewed it for as long as it is good. A watch that lags never makes this
    /// true: what counts is up to when the view is complete, not what time it is.
    pub fn has_run_out(&self, known: &Known) -> bool {
        self.has_run_out_for(known, Duration::ZERO)
    }

    /// Whether that was so long ago.
    pub fn has_run_out_for(&self, known: &Known, long: Duration) -> bool {
        self.complete.is_some_and(|complete| complete >= known.at + known.item.content.duration + long)
    }
}
