//! When a change of the watched files is over: pure, and tested on simulated time.
//!
//! A file that is being written is not read half-way: nothing may have happened for a while, and two
//! readings a moment apart have to be alike.

use std::time::{Duration, Instant};

/// How long nothing may have happened before the files are read.
pub const QUIET: Duration = Duration::from_millis(50);
/// How long after a reading the second one is made.
pub const AGAIN: Duration = Duration::from_millis(10);

/// What stands in the watched files, as far as two readings have to be compared.
pub type Digest = u64;

/// See the module's words.
#[derive(Debug)]
pub struct Quiet {
    /// What the configuration in force was read from.
    known: Digest,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Calm,
    /// Something happened; the files are read at this time.
    Stirred(Instant),
    /// They were read, and are read again at this time.
    ReadOnce(Instant, Digest),
}

impl Quiet {
    /// Watches for a difference from `known`.
    pub fn new(known: Digest) -> Self {
        Self { known, state: State::Calm }
    }

    /// Another configuration is in force, read from this.
    pub fn knows(&mut self, known: Digest) {
        self.known = known;
    }

    /// Something happened to a file.
    pub fn stir(&mut self, now: Instant) {
        self.state = State::Stirred(now + QUIET);
    }

    /// When the files are to be read next.
    pub fn due(&self) -> Option<Instant> {
        match self.state {
            State::Calm => None,
            State::Stirred(at) | State::ReadOnce(at, _) => Some(at),
        }
    }

    /// The files were read, because [`Quiet::due`] has come. True: they have changed, and are whole.
    pub fn read(&mut self, now: Instant, digest: Digest) -> bool {
        match self.state {
            State::ReadOnce(_, first) if first == digest => {
                self.state = State::Calm;
                let changed = digest != self.known;
                self.known = digest;
                return changed;
            }
            State::Calm => {}
            State::Stirred(_) if digest == self.known => self.state = State::Calm,
            State::Stirred(_) | State::ReadOnce(..) => self.state = State::ReadOnce(now + AGAIN, digest),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_change_is_told_once_it_is_quiet_and_read_twice_alike() {
        let t = Instant::now();
        let mut q = Quiet::new(1);
        assert_eq!(q.due(), None);
        q.stir(t);
        q.stir(t + ms(30));
        assert_eq!(q.due(), Some(t + ms(80)));
        assert!(!q.read(t + ms(80), 2));
        assert_eq!(q.due(), Some(t + ms(90)));
        assert!(q.read(t + ms(90), 2));
        assert_eq!(q.due(), None);
    }

    #[test]
    fn a_file_that_still_grows_is_waited_for() {
        let t = Instant::now();
        let mut q = Quiet::new(1);
        q.stir(t);
        assert!(!q.read(t + ms(50), 2));
        assert!(!q.read(t + ms(60), 3), "the second reading differs");
        assert!(q.read(t + ms(70), 3));
    }

    #[test]
    fn a_touch_without_a_change_is_nothing() {
        let t = Instant::now();
        let mut q = Quiet::new(1);
        q.stir(t);
        assert!(!q.read(t + ms(50), 1));
        assert_eq!(q.due(), None);
    }

    #[test]
    fn an_event_between_the_readings_starts_over() {
        let t = Instant::now();
        let mut q = Quiet::new(1);
        q.stir(t);
        assert!(!q.read(t + ms(50), 2));
        q.stir(t + ms(55));
        assert_eq!(q.due(), Some(t + ms(105)));
    }

    #[test]
    fn back_and_forth_is_nothing() {
        let t = Instant::now();
        let mut q = Quiet::new(1);
        q.stir(t);
        assert!(!q.read(t + ms(50), 2));
        assert!(!q.read(t + ms(60), 1));
        assert!(!q.read(t + ms(70), 1));
        assert_eq!(q.due(), None);
    }
}
