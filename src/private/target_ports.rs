//! Which of the router's ports stands for which port of which name. No IO.
//!
//! A port is kept for as long as its name is there: what was given out is read back from where names are
//! kept, so that a restart changes nothing. A port that was given back is the last to be given out again:
//! whoever still has a way to it is refused there, instead of reaching something else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::proxy::Called;

/// See the module's words.
#[derive(Debug)]
pub struct TargetPorts {
    /// Inclusive.
    range: (u16, u16),
    by_called: BTreeMap<Called, u16>,
    by_port: BTreeMap<u16, Called>,
    /// Ports that were given back, the oldest first.
    spent: VecDeque<u16>,
    /// Ports that something else on this machine has.
    barred: BTreeSet<u16>,
}

/// There is no port left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all ports are given out: widen `kubernetes.names.ports`")]
pub struct Exhausted;

impl TargetPorts {
    /// Nothing is given out yet of these ports, both included.
    pub fn new(range: (u16, u16)) -> Self {
        Self {
            range,
            by_called: BTreeMap::new(),
            by_port: BTreeMap::new(),
            spent: VecDeque::new(),
            barred: BTreeSet::new(),
        }
    }

    /// Takes a port over as it was given out before. It is not where it is out of range, is barred, stands
    /// for something else, or where the name has another one.
    pub fn adopt(&mut self, called: &Called, port: u16) -> bool {
        if let Some(known) = self.by_called.get(called) {
            return *known == port;
        }
        let free = (self.range.0..=self.range.1).contains(&port)
            && !self.by_port.contains_key(&port)
            && !self.barred.contains(&port);
        if free {
            self.give(called.clone(), port);
        }
        free
    }

    /// The port of a name's port, which has one from now on.
    pub fn assign(&mut self, called: &Called) -> Result<u16, Exhausted> {
        if let Some(port) = self.by_called.get(called) {
            return Ok(*port);
        }
        let free = |port: &u16| !self.by_port.contains_key(port) && !self.barred.contains(port);
        let spent: BTreeSet<u16> = self.spent.iter().copied().collect();
        let fresh = (self.range.0..=self.range.1).find(|port| free(port) && !spent.contains(port));
        let port = fresh.or_else(|| self.spent.iter().copied().find(|port| free(port))).ok_or(Exhausted)?;
        self.give(called.clone(), port);
        Ok(port)
    }

    /// The port that was given out, if one was.
    pub fn get(&self, called: &Called) -> Option<u16> {
        self.by_called.get(called).copied()
    }

    /// All that is given out.
    pub fn all(&self) -> impl Iterator<Item = (&Called, u16)> {
        self.by_called.iter().map(|(called, port)| (called, *port))
    }

    /// Takes back what is not wanted any more.
    pub fn retain(&mut self, wanted: impl Fn(&Called) -> bool) {
        let left: Vec<Called> = self.by_called.keys().filter(|called| !wanted(called)).cloned().collect();
        for called in left {
            if let Some(port) = self.by_called.remove(&called) {
                self.by_port.remove(&port);
                self.spent.push_back(port);
            }
        }
    }

    /// Something else listens at this port: whoever had it needs another one.
    pub fn bar(&mut self, port: u16) {
        self.barred.insert(port);
        if let Some(called) = self.by_port.remove(&port) {
            self.by_called.remove(&called);
        }
    }

    fn give(&mut self, called: Called, port: u16) {
        self.spent.retain(|spent| *spent != port);
        self.by_port.insert(port, called.clone());
        self.by_called.insert(called, port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn called(name: &str, port: u16) -> Called {
        Called { name: name.into(), port }
    }

    #[test]
    fn a_name_keeps_its_port_and_a_restart_finds_it_again() {
        let mut ports = TargetPorts::new((21000, 21003));
        let (web, api) = (called("web", 3000), called("api", 3000));
        assert_eq!((ports.assign(&web), ports.assign(&api)), (Ok(21000), Ok(21001)));
        assert_eq!(ports.assign(&web), Ok(21000));
        let mut next = TargetPorts::new((21000, 21003));
        assert!(next.adopt(&api, 21001));
        assert_eq!(next.assign(&called("db", 5432)), Ok(21000), "the first one that is free");
        assert_eq!((next.assign(&api), next.assign(&web)), (Ok(21001), Ok(21002)));
    }

    #[test]
    fn what_cannot_be_taken_over_gets_a_port_anew() {
        let mut ports = TargetPorts::new((21000, 21003));
        let (web, api) = (called("web", 3000), called("api", 3000));
        assert!(!ports.adopt(&web, 20999), "out of the range, which has changed");
        assert!(ports.adopt(&web, 21002) && ports.adopt(&web, 21002));
        assert!(!ports.adopt(&api, 21002), "web has it");
        assert!(!ports.adopt(&web, 21003), "web has another one");
        assert_eq!(ports.assign(&api), Ok(21000));
    }

    #[test]
    fn a_port_that_was_given_back_is_the_last_to_be_given_out_again() {
        let mut ports = TargetPorts::new((1, 3));
        let all = [called("a", 1), called("b", 1), called("c", 1), called("d", 1)];
        assert_eq!((ports.assign(&all[0]), ports.assign(&all[1])), (Ok(1), Ok(2)));
        ports.retain(|c| *c == all[1]);
        assert_eq!((ports.assign(&all[2]), ports.assign(&all[3])), (Ok(3), Ok(1)));
        assert_eq!(ports.assign(&all[0]), Err(Exhausted));
        assert_eq!(ports.all().count(), 3);
    }

    #[test]
    fn a_port_that_something_else_has_is_given_to_nobody() {
        let mut ports = TargetPorts::new((1, 2));
        let web = called("web", 80);
        assert_eq!(ports.assign(&web), Ok(1));
        ports.bar(1);
        assert_eq!((ports.get(&web), ports.adopt(&web, 1)), (None, false));
        assert_eq!(ports.assign(&web), Ok(2));
    }

    proptest! {
        #[test]
        fn no_port_stands_for_two(steps in proptest::collection::vec((0u8..4, 0u16..6, 0u16..8), 0..40)) {
            let mut ports = TargetPorts::new((1, 5));
            for (what, name, port) in steps {
                let one = called("n", name);
                match what {
                    0 => { ports.adopt(&one, port); }
                    1 => { let _full = ports.assign(&one); }
                    2 => ports.retain(|c| *c != one),
                    _ => if port == 3 { ports.bar(port) },
                }
                let mut given: Vec<u16> = ports.all().map(|(_, port)| port).collect();
                prop_assert!(given.iter().all(|port| (1..=5).contains(port)));
                given.sort_unstable();
                given.dedup();
                prop_assert_eq!(given.len(), ports.all().count());
            }
        }
    }
}
