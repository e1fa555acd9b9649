//! A waker for an upstream connection that does not ring while its owner is at work.
//!
//! hyper's client connection and its handle are made for two tasks that wake each other. Here one task
//! drives both by turns, and every such call would only make it run once more for nothing. What the
//! socket has to tell comes from outside, when nobody is at work, and rings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use parking_lot::Mutex;

/// See the module's words. One a connection, for its whole life.
#[derive(Debug)]
pub(super) struct Bell {
    task: Mutex<Waker>,
    muted: AtomicBool,
}

impl Bell {
    /// Wakes nobody yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { task: Mutex::new(Waker::noop().clone()), muted: AtomicBool::new(false) })
    }

    /// Rings for this task from now on.
    pub fn ring_for(&self, waker: &Waker) {
        let mut task = self.task.lock();
        if !task.will_wake(waker) {
            task.clone_from(waker);
        }
    }

    /// Does something that would ring.
    pub fn muted<R>(&self, work: impl FnOnce() -> R) -> R {
        self.muted.store(true, Ordering::Relaxed);
        let done = work();
        self.muted.store(false, Ordering::Relaxed);
        done
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Whoever mutes it and whoever rings it meanwhile are one thread.
        if !self.muted.load(Ordering::Relaxed) {
            self.task.lock().wake_by_ref();
        }
    }
}
