//! The one actor of a service: it owns the machine, tells it what happens and carries out what it
//! says. Nothing else starts or stops anything.

mod first;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::consent::{Voice, Word};
use super::events::{LifeEvent, What};
use super::follower::Follower;
use super::handles::Handles;
use super::landscape::Landscape;
use super::ledger::Ledger;
use super::machine::{Config, Effect, Event, Facts, Machine};
use super::probes::Probes;
use super::service::{Refusal, Service};
use super::signals;
use super::status::{Snapshot, StateName};
use crate::backend::{Backend, LogQuery, ReplicaId};
use crate::moment::until;
use crate::observe::stats::{ColdStart, Phase};
use crate::probe::Prober;
pub(super) use first::First;

/// Held requests whose predecessors take long to answer get their turn after so long at the latest.
const PACE_WINDOW: Duration = Duration::from_secs(1);
/// How many lines of output go with a failure.
const LOG_TAIL: usize = 20;

/// What comes to an actor. The channel is unbounded because what fills it is bounded: a probe task a
/// replica, what backends see, operators.
#[derive(Debug)]
pub(super) enum Input {
    /// For the machine.
    Event(Event),
    /// A probe's result, of this round.
    Probe { id: ReplicaId, round: u64, event: Event },
    /// Another process owns the service's life from now on: nothing more is started or stopped here.
    HandOver(oneshot::Sender<Follower>),
    /// An operator's command; answered when the machine has taken it.
    Command { event: Event, reply: oneshot::Sender<Result<(), Declined>> },
}

/// Why a command does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Declined {
    /// It is pinned, and may not be put to sleep.
    Pinned,
}

/// What an actor is made of.
pub(super) struct Parts {
    pub service: Arc<Service>,
    pub config: Config,
    pub backend: Arc<dyn Backend>,
    pub prober: Arc<Prober>,
    /// Where the replicas are other routers', too.
    pub voice: Option<Voice>,
    pub landscape: Arc<Landscape>,
    pub ledger: Arc<Ledger>,
    pub events: broadcast::Sender<LifeEvent>,
    pub to_self: mpsc::UnboundedSender<Input>,
    pub inbox: mpsc::UnboundedReceiver<Input>,
    pub state: watch::Sender<StateName>,
    pub done: CancellationToken,
}

/// See the module's words.
pub(super) struct Actor {
    service: Arc<Service>,
    machine: Machine,
    backend: Arc<dyn Backend>,
    voice: Option<Voice>,
    landscape: Arc<Landscape>,
    ledger: Arc<Ledger>,
    events: broadcast::Sender<LifeEvent>,
    to_self: mpsc::UnboundedSender<Input>,
    inbox: mpsc::UnboundedReceiver<Input>,
    state: watch::Sender<StateName>,
    /// When the state was entered and the last failure happened, by the wall clock, for people.
    since: SystemTime,
    failed_at: Option<SystemTime>,
    handles: Handles,
    probes: Probes,
    pace_at: Option<Instant>,
    /// Why it is not known yet what an earlier router left.
    blind: Option<String>,
    done: CancellationToken,
    over: bool,
    /// Over because another process goes on with it.
    handed: bool,
}

impl Actor {
    pub fn new(parts: Parts) -> Self {
        let Parts { service, config, backend, prober, voice, landscape, ledger, events, to_self, inbox, state, done } =
            parts;
        // Greater than any generation of earlier routers, unless the clock went back: then what they
        // left is found, and counts.
        let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        let machine = Machine::new(config, backend.abilities(), micros as u64, Instant::now());
        let machine = if voice.is_some() { machine.shared() } else { machine };
        let probes = Probes::new(prober, backend.clone(), to_self.clone());
        Self {
            service,
            machine,
            backend,
            voice,
            landscape,
            ledger,
            events,
            to_self,
            inbox,
            state,
            since: SystemTime::now(),
            failed_at: None,
            handles: Handles::default(),
            probes,
            pace_at: None,
            blind: None,
            done,
            over: false,
            handed: false,
        }
    }

    /// Runs until the service is removed or the router ends. `first` is awaited before anything is
    /// done: what an earlier router left.
    pub async fn run(mut self, first: First) {
        self.show();
        self.begin(first).await;
        while !self.over {
            let deadline = self.deadline();
            tokio::select! {
                input = self.inbox.recv() => match input {
                    Some(input) => self.input(input),
                    None => return,
                },
                () = self.service.signals.raised() => self.signalled(),
                () = until(deadline) => self.tick(),
            }
        }
    }

    fn facts(&self) -> Facts {
        Facts { in_flight: self.service.in_flight(), held: self.service.held(), last_use: self.service.last_use() }
    }

