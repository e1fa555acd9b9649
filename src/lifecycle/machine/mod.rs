//! When a service runs: a state machine without IO and without a clock.
//!
//! [`Machine::on`] takes an event, the time and what requests are doing, and gives effects, to be
//! carried out in their order by the one actor of the service. An event changes what is known
//! ([`observe`], [`command`], [`adopt`]); then [`settle`] takes the state as far as what is known
//! allows, and at the end tells the differences: another set of wanted replicas, another rotation.
//! So a transition is written once, however one gets there.

mod adopt;
mod backoff;
#[cfg(test)]
mod chaos;
mod command;
mod event;
mod freeze;
mod observe;
mod rep;
mod rest;
mod roll;
mod scale;
#[cfg(test)]
mod scale_tests;
mod settle;
mod share;
#[cfg(test)]
mod share_tests;
#[cfg(test)]
mod tests;
mod view;
#[cfg(test)]
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use event::{Config, Effect, Event, Facts};

use crate::backend::{Abilities, Failure, Goal, Progress, ReplicaId};
use crate::config::settings::{Mode, Policy};
use crate::landscape::{RunDigest, ServiceKey, ServiceSpec};
use crate::lifecycle::events::{Cause, What};
use crate::lifecycle::status::StateName;
use backoff::Backoff;
use rep::{Rep, Slot};

/// Given to a stop on top of its grace before it counts as failed.
const STOP_MARGIN: Duration = Duration::from_secs(10);
/// How long a resume may take before the replica is replaced.
const RESUME: Duration = Duration::from_secs(10);
/// How long a preparation of the replica (an image pull) may take in all.
const PULL: Duration = Duration::from_secs(30 * 60);
/// How long a replica that stopped accepting connections may take to come back.
const SUSPECT: Duration = Duration::from_secs(60);
/// While requests are in flight at the idle deadline, they are looked at again after so long at the
/// latest.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the service as a whole is doing.
#[derive(Clone, Debug)]
enum State {
    /// Nothing runs; replicas may be frozen.
    Off,
    /// The landscape's preparation runs.
    Preparing,
    /// Replicas are started; none is ready.
    Starting,
    /// At least one replica is in rotation.
    Ready,
    /// Out of rotation; `until` the last requests have ended.
    Draining { why: Drain, until: Instant },
    /// Every replica is being stopped or frozen.
    Stopping,
    /// The last start failed; the next one is tried at `until`, if the service is wanted then.
    Failed { until: Instant },
    /// Removed, or the router ends: nothing happens any more.
    Gone,
}

/// Why a service drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// Nobody used it. Replicas are closed only if nothing is in flight.
    Idle,
    /// The same at every router that shares it, or an operator's command at one of them.
    Shared,
    /// An operator's command.
    Sleep,
    /// Somebody else ended its replicas.
    Outside,
    /// It cannot run here any more.
    NotRunnable,
    /// See [`Ending`].
    Ending,
}

/// The service will not be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Removed,
    /// The router ends, and the replicas with it.
    Stop,
    /// The router ends and leaves the replicas to the next one.
    Leave,
}

/// Who woke it, when it was neither a request nor another service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waker {
    /// An operator's command.
    Operator,
    /// Somebody who set the number of its replicas where it runs.
    Outside,
}

/// A start from nothing, for its metrics.
#[derive(Clone, Copy, Debug)]
struct ColdStart {
    since: Instant,
}

/// See the module's words.
#[derive(Debug)]
pub struct Machine {
    key: ServiceKey,
    spec: Arc<ServiceSpec>,
    digest: RunDigest,
    policy: Arc<Policy>,
    abilities: Abilities,
    runnable: Result<(), String>,

    state: State,
    since: Instant,
    /// Ordinals from 0 to as many as there should be.
    slots: Vec<Slot>,
    /// Where other routers have the same replicas.
    share: Option<share::Share>,
    /// How many replicas somebody else wants, where the specification says otherwise.
    scaled: Option<u32>,
    /// Replicas on their way out: replaced, surplus, failed.
    leaving: Vec<Rep>,
    next_generation: u64,
    /// New and old cannot listen at the same time: stop first.
    stop_first: bool,
    ending: Option<Ending>,

