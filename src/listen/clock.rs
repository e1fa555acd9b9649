//! A clock that costs a load: the thread's sweep sets it.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// A moment of a data thread's clock, as exact as its sweep is frequent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// From `earlier` to now; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// One data thread's clock.
#[derive(Debug)]
pub struct Clock {
    epoch: Instant,
    now: Cell<u64>,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), now: Cell::new(0) }
    }

    /// The moment of the last [`Clock::advance`].
    pub fn tick(&self) -> Tick {
        Tick(self.now.get())
    }

    /// Reads the real clock.
    pub(super) fn advance(&self) -> Tick {
        self.now.set(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX));
        self.tick()
    }
}
