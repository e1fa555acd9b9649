//! The rules of one service, without IO and without a clock.
//!
//! [`Core::on`] takes what happened - another wish, another view of the cluster, an answer to a write -
//! and gives effects, to be carried out in their order. An event changes what is known; then one pass from
//! the world to the wish tells what was lost, gives pods to replicas, and decides on the next write. At
//! most one write to the workload is under way at a time.
//!
//! * A replica is a pod, and which pod is remembered here, and written onto the pod for the next router.
//! * The count of the workload follows the *edges* of what is wanted. A count that somebody else has set is
//!   told as [`Seen::Scaled`] and left alone: the life cycle follows it, or wants something else.
//! * While two specifications are wanted, old pods are held beside new ones ([`Workload::holds`]).
//! * A pod that has been told to go is the cluster's to end. It is waited for while it has time to end in, and
//!   no longer: of a node that is lost or slow nobody knows when it will tell.
//! * Pods tell addresses, readiness and their end first hand. EndpointSlices are made of the same, a hop
//!   later: they are not watched.
//!
//! | file | concept |
//! |---|---|
//! | `view` | what is seen |
//! | `wish` | what is wanted, and of whom to part |
//! | `count` | whose count holds |
//! | `pods` | which pod is which replica, and what becomes of it |
//! | `write` | the next write |
//! | `found` | what an earlier router left |

mod count;
mod found;
mod pods;
#[cfg(test)]
mod tests;
mod view;
mod wish;
#[cfg(test)]
mod world;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{Addresses, Failure, ReplicaId, Seen, Want};
use crate::landscape::{RunDigest, ServiceSpec};

pub use view::{Pod, PodState, Template, Version, Workload};

/// What the configuration says of a service.
#[derive(Clone, Debug)]
pub struct Declared {
    pub spec: Arc<ServiceSpec>,
    /// Of its pod template; `None` for one that is not ours, or cannot run.
    pub template: Option<Template>,
}

/// Something happened.
#[expect(clippy::large_enum_variant, reason = "it is passed on once")]
#[derive(Clone, Debug)]
pub enum Event {
    /// The configuration says so; `None`: it lists the service, and cannot say what it is.
    Declared(Option<Declared>),
    /// The service has left the configuration.
    Left,
    /// There is no other router that uses it.
    Alone,
    /// The life cycle wants so.
    Want(Want),
    /// The workload was looked at.
    Workload(Workload),
    /// The workload is not there, as of this version of the cluster.
    NoWorkload(Version),
    /// All pods of the service.
    Pods(Vec<Pod>),
    /// One pod has changed.
    Pod(Pod),
    /// One pod is gone.
    PodGone(String),
    /// A [`Effect::Scale`] was done: this is the count now, at this version.
    Scaled(u32, Version),
    /// An [`Effect::Apply`] was done.
    Applied(Workload),
    /// An [`Effect::Remove`] was done.
    Removed,
    /// A write was not done.
    Failed(Problem),
    /// A pod was not deleted.
    NotDeleted(String),
    /// A pod was told to go a good while ago, and is still there: see [`Core::going`].
    Late(String),
    /// A [`Seen::Scaled`] was told a good while ago: see [`Core::waits_for_answer`].
    Overdue,
    /// What failed may be tried again.
    Retry,
    /// The cluster is away for too long to wait for it.
    Unreachable(Failure),
    /// All that was told may be stale, and is told again.
    Again,
    /// The cluster's own events say that a replica will not start: why.
    Stuck(ReplicaId, Failure),
}

/// Why a write was not done.
#[derive(Clone, Debug)]
pub enum Problem {
    /// No answer, or one that says to come back: it may or may not have been done.
    Away,
    /// The workload is not there.
    Missing,
    /// The cluster says no.
    Refused(Failure),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("the API server gave no answer, or one that says to try again"),
            Self::Missing => f.write_str("it is not there"),
            Self::Refused(failure) => f.write_str(&failure.detail),
        }
    }
}

/// Something to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make the workload be so. `known`: it is there, and ours.
    Apply { spec: Arc<ServiceSpec>, count: u32, holds: bool, known: bool },
    /// Set the count. `first`: pods that should go rather than others.
    Scale { count: u32, first: Vec<String> },
    /// Delete everything of the service.
    Remove,
    /// Delete a pod; `now`: without its usual grace.
    Delete { pod: String, now: bool },
    /// Write onto a pod which replica it is.
    Mark { pod: String, id: ReplicaId },
    /// Tell.
    See(Seen),
    /// Tell of an end, with the last lines of the pod's output. `previous`: of the container before the one
    /// that is there now.
    Explain { id: ReplicaId, pod: String, failure: Failure, previous: bool },
}

