//! Passive health: what requests themselves learn of a replica.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Resets in a row that eject.
const RESETS: u32 = 5;
/// The first ejection, in milliseconds; each further one without an answer between doubles it.
const FIRST_MS: u64 = 1_000;
/// The longest ejection, in milliseconds.
const LONGEST_MS: u64 = 60_000;

/// What requests have learned of one replica. Connects and resets count, status codes do not.
#[derive(Debug, Default)]
pub struct Passive {
    failures: AtomicU32,
    ejections: AtomicU32,
    ejected_until: AtomicU64,
    suspect: AtomicBool,
    answered: AtomicBool,
}

impl Passive {
    /// An answer's head arrived. Reads only, where nothing has to change.
    pub fn answered(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        if self.ejections.load(Relaxed) != 0 {
            self.ejections.store(0, Relaxed);
        }
        if !self.answered.load(Relaxed) {
            self.answered.store(true, Relaxed);
        }
    }

    /// A connection broke before an answer's head. True: often enough in a row to eject.
    pub fn reset(&self) -> bool {
        self.failures.fetch_add(1, Relaxed) + 1 >= RESETS
    }

    /// Takes it out of rotation; `now` is in milliseconds of the caller's clock.
    pub fn eject(&self, now: u64) {
        let before = self.ejections.fetch_add(1, Relaxed).min(16);
        self.failures.store(0, Relaxed);
        self.ejected_until.store(now + (FIRST_MS << before).min(LONGEST_MS), Relaxed);
    }

    /// Back into rotation before its time.
    pub fn readmit(&self) {
        self.ejected_until.store(0, Relaxed);
    }

    /// Whether it is ejected. The clock is only asked where an ejection was ever set.
    pub fn is_ejected(&self, now: impl FnOnce() -> u64) -> bool {
        let until = self.ejected_until.load(Relaxed);
        until != 0 && now() < until
    }

    /// A connect failed: no more requests until a probe has passed. True: it was not suspect before.
    pub fn suspect(&self) -> bool {
        !self.suspect.swap(true, Relaxed)
    }

    /// A probe passed.
    pub fn trust(&self) {
        self.failures.store(0, Relaxed);
        self.suspect.store(false, Relaxed);
    }

    /// Whether a connect failed and no probe has passed since.
    pub fn is_suspect(&self) -> bool {
        self.suspect.load(Relaxed)
    }

    /// Whether it has answered a request since this was asked last.
    pub fn take_answered(&self) -> bool {
        self.answered.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_resets_in_a_row_are_enough_and_an_answer_starts_the_count_again() {
        let p = Passive::default();
        for _ in 0..4 {
            assert!(!p.reset());
        }
        p.answered();
        for _ in 0..4 {
            assert!(!p.reset());
        }
        assert!(p.reset());
    }

    #[test]
    fn ejections_double_up_to_a_minute_and_an_answer_makes_them_short_again() {
        let p = Passive::default();
        let mut lengths = Vec::new();
        for _ in 0..8 {
            p.eject(0);
            lengths.push(p.ejected_until.load(Relaxed));
        }
        assert_eq!(lengths, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        p.answered();
        p.eject(10);
        assert!(p.is_ejected(|| 1_009));
        assert!(!p.is_ejected(|| 1_010));
    }

    #[test]
    fn the_clock_is_not_read_for_a_replica_that_was_never_ejected() {
        assert!(!Passive::default().is_ejected(|| panic!("read")));
    }
}
