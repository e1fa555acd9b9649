//! Idle upstream connections of one data thread.
//!
//! They are kept by a replica's number in this process, which is never used again, so that a reused
//! address never meets an old container's socket. An application may close an idle connection at any
//! moment, and a request that is sent then dies with it; so a connection is kept only for the time
//! that the application announced, less a second, or a short time where it announced none.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use super::upstream::Upstream;

/// Kept where the upstream announces nothing.
const UNANNOUNCED: Duration = Duration::from_millis(1500);
/// Kept at most, whatever it announces.
const LONGEST: Duration = Duration::from_secs(60);
/// What may not be sent twice uses only a connection that was idle for less.
const FRESH: Duration = Duration::from_millis(500);
/// Idle connections to one replica on one thread.
const MOST: usize = 1024;

/// A replica or target, and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The number of the replica or target.
    pub uid: u64,
    /// The declared port.
    pub port: u16,
}

#[derive(Debug)]
struct Idle {
    upstream: Upstream,
    since: Instant,
    keep: Duration,
}

/// See the module's words.
#[derive(Debug, Default)]
pub(super) struct Pool(RefCell<HashMap<Key, Vec<Idle>, BuildHasherDefault<Mix>>>);

impl Pool {
    /// The connection that was used last. `repeatable`: the request may be sent again if the
    /// connection turns out to be dead.
    pub fn take(&self, key: Key, now: Instant, repeatable: bool) -> Option<Upstream> {
        let mut map = self.0.borrow_mut();
        let idle = map.get_mut(&key)?;
        while let Some(last) = idle.pop() {
            let age = now.saturating_duration_since(last.since);
            let usable =
                if repeatable { age < last.keep } else { age < last.keep.min(FRESH) && last.upstream.is_open() };
            if usable {
                return Some(last.upstream);
            }
            if !repeatable && age < last.keep && last.upstream.is_open() {
                // Good enough for others; those below it are older still.
                idle.push(last);
                return None;
            }
        }
        None
    }

    /// Keeps a connection. `announced`: the upstream's `Keep-Alive: timeout`.
    pub fn put(&self, key: Key, upstream: Upstream, now: Instant, announced: Option<u64>) {
        let keep = match announced {
            Some(seconds) => Duration::from_secs(seconds).saturating_sub(Duration::from_secs(1)).min(LONGEST),
            None => UNANNOUNCED,
        };
        if keep.is_zero() {
            return;
        }
        upstream.rest();
        let mut map = self.0.borrow_mut();
        let idle = map.entry(key).or_default();
        if idle.len() < MOST {
            idle.push(Idle { upstream, since: now, keep });
        }
    }

    /// Closes what was idle for too long, or was ended by its upstream.
    pub fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain_mut(|i| now.saturating_duration_since(i.since) < i.keep && i.upstream.lives());
            // The memory of a burst goes, that of a steady load stays.
            if idle.len() < idle.capacity() / 4 {
                idle.shrink_to(idle.len() * 2);
            }
            !idle.is_empty()
        });
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Closes everything.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Keys are small numbers of our own making: one multiplication spreads them.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(23) ^ n).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}