    fn deadline(&mut self) -> Option<Instant> {
        let waiting = self.service.gated.load(Ordering::Relaxed) && self.service.is_ready();
        self.pace_at = waiting.then(|| self.pace_at.unwrap_or_else(|| Instant::now() + PACE_WINDOW));
        self.machine.next_deadline(&self.facts()).into_iter().chain(self.pace_at).min()
    }

    fn tick(&mut self) {
        if self.pace_at.is_some_and(|at| at <= Instant::now()) {
            self.pace_at = None;
            self.service.renew_pace();
        }
        self.take(Event::Tick);
    }

    fn input(&mut self, input: Input) {
        match input {
            // Its steps have changed in the moment they ended.
            Input::Event(Event::Prepared(Ok(()))) if !self.landscape.prepare.is_done() => self.prepare(),
            Input::Event(event) => self.take(event),
            Input::HandOver(reply) => {
                self.over = true;
                self.handed = true;
                // Who asked may have given up; then nobody owns it, and it is as after a crash.
                let handles = std::mem::take(&mut self.handles);
                drop(reply.send(Follower::new(self.service.clone(), handles, self.machine.is_asleep())));
            }
            Input::Probe { id, round, .. } if !self.probes.is_current(id, round) => {}
            Input::Probe { id, event, .. } => match event {
                Event::Checked { result, .. } => {
                    let answered = self.handles.take_answered(id);
                    self.take(Event::Checked { id, result, answered });
                }
                Event::ProbePassed(..) => {
                    self.handles.trust(id);
                    self.take(event);
                }
                event => self.take(event),
            },
            Input::Command { event: Event::Sleep, reply } if self.machine.is_pinned() => {
                drop(reply.send(Err(Declined::Pinned)));
            }
            Input::Command { event, reply } => {
                self.take(event);
                // Who asked may have left.
                drop(reply.send(Ok(())));
            }
        }
    }

    fn signalled(&mut self) {
        let flags = self.service.signals.take();
        if flags & signals::SUSPECT != 0 {
            for id in self.handles.suspects() {
                self.take(Event::Suspect(id));
            }
        }
        if flags & signals::DRAINED != 0 {
            self.tell_drained();
        }
        if flags & signals::USED != 0 {
            self.take(Event::Used);
        }
        if flags & signals::DEMAND != 0 {
            self.take(Event::Demand);
        }
    }

    fn tell_drained(&mut self) {
        if self.service.elsewhere() > 0 {
            return;
        }
        for id in self.handles.drained() {
            self.take(Event::Drained(id));
        }
    }