/// A replica that is wanted.
#[derive(Clone, Debug)]
struct Replica {
    /// `None`: it was found, and nothing was said of it yet.
    spec: Option<Arc<ServiceSpec>>,
    /// `None` for one that is not ours and was found.
    digest: Option<RunDigest>,
    pod: Option<String>,
    /// How often its pod's application had ended before it was this replica.
    ends: u32,
    /// Where it was told to be before its application ran: it may answer sooner than that is known.
    early: Option<Addresses>,
    /// Where it was told to run.
    told: Option<Addresses>,
    /// Its Ready condition was true, and what was told of it.
    ready: Option<bool>,
    /// Its end was told: it is nothing any more but listed.
    ended: bool,
}

/// A replica that is not wanted any more, and its pod.
#[derive(Clone, Debug)]
struct Leaving {
    /// `None`: one may have been on its way.
    pod: Option<String>,
    digest: Option<RunDigest>,
}

/// What is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Nothing,
    /// A write that makes the count be so.
    Count(u32),
    Removal,
}

/// See [`Core::said`].
#[derive(Debug, Default)]
struct Said {
    runs: Option<(RunDigest, bool)>,
    template: Option<Template>,
}

/// See the module's words.
#[derive(Debug)]
pub struct Core {
    /// The workload is not ours.
    attached: bool,
    /// What this router last made the workload be, or found it to be. Another one that has another
    /// configuration, newer or older, is not answered by writing this one's again and again.
    said: Said,
    /// Other routers use the same pods: the count is never lowered for what is wanted here alone.
    shared: bool,
    /// What people call the workload that is not ours.
    called: String,
    declared: Option<Declared>,
    left: bool,
    /// `None` before the first look.
    workload: Option<Option<Workload>>,
    /// `None` before the first look.
    pods: Option<BTreeMap<String, Pod>>,
    /// What came before the first look was complete.
    early: Vec<Event>,

    ids: BTreeMap<ReplicaId, Replica>,
    leaving: BTreeMap<ReplicaId, Leaving>,
    /// Ordinals whose replica has failed, and is started again in a while.
    backing_off: BTreeSet<u32>,
    /// How many there are to be, by the last wish.
    number: u32,
    /// Pods that were asked to go one by one.
    doomed: BTreeSet<String>,
    /// Pods that take longer to end than they have for it: the cluster sees to them.
    late: BTreeSet<String>,
    grace: Duration,

    /// Views of the workload that are older than this say nothing of the count.
    floor: Version,
    /// Of the last view of the workload that was no answer to a write.
    viewed: Version,
    /// The count in the cluster, as last written or seen.
    known: Option<u32>,
    /// The count of the last wish.
    asked: Option<u32>,
    /// The count to write.
    target: Option<u32>,
    /// This count was told to be somebody else's, and is not wanted yet.
    unanswered: Option<u32>,
    /// A write of this count got no answer: it may have been done.
    attempted: Option<u32>,
    /// All that the service has was removed, and nothing has been written since.
    removed: bool,
    /// The count has been made smaller or the template another one, and not all that is wanted is ready yet.
    shrunk: bool,
    /// Attached: the count before it was switched off.
    before: Option<u32>,

    writing: Writing,
    /// The last write got no answer: nothing is written before [`Event::Retry`].
    held: bool,
    refused: Option<Failure>,
    effects: Vec<Effect>,
}

impl Core {
    /// A service of which nothing is known. `attached`: its workload is not ours.
    pub fn new(attached: bool) -> Self {
        Self {
            attached,
            said: Said::default(),
            shared: false,
            called: String::new(),
            declared: None,
            left: false,
            workload: None,
            pods: None,
            early: Vec::new(),
            ids: BTreeMap::new(),
            leaving: BTreeMap::new(),
            backing_off: BTreeSet::new(),
            number: 0,
            doomed: BTreeSet::new(),
            late: BTreeSet::new(),
            grace: Duration::from_secs(10),
            floor: Version::default(),
            viewed: Version::default(),
            known: None,
            asked: None,
            target: None,
            unanswered: None,
            attempted: None,
            removed: false,
            shrunk: false,
            before: None,
            writing: Writing::Nothing,
            held: false,
            refused: None,
            effects: Vec::new(),
        }
    }

    /// One that other routers use, too: it is not for this one to switch it off.
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// What people call the workload that is not ours: `the Deployment shop-api`.
    pub fn called(self, called: String) -> Self {
        Self { called, ..self }
    }

