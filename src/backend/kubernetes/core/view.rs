//! What the cluster shows of a service, as far as the rules need it.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::backend::{Failure, ReplicaId};
use crate::landscape::RunDigest;

/// An object's `resourceVersion`, by which of two views of it the newer one is told. Kubernetes promises
/// that they can be compared as numbers (KEP-5504; etcd's revisions always could).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub(super) u128);

impl Version {
    /// Of an object's metadata. What is no number is older than everything: no view is refused for it.
    pub fn of(text: Option<&str>) -> Self {
        Self(text.and_then(|t| t.parse().ok()).unwrap_or_default())
    }

    /// One that is newer, if only just.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A Deployment or StatefulSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub version: Version,
    /// `spec.replicas`
    pub count: u32,
    /// What its newest pods run; `None` for one that is not ours.
    pub template: Option<Template>,
    /// Old pods stay beside new ones: it is being rolled.
    pub holds: bool,
    /// How many pods it has, where its controller has seen the count; and is not merely about to.
    pub made: Option<u32>,
    /// Why pods that it asks for are not made.
    pub refusal: Option<Failure>,
    /// Somebody other than this router was the last to set the count.
    pub foreign: bool,
}

/// A pod template of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Of the specification that it runs.
    pub digest: RunDigest,
    /// Of all of it, with what router.yaml adds.
    pub hash: String,
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: String,
    /// Of what it runs; `None` for one that is not ours.
    pub digest: Option<RunDigest>,
    /// Which replica an annotation says it is.
    pub replica: Option<ReplicaId>,
    pub created: SystemTime,
    pub ip: Option<IpAddr>,
    pub state: PodState,
    /// How often its application has ended so far.
    pub ends: u32,
    /// How it ended last.
    pub last_end: Option<Failure>,
    /// Since when the application runs, if it does.
    pub since: Option<SystemTime>,
    /// By its node's probes, and by its gates if it has any.
    pub ready: bool,
    /// The condition Ready: of more pods than there should be, the cluster ends those first that lack it.
    pub ranked: bool,
    /// It was told to go.
    pub terminating: bool,
    /// Nothing of it runs any more, and nothing will.
    pub over: bool,
    /// Why it was told to go, where the cluster says so: an eviction, a node's shutdown.
    pub cause: Option<Failure>,
}

/// What a pod's application is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum PodState {
    /// On its way.
    Starting,
    /// No node takes it: why.
    Unscheduled(Failure),
    /// It cannot start as things are, though the kubelet tries again: no image, a crash loop.
    Failing(Failure),
    Running,
    /// It ended; the kubelet starts it again.
    Exited(Failure),
    /// It ended for good: the pod is not used again.
    Finished(Failure),
}

impl Pod {
    /// Whether it is of use, now or soon.
    pub fn lives(&self) -> bool {
        !self.terminating && !self.over && !matches!(self.state, PodState::Finished(_))
    }

    /// Whether another pod in its place would do better.
    pub fn is_broken(&self) -> bool {
        matches!(self.state, PodState::Failing(_))
    }

    /// How much sooner it serves than another: smaller is better.
    pub fn rank(&self) -> (bool, bool, bool, SystemTime) {
        (self.is_broken(), !self.ready, self.state != PodState::Running, self.created)
    }
}
