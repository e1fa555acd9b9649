//! What goes into the machine and what comes out of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Addresses, Failure, Found, Progress, ReplicaId, Seen, Want};
use crate::config::settings::Policy;
use crate::landscape::ServiceSpec;
use crate::lifecycle::consent::{Order, Word};
use crate::lifecycle::events::What;
use crate::lifecycle::service::Refusal;

/// What requests are doing, read by the actor just before each event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Leases on any replica of the service.
    pub in_flight: u64,
    /// Requests that wait in the gate.
    pub held: usize,
    /// The end of the last use.
    pub last_use: Option<Instant>,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time has passed: see [`super::Machine::next_deadline`].
    Tick,
    /// A request waits in the gate.
    Demand,
    /// A service that was awake for others' sake alone is used itself.
    Used,
    /// A backend saw something.
    Seen(Seen),
    /// A starting or suspect replica passed its probe, at these addresses.
    ProbePassed(ReplicaId, Addresses),
    /// Why the probe has not passed yet, for the message at the deadline.
    ProbeProblem(ReplicaId, String),
    /// Somebody else listens at its address.
    ProbeTaken(ReplicaId, String),
    /// A ready replica was probed.
    Checked {
        /// Which.
        id: ReplicaId,
        /// Why it failed, if it did.
        result: Result<(), String>,
        /// It has answered a request since it was probed last.
        answered: bool,
    },
    /// A request could not connect.
    Suspect(ReplicaId),
    /// A retired replica has nothing in flight any more.
    Drained(ReplicaId),
    /// The answer to [`Effect::CloseIfIdle`]: whether every replica is closed now.
    Closed(bool),
    /// The answer to [`Effect::Prepare`].
    Prepared(Result<(), Failure>),
    /// How far the preparation is.
    PrepareProgress(Progress),
    /// The last lines of a replica that failed without telling them itself.
    LogTail(Vec<String>),
    /// What an earlier router left of this service. At most once, before anything else.
    Adopted(Vec<Found>),
    /// Whether the service is wanted for others' sake.
    Derived {
        /// A routed service of its landscape is awake, and it is woken by that.
        landscape: bool,
        /// Services that depend on it and are awake.
        needed_by: Vec<Arc<str>>,
    },
    /// What all routers that share the service have come to.
    Ordered(Order),
    /// The configuration has changed.
    Configured(Config),
    /// Off now; the next request wakes it.
    Sleep,
    /// On now; it sleeps again when nobody uses it.
    Wake,
    /// Every replica is replaced.
    Restart,
    /// Awake until [`Event::Unpin`].
    Pin,
    /// See [`Event::Pin`].
    Unpin,
    /// Frozen replicas are ended: their memory is needed.
    StopPaused,
    /// The service left the configuration.
    Remove,
    /// The router ends; `stop`: the replicas too.
    Shutdown {
        /// Whether replicas end with the router, or are left for the next one.
        stop: bool,
    },
}

/// The part of the configuration that concerns one service.
#[derive(Clone, Debug)]
pub struct Config {
    /// What runs.
    pub spec: Arc<ServiceSpec>,
    /// How.
    pub policy: Arc<Policy>,
    /// Why it cannot run here, if so.
    pub runnable: Result<(), String>,
    /// Whether there is nothing to prepare, or it has been done for these steps.
    pub prepared: bool,
}

/// Something to do. Effects are carried out in their order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// For the backend.
    Apply(Want),
    /// The replicas that requests may use, in ordinal order. Closed ones among them are opened anew,
    /// and held requests get their leases.
    Publish(Vec<(ReplicaId, Addresses)>),
    /// Close all of these, if none has anything in flight; [`Event::Closed`] tells.
    CloseIfIdle(Vec<ReplicaId>),
    /// Close it whatever is in flight; [`Event::Drained`] tells when that has ended.
    Retire(ReplicaId),
    /// It is gone: forget its handles.
    Forget(ReplicaId),
    /// Probe it until it passes.
    Probe {
        /// Which.
        id: ReplicaId,
        /// Where.
        addresses: Addresses,
        /// What it runs.
        spec: Arc<ServiceSpec>,
    },
    /// Probe it now and then from now on.
    Watch {
        /// Which.
        id: ReplicaId,
        /// Where.
        addresses: Addresses,
        /// What it runs.
        spec: Arc<ServiceSpec>,
    },
    /// Stop probing it.
    Unprobe(ReplicaId),
    /// Run the landscape's preparation, unless it has been run; [`Event::Prepared`] tells.
    Prepare,
    /// Answer every request that is held now.
    Refuse(Refusal),
    /// Answer every request that is held or comes, until opened again by `None`.
    Shut(Option<Refusal>),
    /// Give held requests another look at what is ready.
    Release,
    /// Tell the landscape whether this service is awake for its own sake.
    Awake(bool),
    /// Tell the landscape whether anything of this service runs or is about to, be it on its way out.
    Up(bool),
    /// Raise [`Event::Used`] at the next use.
    WatchUse,
    /// The bounds of its gate have changed.
    Bounds(Arc<Policy>),
    /// A start from nothing ended well.
    ColdStart {
        /// From the demand to a running replica.
        start: Duration,
        /// From there to the passed probe.
        probe: Duration,
    },
    /// A start from nothing failed, or was called off.
    ColdStartEnded {
        /// Whether it failed.
        failed: bool,
    },
    /// For the other routers that share the service.
    Say(Word),
    /// Something to tell.
    Tell(What),
    /// It has failed just now; [`What::Failed`] follows when all is known.
    Failing,
    /// Ask the backend for the last lines of output; [`Event::LogTail`] tells.
    FetchLogTail,
    /// It is over: the actor may end.
    Done,
}
