//! What routers write to the API server: Leases, all of them, so that one watch tells of everything in
//! the order in which it happened.
//!
//! | Lease | holder | note (an annotation, JSON) |
//! |---|---|---|
//! | `<instance>-leader` | who switches services off | none |
//! | `<instance>-router-<identity>` | that router | its [`Report`] |
//! | `<instance>-drains` | none | the [`Marks`] |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::landscape::ServiceKey;
use crate::lifecycle::consent::Token;

/// What the Leases of one installation are called.
#[derive(Clone, Debug)]
pub struct Names {
    /// Whose holder leads.
    pub leader: Arc<str>,
    /// That carries the marks.
    pub marks: Arc<str>,
    routers: String,
}

impl Names {
    /// The names for this instance.
    pub fn of(instance: &str) -> Self {
        Self {
            leader: format!("{instance}-leader").into(),
            marks: format!("{instance}-drains").into(),
            routers: format!("{instance}-router-"),
        }
    }

    /// The Lease of a router.
    pub fn router(&self, identity: &str) -> Arc<str> {
        format!("{}{identity}", self.routers).into()
    }

    /// Whose Lease this is, if it is a router's.
    pub fn identity<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.routers)
    }
}

/// A Lease as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: Arc<str>,
    /// Its resourceVersion: greater is later, over all Leases.
    pub version: u64,
    /// What it says.
    pub content: Content,
}

/// What a Lease says. When it was renewed is for people alone: clocks of two machines are never compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Who holds it; `None`: it is free.
    pub holder: Option<String>,
    /// How long it is good for after a renewal.
    pub duration: Duration,
    /// Our annotation.
    pub note: Option<String>,
}

/// What one router says of the services that are awake there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Wanted or used there. A service that is in neither set is not awake there.
    pub busy: BTreeSet<ServiceKey>,
    /// Nobody wants it there, and nobody has used it for `idleAfter`.
    pub idle: BTreeSet<ServiceKey>,
    /// Closed there for this mark: nothing is in flight, and nothing will be before the mark is gone.
    pub closed: BTreeMap<ServiceKey, Token>,
}

/// Services that are being switched off.
pub type Marks = BTreeMap<ServiceKey, Mark>;

/// That a service is being switched off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Which switching off this is.
    #[serde(rename = "t")]
    pub token: Token,
    /// How far it is.
    #[serde(rename = "p")]
    pub phase: Phase,
    /// An operator's: what is in flight has its drain timeout, and demand waits for the end of it.
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
}

/// How far the switching off of a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Every router is asked to close it; demand takes the mark away.
    Draining,
    /// Every router has closed it: it is scaled to nothing, whatever comes.
    Committed,
    /// It has been. Kept for a while, so that a router that has closed its replicas knows that they are gone.
    Off,
}

/// As it is written.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct WrittenReport {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    busy: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    idle: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    closed: BTreeMap<String, Token>,
}

impl Report {
    /// For the annotation.
    pub fn write(&self) -> String {
        let names = |keys: &BTreeSet<ServiceKey>| keys.iter().map(ServiceKey::to_string).collect();
        let closed = self.closed.iter().map(|(key, token)| (key.to_string(), *token)).collect();
        let written = WrittenReport { busy: names(&self.busy), idle: names(&self.idle), closed };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// From the annotation. One that cannot be read says nothing: that router has closed nothing.
    pub fn read(note: Option<&str>) -> Self {
        let written: WrittenReport = note.and_then(|n| serde_json::from_str(n).ok()).unwrap_or_default();
        let keys = |names: Vec<String>| names.iter().filter_map(|n| key(n)).collect();
        Self {
            busy: keys(written.busy),
            idle: keys(written.idle),
            closed: written.closed.iter().filter_map(|(name, token)| Some((key(name)?, *token))).collect(),
        }
    }
}

/// For the annotation.
pub fn write_marks(marks: &Marks) -> String {
    let named: BTreeMap<String, &Mark> = marks.iter().map(|(key, mark)| (key.to_string(), mark)).collect();
    serde_json::to_string(&named).unwrap_or_default()
}

/// From the annotation. What cannot be read is no mark.
pub fn read_marks(note: Option<&str>) -> Marks {
    let named: BTreeMap<String, Mark> = note.and_then(|n| serde_json::from_str(n).ok()).unwrap_or_default();
    named.into_iter().filter_map(|(name, mark)| Some((key(&name)?, mark))).collect()
}

fn key(name: &str) -> Option<ServiceKey> {
    name.split_once('/').map(|(landscape, service)| ServiceKey::new(landscape, service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let (a, b) = (ServiceKey::new("4711", "web"), ServiceKey::new("4711", "db"));
        let report =
            Report { busy: [a.clone()].into(), idle: [b.clone()].into(), closed: [(b.clone(), u64::MAX)].into() };
        assert_eq!(Report::read(Some(&report.write())), report);
        assert_eq!(Report::default().write(), "{}");
        let marks: Marks = [
            (a, Mark { token: 1, phase: Phase::Draining, force: true }),
            (b, Mark { token: u64::MAX, phase: Phase::Off, force: false }),
        ]
        .into();
        assert_eq!(read_marks(Some(&write_marks(&marks))), marks);
        assert!(write_marks(&marks).contains(r#""4711/web":{"t":1,"p":"draining","f":true}"#));
    }

    #[test]
    fn what_somebody_else_wrote_there_says_nothing() {
        assert_eq!(Report::read(Some("yes")), Report::default());
        assert_eq!(read_marks(Some("[]")), Marks::default());
        assert_eq!(read_marks(None), Marks::default());
    }

    #[test]
    fn a_router_is_known_by_the_name_of_its_lease() {
        let names = Names::of("landscape-router");
        assert_eq!(names.identity(&names.router("a-1")), Some("a-1"));
        assert_eq!(names.identity(&names.leader), None);
        assert_eq!(names.identity(&names.marks), None);
    }
}
