//! When a starting replica is tried again: pure, and tested on simulated time.

use std::time::Duration;

/// What one try costs at the most, and the share of a core that all tries together may take, put
/// together: 50 µs at 5 % is a try a millisecond.
const APART: Duration = Duration::from_millis(1);

/// The tries of one starting replica.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    local: bool,
    tries: u32,
}

impl Schedule {
    /// For a replica on this machine, or elsewhere.
    pub fn new(local: bool) -> Self {
        Self { local, tries: 0 }
    }

    /// How long to wait after a failed try, `age` after the first, while `starting` replicas in all
    /// (this one among them) are being tried.
    ///
    /// For the first 10 s 1 ms, doubling to 4 ms, to a local replica, 8 ms to one elsewhere; 25 ms for the
    /// first minute; 250 ms from then on.
    pub fn next(&mut self, age: Duration, starting: usize) -> Duration {
        let wait = if age < Duration::from_secs(10) {
            Duration::from_millis(if self.local { 1 << self.tries.min(2) } else { 8 })
        } else if age < Duration::from_secs(60) {
            Duration::from_millis(25)
        } else {
            Duration::from_millis(250)
        };
        self.tries = self.tries.saturating_add(1);
        wait.max(APART.saturating_mul(u32::try_from(starting).unwrap_or(u32::MAX)))
    }
}

/// When a ready replica is probed, and what its failures mean.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    failed: u32,
}

/// What a probe of a ready replica decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// In rotation (again).
    Ready,
    /// Nothing changes yet.
    Same,
    /// Out of rotation until a probe passes.
    Unready,
    /// Replace it.
    Restart,
}

impl Watch {
    /// From one probe to the next.
    pub const EVERY: Duration = Duration::from_secs(10);
    /// How long one may take.
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    const UNREADY_AFTER: u32 = 2;
    const RESTART_AFTER: u32 = 6;

    /// Notes a probe's result. `answered`: whether the replica has answered a request since the last
    /// probe; one that answers is busy, not broken, and stays.
    pub fn note(&mut self, passed: bool, answered: bool) -> Verdict {
        if passed || answered {
            self.failed = 0;
            return Verdict::Ready;
        }
        self.failed += 1;
        match self.failed {
            n if n >= Self::RESTART_AFTER => {
                self.failed = 0;
                Verdict::Restart
            }
            n if n >= Self::UNREADY_AFTER => Verdict::Unready,
            _ => Verdict::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_local_replica_is_tried_from_one_to_four_milliseconds() {
        let mut s = Schedule::new(true);
        let waits: Vec<_> = (0..5).map(|_| s.next(ms(5), 1)).collect();
        assert_eq!(waits, [ms(1), ms(2), ms(4), ms(4), ms(4)]);
        assert_eq!(s.next(ms(9_999), 1), ms(4));
        assert_eq!(s.next(ms(10_000), 1), ms(25));
        assert_eq!(s.next(ms(59_999), 1), ms(25));
        assert_eq!(s.next(ms(60_000), 1), ms(250));
    }

    #[test]
    fn one_elsewhere_is_never_hammered() {
        let mut s = Schedule::new(false);
        assert_eq!([0, 9_999, 10_000].map(|age| s.next(ms(age), 1)), [ms(8), ms(8), ms(25)]);
    }

    #[test]
    fn many_starts_share_what_one_may_cost() {
        let mut s = Schedule::new(true);
        assert_eq!(s.next(ms(0), 400), ms(400), "400 replicas, a try a millisecond between them");
    }

    #[test]
    fn two_failures_take_it_out_six_replace_it_and_a_pass_brings_it_back() {
        let mut w = Watch::default();
        let mut bad = |answered| w.note(false, answered);
        assert_eq!(bad(false), Verdict::Same);
        assert_eq!(bad(false), Verdict::Unready);
        assert_eq!(bad(true), Verdict::Ready, "it answers requests: busy, not broken");
        for _ in 0..5 {
            assert_ne!(bad(false), Verdict::Restart);
        }
        assert_eq!(bad(false), Verdict::Restart);
        assert_eq!(w.note(true, false), Verdict::Ready);
    }
}