    /// Gives the machine an event, carries out the effects, and then those of the answers they give.
    fn take(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if let Event::Configured(config) = &event {
                self.landscape.join(&config.spec, &config.policy, &self.to_self);
            }
            let facts = self.facts();
            let effects = self.machine.on(event, Instant::now(), &facts);
            // Shown first: who is given a lease finds the state that gave it.
            for effect in &effects {
                match effect {
                    Effect::Tell(What::State { .. }) => self.since = SystemTime::now(),
                    Effect::Failing | Effect::Tell(What::Failed { .. }) => self.failed_at = Some(SystemTime::now()),
                    _ => {}
                }
            }
            self.show();
            for effect in effects {
                self.carry_out(effect, &mut events);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, answers: &mut VecDeque<Event>) {
        match effect {
            Effect::Apply(want) => self.backend.apply(want),
            Effect::Publish(rotation) => {
                let set = self.handles.rotation(rotation);
                // Known before it can be leased: what is in flight is never overlooked.
                self.service.set_everything(self.handles.everything());
                self.service.publish(set);
            }
            Effect::CloseIfIdle(ids) => answers.push_back(Event::Closed(self.handles.close_if_idle(&ids))),
            Effect::Retire(id) => {
                self.handles.retire(id);
                if self.service.elsewhere() == 0 {
                    answers.extend(self.handles.drained().into_iter().map(Event::Drained));
                }
            }
            Effect::Forget(id) => {
                self.handles.forget(id);
                self.service.set_everything(self.handles.everything());
            }
            Effect::Probe { id, addresses, spec } => self.probes.until_ready(id, addresses, spec),
            Effect::Watch { id, addresses, spec } => self.probes.watch(id, addresses, spec),
            Effect::Unprobe(id) => self.probes.end(id),
            Effect::Prepare => self.prepare(),
            Effect::Refuse(refusal) => self.service.refuse_held(&refusal),
            Effect::Shut(refusal) => self.service.shut(refusal),
            Effect::Release => self.service.release_held(),
            Effect::Awake(awake) => self.landscape.set_awake(&self.service.key().service, awake),
            Effect::Up(up) => self.landscape.set_up(&self.service.key().service, up),
            Effect::WatchUse => self.service.watch_use(),
            Effect::Bounds(policy) => self.service.hold.store(Arc::new(policy.hold.clone())),
            Effect::ColdStart { start, probe } => {
                let stats = &self.service.stats;
                stats.cold_start(ColdStart::Success);
                stats.cold_phase(Phase::Start, start);
                stats.cold_phase(Phase::Probe, probe);
                self.service.set_retry_after(start + probe);
            }
            Effect::ColdStartEnded { failed } => {
                self.service.stats.cold_start(if failed { ColdStart::Failed } else { ColdStart::Cancelled });
            }
            Effect::Say(word) => self.say(word),
            Effect::Tell(what) => self.tell(what),
            // Noted with the moment, before it was shown.
            Effect::Failing => {}
            Effect::FetchLogTail => self.fetch_log_tail(),
            Effect::Done => self.over = true,
        }
    }

    fn say(&self, word: Word) {
        if let Some(voice) = &self.voice {
            // A failed send: the router is ending.
            drop(voice.send((self.service.key().clone(), word)));
        }
    }

    fn prepare(&self) {
        let (landscape, backend, to) = (self.landscape.clone(), self.backend.clone(), self.to_self.clone());
        tokio::spawn(async move {
            let mut progress = landscape.prepare.progress();
            let run = landscape.prepare.run(&backend, false);
            tokio::pin!(run);
            // A failed send: the actor has ended. The preparation goes on for the others.
            let result = loop {
                tokio::select! {
                    result = &mut run => break result,
                    Ok(()) = progress.changed() => {
                        let now = progress.borrow_and_update().clone();
                        if let Some(progress) = now {
                            drop(to.send(Input::Event(Event::PrepareProgress(progress))));
                        }
                    }
                }
            };
            drop(to.send(Input::Event(Event::Prepared(result))));
        });
    }

    fn fetch_log_tail(&self) {
        let (backend, to, key) = (self.backend.clone(), self.to_self.clone(), self.service.key().clone());
        tokio::spawn(async move {
            let query = LogQuery { tail: LOG_TAIL, follow: false, replica: None };
            let read = async {
                let mut lines = backend.logs(&key, query).await.ok()?;
                let mut tail = Vec::new();
                while let Some(line) = lines.recv().await {
                    tail.push(line.text);
                }
                Some(tail)
            };
            // The failure was told already; without its output if that cannot be had soon.
            if let Ok(Some(tail)) = tokio::time::timeout(Duration::from_secs(2), read).await {
                drop(to.send(Input::Event(Event::LogTail(tail))));
            }
        });
    }

    fn tell(&self, what: What) {
        let service = self.service.key();
        match &what {
            What::State { from, to } => {
                tracing::info!(%service, from = from.as_str(), to = to.as_str(), "state");
            }
            What::Start { replicas, mode, cause } => tracing::info!(%service, replicas, mode, ?cause, "is on"),
            What::Stop { replicas, mode, cause, paused } => {
                tracing::info!(%service, replicas, mode, ?cause, paused, "is off");
            }
            What::Replica { ordinal, generation, text } => {
                tracing::info!(%service, replica = ordinal, generation, "{text}");
            }
            What::Failed { failure } => {
                let tail = failure.log_tail.join("\n");
                tracing::warn!(%service, kind = ?failure.kind, detail = %failure.detail, output = %tail, "failed");
            }
            What::Progress { progress } => {
                tracing::debug!(%service, fraction = ?progress.fraction, "{}", progress.text)
            }
            What::Engine { lost: Some(error) } => tracing::warn!(%service, %error, "the engine does not answer"),
            What::Engine { lost: None } => tracing::info!(%service, "the engine answers again"),
        }
        // Without a listener there is nobody to tell.
        drop(self.events.send(LifeEvent::of(service, what)));
    }

    /// Shows what is known to those who ask for the status.
    fn show(&mut self) {
        let mut snapshot: Snapshot = self.machine.snapshot(self.since, self.failed_at);
        snapshot.unknown = snapshot.unknown.or_else(|| self.blind.clone());
        let state = snapshot.state;
        self.service.set_snapshot(snapshot);
        self.state.send_if_modified(|now| std::mem::replace(now, state) != state);
        self.ledger.note(self.service.key(), self.machine.paused_memory(), &self.to_self);
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Also after a panic: nobody waits for an actor that is gone.
        if !self.handed {
            self.service.shut_if_open(Refusal::ShuttingDown);
        }
        self.say(Word::Left);
        self.landscape.leave(&self.service.key().service, &self.to_self);
        self.ledger.note(self.service.key(), None, &self.to_self);
        self.done.cancel();
    }
}