    /// Takes an event and tells what is to be done about it.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        if self.is_blind() && matches!(event, Event::Want(_)) {
            // Pods that are there already would be doubled.
            self.early.push(event);
            return Vec::new();
        }
        self.note(event);
        if !self.is_blind() {
            for event in std::mem::take(&mut self.early) {
                self.note(event);
            }
            self.settle();
        }
        std::mem::take(&mut self.effects)
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Declared(declared) => {
                self.left = false;
                self.declared = declared;
            }
            Event::Left => (self.declared, self.left) = (None, true),
            Event::Alone => self.shared = false,
            Event::Want(want) => self.want(want),
            Event::Workload(seen) => self.see_workload(seen),
            Event::NoWorkload(version) => self.see_none(version),
            Event::Pods(all) => self.pods = Some(all.into_iter().map(|p| (p.name.clone(), p)).collect()),
            Event::Pod(pod) => {
                self.pods.get_or_insert_default().insert(pod.name.clone(), pod);
            }
            Event::PodGone(name) => {
                self.pods.get_or_insert_default().remove(&name);
            }
            Event::Scaled(count, version) => self.scaled(count, version),
            Event::Applied(workload) => self.applied(workload),
            Event::Removed => {
                (self.writing, self.removed) = (Writing::Nothing, true);
                self.see_none(self.floor);
            }
            Event::Failed(problem) => self.failed(problem),
            Event::NotDeleted(pod) => {
                self.doomed.remove(&pod);
            }
            Event::Late(pod) => {
                if self.pod(&pod).is_some_and(|p| p.terminating) {
                    self.late.insert(pod);
                }
            }
            Event::Overdue => self.overdue(),
            Event::Retry => {
                self.held = false;
                self.refused = None;
            }
            Event::Unreachable(failure) => self.end_homeless(&failure),
            Event::Again => self.again(),
            Event::Stuck(id, failure) => {
                if self.ids.get(&id).is_some_and(|r| r.told.is_none() && !r.ended) {
                    self.end(id, failure, None);
                }
            }
        }
    }

    fn settle(&mut self) {
        if self.writing == Writing::Nothing && self.attempted.is_none() && self.target == self.known {
            self.target = None;
        }
        self.lose();
        self.part();
        self.give_pods();
        // What was given away just now is looked at, too.
        self.lose();
        self.tell();
        self.tell_hopeless();
        self.write();
        self.shrunk &= !self.is_settled();
    }

    /// Whether all that is wanted is ready, and nothing is on its way.
    fn is_settled(&self) -> bool {
        let ready = |r: &Replica| r.pod.as_deref().and_then(|name| self.pod(name)).is_some_and(|p| p.ready && p.ranked);
        self.none_comes() && self.leaving.is_empty() && !self.ids.is_empty() && self.ids.values().all(ready)
    }

    /// Whether the first look at the cluster is not complete.
    fn is_blind(&self) -> bool {
        self.workload.is_none() || self.pods.is_none()
    }

    fn there(&self) -> Option<&Workload> {
        self.workload.as_ref().and_then(Option::as_ref)
    }

    /// What the workload makes pods of.
    fn made(&self) -> Option<&RunDigest> {
        self.there()?.template.as_ref().map(|template| &template.digest)
    }

    fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.as_ref()?.get(name)
    }

    fn all_pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter().flat_map(BTreeMap::values)
    }

    fn see(&mut self, seen: Seen) {
        self.effects.push(Effect::See(seen));
    }

    /// Replicas that a node takes its time with: which pod each of them waits for.
    pub fn waiting(&self) -> Vec<(ReplicaId, String)> {
        let waits = |r: &Replica| {
            let pod = self.pod(r.pod.as_deref()?)?;
            (!r.ended && pod.state == PodState::Starting).then(|| pod.name.clone())
        };
        self.ids.iter().filter_map(|(id, r)| Some((*id, waits(r)?))).collect()
    }

    /// Pods that were told to go, and are waited for.
    pub fn going(&self) -> impl Iterator<Item = &str> {
        let waited_for = self.leaving.values().filter_map(|l| l.pod.as_deref());
        waited_for.filter(|name| self.pod(name).is_some_and(|p| p.terminating && !p.over))
    }

    /// Whether a replica that is wanted has no pod.
    pub fn is_starved(&self) -> bool {
        !self.early.is_empty() || self.ids.values().any(|r| r.pod.is_none() && !r.ended)
    }

    /// Whether the life cycle was told of a count, and has not followed. It may be busy; or have decided
    /// something else before it heard.
    pub fn waits_for_answer(&self) -> bool {
        self.unanswered.is_some()
    }

    /// The pods of replicas that run or ran last, for their output.
    pub fn sources(&self) -> Vec<(ReplicaId, String)> {
        self.ids.iter().filter_map(|(id, r)| Some((*id, r.pod.clone()?))).collect()
    }

    /// Whether nothing of the service is left here to look after.
    pub fn is_done(&self) -> bool {
        let removed = self.there().is_none() && self.removed;
        self.left && self.is_gone() && self.writing == Writing::Nothing && (self.attached || removed)
    }

    /// Whether every replica that was told to go is gone.
    pub fn is_gone(&self) -> bool {
        self.ids.is_empty() && self.leaving.is_empty()
    }
}
