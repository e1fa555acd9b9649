//! When a change of the watched files is over: pure, and tested on simulated time.
//!
//! A file that is being written is not read half-way: nothing may have happened for a while, and two
//! readings a moment apart have to be alike. On a busy machine what tells of a write may be behind it by
//! more than that while, so the time of the last write counts, too.

use std::time::{Duration, Instant};

/// How long nothing may have happened before the files are read.
pub const QUIET: Duration = Duration::from_millis(50);
/// How long after a reading the second one is made.
pub const AGAIN: Duration = Duration::from_millis(10);

/// So often a reading is put off for the time of the last write: there are file systems that always tell
/// the present.
const PUT_OFF: u32 = 20;

/// What stands in the watched files, as far as two readings have to be compared.
pub type Digest = u64;

/// See the module's words.
#[derive(Debug)]
pub struct Quiet {
    /// What the configuration in force was read from.
    known: Digest,
    state: State,
    put_off: u32,
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
        Self { known, state: State::Calm, put_off: 0 }
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

    /// [`Quiet::due`] has come, and a file was written so long ago. True: that is too short, and
    /// [`Quiet::due`] is later.
    pub fn put_off(&mut self, now: Instant, age: Option<Duration>) -> bool {
        let left = age.and_then(|age| QUIET.checked_sub(age)).filter(|left| !left.is_zero());
        let (Some(left), true) = (left, self.put_off < PUT_OFF) else {
            self.put_off = 0;
            return false;
        };
        self.put_off += 1;
        self.state = State::Stirred(now + left);
        true
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
    fn a_write_that_nothing_has_told_of_yet_is_waited_for() {
        let t = Instant::now();
        let mut q = Quiet::new(1);
        q.stir(t);
        assert!(q.put_off(t + ms(50), Some(ms(10))), "written at 40");
        assert_eq!(q.due(), Some(t + ms(90)));
        assert!(!q.put_off(t + ms(90), Some(ms(50))));
        assert!(!q.read(t + ms(90), 2));
        assert!(q.put_off(t + ms(100), Some(ms(5))), "between the two readings");
        assert!(!q.put_off(t + ms(145), Some(ms(50))));
        assert!(!q.read(t + ms(145), 3));
        assert!(!q.put_off(t + ms(155), None));
        assert!(q.read(t + ms(155), 3));
    }

    #[test]
    fn a_time_of_writing_that_is_always_now_does_not_put_off_for_ever() {
        let t = Instant::now();
        let mut q = Quiet::new(1);
        q.stir(t);
        let times = (0..100).take_while(|_| q.put_off(t, Some(ms(0)))).count();
        assert_eq!(times, 20);
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
