//! One word a replica: whether it is closed, and how many requests it has in flight.
//!
//! A request takes a place with one read-modify-write and gives it back with one. Closing succeeds
//! only at zero in flight ([`LeaseWord::close_if_idle`]) unless a deadline forces it
//! ([`LeaseWord::close_now`]); once closed, no place is handed out again. The interleavings are
//! model-checked with loom.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;

/// See the module's words.
#[derive(Debug)]
pub struct LeaseWord(AtomicU64);

impl Default for LeaseWord {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

/// What giving a place back left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// Nothing to do.
    Open,
    /// The last place of a closed word was given back: whoever closed it wants to know.
    ClosedAndIdle,
}

impl LeaseWord {
    /// Takes a place, or says that the word is closed.
    pub fn acquire(&self) -> bool {
        // Not a fetch_add that is undone when the word was closed: between the two, a release would
        // not see that it is the last one, and nobody would be told.
        // Acquire pairs with the release of whoever published the replica.
        let mut now = self.0.load(Ordering::Relaxed);
        while now & CLOSED == 0 {
            match self.0.compare_exchange_weak(now, now + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) => now = found,
            }
        }
        false
    }

    /// Gives a place back.
    pub fn release(&self) -> Released {
        if self.0.fetch_sub(1, Ordering::Release) == CLOSED | 1 { Released::ClosedAndIdle } else { Released::Open }
    }

    /// Closes, if nothing is in flight; otherwise changes nothing. True if it is closed now.
    pub fn close_if_idle(&self) -> bool {
        match self.0.compare_exchange(0, CLOSED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(now) => now & CLOSED != 0,
        }
    }

    /// Closes whatever is in flight; returns how much that is.
    pub fn close_now(&self) -> u64 {
        self.0.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED
    }

    /// How many places are taken.
    pub fn in_flight(&self) -> u64 {
        self.0.load(Ordering::Acquire) & !CLOSED
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & CLOSED != 0
    }
}
