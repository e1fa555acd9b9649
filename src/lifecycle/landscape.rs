//! What the services of one landscape have to do with each other: the preparation that runs once for
//! all of them, and who is awake for whose sake.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::actor::Input;
use super::machine::Event;
use super::prepare::Prepare;
use crate::config::settings::{Policy, WakeRule};
use crate::landscape::ServiceSpec;

/// See the module's words.
#[derive(Debug)]
pub(super) struct Landscape {
    pub prepare: Prepare,
    members: Mutex<BTreeMap<Arc<str>, Member>>,
}

/// What derivation needs to know of a service.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// A public route leads to it.
    routed: bool,
    with_landscape: bool,
    depends_on: Vec<Arc<str>>,
    /// Awake for its own sake.
    awake: bool,
    /// Something of it runs.
    up: bool,
}

#[derive(Debug)]
struct Member {
    facts: Facts,
    to: mpsc::UnboundedSender<Input>,
    told: Derived,
}

/// Why a service is wanted for others' sake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Derived {
    landscape: bool,
    needed_by: Vec<Arc<str>>,
}

impl Landscape {
    pub fn new(prepare: Prepare) -> Self {
        Self { prepare, members: Mutex::default() }
    }

    /// A service joins, or its configuration has changed.
    pub fn join(&self, spec: &ServiceSpec, policy: &Policy, to: &mpsc::UnboundedSender<Input>) {
        let mut members = self.members.lock();
        let name = spec.key.service.clone();
        let member = members.entry(name).or_insert_with(|| Member {
            facts: Facts::default(),
            to: to.clone(),
            told: Derived::default(),
        });
        if !member.to.same_channel(to) {
            // The service was removed and is back: another actor, which was told nothing yet.
            *member = Member { facts: Facts::default(), to: to.clone(), told: Derived::default() };
        }
        member.facts.routed = spec.is_routed();
        member.facts.with_landscape = policy.wake == WakeRule::WithLandscape;
        member.facts.depends_on.clone_from(&policy.depends_on);
        tell(&mut members);
    }

    /// A service is gone; only if it is still the one of this channel.
    pub fn leave(&self, name: &str, to: &mpsc::UnboundedSender<Input>) {
        let mut members = self.members.lock();
        if members.get(name).is_some_and(|m| m.to.same_channel(to)) {
            members.remove(name);
            tell(&mut members);
        }
    }

    /// Whether a service is awake for its own sake.
    pub fn set_awake(&self, name: &str, awake: bool) {
        self.change(name, |facts| facts.awake = awake);
    }

    /// Whether anything of a service runs.
    pub fn set_up(&self, name: &str, up: bool) {
        self.change(name, |facts| facts.up = up);
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Facts)) {
        let mut members = self.members.lock();
        if let Some(member) = members.get_mut(name) {
            change(&mut member.facts);
            tell(&mut members);
        }
    }
}

fn tell(members: &mut BTreeMap<Arc<str>, Member>) {
    let facts = members.iter().map(|(name, m)| (name.clone(), m.facts.clone())).collect();
    for (name, derived) in derive(&facts) {
        let Some(member) = members.get_mut(&name) else { continue };
        if member.told != derived {
            member.told = derived.clone();
            let event = Event::Derived { landscape: derived.landscape, needed_by: derived.needed_by };
            // A failed send: its actor has ended, and is about to leave.
            drop(member.to.send(Input::Event(event)));
        }
    }
}

/// Follows reasons from those that are awake for their own sake, so that two services that depend on
/// each other do not keep each other awake for ever.
fn derive(all: &BTreeMap<Arc<str>, Facts>) -> BTreeMap<Arc<str>, Derived> {
    let depended_on: BTreeSet<_> = all.values().flat_map(|m| &m.depends_on).collect();
    let mut awake: BTreeSet<Arc<str>> = all.iter().filter(|(_, m)| m.awake).map(|(n, _)| n.clone()).collect();
    loop {
        let routed_awake = all.iter().any(|(n, m)| m.routed && awake.contains(n));
        let derived: BTreeMap<_, _> = all
            .iter()
            .map(|(name, m)| {
                // `dependsOn` says more precisely when it is needed.
                let landscape = !m.routed && m.with_landscape && !depended_on.contains(name) && routed_awake;
                let needs =
                    |(n, m): &(&Arc<str>, &Facts)| n != &name && awake.contains(*n) && m.depends_on.contains(name);
                let needed_by = all.iter().filter(needs).map(|(n, _)| n.clone()).collect();
                (name.clone(), Derived { landscape, needed_by })
            })
            .collect();
        let before = awake.len();
        let woken = derived.iter().filter(|(_, d)| d.landscape || !d.needed_by.is_empty());
        awake.extend(woken.map(|(n, _)| n.clone()));
        if awake.len() == before {
            return until_dependents_ended(all, derived);
        }
    }
}

