//! How many connections there are, over all threads and on each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::observe::RouterStats;

/// Counts over all data threads.
#[derive(Debug)]
pub(super) struct Count {
    open: AtomicUsize,
    most: AtomicUsize,
    threads: Box<[AtomicUsize]>,
    changed: Notify,
    stats: Arc<RouterStats>,
}

/// One open connection; its end is counted when it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    count: Arc<Count>,
    thread: usize,
}

impl Count {
    pub fn new(threads: usize, most: usize, stats: Arc<RouterStats>) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(most.max(1)),
            threads: (0..threads).map(|_| AtomicUsize::new(0)).collect(),
            changed: Notify::new(),
            stats,
        })
    }

    /// One more connection, on the thread that has the fewest; `None` if there are too many.
    pub fn admit(self: &Arc<Self>, accepting: usize) -> Option<Counted> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.stats.connections_refused.inc();
            return None;
        }
        self.stats.connections.inc();
        let load = |n: &usize| self.threads[*n].load(Ordering::Relaxed);
        // Where several have as few, the one that accepted keeps it.
        let thread = (0..self.threads.len()).min_by_key(|n| (load(n), *n != accepting)).unwrap_or(accepting);
        self.threads[thread].fetch_add(1, Ordering::Relaxed);
        Some(Counted { count: self.clone(), thread })
    }

    /// How many may be open.
    pub fn set_most(&self, most: usize) {
        self.most.store(most.max(1), Ordering::Relaxed);
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until none is open.
    pub async fn none_open(&self) {
        loop {
            let changed = self.changed.notified();
            if self.open() == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Counted {
    /// The thread that it belongs to.
    pub fn thread(&self) -> usize {
        self.thread
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.threads[self.thread].fetch_sub(1, Ordering::Relaxed);
        self.count.stats.connections.dec();
        if self.count.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.count.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_go_to_the_least_loaded_thread_up_to_the_bound() {
        let count = Count::new(3, 4, Arc::default());
        let mut open: Vec<_> = (0..4).filter_map(|_| count.admit(1)).collect();
        assert_eq!(open.iter().map(Counted::thread).collect::<Vec<_>>(), [1, 0, 2, 1]);
        assert!(count.admit(1).is_none());
        open.remove(1);
        assert_eq!(count.admit(1).unwrap().thread(), 0);
        drop(open);
        assert_eq!(count.open(), 0);
    }
}
