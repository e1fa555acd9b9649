//! Which replica a request gets, and which ones are left out for a while.
//!
//! Power of two choices: of two replicas drawn at random, the one with fewer requests in flight
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001). Nothing here does
//! IO, reads a clock or allocates.

pub mod passive;

pub use passive::Passive;

/// What the choice needs to know of a replica.
pub trait Candidate {
    /// What clients that return name it by.
    fn ordinal(&self) -> u32;
    /// Requests in flight.
    fn load(&self) -> u64;
    /// What requests have learned of it.
    fn passive(&self) -> &Passive;
}

/// Chooses one of `all`; `now` is in the milliseconds that ejections were made with, and `draw(n)` gives
/// a number below `n`. `None`: there is none that a request may be sent to.
///
/// Suspects are never chosen. Ejected ones only where every other one is suspect: the last one that
/// could answer is better than an error.
pub fn pick<C: Candidate>(all: &[C], now: impl Fn() -> u64, mut draw: impl FnMut(usize) -> usize) -> Option<usize> {
    let usable = |c: &C| !c.passive().is_suspect() && !c.passive().is_ejected(&now);
    match all.len() {
        0 => return None,
        1 => return (!all[0].passive().is_suspect()).then_some(0),
        _ => {}
    }
    let a = draw(all.len());
    let b = match draw(all.len() - 1) {
        b if b >= a => b + 1,
        b => b,
    };
    match (usable(&all[a]), usable(&all[b])) {
        (true, true) => return Some(if all[b].load() < all[a].load() { b } else { a }),
        (true, false) => return Some(a),
        (false, true) => return Some(b),
        (false, false) => {}
    }
    let from_a = || (0..all.len()).map(|i| (a + i) % all.len());
    from_a()
        .filter(|i| usable(&all[*i]))
        .min_by_key(|i| all[*i].load())
        .or_else(|| from_a().find(|i| !all[*i].passive().is_suspect()))
}

/// The one with this ordinal, if a request may be sent to it.
pub fn sticky<C: Candidate>(all: &[C], ordinal: u32, now: impl Fn() -> u64) -> Option<usize> {
    let at = all.iter().position(|c| c.ordinal() == ordinal)?;
    let passive = all[at].passive();
    (!passive.is_suspect() && !passive.is_ejected(now)).then_some(at)
}

/// Whether one more of `all` may be ejected: at most half of them, and never the last one.
pub fn may_eject<C: Candidate>(all: &[C], now: u64) -> bool {
    let out = all.iter().filter(|c| c.passive().is_ejected(|| now) || c.passive().is_suspect()).count();
    (out + 1) * 2 <= all.len()
}

/// Readmits as many of `all` as the rule of [`may_eject`] asks for; for when the set has shrunk.
pub fn readmit_surplus<C: Candidate>(all: &[C], now: u64) {
    let mut out = all.iter().filter(|c| c.passive().is_ejected(|| now)).count();
    for c in all.iter().filter(|c| c.passive().is_ejected(|| now)) {
        if out * 2 <= all.len() {
            break;
        }
        c.passive().readmit();
        out -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Fake {
        ordinal: u32,
        load: u64,
        passive: Passive,
    }

    impl Candidate for Fake {
        fn ordinal(&self) -> u32 {
            self.ordinal
        }
        fn load(&self) -> u64 {
            self.load
        }
        fn passive(&self) -> &Passive {
            &self.passive
        }
    }

    fn fakes(loads: &[u64]) -> Vec<Fake> {
        (0..).zip(loads).map(|(ordinal, load)| Fake { ordinal, load: *load, ..Fake::default() }).collect()
    }

    #[test]
    fn the_less_loaded_of_two_is_chosen() {
        let all = fakes(&[7, 2, 9]);
        let mut draws = [0, 0].into_iter();
        assert_eq!(pick(&all, || 0, |_| draws.next().unwrap()), Some(1));
        let mut draws = [2, 0].into_iter();
        assert_eq!(pick(&all, || 0, |_| draws.next().unwrap()), Some(0));
    }

    #[test]
    fn every_pair_of_two_different_ones_can_be_drawn() {
        let all = fakes(&[0, 0, 0]);
        for a in 0..3 {
            for b in 0..2 {
                let mut draws = [a, b].into_iter();
                assert_eq!(pick(&all, || 0, |_| draws.next().unwrap()), Some(a), "equal loads keep the first draw");
            }
        }
    }

    #[test]
    fn suspects_get_nothing_even_if_they_are_all_there_is() {
        let all = fakes(&[0, 0]);
        all[0].passive.suspect();
        for _ in 0..20 {
            assert_eq!(pick(&all, || 0, |n| fastrand::usize(..n)), Some(1));
        }
        all[1].passive.suspect();
        assert_eq!(pick(&all, || 0, |n| fastrand::usize(..n)), None);
        assert_eq!(pick(&all[..1], || 0, |_| 0), None);
    }

    #[test]
    fn ejected_ones_are_used_only_when_no_other_is_left() {
        let all = fakes(&[0, 5, 0]);
        all[0].passive.eject(0);
        all[2].passive.suspect();
        for _ in 0..20 {
            assert_eq!(pick(&all, || 1, |n| fastrand::usize(..n)), Some(1));
        }
        all[1].passive.suspect();
        assert_eq!(pick(&all, || 1, |n| fastrand::usize(..n)), Some(0));
    }

    #[test]
    fn a_returning_client_gets_its_replica_while_that_one_is_good() {
        let all = fakes(&[9, 0]);
        assert_eq!(sticky(&all, 0, || 0), Some(0));
        assert_eq!(sticky(&all, 5, || 0), None);
        all[0].passive.eject(0);
        assert_eq!(sticky(&all, 0, || 1), None);
        assert_eq!(sticky(&all, 0, || 1_000), Some(0));
    }

    #[test]
    fn at_most_half_are_ejected_and_never_the_last() {
        let all = fakes(&[0, 0, 0, 0, 0]);
        assert!(!may_eject(&all[..1], 0));
        for i in 0..2 {
            assert!(may_eject(&all, 0));
            all[i].passive.eject(0);
        }
        assert!(!may_eject(&all, 0));
        readmit_surplus(&all[..3], 0);
        assert_eq!(all.iter().filter(|c| c.passive.is_ejected(|| 0)).count(), 1);
    }
}