/// Adds who is on the way out: they wake nobody, and they may need to end well what they depend on.
fn until_dependents_ended(
    all: &BTreeMap<Arc<str>, Facts>,
    mut derived: BTreeMap<Arc<str>, Derived>,
) -> BTreeMap<Arc<str>, Derived> {
    for (name, derived) in &mut derived {
        let leaving = all.iter().filter(|(n, m)| {
            *n != name
                && m.up
                && m.depends_on.contains(name)
                && !derived.needed_by.contains(n)
                && !depends(all, name, n)
        });
        let leaving: Vec<_> = leaving.map(|(n, _)| n.clone()).collect();
        derived.needed_by.extend(leaving);
    }
    derived
}

/// Whether a service depends on another one, directly or by others.
fn depends(all: &BTreeMap<Arc<str>, Facts>, name: &Arc<str>, on: &Arc<str>) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![name];
    while let Some(name) = next.pop() {
        let needed = all.get(name).map_or(&[][..], |m| &m.depends_on);
        if needed.contains(on) {
            return true;
        }
        next.extend(needed.iter().filter(|needed| seen.insert(*needed)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(routed: bool, with_landscape: bool, depends_on: &[&str], awake: bool) -> Facts {
        let depends_on = depends_on.iter().map(|s| Arc::from(*s)).collect();
        Facts { routed, with_landscape, depends_on, awake, up: awake }
    }

    fn derived(all: &[(&str, Facts)]) -> Vec<String> {
        let all = all.iter().map(|(n, f)| (Arc::from(*n), f.clone())).collect();
        derive(&all)
            .into_iter()
            .filter(|(_, d)| *d != Derived::default())
            .map(|(n, d)| format!("{n}: {} {}", if d.landscape { "landscape" } else { "-" }, d.needed_by.join(",")))
            .collect()
    }

    #[test]
    fn what_has_no_route_wakes_with_the_landscape_unless_it_says_otherwise() {
        let all = |awake| {
            [
                ("web", service(true, true, &[], awake)),
                ("worker", service(false, true, &[], false)),
                ("cron", service(false, false, &[], false)),
                ("admin", service(true, true, &[], false)),
            ]
        };
        assert_eq!(derived(&all(true)), ["worker: landscape "]);
        assert!(derived(&all(false)).is_empty());
    }

    #[test]
    fn dependencies_are_followed_and_say_more_precisely_when_they_are_needed() {
        let all = [
            ("web", service(true, true, &[], true)),
            ("api", service(true, true, &["db"], false)),
            ("db", service(false, true, &["disk"], false)),
            ("disk", service(false, false, &[], false)),
        ];
        assert!(derived(&all).is_empty(), "nobody that needs the db is awake");
        let mut all = all;
        all[1].1.awake = true;
        assert_eq!(derived(&all), ["db: - api", "disk: - db"]);
    }

    #[test]
    fn what_is_depended_on_is_there_until_its_dependents_have_ended() {
        let mut all = [
            ("web", service(true, true, &["api"], false)),
            ("api", service(false, true, &["db"], false)),
            ("db", service(false, true, &[], false)),
        ];
        for (_, facts) in &mut all {
            facts.up = true;
        }
        assert_eq!(derived(&all), ["api: - web", "db: - api"]);
        all[0].1.up = false;
        assert_eq!(derived(&all), ["db: - api"]);
        all[1].1.up = false;
        assert!(derived(&all).is_empty());
        let mut circle = [("a", service(true, true, &["b"], false)), ("b", service(true, true, &["a"], false))];
        for (_, facts) in &mut circle {
            facts.up = true;
        }
        assert!(derived(&circle).is_empty());
        let mut worker = [("web", service(true, true, &[], false)), ("worker", service(false, true, &["web"], false))];
        for (_, facts) in &mut worker {
            facts.up = true;
        }
        assert_eq!(derived(&worker), ["web: - worker"], "which is not awake for the web's sake in turn");
    }

    #[test]
    fn a_circle_does_not_keep_itself_awake() {
        let all = |awake| [("a", service(true, true, &["b"], awake)), ("b", service(true, true, &["a"], false))];
        assert_eq!(derived(&all(true)), ["a: - b", "b: - a"]);
        assert!(derived(&all(false)).is_empty());
        assert!(derived(&[("a", service(true, true, &["a"], true))]).is_empty(), "itself");
    }
}
