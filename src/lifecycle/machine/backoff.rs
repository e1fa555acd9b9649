//! How long to wait before the next try.

use std::time::Duration;

/// The first wait, and what further failures double it to.
const USUAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// The same where trying again without a change is pointless.
const PERMANENT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));
/// A replica that was ready for so long has proved itself: its failures are counted anew.
pub const PROVED: Duration = Duration::from_secs(10);

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
    clashes: u32,
}

/// So often another program may snatch a port between its being found free and its being listened on.
/// An application that insists on a taken one fails like any other after that.
const CLASHES: u32 = 3;

impl Backoff {
    /// Notes a failed start and tells how long to wait: a second, doubling to a minute.
    pub fn start_failed(&mut self, permanent: bool) -> Duration {
        let (first, longest) = if permanent { PERMANENT } else { USUAL };
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        wait
    }

    /// Notes that a port was taken by another program; true where other ports are to be tried at once.
    pub fn port_clashed(&mut self) -> bool {
        self.clashes += 1;
        self.clashes <= CLASHES
    }

    /// Notes that one has its ports: later clashes are counted anew.
    pub fn ports_fit(&mut self) {
        self.clashes = 0;
    }

    /// Notes that one was lost which had been ready for `ready`. The first time it is replaced at once.
    pub fn lost(&mut self, ready: Duration, permanent: bool) -> Duration {
        if ready >= PROVED {
            *self = Self::default();
        }
        if self.failures == 0 && !permanent {
            self.failures = 1;
            return Duration::ZERO;
        }
        self.start_failed(permanent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn waits_double_from_a_second_to_a_minute() {
        let mut b = Backoff::default();
        let waits: Vec<_> = (0..8).map(|_| b.start_failed(false).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn what_cannot_work_is_tried_rarely_but_is_tried() {
        let mut b = Backoff::default();
        let waits: Vec<_> = (0..6).map(|_| b.start_failed(true).as_secs()).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 600]);
    }

    #[test]
    fn a_port_clash_is_tried_again_at_once_but_not_for_ever() {
        let mut b = Backoff::default();
        assert_eq!((0..5).map(|_| b.port_clashed()).collect::<Vec<_>>(), [true, true, true, false, false]);
        b.lost(PROVED, false);
        assert!(b.port_clashed());
        assert!((0..5).any(|_| !b.port_clashed()));
        b.ports_fit();
        assert!(b.port_clashed());
    }

    #[test]
    fn the_first_loss_costs_no_time_and_a_crash_loop_does() {
        let mut b = Backoff::default();
        assert_eq!(b.lost(secs(100), false), secs(0));
        assert_eq!(b.lost(secs(1), false), secs(2));
        assert_eq!(b.lost(secs(1), false), secs(4));
        assert_eq!(b.lost(secs(11), false), secs(0), "it had proved itself");
    }
}