    // Why it is wanted.
    demand: bool,
    woken: Option<Waker>,
    pinned: bool,
    /// An operator sent it to sleep, or somebody ended its replicas: only a new reason wakes it.
    slept: bool,
    landscape: bool,
    needed_by: Vec<Arc<str>>,
    cause: Cause,

    /// Idleness counts from here, if the last use was earlier.
    idle_base: Option<Instant>,
    /// The next look at idleness.
    look_at: Option<Instant>,
    /// Since when its replicas are frozen.
    paused_at: Option<Instant>,

    prepared: bool,
    /// An [`Effect::Prepare`] is not answered yet.
    preparing: bool,
    prepare_backoff: Backoff,
    prepare_at: Option<Instant>,

    cold: Option<ColdStart>,
    /// A usage record of a start is open.
    counted: Option<u32>,
    last_failure: Option<Failure>,
    /// Replicas of whose failures more is going to be told.
    unexplained: Vec<ReplicaId>,
    progress: Option<Progress>,
    engine_lost: Option<String>,

    // What was told last, to tell only differences.
    awake: bool,
    /// As last told to the landscape.
    up: bool,
    watching_use: bool,
    applied: Vec<(ReplicaId, Goal)>,
    applied_number: u32,
    apply_again: bool,
    kill: bool,
    published: Vec<(ReplicaId, crate::backend::Addresses)>,
    publish_again: bool,
    retire: Vec<ReplicaId>,
    closing: bool,
    effects: Vec<Effect>,
}

impl Machine {
    /// A service that is off. `generation` is the first one it uses: greater than any used before,
    /// for which the wall clock's microseconds do; [`Event::Adopted`] corrects a clock that went back.
    pub fn new(config: Config, abilities: Abilities, generation: u64, now: Instant) -> Self {
        let digest = config.spec.run_digest();
        let mut machine = Self {
            key: config.spec.key.clone(),
            spec: config.spec,
            digest,
            policy: config.policy,
            abilities,
            runnable: config.runnable,
            state: State::Off,
            since: now,
            slots: Vec::new(),
            share: None,
            scaled: None,
            leaving: Vec::new(),
            next_generation: generation,
            stop_first: false,
            ending: None,
            demand: false,
            woken: None,
            pinned: false,
            slept: false,
            landscape: false,
            needed_by: Vec::new(),
            cause: Cause::Config,
            idle_base: None,
            look_at: None,
            paused_at: None,
            prepared: config.prepared,
            preparing: false,
            prepare_backoff: Backoff::default(),
            prepare_at: None,
            cold: None,
            counted: None,
            last_failure: None,
            unexplained: Vec::new(),
            progress: None,
            engine_lost: None,
            awake: false,
            up: false,
            watching_use: false,
            applied: Vec::new(),
            applied_number: 0,
            apply_again: false,
            kill: false,
            published: Vec::new(),
            publish_again: false,
            retire: Vec::new(),
            closing: false,
            effects: Vec::new(),
        };
        machine.fit_slots(now);
        machine.effects.push(Effect::Bounds(machine.policy.clone()));
        if machine.runnable.is_err() {
            machine.shut(crate::lifecycle::service::Refusal::NotRunnable);
        }
        machine
    }

    /// Takes an event and tells what is to be done about it.
    pub fn on(&mut self, event: Event, now: Instant, facts: &Facts) -> Vec<Effect> {
        if matches!(self.state, State::Gone) {
            return Vec::new();
        }
        self.note(event, now, facts);
        self.settle(now, facts);
        std::mem::take(&mut self.effects)
    }

    fn note(&mut self, event: Event, now: Instant, facts: &Facts) {
        match event {
            // What is due is found by looking at the time, in `settle`.
            Event::Tick => {}
            Event::Used => self.watching_use = false,
            Event::Demand => self.demanded(now),
            Event::Seen(seen) => self.seen(seen, now, facts),
            Event::ProbePassed(id, addresses) => self.probe_passed(id, addresses, now),
            Event::ProbeProblem(id, problem) => self.probe_problem(id, problem),
            Event::ProbeTaken(id, holder) => self.probe_taken(id, &holder, now),
            Event::Checked { id, result, answered } => self.checked(id, result, answered, now),
            Event::Suspect(id) => self.suspect(id, now),
            Event::Drained(id) => self.drained(id, now),
            Event::Closed(all) => self.closed(all, now, facts),
            Event::Prepared(result) => self.preparation_ended(result, now),
            Event::PrepareProgress(progress) => self.tell_progress(progress),
            Event::LogTail(lines) => {
                if let Some(failure) = self.last_failure.as_mut().filter(|f| f.log_tail.is_empty()) {
                    failure.log_tail = lines;
                }
            }
            Event::Adopted(found) => self.adopt(found, now),
            Event::Derived { landscape, needed_by } => self.derived(landscape, needed_by),
            Event::Configured(config) => self.configure(config, now),
            Event::Ordered(order) => self.ordered(order, now, facts),
            Event::Sleep => self.sleep(now),
            Event::Wake => self.wake(now),
            Event::Restart => self.restart(now),
            Event::Pin => self.pin(true, now),
            Event::Unpin => self.pin(false, now),
            Event::StopPaused => self.stop_paused(now),
            Event::Remove => self.end(Ending::Removed, now),
            Event::Shutdown { stop } => self.end(if stop { Ending::Stop } else { Ending::Leave }, now),
        }
    }

    /// Whether an operator pinned it.
    pub fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Whether it was sent to sleep, and nothing has woken it since.
    pub fn is_asleep(&self) -> bool {
        self.slept
    }

    /// Wanted for a reason that does not pass by itself.
    fn wanted_anyway(&self) -> bool {
        let derived = self.landscape || !self.needed_by.is_empty();
        self.pinned || (!self.slept && (self.policy.mode == Mode::AlwaysOn || derived))
    }

    /// Whether it should be awake. See "The life of a service".
    fn wanted(&self) -> bool {
        self.runnable.is_ok() && self.ending.is_none() && (self.demand || self.woken.is_some() || self.wanted_anyway())
    }

    fn go(&mut self, state: State, now: Instant) {
        let (from, to) = (self.state.name(), state.name());
        self.state = state;
        if from != to {
            self.since = now;
            self.tell(What::State { from, to });
        }
    }

    fn tell(&mut self, what: What) {
        self.effects.push(Effect::Tell(what));
    }

    fn tell_progress(&mut self, progress: Progress) {
        self.progress = Some(progress.clone());
        self.tell(What::Progress { progress });
    }

    fn tell_replica(&mut self, id: ReplicaId, text: impl Into<String>) {
        self.tell(What::Replica { ordinal: id.ordinal, generation: id.generation, text: text.into() });
    }

    fn note_failure(&mut self, failure: Failure) {
        self.tell(What::Failed { failure: failure.clone() });
        if failure.log_tail.is_empty() {
            self.effects.push(Effect::FetchLogTail);
        }
        self.last_failure = Some(failure);
    }

    fn shut(&mut self, refusal: crate::lifecycle::service::Refusal) {
        self.effects.push(Effect::Shut(Some(refusal)));
    }

    fn mode_name(&self) -> &'static str {
        match self.policy.mode {
            Mode::OffWhenUnused => "off-when-unused",
            Mode::AlwaysOn => "always-on",
        }
    }

    fn all_reps(&self) -> impl Iterator<Item = &Rep> {
        self.slots.iter().flat_map(Slot::reps).chain(&self.leaving)
    }

    fn is_paused(&self) -> bool {
        self.slots.iter().flat_map(Slot::reps).any(|r| matches!(r.phase, rep::Phase::Paused))
    }
}

impl State {
    fn name(&self) -> StateName {
        match self {
            Self::Off | Self::Gone => StateName::Off,
            Self::Preparing => StateName::Preparing,
            Self::Starting => StateName::Starting,
            Self::Ready => StateName::Ready,
            Self::Draining { .. } => StateName::Draining,
            Self::Stopping => StateName::Stopping,
            Self::Failed { .. } => StateName::Failed,
        }
    }
}
